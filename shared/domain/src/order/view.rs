//! The order as JSON, in answers of the HTTP API and in events.

use std::collections::BTreeSet;

use jiff::Timestamp;
use serde::Serialize;

use super::{Amount, JsonText, Order, OrderId, Phase, Product, VendorStatus};

/// JSON of an order (docs/api.md). A field without a value is `null`, never absent. Holds no card code.
#[derive(Debug, Serialize)]
pub struct OrderView<'a> {
    product: Product,
    id: &'a str,
    #[serde(rename = "ref")]
    reference: Option<&'a str>,
    vendor_ref: Option<&'a str>,
    status: Option<&'a VendorStatus>,
    phase: &'static str,
    parked_as: Option<&'static str>,
    number: Option<&'a str>,
    plan_code: Option<&'a str>,
    #[serde(rename = "type")]
    kind: Option<&'a str>,
    topup_amount: Option<&'a Amount>,
    balance_amount: Option<&'a Amount>,
    refund_message: Option<&'a str>,
    suggested_offers: Option<&'a JsonText>,
    card: CardView<'a>,
    num_trans: Option<&'a str>,
    date_traitement: Option<&'a str>,
    follow_order_id: Option<&'a str>,
    retry_order_id: Option<&'a str>,
    linked_from: &'a BTreeSet<OrderId>,
    created_at: Option<&'a str>,
    tracked_at: Timestamp,
    checked_at: Option<Timestamp>,
    changed_at: Timestamp,
    next_check_at: Option<Timestamp>,
    stale: bool,
}

#[derive(Debug, Serialize)]
struct CardView<'a> {
    available: bool,
    masked: Option<&'a str>,
}

impl<'a> OrderView<'a> {
    /// The view of `order` at `now`; `now` affects only `stale`.
    pub fn of(order: &'a Order, now: Timestamp) -> Self {
        let facts = &order.facts;
        Self {
            product: order.key.product,
            id: order.key.id.as_str(),
            reference: order.reference.as_ref().map(super::Ref::as_str),
            vendor_ref: facts.vendor_ref.as_deref(),
            status: facts.status.as_ref(),
            phase: order.phase.as_str(),
            parked_as: match order.phase {
                Phase::Parked { parked_as, .. } => Some(parked_as.as_str()),
                Phase::InFlight { .. } | Phase::Final { .. } => None,
            },
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
            created_at: facts.created_at.as_deref(),
            tracked_at: order.tracked_at,
            checked_at: order.checked_at,
            changed_at: order.changed_at,
            next_check_at: order.next_check_at,
            stale: order.is_stale(now),
        }
    }
}
