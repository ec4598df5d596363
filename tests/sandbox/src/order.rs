//! An order: its true state, and what the vendor's API shows of it.

use std::time::Duration;

use jiff::Timestamp;
use serde::Serialize;

use crate::clock::{between, later, text};
use crate::fields::Fields;
use crate::numbers::Product;
use crate::timeline::{Step, Timeline};

pub(crate) struct Order {
    pub(crate) id: String,
    pub(crate) product: Product,
    /// `ref` as the vendor returns it, with its prefix.
    pub(crate) reference: Option<String>,
    pub(crate) number: Option<String>,
    /// `plan_code` of a mobile order, `type` of an internet order.
    pub(crate) offer: Option<String>,
    pub(crate) amount: Option<f64>,
    pub(crate) sent_at: Timestamp,
    /// For this time after the send the vendor's API does not show the order. Scaled.
    pub(crate) visible_after: Duration,
    /// With scaled times.
    pub(crate) timeline: Timeline,
    pub(crate) calls: u64,
}

/// The true state of an order, for tests.
#[derive(Serialize)]
pub(crate) struct Truth {
    product: Product,
    id: String,
    #[serde(rename = "ref")]
    reference: Option<String>,
    number: Option<String>,
    sent_at: String,
    timeline: Vec<Moment>,
    ends_as: String,
    ended_at: String,
    status: Option<String>,
    card_code: Option<String>,
    calls: u64,
}

#[derive(Serialize)]
struct Moment {
    at: String,
    status: String,
}

impl Order {
    /// Status and `data` of a check answer; `None` while the order is not visible.
    pub(crate) fn shown(&self, now: Timestamp) -> Option<(&str, Fields)> {
        let step = self.step(now)?;
        Some((&step.status, self.data(step, self.balance())))
    }

    /// The row of a list: like `shown`, but without the balance of a refund.
    pub(crate) fn listed(&self, now: Timestamp) -> Option<Fields> {
        let step = self.step(now)?;
        let balance = if step.status == "REFUNDED" { self.amount.map(|_| 0.0) } else { self.balance() };
        Some(self.data(step, balance))
    }

    /// When the order becomes visible.
    pub(crate) fn visible_at(&self) -> Timestamp {
        let first = self.timeline.steps().first().map_or(Duration::MAX, |step| step.after);
        later(self.sent_at, self.visible_after.max(first))
    }

    fn balance(&self) -> Option<f64> {
        self.amount.map(|amount| (amount * 98.0).round() / 100.0)
    }

    fn data(&self, step: &Step, balance: Option<f64>) -> Fields {
        let created = Fields::default().with("created_at", text(self.sent_at));
        let head = Fields::default()
            .with("_id", &self.id)
            .with_some("ref", self.reference.as_ref())
            .with("status", &step.status);
        match self.product {
            Product::Mobile => head
                .with_some("plan_code", self.offer.as_ref())
                .with_some("MSSIDN", self.number.as_ref())
                .with_amount("topup_amount", self.amount)
                .with_amount("balance_amount", balance)
                .then(&created)
                .then(&step.fields),
            Product::Internet => head
                .with_some("type", self.offer.as_ref())
                .with_some("number", self.number.as_ref())
                .with_amount("topup_amount", self.amount)
                .then(&step.fields)
                .then(&created.without(&step.fields)),
        }
    }

    pub(crate) fn truth(&self, now: Timestamp) -> Truth {
        let at = |after: Duration| text(later(self.sent_at, after));
        let steps = self.timeline.steps();
        Truth {
            product: self.product,
            id: self.id.clone(),
            reference: self.reference.clone(),
            number: self.number.clone(),
            sent_at: text(self.sent_at),
            timeline: steps
                .iter()
                .map(|step| Moment { at: at(step.after), status: step.status.clone() })
                .collect(),
            ends_as: self.timeline.last().status.clone(),
            ended_at: at(self.timeline.last().after),
            status: self.step(now).map(|step| step.status.clone()),
            card_code: steps.iter().rev().find_map(|step| step.fields.text("card_code")),
            calls: self.calls,
        }
    }

    fn step(&self, now: Timestamp) -> Option<&Step> {
        let elapsed = between(self.sent_at, now);
        self.timeline.at(elapsed).filter(|_| elapsed >= self.visible_after)
    }
}
