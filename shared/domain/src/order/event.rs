//! Events of orders, numbered per order, each with the exact JSON that is published.

use jiff::Timestamp;
use serde::Serialize;

use super::{Order, OrderKey, OrderView, Trouble, VendorStatus};

/// Event source of everything this tracker publishes.
pub const SOURCE: &str = "topup-tracker";

/// How an order came to be tracked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum TrackedBy {
    /// `PUT /orders/…`.
    Put,
    /// The input of a poller (`Top-up Sent`); its state machine execution is running already.
    Poller,
    /// A link of another order: `follow_orderid`, `retry_orderid`.
    Link,
}

/// Why a person should review an order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReviewReason {
    /// Parked for longer than the vendor says it takes, or than the settings allow.
    Overdue,
    /// An unknown status text, or none.
    UnrecognisedStatus,
    /// The order is final, and the vendor now states another status. The published outcome stays.
    Contradiction,
    /// The vendor does not know this order.
    NotFound,
    /// Fulfilled, but no card after the last wait of `RECHECK_CARD`, or after 24 h of failed checks.
    CardMissing,
    /// Refunded, and retried under another id: the customer may be served twice.
    Retried,
    /// Refunded, and redirected to another id: the same risk.
    Followed,
    /// The vendor's answers about this order cannot be parsed.
    Unreadable,
    /// The vendor rejects every call about this order.
    Rejected,
    /// The vendor returned this order before and does not know it any more.
    Vanished,
    /// The table rejects what the vendor returns for this order.
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

/// The kind of an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EventKind {
    /// Tracking began.
    OrderTracked {
        /// How.
        by: TrackedBy,
    },
    /// A queued order is in flight again.
    OrderResumed,
    /// The vendor said `FULFILLED`.
    OrderFulfilled,
    /// The vendor said `REFUNDED`.
    OrderRefunded,
    /// The vendor said `QUEUED`.
    OrderQueued,
    /// The vendor said `UNKNOWN_ERROR`.
    OrderUncertain,
    /// In flight for longer than the poll deadline.
    OrderDelayed,
    /// A person should review the order.
    OrderNeedsReview {
        /// The reason.
        reason: ReviewReason,
        /// The vendor's status text that caused the review, if one did.
        stated_status: Option<String>,
    },
    /// The card arrived after the order was fulfilled.
    CardAvailable,
    /// The card code was read through the API.
    CardRevealed,
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
            Self::OrderNeedsReview { .. } => "Order Needs Review",
            Self::CardAvailable => "Card Available",
            Self::CardRevealed => "Card Revealed",
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
struct Detail<'a> {
    event_id: String,
    seq: u32,
    version: u32,
    detail_type: &'a str,
    occurred_at: Timestamp,
    previous_status: Option<&'a VendorStatus>,
    first_check: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    by: Option<TrackedBy>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stated_status: Option<&'a str>,
    order: OrderView<'a>,
}

impl Order {
    /// Numbers the next event and builds its detail from the order's current state.
    pub(super) fn add_event(
        &mut self,
        kind: EventKind,
        previous_status: Option<&VendorStatus>,
        first_check: bool,
        now: Timestamp,
    ) -> Event {
        self.seq = self.seq.saturating_add(1);
        let (by, reason, stated_status) = match &kind {
            EventKind::OrderTracked { by } => (Some(*by), None, None),
            EventKind::OrderNeedsReview { reason, stated_status } => {
                (None, Some(reason.as_str()), stated_status.as_deref())
            }
            _ => (None, None, None),
        };
        let detail = Detail {
            event_id: event_id(&self.key, self.seq),
            seq: self.seq,
            version: 1,
            detail_type: kind.detail_type(),
            occurred_at: now,
            previous_status,
            first_check,
            by,
            reason,
            stated_status,
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
