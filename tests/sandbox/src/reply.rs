//! Answers in the vendor's envelopes, and their delivery.

use std::io;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE, RETRY_AFTER};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::Response;
use futures_util::{StreamExt, stream};
use jiff::Timestamp;
use serde::Serialize;

use crate::clock::text;
use crate::numbers::Product;

/// How the body is sent.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Delivery {
    Whole,
    /// The headers and half of the body at once, the rest after this time.
    InHalves(Duration),
    /// The headers and half of the body, then the connection is closed.
    Cut,
}

/// An answer before it is sent.
pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: String,
    /// For the log of calls. It must hold no key and no card code.
    pub(crate) answered: String,
    /// Number of rows in a list answer.
    pub(crate) rows: Option<usize>,
    delivery: Delivery,
}

/// The two members that only the mobile envelope has.
#[derive(Clone, Copy)]
pub(crate) struct Envelope {
    pub(crate) product: Option<Product>,
    pub(crate) now: Timestamp,
}

#[derive(Serialize)]
struct Success<T, M> {
    success: bool,
    data: T,
    #[serde(skip_serializing_if = "Option::is_none")]
    meta: Option<M>,
    #[serde(rename = "requestId", skip_serializing_if = "Option::is_none")]
    request_id: Option<String>,
}

#[derive(Serialize)]
struct Meta {
    timestamp: String,
}

#[derive(Serialize)]
struct Failure<'a> {
    success: bool,
    error: Error<'a>,
    #[serde(rename = "requestId", skip_serializing_if = "Option::is_none")]
    request_id: Option<String>,
}

#[derive(Serialize)]
struct Error<'a> {
    code: &'a str,
    message: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Unrouted<'a> {
    message: &'a str,
    error: &'a str,
    status_code: u16,
}

impl Envelope {
    pub(crate) fn success(self, answered: &str, data: impl Serialize) -> Reply {
        let meta = (self.product == Some(Product::Mobile)).then(|| Meta { timestamp: text(self.now) });
        self.success_with(meta, answered, data)
    }

    /// Success with a given `meta`.
    pub(crate) fn success_with(
        self,
        meta: Option<impl Serialize>,
        answered: &str,
        data: impl Serialize,
    ) -> Reply {
        let request_id = self.request_id();
        Reply::json(StatusCode::OK, answered, &Success { success: true, data, meta, request_id })
    }

    pub(crate) fn failure(self, status: StatusCode, code: &str, message: &str) -> Reply {
        let error = Error { code, message };
        Reply::json(status, code, &Failure { success: false, error, request_id: self.request_id() })
    }

    pub(crate) fn not_found(self) -> Reply {
        self.failure(StatusCode::NOT_FOUND, "NOT_FOUND", "Top-up not found")
    }

    fn request_id(self) -> Option<String> {
        let made_up = || format!("req_{}_{:06x}", self.now.as_second(), fastrand::u32(..1 << 24));
        (self.product == Some(Product::Mobile)).then(made_up)
    }
}

impl Reply {
    pub(crate) fn new(status: StatusCode, content_type: HeaderValue, answered: &str, body: String) -> Self {
        let headers = HeaderMap::from_iter([(CONTENT_TYPE, content_type)]);
        Self { status, headers, body, answered: answered.to_owned(), rows: None, delivery: Delivery::Whole }
    }

    fn json(status: StatusCode, answered: &str, body: &impl Serialize) -> Self {
        let body = serde_json::to_string(body).unwrap_or_default();
        Self::new(status, HeaderValue::from_static("application/json; charset=utf-8"), answered, body)
    }

    /// The gateway's answer to an unknown path.
    pub(crate) fn unrouted(method: &str, path: &str) -> Self {
        let message = format!("Cannot {method} {path}");
        let body = Unrouted { message: &message, error: "Not Found", status_code: 404 };
        Self::json(StatusCode::NOT_FOUND, "no such route", &body)
    }

    pub(crate) fn retry_after(mut self, seconds: Option<u64>) -> Self {
        if let Some(seconds) = seconds {
            self.headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        self
    }

    pub(crate) fn listing(self, rows: usize) -> Self {
        Self { rows: Some(rows), ..self }
    }

    pub(crate) fn in_halves(self, wait: Duration) -> Self {
        Self { delivery: Delivery::InHalves(wait), ..self }
    }

    pub(crate) fn cut(self) -> Self {
        Self { delivery: Delivery::Cut, ..self }
    }

    pub(crate) fn into_response(self) -> Response {
        let mut head = Bytes::from(self.body);
        let length = head.len();
        let tail = head.split_off(length / 2);
        let (wait, end) = match self.delivery {
            Delivery::Whole => {
                let mut response = Response::new(Body::from([head, tail].concat()));
                *response.status_mut() = self.status;
                response.headers_mut().extend(self.headers);
                return response;
            }
            Delivery::InHalves(wait) => (wait, Ok(tail)),
            // The pause lets the first half reach the client before the connection closes.
            Delivery::Cut => (Duration::from_millis(50), Err(io::Error::other("cut off by a script"))),
        };
        let rest = async move {
            tokio::time::sleep(wait).await;
            end
        };
        let halves = stream::once(async move { Ok(head) }).chain(stream::once(rest));
        let mut response = Response::new(Body::from_stream(halves));
        *response.status_mut() = self.status;
        response.headers_mut().extend(self.headers);
        response.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(length));
        response
    }
}
