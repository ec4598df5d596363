//! Races against the DynamoDB API: whoever wins, an order has one outcome, and it is the vendor's.

use std::time::Duration;

use aws_sdk_dynamodb::types::AttributeValue;
use e2e::Stack;
use futures_util::future::join_all;
use jiff::Timestamp;
use serde_json::json;
use shared::{
    clock::Clock,
    config::Config,
    order::{OrderKey, Product, TrackedBy, Trigger},
    refresh::Tracker,
};
use wiremock::{Mock, MockServer, ResponseTemplate, matchers::any};

/// A vendor that gives one answer, after a while.
async fn vendor(status: &str, after_ms: u64) -> MockServer {
    let server = MockServer::start().await;
    let body = json!({"success": true, "data": {"status": status}});
    let answer = ResponseTemplate::new(200).set_body_json(body).set_delay(Duration::from_millis(after_ms));
    Mock::given(any()).respond_with(answer).mount(&server).await;
    server
}

/// A tracker of its own: its clock, its vendor, the stack's table and bus.
async fn tracker(stack: &Stack, vendor: &MockServer, clock: Clock) -> Tracker {
    let mut settings = stack.function_environment();
    settings.retain(|(name, _)| name != "ONECLICKDZ_BASE_URL");
    settings.push(("ONECLICKDZ_BASE_URL".to_owned(), vendor.uri()));
    Tracker::start(&Config::read(settings).unwrap()).await.unwrap().with_clock(clock)
}

#[tokio::test]
async fn looks_that_overtake_each_other_leave_one_outcome() {
    let stack = Stack::fast();
    // Each look is claimed after the one before it, and its answer comes sooner: the latest question answers first.
    let courses: [&[(&str, u64)]; 6] = [
        &[("HANDLING", 900), ("REFUNDED", 600), ("HANDLING", 300)],
        &[("FULFILLED", 900), ("REFUNDED", 600), ("FULFILLED", 0)],
        &[("REFUNDED", 600), ("FULFILLED", 600), ("QUEUED", 600)],
        &[("UNKNOWN_ERROR", 600), ("UNKNOWN_ERROR", 600), ("FULFILLED", 600)],
        &[("QUEUED", 0), ("HANDLING", 900), ("REFUNDED", 0)],
        &[("REFUNDED", 300), ("FULFILLED", 0), ("REFUNDED", 600)],
    ];
    join_all(courses.iter().enumerate().map(|(number, course)| race(&stack, number, course))).await;
}

async fn race(stack: &Stack, number: usize, course: &[(&str, u64)]) {
    let start = Clock::System.now();
    let id = format!("race-{number}-{}", start.as_millisecond());
    let key = OrderKey { product: Product::Mobile, id: id.parse().unwrap() };
    let first = vendor("PENDING", 0).await;
    tracker(stack, &first, Clock::fixed(start)).await.track(&key, None, TrackedBy::Poller).await.unwrap();
    let looks = course.iter().enumerate().map(|(turn, (status, after))| {
        let key = key.clone();
        async move {
            let vendor = vendor(status, *after).await;
            let clock = Clock::fixed(start.checked_add(Duration::from_secs(6 * (turn as u64 + 1))).unwrap());
            let tracker = tracker(stack, &vendor, clock).await;
            tokio::time::sleep(Duration::from_millis(150 * turn as u64)).await;
            tracker.refresh(&key, Trigger::Status).await.unwrap().unwrap()
        }
    });
    join_all(looks).await;

    let order = stack.order("mobile", &id);
    let history = order.history().await;
    let types: Vec<_> =
        history.iter().map(|event| event["detail_type"].as_str().unwrap().to_owned()).collect();
    let outcomes: Vec<_> =
        types.iter().filter(|kind| matches!(kind.as_str(), "Order Fulfilled" | "Order Refunded")).collect();
    assert!(outcomes.len() <= 1, "course {number}: {types:?}");
    // Where every answer is an outcome, one of them was announced.
    if course.iter().all(|(status, _)| matches!(*status, "FULFILLED" | "REFUNDED")) {
        assert_eq!(outcomes.len(), 1, "course {number}: {types:?}");
    }
    for (index, event) in history.iter().enumerate() {
        assert_eq!(event["event_id"], format!("mobile/{id}#{}", index + 1), "course {number}");
    }
    let item = stack.item("mobile", &id).await;
    let status = item["status"].as_s().unwrap();
    if let Some(outcome) = outcomes.first() {
        let stated = if outcome.as_str() == "Order Fulfilled" { "FULFILLED" } else { "REFUNDED" };
        assert_eq!(status, stated, "course {number}: {types:?}");
        assert_eq!(item["phase"], AttributeValue::S("final".to_owned()));
    }
    let said: Vec<_> = course.iter().map(|(status, _)| *status).collect();
    assert!(said.contains(&status.as_str()), "course {number}: {status}");
    assert_eq!(item["announced"], item["seq"], "course {number}: all announced");
}

#[tokio::test]
async fn of_many_who_want_to_look_one_does() {
    let stack = Stack::fast();
    let start = Clock::System.now();
    let id = format!("crowd-{}", start.as_millisecond());
    let key = OrderKey { product: Product::Mobile, id: id.parse().unwrap() };
    let server = vendor("HANDLING", 50).await;
    let one = tracker(&stack, &server, Clock::fixed(start)).await;
    one.track(&key, None, TrackedBy::Poller).await.unwrap();
    one.clock.set(start.checked_add(Duration::from_secs(9)).unwrap_or(Timestamp::MAX));
    let all = [Trigger::Status, Trigger::Poller, Trigger::Recheck].repeat(8);
    join_all(all.into_iter().map(|trigger| one.refresh(&key, trigger))).await;
    assert_eq!(server.received_requests().await.unwrap().len(), 1);
}
