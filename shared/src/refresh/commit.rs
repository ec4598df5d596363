//! The second half of the path: decide and commit.

use jiff::Timestamp;

use super::{Check, Checked, Counters, MAX_RACES, Tracker, counters::Before, deleted};
use crate::{
    order::{CheckResult, Decision, Event, Jitter, Observation, Order, Trouble, decide},
    store::{Commit, StoreError},
};

/// An order between its commit and publishing.
pub(super) struct Committed {
    pub(super) order: Order,
    /// The events that were committed with the order.
    pub(super) events: Vec<Event>,
    pub(super) check: Check,
    pub(super) counters: Counters,
}

impl Tracker {
    /// Decides the result of a check and commits the decision.
    ///
    /// # Errors
    /// If the table fails. If the table refuses the result and that could be noted in the record, it is no error: see
    /// [`Check::Failed`].
    pub(super) async fn decide_and_commit(&self, checked: Checked) -> Result<Committed, StoreError> {
        let Checked { order, mut check, check_result, mut counters } = checked;
        let Some(check_result) = check_result else {
            return Ok(Committed { order, events: Vec::new(), check, counters });
        };
        let (before, asked_at) = (Before::from(&order), check_result.asked_at);
        let (order, events) = match self.commit(&order, &check_result).await {
            Err(error @ StoreError::Refused { .. }) => {
                tracing::error!(order = %order.key, %error, "the result of a check cannot be stored");
                let noted = self.commit_that_refused(&order, asked_at).await?;
                check = Check::Failed(error.into());
                noted
            }
            committed => committed?,
        };
        counters += Counters::of_change(&before, &order);
        Ok(Committed { order, events, check, counters })
    }

    /// Commits that the table refuses the result, so that deadline, waits and reviews go on.
    async fn commit_that_refused(
        &self,
        order: &Order,
        asked_at: Timestamp,
    ) -> Result<(Order, Vec<Event>), StoreError> {
        let check_result = CheckResult { asked_at, observation: Observation::Trouble(Trouble::StoreRefuses) };
        let noted = self.commit(order, &check_result).await;
        if let Err(StoreError::Refused { .. }) = noted {
            let stored = self.store.load(&order.key).await?.ok_or_else(|| deleted(&order.key))?;
            // Earlier events are published first: they need no room in the record.
            let stored = self.publish(stored, &[]).await.order;
            self.check_seldom(&stored).await;
        }
        noted
    }

    /// Decides and commits, again after each conflicting write. Gives up after [`MAX_RACES`]; the next check decides
    /// again.
    async fn commit(
        &self,
        order: &Order,
        check_result: &CheckResult,
    ) -> Result<(Order, Vec<Event>), StoreError> {
        let jitter = Jitter::new(fastrand::f64() * 2.0 - 1.0);
        let mut order = order.clone();
        for _ in 0..MAX_RACES {
            let now = self.clock.now();
            let Some(decision) = decide(&order, check_result, now, jitter, &self.schedule) else {
                return Ok((order, Vec::new()));
            };
            if decision.order == order && check_result.observation == Observation::NotAsked {
                return Ok((order, Vec::new()));
            }
            let due_at = self.schedule.due_at(&decision.order, now);
            let Decision { order: after, events } = decision;
            match self.store.commit(&order, after, &events, due_at).await? {
                Commit::Applied(after) => return Ok((*after, events)),
                Commit::AlreadyFinal | Commit::LostRace => {
                    order = self.store.load(&order.key).await?.ok_or_else(|| deleted(&order.key))?;
                }
            }
        }
        tracing::warn!(order = %order.key, "gave up after {MAX_RACES} conflicting writes");
        Ok((order, Vec::new()))
    }

    /// Makes the order due seldom, when not even the note fits into the record. The caller logs the refusal.
    async fn check_seldom(&self, order: &Order) {
        let due_at = self.clock.now().checked_add(self.schedule.recheck_failing).ok();
        if let Err(error) = self.store.reschedule_if_unchanged(order, due_at).await {
            tracing::error!(order = %order.key, %error, "an order that cannot be stored could not be rescheduled");
        }
    }
}
