//! A production tracker with its own table, bus and vendor, for tests that need no fault injection.

use std::time::{Duration, UNIX_EPOCH};

use shared::{
    clock::Clock,
    order::{Order, OrderKey},
    refresh::{Counters, Tracker},
};

use crate::{IsolatedTable, Sandbox, Stack};

/// A production tracker on an isolated table, with its own vendor and a fixed clock.
#[derive(Debug)]
pub struct IsolatedTracker {
    /// The stack whose local AWS has the table.
    pub stack: Stack,
    /// The table and the bus.
    pub table: IsolatedTable,
    /// The vendor. It runs on the tracker's clock.
    pub vendor: Sandbox,
    /// The tracker. Its clock starts at the current time and moves only when the test sets it.
    pub tracker: Tracker,
}

impl IsolatedTracker {
    /// Creates the table, the bus and the vendor on the stack `E2E_FAST`. `settings` override production's defaults.
    pub async fn open(name: &str, settings: &[(&str, &str)]) -> Self {
        let stack = Stack::fast();
        let table = IsolatedTable::create(&stack, name).await;
        let clock = Clock::fixed(Clock::System.now());
        let vendor = Sandbox::own(clock.clone()).await;
        let tracker = table.tracker(&stack, &vendor, clock, settings).await;
        Self { stack, table, vendor, tracker }
    }

    /// The tracker's time in ms since 1970.
    pub fn now(&self) -> i64 {
        self.tracker.clock.now().as_millisecond()
    }

    /// Runs one recheck that may take `seconds` on the tracker's clock.
    pub async fn recheck(&self, seconds: u64) -> Counters {
        let deadline = UNIX_EPOCH + Duration::from_millis(self.now() as u64 + seconds * 1000);
        recheck::handle(&self.tracker, deadline).await.unwrap()
    }

    /// The stored order. Panics if there is none.
    pub async fn stored(&self, key: &OrderKey) -> Order {
        self.tracker.store.load(key).await.unwrap().unwrap()
    }

    /// The item's `due_at` in ms since 1970. `None`: the order is not due.
    pub async fn due_at(&self, key: &OrderKey) -> Option<i64> {
        let item = self.table.item(&self.stack, key).await;
        Some(item.get("due_at")?.as_n().unwrap().parse().unwrap())
    }

    /// Deletes the table and the bus.
    pub async fn delete(self) {
        self.table.delete(&self.stack).await;
    }
}
