//! Calls to the vendor about one order: `check-id` and `check-ref`.

use std::time::Duration;

use http::{Request, Response, StatusCode, Uri, header};
use hyper::body::Bytes;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use secrecy::ExposeSecret;

use super::{
    Oddities, VendorError, VendorOrder,
    envelope::{self, Head, Opened},
    json::text_of,
    order,
    reference::names,
};
use crate::{
    http::{CallError, Http, retry_after},
    order::{OrderKey, Product, Ref},
    secret::VendorKey,
};

/// Timeout of a call: connecting, sending and reading. The functions' own timeouts are longer.
const CALL_TIMEOUT: Duration = Duration::from_secs(8);
/// Identifies the tracker in the vendor's logs.
const USER_AGENT: &str = concat!("topup-tracker/", env!("CARGO_PKG_VERSION"));
/// Limit of a body, in bytes. An order's answer is a few hundred bytes; a longer body is not read to its end.
const MAX_BODY: usize = 1024 * 1024;
/// Percent-encodes everything but RFC 3986's unreserved characters: the vendor's prefix of a `ref` contains `+`.
const IN_PATH: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// The client of OneClickDz. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Vendor {
    http: Http,
    base_url: Uri,
}

/// The answer to a check.
#[derive(Debug)]
pub struct Answer {
    /// The order; `None`: the vendor does not know it.
    pub order: Option<VendorOrder>,
    /// `requestId`, the vendor's number of the call, if there was one.
    pub request_id: Option<String>,
    /// Fields that could not be read as documented.
    pub odd: Oddities,
}

impl Vendor {
    /// `base_url` includes the version: `https://api.oneclickdz.com/v3`.
    pub fn new(http: Http, base_url: Uri) -> Self {
        Self { http, base_url }
    }

    /// `GET /{product}/check-id/{id}`: checks one order by its id.
    ///
    /// # Errors
    /// See [`VendorError`]. "Not found" is an answer, not an error. An answer with another order's id is
    /// [`VendorError::Unreadable`].
    pub async fn check_id(&self, token: &VendorKey, key: &OrderKey) -> Result<Answer, VendorError> {
        let answer = self.check(token, key.product, "check-id", key.id.as_str()).await?;
        if answer.order.as_ref().is_some_and(|shown| shown.id != key.id) {
            return Err(VendorError::unreadable("data._id", "another order's id"));
        }
        Ok(answer)
    }

    /// `GET /{product}/check-ref/{asked}`: looks one order up by reference. The order shown must name `wanted`, the
    /// reference as the merchant gave it.
    ///
    /// # Errors
    /// See [`VendorError`]. "Not found" is an answer, not an error. An answer with another or no reference is
    /// [`VendorError::Unreadable`].
    pub async fn check_ref(
        &self,
        token: &VendorKey,
        product: Product,
        asked: &Ref,
        wanted: &Ref,
    ) -> Result<Answer, VendorError> {
        let in_path = utf8_percent_encode(asked.as_str(), IN_PATH).to_string();
        let answer = self.check(token, product, "check-ref", &in_path).await?;
        match answer.order.as_ref().map(|shown| shown.facts.vendor_ref.as_deref()) {
            Some(None) => Err(VendorError::unreadable("data.ref", "missing")),
            Some(Some(shown)) if !names(shown, wanted) => {
                Err(VendorError::unreadable("data.ref", "another order's ref"))
            }
            Some(Some(_)) | None => Ok(answer),
        }
    }

    async fn check(
        &self,
        token: &VendorKey,
        product: Product,
        call: &str,
        what: &str,
    ) -> Result<Answer, VendorError> {
        let answer = self.get(token, &format!("{product}/{call}/{what}"), MAX_BODY).await?;
        read_answer(product, answer.status(), retry_after(answer.headers()), answer.body())
    }

    /// Makes one call; `path` is relative to the base URL. Repeated once only if a reused connection broke.
    pub(super) async fn get(
        &self,
        token: &VendorKey,
        path: &str,
        most_body: usize,
    ) -> Result<Response<Bytes>, VendorError> {
        let base = self.base_url.to_string();
        let url = format!("{}/{path}", base.trim_end_matches('/'));
        let mut token = header::HeaderValue::from_str(token.expose_secret()).map_err(|_| {
            VendorError::KeyRefused { code: "the key is not a valid header value".to_owned() }
        })?;
        token.set_sensitive(true);
        let request = Request::get(url)
            .header(header::ACCEPT, "application/json")
            .header(header::USER_AGENT, USER_AGENT)
            .header("X-Access-Token", token)
            .body(())
            .map_err(|_| VendorError::Unavailable {
                what: "no URL can be made".to_owned(),
                retry_after: None,
            })?;
        self.http
            .ask(request, CALL_TIMEOUT, most_body)
            .await
            .map_err(|error| transport_error(error, most_body))
    }
}

/// Reads an answer about one order of `product`. The caller must compare the order's id or reference.
///
/// # Errors
/// See [`VendorError`]. "Not found" is an answer, not an error.
pub fn read_answer(
    product: Product,
    http: StatusCode,
    retry_after: Option<Duration>,
    body: &[u8],
) -> Result<Answer, VendorError> {
    let text = text_of(body);
    let mut odd = Oddities::default();
    match envelope::open(&Head { http, retry_after }, &text, &mut odd)? {
        Opened::UnknownOrder { request_id } => Ok(Answer { order: None, request_id, odd }),
        Opened::Data(envelope) => {
            let order = order::read(product, &envelope.data()?, &mut odd)?;
            Ok(Answer { order: Some(order), request_id: envelope.request_id, odd })
        }
    }
}

fn transport_error(error: CallError, most_body: usize) -> VendorError {
    match error {
        CallError::TooLong => VendorError::unreadable(".", &format!("longer than {} KiB", most_body / 1024)),
        CallError::Undecodable(what) => VendorError::unreadable(".", what),
        other => VendorError::Unavailable { what: other.to_string(), retry_after: None },
    }
}

#[cfg(test)]
mod tests;
