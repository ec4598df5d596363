//! What the vendor has said about an order.

use serde::{Deserialize, Serialize, Serializer, ser};
use serde_json::value::RawValue;

use super::VendorStatus;

/// The vendor's fields of both products (`check-id`), less the card code. A field is `None` until the vendor sent it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Facts {
    /// `status`.
    pub status: Option<VendorStatus>,
    /// `ref`: the merchant's reference, perhaps with the vendor's prefix.
    pub vendor_ref: Option<String>,
    /// `MSSIDN` (mobile) or `number` (internet).
    pub number: Option<String>,
    /// `plan_code` (mobile).
    pub plan_code: Option<String>,
    /// `type`: `ADSL`, `4G` (internet).
    pub kind: Option<String>,
    /// `topup_amount`, in DZD, with the vendor's digits.
    pub topup_amount: Option<Amount>,
    /// `balance_amount` (mobile), in DZD. It differs between the vendor's endpoints: derive no money from it.
    pub balance_amount: Option<Amount>,
    /// `refund_message`: Arabic, to be shown as it is.
    pub refund_message: Option<String>,
    /// `suggested_offers`: the vendor's JSON, order and unknown fields kept.
    pub suggested_offers: Option<JsonText>,
    /// `num_trans` (internet): the operator's number of the transaction.
    pub num_trans: Option<String>,
    /// `date_traitement` (internet), as the vendor wrote it.
    pub date_traitement: Option<String>,
    /// `follow_orderid`: the order lives on under this id (mobile, redirected).
    pub follow_order_id: Option<String>,
    /// `retry_orderid`: the order was tried again under this id (mobile).
    pub retry_order_id: Option<String>,
    /// `created_at`, as the vendor wrote it.
    pub created_at: Option<String>,
}

impl Facts {
    /// These facts after a newer observation: what it says replaces what was said; `refund_message` and
    /// `suggested_offers` also by absence, since they belong to one status; other fields are kept where it is silent.
    pub fn replaced_by(&self, newer: Facts) -> Facts {
        Facts {
            status: newer.status,
            refund_message: newer.refund_message,
            suggested_offers: newer.suggested_offers,
            vendor_ref: newer.vendor_ref.or_else(|| self.vendor_ref.clone()),
            number: newer.number.or_else(|| self.number.clone()),
            plan_code: newer.plan_code.or_else(|| self.plan_code.clone()),
            kind: newer.kind.or_else(|| self.kind.clone()),
            topup_amount: newer.topup_amount.or_else(|| self.topup_amount.clone()),
            balance_amount: newer.balance_amount.or_else(|| self.balance_amount.clone()),
            num_trans: newer.num_trans.or_else(|| self.num_trans.clone()),
            date_traitement: newer.date_traitement.or_else(|| self.date_traitement.clone()),
            follow_order_id: newer.follow_order_id.or_else(|| self.follow_order_id.clone()),
            retry_order_id: newer.retry_order_id.or_else(|| self.retry_order_id.clone()),
            created_at: newer.created_at.or_else(|| self.created_at.clone()),
        }
    }

    /// These facts with only the gaps filled: for an order whose outcome has been announced.
    pub fn completed_by(&self, newer: Facts) -> Facts {
        let this = self.clone();
        Facts {
            status: this.status,
            refund_message: this.refund_message.or(newer.refund_message),
            suggested_offers: this.suggested_offers.or(newer.suggested_offers),
            vendor_ref: this.vendor_ref.or(newer.vendor_ref),
            number: this.number.or(newer.number),
            plan_code: this.plan_code.or(newer.plan_code),
            kind: this.kind.or(newer.kind),
            topup_amount: this.topup_amount.or(newer.topup_amount),
            balance_amount: this.balance_amount.or(newer.balance_amount),
            num_trans: this.num_trans.or(newer.num_trans),
            date_traitement: this.date_traitement.or(newer.date_traitement),
            follow_order_id: this.follow_order_id.or(newer.follow_order_id),
            retry_order_id: this.retry_order_id.or(newer.retry_order_id),
            created_at: this.created_at.or(newer.created_at),
        }
    }
}

/// An amount in DZD as the vendor wrote it: a JSON number of at most 64 characters within the range of a double, none of its digits changed
/// (`490.00`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Amount(String);

impl Amount {
    /// `None`: the text is no such number.
    pub fn parse(text: &str) -> Option<Self> {
        let is_number = text.len() <= 64 && serde_json::from_str::<serde_json::Number>(text).is_ok();
        // The parser takes space around a number.
        (is_number && text.trim() == text).then(|| Self(text.to_owned()))
    }

    /// The number's text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// As a JSON number, digit by digit.
impl Serialize for Amount {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let raw: &RawValue = serde_json::from_str(&self.0).map_err(ser::Error::custom)?;
        raw.serialize(to)
    }
}

/// JSON kept as the text it came in, so that nothing of it is reordered or dropped.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct JsonText(Box<RawValue>);

impl JsonText {
    /// Takes text that is JSON.
    ///
    /// # Errors
    /// If it is not.
    pub fn parse(text: String) -> Result<Self, serde_json::Error> {
        RawValue::from_string(text).map(Self)
    }

    /// The text.
    pub fn get(&self) -> &str {
        self.0.get()
    }
}

impl PartialEq for JsonText {
    fn eq(&self, other: &Self) -> bool {
        self.get() == other.get()
    }
}

impl From<Box<RawValue>> for JsonText {
    fn from(raw: Box<RawValue>) -> Self {
        Self(raw)
    }
}
