//! What the page shows of an order: pure, from the record alone. What the vendor did not state is not announced.

use std::time::Duration;

use jiff::{Timestamp, tz::Offset};
use serde_json::{Value, value::RawValue};
use shared::{
    order::{Amount, MAX_CHECK, Order, Outcome, ParkedAs, Phase, Product, VendorStatus},
    time::later,
};

use crate::words::{Message, Words};

/// The vendor delivers a queued order within this time.
const QUEUED_FOR: Duration = Duration::from_secs(48 * 3600);
/// The vendor settles an uncertain order within this time.
const UNCERTAIN_FOR: Duration = Duration::from_secs(24 * 3600);
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
    /// Parked as delayed, or shown by the vendor after it did not know the order.
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

    fn message(self, words: &'static Words) -> &'static Message {
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
pub(crate) fn steps(order: &Order, words: &'static Words) -> [Step; 3] {
    let received = |class| Step::of(words.step_received, class);
    let delivered = |class| Step::of(words.step_delivered, class);
    match State::of(order) {
        State::Received => [received("now"), Step::of(words.step_processing, "next"), delivered("next")],
        State::Processing => [received("done"), Step::of(words.step_processing, "now"), delivered("next")],
        State::Queued => [received("done"), Step::of(words.step_queued, "now"), delivered("next")],
        State::Uncertain | State::Delayed => {
            [received("done"), Step::of(words.step_checking, "now"), delivered("next")]
        }
        // The vendor has not said that it has the order.
        State::NotFound => [Step::of(words.step_checking, "now"), received("next"), delivered("next")],
        State::Fulfilled if order.awaits_card() => {
            [received("done"), Step::of(words.step_processed, "done"), delivered("now")]
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
    let Message { title, text } = match state {
        State::Fulfilled if order.key.product.rules().has_card => card_message(order, words, shows_card),
        _ => state.message(words),
    };
    if order.redacted_at.is_some() {
        return (title, words.redacted.to_owned(), None);
    }
    let since = parked_since(order);
    let has_passed = |time| since.is_some_and(|since| later(since, time) < now);
    let text = match state {
        State::Queued => text.replace("{since}", &since.map(isolated_time).unwrap_or_default()),
        State::Refunded if order.is_continued_elsewhere() => words.continued.to_owned(),
        _ => (*text).to_owned(),
    };
    let more = match state {
        State::Uncertain if has_passed(UNCERTAIN_FOR) => Some(words.uncertain_long),
        State::Uncertain => Some(words.uncertain_outcomes),
        State::Queued if has_passed(QUEUED_FOR) => Some(words.queued_long),
        _ => None,
    };
    (title, text, more)
}

fn card_message(order: &Order, words: &'static Words, shows_card: bool) -> &'static Message {
    match order.card {
        None => &words.fulfilled_no_card,
        Some(_) if shows_card => &words.fulfilled_card_here,
        Some(_) => &words.fulfilled_card,
    }
}

/// Since when the order is parked. If it was so in the vendor's first answer, this is its creation. `None`: it is not parked.
fn parked_since(order: &Order) -> Option<Timestamp> {
    let Phase::Parked { since, .. } = order.phase else { return None };
    let was_so_at_first = order.first_seen_at.is_some_and(|seen| since <= later(seen, MAX_CHECK));
    let created = created_at(order).filter(|created| was_so_at_first && *created < since);
    Some(created.unwrap_or(since))
}

/// When the vendor created the order, if that can be read.
fn created_at(order: &Order) -> Option<Timestamp> {
    order.facts.created_at.as_deref()?.parse().ok()
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
    let ordered = created_at(order).map(|created| at(words.ordered, created));
    let times = [ordered, checked.map(|checked| at(words.checked, checked))];
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
    // Each is read alone: a number that is out of range would cost all of them.
    let found: Vec<&RawValue> = serde_json::from_str(text).unwrap_or_default();
    let offers = found.into_iter().filter_map(|found| offer(&serde_json::from_str(found.get()).ok()?));
    offers.take(MAX_OFFERS).collect()
}

fn offer(found: &Value) -> Option<Offer> {
    let text =
        |name: &str| found.get(name)?.as_str().map(str::trim).filter(|text| !text.is_empty()).map(short);
    let amount = match found.get("amount") {
        Some(Value::Number(number)) => Some(number.to_string()),
        Some(Value::String(text)) => Some(text.trim().to_owned()),
        _ => None,
    };
    let is_price = |text: &String| text.chars().all(|digit| digit.is_ascii_digit() || digit == '.');
    let amount = amount.filter(|text| Amount::parse(text).is_some() && is_price(text)).as_deref().map(short);
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

/// Whether the page can still change: the order is not final, or its card is missing.
pub(crate) fn is_live(order: &Order) -> bool {
    !order.phase.is_final() || order.awaits_card()
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
