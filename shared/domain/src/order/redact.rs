//! Redaction: removes the personal data of an order that has ended, and of its events. The id, the status, the times, the amounts and the
//! numbers of the events stay.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::Serialize;
use serde_json::value::RawValue;

use super::{Event, Facts, Order};

/// Why an order keeps its personal data.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotRedactable {
    /// The vendor has not stated its outcome.
    #[error("the order is not final")]
    NotFinal,
    /// An event about it was not published: the shop would get it without its data.
    #[error("an event of the order is not published yet")]
    Unpublished,
    /// The vendor may still retry it after the refund, or send its card.
    #[error("the order has checks left, for a retry after the refund or for its card")]
    ChecksLeft,
    /// It was redacted before.
    #[error("the order is redacted already")]
    Redacted,
}

impl Order {
    /// The order without its number, its references, the vendor's messages and the card. It is never due again. An order can be redacted
    /// again if it got such data back from a version of the tracker that knows no redaction.
    ///
    /// # Errors
    /// If the order must keep this data.
    pub fn redacted(&self, now: Timestamp) -> Result<Self, NotRedactable> {
        match self {
            order if !order.phase.is_final() => return Err(NotRedactable::NotFinal),
            order if order.published < order.seq => return Err(NotRedactable::Unpublished),
            order if order.awaits_late_check() => return Err(NotRedactable::ChecksLeft),
            _ => {}
        }
        let facts = Facts {
            vendor_ref: None,
            number: None,
            refund_message: None,
            suggested_offers: None,
            num_trans: None,
            ..self.facts.clone()
        };
        let has_none = self.reference.is_none() && self.card.is_none() && self.facts == facts;
        if has_none && self.redacted_at.is_some() {
            return Err(NotRedactable::Redacted);
        }
        let redacted_at = Some(now);
        Ok(Self {
            facts,
            reference: None,
            card: None,
            next_check_at: None,
            recheck_asked_at: None,
            redacted_at,
            ..self.clone()
        })
    }
}

/// Any field of an event or an order. The values stay as text, so that amounts keep their digits.
type Fields = BTreeMap<String, Box<RawValue>>;

impl Event {
    /// The event with the same data removed from the order in its detail.
    ///
    /// # Errors
    /// If the detail is no JSON object with an order.
    pub fn redacted(&self, now: Timestamp) -> Result<Self, serde_json::Error> {
        let mut detail: Fields = serde_json::from_str(&self.detail)?;
        let mut order: Fields =
            serde_json::from_str(detail.get("order").map_or("null", |order| order.get()))?;
        for name in ["ref", "vendor_ref", "number", "refund_message", "suggested_offers", "num_trans"] {
            order.insert(name.to_owned(), raw(&())?);
        }
        order.insert("card".to_owned(), raw(&Card { available: false, masked: None })?);
        order.insert("redacted_at".to_owned(), raw(&now)?);
        detail.insert("order".to_owned(), raw(&order)?);
        if let Some(note) = detail.get_mut("note") {
            *note = raw(&())?;
        }
        Ok(Self { detail: serde_json::to_string(&detail)?, ..self.clone() })
    }
}

#[derive(Serialize)]
struct Card {
    available: bool,
    masked: Option<()>,
}

fn raw(value: &impl Serialize) -> Result<Box<RawValue>, serde_json::Error> {
    serde_json::value::to_raw_value(value)
}
