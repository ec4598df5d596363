//! A vendor that answers what cannot be read, rejects calls or forgets orders, day after day; and a table that does not take what it says.

use std::{
    collections::HashMap,
    time::{Duration, UNIX_EPOCH},
};

use aws_sdk_dynamodb::types::AttributeValue;
use e2e::{IsolatedTable, Sandbox, Stack, wait_until};
use serde_json::{Value, json};
use shared::{
    clock::Clock,
    order::{OrderKey, Phase, Product, TrackedBy},
    refresh::{Counters, Tracker},
};

const HOUR: i64 = 3_600_000;
const DAY: i64 = 24 * HOUR;

/// The waits and limits of production, and calls enough for all orders.
const SETTINGS: [(&str, &str); 2] = [("LIST_CHECKS", "off"), ("VENDOR_CALLS_PER_MINUTE", "6000")];

struct Shop {
    stack: Stack,
    place: IsolatedTable,
    vendor: Sandbox,
    tracker: Tracker,
}

impl Shop {
    async fn open(name: &str) -> Self {
        let stack = Stack::fast();
        let place = IsolatedTable::create(&stack, name).await;
        let vendor = Sandbox::own().await;
        let clock = Clock::fixed(Clock::System.now());
        let tracker = place.tracker(&stack, &vendor, clock, &SETTINGS).await;
        Self { stack, place, vendor, tracker }
    }

    fn now(&self) -> i64 {
        self.tracker.clock.now().as_millisecond()
    }

    fn set_clock(&self, millis: i64) {
        self.tracker.clock.set(jiff::Timestamp::from_millisecond(millis).unwrap());
    }

    /// An order of the sandbox whose checks are answered so until the script ends.
    async fn order(&self, answers: Value) -> OrderKey {
        let id = self.vendor.make("mobile", json!([{"after_seconds": 0, "status": "FULFILLED"}])).await;
        self.vendor.script(&id, answers).await;
        let key = OrderKey { product: Product::Mobile, id: id.parse().unwrap() };
        self.tracker.track(&key, None, TrackedBy::Put).await.unwrap();
        key
    }

    /// The wait loop of these orders, tick by tick, until each has ended; answers how many ticks there were.
    async fn poll(&self, keys: &[OrderKey]) -> usize {
        let mut waits: HashMap<&OrderKey, i64> = keys.iter().map(|key| (key, self.now())).collect();
        let mut ticks = 0;
        while let Some((key, at)) = waits.iter().min_by_key(|(_, at)| **at).map(|(key, at)| (*key, *at)) {
            self.set_clock(at.max(self.now()));
            let input = json!({"product": key.product, "id": key.id});
            let tick = poller::handle(&self.tracker, &input).await.unwrap();
            ticks += 1;
            if tick.done {
                waits.remove(key);
            } else {
                waits.insert(key, self.now() + tick.wait_seconds as i64 * 1000);
            }
        }
        ticks
    }

    async fn recheck(&self) -> Counters {
        let deadline = UNIX_EPOCH + Duration::from_millis(self.now() as u64 + 55_000);
        recheck::handle(&self.tracker, deadline).await.unwrap()
    }

    /// Rechecks whenever something is due, half an hour apart at least, until `end`; answers what was counted.
    async fn live_until(&self, end: i64, keys: &[OrderKey]) -> Counters {
        let mut news = Counters::default();
        loop {
            let mut due = Vec::new();
            for key in keys {
                due.extend(self.due_at(key).await);
            }
            let next = due.into_iter().min().unwrap_or(i64::MAX).max(self.now() + HOUR / 2);
            if next >= end {
                self.set_clock(end);
                return news;
            }
            self.set_clock(next);
            news += self.recheck().await;
        }
    }

    async fn due_at(&self, key: &OrderKey) -> Option<i64> {
        let item = self.place.item(&self.stack, key).await;
        Some(item.get("due_at")?.as_n().unwrap().parse().unwrap())
    }

    /// Types of the events so far, with the reasons of reviews, and when each happened.
    async fn history(&self, key: &OrderKey) -> Vec<(String, i64)> {
        let events = self.tracker.store.events_after(key, 0).await.unwrap().into_iter();
        let told = events.map(|event| {
            let detail: Value = serde_json::from_str(&event.detail).unwrap();
            let name = match detail["reason"].as_str() {
                Some(reason) => format!("{} ({reason})", event.detail_type),
                None => event.detail_type,
            };
            (name, event.occurred_at.as_millisecond())
        });
        told.collect()
    }

    /// Fills the record up to so many bytes below DynamoDB's limit for an item.
    async fn fill(&self, key: &OrderKey, left: usize) {
        let item = self.place.item(&self.stack, key).await;
        let size: usize = item.iter().map(|(name, value)| name.len() + size_of(value)).sum();
        let filler = "x".repeat(400 * 1024 - size - "filler".len() - left);
        self.place.set(&self.stack, key, "filler", AttributeValue::S(filler)).await;
    }
}

/// Bytes of an attribute's value, about as DynamoDB counts them.
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
async fn sixty_days_of_odd_answers_end_in_one_review_each_and_few_calls() {
    let shop = Shop::open("odd-answers").await;
    let start = shop.now();
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
        let key = shop.order(json!([])).await;
        let answers: Value =
            serde_json::from_str(&answers.to_string().replace("\"@\"", &json!(key.id).to_string())).unwrap();
        shop.vendor.script(key.id.as_str(), answers).await;
        orders.push((name, key, reason));
    }
    let keys: Vec<OrderKey> = orders.iter().map(|(_, key, _)| key.clone()).collect();
    shop.poll(&keys).await;
    let news = shop.live_until(start + 60 * DAY, &keys).await;

    assert_eq!(news.failing_reviews, orders.len(), "{news:?}");
    assert!(
        news.failed_unreadable > 200 && news.failed_rejected > 50 && news.failed_vanished > 50,
        "{news:?}"
    );
    for (name, key, reason) in &orders {
        let review = format!("Order Needs Review ({reason})");
        let history = shop.history(key).await;
        let kinds: Vec<&str> = history.iter().map(|(kind, _)| kind.as_str()).collect();
        assert_eq!(
            kinds,
            ["Order Tracked", "Order Delayed", &review, "Order Needs Review (overdue)"],
            "{name}"
        );
        assert!(history[2].1 < start + DAY, "{name}: reviewed after {} h", (history[2].1 - start) / HOUR);
        let calls = shop.vendor.calls(key.id.as_str()).await.len();
        assert!((90..=120).contains(&calls), "{name}: {calls} calls in 60 days");
    }

    // The vendor recovers: each outcome is heard with the next check, a day later at most.
    for key in &keys {
        shop.vendor.unscript(key.id.as_str()).await;
    }
    shop.live_until(start + 62 * DAY, &keys).await;
    for (name, key, _) in &orders {
        assert_eq!(shop.history(key).await.last().unwrap().0, "Order Fulfilled", "{name}");
    }
    shop.place.delete(&shop.stack).await;
}

#[tokio::test]
async fn what_the_table_refuses_is_reviewed_and_bypasses_no_deadline() {
    let shop = Shop::open("store-refuses").await;
    let start = shop.now();
    let message = json!({"refund_message": "m".repeat(12_000)});
    let id = shop
        .vendor
        .make("mobile", json!([{"after_seconds": 0, "status": "HANDLING", "fields": message}]))
        .await;
    let key = OrderKey { product: Product::Mobile, id: id.parse().unwrap() };
    shop.tracker.track(&key, None, TrackedBy::Put).await.unwrap();
    // What the vendor says does not fit, a note does.
    shop.fill(&key, 8_000).await;
    shop.poll(std::slice::from_ref(&key)).await;
    assert!(shop.now() <= start + 285_000, "polled for {} s", (shop.now() - start) / 1000);
    let polled = shop.vendor.calls(&id).await.len();
    assert!(polled <= 36, "{polled} calls");
    let news = shop.live_until(start + 3 * DAY, std::slice::from_ref(&key)).await;
    assert_eq!(news.failing_reviews, 1, "{news:?}");
    let history = shop.history(&key).await;
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
    assert!(shop.vendor.calls(&id).await.len() <= polled + 15);
    shop.place.delete(&shop.stack).await;
}

#[tokio::test]
async fn a_record_that_takes_nothing_more_is_checked_once_a_day() {
    let shop = Shop::open("store-full").await;
    let start = shop.now();
    let id = shop.vendor.make("mobile", json!([{"after_seconds": 0, "status": "REFUNDED"}])).await;
    let key = OrderKey { product: Product::Mobile, id: id.parse().unwrap() };
    shop.tracker.track(&key, None, TrackedBy::Put).await.unwrap();
    shop.fill(&key, 20).await;
    // Its first event was committed and not published.
    shop.place.set(&shop.stack, &key, "announced", AttributeValue::N("0".to_owned())).await;
    // The wait loop ends with an error, and so in the dead letters.
    shop.set_clock(start + 9_000);
    let error = poller::handle(&shop.tracker, &json!({"product": "mobile", "id": id})).await.unwrap_err();
    assert!(matches!(error, poller::PollerError::StoreRefused(_)), "{error:?}");
    let news = shop.live_until(start + 10 * DAY, std::slice::from_ref(&key)).await;
    assert!((9..=11).contains(&news.failed_store), "{news:?}");
    assert!(shop.vendor.calls(&id).await.len() <= 12, "{} calls", shop.vendor.calls(&id).await.len());
    let stored = shop.tracker.store.load(&key).await.unwrap().unwrap();
    assert_eq!((stored.published, stored.seq), (1, 1), "what was to be published did not wait for room");
    // Room is made, by hand: the outcome is heard.
    shop.place.set(&shop.stack, &key, "filler", AttributeValue::S(String::new())).await;
    shop.live_until(start + 12 * DAY, std::slice::from_ref(&key)).await;
    let stored = shop.tracker.store.load(&key).await.unwrap().unwrap();
    assert!(matches!(stored.phase, Phase::Final { .. }), "{stored:?}");
    shop.place.delete(&shop.stack).await;
}

/// The deployed functions: the review is on the bus, and the metrics that the alarms watch are in the log.
#[tokio::test]
async fn an_order_whose_answers_cannot_be_read_is_reviewed_and_an_alarm_hears_of_it() {
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
        stack.bus.events_of(&order.key()).into_iter().find(|heard| heard.kind == "Order Needs Review")
    })
    .await;
    assert_eq!(review.detail["reason"], "unreadable");
    assert_eq!(review.detail["order"]["status"], Value::Null);
    wait_until("the metrics", Duration::from_secs(60), || async {
        let logs = stack.logs();
        assert!(!logs.contains("8842119"), "what was not read is not logged");
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
