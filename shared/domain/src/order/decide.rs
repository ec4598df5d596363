//! All rules about orders. Pure and total: any order, any answer and any clock give a decision.

mod ended;
mod unanswered;

use std::time::Duration;

use jiff::Timestamp;

use super::{
    CheckResult, Event, EventKind, Jitter, Observation, Order, Outcome, ParkedAs, Phase, Place, ReviewReason,
    Schedule, Snapshot, Trouble, VendorStatus,
};
use crate::time::{between, is_ahead, later};

/// What is to be committed: the order as it is from now on, and what is to be published.
#[derive(Clone, Debug, PartialEq)]
pub struct Decision {
    /// The order after it.
    pub order: Order,
    /// New events, numbered on from the order's last.
    pub events: Vec<Event>,
}

/// So many reviews of an order may be about unrecognised texts, and twice as many in all: a vendor that makes up a new status
/// at every check fills no record.
const MAX_REVIEWS: usize = 32;

/// What follows from an observation. `None`: nothing, the order has been observed by a later question.
///
/// `now` is the time of deciding, at or after `observation.asked_at`; `jitter` moves the next recheck.
pub fn decide(
    order: &Order,
    check_result: &CheckResult,
    now: Timestamp,
    jitter: Jitter,
    schedule: &Schedule,
) -> Option<Decision> {
    let overtaken = |checked: Timestamp| check_result.asked_at < checked && !is_ahead(checked, now);
    if order.checked_at.is_some_and(overtaken) {
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
        Observation::Order(seen) => draft.shown(seen),
        Observation::NotListed => draft.order.unlisted = true,
        Observation::NotFound if !order.is_known() => draft.unknown_to_vendor(),
        Observation::NotFound => draft.failed(Some(Trouble::Vanished)),
        Observation::Trouble(trouble) => draft.failed(Some(*trouble)),
        Observation::Nothing => draft.failed(None),
        Observation::NotAsked => draft.time_passes(),
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
    fn shown(&mut self, seen: &Snapshot) {
        self.answered();
        self.order.first_seen_at.get_or_insert(self.asked_at);
        self.order.unlisted &= match seen.place {
            Place::List => false,
            // Only now is it known when it was created: the list may have been asked for another time.
            Place::Check => self.before.facts.created_at.is_some() || seen.facts.created_at.is_none(),
        };
        if self.order.phase.is_final() {
            return self.shown_after_the_end(seen);
        }
        let status = seen.facts.status.clone();
        if status != self.before.facts.status {
            self.order.changed_at = self.now;
        }
        self.order.facts = self.before.facts.replaced_by(seen.facts.clone());
        self.order.card = self.before.card.clone().or_else(|| seen.card.clone());
        match status {
            Some(VendorStatus::Fulfilled) => self.end(Outcome::Fulfilled, EventKind::OrderFulfilled),
            Some(VendorStatus::Refunded) => self.end(Outcome::Refunded, EventKind::OrderRefunded),
            Some(VendorStatus::Queued) => self.park(ParkedAs::Queued, Some(EventKind::OrderQueued)),
            Some(VendorStatus::UnknownError) => {
                self.park(ParkedAs::Uncertain, Some(EventKind::OrderUncertain))
            }
            Some(VendorStatus::Pending | VendorStatus::Handling) => self.moving(),
            Some(VendorStatus::Unrecognised(text)) => {
                self.moving();
                self.review(ReviewReason::UnrecognisedStatus, Some(text));
            }
            None => {
                self.moving();
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
        self.review_if_alive_elsewhere();
    }

    /// `PENDING`, `HANDLING`, or a text that says no more than they do.
    fn moving(&mut self) {
        match self.order.phase {
            Phase::InFlight { since } => self.poll_on(since),
            Phase::Parked { parked_as: ParkedAs::Queued, .. } => {
                self.order.phase = Phase::InFlight { since: self.now };
                self.order.changed_at = self.now;
                self.order.attempt = 0;
                let next = self.schedule.next_poll(self.order.key.product, self.now, Some(self.asked_at));
                self.order.next_check_at = Some(next);
                self.events.push(EventKind::OrderResumed);
            }
            Phase::Parked { parked_as, since } => self.recheck_on(parked_as, since, true),
            Phase::Final { .. } => {}
        }
    }

    fn poll_on(&mut self, since: Timestamp) {
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
            return self.recheck_on(parked_as, since, true);
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
        self.be_there_when_overdue(parked_as, first);
        self.events.extend(event.filter(|_| before.is_none()));
    }

    fn recheck_on(&mut self, parked_as: ParkedAs, since: Timestamp, answered: bool) {
        if parked_as == ParkedAs::NotFound && !self.before.is_known() && self.order.is_known() {
            // The vendor knows it by now: it is only late, whenever its next check was to be.
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
        self.be_there_when_overdue(parked_as, since);
    }

    fn be_there_when_overdue(&mut self, parked_as: ParkedAs, since: Timestamp) {
        let moment = later(since, self.schedule.overdue(parked_as));
        if moment <= self.now {
            self.review_as(format!("overdue:{}", parked_as.as_str()), ReviewReason::Overdue, None);
        } else {
            self.order.next_check_at = Some(self.order.next_check_at.map_or(moment, |next| next.min(moment)));
        }
    }

    /// A check that a status request made early leaves the retry schedule where it is.
    fn check_was_due(&self) -> bool {
        self.order.next_check(self.now, self.schedule).is_none_or(|next| next <= self.now)
    }

    fn check_in(&mut self, wait: Duration) {
        self.order.next_check_at = Some(later(self.now, self.jitter.of(wait)));
    }

    fn answered(&mut self) {
        self.order.checked_at = Some(self.asked_at);
        // A row of a list was claimed by nobody: whoever polls this order need not ask again so soon.
        let claimed = self.order.asked_at.filter(|claimed| !is_ahead(*claimed, self.now));
        self.order.asked_at = Some(claimed.map_or(self.asked_at, |claimed| claimed.max(self.asked_at)));
        self.order.failures = 0;
        self.order.trouble = None;
    }

    /// Once for a reason, or for a text where it is about one.
    fn review(&mut self, reason: ReviewReason, stated_status: Option<String>) {
        let what = match &stated_status {
            Some(text) => format!("{}:{text}", reason.as_str()),
            None => reason.as_str().to_owned(),
        };
        // Only texts can go on for ever, and none of them may silence a contradiction.
        let bounded = reason == ReviewReason::UnrecognisedStatus && self.order.reviewed.len() >= MAX_REVIEWS;
        if !bounded {
            self.review_as(what, reason, stated_status);
        }
    }

    fn review_as(&mut self, what: String, reason: ReviewReason, stated_status: Option<String>) {
        if self.order.reviewed.len() < 2 * MAX_REVIEWS && self.order.reviewed.insert(what) {
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
