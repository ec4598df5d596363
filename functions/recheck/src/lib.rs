//! The scheduled sweep: sees to every order that is due.

mod bulk;

use std::time::{Duration, SystemTime};

use futures_util::{StreamExt, stream};
use jiff::Timestamp;
use lambda_runtime::Diagnostic;
use serde::Serialize;
use shared::{
    order::{OrderKey, Phase, Trigger},
    refresh::{Look, News, Refreshed, Tracker},
    store::{Due, StoreError},
    telemetry::{Summary, Unit},
    time::later,
};

/// Orders listed at once: a few MB, whatever is due. What is beyond is listed when these are seen to, or is for the next tick.
const MOST_AT_ONCE: usize = 4000;
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
    /// Orders looked at, also in vain; a call may show many.
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
    /// What the looks brought, for the metrics.
    #[serde(skip)]
    pub news: News,
    /// When the oldest event happened that could not be published.
    #[serde(skip)]
    pub unpublished_since: Option<Timestamp>,
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
    let began = tracker.clock.now();
    let due = tracker.store.due(began, MOST_AT_ONCE).await;
    let mut due = due.inspect_err(|error| tracing::error!(%error, "the sweep could not begin"))?;
    let oldest = due.oldest;
    let mut report = announce_keys(tracker, &due).await;
    loop {
        let part = match &tracker.lists {
            Some(lists) => bulk::see_to_all(tracker, lists, &due.keys, began, stop_at).await,
            None => see_to_each(tracker, &due.keys, stop_at).await,
        };
        let went_on = part.looked + part.announced > 0 && part.not_admitted == 0;
        report = report.and(part).and(Report { due: due.keys.len(), ..Report::default() });
        if !due.more || !went_on || tracker.clock.now() >= stop_at {
            break;
        }
        match tracker.store.due(tracker.clock.now(), MOST_AT_ONCE).await {
            Ok(next) => due = next,
            Err(error) => {
                tracing::error!(%error, "what else is due could not be asked");
                break;
            }
        }
    }
    if due.more {
        tracing::warn!(seen_to = report.due, "more is due than one sweep sees to");
    }
    let suspended = is_suspended(tracker).await.unwrap_or_else(|error| {
        tracing::error!(%error, "nobody knows whether the key is suspended");
        false
    });
    let oldest = oldest.map_or(0, |oldest| began.duration_since(oldest).as_secs().max(0));
    let age = |since: Timestamp| tracker.clock.now().duration_since(since).as_secs().max(0).unsigned_abs();
    summary(&report)
        .count("sweeps", 1)
        .gauge("oldest_unpublished_seconds", report.unpublished_since.map_or(0, age), Unit::Seconds)
        .gauge("suspended", u64::from(suspended), Unit::Count)
        .gauge("oldest_due_seconds", oldest.unsigned_abs(), Unit::Seconds)
        .log(tracker.clock.now());
    Ok(report)
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
async fn announce_keys(tracker: &Tracker, due: &Due) -> Report {
    let mut report = Report::default();
    for key in &due.vendor_keys {
        match tracker.refresh_key(key).await {
            Ok((announced, unpublished_since)) => {
                report = report.and(Report { announced, unpublished_since, ..Report::default() });
            }
            Err(error) => tracing::error!(%key, %error, "a key of the vendor's could not be processed"),
        }
    }
    report
}

/// Sees to these orders, one call each. First whatever needs no leave to call: nothing that is only to be announced stands behind
/// what waits for one.
async fn see_to_each(tracker: &Tracker, keys: &[OrderKey], stop_at: Timestamp) -> Report {
    let seen_to = stream::iter(keys)
        .map(|key| async move { (key, see_to(tracker, key, stop_at).await) })
        .buffer_unordered(AT_ONCE)
        .collect::<Vec<_>>()
        .await;
    let (waiting, done): (Vec<_>, Vec<_>) =
        seen_to.into_iter().partition(|(_, seen)| seen.waits_until.is_some());
    let waited = stream::iter(waiting)
        .map(|(key, seen)| wait_and_see_to(tracker, key, seen, stop_at))
        .buffer_unordered(AT_ONCE)
        .collect::<Vec<_>>()
        .await;
    done.into_iter().map(|(_, seen)| seen.report).chain(waited).fold(Report::default(), Report::and)
}

/// One order, seen to.
struct SeenTo {
    report: Report,
    /// Nothing was asked: there is no leave to call before then.
    waits_until: Option<Timestamp>,
}

impl From<Report> for SeenTo {
    fn from(report: Report) -> Self {
        Self { report, waits_until: None }
    }
}

async fn see_to(tracker: &Tracker, key: &OrderKey, stop_at: Timestamp) -> SeenTo {
    if tracker.clock.now() >= stop_at {
        return Report { remaining: 1, ..Report::default() }.into();
    }
    let refreshed = match tracker.refresh(key, Trigger::Recheck).await {
        Ok(Some(refreshed)) => refreshed,
        Ok(None) => return Report::default().into(),
        Err(error) => return give_up(tracker, key, &error).await.into(),
    };
    let waits_until = match refreshed.look {
        Look::NotAdmitted { until, .. } => Some(until),
        Look::NotMade | Look::Answered | Look::Failed(_) => None,
    };
    SeenTo { report: Report::of(&refreshed), waits_until }
}

/// Waits for leave to call, if there may be some in time.
async fn wait_and_see_to(tracker: &Tracker, key: &OrderKey, seen: SeenTo, stop_at: Timestamp) -> Report {
    let SeenTo { mut report, mut waits_until } = seen;
    while let Some(until) = waits_until {
        if until >= stop_at {
            return report.and(Report { not_admitted: 1, ..Report::default() });
        }
        tracker.clock.wait_until(until).await;
        let seen = see_to(tracker, key, stop_at).await;
        report = report.and(seen.report);
        waits_until = seen.waits_until;
    }
    report
}

/// An order that cannot be read moves on, so that it does not stand before the others for ever.
async fn give_up(tracker: &Tracker, key: &OrderKey, error: &StoreError) -> Report {
    tracing::error!(order = %key, %error, "an order could not be seen to");
    if matches!(error, StoreError::Corrupt { .. }) {
        let now = tracker.clock.now();
        let until = later(now, tracker.schedule.retry_after_failure);
        if let Err(error) = tracker.store.postpone(key, now, until).await {
            tracing::error!(order = %key, %error, "nor could it be moved on");
        }
    }
    let news = News { failed_store: 1, ..News::default() };
    Report { failed: 1, news, ..Report::default() }
}

impl Report {
    /// Of one order.
    fn of(refreshed: &Refreshed) -> Self {
        let looked = matches!(refreshed.look, Look::Answered | Look::Failed(_));
        Self {
            announced: refreshed.announced,
            looked: usize::from(looked),
            became_final: refreshed.news.became_final,
            still_parked: usize::from(looked && matches!(refreshed.order.phase, Phase::Parked { .. })),
            failed: usize::from(matches!(refreshed.look, Look::Failed(_))),
            news: refreshed.news,
            unpublished_since: refreshed.unpublished_since,
            ..Self::default()
        }
    }

    fn and(self, one: Self) -> Self {
        Self {
            due: self.due + one.due,
            announced: self.announced + one.announced,
            looked: self.looked + one.looked,
            became_final: self.became_final + one.became_final,
            still_parked: self.still_parked + one.still_parked,
            failed: self.failed + one.failed,
            not_admitted: self.not_admitted + one.not_admitted,
            remaining: self.remaining + one.remaining,
            news: self.news.and(one.news),
            unpublished_since: self.unpublished_since.into_iter().chain(one.unpublished_since).min(),
        }
    }
}

fn summary(report: &Report) -> Summary {
    let summary = Summary::new("recheck")
        .with("due", report.due)
        .with("announced", report.announced)
        .count("looks", report.looked)
        .with("still_parked", report.still_parked)
        .count("failed", report.failed)
        .count("not_admitted", report.not_admitted)
        .with("remaining", report.remaining);
    report.news.add_to(summary)
}
