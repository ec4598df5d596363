//! Persistent failures of one order over days: the vendor's answers are unreadable or reject the call, the vendor
//! forgets the order, or DynamoDB refuses the write.

use std::{collections::HashMap, time::Duration};

use aws_sdk_dynamodb::types::AttributeValue;
use e2e::{IsolatedTracker, Stack, wait_until};
use serde_json::{Value, json};
use shared::{
    order::{OrderKey, Phase, Product, TrackedBy},
    refresh::Counters,
};

const HOUR: i64 = 3_600_000;
const DAY: i64 = 24 * HOUR;

/// Production's schedules, and enough calls for all orders.
const SETTINGS: [(&str, &str); 2] = [("LIST_CHECKS", "off"), ("VENDOR_CALLS_PER_MINUTE", "6000")];

fn set_clock(own: &IsolatedTracker, millis: i64) {
    own.tracker.clock.set(jiff::Timestamp::from_millisecond(millis).unwrap());
}

/// Creates and tracks an order whose checks get these answers until the script ends.
async fn scripted_order(own: &IsolatedTracker, answers: Value) -> OrderKey {
    let id = own.vendor.make("mobile", json!([{"after_seconds": 0, "status": "FULFILLED"}])).await;
    own.vendor.script(&id, answers).await;
    let key = OrderKey { product: Product::Mobile, id: id.parse().unwrap() };
    own.tracker.track(&key, None, TrackedBy::Put).await.unwrap();
    key
}

/// Runs the wait loops of these orders until each has ended. Returns the number of ticks.
async fn poll_to_end(own: &IsolatedTracker, keys: &[OrderKey]) -> usize {
    let mut waits: HashMap<&OrderKey, i64> = keys.iter().map(|key| (key, own.now())).collect();
    let mut ticks = 0;
    while let Some((key, at)) = waits.iter().min_by_key(|(_, at)| **at).map(|(key, at)| (*key, *at)) {
        set_clock(own, at.max(own.now()));
        let input = json!({"product": key.product, "id": key.id});
        let tick = poller::handle(&own.tracker, &input).await.unwrap();
        ticks += 1;
        if tick.done {
            waits.remove(key);
        } else {
            waits.insert(key, own.now() + tick.wait_seconds as i64 * 1000);
        }
    }
    ticks
}

/// Rechecks when an order is due, at most every 30 minutes, until `end`. Returns the sum of the counters.
async fn recheck_until(own: &IsolatedTracker, end: i64, keys: &[OrderKey]) -> Counters {
    let mut counters = Counters::default();
    loop {
        let mut due = Vec::new();
        for key in keys {
            due.extend(own.due_at(key).await);
        }
        let next = due.into_iter().min().unwrap_or(i64::MAX).max(own.now() + HOUR / 2);
        if next >= end {
            set_clock(own, end);
            return counters;
        }
        set_clock(own, next);
        counters += own.recheck(55).await;
    }
}

/// Event types, with the reason for reviews, and the time of each event in ms.
async fn history(own: &IsolatedTracker, key: &OrderKey) -> Vec<(String, i64)> {
    let events = own.tracker.store.events_after(key, 0).await.unwrap().into_iter();
    let named = events.map(|event| {
        let detail: Value = serde_json::from_str(&event.detail).unwrap();
        let name = match detail["reason"].as_str() {
            Some(reason) => format!("{} ({reason})", event.detail_type),
            None => event.detail_type,
        };
        (name, event.occurred_at.as_millisecond())
    });
    named.collect()
}

/// Fills the item up to `left` bytes below DynamoDB's item limit of 400 KiB.
async fn fill(own: &IsolatedTracker, key: &OrderKey, left: usize) {
    let item = own.table.item(&own.stack, key).await;
    let size: usize = item.iter().map(|(name, value)| name.len() + size_of(value)).sum();
    let filler = "x".repeat(400 * 1024 - size - "filler".len() - left);
    own.table.set(&own.stack, key, "filler", AttributeValue::S(filler)).await;
}

/// The size of an attribute's value in bytes, approximately as DynamoDB counts it.
fn size_of(value: &AttributeValue) -> usize {
    match value {
        AttributeValue::S(text) => text.len(),
        AttributeValue::N(digits) => digits.len().div_ceil(2) + 1,
        AttributeValue::M(map) => {
            map.iter().map(|(name, value)| name.len() + size_of(value) + 1).sum::<usize>() + 3
        }
        AttributeValue::L(list) => list.iter().map(|value| size_of(value) + 1).sum::<usize>() + 3,
        AttributeValue::Ss(texts) => texts.iter().map(String::len).sum(),
        _ => 1,
    }
}

fn forever(body: &str) -> Value {
    json!([{"kind": "raw", "http": 200, "body": body, "content_type": "application/json", "repeat": "forever"}])
}

#[tokio::test]
async fn sixty_days_of_failing_checks_cause_one_review_and_few_calls() {
    let own = IsolatedTracker::open("odd-answers", &SETTINGS).await;
    let start = own.now();
    let rejected = json!([{"kind": "status", "http": 400, "code": "ERR_VALIDATION", "repeat": "forever"}]);
    let handling = json!({"kind": "data", "data": {"_id": "@", "status": "HANDLING"}});
    let rows = [
        ("no JSON", forever("<html>REFUNDED</html>"), "unreadable"),
        ("no data", forever(r#"{"success":true,"data":{}}"#), "unreadable"),
        ("no id", forever(r#"{"success":true,"data":{"status":"REFUNDED"}}"#), "unreadable"),
        (
            "another id",
            forever(r#"{"success":true,"data":{"_id":"another","status":"REFUNDED"}}"#),
            "unreadable",
        ),
        ("rejected", rejected, "rejected"),
        ("vanished", json!([handling, {"kind": "not_found", "repeat": "forever"}]), "vanished"),
    ];
    let mut orders = Vec::new();
    for (name, answers, reason) in rows {
        let key = scripted_order(&own, json!([])).await;
        let answers: Value =
            serde_json::from_str(&answers.to_string().replace("\"@\"", &json!(key.id).to_string())).unwrap();
        own.vendor.script(key.id.as_str(), answers).await;
        orders.push((name, key, reason));
    }
    let keys: Vec<OrderKey> = orders.iter().map(|(_, key, _)| key.clone()).collect();
    poll_to_end(&own, &keys).await;
    let counters = recheck_until(&own, start + 60 * DAY, &keys).await;

    assert_eq!(counters.failing_reviews, orders.len(), "{counters:?}");
    assert!(
        counters.failed_unreadable > 200 && counters.failed_rejected > 50 && counters.failed_vanished > 50,
        "{counters:?}"
    );
    for (name, key, reason) in &orders {
        let review = format!("Order Needs Review ({reason})");
        let history = history(&own, key).await;
        let kinds: Vec<&str> = history.iter().map(|(kind, _)| kind.as_str()).collect();
        assert_eq!(
            kinds,
            ["Order Tracked", "Order Delayed", &review, "Order Needs Review (overdue)"],
            "{name}"
        );
        assert!(history[2].1 < start + DAY, "{name}: reviewed after {} h", (history[2].1 - start) / HOUR);
        let calls = own.vendor.calls(key.id.as_str()).await.len();
        assert!((90..=120).contains(&calls), "{name}: {calls} calls in 60 days");
    }

    // The vendor recovers: the next check, at most a day later, gets the outcome.
    for key in &keys {
        own.vendor.unscript(key.id.as_str()).await;
    }
    recheck_until(&own, start + 62 * DAY, &keys).await;
    for (name, key, _) in &orders {
        assert_eq!(history(&own, key).await.last().unwrap().0, "Order Fulfilled", "{name}");
    }
    own.delete().await;
}

#[tokio::test]
async fn an_order_whose_writes_are_refused_is_delayed_and_reviewed() {
    let own = IsolatedTracker::open("store-refuses", &SETTINGS).await;
    let start = own.now();
    let message = json!({"refund_message": "m".repeat(12_000)});
    let id = own
        .vendor
        .make("mobile", json!([{"after_seconds": 0, "status": "HANDLING", "fields": message}]))
        .await;
    let key = OrderKey { product: Product::Mobile, id: id.parse().unwrap() };
    own.tracker.track(&key, None, TrackedBy::Put).await.unwrap();
    // Too large for the vendor's answer, but not for a failure note.
    fill(&own, &key, 8_000).await;
    poll_to_end(&own, std::slice::from_ref(&key)).await;
    assert!(own.now() <= start + 285_000, "polled for {} s", (own.now() - start) / 1000);
    let polled = own.vendor.calls(&id).await.len();
    assert!(polled <= 36, "{polled} calls");
    let counters = recheck_until(&own, start + 3 * DAY, std::slice::from_ref(&key)).await;
    assert_eq!(counters.failing_reviews, 1, "{counters:?}");
    let history = history(&own, &key).await;
    let kinds: Vec<&str> = history.iter().map(|(kind, _)| kind.as_str()).collect();
    assert_eq!(
        kinds,
        [
            "Order Tracked",
            "Order Delayed",
            "Order Needs Review (store_refuses)",
            "Order Needs Review (overdue)"
        ]
    );
    assert!(own.vendor.calls(&id).await.len() <= polled + 15);
    own.delete().await;
}

#[tokio::test]
async fn an_order_with_a_full_record_is_checked_once_a_day() {
    let own = IsolatedTracker::open("store-full", &SETTINGS).await;
    let start = own.now();
    let id = own.vendor.make("mobile", json!([{"after_seconds": 0, "status": "REFUNDED"}])).await;
    let key = OrderKey { product: Product::Mobile, id: id.parse().unwrap() };
    own.tracker.track(&key, None, TrackedBy::Put).await.unwrap();
    fill(&own, &key, 20).await;
    // The first event is committed but not published.
    own.table.set(&own.stack, &key, "announced", AttributeValue::N("0".to_owned())).await;
    // The execution fails with this error and leaves a dead letter.
    set_clock(&own, start + 9_000);
    let error = poller::handle(&own.tracker, &json!({"product": "mobile", "id": id})).await.unwrap_err();
    assert!(matches!(error, poller::PollerError::StoreRefused(_)), "{error:?}");
    let counters = recheck_until(&own, start + 10 * DAY, std::slice::from_ref(&key)).await;
    assert!((9..=11).contains(&counters.failed_store), "{counters:?}");
    assert!(own.vendor.calls(&id).await.len() <= 12, "{} calls", own.vendor.calls(&id).await.len());
    let stored = own.stored(&key).await;
    assert_eq!((stored.published, stored.seq), (1, 1), "the pending event was published");
    // With room in the item again, the outcome is committed.
    own.table.set(&own.stack, &key, "filler", AttributeValue::S(String::new())).await;
    recheck_until(&own, start + 12 * DAY, std::slice::from_ref(&key)).await;
    let stored = own.stored(&key).await;
    assert!(matches!(stored.phase, Phase::Final { .. }), "{stored:?}");
    own.delete().await;
}

/// On the deployed functions: the review is published, and the logs contain the metrics of the alarms.
#[tokio::test]
async fn unreadable_answers_cause_a_review_and_alarm_metrics() {
    let stack = Stack::fast();
    let id = stack.sandbox.send_mobile("0770000009").await;
    stack
        .sandbox
        .script(&id, forever(r#"{"success":true,"data":{"status":"REFUNDED","odd":8842119}}"#))
        .await;
    let order = stack.order("mobile", &id);
    order.track().await;
    order.wait_for("Order Delayed", 60).await;
    let review = wait_until("the review", Duration::from_secs(300), || async {
        stack.invoke("RECHECK_FUNCTION", &json!({})).await;
        stack.bus.events_of(&order.key()).into_iter().find(|event| event.kind == "Order Needs Review")
    })
    .await;
    assert_eq!(review.detail["reason"], "unreadable");
    assert_eq!(review.detail["order"]["status"], Value::Null);
    wait_until("the metrics", Duration::from_secs(60), || async {
        let logs = stack.logs();
        assert!(!logs.contains("8842119"), "the unreadable body is not logged");
        let emits = |metric: &str| {
            logs.lines()
                .any(|line| line.contains("\"_aws\"") && line.contains(&format!("\"Name\":\"{metric}\"")))
        };
        ["failing_reviews", "failed_unreadable", "failed_checks", "oldest_unpublished_seconds"]
            .iter()
            .all(|metric| emits(metric))
            .then_some(())
    })
    .await;
    stack.sandbox.unscript(&id).await;
    order.wait_for("Order Fulfilled", 300).await;
}
