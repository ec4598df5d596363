//! The recheck: one bad order never stops the rest, and it stops in time. Each with a table and a vendor of its own: a recheck sees to
//! whatever is due in its table, also to other tests' orders.

use std::time::{Duration, UNIX_EPOCH};

use aws_sdk_dynamodb::types::AttributeValue;
use e2e::{IsolatedTable, Sandbox, Stack};
use serde_json::json;
use shared::{
    clock::Clock,
    order::{OrderKey, Product, TrackedBy},
    refresh::{Check, Counters, Tracker},
};

struct Shop {
    stack: Stack,
    place: IsolatedTable,
    vendor: Sandbox,
    tracker: Tracker,
}

impl Shop {
    async fn open(name: &str, settings: &[(&str, &str)]) -> Self {
        let stack = Stack::fast();
        let place = IsolatedTable::create(&stack, name).await;
        let vendor = Sandbox::own().await;
        let clock = Clock::fixed(Clock::System.now());
        let tracker = place.tracker(&stack, &vendor, clock, settings).await;
        Self { stack, place, vendor, tracker }
    }

    fn now(&self) -> i64 {
        self.tracker.clock.now().as_millisecond()
    }

    async fn recheck(&self, seconds: u64) -> Counters {
        let deadline = UNIX_EPOCH + Duration::from_millis(self.now() as u64 + seconds * 1000);
        recheck::handle(&self.tracker, deadline).await.unwrap()
    }

    /// An order that is due for a check: the vendor does not know what has become of it.
    async fn uncertain(&self) -> OrderKey {
        let id = self.vendor.make("mobile", json!([{"after_seconds": 0, "status": "UNKNOWN_ERROR"}])).await;
        let key = OrderKey { product: Product::Mobile, id: id.parse().unwrap() };
        self.tracker.track(&key, None, TrackedBy::Poller).await.unwrap();
        self.tracker.clock.set(self.tracker.clock.now() + Duration::from_secs(9));
        let checked = self.tracker.poll(&key).await.unwrap().unwrap();
        assert!(matches!(checked.check, Check::Answered), "{checked:?}");
        assert_eq!(checked.order.phase.as_str(), "parked");
        self.make_due(&key, &["next_look_at", "due_at"]).await;
        key
    }

    async fn make_due(&self, key: &OrderKey, names: &[&str]) {
        let just_now = AttributeValue::N((self.now() - 1000).to_string());
        for name in names {
            self.place.set(&self.stack, key, name, just_now.clone()).await;
        }
    }

    async fn due_at(&self, key: &OrderKey) -> i64 {
        self.place.item(&self.stack, key).await["due_at"].as_n().unwrap().parse().unwrap()
    }
}

#[tokio::test]
async fn a_record_that_cannot_be_read_moves_on_and_stops_no_other() {
    for list_checks in ["on", "off"] {
        let shop = Shop::open("recheck-bad", &[("LIST_CHECKS", list_checks)]).await;
        let good = shop.uncertain().await;
        let bad = OrderKey { product: Product::Mobile, id: "bad".parse().unwrap() };
        shop.tracker.track(&bad, None, TrackedBy::Put).await.unwrap();
        shop.place.set(&shop.stack, &bad, "phase", AttributeValue::S("asleep".to_owned())).await;
        shop.make_due(&bad, &["due_at"]).await;
        shop.tracker.clock.set(shop.tracker.clock.now() + Duration::from_secs(10));
        let (now, before) = (shop.now(), shop.vendor.calls(good.id.as_str()).await.len());

        let report = shop.recheck(60).await;
        assert_eq!((report.due, report.checks, report.failed), (2, 1, 1), "{list_checks}: {report:?}");
        assert!(shop.due_at(&bad).await > now, "{list_checks}: the bad order moved on");
        assert!(shop.due_at(&good).await > now, "{list_checks}: the good one was seen to");
        assert_eq!(shop.vendor.calls(good.id.as_str()).await.len(), before + 1, "{list_checks}: and checked");
        shop.place.delete(&shop.stack).await;
    }
}

#[tokio::test]
async fn a_recheck_starts_no_order_that_it_cannot_finish() {
    for list_checks in ["on", "off"] {
        let shop = Shop::open("recheck-late", &[("LIST_CHECKS", list_checks)]).await;
        let key = shop.uncertain().await;
        shop.tracker.clock.set(shop.tracker.clock.now() + Duration::from_secs(10));
        let before = shop.place.item(&shop.stack, &key).await;
        let calls = shop.vendor.calls(key.id.as_str()).await;

        let report = shop.recheck(14).await;
        assert_eq!(
            (report.due, report.remaining, report.checks, report.published),
            (1, 1, 0, 0),
            "{list_checks}: {report:?}"
        );
        assert_eq!(shop.place.item(&shop.stack, &key).await, before, "{list_checks}");
        assert_eq!(shop.vendor.calls(key.id.as_str()).await, calls, "{list_checks}");

        // With time enough it does check.
        assert_eq!(shop.recheck(60).await.checks, 1, "{list_checks}");
        shop.place.delete(&shop.stack).await;
    }
}
