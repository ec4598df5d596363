//! Checks without an order in the answer: the vendor does not know it, the check failed, or none was made.

use std::time::Duration;

use super::Draft;
use crate::{
    order::{EventKind, Outcome, ParkedAs, Phase, ReviewReason, Trouble, TroubleRun},
    time::{between, is_ahead, later},
};

impl Draft<'_> {
    pub(super) fn apply_not_found(&mut self) {
        self.answered();
        match self.order.phase {
            Phase::InFlight { since } => {
                let grace = self.schedule.not_found_grace;
                let in_grace = between(self.order.tracked_at, self.now) < grace;
                if in_grace && !self.past_deadline(since) {
                    self.continue_polling(since);
                } else {
                    self.park(ParkedAs::NotFound, None);
                    self.review(ReviewReason::NotFound, None);
                }
            }
            Phase::Parked { parked_as: ParkedAs::NotFound, since } => {
                self.continue_rechecks(ParkedAs::NotFound, since, true)
            }
            Phase::Parked { .. } => {
                self.park(ParkedAs::NotFound, None);
                self.review(ReviewReason::NotFound, None);
            }
            Phase::Final { .. } => {}
        }
    }

    /// A failed check changes no status, but deadlines still apply.
    pub(super) fn apply_failure(&mut self, trouble: Option<Trouble>) {
        self.order.failures = self.order.failures.saturating_add(1);
        if let Some(trouble) = trouble {
            self.count_trouble(trouble);
        }
        if self.is_the_one_asked_for() {
            let again = later(self.now, self.wait_after_failure());
            self.order.recheck_asked_at = Some(again).filter(|_| trouble.is_none());
        }
        match self.order.phase {
            Phase::InFlight { since } => self.continue_polling(since),
            Phase::Parked { parked_as, since } => self.continue_rechecks(parked_as, since, false),
            Phase::Final { .. } => self.check_final_again(false),
        }
    }

    /// Counts a failure that will not pass by itself, of any kind, and reviews the order after `REVIEW_FAILURES` of them over
    /// `REVIEW_FAILING_FOR`. Refunded orders are not reviewed: they have their outcome.
    fn count_trouble(&mut self, trouble: Trouble) {
        let run = self.order.trouble.filter(|run| !is_ahead(run.since, self.now));
        let run = run.unwrap_or(TroubleRun { count: 0, since: self.now });
        self.order.trouble = Some(TroubleRun { count: run.count.saturating_add(1), ..run });
        let refunded = matches!(self.order.phase, Phase::Final { outcome: Outcome::Refunded });
        if !refunded && self.order.is_failing(self.now, self.schedule) {
            self.review(trouble.into(), None);
        }
    }

    /// The wait after a failed check.
    pub(super) fn wait_after_failure(&self) -> Duration {
        if self.order.is_failing(self.now, self.schedule) {
            self.schedule.recheck_failing
        } else {
            self.schedule.failure_wait(self.order.failures)
        }
    }

    /// No check was made: the poll deadline and overdue still apply, and the next check stays due.
    pub(super) fn apply_no_check(&mut self) {
        match self.order.phase {
            Phase::InFlight { since } if self.past_deadline(since) => {
                self.park(ParkedAs::Delayed, Some(EventKind::OrderDelayed));
            }
            Phase::Parked { parked_as, since } => self.check_when_overdue(parked_as, since),
            Phase::InFlight { .. } | Phase::Final { .. } => {}
        }
    }
}
