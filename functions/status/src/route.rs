//! From method, path and body to a call: parsed here, trusted from here on.

use aws_lambda_events::apigw::ApiGatewayV2httpRequest;
use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::Value;
use shared::order::{OrderKey, Ref};

use crate::answer::Answer;

/// What is asked of an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Call {
    Track,
    Show,
    History,
    Card,
}

/// A call, and of which order.
#[derive(Debug)]
pub(crate) struct Route {
    pub(crate) call: Call,
    pub(crate) key: OrderKey,
}

/// The only body that we take is `{"ref": "…"}`.
const MOST_BODY: usize = 16 * 1024;

pub(crate) fn parse(method: &str, path: &str) -> Result<Route, Answer> {
    let segments: Vec<&str> = path.trim_end_matches('/').split('/').skip(1).collect();
    let (product, id, rest) = match segments.as_slice() {
        ["health"] => return Err(Answer::method_not_allowed("GET")),
        ["orders", product, id, rest @ ..] => (*product, *id, rest),
        _ => return Err(no_route()),
    };
    let product =
        product.parse().map_err(|error| Answer::problem(404, Some("product"), format!("{error}")))?;
    let (call, allowed) = match (method, rest) {
        ("PUT", []) => (Some(Call::Track), "GET, PUT"),
        ("GET", []) => (Some(Call::Show), "GET, PUT"),
        (_, []) => (None, "GET, PUT"),
        ("GET", ["history"]) => (Some(Call::History), "GET"),
        ("GET", ["card"]) => (Some(Call::Card), "GET"),
        (_, ["history" | "card"]) => (None, "GET"),
        _ => return Err(no_route()),
    };
    let call = call.ok_or_else(|| Answer::method_not_allowed(allowed))?;
    let id = id.parse().map_err(|error| Answer::problem(400, Some("id"), format!("{error}")))?;
    Ok(Route { call, key: OrderKey { product, id } })
}

fn no_route() -> Answer {
    Answer::problem(404, None, "there is nothing here; see /orders/{product}/{id}".to_owned())
}

/// The merchant's reference from the body; an empty body has none.
pub(crate) fn body(request: &ApiGatewayV2httpRequest) -> Result<Option<Ref>, Answer> {
    let bad = |field: &str, why: String| Answer::problem(400, Some(field), why);
    let text = request.body.as_deref().unwrap_or_default();
    let too_large = || Answer::problem(413, Some("body"), "a body has at most 16 KB".to_owned());
    if text.len() > MOST_BODY * 2 {
        return Err(too_large());
    }
    let bytes = if request.is_base64_encoded {
        STANDARD.decode(text).map_err(|_| bad("body", "body is not the base64 it says it is".to_owned()))?
    } else {
        text.as_bytes().to_vec()
    };
    if bytes.len() > MOST_BODY {
        return Err(too_large());
    }
    if bytes.iter().all(u8::is_ascii_whitespace) {
        return Ok(None);
    }
    let body: Value =
        serde_json::from_slice(&bytes).map_err(|_| bad("body", "body is not JSON".to_owned()))?;
    let Value::Object(mut fields) = body else {
        return Err(bad("body", "body must be an object such as {\"ref\": \"order-123\"}".to_owned()));
    };
    match fields.remove("ref") {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => {
            Ref::try_from(text).map(Some).map_err(|error| bad("ref", error.to_string()))
        }
        Some(_) => Err(bad("ref", "ref must be a string".to_owned())),
    }
}
