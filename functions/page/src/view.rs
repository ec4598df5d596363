//! What the page shows of an order: pure, from the record alone. What the vendor did not state is not announced.

use std::time::Duration;

use jiff::{Timestamp, tz::Offset};
use serde_json::Value;
use shared::{
    order::{Order, Outcome, ParkedAs, Phase, Product, VendorStatus},
    time::later,
};

use crate::words::{Said, Words};

/// The vendor delivers a queued order within this time, counted from when it was queued.
const QUEUED_FOR: Duration = Duration::from_secs(48 * 3600);
/// At most so many offers are shown, each with a name of at most so many characters: the page stays small whatever the vendor sends.
const MAX_OFFERS: usize = 12;
const MAX_TEXT: usize = 80;
/// The longest `refund_message` that is shown, in characters.
const MAX_MESSAGE: usize = 2000;

/// The state of an order, as customers know it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// In flight, and the vendor has not stated that it is being processed.
    Received,
    /// In flight, and the vendor stated `HANDLING`.
    Processing,
    /// The vendor stated `QUEUED`.
    Queued,
    /// The vendor stated `UNKNOWN_ERROR`.
    Uncertain,
    /// In flight for longer than usual.
    Delayed,
    /// The vendor does not show it.
    NotFound,
    /// The vendor stated `FULFILLED`.
    Fulfilled,
    /// The vendor stated `REFUNDED`.
    Refunded,
}

impl State {
    /// The state of an order.
    pub fn of(order: &Order) -> Self {
        match order.phase {
            Phase::InFlight { .. } if order.facts.status == Some(VendorStatus::Handling) => Self::Processing,
            Phase::InFlight { .. } => Self::Received,
            Phase::Parked { parked_as: ParkedAs::Queued, .. } => Self::Queued,
            Phase::Parked { parked_as: ParkedAs::Uncertain, .. } => Self::Uncertain,
            Phase::Parked { parked_as: ParkedAs::Delayed, .. } => Self::Delayed,
            // The vendor knows the order now, and has stated nothing that ends it.
            Phase::Parked { parked_as: ParkedAs::NotFound, .. } if order.first_seen_at.is_some() => {
                Self::Delayed
            }
            Phase::Parked { parked_as: ParkedAs::NotFound, .. } => Self::NotFound,
            Phase::Final { outcome: Outcome::Fulfilled } => Self::Fulfilled,
            Phase::Final { outcome: Outcome::Refunded } => Self::Refunded,
        }
    }

    fn said(self, words: &'static Words) -> &'static Said {
        match self {
            Self::Received => &words.received,
            Self::Processing => &words.processing,
            Self::Queued => &words.queued,
            Self::Uncertain => &words.uncertain,
            Self::Delayed => &words.delayed,
            Self::NotFound => &words.not_found,
            Self::Fulfilled => &words.fulfilled,
            Self::Refunded => &words.refunded,
        }
    }

    /// The class that colours the page.
    pub(crate) fn tone(self) -> &'static str {
        match self {
            Self::Received | Self::Processing => "going",
            Self::Queued | Self::Uncertain | Self::Delayed | Self::NotFound => "waiting",
            Self::Fulfilled => "good",
            Self::Refunded => "ended",
        }
    }

    /// The path of the sign beside the title, in a square of 48.
    pub(crate) fn sign(self) -> &'static str {
        match self {
            Self::Received | Self::Processing => "M14 24h18M26 17l7 7-7 7",
            Self::Queued | Self::Uncertain | Self::Delayed | Self::NotFound => "M24 14v11l7 4",
            Self::Fulfilled => "M15 25l6 6 12-13",
            Self::Refunded => "M16 21h12a6 6 0 0 1 0 12h-6M21 15l-6 6 6 6",
        }
    }
}

/// One step of the progress line.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Step {
    pub(crate) label: &'static str,
    /// `done`, `now`, `end` (ended without a delivery) or `next`.
    pub(crate) class: &'static str,
    pub(crate) done: bool,
    pub(crate) current: bool,
}

impl Step {
    fn of(label: &'static str, class: &'static str) -> Self {
        Self { label, class, done: class == "done", current: matches!(class, "now" | "end") }
    }
}

/// The three steps of the progress line.
pub(crate) fn steps(state: State, words: &'static Words) -> [Step; 3] {
    let received = |class| Step::of(words.step_received, class);
    let delivered = |class| Step::of(words.step_delivered, class);
    match state {
        State::Received => [received("now"), Step::of(words.step_processing, "next"), delivered("next")],
        State::Processing => [received("done"), Step::of(words.step_processing, "now"), delivered("next")],
        State::Queued => [received("done"), Step::of(words.step_queued, "now"), delivered("next")],
        State::Uncertain | State::Delayed | State::NotFound => {
            [received("done"), Step::of(words.step_checking, "now"), delivered("next")]
        }
        State::Fulfilled => [received("done"), Step::of(words.step_processed, "done"), delivered("done")],
        State::Refunded => [
            received("done"),
            Step::of(words.step_processed, "done"),
            Step::of(words.step_not_delivered, "end"),
        ],
    }
}

/// The title, the text and a second paragraph.
pub(crate) fn said(
    order: &Order,
    words: &'static Words,
    shows_card: bool,
    now: Timestamp,
) -> (&'static str, String, Option<&'static str>) {
    let state = State::of(order);
    let Said { title, text } = state.said(words);
    if order.redacted_at.is_some() {
        return (title, words.redacted.to_owned(), None);
    }
    let since = match order.phase {
        Phase::Parked { since, .. } => Some(since),
        Phase::InFlight { .. } | Phase::Final { .. } => None,
    };
    let text = match state {
        State::Queued => text.replace("{since}", &since.map(isolated_time).unwrap_or_default()),
        State::Fulfilled if order.key.product.rules().has_card => {
            card_text(order, words, shows_card).to_owned()
        }
        _ => (*text).to_owned(),
    };
    let more = match state {
        State::Uncertain | State::Delayed | State::NotFound => Some(words.nothing_lost),
        State::Queued if since.is_some_and(|since| later(since, QUEUED_FOR) < now) => Some(words.queued_long),
        _ => None,
    };
    (title, text, more)
}

fn card_text(order: &Order, words: &'static Words, shows_card: bool) -> &'static str {
    match order.card {
        None => words.fulfilled_no_card,
        Some(_) if shows_card => words.fulfilled_card_here,
        Some(_) => words.fulfilled_card,
    }
}

/// A detail of the order.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Fact {
    pub(crate) name: &'static str,
    pub(crate) value: String,
    /// What a screen reader says instead.
    pub(crate) spoken: Option<String>,
    pub(crate) ltr: bool,
    pub(crate) money: bool,
}

impl Fact {
    fn new(name: &'static str, value: String) -> Self {
        Self { name, value, spoken: None, ltr: false, money: false }
    }
}

/// The details that a customer may see: never the references, the whole number or the vendor's ids. None of a redacted order.
pub(crate) fn facts(order: &Order, words: &'static Words) -> Vec<Fact> {
    if order.redacted_at.is_some() {
        return Vec::new();
    }
    let facts = &order.facts;
    let product = match order.key.product {
        Product::Mobile => words.mobile,
        Product::Internet => words.internet,
    };
    let product = match &facts.kind {
        Some(kind) => format!("{product} · {}", short(kind)),
        None => product.to_owned(),
    };
    let number = facts.number.as_deref().map(|number| {
        let (shown, spoken) = masked(number);
        Fact { spoken: Some(spoken), ..Fact::new(words.number, shown) }
    });
    let plan =
        facts.plan_code.as_deref().map(|plan| Fact { ltr: true, ..Fact::new(words.plan, short(plan)) });
    let amount = facts.topup_amount.as_ref().map(|amount| Fact {
        ltr: true,
        money: true,
        ..Fact::new(words.amount, amount.as_str().to_owned())
    });
    let at = |name, at: Timestamp| Fact { ltr: true, ..Fact::new(name, time(at)) };
    let checked = order.checked_at.filter(|_| !order.phase.is_final());
    let first = [Some(Fact::new(words.product, product)), number, plan, amount];
    let times =
        [Some(at(words.ordered, order.tracked_at)), checked.map(|checked| at(words.checked, checked))];
    first.into_iter().chain(times).flatten().collect()
}

/// A number as it is shown and as it is spoken: its first two and last two characters. One of fewer than six is hidden as a whole.
pub(crate) fn masked(number: &str) -> (String, String) {
    let all: Vec<char> = number.trim().chars().take(32).collect();
    match all.as_slice() {
        [first, second, hidden @ .., third, fourth] if hidden.len() >= 2 => (
            format!("{first}{second}{}{third}{fourth}", "•".repeat(hidden.len())),
            format!("{first}{second} … {third}{fourth}"),
        ),
        hidden => ("•".repeat(hidden.len()), "…".to_owned()),
    }
}

/// A suggested offer.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Offer {
    pub(crate) name: String,
    pub(crate) amount: Option<String>,
}

/// The vendor's suggested offers of a refunded order. What cannot be read is left out.
pub(crate) fn offers(order: &Order) -> Vec<Offer> {
    if State::of(order) != State::Refunded || order.redacted_at.is_some() {
        return Vec::new();
    }
    let text = order.facts.suggested_offers.as_ref().map_or("[]", |offers| offers.get());
    let Ok(Value::Array(found)) = serde_json::from_str(text) else { return Vec::new() };
    found.iter().filter_map(offer).take(MAX_OFFERS).collect()
}

fn offer(found: &Value) -> Option<Offer> {
    let text =
        |name: &str| found.get(name)?.as_str().map(str::trim).filter(|text| !text.is_empty()).map(short);
    let amount = match found.get("amount") {
        Some(Value::Number(number)) => Some(number.to_string()),
        Some(Value::String(text)) => text.trim().parse::<f64>().ok().map(|_| short(text.trim())),
        _ => None,
    };
    Some(Offer { name: text("typename").or_else(|| text("plan_code"))?, amount })
}

/// The vendor's message of a refunded or uncertain order, unchanged.
pub(crate) fn refund_message(order: &Order) -> Option<String> {
    let message = order.facts.refund_message.as_deref().filter(|message| !message.trim().is_empty());
    let has_message = matches!(State::of(order), State::Refunded | State::Uncertain);
    let message = message.filter(|_| has_message && order.redacted_at.is_none());
    message.map(|message| message.chars().take(MAX_MESSAGE).collect())
}

/// Whether the order's card can be shown now, if the settings allow it.
pub(crate) fn has_card(order: &Order) -> bool {
    let is_fulfilled = State::of(order) == State::Fulfilled && order.redacted_at.is_none();
    is_fulfilled && order.key.product.rules().has_card && order.card.is_some()
}

/// Whether the page can still change: the order is not final, or its card is missing and would be shown.
pub(crate) fn is_live(order: &Order, shows_card: bool) -> bool {
    let awaits_card = shows_card
        && order.key.product.rules().has_card
        && order.card.is_none()
        && order.redacted_at.is_none()
        && State::of(order) == State::Fulfilled;
    !order.phase.is_final() || awaits_card
}

fn short(text: &str) -> String {
    text.chars().take(MAX_TEXT).collect()
}

/// A time inside a sentence, isolated from its direction: in Arabic the date and the hour would change places.
fn isolated_time(at: Timestamp) -> String {
    format!("\u{2066}{}\u{2069}", time(at))
}

/// A time of Algeria, which is an hour ahead of UTC all year: `28/11/2026 14:05`.
pub(crate) fn time(at: Timestamp) -> String {
    Offset::constant(1).to_datetime(at).strftime("%d/%m/%Y %H:%M").to_string()
}
