//! The operations of DynamoDB, EventBridge and Secrets Manager that the functions and the peers use.

use std::{collections::HashMap, time::Duration};

use axum::{
    Json, Router,
    body::Bytes,
    http::{HeaderMap, StatusCode},
    routing::post,
};
use jiff::Timestamp;
use serde_json::{Map, Value, json};
use shared::{
    order::{Facts, Order, OrderId, OrderKey, Outcome, Phase, Product, Schedule, TrackedBy, VendorStatus},
    store::{Item, write_order},
};

use super::{FINAL_ORDER, PEERS_TABLE, secret};

type Answer = (StatusCode, [(&'static str, &'static str); 2], Json<Value>);

const HEADERS: [(&str, &str); 2] =
    [("Content-Type", "application/x-amz-json-1.0"), ("x-amzn-RequestId", "BENCH0123456789")];

pub(super) fn dynamodb() -> Router {
    Router::new().route(
        "/",
        post(async |headers: HeaderMap, body: Bytes| {
            answer(&headers, &body, |operation, asked| match operation {
                "GetItem" => Some(item_of(asked).map_or_else(|| json!({}), |item| json!({"Item": item}))),
                // A call for a permit asks for the item back; the answer is a permit that is free.
                "UpdateItem" => Some(json!({"Attributes": {"slot": {"N": "0"}}})),
                "TransactWriteItems" => Some(json!({})),
                "Query" => Some(json!({"Items": [], "Count": 0, "ScannedCount": 0})),
                _ => None,
            })
        }),
    )
}

pub(super) fn events() -> Router {
    Router::new().route(
        "/",
        post(async |headers: HeaderMap, body: Bytes| {
            answer(&headers, &body, |operation, asked| {
                let entries = asked["Entries"].as_array().filter(|_| operation == "PutEvents")?;
                let ids: Vec<Value> = entries
                    .iter()
                    .map(|_| json!({"EventId": "11710aed-b79e-4468-a20b-bb3c0c3b4860"}))
                    .collect();
                Some(json!({"FailedEntryCount": 0, "Entries": ids}))
            })
        }),
    )
}

pub(super) fn secrets() -> Router {
    Router::new().route("/", post(async |headers: HeaderMap, body: Bytes| {
        answer(&headers, &body, |operation, asked| {
            (operation == "GetSecretValue").then(|| json!({
                "ARN": "arn:aws:secretsmanager:eu-west-3:123456789012:secret:bench", "Name": asked["SecretId"],
                "VersionId": "4a5bc1d7-1111-4f2e-8888-0123456789ab", "SecretString": secret().to_string(),
                "VersionStages": ["AWSCURRENT"], "CreatedDate": 1_795_000_000.0
            }))
        })
    }))
}

/// Answers a request in AWS's JSON protocol (`X-Amz-Target: Service_Version.Operation`).
fn answer(headers: &HeaderMap, body: &[u8], reply: impl FnOnce(&str, &Value) -> Option<Value>) -> Answer {
    let target = headers.get("X-Amz-Target").and_then(|target| target.to_str().ok()).unwrap_or_default();
    let operation = target.rsplit('.').next().unwrap_or_default();
    let asked = serde_json::from_slice(body).unwrap_or_default();
    match reply(operation, &asked) {
        Some(reply) => (StatusCode::OK, HEADERS, Json(reply)),
        None => {
            let why =
                json!({"__type": "ValidationException", "message": format!("unknown operation: {target}")});
            (StatusCode::BAD_REQUEST, HEADERS, Json(why))
        }
    }
}

fn item_of(asked: &Value) -> Option<Value> {
    let id = asked.pointer("/Key/pk/S")?.as_str()?.strip_prefix("mobile#")?;
    #[allow(clippy::disallowed_methods, reason = "orders in flight for processes on real time")]
    let now = Timestamp::from_millisecond(Timestamp::now().as_millisecond()).ok()?;
    let is_final = id == FINAL_ORDER;
    if asked["TableName"] == PEERS_TABLE {
        let (status, phase) = if is_final { ("FULFILLED", "final") } else { ("PENDING", "in_flight") };
        return Some(json!({
            "pk": {"S": format!("mobile#{id}")}, "sk": {"S": "ORDER"}, "product": {"S": "mobile"}, "id": {"S": id},
            "ref": {"S": "order-1"}, "status": {"S": status}, "phase": {"S": phase}, "version": {"N": "3"},
            "number": {"S": "0778037340"}, "plan_code": {"S": "PREPAID_DJEZZY"}, "created_at": {"S": "2026-11-22T09:00:00.000Z"},
            "asked_at": {"N": ago(now, 10)?.as_millisecond().to_string()}
        }));
    }
    let item = write_order(&order(id, is_final, now)?).ok()?;
    Some(wire(item))
}

/// Tracked 20 s ago, last checked 10 s ago.
fn order(id: &str, is_final: bool, now: Timestamp) -> Option<Order> {
    let key = OrderKey { product: Product::Mobile, id: OrderId::try_from(id.to_owned()).ok()? };
    let (tracked, asked) = (ago(now, 20)?, ago(now, 10)?);
    let (order, event) = Order::track(key, None, TrackedBy::Put, tracked, &Schedule::default());
    let status = if is_final { "FULFILLED" } else { "PENDING" };
    let facts = Facts {
        status: Some(VendorStatus::from(status.to_owned())),
        number: Some("0778037340".to_owned()),
        plan_code: Some("PREPAID_DJEZZY".to_owned()),
        created_at: Some("2026-11-22T09:00:00.000Z".to_owned()),
        ..order.facts.clone()
    };
    let phase = if is_final { Phase::Final { outcome: Outcome::Fulfilled } } else { order.phase };
    Some(Order {
        facts,
        phase,
        first_seen_at: Some(asked),
        asked_at: Some(asked),
        checked_at: Some(asked),
        next_check_at: (!is_final).then_some(now),
        published: event.seq,
        version: 2,
        ..order
    })
}

fn ago(now: Timestamp, seconds: u64) -> Option<Timestamp> {
    now.checked_sub(Duration::from_secs(seconds)).ok()
}

/// An item in DynamoDB's JSON.
fn wire(item: Item) -> Value {
    let item: HashMap<String, Value> = item
        .into_iter()
        .map(|(name, value)| {
            let value = match (value.as_s(), value.as_n(), value.as_l()) {
                (Ok(text), ..) => json!({"S": text}),
                (_, Ok(number), _) => json!({"N": number}),
                _ => json!({"L": []}),
            };
            (name, value)
        })
        .collect();
    Value::Object(item.into_iter().collect::<Map<_, _>>())
}
