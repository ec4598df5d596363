//! Orders that list checks may cover, many with one call.

use std::collections::HashSet;

use futures_util::{StreamExt, stream};
use jiff::Timestamp;
use shared::{
    order::{Order, OrderKey, Trigger},
    rate_limiter::Denied,
    refresh::{BatchOutcome, Counters, Lists, NoCall, Refreshed, Tracker},
    store::StoreError,
};

use crate::{
    CONCURRENCY, Report,
    each::{self, give_up},
};

/// Consecutive calls without result that end the batch; the next recheck tries again.
const MAX_FRUITLESS: usize = 3;

/// Why the checks of a batch ended.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Ended {
    /// No orders are left, the time is up, or calls keep failing.
    Done,
    /// No call is permitted before the end of the run.
    Denied(Denied),
    /// No planned call is worth a permit.
    NotWorthIt,
}

/// Processes these orders. `began`: start of the recheck. If the batch read fails, each order is read separately, so that one unreadable
/// record affects only itself.
pub(crate) async fn process(
    tracker: &Tracker,
    lists: &Lists,
    keys: &[OrderKey],
    began: Timestamp,
    stop_at: Timestamp,
) -> Report {
    let now = tracker.clock.now();
    let loaded = match tracker.store.load_many(keys).await {
        Ok(loaded) => loaded,
        Err(error) => {
            tracing::error!(%error, "the due orders could not be read in one batch; each is read alone");
            return each::process(tracker, keys, stop_at).await;
        }
    };
    let Sorted { pool, rest } = sort(tracker, keys, loaded, began, now);
    // Checked one by one; half of the time is kept for orders that list checks cover.
    let half = now.checked_add(stop_at.duration_since(now) / 2).unwrap_or(stop_at);
    let report = each::process(tracker, &rest, if pool.is_empty() { stop_at } else { half }).await;
    let mut pool = Pool { orders: pool, report };
    let ended = pool.check(tracker, lists, stop_at).await;
    let Pool { orders, report } = pool;
    let left = stream::iter(orders)
        .map(|order| process_unchecked(tracker, order, now, ended, stop_at))
        .buffer_unordered(CONCURRENCY);
    left.fold(report, async |report, one| report.and(one)).await
}

struct Sorted {
    /// Orders that only need a check.
    pool: Vec<Order>,
    /// Orders with events to publish, a missing card or an unreadable record.
    rest: Vec<OrderKey>,
}

fn sort(
    tracker: &Tracker,
    keys: &[OrderKey],
    loaded: Vec<Order>,
    began: Timestamp,
    now: Timestamp,
) -> Sorted {
    // Checked by an earlier page of this recheck, but still in the index read: nothing is left to do.
    let is_checked = |order: &Order| order.checked_at.is_some_and(|checked| (began..=now).contains(&checked));
    let (checked, waiting): (Vec<Order>, Vec<Order>) = loaded.into_iter().partition(is_checked);
    let pool: Vec<Order> =
        waiting.into_iter().filter(|order| order.wants_only_a_check(now, &tracker.schedule)).collect();
    let sorted: HashSet<&OrderKey> = checked.iter().chain(&pool).map(|order| &order.key).collect();
    let rest = keys.iter().filter(|key| !sorted.contains(key)).cloned().collect();
    Sorted { pool, rest }
}

/// Orders that wait for a check, and the report so far.
struct Pool {
    orders: Vec<Order>,
    report: Report,
}

impl Pool {
    /// Makes the calls of highest worth, one after the other.
    async fn check(&mut self, tracker: &Tracker, lists: &Lists, stop_at: Timestamp) -> Ended {
        let mut fruitless = 0;
        while !self.orders.is_empty() && tracker.clock.now() < stop_at && fruitless < MAX_FRUITLESS {
            match tracker.check_best(lists, &self.orders, Trigger::Recheck).await {
                Ok(BatchOutcome::Made { orders, call }) => {
                    fruitless = if orders.is_empty() { fruitless + 1 } else { 0 };
                    self.processed(&orders, call);
                }
                Ok(BatchOutcome::Failed(error)) => {
                    let counters = Counters { failed: 1, ..Counters::of_failed_list_check(&error) };
                    self.add(counters.into());
                    fruitless += 1;
                }
                // The checks of the other orders go on.
                Ok(BatchOutcome::Stuck(key, error)) => {
                    self.add(give_up(tracker, &key, &error).await);
                    self.orders.retain(|order| order.key != key);
                }
                Ok(BatchOutcome::Denied(denied)) if denied.retry_at >= stop_at => {
                    return Ended::Denied(denied);
                }
                Ok(BatchOutcome::Denied(denied)) => tracker.clock.wait_until(denied.retry_at).await,
                Ok(BatchOutcome::NotWorthIt) => return Ended::NotWorthIt,
                Err(error) => {
                    tracing::error!(%error, "the call could not be planned: the key's state could not be read or written");
                    self.add(Report::store_failed());
                    fruitless += 1;
                }
            }
        }
        Ended::Done
    }

    fn add(&mut self, report: Report) {
        self.report = std::mem::take(&mut self.report).and(report);
    }

    /// Removes processed orders from the pool. An order that a list check missed stays, to be checked by id.
    fn processed(&mut self, processed: &[Refreshed], call: Counters) {
        self.add(call.into());
        for one in processed {
            self.add(Report::of(one));
        }
        self.orders.retain_mut(|order| {
            let Some(one) = processed.iter().find(|one| one.order.key == order.key) else {
                return true;
            };
            let stays = one.order.unlisted && !order.unlisted;
            *order = one.order.clone();
            stays
        });
    }
}

/// Handles an order without a call: a due order still gets its overdue review; one that is not due itself is rescheduled.
async fn process_unchecked(
    tracker: &Tracker,
    order: Order,
    now: Timestamp,
    ended: Ended,
    stop_at: Timestamp,
) -> Report {
    if tracker.clock.now() >= stop_at {
        return Report::remaining();
    }
    if order.wants_check(Trigger::Recheck, now, &tracker.schedule) {
        let (why, left) = match ended {
            Ended::Denied(denied) => (NoCall::Denied(denied), Report::denied(denied)),
            Ended::Done | Ended::NotWorthIt => {
                (NoCall::CoveredByPage { retry_at: None }, Report::remaining())
            }
        };
        let mut one = tracker.decide_without_check(order, now, why).await;
        if let (Ended::Done, Ok(one)) = (ended, &mut one) {
            // List checks fail: no page covers the order, so the reason is not counted.
            one.counters.no_call = Default::default();
        }
        return one.map_or_else(|error| store_failed(&error), |one| Report::of(&one)).and(left);
    }
    let rescheduled = tracker.reschedule_unchecked(&order, now, ended != Ended::NotWorthIt).await;
    rescheduled.map_or_else(|error| store_failed(&error), |()| Report::default())
}

fn store_failed(error: &StoreError) -> Report {
    tracing::error!(%error, "an order could not be processed");
    Report::store_failed()
}
