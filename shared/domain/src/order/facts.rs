//! The vendor's fields of an order.

use serde::{Deserialize, Serialize, Serializer, ser};
use serde_json::value::RawValue;

use super::VendorStatus;

/// Declares [`Facts`]: each field is an `Option`, has a stored name, and is merged by `Facts::or`.
macro_rules! facts {
    ($($(#[$attribute:meta])* $name:ident as $stored:literal: $kind:ty,)*) => {
        /// The vendor's fields of both products (`check-id`), without the card code. A field is `None` until the vendor has sent it. The
        /// serialised form is the stored one: amounts and offers are the vendor's text.
        #[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
        #[serde(default)]
        pub struct Facts {
            $(
                $(#[$attribute])*
                #[serde(rename = $stored, skip_serializing_if = "Option::is_none")]
                pub $name: Option<$kind>,
            )*
        }

        impl Facts {
            /// Stored names of the fields.
            pub const STORED: &[&str] = &[$($stored,)*];

            /// These facts, with the gaps filled from `other`.
            fn or(self, other: Self) -> Self {
                Self { $($name: self.$name.or(other.$name),)* }
            }
        }
    };
}

facts! {
    /// `status`.
    status as "status": VendorStatus,
    /// `ref`: the merchant's reference, possibly with a prefix of the vendor.
    vendor_ref as "vendor_ref": String,
    /// `MSSIDN` (mobile) or `number` (internet).
    number as "number": String,
    /// `plan_code` (mobile).
    plan_code as "plan_code": String,
    /// `type`: `ADSL`, `4G` (internet).
    kind as "type": String,
    /// `topup_amount` in DZD, digits unchanged.
    #[serde(with = "verbatim")]
    topup_amount as "topup_amount": Amount,
    /// `balance_amount` (mobile) in DZD. The vendor's endpoints disagree on it: do not use it for accounting.
    #[serde(with = "verbatim")]
    balance_amount as "balance_amount": Amount,
    /// `refund_message`: Arabic text to display unchanged.
    refund_message as "refund_message": String,
    /// `suggested_offers`: the vendor's JSON with field order and unknown fields preserved.
    #[serde(with = "verbatim")]
    suggested_offers as "suggested_offers": JsonText,
    /// `num_trans` (internet): the operator's transaction number.
    num_trans as "num_trans": String,
    /// `date_traitement` (internet), as the vendor wrote it.
    date_traitement as "date_traitement": String,
    /// `follow_orderid` (mobile): the id that the order was redirected to.
    follow_order_id as "follow_order_id": String,
    /// `retry_orderid` (mobile): the id of a retry of the order.
    retry_order_id as "retry_order_id": String,
    /// `created_at`, as the vendor wrote it.
    created_at as "created_at": String,
}

impl Facts {
    /// These facts updated with a newer observation. Fields that it lacks are kept, except `status`, `refund_message` and
    /// `suggested_offers`, which belong to one observation and are cleared.
    pub fn replaced_by(&self, newer: Facts) -> Facts {
        let kept = Facts { status: None, refund_message: None, suggested_offers: None, ..self.clone() };
        newer.or(kept)
    }

    /// These facts with missing fields other than `status` filled in: for an order whose outcome has been published.
    pub fn completed_by(&self, newer: Facts) -> Facts {
        self.clone().or(Facts { status: None, ..newer })
    }
}

/// A field that is stored as the vendor's text.
trait Verbatim: Sized {
    fn text(&self) -> &str;
    fn of_text(text: String) -> Option<Self>;
}

impl Verbatim for Amount {
    fn text(&self) -> &str {
        self.as_str()
    }

    fn of_text(text: String) -> Option<Self> {
        Self::parse(&text)
    }
}

impl Verbatim for JsonText {
    fn text(&self) -> &str {
        self.get()
    }

    fn of_text(text: String) -> Option<Self> {
        Self::parse(text).ok()
    }
}

mod verbatim {
    use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};

    use super::Verbatim;

    pub(super) fn serialize<T: Verbatim, S: Serializer>(value: &Option<T>, to: S) -> Result<S::Ok, S::Error> {
        value.as_ref().map(Verbatim::text).serialize(to)
    }

    pub(super) fn deserialize<'de, T: Verbatim, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Option<T>, D::Error> {
        let text = Option::<String>::deserialize(from)?;
        // The message omits the text, which may be anything.
        text.map(|text| T::of_text(text).ok_or_else(|| D::Error::custom("invalid vendor text"))).transpose()
    }
}

/// An amount in DZD as the vendor wrote it (`490.00`): a JSON number of at most 64 characters within the range of a double.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(with = "f64", inline))]
pub struct Amount(String);

impl Amount {
    /// `None`: the text is not such a number.
    pub fn parse(text: &str) -> Option<Self> {
        let is_number = text.len() <= 64 && serde_json::from_str::<serde_json::Number>(text).is_ok();
        // The parser accepts whitespace around a number.
        (is_number && text.trim() == text).then(|| Self(text.to_owned()))
    }

    /// The number's text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Serialises as a JSON number with unchanged digits.
impl Serialize for Amount {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let raw: &RawValue = serde_json::from_str(&self.0).map_err(ser::Error::custom)?;
        raw.serialize(to)
    }
}

/// JSON kept as its original text: field order and unknown fields are preserved.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(transparent)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(with = "serde_json::Value", inline))]
pub struct JsonText(Box<RawValue>);

impl JsonText {
    /// Validates that the text is JSON.
    ///
    /// # Errors
    /// If it is not JSON.
    pub fn parse(text: String) -> Result<Self, serde_json::Error> {
        RawValue::from_string(text).map(Self)
    }

    /// The original text.
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
