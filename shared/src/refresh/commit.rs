//! The second half of the path: decide and commit.

use jiff::Timestamp;

use super::{Check, Checked, Counters, MAX_RACES, Tracker, counters::Before, deleted};
use crate::{
    order::{CheckResult, Decision, Event, Jitter, Observation, Order, Trouble, decide},
    store::{Commit, StoreError},
};

/// An order on the way from its commit to the bus.
pub(super) struct Committed {
    pub(super) order: Order,
    /// The events that were committed with it.
    pub(super) events: Vec<Event>,
    pub(super) check: Check,
    pub(super) counters: Counters,
}

impl Tracker {
    /// Decides what a check means for its order, and commits that.
    ///
    /// # Errors
    /// If the table fails. What the table refuses is no error once it could be noted that it does: see [`Check::Failed`].
    pub(super) async fn decide_and_commit(&self, checked: Checked) -> Result<Committed, StoreError> {
        let Checked { order, mut check, check_result, mut counters } = checked;
        let Some(check_result) = check_result else {
            return Ok(Committed { order, events: Vec::new(), check, counters });
        };
        let (before, asked_at) = (Before::from(&order), check_result.asked_at);
        let (order, events) = match self.commit(&order, &check_result).await {
            Err(error @ StoreError::Refused { .. }) => {
                tracing::error!(order = %order.key, %error, "what a check showed cannot be stored");
                let noted = self.commit_that_refused(&order, asked_at).await?;
                check = Check::Failed(error.into());
                noted
            }
            committed => committed?,
        };
        counters += Counters::of_change(&before, &order);
        Ok(Committed { order, events, check, counters })
    }

    /// Notes that the table refuses what a check showed: deadline, waits and reviews count on.
    async fn commit_that_refused(
        &self,
        order: &Order,
        asked_at: Timestamp,
    ) -> Result<(Order, Vec<Event>), StoreError> {
        let check_result = CheckResult { asked_at, observation: Observation::Trouble(Trouble::StoreRefuses) };
        let noted = self.commit(order, &check_result).await;
        if let Err(StoreError::Refused { .. }) = noted {
            let stored = self.store.load(&order.key).await?.ok_or_else(|| deleted(&order.key))?;
            // What was to be published before does not wait for room in the record.
            let stored = self.publish(stored, &[]).await.order;
            self.check_seldom(&stored).await;
        }
        noted
    }

    /// Decides and commits until the commit holds; a process that commits every time gives up, and the next check decides anew.
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

    /// Not even a note fits into the record: all that is left is to make the order due seldom. The caller tells of the error.
    async fn check_seldom(&self, order: &Order) {
        let due_at = self.clock.now().checked_add(self.schedule.recheck_failing).ok();
        if let Err(error) = self.store.reschedule_if_unchanged(order, due_at).await {
            tracing::error!(order = %order.key, %error, "nor can it be made due later");
        }
    }
}
