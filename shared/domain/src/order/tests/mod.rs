//! Tests of `decide`: one row per rule, the invariants of ARCHITECTURE.md as properties, and simulated years.

mod properties;
mod reviews;
mod rules;
mod year;

use jiff::Timestamp;
use serde_json::Value;

use super::*;

const START: i64 = 1_760_000_000_000;

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_millisecond(START + seconds * 1000).unwrap()
}

fn key(product: Product) -> OrderKey {
    OrderKey { product, id: "6901616fe9e88196b4eb64b0".parse().unwrap() }
}

fn tracked(product: Product) -> Order {
    Order::track(key(product), None, TrackedBy::Put, at(0), &Schedule::default()).0
}

fn facts(status: Option<&str>) -> Facts {
    Facts {
        status: status.map(|text| VendorStatus::from(text.to_owned())),
        created_at: Some("2025-10-29T00:35:59.378Z".to_owned()),
        ..Facts::default()
    }
}

fn card() -> SealedCard {
    SealedCard { ciphertext: b"sealed".to_vec(), masked: "**********12".to_owned() }
}

fn shows(status: &str) -> Observation {
    let status = if status.is_empty() { None } else { Some(status) };
    Observation::Order(Box::new(Snapshot { facts: facts(status), card: None, place: Place::Check }))
}

fn shows_card(status: &str) -> Observation {
    Observation::Order(Box::new(Snapshot {
        facts: facts(Some(status)),
        card: Some(card()),
        place: Place::Check,
    }))
}

/// An order with two links, one of them to itself.
fn retried(status: &str) -> Observation {
    let links = Facts {
        retry_order_id: Some("retry-of-it".to_owned()),
        follow_order_id: Some("6901616fe9e88196b4eb64b0".to_owned()),
        ..facts(Some(status))
    };
    Observation::Order(Box::new(Snapshot { facts: links, card: None, place: Place::Check }))
}

/// An order redirected to another id.
fn followed(status: &str) -> Observation {
    let links = Facts { follow_order_id: Some("follows-it".to_owned()), ..facts(Some(status)) };
    Observation::Order(Box::new(Snapshot { facts: links, card: None, place: Place::Check }))
}

fn check(order: &Order, second: i64, observation: Observation) -> Decision {
    let check_result = CheckResult { asked_at: at(second), observation };
    decide(order, &check_result, at(second), Jitter::NONE, &Schedule::default()).expect("a newer check")
}

fn types(events: &[Event]) -> Vec<String> {
    let name = |event: &Event| {
        let detail: Value = serde_json::from_str(&event.detail).unwrap();
        match detail.get("reason").and_then(Value::as_str) {
            Some(reason) => format!("{} ({reason})", event.detail_type),
            None => event.detail_type.clone(),
        }
    };
    events.iter().map(name).collect()
}

/// Applies checks, each `(second, observation)`, to a new order; returns the order and all events.
fn run_checks(product: Product, checks: &[(i64, Observation)]) -> (Order, Vec<String>) {
    let mut order = tracked(product);
    let mut events = Vec::new();
    for (second, observation) in checks {
        let decision = check(&order, *second, observation.clone());
        events.extend(types(&decision.events));
        order = decision.order;
    }
    (order, events)
}
