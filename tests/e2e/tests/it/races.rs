//! Two races. Randomised ones are in `tests/faults`.

use std::time::Duration;

use e2e::{IsolatedTable, Stack};
use futures_util::future::join_all;
use jiff::Timestamp;
use serde_json::json;
use shared::{
    clock::Clock,
    order::{Order, OrderKey, Product, TrackedBy, Trigger},
    refresh::Tracker,
};
use wiremock::{Mock, MockServer, ResponseTemplate, matchers::any};

/// A vendor that gives one answer about the order, after `after_ms`.
async fn vendor(id: &str, status: &str, after_ms: u64) -> MockServer {
    let server = MockServer::start().await;
    let body = json!({"success": true, "data": {"_id": id, "status": status}});
    let answer = ResponseTemplate::new(200).set_body_json(body).set_delay(Duration::from_millis(after_ms));
    Mock::given(any()).respond_with(answer).mount(&server).await;
    server
}

/// A tracker with its own clock and the given vendor.
async fn tracker(stack: &Stack, place: &IsolatedTable, vendor: &MockServer, start: Timestamp) -> Tracker {
    let settings = [("ONECLICKDZ_BASE_URL", vendor.uri()), ("ONECLICKDZ_API_KEY", "own-key".to_owned())];
    let settings = settings.each_ref().map(|(name, value)| (*name, value.as_str()));
    place.tracker_with(stack, Clock::fixed(start), &settings).await
}

#[tokio::test]
async fn concurrent_triggers_make_one_check() {
    let stack = Stack::fast();
    let start = Clock::System.now();
    let id = format!("crowd-{}", start.as_millisecond());
    let key = OrderKey { product: Product::Mobile, id: id.parse().unwrap() };
    let server = vendor(&id, "HANDLING", 50).await;
    let place = IsolatedTable::create(&stack, "crowd").await;
    let one = tracker(&stack, &place, &server, start).await;
    one.track(&key, None, TrackedBy::Poller).await.unwrap();
    one.clock.set(start.checked_add(Duration::from_secs(9)).unwrap_or(Timestamp::MAX));
    let all = [Trigger::Status, Trigger::Poller, Trigger::Recheck].repeat(8);
    join_all(all.into_iter().map(|trigger| one.refresh(&key, trigger))).await;
    assert_eq!(server.received_requests().await.unwrap().len(), 1);
    place.delete(&stack).await;
}

/// Regression, found by a race schedule: a recheck reloads an order after a lost race while another process publishes.
#[tokio::test]
async fn a_stale_copy_does_not_publish_an_event_again() {
    let stack = Stack::fast();
    let start = Clock::System.now();
    let key = OrderKey {
        product: Product::Mobile,
        id: format!("back-{}", start.as_millisecond()).parse().unwrap(),
    };
    let server = vendor(key.id.as_str(), "REFUNDED", 0).await;
    let place = IsolatedTable::create(&stack, "back").await;
    let one = tracker(&stack, &place, &server, start).await;
    one.track(&key, None, TrackedBy::Poller).await.unwrap();
    one.clock.set(start.checked_add(Duration::from_secs(9)).unwrap());
    one.refresh(&key, Trigger::Poller).await.unwrap().unwrap();
    let after = one.store.load(&key).await.unwrap().unwrap();
    assert_eq!((after.seq, after.published), (2, 2));
    // The copy loaded before the other process marked the event as published.
    let stale = Order { published: 1, ..after.clone() };
    one.store.reschedule_if_unchanged(&stale, Some(start)).await.unwrap();
    one.store.mark_published(&stale, 1, Some(start)).await.unwrap();
    assert_eq!(one.store.load(&key).await.unwrap(), Some(after));
    let due_at = place.item(&stack, &key).await["due_at"].as_n().unwrap().parse::<i64>().unwrap();
    let wait = due_at - one.clock.now().as_millisecond();
    assert!(wait >= 50 * 60 * 1000, "only the late check is due, in {wait} ms");
    place.delete(&stack).await;
}
