//! Orders that are checked one by one, with one call each.

use futures_util::{StreamExt, stream};
use jiff::Timestamp;
use shared::{
    order::{OrderKey, Trigger},
    rate_limiter::Denied,
    refresh::{Check, NoCall, Tracker},
    store::StoreError,
    time::later,
};

use crate::{CONCURRENCY, Report};

/// The result of processing one order.
struct RecheckResult {
    report: Report,
    /// Set if no call was permitted: the reason and when to retry.
    denied: Option<Denied>,
}

impl From<Report> for RecheckResult {
    fn from(report: Report) -> Self {
        Self { report, denied: None }
    }
}

/// Processes these orders. Publishes pending events before it waits for permits.
pub(crate) async fn process(tracker: &Tracker, keys: &[OrderKey], stop_at: Timestamp) -> Report {
    let processed = stream::iter(keys)
        .map(|key| async move { (key, process_one(tracker, key, stop_at).await) })
        .buffer_unordered(CONCURRENCY)
        .collect::<Vec<_>>()
        .await;
    let (waiting, done): (Vec<_>, Vec<_>) =
        processed.into_iter().partition(|(_, result)| result.denied.is_some());
    let waited = stream::iter(waiting)
        .map(|(key, result)| wait_and_process(tracker, key, result, stop_at))
        .buffer_unordered(CONCURRENCY)
        .collect::<Vec<_>>()
        .await;
    done.into_iter().map(|(_, result)| result.report).chain(waited).fold(Report::default(), Report::and)
}

async fn process_one(tracker: &Tracker, key: &OrderKey, stop_at: Timestamp) -> RecheckResult {
    if tracker.clock.now() >= stop_at {
        return Report::remaining().into();
    }
    let refreshed = match tracker.refresh(key, Trigger::Recheck).await {
        Ok(Some(refreshed)) => refreshed,
        Ok(None) => return Report::default().into(),
        Err(error) => return give_up(tracker, key, &error).await.into(),
    };
    let denied = match refreshed.check {
        Check::NotMade(NoCall::Denied(denied)) => Some(denied),
        Check::NotMade(_) | Check::Answered | Check::Failed(_) => None,
    };
    RecheckResult { report: Report::of(&refreshed), denied }
}

/// Waits for a permit and processes the order, if a permit is possible before `stop_at`.
async fn wait_and_process(
    tracker: &Tracker,
    key: &OrderKey,
    result: RecheckResult,
    stop_at: Timestamp,
) -> Report {
    let RecheckResult { mut report, denied: mut next } = result;
    while let Some(denied) = next {
        if denied.retry_at >= stop_at {
            return report.and(Report::denied(denied));
        }
        tracker.clock.wait_until(denied.retry_at).await;
        let result = process_one(tracker, key, stop_at).await;
        report = report.and(result.report);
        next = result.denied;
    }
    report
}

/// Reschedules an order with an unreadable record, so that it does not stay first in the due index.
pub(crate) async fn give_up(tracker: &Tracker, key: &OrderKey, error: &StoreError) -> Report {
    tracing::error!(order = %key, %error, "an order could not be processed");
    if matches!(error, StoreError::Corrupt { .. }) {
        let now = tracker.clock.now();
        let until = later(now, tracker.schedule.retry_after_failure);
        if let Err(error) = tracker.store.reschedule(key, now, until).await {
            tracing::error!(order = %key, %error, "the unreadable order could not be rescheduled");
        }
    }
    Report::store_failed()
}
