//! One look: a call, and what it showed.

use std::time::Duration;

use http::{HeaderMap, Request, Response, StatusCode, Uri, header};
use hyper::body::Bytes;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use secrecy::{ExposeSecret, SecretString};

use super::{
    VendorError,
    wire::{self, Envelope, InternetOrder, MobileOrder, Refusal},
};
use crate::{
    http::{CallError, Http},
    order::{Facts, JsonText, OrderKey, Product, Ref},
    secret::VendorKey,
};

/// A whole call: connect, ask, read. The functions' own limits are longer.
const CALL_TIMEOUT: Duration = Duration::from_secs(8);
/// An order's answer is a few hundred bytes; nothing longer than this is read to its end.
const MOST_BODY: usize = 1024 * 1024;
/// What is kept of an order goes into its record, its history and an event, and an event may be 256 KiB: a longer answer is
/// refused here, where it can be said.
const MOST_KEPT: usize = 128 * 1024;

/// The longest documented status has 13 characters. An event says it up to three times.
const MOST_STATUS: usize = 200;

/// Everything but letters, digits and what RFC 3986 leaves alone: a `ref` comes back with `+`.
const IN_PATH: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// The vendor.
#[derive(Clone, Debug)]
pub struct Vendor {
    http: Http,
    base_url: Uri,
}

/// What a look showed, with the vendor's own number of the call for the logs.
#[derive(Debug)]
pub struct Answer {
    /// The order; `None`: the vendor said that it does not know it.
    pub order: Option<ShownOrder>,
    /// `requestId`, if there was one.
    pub request_id: Option<String>,
}

/// An order as the vendor showed it, its card code still in clear.
#[derive(Debug)]
pub struct ShownOrder {
    /// `_id`.
    pub id: Option<String>,
    /// All but the card code.
    pub facts: Facts,
    /// `card_code`: worth money.
    pub card_code: Option<SecretString>,
}

impl Vendor {
    /// `base_url` is up to and including the version: `https://api.oneclickdz.com/v3`.
    pub fn new(http: Http, base_url: Uri) -> Self {
        Self { http, base_url }
    }

    /// `GET /{product}/check-id/{id}`: one call, no repeat.
    ///
    /// # Errors
    /// See [`VendorError`]; "not found" is an answer.
    pub async fn check_id(&self, token: &VendorKey, key: &OrderKey) -> Result<Answer, VendorError> {
        let answer = self.check(token, key.product, "check-id", key.id.as_str()).await?;
        // What another order became is no news of this one.
        let id = answer.order.as_ref().and_then(|shown| shown.id.as_ref());
        if id.is_some_and(|id| id != key.id.as_str()) {
            return Err(unreadable("data._id", "another order's id"));
        }
        Ok(answer)
    }

    /// `GET /{product}/check-ref/{ref}`: one call, no repeat. An order that is shown has an id.
    ///
    /// # Errors
    /// See [`VendorError`]; "not found" is an answer.
    pub async fn check_ref(
        &self,
        token: &VendorKey,
        product: Product,
        reference: &Ref,
    ) -> Result<Answer, VendorError> {
        let in_path = utf8_percent_encode(reference.as_str(), IN_PATH).to_string();
        let answer = self.check(token, product, "check-ref", &in_path).await?;
        if let Some(shown) = &answer.order {
            if shown.id.is_none() {
                return Err(unreadable("data._id", "missing"));
            }
            if shown.facts.vendor_ref.as_ref().is_some_and(|shown| !reference.names(shown)) {
                return Err(unreadable("data.ref", "another order's ref"));
            }
        }
        Ok(answer)
    }

    async fn check(
        &self,
        token: &VendorKey,
        product: Product,
        call: &str,
        what: &str,
    ) -> Result<Answer, VendorError> {
        let answer = self.get(token, &format!("{product}/{call}/{what}"), MOST_BODY).await?;
        match answer.status() {
            StatusCode::OK => read_order(product, answer.body()),
            refused => classify(refused, retry_after(answer.headers()), answer.body()),
        }
    }

    /// One call, no repeat; `path` is below the base address.
    pub(super) async fn get(
        &self,
        token: &VendorKey,
        path: &str,
        most_body: usize,
    ) -> Result<Response<Bytes>, VendorError> {
        let base = self.base_url.to_string();
        let url = format!("{}/{path}", base.trim_end_matches('/'));
        let mut token = header::HeaderValue::from_str(token.expose_secret())
            .map_err(|_| VendorError::KeyRefused { code: "the key is no header value".to_owned() })?;
        token.set_sensitive(true);
        let request = Request::get(url)
            .header(header::ACCEPT, "application/json")
            .header("X-Access-Token", token)
            .body(Bytes::new())
            .map_err(|_| VendorError::Unavailable { what: "no URL can be made".to_owned() })?;
        self.http.call(request, CALL_TIMEOUT, most_body).await.map_err(|error| on_the_way(error, most_body))
    }
}

/// What a status other than 200 means. One match, from status and code to what the caller can do.
///
/// # Errors
/// Always, but for the vendor's own "not found".
pub fn classify(
    status: StatusCode,
    retry_after: Option<Duration>,
    body: &[u8],
) -> Result<Answer, VendorError> {
    let refusal = wire::read::<Refusal>(body).ok();
    let request_id = refusal.as_ref().and_then(|refusal| refusal.request_id.clone());
    let code: String =
        refusal.map(|refusal| refusal.error.code.chars().take(64).collect()).unwrap_or_default();
    match (status.as_u16(), code.as_str()) {
        (404, "NOT_FOUND") => Ok(Answer { order: None, request_id }),
        (429, _) => Err(VendorError::Throttled { retry_after }),
        (401, _) | (403, "IP_BLOCKED" | "IP_NOT_ALLOWED" | "API_DISABLED") => {
            Err(VendorError::KeyRefused { code })
        }
        (400 | 403, _) => Err(VendorError::Rejected { http: status.as_u16(), code }),
        // A 404 without the vendor's own envelope is a gateway's: it says nothing about the order.
        (http, _) => {
            Err(VendorError::Unavailable { what: format!("HTTP {http} {code}").trim_end().to_owned() })
        }
    }
}

/// Reads the body of a 200. Whose order it is about is for the caller to compare.
///
/// # Errors
/// [`VendorError::Unreadable`]: it has another form.
pub fn read_order(product: Product, body: &[u8]) -> Result<Answer, VendorError> {
    match product {
        Product::Mobile => read_envelope::<MobileOrder>(body),
        Product::Internet => read_envelope::<InternetOrder>(body),
    }
}

fn read_envelope<'a, T>(body: &'a [u8]) -> Result<Answer, VendorError>
where
    T: serde::Deserialize<'a> + Into<ShownOrder>,
{
    let envelope: Envelope<T> = wire::read(body)?;
    if envelope.success == Some(false) {
        return Err(unreadable("success", "false, with HTTP 200"));
    }
    let shown = kept(envelope.data.ok_or_else(|| unreadable("data", "missing"))?.into())?;
    Ok(Answer { order: Some(shown), request_id: envelope.request_id })
}

/// Refuses an order that is longer than can be kept.
pub(super) fn kept(shown: ShownOrder) -> Result<ShownOrder, VendorError> {
    let status = shown.facts.status.as_ref().map_or("", |status| status.as_str());
    if status.len() > MOST_STATUS {
        return Err(unreadable("data.status", "longer than any status"));
    }
    if shown.facts.text_len() > MOST_KEPT {
        return Err(unreadable("data", "longer than can be kept"));
    }
    Ok(shown)
}

pub(super) fn unreadable(path: &str, what: &str) -> VendorError {
    VendorError::Unreadable { path: path.into(), what: what.into() }
}

impl From<MobileOrder> for ShownOrder {
    fn from(order: MobileOrder) -> Self {
        let facts = Facts {
            status: order.status,
            vendor_ref: order.reference,
            number: order.number,
            plan_code: order.plan_code,
            kind: None,
            topup_amount: order.topup_amount,
            balance_amount: order.balance_amount,
            refund_message: order.refund_message,
            suggested_offers: order.suggested_offers.map(JsonText::from),
            num_trans: None,
            date_traitement: None,
            follow_order_id: order.follow_orderid,
            retry_order_id: order.retry_orderid,
            created_at: order.created_at,
        };
        Self { id: order.id, facts, card_code: None }
    }
}

impl From<InternetOrder> for ShownOrder {
    fn from(order: InternetOrder) -> Self {
        let facts = Facts {
            status: order.status,
            vendor_ref: order.reference,
            number: order.number,
            kind: order.kind,
            topup_amount: order.topup_amount,
            refund_message: order.refund_message,
            num_trans: order.num_trans,
            date_traitement: order.date_traitement,
            created_at: order.created_at,
            ..Facts::default()
        };
        // An empty text is no card.
        let card_code = order.card_code.filter(|code| !code.expose_secret().is_empty());
        Self { id: order.id, facts, card_code }
    }
}

fn on_the_way(error: CallError, most_body: usize) -> VendorError {
    match error {
        CallError::TooLong => unreadable(".", &format!("longer than {} KiB", most_body / 1024)),
        other => VendorError::Unavailable { what: other.to_string() },
    }
}

/// `Retry-After` in seconds; the other form, a date, is not documented by the vendor.
pub(super) fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(header::RETRY_AFTER)?.to_str().ok()?;
    text.trim().parse().ok().map(Duration::from_secs)
}

#[cfg(test)]
mod tests;
