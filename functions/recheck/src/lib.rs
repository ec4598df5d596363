//! The scheduled recheck: processes all due orders, removes old personal data, then goes on with resyncs.

mod batch;
mod each;
mod report;

use std::time::{Duration, SystemTime};

use jiff::Timestamp;
use lambda_runtime::Diagnostic;
use serde::Deserialize;
use serde_json::Value;
use shared::{
    order::{OrderId, OrderKey, Product},
    refresh::{Counters, RedactError, Redacted, Tracker},
    store::{Due, StoreError},
    telemetry::{Summary, Unit},
    time::{between, earlier, later},
};

use report::Report;

/// Orders read from the due index at once: a few MB. The rest is read after these are processed, or by the next run.
const MAX_LISTED: usize = 4000;
/// Orders processed concurrently.
const CONCURRENCY: usize = 8;
/// Time before the function's deadline in which nothing new starts: longer than the longest check and its commit.
const RESERVE: Duration = Duration::from_secs(15);
/// The same for redactions, which call the table only. So there is time for them when due orders take all the rest.
const REDACT_RESERVE: Duration = Duration::from_secs(6);

/// An error of the function.
#[derive(Debug, thiserror::Error)]
pub enum RecheckError {
    /// The due index could not be read at the start.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// `redact` names no order.
    #[error("redact must be an object with the product and the id of an order")]
    InvalidInput,
    /// The order in `redact` keeps its data.
    #[error("{key} is not redacted: {why}")]
    NotRedacted {
        /// The order.
        key: OrderKey,
        /// Why.
        why: RedactError,
    },
}

impl From<RecheckError> for Diagnostic {
    fn from(error: RecheckError) -> Self {
        let error_type = match error {
            RecheckError::Store(_) => "StoreUnavailable",
            RecheckError::InvalidInput => "InvalidInput",
            RecheckError::NotRedacted { .. } => "NotRedacted",
        };
        Diagnostic { error_type: error_type.to_owned(), error_message: error.to_string() }
    }
}

/// Answers an invocation. `{"redact": {"product": …, "id": …}}` removes the personal data of this order now, if it is final; anything else is a
/// recheck.
///
/// # Errors
/// See [`RecheckError`].
pub async fn answer(
    tracker: &Tracker,
    payload: &Value,
    deadline: SystemTime,
) -> Result<Counters, RecheckError> {
    #[derive(Deserialize)]
    struct Named {
        product: Product,
        id: OrderId,
    }
    let Some(named) = payload.get("redact") else { return handle(tracker, deadline).await };
    let Named { product, id } = Named::deserialize(named).map_err(|_| RecheckError::InvalidInput)?;
    let key = OrderKey { product, id };
    match tracker.redact(&key, None).await {
        Ok(()) => {
            tracing::info!(order = %key, "redacted");
            Ok(Counters { redacted: 1, ..Counters::default() })
        }
        Err(why) => Err(RecheckError::NotRedacted { key, why }),
    }
}

/// Processes due orders until none is left or the time is up, redacts, then goes on with resyncs; returns the counters. A failing order does
/// not stop the others. Idempotent.
///
/// # Errors
/// If the due index cannot be read at the start.
pub async fn handle(tracker: &Tracker, deadline: SystemTime) -> Result<Counters, RecheckError> {
    let deadline = Timestamp::try_from(deadline).unwrap_or(Timestamp::MAX);
    let stop_at = earlier(deadline, RESERVE);
    let began = tracker.clock.now();
    let due = tracker.store.due(began, MAX_LISTED).await;
    let due = due
        .inspect_err(|error| tracing::error!(%error, "the due index could not be read; the recheck ends"))?;
    let oldest_due = due.oldest.map_or(0, |oldest| began.duration_since(oldest).as_secs().max(0));
    let keys = publish_keys(tracker, &due).await;
    let report = keys.and(process_all(tracker, due, began, stop_at).await);
    let suspended = is_suspended(tracker).await.unwrap_or_else(|error| {
        tracing::error!(%error, "the state of the vendor key could not be read");
        false
    });
    let age = |since: Timestamp| tracker.clock.now().duration_since(since).as_secs().max(0).unsigned_abs();
    let mut counters = report.counters;
    counters.rechecks += 1;
    let redacted = redact(tracker, stop_at, deadline).await;
    (counters.redacted, counters.failed_redactions) = (redacted.orders, redacted.failed);
    counters
        .add_to(Summary::new("recheck"))
        .with("no_call_reason", counters.no_call_reasons())
        .gauge("oldest_unpublished_seconds", report.unpublished_since.map_or(0, age), Unit::Seconds)
        .gauge("suspended", u64::from(suspended), Unit::Count)
        .gauge("oldest_due_seconds", oldest_due.unsigned_abs(), Unit::Seconds)
        .log(tracker.clock.now());
    // After the summary: a resync may take all the time that is left.
    Ok(counters.and(resync(tracker, stop_at).await))
}

/// Redacts orders in half of the time until `stop_at`: the other half is for resyncs. If no time is left, it redacts until [`REDACT_RESERVE`]
/// before the deadline. A failure of the table counts as one order.
async fn redact(tracker: &Tracker, stop_at: Timestamp, deadline: Timestamp) -> Redacted {
    let now = tracker.clock.now();
    let stop_at = match between(now, stop_at) {
        Duration::ZERO => earlier(deadline, REDACT_RESERVE),
        left => later(now, left / 2),
    };
    tracker.redact_ended(stop_at).await.unwrap_or_else(|error| {
        tracing::error!(%error, "orders that ended long ago could not be redacted");
        Redacted { orders: 0, failed: 1 }
    })
}

/// Goes on with resyncs until `stop_at`, after everything else. Logs a summary line of its own if there was something to do.
async fn resync(tracker: &Tracker, stop_at: Timestamp) -> Counters {
    let mut counters = Counters::default();
    if let Err(error) = tracker.run_resyncs(stop_at, &mut counters).await {
        tracing::error!(%error, "a resync could not go on; the next recheck does");
        counters.failed_resyncs += 1;
    }
    if counters != Counters::default() {
        counters.add_to(Summary::new("recheck")).with("part", "resync").log(tracker.clock.now());
    }
    counters
}

/// Processes due orders batch by batch.
async fn process_all(tracker: &Tracker, mut due: Due, began: Timestamp, stop_at: Timestamp) -> Report {
    let mut report = Report::default();
    loop {
        let part = match &tracker.lists {
            Some(lists) => batch::process(tracker, lists, &due.keys, began, stop_at).await,
            None => each::process(tracker, &due.keys, stop_at).await,
        };
        let has_progress = part.counters.checks + part.counters.published > 0 && !part.was_denied;
        report = report.and(part).and(Report::due(due.keys.len()));
        if !due.more || !has_progress || tracker.clock.now() >= stop_at {
            break;
        }
        match tracker.store.due(tracker.clock.now(), MAX_LISTED).await {
            Ok(next) => due = next,
            Err(error) => {
                tracing::error!(%error, "the rest of the due index could not be read");
                break;
            }
        }
    }
    if due.more {
        tracing::warn!(processed = report.counters.due, "more orders are due than one recheck processes");
    }
    report
}

/// Whether the key in use is suspended. If it is, reads the secret again, which may hold a new key.
async fn is_suspended(tracker: &Tracker) -> Result<bool, StoreError> {
    if tracker.usage().await?.suspended_until.is_none() {
        return Ok(false);
    }
    tracker.vault.read_again(tracker.clock.now()).await;
    Ok(tracker.usage().await?.suspended_until.is_some())
}

/// Publishes pending events of vendor keys, and removes keys that are no longer in use.
async fn publish_keys(tracker: &Tracker, due: &Due) -> Report {
    let mut report = Report::default();
    for key in &due.vendor_keys {
        match tracker.refresh_key(key).await {
            Ok((published, unpublished_since)) => {
                report = report.and(Report::published(published, unpublished_since));
            }
            Err(error) => tracing::error!(%key, %error, "a vendor key could not be processed"),
        }
    }
    report
}
