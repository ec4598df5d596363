//! List checks: one list call refreshes many orders. A recheck always plans its calls, a tick above a third of the budget. The process with the permit makes
//! the most valuable call for all orders that await a check, and takes each order shown down the rest of the path.

mod best;
mod health;
mod page;

use futures_util::future::try_join;
use jiff::Timestamp;

pub use health::Lists;

use super::{Check, CheckError, Checked, Counters, NoCall, Permitted, Refreshed, Tracker};
use crate::{
    order::{Order, OrderKey, Trigger},
    rate_limiter::{Class, Denied},
    store::StoreError,
};

/// How many due orders a poller's plan includes besides its own: the recheck need not check those that the page
/// shows.
const MAX_DUE: usize = 150;
/// Orders in a row whose records could not be read or written, after which a tick stops planning.
const MAX_STUCK: usize = 3;

/// The result of the most valuable call.
#[allow(clippy::large_enum_variant, reason = "one value for each list check")]
#[derive(Debug)]
pub enum BatchOutcome {
    /// The call succeeded, and these orders were processed.
    Made {
        /// The orders it showed.
        orders: Vec<Refreshed>,
        /// Counts of the call itself, besides those of the orders.
        call: Counters,
    },
    /// The list check failed.
    Failed(CheckError),
    /// The rate limiter denies the call.
    Denied(Denied),
    /// The call was a single check of this order, whose record could not be read or written. Other orders are not
    /// affected.
    Stuck(OrderKey, StoreError),
    /// No call is worth making: all orders were just checked, or are being checked.
    NotWorthIt,
}

impl Tracker {
    /// One tick of the wait loop. Takes one order down the path; above a third of the budget, makes the most valuable
    /// call for all orders in flight. `None` if the order is not tracked. Separate from [`Tracker::refresh`], so that
    /// the binary of the function `status` does not contain list checks.
    ///
    /// # Errors
    /// If the table fails. A failed call to the vendor is not an error.
    pub async fn poll(&self, key: &OrderKey) -> Result<Option<Refreshed>, StoreError> {
        let Some(order) = self.store.load(key).await? else { return Ok(None) };
        let now = self.clock.now();
        let refreshed = match &self.lists {
            Some(lists) if self.is_worth_planning(lists, &order, now).await? => {
                self.poll_together(lists, order, now).await
            }
            _ => self.refresh_loaded(order, Trigger::Poller).await,
        };
        refreshed.map(Some)
    }

    async fn is_worth_planning(
        &self,
        lists: &Lists,
        order: &Order,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        // An order whose record cannot be written is checked alone: others must not wait for it.
        if lists.is_stuck(&order.key, now) || !order.wants_check(Trigger::Poller, now, &self.schedule) {
            return Ok(false);
        }
        let key = self.vault.secrets().vendor_key.fingerprint().clone();
        let denied = || self.permits.denied(&key, Class::Poller).is_some();
        // Other processes may have used the key since this one last read its state.
        Ok(!denied() && self.permits.is_busy(&self.permits.fresh_usage(&key).await?) && !denied())
    }

    /// Makes the most valuable call for all orders in flight. Returns the result for `order`.
    async fn poll_together(
        &self,
        lists: &Lists,
        order: Order,
        now: Timestamp,
    ) -> Result<Refreshed, StoreError> {
        let mut orders = match self.others(&order.key, now).await {
            Ok(orders) => orders,
            Err(error) => {
                tracing::warn!(order = %order.key, %error, "the other orders in flight could not be read: the order is checked alone");
                return self.refresh_loaded(order, Trigger::Poller).await;
            }
        };
        orders.push(order.clone());
        let (refreshed, counters) = match self.best_of_healthy(lists, &orders, &order.key).await? {
            BatchOutcome::Stuck(stuck, error) if stuck == order.key => return Err(error),
            BatchOutcome::Stuck(stuck, error) => {
                tracing::error!(order = %stuck, %error, "another order could not be processed");
                (self.call_went_to_others(order, now).await?, Counters::default())
            }
            BatchOutcome::Made { orders, call } => {
                let counters = orders.iter().fold(call, |counters, one| counters.and(one.counters));
                match orders.into_iter().find(|one| one.order.key == order.key) {
                    Some(own) => return Ok(Refreshed { counters, ..own }),
                    None => (self.call_went_to_others(order, now).await?, counters),
                }
            }
            BatchOutcome::Failed(error) => {
                (self.call_went_to_others(order, now).await?, Counters::of_failed_list_check(&error))
            }
            BatchOutcome::Denied(denied) => {
                let key = self.vault.secrets().vendor_key.clone();
                let why = NoCall::Denied(self.denied(&key, denied).await);
                (self.finish(Checked::without_call(order, now, why)).await?, Counters::default())
            }
            // Another process is requesting a page with this order: the poller comes back at its next attempt.
            BatchOutcome::NotWorthIt => {
                let order = Order { asked_at: Some(now), ..order };
                let why = NoCall::CoveredByPage { retry_at: None };
                (Refreshed::unchanged(Checked::not_made(order, why)), Counters::default())
            }
        };
        Ok(Refreshed { counters: refreshed.counters.and(counters), ..refreshed })
    }

    /// All other orders in flight, and up to [`MAX_DUE`] that are due.
    async fn others(&self, key: &OrderKey, now: Timestamp) -> Result<Vec<Order>, StoreError> {
        let (mut keys, due) = try_join(self.store.in_flight(now), self.store.due(now, MAX_DUE)).await?;
        keys.extend(due.keys);
        keys.retain(|other| other != key);
        self.store.load_many(&keys).await
    }

    /// The most valuable call. Plans again without each other order whose record cannot be read or written.
    async fn best_of_healthy(
        &self,
        lists: &Lists,
        orders: &[Order],
        own: &OrderKey,
    ) -> Result<BatchOutcome, StoreError> {
        let mut outcome = self.check_best(lists, orders, Trigger::Poller).await?;
        for _ in 0..MAX_STUCK {
            let BatchOutcome::Stuck(stuck, error) = &outcome else { break };
            if stuck == own {
                break;
            }
            tracing::error!(order = %stuck, %error, "another order could not be processed");
            outcome = self.check_best(lists, orders, Trigger::Poller).await?;
        }
        Ok(outcome)
    }

    /// The call did not show this order: it waits for the next.
    async fn call_went_to_others(&self, order: Order, now: Timestamp) -> Result<Refreshed, StoreError> {
        let key = self.vault.secrets().vendor_key.fingerprint().clone();
        let denied = self.permits.denied(&key, Class::Poller);
        let retry_at = Some(denied.map_or_else(|| self.clock.now(), |denied| denied.retry_at));
        self.finish(Checked::without_call(order, now, NoCall::CoveredByPage { retry_at })).await
    }

    /// Decides poll deadline and overdue review of an order for which no call was made.
    ///
    /// # Errors
    /// If the table fails.
    pub async fn decide_without_check(
        &self,
        order: Order,
        now: Timestamp,
        why: NoCall,
    ) -> Result<Refreshed, StoreError> {
        self.finish(Checked::without_call(order, now, why)).await
    }

    /// Reschedules an order that was due only for a list check. With `worth_it`, for the next list recheck; else for
    /// its own next check: windows cover creation times, which do not change.
    ///
    /// # Errors
    /// If the table fails.
    pub async fn reschedule_unchecked(
        &self,
        order: &Order,
        now: Timestamp,
        worth_it: bool,
    ) -> Result<(), StoreError> {
        self.store.reschedule_if_unchanged(order, self.schedule.due_if_unchecked(order, now, worth_it)).await
    }
}
