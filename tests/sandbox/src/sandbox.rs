//! The sandbox's state and its changes.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;

use crate::answer::{Answer, Script};
use crate::calls::Call;
use crate::clock::{Clock, Scale, later, text};
use crate::faults::Chance;
use crate::fields::Fields;
use crate::gate::Gate;
use crate::list::{Index, Lists};
use crate::numbers::{Product, course, steps};
use crate::order::Order;
use crate::receiver::Received;
use crate::settings::Settings;
use crate::timeline::{Step, Timeline};

/// The stand-in for the vendor.
pub struct Sandbox {
    pub(crate) settings: Settings,
    clock: Clock,
    state: Mutex<State>,
}

pub(crate) struct State {
    /// By id; generated ids ascend with time.
    pub(crate) orders: BTreeMap<String, Order>,
    /// Order ids by `ref`, both as sent and as returned.
    refs: HashMap<(Product, String), String>,
    /// By order id; the order need not exist.
    pub(crate) scripts: HashMap<String, Script>,
    /// Scripts for the next sends that are taken, by `ref`; `None`: any `ref`.
    pub(crate) sends: HashMap<Option<String>, Script>,
    /// The index of the lists.
    pub(crate) index: Index,
    pub(crate) lists: Lists,
    /// Scripts for the next list calls, by product; `None`: either product.
    pub(crate) list_scripts: HashMap<Option<Product>, Script>,
    /// Webhooks that have arrived, in the order of their arrival.
    pub(crate) webhooks: Vec<Received>,
    /// Scripts for the answers to webhooks, by order id.
    pub(crate) webhook_scripts: HashMap<String, Script>,
    pub(crate) outage: Option<Answer>,
    pub(crate) calls: Vec<Call>,
    pub(crate) gate: Gate,
    pub(crate) chance: Chance,
    turns: u64,
}

/// A validated send.
pub(crate) struct Sent {
    pub(crate) product: Product,
    pub(crate) number: String,
    pub(crate) offer: String,
    pub(crate) amount: f64,
    pub(crate) reference: Option<String>,
}

/// The vendor's answer to a new order.
pub(crate) struct Accepted {
    pub(crate) id: String,
    pub(crate) reference: String,
}

impl Sandbox {
    /// A sandbox without orders.
    pub fn new(settings: Settings) -> Self {
        Self::at(Clock::start(), settings)
    }

    /// A sandbox without orders that reads the current time from `now`, so that a test decides when the vendor settles.
    /// Scripted delays still take real seconds.
    pub fn timed_by(now: impl Fn() -> Timestamp + Send + Sync + 'static, settings: Settings) -> Self {
        Self::at(Clock::read_by(now), settings)
    }

    fn at(clock: Clock, settings: Settings) -> Self {
        let state = State::new(&settings);
        Self { settings, clock, state: Mutex::new(state) }
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    pub(crate) fn scale(&self) -> Scale {
        self.settings.scale()
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes an order; `None` if its `ref` was used before.
    pub(crate) fn accept(&self, sent: Sent) -> Option<Accepted> {
        let sent_at = self.now();
        let mut state = self.state();
        let bare = sent.reference.unwrap_or_else(|| format!("{:08x}", fastrand::u32(..)));
        if state.by_ref(sent.product, &bare).is_some() {
            return None;
        }
        let code = format!("{:012}", fastrand::u64(..1_000_000_000_000));
        let year = sent_at.to_string().chars().take(4).collect::<String>();
        let transaction = format!("AT-{year}-{:05}", fastrand::u32(..100_000));
        let card = |after: Duration| {
            Fields::default()
                .with("card_code", &code)
                .with("num_trans", &transaction)
                .with("date_traitement", text(later(sent_at, self.scale().of(after))))
        };
        let steps = steps(course(sent.product, &sent.number), &self.settings, card);
        let timeline = self.timeline(steps).ok()?;
        let national = sent.number.strip_prefix('0').unwrap_or(&sent.number);
        let reference = format!("API-+213{national}-{bare}");
        let id = state.new_id(sent_at);
        let order = Order {
            id: id.clone(),
            product: sent.product,
            reference: Some(reference.clone()),
            number: Some(sent.number),
            offer: Some(sent.offer),
            amount: Some(sent.amount),
            sent_at,
            visible_after: self.scale().of(self.settings.refs_visible_after),
            timeline,
            calls: 0,
        };
        state.insert(order);
        Some(Accepted { id, reference })
    }

    /// A timeline of unscaled steps.
    pub(crate) fn timeline(&self, steps: Vec<Step>) -> Result<Timeline, String> {
        let scaled = |step: Step| Step { after: self.scale().of(step.after), ..step };
        Timeline::new(steps.into_iter().map(scaled).collect())
    }
}

impl State {
    fn new(settings: &Settings) -> Self {
        Self {
            orders: BTreeMap::new(),
            refs: HashMap::new(),
            scripts: HashMap::new(),
            sends: HashMap::new(),
            index: Index::default(),
            lists: Lists::default(),
            list_scripts: HashMap::new(),
            webhooks: Vec::new(),
            webhook_scripts: HashMap::new(),
            outage: None,
            calls: Vec::new(),
            gate: Gate::default(),
            chance: Chance::new(settings),
            turns: 0,
        }
    }

    /// 24 lower-case hex characters: time, counter, random.
    pub(crate) fn new_id(&mut self, now: Timestamp) -> String {
        format!("{:08x}{:06x}{:010x}", now.as_second(), self.turn(), fastrand::u64(..1 << 40))
    }

    /// Stores a new order and its `ref`, with and without prefix. A `ref` that an earlier order has stays with that
    /// order.
    pub(crate) fn insert(&mut self, order: Order) {
        if let Some(reference) = &order.reference {
            let bare = reference.strip_prefix("API-+213").and_then(|rest| rest.split_once('-'));
            for name in [Some(reference.as_str()), bare.map(|(_, bare)| bare)].into_iter().flatten() {
                self.refs.entry((order.product, name.to_owned())).or_insert_with(|| order.id.clone());
            }
        }
        self.index.add(&order);
        self.orders.insert(order.id.clone(), order);
    }

    /// The id of the order with this `ref`.
    pub(crate) fn by_ref(&self, product: Product, reference: &str) -> Option<&String> {
        self.refs.get(&(product, reference.to_owned()))
    }

    /// Returns the next call number.
    pub(crate) fn turn(&mut self) -> u64 {
        self.turns += 1;
        self.turns
    }
}
