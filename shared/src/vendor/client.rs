//! One look: a call, and what it showed.

use std::time::Duration;

use reqwest::{Response, StatusCode, Url, header};
use secrecy::{ExposeSecret, SecretString};

use super::{
    VendorError,
    wire::{self, Envelope, InternetOrder, MobileOrder, Refusal},
};
use crate::order::{Facts, JsonText, OrderKey, Product};

/// A whole call: connect, ask, read. The functions' own limits are longer.
const CALL_TIMEOUT: Duration = Duration::from_secs(8);
/// An order's answer is a few hundred bytes. The record, its history item and the event each hold parts of it, and an
/// event may be 256 KiB: a longer answer is refused here, where it can be said.
const MOST_BODY: usize = 128 * 1024;

/// The longest documented status has 13 characters. An event says it up to three times.
const MOST_STATUS: usize = 200;

/// The vendor, asked with one key.
#[derive(Clone, Debug)]
pub struct Vendor {
    http: reqwest::Client,
    base_url: Url,
    key: SecretString,
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
    /// All but the card code.
    pub facts: Facts,
    /// `card_code`: worth money.
    pub card_code: Option<SecretString>,
}

impl Vendor {
    /// `base_url` is up to and including the version: `https://api.oneclickdz.com/v3`.
    pub fn new(http: reqwest::Client, base_url: Url, key: SecretString) -> Self {
        Self { http, base_url, key }
    }

    /// `GET /{product}/check-id/{id}`: one call, no repeat.
    ///
    /// # Errors
    /// See [`VendorError`]; "not found" is an answer.
    pub async fn check_id(&self, key: &OrderKey) -> Result<Answer, VendorError> {
        let url =
            format!("{}/{}/check-id/{}", self.base_url.as_str().trim_end_matches('/'), key.product, key.id);
        let mut token = header::HeaderValue::from_str(self.key.expose_secret())
            .map_err(|_| VendorError::KeyRefused { code: "the key is no header value".to_owned() })?;
        token.set_sensitive(true);
        let call = self.http.get(url).header("X-Access-Token", token).timeout(CALL_TIMEOUT);
        let response = call.send().await.map_err(|error| on_the_way(&error))?;
        let (status, retry_after) = (response.status(), retry_after(&response));
        let body = read_body(response).await?;
        match status {
            StatusCode::OK => read_order(key, &body),
            refused => classify(refused, retry_after, &body),
        }
    }
}

/// What a status other than 200 means. One match, from status and code to what the caller can do.
fn classify(status: StatusCode, retry_after: Option<Duration>, body: &[u8]) -> Result<Answer, VendorError> {
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

fn read_order(key: &OrderKey, body: &[u8]) -> Result<Answer, VendorError> {
    match key.product {
        Product::Mobile => read_envelope::<MobileOrder>(key, body),
        Product::Internet => read_envelope::<InternetOrder>(key, body),
    }
}

fn read_envelope<'a, T>(key: &OrderKey, body: &'a [u8]) -> Result<Answer, VendorError>
where
    T: serde::Deserialize<'a> + Into<(Option<String>, ShownOrder)>,
{
    let envelope: Envelope<T> = wire::read(body)?;
    let unreadable =
        |path: &str, what: &str| VendorError::Unreadable { path: path.into(), what: what.into() };
    if envelope.success == Some(false) {
        return Err(unreadable("success", "false, with HTTP 200"));
    }
    let data = envelope.data.ok_or_else(|| unreadable("data", "missing"))?;
    let (id, shown) = data.into();
    // What another order became is no news of this one.
    if id.is_some_and(|id| id != key.id.as_str()) {
        return Err(unreadable("data._id", "another order's id"));
    }
    let status = shown.facts.status.as_ref().map_or("", |status| status.as_str());
    if status.len() > MOST_STATUS {
        return Err(unreadable("data.status", "longer than any status"));
    }
    Ok(Answer { order: Some(shown), request_id: envelope.request_id })
}

impl From<MobileOrder> for (Option<String>, ShownOrder) {
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
        (order.id, ShownOrder { facts, card_code: None })
    }
}

impl From<InternetOrder> for (Option<String>, ShownOrder) {
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
        (order.id, ShownOrder { facts, card_code })
    }
}

async fn read_body(mut response: Response) -> Result<Vec<u8>, VendorError> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| on_the_way(&error))? {
        if body.len() + chunk.len() > MOST_BODY {
            let what = format!("longer than {} KiB", MOST_BODY / 1024);
            return Err(VendorError::Unreadable { path: ".".into(), what });
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

fn on_the_way(error: &reqwest::Error) -> VendorError {
    let what = match error {
        error if error.is_timeout() => "no answer in time",
        error if error.is_connect() => "no connection",
        error if error.is_body() || error.is_decode() => "answer cut off",
        _ => "connection broken",
    };
    VendorError::Unavailable { what: what.to_owned() }
}

/// `Retry-After` in seconds; the other form, a date, is not documented by the vendor.
fn retry_after(response: &Response) -> Option<Duration> {
    let text = response.headers().get(header::RETRY_AFTER)?.to_str().ok()?;
    text.trim().parse().ok().map(Duration::from_secs)
}

#[cfg(test)]
mod tests;
