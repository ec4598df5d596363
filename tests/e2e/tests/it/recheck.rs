//! The recheck: a bad order does not stop the others, and the run ends in time. Each test has its own table and vendor:
//! a recheck processes all due orders of its table.

use std::time::Duration;

use aws_sdk_dynamodb::types::AttributeValue;
use e2e::IsolatedTracker;
use serde_json::json;
use shared::{
    order::{OrderKey, Product, TrackedBy},
    refresh::Check,
};

/// An order with status UNKNOWN_ERROR that is due for a check.
async fn uncertain_order(own: &IsolatedTracker) -> OrderKey {
    let id = own.vendor.make("mobile", json!([{"after_seconds": 0, "status": "UNKNOWN_ERROR"}])).await;
    let key = OrderKey { product: Product::Mobile, id: id.parse().unwrap() };
    own.tracker.track(&key, None, TrackedBy::Poller).await.unwrap();
    own.tracker.clock.set(own.tracker.clock.now() + Duration::from_secs(9));
    let checked = own.tracker.poll(&key).await.unwrap().unwrap();
    assert!(matches!(checked.check, Check::Answered), "{checked:?}");
    assert_eq!(checked.order.phase.as_str(), "parked");
    make_due(own, &key, &["next_look_at", "due_at"]).await;
    key
}

async fn make_due(own: &IsolatedTracker, key: &OrderKey, names: &[&str]) {
    let just_now = AttributeValue::N((own.now() - 1000).to_string());
    for name in names {
        own.table.set(&own.stack, key, name, just_now.clone()).await;
    }
}

#[tokio::test]
async fn a_corrupt_record_is_rescheduled_and_stops_no_other_order() {
    for list_checks in ["on", "off"] {
        let own = IsolatedTracker::open("recheck-bad", &[("LIST_CHECKS", list_checks)]).await;
        let good = uncertain_order(&own).await;
        let bad = OrderKey { product: Product::Mobile, id: "bad".parse().unwrap() };
        own.tracker.track(&bad, None, TrackedBy::Put).await.unwrap();
        own.table.set(&own.stack, &bad, "phase", AttributeValue::S("asleep".to_owned())).await;
        make_due(&own, &bad, &["due_at"]).await;
        own.tracker.clock.set(own.tracker.clock.now() + Duration::from_secs(10));
        let (now, before) = (own.now(), own.vendor.calls(good.id.as_str()).await.len());

        let report = own.recheck(60).await;
        assert_eq!((report.due, report.checks, report.failed), (2, 1, 1), "{list_checks}: {report:?}");
        assert!(own.due_at(&bad).await > Some(now), "{list_checks}: the bad order is rescheduled");
        assert!(own.due_at(&good).await > Some(now), "{list_checks}: the good order is rescheduled");
        assert_eq!(own.vendor.calls(good.id.as_str()).await.len(), before + 1, "{list_checks}: and checked");
        own.delete().await;
    }
}

#[tokio::test]
async fn a_recheck_starts_no_order_that_it_cannot_finish() {
    for list_checks in ["on", "off"] {
        let own = IsolatedTracker::open("recheck-late", &[("LIST_CHECKS", list_checks)]).await;
        let key = uncertain_order(&own).await;
        own.tracker.clock.set(own.tracker.clock.now() + Duration::from_secs(10));
        let before = own.table.item(&own.stack, &key).await;
        let calls = own.vendor.calls(key.id.as_str()).await;

        let report = own.recheck(14).await;
        assert_eq!(
            (report.due, report.remaining, report.checks, report.published),
            (1, 1, 0, 0),
            "{list_checks}: {report:?}"
        );
        assert_eq!(own.table.item(&own.stack, &key).await, before, "{list_checks}");
        assert_eq!(own.vendor.calls(key.id.as_str()).await, calls, "{list_checks}");

        // With enough time the order is checked.
        assert_eq!(own.recheck(60).await.checks, 1, "{list_checks}");
        own.delete().await;
    }
}
