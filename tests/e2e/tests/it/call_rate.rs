//! How often the vendor is called about one order, with a moved clock: no real second counts.

use std::time::Duration;

use e2e::{IsolatedTable, Sandbox, Stack};
use futures_util::future::join_all;
use jiff::Timestamp;
use serde_json::json;
use shared::{
    clock::Clock,
    order::{OrderKey, Product, TrackedBy, Trigger},
    refresh::Tracker,
};

/// One order in a table of its own, with two trackers on one clock, as two processes would be.
struct OneOrder {
    stack: Stack,
    table: IsolatedTable,
    vendor: Sandbox,
    key: OrderKey,
    trackers: [Tracker; 2],
}

impl OneOrder {
    /// Tracks an order that the vendor shows with `status` from the start.
    async fn track(name: &str, product: Product, status: &str) -> Self {
        let stack = Stack::fast();
        let table = IsolatedTable::create(&stack, name).await;
        let clock = Clock::fixed(Clock::System.now());
        let vendor = Sandbox::own(clock.clone()).await;
        let one = table.tracker(&stack, &vendor, clock.clone(), &[]).await;
        let other = table.tracker(&stack, &vendor, clock, &[]).await;
        let id = vendor.make(product.as_str(), json!([{"after_seconds": 0, "status": status}])).await;
        let key = OrderKey { product, id: id.parse().unwrap() };
        one.track(&key, None, TrackedBy::Put).await.unwrap();
        Self { stack, table, vendor, key, trackers: [one, other] }
    }

    fn now(&self) -> Timestamp {
        self.trackers[0].clock.now()
    }

    fn pass(&self, seconds: u64) {
        self.trackers[0].clock.set(self.now().checked_add(Duration::from_secs(seconds)).unwrap());
    }

    /// Ten status requests at this moment, half of them in each process.
    async fn ten_status_requests(&self) {
        let requests = (0..10).map(|number| self.trackers[number % 2].refresh(&self.key, Trigger::Status));
        for answer in join_all(requests).await {
            answer.unwrap().unwrap();
        }
    }

    async fn calls(&self) -> usize {
        self.vendor.calls(self.key.id.as_str()).await.len()
    }
}

#[tokio::test]
async fn status_requests_a_poller_and_its_duplicate_call_once_in_three_seconds() {
    let order = OneOrder::track("call-rate", Product::Mobile, "HANDLING").await;
    let (mut calls, mut called_at) = (0, Vec::new());
    for second in 0..30_i64 {
        let polls = order.trackers.iter().map(|tracker| tracker.poll(&order.key));
        let (polled, ()) = tokio::join!(join_all(polls), order.ten_status_requests());
        assert!(polled.into_iter().all(|tick| tick.unwrap().is_some()));
        let made = order.calls().await - calls;
        assert!(made <= 1, "{made} calls in second {second}");
        calls += made;
        called_at.extend((made == 1).then_some(second));
        order.pass(1);
    }
    assert!(called_at.windows(2).all(|pair| pair[1] - pair[0] >= 3), "called in seconds {called_at:?}");
    assert!(calls >= 5, "called in seconds {called_at:?}");
    order.table.delete(&order.stack).await;
}

#[tokio::test]
async fn status_requests_about_a_parked_order_call_once_in_ten_minutes() {
    let order = OneOrder::track("call-rate-parked", Product::Internet, "QUEUED").await;
    order.pass(9);
    order.trackers[0].poll(&order.key).await.unwrap().unwrap();
    let before = order.calls().await;
    assert_eq!(before, 1, "parked by this call");
    for (seconds, calls) in [(0, 0), (30, 0), (540, 0), (29, 0), (2, 1), (0, 1), (599, 1), (2, 2)] {
        order.pass(seconds);
        order.ten_status_requests().await;
        assert_eq!(order.calls().await, before + calls, "at {}", order.now());
    }
    order.table.delete(&order.stack).await;
}
