//! Events of orders, numbered per order, each with the exact JSON that is published.

use jiff::Timestamp;
#[cfg(test)]
use schemars::JsonSchema;
use serde::Serialize;

use super::{Order, OrderKey, OrderView, ReviewAction, Trouble, VendorStatus};

/// Event source of everything this tracker publishes.
pub const SOURCE: &str = "topup-tracker";

/// The detail type of everything this tracker publishes.
pub const DETAIL_TYPES: [&str; 14] = [
    "Order Tracked",
    "Order Fulfilled",
    "Order Refunded",
    "Order Queued",
    "Order Uncertain",
    "Order Delayed",
    "Order Resumed",
    "Order Needs Review",
    "Card Available",
    "Card Revealed",
    "Vendor Suspended",
    "Vendor Resumed",
    "Vendor List Degraded",
    "Order Reviewed",
];

/// The detail type of an event that opens a review.
const NEEDS_REVIEW: &str = "Order Needs Review";

/// How the tracker was told of an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(test, derive(JsonSchema))]
pub enum TrackedBy {
    /// By the HTTP API: `PUT /orders/…`, a lookup, or a resync that tracks what it finds.
    Put,
    /// By an event `Top-up Sent`.
    Poller,
    /// By another order that names this one (`follow_order_id` or `retry_order_id`).
    Link,
}

/// Why a person must review an order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(test, derive(JsonSchema))]
pub enum ReviewReason {
    /// The order is parked for longer than the settings allow.
    Overdue,
    /// The vendor stated a status that the tracker does not know, or none.
    UnrecognisedStatus,
    /// The order is final, and the vendor now states another status. The published outcome stays.
    Contradiction,
    /// The vendor does not know the order.
    NotFound,
    /// The order is fulfilled, but no card came.
    CardMissing,
    /// The order is refunded, and the vendor retried it under `retry_order_id`. Both can serve the customer.
    Retried,
    /// The order is refunded, and the vendor redirected it to `follow_order_id`. Both can serve the customer.
    Followed,
    /// The vendor's answers about the order cannot be read, several times in a row.
    Unreadable,
    /// The vendor rejects every call about the order.
    Rejected,
    /// The vendor showed the order before and does not know it now.
    Vanished,
    /// The table refuses what the vendor says about the order.
    StoreRefuses,
}

impl From<Trouble> for ReviewReason {
    fn from(trouble: Trouble) -> Self {
        match trouble {
            Trouble::Unreadable => Self::Unreadable,
            Trouble::Rejected => Self::Rejected,
            Trouble::Vanished => Self::Vanished,
            Trouble::StoreRefuses => Self::StoreRefuses,
        }
    }
}

impl ReviewReason {
    /// The name in the event's `reason`.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Overdue => "overdue",
            Self::UnrecognisedStatus => "unrecognised_status",
            Self::Contradiction => "contradiction",
            Self::NotFound => "not_found",
            Self::CardMissing => "card_missing",
            Self::Retried => "retried",
            Self::Followed => "followed",
            Self::Unreadable => "unreadable",
            Self::Rejected => "rejected",
            Self::Vanished => "vanished",
            Self::StoreRefuses => "store_refuses",
        }
    }
}

/// What happened: the part of an event's detail that differs between events. Each variant's text is the description of its JSON Schema.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "detail_type")]
#[cfg_attr(test, derive(JsonSchema))]
pub enum EventKind {
    /// Published when the tracker was told of the order. It is the first event of every order.
    #[serde(rename = "Order Tracked")]
    OrderTracked {
        /// How the tracker was told.
        by: TrackedBy,
    },
    /// Published when the vendor stated `FULFILLED`: the order is delivered. An order has at most one outcome.
    #[serde(rename = "Order Fulfilled")]
    OrderFulfilled,
    /// Published when the vendor stated `REFUNDED`: the order failed, and the vendor returned the money. An order has at most one outcome.
    #[serde(rename = "Order Refunded")]
    OrderRefunded,
    /// Published when the vendor stated `QUEUED`, for the first time for this order. The vendor delivers it later. This is not a failure.
    #[serde(rename = "Order Queued")]
    OrderQueued,
    /// Published when the vendor stated `UNKNOWN_ERROR`, for the first time for this order. The outcome follows. This is no reason for a
    /// refund.
    #[serde(rename = "Order Uncertain")]
    OrderUncertain,
    /// Published when the order was in flight for longer than the poll deadline. The outcome follows. This is no reason for a refund.
    #[serde(rename = "Order Delayed")]
    OrderDelayed,
    /// Published each time a queued order is in flight again.
    #[serde(rename = "Order Resumed")]
    OrderResumed,
    /// Published when a person must review the order. It can come with any other event, also after the outcome.
    #[serde(rename = "Order Needs Review")]
    OrderNeedsReview {
        /// Why a person must review the order.
        #[cfg_attr(test, schemars(transform = crate::schemas::open))]
        reason: ReviewReason,
        /// The vendor's status text that the reason is about. Absent if it is about none.
        #[serde(skip_serializing_if = "Option::is_none")]
        #[cfg_attr(test, schemars(with = "String"))]
        stated_status: Option<String>,
    },
    /// Published when the card came after `Order Fulfilled`.
    #[serde(rename = "Card Available")]
    CardAvailable,
    /// Published each time the card code was read through the API.
    #[serde(rename = "Card Revealed")]
    CardRevealed,
    /// Published each time a person acted on the order through the API: had it checked again, or closed its reviews. It changes no status.
    #[serde(rename = "Order Reviewed")]
    OrderReviewed {
        /// The person, as named in the request.
        actor: String,
        /// Why, in the person's words. `null`: it was removed with the order's personal data, see `REDACT_AFTER`.
        note: Option<String>,
        /// What the person did.
        #[cfg_attr(test, schemars(transform = crate::schemas::open))]
        action: ReviewAction,
        /// The numbers (`seq`) of the events `Order Needs Review` that were closed. Absent if none was.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        closed: Vec<u32>,
    },
}

impl EventKind {
    /// The `detail-type` on the bus.
    pub fn detail_type(&self) -> &'static str {
        match self {
            Self::OrderTracked { .. } => "Order Tracked",
            Self::OrderResumed => "Order Resumed",
            Self::OrderFulfilled => "Order Fulfilled",
            Self::OrderRefunded => "Order Refunded",
            Self::OrderQueued => "Order Queued",
            Self::OrderUncertain => "Order Uncertain",
            Self::OrderDelayed => "Order Delayed",
            Self::OrderNeedsReview { .. } => NEEDS_REVIEW,
            Self::CardAvailable => "Card Available",
            Self::CardRevealed => "Card Revealed",
            Self::OrderReviewed { .. } => "Order Reviewed",
        }
    }
}

/// An event of an order. It is committed with the change that it reports, then published at least once with the same detail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// The order.
    pub key: OrderKey,
    /// Number among the order's events, from 1 without gaps.
    pub seq: u32,
    /// `detail-type`.
    pub detail_type: String,
    /// When it happened.
    pub occurred_at: Timestamp,
    /// The exact JSON to publish.
    pub detail: String,
}

impl Event {
    /// Whether it reports the outcome of the order.
    pub fn is_outcome(&self) -> bool {
        [EventKind::OrderFulfilled, EventKind::OrderRefunded]
            .iter()
            .any(|outcome| outcome.detail_type() == self.detail_type)
    }

    /// Whether it asks a person to review the order.
    pub fn asks_for_review(&self) -> bool {
        self.detail_type == NEEDS_REVIEW
    }

    /// `{product}/{id}#{seq}`: the same for each repetition, so that consumers can deduplicate.
    pub fn id(&self) -> String {
        event_id(&self.key, self.seq)
    }
}

fn event_id(key: &OrderKey, seq: u32) -> String {
    format!("{key}#{seq}")
}

/// `detail` of every event about an order, version 1.
#[derive(Serialize)]
#[cfg_attr(test, derive(JsonSchema))]
pub(crate) struct Detail<'a> {
    /// The id of the event: `{product}/{id}#{seq}`. It is the same when the event is published again.
    event_id: String,
    /// The number of the event among the order's events, from 1, without gaps.
    #[cfg_attr(test, schemars(range(min = 1)))]
    seq: u32,
    /// The version of this format.
    #[cfg_attr(test, schemars(extend("const" = 1)))]
    version: u32,
    /// When it happened.
    occurred_at: Timestamp,
    /// The vendor's status before this event.
    previous_status: Option<&'a VendorStatus>,
    /// Whether no check of the order had been answered before.
    first_check: bool,
    #[serde(flatten)]
    kind: &'a EventKind,
    /// The order after the event. It never contains a card code.
    order: OrderView<'a>,
}

impl Order {
    /// Numbers the next event and builds its detail from the order's current state. An event that asks for a review opens one.
    pub(super) fn add_event(
        &mut self,
        kind: EventKind,
        previous_status: Option<&VendorStatus>,
        first_check: bool,
        now: Timestamp,
    ) -> Event {
        self.seq = self.seq.saturating_add(1);
        if let EventKind::OrderNeedsReview { reason, .. } = &kind {
            self.open_reviews.insert(self.seq, reason.as_str().to_owned());
        }
        let detail = Detail {
            event_id: event_id(&self.key, self.seq),
            seq: self.seq,
            version: 1,
            occurred_at: now,
            previous_status,
            first_check,
            kind: &kind,
            order: OrderView::of(self, now),
        };
        Event {
            key: self.key.clone(),
            seq: self.seq,
            detail_type: kind.detail_type().to_owned(),
            occurred_at: now,
            // Strings, numbers and nested structs only: serialisation cannot fail.
            detail: serde_json::to_string(&detail).unwrap_or_default(),
        }
    }

    /// The order after its card code was read, with the `Card Revealed` event.
    pub fn card_revealed(&self, now: Timestamp) -> super::Decision {
        let mut order = self.clone();
        let status = order.facts.status.clone();
        let event = order.add_event(EventKind::CardRevealed, status.as_ref(), false, now);
        super::Decision { order, events: vec![event] }
    }
}
