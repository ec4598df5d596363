//! Parses and validates method, path and body of a request.

use aws_lambda_events::apigw::ApiGatewayV2httpRequest;
use base64::{Engine, engine::general_purpose::STANDARD};
use percent_encoding::percent_decode_str;
use serde_json::{Map, Value};
use shared::{
    order::{OrderKey, Product, Ref},
    store::DeliveryCursor,
    webhook::{About, DeliveryState, EventId},
};

use crate::{
    answer::Answer,
    feed::FeedQuery,
    lists::OrderQuery,
    resync::{JobList, UnregisteredList},
};

/// A call of the HTTP API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Call {
    Health,
    Track(OrderKey),
    Show(OrderKey),
    History(OrderKey, Page),
    Card(OrderKey),
    OrderDeliveries(OrderKey, Page),
    Lookup(Product),
    Deliveries(DeliveryList),
    Resend(EventId),
    Feed(FeedQuery),
    List(OrderQuery),
    Review(OrderKey),
    StartResync,
    Resyncs(JobList),
    /// The id of the job.
    Resync(String),
    Unregistered(String, UnregisteredList),
    StopResync(String),
}

/// A page of an order's events, or of their deliveries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Page {
    /// The page starts after this event number; 0: at the first event.
    pub(crate) after: u32,
    /// Maximum number of events, 1 to 100.
    pub(crate) limit: u32,
}

/// A page of the deliveries in one state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct DeliveryList {
    pub(crate) state: DeliveryState,
    /// The page starts after this place; `None`: at the first delivery.
    pub(crate) cursor: Option<DeliveryCursor>,
    /// Maximum number of deliveries, 1 to 100.
    pub(crate) limit: u32,
}

/// The largest page of any list.
pub(crate) const MAX_LIMIT: u32 = 100;

impl Call {
    /// The name in logs.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Health => "health",
            Self::Track(_) => "track",
            Self::Show(_) => "show",
            Self::History(..) => "history",
            Self::Card(_) => "card",
            Self::Lookup(_) => "lookup",
            Self::OrderDeliveries(..) => "order_deliveries",
            Self::Deliveries(_) => "deliveries",
            Self::Resend(_) => "resend",
            Self::Feed(_) => "feed",
            Self::List(_) => "list",
            Self::Review(_) => "review",
            Self::StartResync => "start_resync",
            Self::Resyncs(_) => "resyncs",
            Self::Resync(_) => "resync",
            Self::Unregistered(..) => "unregistered",
            Self::StopResync(_) => "stop_resync",
        }
    }

    /// The order in the path, if any.
    pub(crate) fn order(&self) -> Option<&OrderKey> {
        match self {
            Self::Track(key)
            | Self::Show(key)
            | Self::History(key, _)
            | Self::Card(key)
            | Self::Review(key)
            | Self::OrderDeliveries(key, _) => Some(key),
            Self::Resend(event) => match &event.about {
                About::Order(key) => Some(key),
                About::VendorKey(_) => None,
            },
            Self::Health | Self::Lookup(_) | Self::Deliveries(_) | Self::Feed(_) | Self::List(_) => None,
            Self::StartResync
            | Self::Resyncs(_)
            | Self::Resync(_)
            | Self::Unregistered(..)
            | Self::StopResync(_) => None,
        }
    }
}

/// The largest body in bytes.
const MAX_BODY: usize = 16 * 1024;

/// Parses method, path and query into a call; the body is not read.
///
/// API Gateway has already decoded the path, so it is not decoded again. A ref may hold any character and is never part of a path.
pub(crate) fn parse(request: &ApiGatewayV2httpRequest) -> Result<Call, Answer> {
    let method = request.request_context.http.method.as_str();
    let path = request.raw_path.as_deref().unwrap_or_default();
    let query = request.raw_query_string.as_deref().unwrap_or_default();
    let segments: Vec<&str> = path.trim_end_matches('/').split('/').skip(1).collect();
    match (segments.as_slice(), method) {
        (["health"], "GET") => Ok(Call::Health),
        (["health"], _) => Err(Answer::method_not_allowed("GET")),
        (["events"], "GET") => Ok(Call::Feed(FeedQuery::parse(query)?)),
        (["events"], _) => Err(Answer::method_not_allowed("GET")),
        (["orders"], "GET") => Ok(Call::List(OrderQuery::parse(query)?)),
        (["orders"], _) => Err(Answer::method_not_allowed("GET")),
        (["orders", product, "lookup"], "POST") => Ok(Call::Lookup(parse_product(product)?)),
        (["orders", product, id, rest @ ..], _) => {
            let key = OrderKey { product: parse_product(product)?, id: parse_id(id)? };
            of_order(method, key, rest, query)
        }
        (["deliveries"], "GET") => Ok(Call::Deliveries(delivery_list(query)?)),
        (["deliveries"], _) => Err(Answer::method_not_allowed("GET")),
        // The id of an event contains a slash, which API Gateway has decoded.
        (["deliveries", event @ .., "resend"], _) if !event.is_empty() => match method {
            "POST" => Ok(Call::Resend(parse_event_id(&event.join("/"))?)),
            _ => Err(Answer::method_not_allowed("POST")),
        },
        (["resync", rest @ ..], _) => of_resync(method, rest, query),
        _ => Err(no_route()),
    }
}

fn of_resync(method: &str, rest: &[&str], query: &str) -> Result<Call, Answer> {
    let id = |text: &str| {
        let is_id = shared::resync::is_job_id(text);
        is_id.then(|| text.to_owned()).ok_or_else(|| crate::resync::unknown(text))
    };
    match (method, rest) {
        ("POST", []) => Ok(Call::StartResync),
        ("GET", []) => Ok(Call::Resyncs(JobList::parse(query)?)),
        ("GET", [job]) => Ok(Call::Resync(id(job)?)),
        ("GET", [job, "unregistered"]) => Ok(Call::Unregistered(id(job)?, UnregisteredList::parse(query)?)),
        ("POST", [job, "stop"]) => Ok(Call::StopResync(id(job)?)),
        (_, []) => Err(Answer::method_not_allowed("GET, POST")),
        (_, [_] | [_, "unregistered"]) => Err(Answer::method_not_allowed("GET")),
        (_, [_, "stop"]) => Err(Answer::method_not_allowed("POST")),
        _ => Err(no_route()),
    }
}

fn of_order(method: &str, key: OrderKey, rest: &[&str], query: &str) -> Result<Call, Answer> {
    match (method, rest) {
        ("PUT", []) => Ok(Call::Track(key)),
        ("GET", []) => Ok(Call::Show(key)),
        ("GET", ["history"]) => Ok(Call::History(key, page(query)?)),
        ("GET", ["deliveries"]) => Ok(Call::OrderDeliveries(key, page(query)?)),
        ("GET", ["card"]) => Ok(Call::Card(key)),
        ("POST", ["review"]) => Ok(Call::Review(key)),
        // `lookup` is also a valid order id.
        (_, []) if key.id.as_str() == "lookup" => Err(Answer::method_not_allowed("GET, POST, PUT")),
        (_, []) => Err(Answer::method_not_allowed("GET, PUT")),
        (_, ["history" | "card" | "deliveries"]) => Err(Answer::method_not_allowed("GET")),
        (_, ["review"]) => Err(Answer::method_not_allowed("POST")),
        _ => Err(no_route()),
    }
}

fn parse_product(text: &str) -> Result<Product, Answer> {
    text.parse().map_err(|error| Answer::problem(404, Some("product"), format!("{error}")))
}

fn parse_id(text: &str) -> Result<shared::order::OrderId, Answer> {
    text.parse().map_err(|error| Answer::problem(400, Some("id"), format!("{error}")))
}

fn parse_event_id(text: &str) -> Result<EventId, Answer> {
    text.parse().map_err(|error| Answer::problem(400, Some("event_id"), format!("{error}")))
}

/// The parameters of a query that have a value, decoded. Of a repeated one, the last counts.
pub(crate) fn parameters(query: &str) -> impl Iterator<Item = (&str, String)> {
    let decoded = |value: &str| percent_decode_str(&value.replace('+', " ")).decode_utf8_lossy().into_owned();
    let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    pairs.map(move |(name, value)| (name, decoded(value)))
}

pub(crate) fn bad(name: &str, why: &str) -> Answer {
    Answer::problem(400, Some(name), format!("{name} must be {why}"))
}

pub(crate) fn whole_number(text: &str) -> Option<u32> {
    text.parse().ok().filter(|_| text.bytes().all(|byte| byte.is_ascii_digit()))
}

pub(crate) fn limit(text: &str) -> Result<u32, Answer> {
    let limit = whole_number(text).filter(|limit| (1..=MAX_LIMIT).contains(limit));
    limit.ok_or_else(|| bad("limit", "a whole number from 1 to 100"))
}

/// `after` and `limit` of a query. Other parameters are ignored.
fn page(query: &str) -> Result<Page, Answer> {
    let mut page = Page { after: 0, limit: MAX_LIMIT };
    for (name, value) in parameters(query) {
        match name {
            "after" => {
                page.after =
                    whole_number(&value).ok_or_else(|| bad(name, "an event number, as in `next`"))?;
            }
            "limit" => page.limit = limit(&value)?,
            _ => {}
        }
    }
    Ok(page)
}

/// `state`, `cursor` and `limit` of a query. Other parameters are ignored.
fn delivery_list(query: &str) -> Result<DeliveryList, Answer> {
    let mut list = DeliveryList { state: DeliveryState::Failed, cursor: None, limit: MAX_LIMIT };
    for (name, value) in parameters(query) {
        match (name, value.as_str()) {
            ("state", "failed") => list.state = DeliveryState::Failed,
            ("state", "retrying") => list.state = DeliveryState::Retrying,
            ("state", _) => return Err(bad(name, "failed or retrying")),
            ("cursor", text) => {
                list.cursor =
                    Some(DeliveryCursor::read(text).ok_or_else(|| bad(name, "`next` of the page before"))?);
            }
            ("limit", text) => list.limit = limit(text)?,
            _ => {}
        }
    }
    Ok(list)
}

fn no_route() -> Answer {
    Answer::problem(
        404,
        None,
        "no such route; see /orders/{product}/{id}, POST /orders/{product}/lookup and /events".to_owned(),
    )
}

/// The members of the object in the body; none if the body is empty.
pub(crate) fn object(request: &ApiGatewayV2httpRequest) -> Result<Map<String, Value>, Answer> {
    let bad = |field: &str, why: String| Answer::problem(400, Some(field), why);
    let text = request.body.as_deref().unwrap_or_default();
    let too_large = || Answer::problem(413, Some("body"), "the body is larger than 16 KiB".to_owned());
    if text.len() > MAX_BODY * 2 {
        return Err(too_large());
    }
    let bytes = if request.is_base64_encoded {
        STANDARD.decode(text).map_err(|_| bad("body", "body is not valid base64".to_owned()))?
    } else {
        text.as_bytes().to_vec()
    };
    if bytes.len() > MAX_BODY {
        return Err(too_large());
    }
    if bytes.iter().all(u8::is_ascii_whitespace) {
        return Ok(Map::new());
    }
    let body: Value =
        serde_json::from_slice(&bytes).map_err(|_| bad("body", "body is not JSON".to_owned()))?;
    match body {
        Value::Object(fields) => Ok(fields),
        _ => Err(bad("body", "body must be a JSON object".to_owned())),
    }
}

/// The merchant's reference in the body; `None` if the body is empty or has no `ref`.
pub(crate) fn body(request: &ApiGatewayV2httpRequest) -> Result<Option<Ref>, Answer> {
    let bad = |field: &str, why: String| Answer::problem(400, Some(field), why);
    match object(request)?.remove("ref") {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => {
            Ref::try_from(text).map(Some).map_err(|error| bad("ref", error.to_string()))
        }
        Some(_) => Err(bad("ref", "ref must be a string".to_owned())),
    }
}

/// The reference in the body of a lookup, which requires one.
pub(crate) fn reference(request: &ApiGatewayV2httpRequest) -> Result<Ref, Answer> {
    let missing =
        || Answer::problem(400, Some("ref"), "ref is missing: send {\"ref\": \"order-123\"}".to_owned());
    body(request)?.ok_or_else(missing)
}
