//! What is published: events, numbered per order, each with the exact detail that goes out.

use jiff::Timestamp;
use serde::Serialize;

use super::{Order, OrderKey, OrderView, Trouble, VendorStatus};

/// Event source of everything this tracker publishes.
pub const SOURCE: &str = "topup-tracker";

/// Who told us of an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum TrackedBy {
    /// `PUT /orders/…`.
    Put,
    /// A poller's input (`Top-up Sent`); its execution is running already.
    Poller,
    /// Another order that named it: `follow_orderid`, `retry_orderid`.
    Link,
}

/// Why a person should look at an order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReviewReason {
    /// Parked for longer than the vendor says it takes, or than the settings allow.
    Overdue,
    /// A status text that we do not know, or none.
    UnrecognisedStatus,
    /// The order is final, and the vendor now says something else. We stay with what was published.
    Contradiction,
    /// The vendor does not know this order.
    NotFound,
    /// Fulfilled, but no card after the first daily check, or after a day of checks that fail.
    CardMissing,
    /// Refunded, and tried again under another id: somebody may be served twice, or charged for nothing.
    Retried,
    /// Refunded, and redirected to another id: the same danger.
    Followed,
    /// The vendor's answers about this order cannot be read, one after the other.
    Unreadable,
    /// The vendor rejects every call about this order.
    Rejected,
    /// The vendor has shown this order before, and does not know it any more.
    Vanished,
    /// The table does not take what the vendor says about this order.
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
    /// As in the event.
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

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EventKind {
    /// We were told of the order.
    OrderTracked {
        /// By whom.
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
    /// A person should look at it.
    OrderNeedsReview {
        /// Why.
        reason: ReviewReason,
        /// The status text that this is about, as the vendor stated it.
        stated_status: Option<String>,
    },
    /// The card came after the fulfilment.
    CardAvailable,
    /// Somebody read the card code.
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

/// An event of an order: committed with the change it tells of, then published, perhaps more than once, always the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Which order.
    pub key: OrderKey,
    /// Its number among the order's events, from 1.
    pub seq: u32,
    /// `detail-type`.
    pub detail_type: String,
    /// When it happened.
    pub occurred_at: Timestamp,
    /// The exact JSON to be published.
    pub detail: String,
}

impl Event {
    /// `{product}/{id}#{seq}`: derived, so that a repeat is recognised.
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
    /// Numbers the next event and writes its detail from the order as it now is.
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
            // Strings, numbers and nested structs only: writing them cannot fail.
            detail: serde_json::to_string(&detail).unwrap_or_default(),
        }
    }

    /// The order after somebody read its card, and the event that says so.
    pub fn card_revealed(&self, now: Timestamp) -> super::Decision {
        let mut order = self.clone();
        let status = order.facts.status.clone();
        let event = order.add_event(EventKind::CardRevealed, status.as_ref(), false, now);
        super::Decision { order, events: vec![event] }
    }
}
