//! Final orders: missing cards, late checks after a refund, and answers that contradict the outcome.

use std::time::Duration;

use super::Draft;
use crate::{
    order::{EventKind, Facts, Outcome, Phase, ReviewReason, Snapshot},
    time::between,
};

/// How long checks for a card may fail, or its encryption, before the order is reviewed.
const MAX_CARD_WAIT: Duration = Duration::from_secs(24 * 3600);
/// How long failed late checks of a refunded order are repeated.
const MAX_LATE_CHECK_RETRIES: Duration = Duration::from_secs(7 * 24 * 3600);

impl Draft<'_> {
    /// Keeps the published outcome and fills in missing fields only.
    pub(super) fn apply_to_final(&mut self, snapshot: &Snapshot) {
        if snapshot.facts.status != self.before.facts.status {
            let text = snapshot.facts.status.as_ref().map(|status| status.as_str().to_owned());
            self.review(ReviewReason::Contradiction, text);
            return self.check_final_again(true);
        }
        self.order.facts = self.before.facts.completed_by(snapshot.facts.clone());
        self.review_if_continued_elsewhere();
        if self.order.awaits_card() && snapshot.card.is_some() {
            self.order.card = snapshot.card.clone();
            self.order.next_check_at = None;
            self.events.push(EventKind::CardAvailable);
        } else {
            self.check_final_again(true);
        }
    }

    /// Schedules the next check of a final order that still lacks its card or was refunded.
    pub(super) fn check_final_again(&mut self, answered: bool) {
        if self.order.awaits_card() && self.check_was_due() {
            self.wait_for_card(answered);
        } else if self.order.awaits_late_check() && self.check_was_due() {
            self.wait_for_late_check(answered);
        }
    }

    fn wait_for_card(&mut self, answered: bool) {
        let retry_schedule = &self.schedule.recheck_card;
        if !answered {
            if between(self.order.changed_at, self.now) >= MAX_CARD_WAIT {
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

    /// A late check that fails permanently counts as made. One that fails temporarily is repeated for 7 days.
    fn wait_for_late_check(&mut self, answered: bool) {
        if !answered && self.order.trouble.is_none() {
            self.order.next_check_at = None;
            if between(self.order.changed_at, self.now) < MAX_LATE_CHECK_RETRIES {
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

    /// Reviews a refunded order that continues under another id: the customer may be served twice.
    pub(super) fn review_if_continued_elsewhere(&mut self) {
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
