//! From an answer to the published outcome: valid answers with one field replaced. If an answer still names the order
//! and states an outcome, that outcome is published; otherwise none is.

use std::io::Write;

use http::StatusCode;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::*;
use crate::{
    order::{
        CheckResult, Decision, Jitter, Observation, Order, OrderKey, Place, Product, Schedule, SealedCard,
        Snapshot, TrackedBy, decide,
    },
    page::Page,
};

const ID: &str = "6901616fe9e88196b4eb64b0";
const OTHER: &str = "6901616fe9e88196b4eb64b9";
/// Marks the place of a value in a template.
const PLACE: &str = "@@ here @@";

/// Replacement values as JSON text: each JSON type, edge numbers, odd texts.
fn instead() -> Vec<String> {
    let mut all: Vec<String> = [
        "null",
        "true",
        "false",
        "0",
        "-0",
        "1",
        "-1",
        "7",
        "1.5",
        "490.00",
        "1e400",
        "-1e-400",
        "1E+2",
        "9007199254740993",
        "123456789012345678901234567890",
        r#""""#,
        r#"" ""#,
        r#""x""#,
        r#""null""#,
        r#""undefined""#,
        r#""true""#,
        r#""0""#,
        r#""12""#,
        r#""-1.50""#,
        r#""1e400""#,
        r#""NaN""#,
        r#""\ud83d""#,
        r#""\ude00 \ud83d \ud83d\ude00""#,
        r#""\u0000""#,
        r#""\u0001\n\t\"\\""#,
        r#""رصيد 📋""#,
        r#""REFUNDED""#,
        r#""FULFILLED""#,
        r#""refunded""#,
        r#""<html>""#,
        r#""2025-11-01T12:00:00.000Z""#,
        r#""API-+213665983439-abc""#,
        "[]",
        "[null]",
        "[[1]]",
        r#"["REFUNDED"]"#,
        "{}",
        r#"{"a":{"b":[]}}"#,
        r#"{"$oid":"6901616fe9e88196b4eb64b0"}"#,
        r#"{"status":"REFUNDED","_id":"6901616fe9e88196b4eb64b5"}"#,
    ]
    .map(str::to_owned)
    .to_vec();
    all.push(format!("\"{}\"", "y".repeat(100_000)));
    all.push(format!("\"{}\"", "\\u0001".repeat(50_000)));
    all.push(format!("{}{}", "[".repeat(3000), "]".repeat(3000)));
    all.push("8".repeat(5000));
    let mut rng = fastrand::Rng::with_seed(11);
    for _ in 0..30 {
        let text: String = (0..rng.usize(1..30)).map(|_| rng.char(..)).collect();
        all.push(serde_json::to_string(&text).unwrap());
        all.push(format!("{}{}e{}", if rng.bool() { "-" } else { "" }, rng.u64(..), rng.i16(..)));
    }
    all
}

/// For each value in `value`: its JSON pointer, and the document with [`PLACE`] in its place.
fn places(value: &Value) -> Vec<(String, Value)> {
    fn collect_places(whole: &Value, pointer: &str, at: &Value, found: &mut Vec<(String, Value)>) {
        let below: Vec<(String, &Value)> = match at {
            Value::Object(fields) => fields.iter().map(|(name, value)| (name.clone(), value)).collect(),
            Value::Array(items) => {
                items.iter().enumerate().map(|(n, value)| (n.to_string(), value)).collect()
            }
            _ => Vec::new(),
        };
        for (name, value) in below {
            let pointer = format!("{pointer}/{name}");
            let mut template = whole.clone();
            *template.pointer_mut(&pointer).unwrap() = PLACE.into();
            found.push((pointer.clone(), template));
            collect_places(whole, &pointer, value, found);
        }
    }
    let mut found = Vec::new();
    collect_places(value, "", value, &mut found);
    found
}

/// The variants of a template: each value of [`instead`], the field missing, and the field twice. With their names.
fn bodies(pointer: &str, template: &Value, original: &Value) -> Vec<(String, String)> {
    let text = template.to_string();
    let place = Value::from(PLACE).to_string();
    let mut all: Vec<(String, String)> =
        instead().into_iter().map(|value| (format!("{value:.40}"), text.replace(&place, &value))).collect();
    let (parent, name) = pointer.rsplit_once('/').unwrap();
    if let Some(fields) = template.pointer(parent).and_then(Value::as_object) {
        let mut without = template.clone();
        let parent = without.pointer_mut(parent).unwrap().as_object_mut().unwrap();
        assert_eq!(parent.len(), fields.len());
        parent.remove(name);
        all.push(("missing".to_owned(), without.to_string()));
        let before = original.pointer(pointer).unwrap();
        all.push(("twice".to_owned(), text.replace(&place, &format!(r#"{{"odd":1}},"{name}":{before}"#))));
    }
    all
}

/// Prints to standard output directly, since the test harness hides what a passing test prints.
pub(super) fn print_past_harness(what: &str) {
    writeln!(std::io::stdout(), "{what}").unwrap();
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_760_000_000 + second).unwrap()
}

fn decided(key: &OrderKey, shown: &VendorOrder, place: Place) -> Decision {
    let (order, _) = Order::track(key.clone(), None, TrackedBy::Put, at(0), &Schedule::default());
    let card = shown
        .card_code
        .as_ref()
        .map(|_| SealedCard { ciphertext: b"sealed".to_vec(), masked: "**".to_owned() });
    let observation = Observation::Order(Box::new(Snapshot { facts: shown.facts.clone(), card, place }));
    decide(&order, &CheckResult { asked_at: at(9), observation }, at(9), Jitter::NONE, &Schedule::default())
        .unwrap()
}

/// The outcome that is published. Asserts that each event is valid JSON and below 200 KiB.
fn outcome(decision: &Decision) -> Option<String> {
    for event in &decision.events {
        let _: Value = serde_json::from_str(&event.detail)
            .unwrap_or_else(|error| panic!("{error}: {:.300}", event.detail));
        assert!(event.detail.len() < 200 * 1024, "an event of {} bytes", event.detail.len());
    }
    let is_outcome = |kind: &&str| matches!(*kind, "Order Fulfilled" | "Order Refunded");
    decision.events.iter().map(|event| event.detail_type.as_str()).find(is_outcome).map(str::to_owned)
}

fn mobile(id: &str) -> Value {
    json!({
        "_id": id, "ref": "API-+213665983439-abc", "status": "REFUNDED", "plan_code": "PREPAID_DJEZZY", "MSSIDN": "0778037340",
        "topup_amount": 500, "balance_amount": 490, "created_at": at(1).to_string(), "refund_message": "رقم الهاتف خاطئ",
        "suggested_offers": [{"typename": "📋 فاتورة", "plan_code": "FACTURE_DJEZZY", "amount": 500}],
        "follow_orderid": "6901616fe9e88196b4eb64b7", "retry_orderid": "6901616fe9e88196b4eb64b8", "new": {"x": 1},
    })
}

fn internet(id: &str) -> Value {
    json!({
        "_id": id, "ref": "order-123456", "status": "FULFILLED", "type": "ADSL", "number": "036362608", "topup_amount": 1000,
        "card_code": "123456789012", "num_trans": "AT-2025-12345", "date_traitement": "2025-11-01T12:00:45.000Z",
        "created_at": at(1).to_string(), "refund_message": "x",
    })
}

fn order_of(product: Product, id: &str) -> (Value, &'static str) {
    match product {
        Product::Mobile => (mobile(id), "Order Refunded"),
        Product::Internet => (internet(id), "Order Fulfilled"),
    }
}

/// Whether the field decides the outcome of the order at `base`.
fn decides(base: &str, pointer: &str) -> bool {
    [base.to_owned(), format!("{base}/_id"), format!("{base}/status")].contains(&pointer.to_owned())
        || base.starts_with(&format!("{pointer}/"))
}

/// Whether the replacement value is itself an outcome.
fn states(value: &str) -> bool {
    [r#""REFUNDED""#, r#""FULFILLED""#].contains(&value)
}

#[test]
fn an_answer_with_one_odd_field_still_gives_its_outcome() {
    let (mut cases, mut without_outcome) = (0, 0);
    for product in Product::ALL {
        let key = OrderKey { product, id: ID.parse().unwrap() };
        let (order, expected) = order_of(product, ID);
        let whole = json!({
            "success": true, "data": order, "meta": {"timestamp": "2025-10-29T00:36:15.606Z"}, "requestId": "req_1",
        });
        for (pointer, template) in places(&whole) {
            for (name, body) in bodies(&pointer, &template, &whole) {
                let answer = read_answer(product, StatusCode::OK, None, body.as_bytes());
                let shown = answer.as_ref().ok().and_then(|answer| answer.order.as_ref());
                let published = shown
                    .filter(|shown| shown.id == key.id)
                    .and_then(|shown| outcome(&decided(&key, shown, Place::Check)));
                cases += 1;
                if decides("/data", &pointer) {
                    // An outcome is published only if the vendor states it for this order.
                    let stated = states(&name);
                    let same = name == "twice" && pointer == "/data";
                    assert!(
                        published.is_none() || stated || same,
                        "{product} {pointer} {name}: {published:?}"
                    );
                    without_outcome += usize::from(published.is_none());
                } else {
                    assert_eq!(
                        published.as_deref(),
                        Some(expected),
                        "{product} {pointer} = {name}: {answer:?}"
                    );
                }
            }
        }
    }
    print_past_harness(&format!(
        "{cases} answers with one odd field; {without_outcome} of them name no order or state no outcome, and publish none"
    ));
    assert!(cases > 2000, "{cases}");
}

#[test]
fn a_list_with_one_odd_field_gives_the_outcomes_of_other_rows() {
    let (mut cases, mut rows_read) = (0, 0);
    for product in Product::ALL {
        let page = Page { product, from: at(0), to: at(60) };
        let ((first, expected), (second, _)) = (order_of(product, ID), order_of(product, OTHER));
        let (whole, name) = match product {
            Product::Mobile => (
                json!({"success": true, "data": {"items": [first, second],
                    "pagination": {"page": 1, "pageSize": 100, "totalPages": 1, "totalResults": 2}}, "requestId": "r"}),
                "items",
            ),
            Product::Internet => (
                json!({"success": true, "data": {"topups": [first, second]},
                    "meta": {"pagination": {"currentPage": 1, "totalPages": 1, "totalItems": 2, "hasNextPage": false}}}),
                "topups",
            ),
        };
        for (pointer, template) in places(&whole) {
            for (value, body) in bodies(&pointer, &template, &whole) {
                let listing = read_list(&page, StatusCode::OK, None, body.as_bytes());
                cases += 1;
                for (index, id) in [ID, OTHER].into_iter().enumerate() {
                    let key = OrderKey { product, id: id.parse().unwrap() };
                    let row = listing
                        .as_ref()
                        .ok()
                        .and_then(|listing| listing.rows.iter().find(|row| row.id == key.id));
                    let published = row.and_then(|row| outcome(&decided(&key, row, Place::List)));
                    rows_read += usize::from(published.is_some());
                    let base = format!("/data/{name}/{index}");
                    if !decides(&base, &pointer) {
                        assert_eq!(
                            published.as_deref(),
                            Some(expected),
                            "{product} {pointer} = {value}, row {index}: {listing:?}"
                        );
                    } else if published.is_some() {
                        let stated = ["\"REFUNDED\"", "\"FULFILLED\"", "twice"].contains(&value.as_str());
                        assert!(
                            stated || pointer.ends_with(name),
                            "{product} {pointer} = {value}: {published:?}"
                        );
                    }
                }
            }
        }
    }
    print_past_harness(&format!("{cases} lists with one odd field; {rows_read} rows gave an outcome"));
    assert!(cases > 4000, "{cases}");
}
