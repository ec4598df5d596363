//! The rules for orders. Pure and total: never fails, whatever the order, the answer and the clock.

mod ended;
mod unanswered;

use std::time::Duration;

use jiff::Timestamp;

use super::{
    CheckResult, Event, EventKind, Jitter, Observation, Order, Outcome, ParkedAs, Phase, Place, ReviewReason,
    Schedule, Snapshot, Trouble, VendorStatus,
};
use crate::time::{between, is_ahead, later};

/// What to commit: the changed order and the events to publish.
#[derive(Clone, Debug, PartialEq)]
pub struct Decision {
    /// The order after the check.
    pub order: Order,
    /// New events; their numbers continue from the order's last event.
    pub events: Vec<Event>,
}

/// The most reviews of an order before unrecognised texts raise no more; twice as many in all. Bounds the record's size if the vendor
/// returns a new text at every check.
const MAX_REVIEWS: usize = 32;

/// Applies the result of a check to an order. `None`: nothing changes, because the order holds the result of a check that started later, or is
/// redacted.
///
/// `now`: the time of the decision, at or after `check_result.asked_at`. `jitter`: moves the next recheck.
pub fn decide(
    order: &Order,
    check_result: &CheckResult,
    now: Timestamp,
    jitter: Jitter,
    schedule: &Schedule,
) -> Option<Decision> {
    let is_newer = |checked: Timestamp| check_result.asked_at < checked && !is_ahead(checked, now);
    if order.redacted_at.is_some() || order.checked_at.is_some_and(is_newer) {
        return None;
    }
    let mut draft = Draft {
        before: order,
        order: Order { phase: order.phase.begun_by(now), ..order.clone() },
        events: Vec::new(),
        asked_at: check_result.asked_at,
        now,
        jitter,
        schedule,
    };
    match &check_result.observation {
        Observation::Order(snapshot) => draft.apply_snapshot(snapshot),
        Observation::NotListed => draft.order.unlisted = true,
        Observation::NotFound if !order.is_known() => draft.apply_not_found(),
        Observation::NotFound => draft.apply_failure(Some(Trouble::Vanished)),
        Observation::Trouble(trouble) => draft.apply_failure(Some(*trouble)),
        Observation::Nothing => draft.apply_failure(None),
        Observation::NotAsked => draft.apply_no_check(),
    }
    Some(draft.finish())
}

struct Draft<'a> {
    before: &'a Order,
    order: Order,
    events: Vec<EventKind>,
    asked_at: Timestamp,
    now: Timestamp,
    jitter: Jitter,
    schedule: &'a Schedule,
}

impl Draft<'_> {
    fn apply_snapshot(&mut self, snapshot: &Snapshot) {
        self.answered();
        self.order.first_seen_at.get_or_insert(self.asked_at);
        self.order.unlisted &= match snapshot.place {
            Place::List => false,
            // The creation time was unknown until now: the list check may have requested another window.
            Place::Check => self.before.facts.created_at.is_some() || snapshot.facts.created_at.is_none(),
        };
        if self.order.phase.is_final() {
            return self.apply_to_final(snapshot);
        }
        let status = snapshot.facts.status.clone();
        if status != self.before.facts.status {
            self.order.changed_at = self.now;
        }
        self.order.facts = self.before.facts.replaced_by(snapshot.facts.clone());
        self.order.card = self.before.card.clone().or_else(|| snapshot.card.clone());
        match status {
            Some(VendorStatus::Fulfilled) => self.end(Outcome::Fulfilled, EventKind::OrderFulfilled),
            Some(VendorStatus::Refunded) => self.end(Outcome::Refunded, EventKind::OrderRefunded),
            Some(VendorStatus::Queued) => self.park(ParkedAs::Queued, Some(EventKind::OrderQueued)),
            Some(VendorStatus::UnknownError) => {
                self.park(ParkedAs::Uncertain, Some(EventKind::OrderUncertain))
            }
            Some(VendorStatus::Pending | VendorStatus::Handling) => self.still_processing(),
            Some(VendorStatus::Unrecognised(text)) => {
                self.still_processing();
                self.review(ReviewReason::UnrecognisedStatus, Some(text));
            }
            None => {
                self.still_processing();
                self.review(ReviewReason::UnrecognisedStatus, None);
            }
        }
    }

    fn end(&mut self, outcome: Outcome, event: EventKind) {
        self.order.phase = Phase::Final { outcome };
        self.order.changed_at = self.now;
        self.order.attempt = 0;
        self.order.next_check_at = None;
        match outcome {
            Outcome::Fulfilled if self.order.awaits_card() => {
                self.check_in(self.schedule.recheck_card.wait(0));
            }
            Outcome::Refunded => self.check_in(self.schedule.recheck_refunded.wait(0)),
            Outcome::Fulfilled => {}
        }
        self.events.push(event);
        self.review_if_continued_elsewhere();
    }

    /// Handles `PENDING`, `HANDLING` and unrecognised texts: the order is still being processed.
    fn still_processing(&mut self) {
        match self.order.phase {
            Phase::InFlight { since } => self.continue_polling(since),
            Phase::Parked { parked_as: ParkedAs::Queued, .. } => {
                self.order.phase = Phase::InFlight { since: self.now };
                self.order.changed_at = self.now;
                self.order.attempt = 0;
                let next = self.schedule.next_poll(self.order.key.product, self.now, Some(self.asked_at));
                self.order.next_check_at = Some(next);
                self.events.push(EventKind::OrderResumed);
            }
            Phase::Parked { parked_as, since } => self.continue_rechecks(parked_as, since, true),
            Phase::Final { .. } => {}
        }
    }

    fn continue_polling(&mut self, since: Timestamp) {
        if self.past_deadline(since) {
            return self.park(ParkedAs::Delayed, Some(EventKind::OrderDelayed));
        }
        let next = self.schedule.next_poll(self.order.key.product, since, Some(self.asked_at));
        self.order.next_check_at = Some(next);
    }

    fn past_deadline(&self, since: Timestamp) -> bool {
        between(since, self.now) >= self.schedule.poll_deadline
    }

    fn park(&mut self, parked_as: ParkedAs, event: Option<EventKind>) {
        if let Phase::Parked { parked_as: current, since } = self.order.phase
            && current == parked_as
        {
            return self.continue_rechecks(parked_as, since, true);
        }
        let before = self.order.first_parked.get(&parked_as).copied();
        let first = before.filter(|first| !is_ahead(*first, self.now)).unwrap_or(self.now);
        self.order.first_parked.insert(parked_as, first);
        self.order.phase = Phase::Parked { parked_as, since: first };
        self.order.changed_at = self.now;
        self.order.attempt = 0;
        self.order.failures = 0;
        let known = self.order.is_known();
        self.check_in(self.schedule.recheck_wait(parked_as, known, 0, Duration::ZERO));
        self.check_when_overdue(parked_as, first);
        self.events.extend(event.filter(|_| before.is_none()));
    }

    fn continue_rechecks(&mut self, parked_as: ParkedAs, since: Timestamp, answered: bool) {
        if parked_as == ParkedAs::NotFound && !self.before.is_known() && self.order.is_known() {
            // The vendor knows the order now: use the schedule for delayed orders, from its start.
            self.order.attempt = 0;
            self.check_in(self.schedule.recheck_wait(parked_as, true, 0, Duration::ZERO));
        } else if self.check_was_due() {
            let parked = between(since, self.now);
            let known = self.order.is_known();
            if answered {
                self.order.attempt = self.order.attempt.saturating_add(1);
                self.check_in(self.schedule.recheck_wait(parked_as, known, self.order.attempt, parked));
            } else {
                self.check_in(self.wait_after_failure());
            }
        }
        self.check_when_overdue(parked_as, since);
    }

    fn check_when_overdue(&mut self, parked_as: ParkedAs, since: Timestamp) {
        let moment = later(since, self.schedule.overdue(parked_as));
        if moment <= self.now {
            self.review_as(format!("overdue:{}", parked_as.as_str()), ReviewReason::Overdue, None);
        } else {
            self.order.next_check_at = Some(self.order.next_check_at.map_or(moment, |next| next.min(moment)));
        }
    }

    /// Whether the check was due. An early check, for a status request or because a person asked for it, does not advance the retry schedule.
    fn check_was_due(&self) -> bool {
        self.order.scheduled_check(self.now, self.schedule).is_none_or(|next| next <= self.now)
    }

    fn check_in(&mut self, wait: Duration) {
        self.order.next_check_at = Some(later(self.now, self.jitter.of(wait)));
    }

    fn answered(&mut self) {
        self.order.checked_at = Some(self.asked_at);
        // A row of a list comes without a claim. Set `asked_at` all the same, so that the next poll of this order waits.
        let claimed = self.order.asked_at.filter(|claimed| !is_ahead(*claimed, self.now));
        self.order.asked_at = Some(claimed.map_or(self.asked_at, |claimed| claimed.max(self.asked_at)));
        self.order.failures = 0;
        self.order.trouble = None;
        if self.is_the_one_asked_for() {
            self.order.recheck_asked_at = None;
        }
    }

    /// Whether this is the check that a person asked for: it was requested after that.
    fn is_the_one_asked_for(&self) -> bool {
        let asked = self.before.recheck_asked_at;
        asked.is_some_and(|asked| asked <= self.asked_at || is_ahead(asked, self.now))
    }

    /// Raises a review, once per reason and stated text.
    fn review(&mut self, reason: ReviewReason, stated_status: Option<String>) {
        let id = match &stated_status {
            Some(text) => format!("{}:{text}", reason.as_str()),
            None => reason.as_str().to_owned(),
        };
        // Only unrecognised texts are unbounded. They must not suppress a contradiction.
        let bounded = reason == ReviewReason::UnrecognisedStatus && self.order.reviewed.len() >= MAX_REVIEWS;
        if !bounded {
            self.review_as(id, reason, stated_status);
        }
    }

    fn review_as(&mut self, id: String, reason: ReviewReason, stated_status: Option<String>) {
        if self.order.reviewed.len() < 2 * MAX_REVIEWS && self.order.reviewed.insert(id) {
            self.events.push(EventKind::OrderNeedsReview { reason, stated_status });
        }
    }

    fn finish(mut self) -> Decision {
        let previous = self.before.facts.status.as_ref();
        let first_check = self.before.checked_at.is_none();
        let kinds = std::mem::take(&mut self.events);
        let mut add = |kind| self.order.add_event(kind, previous, first_check, self.now);
        let events = kinds.into_iter().map(&mut add).collect();
        Decision { order: self.order, events }
    }
}
