//! The vendor's JSON: every field of the two pages, both error envelopes.
//!
//! A documented field may be missing or `null`; a field we do not know is passed over; a field of another type than
//! documented makes the answer unreadable. Writing back exists in tests only, so that no code path can print a card code.

use secrecy::SecretString;
use serde::Deserialize;
use serde_json::{Number, value::RawValue};

use super::VendorError;
use crate::order::VendorStatus;

#[derive(Debug, Deserialize)]
#[cfg_attr(test, derive(serde::Serialize))]
pub(super) struct Envelope<T> {
    pub(super) success: Option<bool>,
    pub(super) data: Option<T>,
    #[cfg_attr(test, serde(skip_serializing_if = "Option::is_none"))]
    #[allow(dead_code, reason = "read so that its type is checked; the vendor's clock decides nothing")]
    pub(super) meta: Option<Meta>,
    #[serde(rename = "requestId")]
    #[cfg_attr(test, serde(skip_serializing_if = "Option::is_none"))]
    pub(super) request_id: Option<String>,
}

#[derive(Debug, Deserialize)]
#[cfg_attr(test, derive(serde::Serialize))]
pub(super) struct Meta {
    #[allow(dead_code, reason = "as above")]
    pub(super) timestamp: Option<String>,
}

/// `data` of `GET /mobile/check-id/{id}` (page "Check Status by ID").
#[derive(Debug, Deserialize)]
#[cfg_attr(test, derive(serde::Serialize))]
pub(super) struct MobileOrder {
    #[serde(rename = "_id")]
    #[cfg_attr(test, serde(skip_serializing_if = "Option::is_none"))]
    pub(super) id: Option<String>,
    #[serde(rename = "ref")]
    #[cfg_attr(test, serde(skip_serializing_if = "Option::is_none"))]
    pub(super) reference: Option<String>,
    #[cfg_attr(test, serde(skip_serializing_if = "Option::is_none"))]
    pub(super) status: Option<VendorStatus>,
    #[cfg_attr(test, serde(skip_serializing_if = "Option::is_none"))]
    pub(super) plan_code: Option<String>,
    /// The vendor's spelling.
    #[serde(rename = "MSSIDN")]
    #[cfg_attr(test, serde(skip_serializing_if = "Option::is_none"))]
    pub(super) number: Option<String>,
    #[cfg_attr(test, serde(skip_serializing_if = "Option::is_none"))]
    pub(super) topup_amount: Option<Number>,
    #[cfg_attr(test, serde(skip_serializing_if = "Option::is_none"))]
    pub(super) balance_amount: Option<Number>,
    #[cfg_attr(test, serde(skip_serializing_if = "Option::is_none"))]
    pub(super) created_at: Option<String>,
    #[cfg_attr(test, serde(skip_serializing_if = "Option::is_none"))]
    pub(super) refund_message: Option<String>,
    #[cfg_attr(test, serde(skip_serializing_if = "Option::is_none"))]
    pub(super) suggested_offers: Option<Box<RawValue>>,
    #[cfg_attr(test, serde(skip_serializing_if = "Option::is_none"))]
    pub(super) follow_orderid: Option<String>,
    #[cfg_attr(test, serde(skip_serializing_if = "Option::is_none"))]
    pub(super) retry_orderid: Option<String>,
}

/// `data` of `GET /internet/check-id/{id}` (page "Status Tracking & Polling").
#[derive(Debug, Deserialize)]
#[cfg_attr(test, derive(serde::Serialize))]
pub(super) struct InternetOrder {
    #[serde(rename = "_id")]
    #[cfg_attr(test, serde(skip_serializing_if = "Option::is_none"))]
    pub(super) id: Option<String>,
    #[serde(rename = "ref")]
    #[cfg_attr(test, serde(skip_serializing_if = "Option::is_none"))]
    pub(super) reference: Option<String>,
    #[cfg_attr(test, serde(skip_serializing_if = "Option::is_none"))]
    pub(super) status: Option<VendorStatus>,
    #[serde(rename = "type")]
    #[cfg_attr(test, serde(skip_serializing_if = "Option::is_none"))]
    pub(super) kind: Option<String>,
    #[cfg_attr(test, serde(skip_serializing_if = "Option::is_none"))]
    pub(super) number: Option<String>,
    #[cfg_attr(test, serde(skip_serializing_if = "Option::is_none"))]
    pub(super) topup_amount: Option<Number>,
    #[cfg_attr(test, serde(skip_serializing_if = "Option::is_none", serialize_with = "tests::write_card"))]
    pub(super) card_code: Option<SecretString>,
    #[cfg_attr(test, serde(skip_serializing_if = "Option::is_none"))]
    pub(super) num_trans: Option<String>,
    #[cfg_attr(test, serde(skip_serializing_if = "Option::is_none"))]
    pub(super) date_traitement: Option<String>,
    #[cfg_attr(test, serde(skip_serializing_if = "Option::is_none"))]
    pub(super) created_at: Option<String>,
    /// Not on the internet page, but on the mobile one: kept if it ever comes.
    #[cfg_attr(test, serde(skip_serializing_if = "Option::is_none"))]
    pub(super) refund_message: Option<String>,
}

/// `{success:false, error:{code,message,details?}, requestId?}`.
#[derive(Debug, Deserialize)]
pub(super) struct Refusal {
    pub(super) error: RefusalBody,
    #[serde(rename = "requestId")]
    pub(super) request_id: Option<String>,
}

#[derive(Debug, Deserialize)]
pub(super) struct RefusalBody {
    pub(super) code: String,
}

/// Reads `body` as `T`; an error names the field and the kind of trouble, never the text that stood there.
pub(super) fn read<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, VendorError> {
    let mut json = serde_json::Deserializer::from_slice(body);
    let value = serde_path_to_error::deserialize(&mut json).map_err(|error| VendorError::Unreadable {
        path: path_of(&error),
        what: kind_of(error.inner()).to_owned(),
    })?;
    json.end()
        .map_err(|error| VendorError::Unreadable { path: ".".into(), what: kind_of(&error).to_owned() })?;
    Ok(value)
}

fn path_of<E>(error: &serde_path_to_error::Error<E>) -> String {
    error.path().to_string().chars().take(100).collect()
}

fn kind_of(error: &serde_json::Error) -> &'static str {
    match error.classify() {
        serde_json::error::Category::Data => "not the documented type",
        serde_json::error::Category::Eof => "cut off",
        serde_json::error::Category::Syntax | serde_json::error::Category::Io => "not JSON",
    }
}

#[cfg(test)]
mod tests;
