//! Redaction of orders that ended long ago.

use std::time::Duration;

use jiff::Timestamp;

use super::{MAX_RACES, Tracker, too_many_races};
use crate::{
    order::{Event, NotRedactable, OrderKey},
    store::{Commit, FeedCursor, StoreError},
    time::earlier,
};

/// Events that are considered at once.
const PAGE: u32 = 100;
/// Pages of one recheck.
const MAX_PAGES: usize = 20;

/// An order that cannot be redacted now holds the walk up for so long; then the walk goes on without it.
const PATIENCE: Duration = Duration::from_secs(24 * 3600);

/// What a walk did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Redacted {
    /// Orders that were redacted.
    pub orders: usize,
    /// Orders that failed, and keep their data.
    pub failed: usize,
}

/// Why an order was not redacted.
#[derive(Debug, thiserror::Error)]
pub enum RedactError {
    /// The table failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The order must keep its data.
    #[error(transparent)]
    Kept(#[from] NotRedactable),
    /// There is no such order.
    #[error("the order is not tracked")]
    NotTracked,
}

impl Tracker {
    /// Redacts orders whose outcome is older than `REDACT_AFTER`, in the order of their events, until `stop_at` or for 2,000 events. The next
    /// call goes on from there. An order that cannot be read is logged, counted and passed. One that waits (an event to publish, late checks)
    /// ends the walk, for a day at most: then it is passed too.
    ///
    /// # Errors
    /// If the table fails; the next call begins again at the last page.
    pub async fn redact_ended(&self, stop_at: Timestamp) -> Result<Redacted, StoreError> {
        let mut done = Redacted::default();
        let Some(kept_for) = self.redact_after else { return Ok(done) };
        let mut place = self.store.redaction_place().await?;
        for _ in 0..MAX_PAGES {
            let ended_before = earlier(self.clock.now(), kept_for);
            let (orders, next) =
                self.store.orders_in_feed(&place, PAGE, &FeedCursor::at(ended_before)).await?;
            if next == place {
                break;
            }
            let is_late = next < FeedCursor::at(earlier(ended_before, PATIENCE));
            for key in orders {
                if self.clock.now() >= stop_at
                    || !self.redact_one(&key, ended_before, is_late, &mut done).await?
                {
                    return Ok(done);
                }
            }
            self.store.keep_redaction_place(&next).await?;
            place = next;
        }
        Ok(done)
    }

    /// Redacts one order of a walk. False: the walk waits for this order.
    async fn redact_one(
        &self,
        key: &OrderKey,
        ended_before: Timestamp,
        is_late: bool,
        done: &mut Redacted,
    ) -> Result<bool, StoreError> {
        match self.redact(key, Some(ended_before)).await {
            Ok(()) => done.orders += 1,
            Err(RedactError::Kept(NotRedactable::Unpublished | NotRedactable::ChecksLeft)) if !is_late => {
                return Ok(false);
            }
            Err(
                RedactError::Kept(NotRedactable::NotFinal | NotRedactable::Redacted)
                | RedactError::NotTracked,
            ) => {}
            Err(RedactError::Store(error @ StoreError::Unavailable { .. })) => return Err(error),
            Err(error) => {
                tracing::error!(order = %key, %error, "an order could not be redacted and keeps its data");
                done.failed += 1;
            }
        }
        Ok(true)
    }

    /// Removes the personal data of one order and of its events; with `ended_before`, only if its outcome is older.
    ///
    /// # Errors
    /// If the order must keep its data, or the table fails.
    pub async fn redact(&self, key: &OrderKey, ended_before: Option<Timestamp>) -> Result<(), RedactError> {
        for _ in 0..MAX_RACES {
            let now = self.clock.now();
            let order = self.store.load(key).await?.ok_or(RedactError::NotTracked)?;
            if order.redacted_at.is_some() && ended_before.is_some() {
                return Err(NotRedactable::Redacted.into());
            }
            let events = self.store.events_after(key, 0).await?;
            let has_ended =
                |event: &Event| event.is_outcome() && event.occurred_at <= ended_before.unwrap_or(now);
            if !events.iter().any(has_ended) {
                return Err(NotRedactable::NotFinal.into());
            }
            // On request an order may be young: its card can still come.
            if ended_before.is_none() && order.awaits_card() {
                return Err(NotRedactable::ChecksLeft.into());
            }
            let after = order.redacted(now)?;
            let events = events.iter().map(|event| event.redacted(now)).collect::<Result<Vec<_>, _>>();
            let events = events.map_err(|_| StoreError::Corrupt {
                key: key.clone(),
                why: "an event is not JSON".to_owned(),
            })?;
            let due_at = self.schedule.due_at(&after, now);
            if matches!(self.store.redact(&order, after, &events, due_at).await?, Commit::Applied(_)) {
                return Ok(());
            }
        }
        Err(too_many_races("redact an order").into())
    }
}
