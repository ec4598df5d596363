//! The sweep: one bad order never stops the rest, and it stops in time.

use std::time::Duration;

use aws_sdk_dynamodb::types::AttributeValue;
use e2e::Stack;
use shared::{clock::Clock, config::Config, refresh::Tracker};

async fn tracker(stack: &Stack) -> Tracker {
    Tracker::open(&Config::read(stack.function_environment()).unwrap()).await.unwrap()
}

fn deadline_in(seconds: u64) -> std::time::SystemTime {
    let now = Clock::System.now().as_millisecond() as u64;
    std::time::UNIX_EPOCH + Duration::from_millis(now + seconds * 1000)
}

fn number(millis: i64) -> AttributeValue {
    AttributeValue::N(millis.to_string())
}

#[tokio::test]
async fn a_record_that_cannot_be_read_moves_on_and_stops_no_other() {
    let stack = Stack::fast();
    let now = Clock::System.now().as_millisecond();
    let bad = stack.order("mobile", &format!("bad-{now}"));
    bad.track().await;
    stack.tamper("mobile", &bad.id, "phase", AttributeValue::S("asleep".to_owned())).await;
    stack.tamper("mobile", &bad.id, "due_at", number(now - 1000)).await;

    let id = stack
        .sandbox
        .make("mobile", serde_json::json!([{"after_seconds": 0, "status": "UNKNOWN_ERROR"}]))
        .await;
    let good = stack.order("mobile", &id);
    good.track().await;
    good.wait_for("Order Uncertain", 60).await;
    for name in ["next_look_at", "due_at"] {
        stack.tamper("mobile", &id, name, number(now - 1000)).await;
    }
    let before = stack.sandbox.calls(&id).await.len();

    recheck::handle(&tracker(&stack).await, deadline_in(60)).await.unwrap();
    let due_at = |item: &std::collections::HashMap<String, AttributeValue>| {
        item["due_at"].as_n().unwrap().parse::<i64>().unwrap()
    };
    assert!(due_at(&stack.item("mobile", &bad.id).await) > now, "the bad order moved on");
    assert!(due_at(&stack.item("mobile", &id).await) > now, "the good one was seen to");
    assert!(stack.sandbox.calls(&id).await.len() > before, "and looked at");
}

#[tokio::test]
async fn a_sweep_begins_nothing_that_it_could_not_end() {
    let stack = Stack::fast();
    let now = Clock::System.now().as_millisecond();
    // Due, but not to be looked at: a sweep of the schedule's leaves it as it is.
    let id = stack
        .sandbox
        .make("mobile", serde_json::json!([{"after_seconds": 0, "status": "UNKNOWN_ERROR"}]))
        .await;
    let order = stack.order("mobile", &id);
    order.track().await;
    order.wait_for("Order Uncertain", 60).await;
    stack.tamper("mobile", &id, "next_look_at", number(now + 3_600_000)).await;
    stack.tamper("mobile", &id, "due_at", number(now - 1000)).await;
    let report = recheck::handle(&tracker(&stack).await, deadline_in(14)).await.unwrap();
    assert!(report.due >= 1, "{report:?}");
    assert_eq!((report.remaining, report.looked, report.announced), (report.due, 0, 0), "{report:?}");
}
