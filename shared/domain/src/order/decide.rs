//! All rules about orders (design §6). Pure and total: any order, any answer and any clock give a decision.

use std::time::Duration;

use jiff::Timestamp;

use super::{
    Event, EventKind, Facts, Jitter, Observation, Order, Outcome, ParkedAs, Phase, Place, ReviewReason, Saw,
    Schedule, Seen, Trouble, TroubleRun, VendorStatus,
};
use crate::time::{between, is_ahead, later};

/// What is to be committed: the order as it is from now on, and what is to be announced.
#[derive(Clone, Debug, PartialEq)]
pub struct Decision {
    /// The order after it.
    pub order: Order,
    /// New events, numbered on from the order's last.
    pub events: Vec<Event>,
}

/// A card that could not be had for so long, because checks fail or it cannot be encrypted, is missing.
const CARD_AWAITED_FOR: Duration = Duration::from_secs(24 * 3600);
/// Late checks of a refunded order are given up after so long, if the vendor is away all the time.
const LATE_CHECKS_FOR: Duration = Duration::from_secs(7 * 24 * 3600);
/// So many reviews of an order may be about unrecognised texts, and twice as many in all: a vendor that makes up a new status
/// at every look fills no record.
const MOST_REVIEWS: usize = 32;

/// What follows from an observation. `None`: nothing, the order has been observed by a later question.
///
/// `now` is the time of deciding, at or after `observation.asked_at`; `jitter` moves the next recheck.
pub fn decide(
    order: &Order,
    observation: &Observation,
    now: Timestamp,
    jitter: Jitter,
    schedule: &Schedule,
) -> Option<Decision> {
    let overtaken = |checked: Timestamp| observation.asked_at < checked && !is_ahead(checked, now);
    if order.checked_at.is_some_and(overtaken) {
        return None;
    }
    let mut draft = Draft {
        before: order,
        order: Order { phase: order.phase.begun_by(now), ..order.clone() },
        events: Vec::new(),
        asked_at: observation.asked_at,
        now,
        jitter,
        schedule,
    };
    match &observation.saw {
        Saw::Order(seen) => draft.shown(seen),
        Saw::NotListed => draft.order.unlisted = true,
        Saw::NotFound if !order.is_known() => draft.unknown_to_vendor(),
        Saw::NotFound => draft.failed(Some(Trouble::Vanished)),
        Saw::Trouble(trouble) => draft.failed(Some(*trouble)),
        Saw::Nothing => draft.failed(None),
        Saw::NotAsked => draft.time_passes(),
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
    fn shown(&mut self, seen: &Seen) {
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

    /// The outcome has been announced and stays; only what was missing is added.
    fn shown_after_the_end(&mut self, seen: &Seen) {
        if seen.facts.status != self.before.facts.status {
            let text = seen.facts.status.as_ref().map(|status| status.as_str().to_owned());
            self.review(ReviewReason::Contradiction, text);
            return self.look_after_the_end(true);
        }
        self.order.facts = self.before.facts.completed_by(seen.facts.clone());
        self.review_if_alive_elsewhere();
        if self.order.awaits_card() && seen.card.is_some() {
            self.order.card = seen.card.clone();
            self.order.next_look_at = None;
            self.events.push(EventKind::CardAvailable);
        } else {
            self.look_after_the_end(true);
        }
    }

    /// A final order is looked at for its card, or once or twice after a refund.
    fn look_after_the_end(&mut self, answered: bool) {
        if self.order.awaits_card() && self.look_was_due() {
            self.wait_for_card(answered);
        } else if self.order.awaits_late_check() && self.look_was_due() {
            self.wait_for_late_check(answered);
        }
    }

    fn wait_for_card(&mut self, answered: bool) {
        let ladder = &self.schedule.recheck_card;
        if !answered {
            if between(self.order.changed_at, self.now) >= CARD_AWAITED_FOR {
                self.review(ReviewReason::CardMissing, None);
            }
            return self.look_in(self.wait_after_failure());
        }
        if ladder.is_last(self.order.rung) {
            self.review(ReviewReason::CardMissing, None);
        }
        self.order.rung = self.order.rung.saturating_add(1);
        self.look_in(ladder.wait(self.order.rung));
    }

    /// The outcome stands: a late check that fails for good is as good as made, and one whose vendor is away is given up in time.
    fn wait_for_late_check(&mut self, answered: bool) {
        if !answered && self.order.trouble.is_none() {
            self.order.next_look_at = None;
            if between(self.order.changed_at, self.now) < LATE_CHECKS_FOR {
                self.look_in(self.wait_after_failure());
            }
            return;
        }
        self.order.rung = self.order.rung.saturating_add(1);
        self.order.next_look_at = None;
        if let Some(wait) = self.schedule.recheck_refunded.wait_once(self.order.rung) {
            self.look_in(wait);
        }
    }

    fn end(&mut self, outcome: Outcome, event: EventKind) {
        self.order.phase = Phase::Final { outcome };
        self.order.changed_at = self.now;
        self.order.rung = 0;
        self.order.next_look_at = None;
        match outcome {
            Outcome::Fulfilled if self.order.awaits_card() => {
                self.look_in(self.schedule.recheck_card.wait(0));
            }
            Outcome::Refunded => self.look_in(self.schedule.recheck_refunded.wait(0)),
            Outcome::Fulfilled => {}
        }
        self.events.push(event);
        self.review_if_alive_elsewhere();
    }

    /// Refunded, and alive under another id: the merchant must not pay twice.
    fn review_if_alive_elsewhere(&mut self) {
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

    /// `PENDING`, `HANDLING`, or a text that says no more than they do.
    fn moving(&mut self) {
        match self.order.phase {
            Phase::InFlight { since } => self.poll_on(since),
            Phase::Parked { parked_as: ParkedAs::Queued, .. } => {
                self.order.phase = Phase::InFlight { since: self.now };
                self.order.changed_at = self.now;
                self.order.rung = 0;
                let next = self.schedule.next_poll(self.order.key.product, self.now, Some(self.asked_at));
                self.order.next_look_at = Some(next);
                self.events.push(EventKind::OrderResumed);
            }
            Phase::Parked { parked_as, since } => self.recheck_on(parked_as, since, true),
            Phase::Final { .. } => {}
        }
    }

    fn unknown_to_vendor(&mut self) {
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

    /// A look that failed never touches a status; time passes all the same.
    fn failed(&mut self, trouble: Option<Trouble>) {
        self.order.failures = self.order.failures.saturating_add(1);
        if let Some(trouble) = trouble {
            self.note(trouble);
        }
        match self.order.phase {
            Phase::InFlight { since } => self.poll_on(since),
            Phase::Parked { parked_as, since } => self.recheck_on(parked_as, since, false),
            Phase::Final { .. } => self.look_after_the_end(false),
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

    /// How long to wait after a look that failed.
    fn wait_after_failure(&self) -> Duration {
        if self.order.is_failing(self.now, self.schedule) {
            self.schedule.recheck_failing
        } else {
            self.schedule.failure_wait(self.order.failures)
        }
    }

    /// Nobody could look: deadline and overdue count, and the next look stays due.
    fn time_passes(&mut self) {
        match self.order.phase {
            Phase::InFlight { since } if self.past_deadline(since) => {
                self.park(ParkedAs::Delayed, Some(EventKind::OrderDelayed));
            }
            Phase::Parked { parked_as, since } => self.be_there_when_overdue(parked_as, since),
            Phase::InFlight { .. } | Phase::Final { .. } => {}
        }
    }

    fn poll_on(&mut self, since: Timestamp) {
        if self.past_deadline(since) {
            return self.park(ParkedAs::Delayed, Some(EventKind::OrderDelayed));
        }
        let next = self.schedule.next_poll(self.order.key.product, since, Some(self.asked_at));
        self.order.next_look_at = Some(next);
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
        self.order.rung = 0;
        self.order.failures = 0;
        let known = self.order.is_known();
        self.look_in(self.schedule.recheck_wait(parked_as, known, 0, Duration::ZERO));
        self.be_there_when_overdue(parked_as, first);
        self.events.extend(event.filter(|_| before.is_none()));
    }

    fn recheck_on(&mut self, parked_as: ParkedAs, since: Timestamp, answered: bool) {
        if parked_as == ParkedAs::NotFound && !self.before.is_known() && self.order.is_known() {
            // The vendor knows it by now: it is only late, whenever its next look was to be.
            self.order.rung = 0;
            self.look_in(self.schedule.recheck_wait(parked_as, true, 0, Duration::ZERO));
        } else if self.look_was_due() {
            let parked = between(since, self.now);
            let known = self.order.is_known();
            if answered {
                self.order.rung = self.order.rung.saturating_add(1);
                self.look_in(self.schedule.recheck_wait(parked_as, known, self.order.rung, parked));
            } else {
                self.look_in(self.wait_after_failure());
            }
        }
        self.be_there_when_overdue(parked_as, since);
    }

    fn be_there_when_overdue(&mut self, parked_as: ParkedAs, since: Timestamp) {
        let moment = later(since, self.schedule.overdue(parked_as));
        if moment <= self.now {
            self.review_as(format!("overdue:{}", parked_as.as_str()), ReviewReason::Overdue, None);
        } else {
            self.order.next_look_at = Some(self.order.next_look_at.map_or(moment, |next| next.min(moment)));
        }
    }

    /// A look that a status request made early leaves the ladder where it is.
    fn look_was_due(&self) -> bool {
        self.order.next_look(self.now, self.schedule).is_none_or(|next| next <= self.now)
    }

    fn look_in(&mut self, wait: Duration) {
        self.order.next_look_at = Some(later(self.now, self.jitter.of(wait)));
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
        let bounded = reason == ReviewReason::UnrecognisedStatus && self.order.reviewed.len() >= MOST_REVIEWS;
        if !bounded {
            self.review_as(what, reason, stated_status);
        }
    }

    fn review_as(&mut self, what: String, reason: ReviewReason, stated_status: Option<String>) {
        if self.order.reviewed.len() < 2 * MOST_REVIEWS && self.order.reviewed.insert(what) {
            self.events.push(EventKind::OrderNeedsReview { reason, stated_status });
        }
    }

    fn finish(mut self) -> Decision {
        let previous = self.before.facts.status.as_ref();
        let first_look = self.before.checked_at.is_none();
        let kinds = std::mem::take(&mut self.events);
        let mut add = |kind| self.order.add_event(kind, previous, first_look, self.now);
        let events = kinds.into_iter().map(&mut add).collect();
        Decision { order: self.order, events }
    }
}
