//! Acts of a person about an order: a recheck on request, and closing reviews.

use super::{MAX_RACES, Tracker, deleted, too_many_races};
use crate::{
    order::{Decision, NotReviewable, Order, OrderKey, ReviewAct},
    store::{Commit, StoreError},
};

/// Why an act was not recorded.
#[derive(Debug, thiserror::Error)]
pub enum ReviewError {
    /// The table failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// There is no such order.
    #[error("the order is not tracked")]
    NotTracked,
    /// The act is not possible as the order stands.
    #[error(transparent)]
    NotReviewable(#[from] NotReviewable),
    /// Another act or another event came first.
    #[error("the order has changed; read its history and decide again")]
    Changed,
}

impl Tracker {
    /// Commits the act with its event and publishes it. Returns the order as stored. Of two acts at once one fails; a check that only changed
    /// times in between does no harm.
    ///
    /// # Errors
    /// See [`ReviewError`].
    pub async fn review(&self, key: &OrderKey, act: &ReviewAct) -> Result<Order, ReviewError> {
        let mut order = self.store.load(key).await?.ok_or(ReviewError::NotTracked)?;
        for _ in 0..MAX_RACES {
            let now = self.clock.now();
            let Decision { order: after, events } = order.after_review(act, now)?;
            let due_at = self.schedule.due_at(&after, now);
            match self.store.commit(&order, after, &events, due_at).await? {
                Commit::Applied(after) => {
                    tracing::info!(order = %key, action = ?act.action, "an act of a person was recorded");
                    return Ok(self.publish(*after, &events).await.order);
                }
                Commit::AlreadyFinal | Commit::LostRace => {
                    let stored = self.store.load(key).await?.ok_or_else(|| deleted(key))?;
                    if stored.seq != order.seq {
                        return Err(ReviewError::Changed);
                    }
                    order = stored;
                }
            }
        }
        Err(too_many_races("record an act of a person").into())
    }
}
