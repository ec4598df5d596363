//! HTTP answers: JSON, and errors as `application/problem+json` (RFC 9457).

use std::fmt;

use aws_lambda_events::{
    apigw::ApiGatewayV2httpResponse,
    encodings::Body,
    http::{HeaderMap, HeaderName, HeaderValue, header},
};
use serde::Serialize;
use serde_json::json;
use shared::refresh::Counters;

/// An answer to be sent. Its body may hold a card code, so `Debug` prints the status only.
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// Counters of the request, and why it made no vendor call, if it could have made one.
    pub(crate) counted: Box<(Counters, Option<&'static str>)>,
    body: String,
    problem: bool,
    header: Option<(HeaderName, HeaderValue)>,
}

impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Answer({})", self.status)
    }
}

impl Answer {
    pub(crate) fn json(status: u16, body: &impl Serialize) -> Self {
        match serde_json::to_string(body) {
            Ok(body) => Self::of(status, body, false),
            Err(_) => Self::problem(500, None, "the answer could not be serialised".to_owned()),
        }
    }

    pub(crate) fn ok(body: &impl Serialize) -> Self {
        Self::json(200, body)
    }

    fn of(status: u16, body: String, problem: bool) -> Self {
        Self { status, counted: Box::default(), body, problem, header: None }
    }

    /// Adds counts for the summary line, and sets its reason.
    pub(crate) fn counted(mut self, counters: Counters, no_call_reason: Option<&'static str>) -> Self {
        self.counted.0 += counters;
        self.counted.1 = no_call_reason;
        self
    }

    /// A problem; `field` names the part of the request that caused it.
    pub(crate) fn problem(status: u16, field: Option<&str>, detail: String) -> Self {
        let mut body =
            json!({"type": "about:blank", "title": title(status), "status": status, "detail": detail});
        if let (Some(field), Some(members)) = (field, body.as_object_mut()) {
            members.insert("field".to_owned(), field.into());
        }
        Self::of(status, body.to_string(), true)
    }

    pub(crate) fn unauthorized() -> Self {
        let problem =
            Self::problem(401, None, "missing or unknown token; send Authorization: Bearer …".to_owned());
        problem.with(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"))
    }

    pub(crate) fn method_not_allowed(allowed: &'static str) -> Self {
        let problem = Self::problem(405, None, format!("allowed methods: {allowed}"));
        problem.with(header::ALLOW, HeaderValue::from_static(allowed))
    }

    /// 503: the table or the card key is unavailable.
    pub(crate) fn unavailable() -> Self {
        let problem = Self::problem(503, None, "the tracker's store is not available; try again".to_owned());
        problem.with(header::RETRY_AFTER, HeaderValue::from_static("1"))
    }

    /// 503: the secret could not be read for 5 min, so that tokens cannot be checked.
    pub(crate) fn tokens_unknown() -> Self {
        let detail = "tokens cannot be checked: the secret cannot be read; try again";
        Self::problem(503, None, detail.to_owned()).retry_after(10)
    }

    /// Adds `Retry-After`, in seconds.
    pub(crate) fn retry_after(self, seconds: u64) -> Self {
        self.with(header::RETRY_AFTER, HeaderValue::from(seconds))
    }

    fn with(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.header = Some((name, value));
        self
    }

    pub(crate) fn into_response(self) -> ApiGatewayV2httpResponse {
        let kind = if self.problem { "application/problem+json" } else { "application/json" };
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        headers.extend(self.header);
        let mut response = ApiGatewayV2httpResponse::default();
        response.status_code = i64::from(self.status);
        response.headers = headers;
        response.body = Some(Body::Text(self.body));
        response
    }
}

fn title(status: u16) -> &'static str {
    http::StatusCode::from_u16(status).ok().and_then(|status| status.canonical_reason()).unwrap_or("Error")
}
