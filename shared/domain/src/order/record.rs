//! The record of an order, and what a check it showed.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use jiff::Timestamp;

use super::{
    Event, EventKind, Facts, OrderId, OrderKey, Outcome, ParkedAs, Phase, Ref, Schedule, SealedCard,
    TrackedBy,
};
use crate::time::{CLOCK_TOLERANCE, between, is_ahead, later};

/// Everything the tracker knows of an order.
#[derive(Clone, Debug, PartialEq)]
pub struct Order {
    /// Product and id.
    pub key: OrderKey,
    /// The merchant's reference, as he told us.
    pub reference: Option<Ref>,
    /// What the vendor has said.
    pub facts: Facts,
    /// The card, once it has come.
    pub card: Option<SealedCard>,
    /// What is to be done about it.
    pub phase: Phase,
    /// When we were told of it.
    pub tracked_at: Timestamp,
    /// When the vendor first showed it.
    pub first_seen_at: Option<Timestamp>,
    /// When somebody last claimed a check it.
    pub asked_at: Option<Timestamp>,
    /// When the last question that was answered was asked.
    pub checked_at: Option<Timestamp>,
    /// When status or phase last changed.
    pub changed_at: Timestamp,
    /// When it is to be checked next; `None` when nobody has to.
    pub next_check_at: Option<Timestamp>,
    /// How many checks its recheck retry schedule has made since it was parked.
    pub attempt: u32,
    /// How many checks have failed in a row.
    pub failures: u32,
    /// Checks in a row that failed in a way that does not pass by itself; `None`: the last one that said anything was well.
    pub trouble: Option<TroubleRun>,
    /// When it was first parked as each: a status that comes and goes begins no new clock and is published once.
    pub first_parked: BTreeMap<ParkedAs, Timestamp>,
    /// What has been put up for review already, so that it is done once.
    pub reviewed: BTreeSet<String>,
    /// Whether the vendor's list was seen not to show it: it is checked by its id.
    pub unlisted: bool,
    /// Orders that the vendor says this one lives on under, tracked already.
    pub links: BTreeSet<OrderId>,
    /// Orders that live on under this one.
    pub linked_from: BTreeSet<OrderId>,
    /// Counts the commits.
    pub version: u64,
    /// Number of the last event.
    pub seq: u32,
    /// Number of the last event published.
    pub published: u32,
}

/// Who wants to check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trigger {
    /// A status request.
    Status,
    /// A tick of the wait loop.
    Poller,
    /// The scheduled recheck.
    Recheck,
}

/// A status request checks an order in flight if nobody has for so long.
const STATUS_GAP_IN_FLIGHT: Duration = Duration::from_secs(5);
/// The same for a parked order.
const STATUS_GAP_PARKED: Duration = Duration::from_secs(600);
/// From a claim to its commit: the vendor has 8 s to answer.
const MAX_CHECK: Duration = Duration::from_secs(10);
/// So many other orders are tracked for one: a vendor that names a new one at every check makes no endless chain.
const MAX_LINKS: usize = 16;

impl Order {
    /// A new order, in flight from now, with its first event.
    pub fn track(
        key: OrderKey,
        reference: Option<Ref>,
        by: TrackedBy,
        now: Timestamp,
        schedule: &Schedule,
    ) -> (Self, Event) {
        Self { reference, ..Self::new(key, now, schedule) }.with_tracked_event(by, now)
    }

    /// The same for an order that `from` lives on under.
    pub fn track_link(key: OrderKey, from: OrderId, now: Timestamp, schedule: &Schedule) -> (Self, Event) {
        let linked_from = BTreeSet::from([from]);
        Self { linked_from, ..Self::new(key, now, schedule) }.with_tracked_event(TrackedBy::Link, now)
    }

    fn new(key: OrderKey, now: Timestamp, schedule: &Schedule) -> Self {
        Self {
            next_check_at: Some(schedule.next_poll(key.product, now, None)),
            key,
            reference: None,
            facts: Facts::default(),
            card: None,
            phase: Phase::InFlight { since: now },
            tracked_at: now,
            first_seen_at: None,
            asked_at: None,
            checked_at: None,
            changed_at: now,
            attempt: 0,
            failures: 0,
            trouble: None,
            first_parked: BTreeMap::new(),
            reviewed: BTreeSet::new(),
            unlisted: false,
            links: BTreeSet::new(),
            linked_from: BTreeSet::new(),
            version: 1,
            seq: 0,
            published: 0,
        }
    }

    fn with_tracked_event(mut self, by: TrackedBy, now: Timestamp) -> (Self, Event) {
        let event = self.add_event(EventKind::OrderTracked { by }, None, false, now);
        (self, event)
    }

    /// Whether this trigger is to check the order now. Pure: the store then lets only one of those who were told yes
    /// do it.
    pub fn wants_check(&self, trigger: Trigger, now: Timestamp, schedule: &Schedule) -> bool {
        let asked_at = self.asked_at.filter(|asked| !is_ahead(*asked, now));
        match (trigger, self.phase) {
            (Trigger::Status, Phase::Final { .. }) => false,
            (Trigger::Status, _) => asked_at.is_none_or(|asked| between(asked, now) >= self.status_gap()),
            (Trigger::Poller, Phase::InFlight { .. }) if self.polling_has_ended(now, schedule) => false,
            (Trigger::Poller | Trigger::Recheck, Phase::InFlight { .. }) => {
                self.next_poll(now, schedule).is_some_and(|next| next <= now)
            }
            (Trigger::Poller, _) => false,
            (Trigger::Recheck, Phase::Parked { .. } | Phase::Final { .. }) => {
                self.next_check(now, schedule).is_some_and(|next| next <= now) && !self.is_being_checked(now)
            }
        }
    }

    /// Whether the recheck has nothing to do about this order but to check, by itself or along with others.
    pub fn wants_only_a_check(&self, now: Timestamp, schedule: &Schedule) -> bool {
        let quiet = self.published >= self.seq && self.links_to_track().is_empty();
        let due = schedule.due_at(self, now).is_some_and(|due| due <= now);
        quiet && due && !self.phase.is_final() && !self.is_being_checked(now)
    }

    /// Whether a check that somebody has claimed may still be out.
    fn is_being_checked(&self, now: Timestamp) -> bool {
        let Some(asked) = self.asked_at.filter(|asked| !is_ahead(*asked, now)) else { return false };
        self.checked_at.is_none_or(|checked| checked < asked) && between(asked, now) < MAX_CHECK
    }

    /// Orders that the vendor says this one lives on under (`follow_orderid`, `retry_orderid`), and that are not tracked for
    /// it yet. An id that could be none is passed over.
    pub fn links_to_track(&self) -> Vec<OrderId> {
        let named = [&self.facts.follow_order_id, &self.facts.retry_order_id];
        let ids: BTreeSet<OrderId> =
            named.into_iter().filter_map(|id| self.other_order(id.as_deref())).collect();
        let room = MAX_LINKS.saturating_sub(self.links.len());
        ids.into_iter().filter(|id| !self.links.contains(id)).take(room).collect()
    }

    /// The order that a link of this one names; `None`: no other order.
    pub(super) fn other_order(&self, link: Option<&str>) -> Option<OrderId> {
        link?.parse().ok().filter(|id| *id != self.key.id)
    }

    /// When polling ends; `None`: it is not in flight.
    pub fn poll_ends(&self, schedule: &Schedule) -> Option<Timestamp> {
        let Phase::InFlight { since } = self.phase else { return None };
        Some(later(since, schedule.poll_deadline))
    }

    /// Whether the last check that a poller may make was claimed: at the poll deadline, or after it. If that one could not be committed, the
    /// recheck takes the order over; no failure keeps a wait loop going.
    pub fn polling_has_ended(&self, now: Timestamp, schedule: &Schedule) -> bool {
        // A claim by a clock far ahead ends nothing.
        let asked_at = self.asked_at.filter(|asked| !is_ahead(*asked, now));
        let last = asked_at.zip(self.poll_ends(schedule));
        last.is_some_and(|(asked, ends)| asked >= ends)
    }

    /// When a poller is to check next; `None`: it is not in flight.
    pub fn next_poll(&self, now: Timestamp, schedule: &Schedule) -> Option<Timestamp> {
        let Phase::InFlight { since } = self.phase else { return None };
        let asked_at = self.asked_at.filter(|asked| !is_ahead(*asked, now));
        // A retry schedule that a clock far ahead began counts from the last question; the next check begins it anew.
        let since = if is_ahead(since, now) { asked_at.unwrap_or(Timestamp::MIN) } else { since };
        Some(schedule.next_poll(self.key.product, since, asked_at))
    }

    /// When an order that is parked, awaits its card or awaits a late check is to be checked next; `None`: nobody has to. A time further ahead
    /// than any of its waits was written by a broken clock, and would park it until then: it is due now.
    pub fn next_check(&self, now: Timestamp, schedule: &Schedule) -> Option<Timestamp> {
        let waits = self.phase.parked_as().is_some() || self.awaits_card() || self.awaits_late_check();
        let longest = schedule.longest_wait(self.phase).saturating_add(CLOCK_TOLERANCE);
        let believed = self.next_check_at.filter(|next| between(now, *next) <= longest);
        waits.then(|| believed.unwrap_or(now))
    }

    /// Whether what is stored is older than a status request would accept.
    pub fn is_stale(&self, now: Timestamp) -> bool {
        let old = |checked| between(checked, now) > self.status_gap();
        !self.phase.is_final() && self.checked_at.is_none_or(old)
    }

    /// Whether a page of a list that shows many is worth checking for this order, before a check of its own is due: it is queued or
    /// uncertain, and a list would show it.
    pub fn is_checked_with_others(&self) -> bool {
        let parked_as = self.phase.parked_as();
        let settles = matches!(parked_as, Some(ParkedAs::Queued | ParkedAs::Uncertain));
        settles && !self.unlisted && self.facts.created_at.is_some()
    }

    /// Whether this order still waits for its card: its product has one, and it was fulfilled without.
    pub fn awaits_card(&self) -> bool {
        let fulfilled = matches!(self.phase, Phase::Final { outcome: Outcome::Fulfilled });
        fulfilled && self.key.product.rules().has_card && self.card.is_none()
    }

    /// Whether this order was refunded and is checked once more: the vendor may try it again under another id after the refund.
    pub fn awaits_late_check(&self) -> bool {
        let refunded = matches!(self.phase, Phase::Final { outcome: Outcome::Refunded });
        refunded && self.next_check_at.is_some()
    }

    /// Whether checks of this order have failed so often, for so long, that it was reviewed and is checked seldom.
    pub fn is_failing(&self, now: Timestamp, schedule: &Schedule) -> bool {
        self.trouble.is_some_and(|run| {
            run.count >= schedule.review_failures && between(run.since, now) >= schedule.review_failing_for
        })
    }

    /// Whether the vendor has ever shown it.
    pub fn is_known(&self) -> bool {
        self.first_seen_at.is_some() || self.facts != Facts::default()
    }

    /// When the recheck that claims this order now is to come back, should the check never be committed.
    pub fn due_after_claim(&self, now: Timestamp, schedule: &Schedule) -> Timestamp {
        later(now, schedule.retry_after_failure)
    }

    fn status_gap(&self) -> Duration {
        match self.phase {
            Phase::InFlight { .. } => STATUS_GAP_IN_FLIGHT,
            Phase::Parked { .. } | Phase::Final { .. } => STATUS_GAP_PARKED,
        }
    }
}

/// What a check showed.
#[derive(Clone, Debug, PartialEq)]
pub struct CheckResult {
    /// When the question was asked: a later question is the better knowledge, whichever answer came first.
    pub asked_at: Timestamp,
    /// The answer.
    pub observation: Observation,
}

/// The answer to a check.
#[derive(Clone, Debug, PartialEq)]
pub enum Observation {
    /// The vendor showed the order.
    Order(Box<Snapshot>),
    /// The vendor said that it does not know this order.
    NotFound,
    /// The vendor's list should have shown the order and did not. This says nothing about the order, only about the list.
    NotListed,
    /// The check failed, which may pass by itself: this says nothing about the order.
    Nothing,
    /// The check failed, and the next will hardly be better: this says nothing about the order either.
    Trouble(Trouble),
    /// There was no leave to check: time passes all the same.
    NotAsked,
}

/// Why checks of an order fail in a way that does not pass by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// The vendor's answer cannot be read.
    Unreadable,
    /// The vendor rejects the call.
    Rejected,
    /// The vendor has shown this order before, and does not know it now.
    Vanished,
    /// The table does not take what the check showed.
    StoreRefuses,
}

/// Failed checks in a row, as [`Trouble`] counts them; checks that fail in a way that may pass are left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TroubleRun {
    /// How many.
    pub count: u32,
    /// When the first of them was noted.
    pub since: Timestamp,
}

/// An order, as the vendor showed it.
#[derive(Clone, Debug, PartialEq)]
pub struct Snapshot {
    /// Its fields.
    pub facts: Facts,
    /// Its card, encrypted; `None` if it came without one, or the record has one already.
    pub card: Option<SealedCard>,
    /// Where it was shown.
    pub place: Place,
}

/// Where the vendor showed an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// By itself: `check-id`, `check-ref`.
    Check,
    /// As a row of a list.
    List,
}
