//! From method, path and body to a call: parsed here, trusted from here on.

use aws_lambda_events::apigw::ApiGatewayV2httpRequest;
use base64::{Engine, engine::general_purpose::STANDARD};
use percent_encoding::percent_decode_str;
use serde_json::Value;
use shared::order::{OrderKey, Product, Ref};

use crate::answer::Answer;

/// A call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Call {
    Track(OrderKey),
    Show(OrderKey),
    History(OrderKey),
    Card(OrderKey),
    Find(Product, Ref),
}

impl Call {
    /// In logs.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Track(_) => "track",
            Self::Show(_) => "show",
            Self::History(_) => "history",
            Self::Card(_) => "card",
            Self::Find(..) => "find",
        }
    }

    /// Which order it is about.
    pub(crate) fn order(&self) -> Option<&OrderKey> {
        match self {
            Self::Track(key) | Self::Show(key) | Self::History(key) | Self::Card(key) => Some(key),
            Self::Find(..) => None,
        }
    }
}

type Make = fn(OrderKey) -> Call;

/// The only body that we take is `{"ref": "…"}`.
const MOST_BODY: usize = 16 * 1024;

pub(crate) fn parse(method: &str, path: &str) -> Result<Call, Answer> {
    // A ref may hold a slash: what follows the product is the ref, whole.
    if let Some((product, reference)) = path.strip_prefix("/refs/").and_then(|rest| rest.split_once('/')) {
        return match method {
            "PUT" => Ok(Call::Find(parse_product(product)?, parse_ref(reference)?)),
            _ => Err(Answer::method_not_allowed("PUT")),
        };
    }
    let segments: Vec<&str> = path.trim_end_matches('/').split('/').skip(1).collect();
    let (product, id, rest) = match segments.as_slice() {
        ["health"] => return Err(Answer::method_not_allowed("GET")),
        ["orders", product, id, rest @ ..] => (*product, *id, rest),
        _ => return Err(no_route()),
    };
    let product = parse_product(product)?;
    let (call, allowed): (Option<Make>, _) = match (method, rest) {
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
    Ok(call(OrderKey { product, id }))
}

fn parse_product(text: &str) -> Result<Product, Answer> {
    text.parse().map_err(|error| Answer::problem(404, Some("product"), format!("{error}")))
}

/// Raw or percent-encoded, whatever stands before us made of it; `+` is a plus.
fn parse_ref(text: &str) -> Result<Ref, Answer> {
    let decoded = percent_decode_str(text).decode_utf8();
    let decoded = decoded.map_err(|_| Answer::problem(400, Some("ref"), "ref is not UTF-8".to_owned()))?;
    Ref::try_from(decoded.into_owned()).map_err(|error| Answer::problem(400, Some("ref"), error.to_string()))
}

fn no_route() -> Answer {
    Answer::problem(
        404,
        None,
        "there is nothing here; see /orders/{product}/{id} and /refs/{product}/{ref}".to_owned(),
    )
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
