//! The envelope around the data: `{success, data, meta?, requestId?}` or `{success: false, error: {code, message,
//! details?}, requestId?}`. Gateways answer `{message, error, statusCode}`, or something that is not JSON.

use std::time::Duration;

use http::StatusCode;

use super::{
    VendorError,
    json::{Object, Oddities},
    meaning::{self, Meaning},
};

/// Limit of `requestId`, in bytes as JSON; longer ones are cut.
const MAX_REQUEST_ID: usize = 200;
/// Limit of a code, in bytes as JSON. The longest documented code has 21 characters.
const MAX_CODE: usize = 64;

/// The head of an answer with any HTTP status.
#[derive(Debug)]
pub(super) struct Head {
    pub(super) http: StatusCode,
    pub(super) retry_after: Option<Duration>,
}

/// A parsed answer whose `data` is not read yet.
#[derive(Debug)]
pub(super) struct Envelope<'a> {
    document: Object<'a>,
    /// `requestId`.
    pub(super) request_id: Option<String>,
}

/// A parsed answer.
#[derive(Debug)]
pub(super) enum Opened<'a> {
    /// It has data, to be read.
    Data(Envelope<'a>),
    /// The vendor does not know the order.
    UnknownOrder {
        /// `requestId`.
        request_id: Option<String>,
    },
}

/// Parses an answer and applies the table in [`meaning`].
///
/// # Errors
/// See [`VendorError`].
pub(super) fn open<'a>(head: &Head, text: &'a str, odd: &mut Oddities) -> Result<Opened<'a>, VendorError> {
    let http = head.http.as_u16();
    let retry_after = head.retry_after;
    let document = Object::document(text);
    let code = document.as_ref().ok().and_then(code_of);
    let code_text = || code.clone().unwrap_or_default();
    match meaning::of_answer(http, code.as_deref()) {
        Meaning::Data => {
            let document = document?;
            let request_id = document.text("requestId", MAX_REQUEST_ID, odd);
            Ok(Opened::Data(Envelope { document, request_id }))
        }
        Meaning::UnknownOrder => {
            let request_id =
                document.ok().and_then(|document| document.text("requestId", MAX_REQUEST_ID, odd));
            Ok(Opened::UnknownOrder { request_id })
        }
        Meaning::Rejected => Err(VendorError::Rejected { http, code: code_text() }),
        Meaning::KeyRefused => Err(VendorError::KeyRefused { code: code_text() }),
        Meaning::SlowDown => Err(VendorError::Throttled { retry_after }),
        Meaning::TryAgain => {
            let what = format!("HTTP {http} {}", code_text());
            // Only 503 says that the vendor, or a gateway, is down for a while.
            let retry_after = retry_after.filter(|_| head.http == StatusCode::SERVICE_UNAVAILABLE);
            Err(VendorError::Unavailable { what: what.trim_end().to_owned(), retry_after })
        }
        Meaning::Unreadable => {
            Err(VendorError::unreadable("error.code", "an undocumented code with a success status"))
        }
    }
}

impl<'a> Envelope<'a> {
    /// `data`.
    ///
    /// # Errors
    /// [`VendorError::Unreadable`] if it is missing or not an object.
    pub(super) fn data(&self) -> Result<Object<'a>, VendorError> {
        let value = self.document.get("data").ok_or_else(|| VendorError::unreadable("data", "missing"))?;
        Object::at("data".to_owned(), value)
            .ok_or_else(|| VendorError::unreadable("data", super::json::kind(value)))
    }

    /// `meta`.
    pub(super) fn meta(&self, odd: &mut Oddities) -> Option<Object<'a>> {
        self.document.object("meta", odd)
    }
}

/// The code of an answer: `error.code`; else `code` or `error`, if its value is a documented code.
fn code_of(document: &Object<'_>) -> Option<String> {
    let mut nothing = Oddities::default();
    let text = |object: &Object<'_>, name: &str| {
        object.text(name, MAX_CODE, &mut Oddities::default()).filter(|code| !code.is_empty())
    };
    let error = document.object("error", &mut nothing);
    let of_error = error.and_then(|error| text(&error, "code"));
    let documented = |name| text(document, name).filter(|code| meaning::of_code(code).is_some());
    of_error.or_else(|| documented("code")).or_else(|| documented("error"))
}

#[cfg(test)]
mod tests;
