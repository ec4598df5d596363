//! The scheduled recheck: processes every order that is due.

mod batch;
mod each;
mod report;

use std::time::{Duration, SystemTime};

use jiff::Timestamp;
use lambda_runtime::Diagnostic;
use shared::{
    refresh::{Counters, Tracker},
    store::{Due, StoreError},
    telemetry::{Summary, Unit},
};

use report::Report;

/// Orders listed at once: a few MB, whatever is due. What is beyond is listed when these are processed, or is for the next run.
const MAX_LISTED: usize = 4000;
/// Orders processed at once.
const CONCURRENCY: usize = 8;
/// Nothing is begun so shortly before the function's own end: the longest check and its commit still fit.
const RESERVE: Duration = Duration::from_secs(15);

/// The table could not even be asked what is due.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct RecheckError(#[from] StoreError);

impl From<RecheckError> for Diagnostic {
    fn from(error: RecheckError) -> Self {
        Diagnostic { error_type: "StoreUnavailable".to_owned(), error_message: error.to_string() }
    }
}

/// Processes what is due until nothing is, or the time is up; answers what was counted. One bad order never stops the rest. Idempotent: run it as
/// often as you like.
///
/// # Errors
/// If the table cannot be asked what is due.
pub async fn handle(tracker: &Tracker, deadline: SystemTime) -> Result<Counters, RecheckError> {
    let deadline = Timestamp::try_from(deadline).unwrap_or(Timestamp::MAX);
    let stop_at = deadline.checked_sub(RESERVE).unwrap_or(Timestamp::MIN);
    let began = tracker.clock.now();
    let due = tracker.store.due(began, MAX_LISTED).await;
    let due = due.inspect_err(|error| tracing::error!(%error, "the recheck could not begin"))?;
    let oldest_due = due.oldest.map_or(0, |oldest| began.duration_since(oldest).as_secs().max(0));
    let keys = publish_keys(tracker, &due).await;
    let report = keys.and(process_all(tracker, due, began, stop_at).await);
    let suspended = is_suspended(tracker).await.unwrap_or_else(|error| {
        tracing::error!(%error, "whether the key is suspended is not known");
        false
    });
    let age = |since: Timestamp| tracker.clock.now().duration_since(since).as_secs().max(0).unsigned_abs();
    let mut counters = report.counters;
    counters.rechecks += 1;
    counters
        .add_to(Summary::new("recheck"))
        .with("no_call_reason", counters.no_call_reasons())
        .gauge("oldest_unpublished_seconds", report.unpublished_since.map_or(0, age), Unit::Seconds)
        .gauge("suspended", u64::from(suspended), Unit::Count)
        .gauge("oldest_due_seconds", oldest_due.unsigned_abs(), Unit::Seconds)
        .log(tracker.clock.now());
    Ok(counters)
}

/// Processes orders as they are listed, batch by batch.
async fn process_all(tracker: &Tracker, mut due: Due, began: Timestamp, stop_at: Timestamp) -> Report {
    let mut report = Report::default();
    loop {
        let part = match &tracker.lists {
            Some(lists) => batch::process(tracker, lists, &due.keys, began, stop_at).await,
            None => each::process(tracker, &due.keys, stop_at).await,
        };
        let went_on = part.counters.checks + part.counters.published > 0 && !part.was_denied;
        report = report.and(part).and(Report::due(due.keys.len()));
        if !due.more || !went_on || tracker.clock.now() >= stop_at {
            break;
        }
        match tracker.store.due(tracker.clock.now(), MAX_LISTED).await {
            Ok(next) => due = next,
            Err(error) => {
                tracing::error!(%error, "what else is due could not be asked");
                break;
            }
        }
    }
    if due.more {
        tracing::warn!(processed = report.counters.due, "more is due than one recheck processes");
    }
    report
}

/// Whether the key that is in use is suspended; if so, another may be in the secret by now.
async fn is_suspended(tracker: &Tracker) -> Result<bool, StoreError> {
    if tracker.usage().await?.suspended_until.is_none() {
        return Ok(false);
    }
    tracker.vault.read_again(tracker.clock.now()).await;
    Ok(tracker.usage().await?.suspended_until.is_some())
}

/// Publishes what there is to say about the vendor's keys, and forgets those that are not in use any more.
async fn publish_keys(tracker: &Tracker, due: &Due) -> Report {
    let mut report = Report::default();
    for key in &due.vendor_keys {
        match tracker.refresh_key(key).await {
            Ok((published, unpublished_since)) => {
                report = report.and(Report::published(published, unpublished_since));
            }
            Err(error) => tracing::error!(%key, %error, "a key of the vendor's could not be processed"),
        }
    }
    report
}
