//! Checks that showed no order: the vendor does not know it, the check failed, or none was made.

use std::time::Duration;

use super::Draft;
use crate::{
    order::{EventKind, Outcome, ParkedAs, Phase, ReviewReason, Trouble, TroubleRun},
    time::{between, is_ahead},
};

impl Draft<'_> {
    pub(super) fn unknown_to_vendor(&mut self) {
        self.answered();
        match self.order.phase {
            Phase::InFlight { since } => {
                let grace = self.schedule.not_found_grace;
                let in_grace = between(self.order.tracked_at, self.now) < grace;
                if in_grace && !self.past_deadline(since) {
                    self.poll_on(since);
                } else {
                    self.park(ParkedAs::NotFound, None);
                    self.review(ReviewReason::NotFound, None);
                }
            }
            Phase::Parked { parked_as: ParkedAs::NotFound, since } => {
                self.recheck_on(ParkedAs::NotFound, since, true)
            }
            Phase::Parked { .. } => {
                self.park(ParkedAs::NotFound, None);
                self.review(ReviewReason::NotFound, None);
            }
            Phase::Final { .. } => {}
        }
    }

    /// A check that failed never touches a status; time passes all the same.
    pub(super) fn failed(&mut self, trouble: Option<Trouble>) {
        self.order.failures = self.order.failures.saturating_add(1);
        if let Some(trouble) = trouble {
            self.note(trouble);
        }
        match self.order.phase {
            Phase::InFlight { since } => self.poll_on(since),
            Phase::Parked { parked_as, since } => self.recheck_on(parked_as, since, false),
            Phase::Final { .. } => self.check_after_the_end(false),
        }
    }

    /// What does not pass by itself is reviewed after some failures in a row over some time, whichever of them were of which kind. An order
    /// that was refunded is not: what it was checked for is no outcome.
    fn note(&mut self, trouble: Trouble) {
        let run = self.order.trouble.filter(|run| !is_ahead(run.since, self.now));
        let run = run.unwrap_or(TroubleRun { count: 0, since: self.now });
        self.order.trouble = Some(TroubleRun { count: run.count.saturating_add(1), ..run });
        let refunded = matches!(self.order.phase, Phase::Final { outcome: Outcome::Refunded });
        if !refunded && self.order.is_failing(self.now, self.schedule) {
            self.review(trouble.into(), None);
        }
    }

    /// How long to wait after a check that failed.
    pub(super) fn wait_after_failure(&self) -> Duration {
        if self.order.is_failing(self.now, self.schedule) {
            self.schedule.recheck_failing
        } else {
            self.schedule.failure_wait(self.order.failures)
        }
    }

    /// Nobody could check: deadline and overdue count, and the next check stays due.
    pub(super) fn time_passes(&mut self) {
        match self.order.phase {
            Phase::InFlight { since } if self.past_deadline(since) => {
                self.park(ParkedAs::Delayed, Some(EventKind::OrderDelayed));
            }
            Phase::Parked { parked_as, since } => self.be_there_when_overdue(parked_as, since),
            Phase::InFlight { .. } | Phase::Final { .. } => {}
        }
    }
}
