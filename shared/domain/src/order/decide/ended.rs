//! Orders that have ended: their cards, late checks after a refund, and answers that contradict the outcome.

use std::time::Duration;

use super::Draft;
use crate::{
    order::{EventKind, Facts, Outcome, Phase, ReviewReason, Snapshot},
    time::between,
};

/// A card that could not be had for so long, because checks fail or it cannot be encrypted, is missing.
const CARD_AWAITED_FOR: Duration = Duration::from_secs(24 * 3600);
/// Late checks of a refunded order are given up after so long, if the vendor is away all the time.
const LATE_CHECKS_FOR: Duration = Duration::from_secs(7 * 24 * 3600);

impl Draft<'_> {
    /// The outcome has been published and stays; only what was missing is added.
    pub(super) fn shown_after_the_end(&mut self, seen: &Snapshot) {
        if seen.facts.status != self.before.facts.status {
            let text = seen.facts.status.as_ref().map(|status| status.as_str().to_owned());
            self.review(ReviewReason::Contradiction, text);
            return self.check_after_the_end(true);
        }
        self.order.facts = self.before.facts.completed_by(seen.facts.clone());
        self.review_if_alive_elsewhere();
        if self.order.awaits_card() && seen.card.is_some() {
            self.order.card = seen.card.clone();
            self.order.next_check_at = None;
            self.events.push(EventKind::CardAvailable);
        } else {
            self.check_after_the_end(true);
        }
    }

    /// A final order is checked for its card, or once or twice after a refund.
    pub(super) fn check_after_the_end(&mut self, answered: bool) {
        if self.order.awaits_card() && self.check_was_due() {
            self.wait_for_card(answered);
        } else if self.order.awaits_late_check() && self.check_was_due() {
            self.wait_for_late_check(answered);
        }
    }

    fn wait_for_card(&mut self, answered: bool) {
        let retry_schedule = &self.schedule.recheck_card;
        if !answered {
            if between(self.order.changed_at, self.now) >= CARD_AWAITED_FOR {
                self.review(ReviewReason::CardMissing, None);
            }
            return self.check_in(self.wait_after_failure());
        }
        if retry_schedule.is_last(self.order.attempt) {
            self.review(ReviewReason::CardMissing, None);
        }
        self.order.attempt = self.order.attempt.saturating_add(1);
        self.check_in(retry_schedule.wait(self.order.attempt));
    }

    /// The outcome stands: a late check that fails for good is as good as made, and one whose vendor is away is given up in time.
    fn wait_for_late_check(&mut self, answered: bool) {
        if !answered && self.order.trouble.is_none() {
            self.order.next_check_at = None;
            if between(self.order.changed_at, self.now) < LATE_CHECKS_FOR {
                self.check_in(self.wait_after_failure());
            }
            return;
        }
        self.order.attempt = self.order.attempt.saturating_add(1);
        self.order.next_check_at = None;
        if let Some(wait) = self.schedule.recheck_refunded.wait_once(self.order.attempt) {
            self.check_in(wait);
        }
    }

    /// Refunded, and alive under another id: the merchant must not pay twice.
    pub(super) fn review_if_alive_elsewhere(&mut self) {
        if !matches!(self.order.phase, Phase::Final { outcome: Outcome::Refunded }) {
            return;
        }
        let Facts { retry_order_id, follow_order_id, .. } = &self.order.facts;
        let retried = self.order.other_order(retry_order_id.as_deref()).is_some();
        let followed = self.order.other_order(follow_order_id.as_deref()).is_some();
        if retried {
            self.review(ReviewReason::Retried, None);
        }
        if followed {
            self.review(ReviewReason::Followed, None);
        }
    }
}
