//! The scheduled sweep: sees to every order that is due.

use std::time::{Duration, SystemTime};

use futures_util::{StreamExt, stream};
use jiff::Timestamp;
use lambda_runtime::Diagnostic;
use serde::Serialize;
use shared::{
    order::{OrderKey, Phase, Trigger},
    refresh::{Look, Tracker},
    store::StoreError,
    telemetry::Summary,
};

/// Orders listed per sweep; what is beyond is for the next tick.
const MOST_PER_SWEEP: usize = 4000;
/// Orders seen to at once.
const AT_ONCE: usize = 8;
/// Nothing is begun so shortly before the function's own end: the longest look and its commit still fit.
const RESERVE: Duration = Duration::from_secs(15);

/// What a sweep did.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Orders that were due.
    pub due: usize,
    /// Events announced.
    pub announced: usize,
    /// Looks made, also those that failed.
    pub looked: usize,
    /// Orders that became final.
    pub became_final: usize,
    /// Orders looked at that are still parked.
    pub still_parked: usize,
    /// Orders that could not be seen to: a failed look, or a record that cannot be read.
    pub failed: usize,
    /// Orders that the key's rate left no call for.
    pub not_admitted: usize,
    /// Orders that were due and are left for the next tick.
    pub remaining: usize,
}

/// The table could not even be asked what is due.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct RecheckError(#[from] StoreError);

impl From<RecheckError> for Diagnostic {
    fn from(error: RecheckError) -> Self {
        Diagnostic { error_type: "StoreUnavailable".to_owned(), error_message: error.to_string() }
    }
}

/// Sees to what is due until nothing is, or the time is up. One bad order never stops the rest. Idempotent: run it as
/// often as you like.
///
/// # Errors
/// If the table cannot be asked what is due.
pub async fn handle(tracker: &Tracker, deadline: SystemTime) -> Result<Report, RecheckError> {
    let deadline = Timestamp::try_from(deadline).unwrap_or(Timestamp::MAX);
    let stop_at = deadline.checked_sub(RESERVE).unwrap_or(Timestamp::MIN);
    let due = tracker.store.due(tracker.clock.now(), MOST_PER_SWEEP).await;
    let due = due.inspect_err(|error| tracing::error!(%error, "the sweep could not begin"))?;
    let report = stream::iter(&due.keys)
        .map(|key| see_to(tracker, key, stop_at))
        .buffer_unordered(AT_ONCE)
        .fold(
            Report { due: due.keys.len(), ..Report::default() },
            |report, one| async move { report.with(&one) },
        )
        .await;
    if due.more {
        tracing::warn!(listed = due.keys.len(), "more is due than one sweep lists");
    }
    summary(&report).log(tracker.clock.now());
    Ok(report)
}

/// A report on one order.
async fn see_to(tracker: &Tracker, key: &OrderKey, stop_at: Timestamp) -> Report {
    if tracker.clock.now() >= stop_at {
        return Report { remaining: 1, ..Report::default() };
    }
    let refreshed = match tracker.refresh(key, Trigger::Recheck).await {
        Ok(Some(refreshed)) => refreshed,
        Ok(None) => return Report::default(),
        Err(error) => return give_up(tracker, key, &error).await,
    };
    let mut one = Report { announced: refreshed.announced, ..Report::default() };
    match refreshed.look {
        Look::NotMade => return one,
        Look::Answered => {}
        Look::Failed(_) => one.failed = 1,
    }
    one.looked = 1;
    one.became_final = usize::from(refreshed.became_final);
    one.still_parked = usize::from(matches!(refreshed.order.phase, Phase::Parked { .. }));
    one
}

/// An order that cannot be read moves on, so that it does not stand before the others for ever.
async fn give_up(tracker: &Tracker, key: &OrderKey, error: &StoreError) -> Report {
    tracing::error!(order = %key, %error, "an order could not be seen to");
    if matches!(error, StoreError::Corrupt { .. }) {
        let now = tracker.clock.now();
        let until = now.checked_add(tracker.schedule.retry_after_failure).unwrap_or(Timestamp::MAX);
        if let Err(error) = tracker.store.postpone(key, now, until).await {
            tracing::error!(order = %key, %error, "nor could it be moved on");
        }
    }
    Report { failed: 1, ..Report::default() }
}

impl Report {
    fn with(self, one: &Self) -> Self {
        Self {
            due: self.due,
            announced: self.announced + one.announced,
            looked: self.looked + one.looked,
            became_final: self.became_final + one.became_final,
            still_parked: self.still_parked + one.still_parked,
            failed: self.failed + one.failed,
            not_admitted: self.not_admitted + one.not_admitted,
            remaining: self.remaining + one.remaining,
        }
    }
}

fn summary(report: &Report) -> Summary {
    Summary::new("recheck")
        .count("due", report.due)
        .count("announced", report.announced)
        .count("looked", report.looked)
        .count("became_final", report.became_final)
        .count("still_parked", report.still_parked)
        .count("failed", report.failed)
        .count("not_admitted", report.not_admitted)
        .count("remaining", report.remaining)
}
