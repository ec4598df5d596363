//! Orders of which one list check may show many.

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

/// So many calls in a row that come to nothing end the batch: the next recheck tries again.
const MAX_IN_VAIN: usize = 3;

/// Why the checks of a batch ended.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Ended {
    /// Nothing is left, the time is up, or the vendor fails.
    Done,
    /// No call is permitted in time.
    Denied(Denied),
    /// No call is worth making.
    NotWorthIt,
}

/// Processes these orders; `began`: the recheck. Where they cannot be read together, each is read by itself, so that one that cannot be
/// read is the only one.
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
            tracing::error!(%error, "orders could not be read together");
            return each::process(tracker, keys, stop_at).await;
        }
    };
    let Sorted { pool, rest } = sort(tracker, keys, loaded, began, now);
    // They are checked one by one: half of the time is for the orders of which one call may show many.
    let half = now.checked_add(stop_at.duration_since(now) / 2).unwrap_or(stop_at);
    let report = each::process(tracker, &rest, if pool.is_empty() { stop_at } else { half }).await;
    let mut pool = Pool { orders: pool, report };
    let ended = pool.check(tracker, lists, stop_at).await;
    let Pool { orders, report } = pool;
    let left = stream::iter(orders)
        .map(|order| leave(tracker, order, now, ended, stop_at))
        .buffer_unordered(CONCURRENCY);
    left.fold(report, async |report, one| report.and(one)).await
}

struct Sorted {
    /// Orders that want nothing but a check.
    pool: Vec<Order>,
    /// Orders that have something to publish, await their card or cannot be read.
    rest: Vec<OrderKey>,
}

fn sort(
    tracker: &Tracker,
    keys: &[OrderKey],
    loaded: Vec<Order>,
    began: Timestamp,
    now: Timestamp,
) -> Sorted {
    // What a page of this recheck has shown, and the index still holds: nothing is left to do.
    let is_seen = |order: &Order| order.checked_at.is_some_and(|checked| (began..=now).contains(&checked));
    let (seen, waiting): (Vec<Order>, Vec<Order>) = loaded.into_iter().partition(is_seen);
    let pool: Vec<Order> =
        waiting.into_iter().filter(|order| order.wants_only_a_check(now, &tracker.schedule)).collect();
    let elsewhere: HashSet<&OrderKey> = seen.iter().chain(&pool).map(|order| &order.key).collect();
    let rest = keys.iter().filter(|key| !elsewhere.contains(key)).cloned().collect();
    Sorted { pool, rest }
}

/// Orders that wait for a check, and what was done so far.
struct Pool {
    orders: Vec<Order>,
    report: Report,
}

impl Pool {
    /// Makes the calls that are worth most, one after the other.
    async fn check(&mut self, tracker: &Tracker, lists: &Lists, stop_at: Timestamp) -> Ended {
        let mut in_vain = 0;
        while !self.orders.is_empty() && tracker.clock.now() < stop_at && in_vain < MAX_IN_VAIN {
            match tracker.check_best(lists, &self.orders, Trigger::Recheck).await {
                Ok(BatchOutcome::Made { orders, call }) => {
                    in_vain = if orders.is_empty() { in_vain + 1 } else { 0 };
                    self.processed(&orders, call);
                }
                Ok(BatchOutcome::Failed(error)) => {
                    let counters = Counters { failed: 1, ..Counters::of_failed_list_check(&error) };
                    self.add(counters.into());
                    in_vain += 1;
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
                    self.add(store_failed(&error));
                    in_vain += 1;
                }
            }
        }
        Ended::Done
    }

    fn add(&mut self, report: Report) {
        self.report = std::mem::take(&mut self.report).and(report);
    }

    /// Takes processed orders out of the pool. An order that the list did not show is checked by its id, and so stays.
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

/// An order that no call was made for: overdue counts all the same; one that was only to be checked along with others waits.
async fn leave(tracker: &Tracker, order: Order, now: Timestamp, ended: Ended, stop_at: Timestamp) -> Report {
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
        let mut one = tracker.let_time_pass(order, now, why).await;
        if let (Ended::Done, Ok(one)) = (ended, &mut one) {
            // The vendor's list fails: no page covers it.
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
