//! How seldom the vendor is asked, counted at the vendor.

use std::time::Duration;

use aws_sdk_dynamodb::types::AttributeValue;
use e2e::Stack;
use futures_util::future::join_all;
use jiff::Timestamp;
use serde_json::json;

/// The smallest gap between two calls; a day if there are not two.
fn smallest_gap(calls: &[Timestamp]) -> Duration {
    let gap = |pair: &[Timestamp]| Duration::try_from(pair[1].duration_since(pair[0])).unwrap();
    calls.windows(2).map(gap).min().unwrap_or(Duration::from_secs(86_400))
}

#[tokio::test]
async fn a_crowd_a_poller_and_its_duplicate_ask_once_in_three_seconds() {
    let stack = Stack::express();
    let id = stack
        .sandbox
        .make(
            "mobile",
            json!([{"after_seconds": 0, "status": "HANDLING"}, {"after_seconds": 32, "status": "FULFILLED"}]),
        )
        .await;
    let order = stack.order("mobile", &id);
    order.track().await;
    stack.put_event("Top-up Sent", &json!({"product": "mobile", "id": id})).await;
    for _ in 0..15 {
        join_all((0..10).map(|_| order.get())).await;
        tokio::time::sleep(Duration::from_secs(2)).await;
    }
    order.wait_for("Order Fulfilled", 60).await;
    order.assert_events(&["Order Tracked", "Order Fulfilled"]).await;
    let calls = stack.sandbox.calls(&id).await;
    // The vendor's clock counts arrivals, ours the claims: on a busy machine a call may be underway for longer than the next.
    assert!(smallest_gap(&calls) >= Duration::from_millis(2500), "{calls:?}");
    assert!(calls.len() >= 3, "{calls:?}");
}

#[tokio::test]
async fn a_page_about_a_parked_order_asks_once_in_ten_minutes() {
    let stack = Stack::express();
    // A parked order that the recheck leaves alone for the length of the test.
    let id = stack.sandbox.make("internet", json!([{"after_seconds": 0, "status": "QUEUED"}])).await;
    let order = stack.order("internet", &id);
    order.track().await;
    order.wait_for("Order Queued", 60).await;
    let in_an_hour = (now() + 3_600_000).to_string();
    for name in ["next_look_at", "due_at"] {
        stack.tamper("internet", &id, name, AttributeValue::N(in_an_hour.clone())).await;
    }
    let before = stack.sandbox.calls(&id).await.len();
    for _ in 0..6 {
        order.get().await;
        tokio::time::sleep(Duration::from_secs(5)).await;
    }
    assert_eq!(stack.sandbox.calls(&id).await.len(), before, "asked within ten minutes");

    // Nine and a half minutes ago is still too soon; ten minutes ago is not.
    for (seconds_ago, more) in [(570, 0), (601, 1), (0, 1)] {
        if seconds_ago > 0 {
            let asked = (now() - seconds_ago * 1000).to_string();
            stack.tamper("internet", &id, "asked_at", AttributeValue::N(asked)).await;
        }
        join_all((0..10).map(|_| order.get())).await;
        assert_eq!(stack.sandbox.calls(&id).await.len(), before + more, "asked {seconds_ago} s ago");
    }
}

fn now() -> i64 {
    shared::clock::Clock::System.now().as_millisecond()
}
