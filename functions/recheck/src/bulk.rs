//! The sweep where one call may show many orders.

use std::collections::HashSet;

use futures_util::{StreamExt, stream};
use jiff::Timestamp;
use shared::{
    order::{Order, OrderKey, Trigger},
    refresh::{Lists, News, Round, Tracker},
    store::StoreError,
};

use super::{AT_ONCE, Report, give_up, see_to_each};

/// So many calls that come to nothing, one after the other, end the sweep: the next minute tries again.
const MOST_IN_VAIN: usize = 3;

/// Sees to these orders; `began`: the sweep. Where they cannot be read together, each is read by itself, so that one that cannot be read
/// is the only one.
pub(super) async fn see_to_all(
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
            return see_to_each(tracker, keys, stop_at).await;
        }
    };
    let of = |orders: &[Order]| orders.iter().map(|order| order.key.clone()).collect::<HashSet<OrderKey>>();
    // What a page has shown before, and the index still holds: nothing is left to do.
    let is_seen = |order: &Order| order.checked_at.is_some_and(|checked| (began..=now).contains(&checked));
    let (seen, waiting): (Vec<Order>, Vec<Order>) = loaded.into_iter().partition(is_seen);
    let mut pool: Vec<Order> =
        waiting.into_iter().filter(|order| order.wants_only_a_look(now, &tracker.schedule)).collect();
    // What has something to announce, awaits its card or cannot be read.
    let (seen, in_pool) = (of(&seen), of(&pool));
    let rest: Vec<OrderKey> =
        keys.iter().filter(|key| !in_pool.contains(*key) && !seen.contains(*key)).cloned().collect();
    // They are looked at one by one: half of the time is for those of whom a call may show many.
    let half = now.checked_add(stop_at.duration_since(now) / 2).unwrap_or(stop_at);
    let mut report = see_to_each(tracker, &rest, if pool.is_empty() { stop_at } else { half }).await;
    let (mut in_vain, mut open, mut worth_it) = (0, true, true);
    while open && !pool.is_empty() && tracker.clock.now() < stop_at && in_vain < MOST_IN_VAIN {
        let round = match tracker.look_at_best(lists, &pool, Trigger::Recheck).await {
            Ok(round) => round,
            Err(error) => {
                report = report.and(failed(&error));
                in_vain += 1;
                continue;
            }
        };
        match round {
            Round::Made(seen_to) => {
                in_vain = if seen_to.is_empty() { in_vain + 1 } else { 0 };
                for one in &seen_to {
                    report = report.and(Report::of(one));
                }
                // An order that the list did not show is looked at by its id, and so stays.
                pool.retain_mut(|order| {
                    let Some(one) = seen_to.iter().find(|one| one.order.key == order.key) else {
                        return true;
                    };
                    let stays = one.order.unlisted && !order.unlisted;
                    *order = one.order.clone();
                    stays
                });
            }
            Round::Failed(error) => {
                report.failed += 1;
                report.news.failed(&error);
                in_vain += 1;
            }
            // Its own trouble: the others' checks go on.
            Round::Stuck(key, error) => {
                report = report.and(give_up(tracker, &key, &error).await);
                pool.retain(|order| order.key != key);
            }
            Round::NotAdmitted { until, .. } if until >= stop_at => open = false,
            Round::NotAdmitted { until, .. } => tracker.clock.wait_until(until).await,
            Round::NotWorthIt => {
                worth_it = false;
                break;
            }
        }
    }
    let left = Left { worth_it, closed: !open, stop_at };
    let left =
        stream::iter(pool).map(|order| left_for_later(tracker, order, now, &left)).buffer_unordered(AT_ONCE);
    left.fold(report, async |report, one| report.and(one)).await
}

/// Why orders are left.
struct Left {
    /// Pages might have been worth a call, had there been leave, or time.
    worth_it: bool,
    /// There was no leave.
    closed: bool,
    stop_at: Timestamp,
}

/// An order that no call was made for: overdue counts all the same; one that was only to be looked at along with others waits.
async fn left_for_later(tracker: &Tracker, order: Order, now: Timestamp, left: &Left) -> Report {
    if tracker.clock.now() >= left.stop_at {
        return Report { remaining: 1, ..Report::default() };
    }
    if order.wants_look(Trigger::Recheck, now, &tracker.schedule) {
        let one = match tracker.pass_time(order, now).await {
            Ok(one) => Report::of(&one),
            Err(error) => failed(&error),
        };
        let waits = if left.closed {
            Report { not_admitted: 1, ..Report::default() }
        } else {
            Report { remaining: 1, ..Report::default() }
        };
        return one.and(waits);
    }
    let put_off = tracker.put_off_free_look(&order, now, left.worth_it).await;
    put_off.map_or_else(|error| failed(&error), |()| Report::default())
}

fn failed(error: &StoreError) -> Report {
    tracing::error!(%error, "an order could not be seen to");
    let news = News { failed_store: 1, ..News::default() };
    Report { failed: 1, news, ..Report::default() }
}
