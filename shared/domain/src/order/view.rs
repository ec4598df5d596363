//! The order as JSON, in answers of the HTTP API and in events.

use std::collections::BTreeSet;

use jiff::Timestamp;
#[cfg(test)]
use schemars::JsonSchema;
use serde::Serialize;

use super::{Amount, JsonText, Order, OrderId, ParkedAs, Product, VendorStatus};

/// An order, as the HTTP API and the events show it. A field without a value is `null`, never absent. It never contains a card code.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(JsonSchema), schemars(rename = "Order"))]
pub struct OrderView<'a> {
    /// What was bought.
    #[cfg_attr(test, schemars(transform = crate::schemas::open))]
    product: Product,
    /// The vendor's id of the order.
    #[cfg_attr(test, schemars(with = "OrderId"))]
    id: &'a str,
    /// Your reference, as you gave it to the tracker.
    #[serde(rename = "ref")]
    reference: Option<&'a str>,
    /// The reference as the vendor gives it back, perhaps with its prefix.
    vendor_ref: Option<&'a str>,
    /// The vendor's status as it came. `null` until the vendor has shown the order.
    status: Option<&'a VendorStatus>,
    /// `in_flight`: polled. `parked`: rechecked, less often. `final`: the vendor stated an outcome, which never changes.
    #[cfg_attr(test, schemars(extend("enum" = ["in_flight", "parked", "final"])))]
    phase: &'static str,
    /// Why it is parked. `null` in other phases.
    #[cfg_attr(test, schemars(transform = crate::schemas::open))]
    parked_as: Option<ParkedAs>,
    /// The phone number (mobile) or line number (internet).
    number: Option<&'a str>,
    /// The plan (mobile).
    plan_code: Option<&'a str>,
    /// `ADSL` or `4G` (internet).
    #[serde(rename = "type")]
    kind: Option<&'a str>,
    /// The amount of the top-up, in DZD.
    topup_amount: Option<&'a Amount>,
    /// The amount taken from your balance, in DZD (mobile). The vendor's two endpoints differ for a refund: compute no money from it. `null`
    /// if only lists have shown the order.
    balance_amount: Option<&'a Amount>,
    /// The vendor's message in Arabic. Show it unchanged.
    refund_message: Option<&'a str>,
    /// The vendor's alternative plans, as they came (mobile, refunded): usually an array of objects with `plan_code`, `typename` and
    /// `amount`.
    suggested_offers: Option<&'a JsonText>,
    /// The card (internet).
    card: CardView<'a>,
    /// The operator's transaction number (internet).
    num_trans: Option<&'a str>,
    /// The processing time, as the vendor wrote it (internet).
    date_traitement: Option<&'a str>,
    /// The vendor redirected the order to this id (mobile).
    follow_order_id: Option<&'a str>,
    /// The vendor retried the order under this id (mobile).
    retry_order_id: Option<&'a str>,
    /// The orders that continue under this one. The tracker tracks each linked order by itself.
    linked_from: &'a BTreeSet<OrderId>,
    /// The reviews that nobody has closed, oldest first.
    open_reviews: Vec<OpenReview<'a>>,
    /// The creation time, as the vendor wrote it.
    created_at: Option<&'a str>,
    /// When the tracker was told of the order.
    tracked_at: Timestamp,
    /// When the last answered check was made.
    checked_at: Option<Timestamp>,
    /// When status or phase last changed.
    changed_at: Timestamp,
    /// When number, references, messages and card were removed, see `REDACT_AFTER`. `null`: they were not.
    redacted_at: Option<Timestamp>,
    /// When the next check is planned. A page of a list can show the order earlier.
    next_check_at: Option<Timestamp>,
    /// The order is not final, and its last answered check is older than 5 seconds (in flight) or 10 minutes (parked), or there was none.
    stale: bool,
}

/// A review that nobody has closed.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(JsonSchema))]
struct OpenReview<'a> {
    /// The number of the event `Order Needs Review`.
    seq: u32,
    /// Why the order needs a review.
    #[cfg_attr(test, schemars(with = "super::ReviewReason", transform = crate::schemas::open))]
    reason: &'a str,
}

/// What may be shown of an order's card.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(JsonSchema), schemars(rename = "Card"))]
struct CardView<'a> {
    /// The card code has come.
    available: bool,
    /// The code as stars and, if it has 8 characters or more, its last two.
    masked: Option<&'a str>,
}

impl<'a> OrderView<'a> {
    /// The view of `order` at `now`; `now` affects only `stale`.
    pub fn of(order: &'a Order, now: Timestamp) -> Self {
        let (facts, open_reviews) = (&order.facts, order.open_reviews.iter());
        let asked = order.recheck_asked_at.filter(|_| order.has_check_left());
        Self {
            product: order.key.product,
            id: order.key.id.as_str(),
            reference: order.reference.as_ref().map(super::Ref::as_str),
            vendor_ref: facts.vendor_ref.as_deref(),
            status: facts.status.as_ref(),
            phase: order.phase.as_str(),
            parked_as: order.phase.parked_as(),
            number: facts.number.as_deref(),
            plan_code: facts.plan_code.as_deref(),
            kind: facts.kind.as_deref(),
            topup_amount: facts.topup_amount.as_ref(),
            balance_amount: facts.balance_amount.as_ref(),
            refund_message: facts.refund_message.as_deref(),
            suggested_offers: facts.suggested_offers.as_ref(),
            card: CardView {
                available: order.card.is_some(),
                masked: order.card.as_ref().map(|c| c.masked.as_str()),
            },
            num_trans: facts.num_trans.as_deref(),
            date_traitement: facts.date_traitement.as_deref(),
            follow_order_id: facts.follow_order_id.as_deref(),
            retry_order_id: facts.retry_order_id.as_deref(),
            linked_from: &order.linked_from,
            open_reviews: open_reviews.map(|(seq, reason)| OpenReview { seq: *seq, reason }).collect(),
            created_at: facts.created_at.as_deref(),
            tracked_at: order.tracked_at,
            checked_at: order.checked_at,
            changed_at: order.changed_at,
            redacted_at: order.redacted_at,
            next_check_at: order.next_check_at.into_iter().chain(asked).min(),
            stale: order.is_stale(now),
        }
    }
}
