//! The record of an order and the result of a check.

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

/// The record of an order.
#[derive(Clone, Debug, PartialEq)]
pub struct Order {
    /// Product and id.
    pub key: OrderKey,
    /// The merchant's reference, if one was given.
    pub reference: Option<Ref>,
    /// The vendor's fields.
    pub facts: Facts,
    /// The encrypted card, once the vendor has sent it.
    pub card: Option<SealedCard>,
    /// The phase: in flight, parked or final.
    pub phase: Phase,
    /// When tracking began.
    pub tracked_at: Timestamp,
    /// When the vendor first showed it.
    pub first_seen_at: Option<Timestamp>,
    /// When the last check was claimed or, as part of a page, requested.
    pub asked_at: Option<Timestamp>,
    /// When the last answered check was requested.
    pub checked_at: Option<Timestamp>,
    /// When status or phase last changed.
    pub changed_at: Timestamp,
    /// When the next check is due; `None`: never.
    pub next_check_at: Option<Timestamp>,
    /// Since when a person has asked for a check, or when that check is tried again after a failure; `None`: nobody has, or it was answered.
    /// It leaves the retry schedule alone.
    pub recheck_asked_at: Option<Timestamp>,
    /// Counted checks since the order was parked or became final: the index into its retry schedule.
    pub attempt: u32,
    /// Consecutive failed checks.
    pub failures: u32,
    /// Consecutive permanent failures; `None`: none since the last answer.
    pub trouble: Option<TroubleRun>,
    /// When it was first parked, per reason. A status that recurs keeps its start time and is published once.
    pub first_parked: BTreeMap<ParkedAs, Timestamp>,
    /// Reviews raised so far; each is raised once.
    pub reviewed: BTreeSet<String>,
    /// Reviews that nobody has closed: the number of the event that asked for each, and its reason. At most 64, as `reviewed`.
    pub open_reviews: BTreeMap<u32, String>,
    /// Whether a list check missed it; if so, it is checked by id.
    pub unlisted: bool,
    /// Linked orders (`follow_orderid`, `retry_orderid`) that are tracked already.
    pub links: BTreeSet<OrderId>,
    /// Orders that link to this one.
    pub linked_from: BTreeSet<OrderId>,
    /// When its personal data was removed; `None`: it was not. Such an order is final and never changes again.
    pub redacted_at: Option<Timestamp>,
    /// Number of commits, from 1; the store's optimistic lock.
    pub version: u64,
    /// Number of the last event; 0: none.
    pub seq: u32,
    /// Number of the last published event; 0: none.
    pub published: u32,
}

/// The cause of a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trigger {
    /// A status request.
    Status,
    /// A tick of the wait loop.
    Poller,
    /// The scheduled recheck.
    Recheck,
}

/// A status request checks an order in flight if its last check is at least this old.
const STATUS_GAP_IN_FLIGHT: Duration = Duration::from_secs(5);
/// The same for a parked order.
const STATUS_GAP_PARKED: Duration = Duration::from_secs(600);
/// The longest time from a claim to its commit: the vendor's answer may take 8 s.
pub const MAX_CHECK: Duration = Duration::from_secs(10);
/// The most linked orders tracked for one order. Bounds the chain if the vendor returns a new id at every check.
const MAX_LINKS: usize = 16;

impl Order {
    /// A new order, in flight from `now`, with its `Order Tracked` event.
    pub fn track(
        key: OrderKey,
        reference: Option<Ref>,
        by: TrackedBy,
        now: Timestamp,
        schedule: &Schedule,
    ) -> (Self, Event) {
        Self { reference, ..Self::new(key, now, schedule) }.with_tracked_event(by, now)
    }

    /// The same for an order that order `from` links to.
    pub fn track_link(key: OrderKey, from: OrderId, now: Timestamp, schedule: &Schedule) -> (Self, Event) {
        let linked_from = BTreeSet::from([from]);
        Self { linked_from, ..Self::new(key, now, schedule) }.with_tracked_event(TrackedBy::Link, now)
    }

    fn new(key: OrderKey, now: Timestamp, schedule: &Schedule) -> Self {
        Self {
            next_check_at: Some(schedule.next_poll(key.product, now, None)),
            key,
            reference: None,
            recheck_asked_at: None,
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
            open_reviews: BTreeMap::new(),
            unlisted: false,
            links: BTreeSet::new(),
            linked_from: BTreeSet::new(),
            redacted_at: None,
            version: 1,
            seq: 0,
            published: 0,
        }
    }

    fn with_tracked_event(mut self, by: TrackedBy, now: Timestamp) -> (Self, Event) {
        let event = self.add_event(EventKind::OrderTracked { by }, None, false, now);
        (self, event)
    }

    /// Whether this trigger is to check the order now. Several processes may get `true`; the claim in the store then permits one of them.
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

    /// Whether a recheck only needs to check this order, by id or on a page: nothing is left to publish, and no link to track.
    pub fn wants_only_a_check(&self, now: Timestamp, schedule: &Schedule) -> bool {
        let quiet = self.published >= self.seq && self.links_to_track().is_empty();
        let due = schedule.due_at(self, now).is_some_and(|due| due <= now);
        quiet && due && !self.phase.is_final() && !self.is_being_checked(now)
    }

    /// Whether a claimed check may still be running.
    fn is_being_checked(&self, now: Timestamp) -> bool {
        let Some(asked) = self.asked_at.filter(|asked| !is_ahead(*asked, now)) else { return false };
        self.checked_at.is_none_or(|checked| checked < asked) && between(asked, now) < MAX_CHECK
    }

    /// Linked orders (`follow_orderid`, `retry_orderid`) that are not tracked yet. Invalid ids are ignored.
    pub fn links_to_track(&self) -> Vec<OrderId> {
        let ids: BTreeSet<OrderId> = self.other_orders().collect();
        let room = MAX_LINKS.saturating_sub(self.links.len());
        ids.into_iter().filter(|id| !self.links.contains(id)).take(room).collect()
    }

    /// Whether the vendor has named another order that continues this one.
    pub fn is_continued_elsewhere(&self) -> bool {
        self.other_orders().next().is_some()
    }

    /// The orders that the vendor names as continuing this one (`follow_orderid`, `retry_orderid`).
    fn other_orders(&self) -> impl Iterator<Item = OrderId> {
        let named = [&self.facts.follow_order_id, &self.facts.retry_order_id];
        named.into_iter().filter_map(|id| self.other_order(id.as_deref()))
    }

    /// The id in a link; `None`: no link, an invalid id, or this order itself.
    pub(super) fn other_order(&self, link: Option<&str>) -> Option<OrderId> {
        link?.parse().ok().filter(|id| *id != self.key.id)
    }

    /// The poll deadline; `None`: not in flight.
    pub fn poll_ends(&self, schedule: &Schedule) -> Option<Timestamp> {
        let Phase::InFlight { since } = self.phase else { return None };
        Some(later(since, schedule.poll_deadline))
    }

    /// Whether a check was claimed at the poll deadline or later: pollers make no further call. If that check was not committed, the recheck
    /// takes over, so that failures never prolong a wait loop.
    pub fn polling_has_ended(&self, now: Timestamp, schedule: &Schedule) -> bool {
        // Ignore a claim by a clock far ahead.
        let asked_at = self.asked_at.filter(|asked| !is_ahead(*asked, now));
        let last = asked_at.zip(self.poll_ends(schedule));
        last.is_some_and(|(asked, ends)| asked >= ends)
    }

    /// When a poller's next check is due; `None`: not in flight.
    pub fn next_poll(&self, now: Timestamp, schedule: &Schedule) -> Option<Timestamp> {
        let Phase::InFlight { since } = self.phase else { return None };
        let asked_at = self.asked_at.filter(|asked| !is_ahead(*asked, now));
        // If a clock far ahead set `since`, count from the last check; the next check corrects `since`.
        let since = if is_ahead(since, now) { asked_at.unwrap_or(Timestamp::MIN) } else { since };
        Some(schedule.next_poll(self.key.product, since, asked_at))
    }

    /// When the next check is due of an order that is parked, awaits its card or awaits a late check; `None`: never. A person may have asked
    /// for it before its time.
    pub fn next_check(&self, now: Timestamp, schedule: &Schedule) -> Option<Timestamp> {
        let scheduled = self.scheduled_check(now, schedule)?;
        let asked = self.recheck_asked_at.map(|asked| self.believed(asked, now, schedule).unwrap_or(now));
        Some(asked.map_or(scheduled, |asked| asked.min(scheduled)))
    }

    /// The same by the retry schedule alone.
    pub(super) fn scheduled_check(&self, now: Timestamp, schedule: &Schedule) -> Option<Timestamp> {
        let believed = self.next_check_at.and_then(|next| self.believed(next, now, schedule));
        self.has_check_left().then(|| believed.unwrap_or(now))
    }

    /// Whether a check is left: the order is parked, awaits its card or awaits a late check.
    pub(super) fn has_check_left(&self) -> bool {
        self.phase.parked_as().is_some() || self.awaits_card() || self.awaits_late_check()
    }

    /// A stored time of a check. `None`: it is further ahead than its longest wait, so it comes from a wrong clock, and the check is due now.
    fn believed(&self, next: Timestamp, now: Timestamp, schedule: &Schedule) -> Option<Timestamp> {
        let longest = schedule.longest_wait(self.phase).saturating_add(CLOCK_TOLERANCE);
        (between(now, next) <= longest).then_some(next)
    }

    /// Whether the last answer is older than the gap after which a status request checks again: 5 s in flight, 600 s parked.
    pub fn is_stale(&self, now: Timestamp) -> bool {
        let old = |checked| between(checked, now) > self.status_gap();
        !self.phase.is_final() && self.checked_at.is_none_or(old)
    }

    /// Whether list checks may cover this order before its own check is due: it is queued or uncertain, and expected on a list.
    pub fn is_checked_with_others(&self) -> bool {
        let parked_as = self.phase.parked_as();
        let is_eligible = matches!(parked_as, Some(ParkedAs::Queued | ParkedAs::Uncertain));
        is_eligible && !self.unlisted && self.facts.created_at.is_some()
    }

    /// Whether the order was fulfilled without the card that its product has.
    pub fn awaits_card(&self) -> bool {
        let fulfilled = matches!(self.phase, Phase::Final { outcome: Outcome::Fulfilled });
        fulfilled && self.key.product.rules().has_card && self.card.is_none() && self.redacted_at.is_none()
    }

    /// Whether the order was refunded and has a check left: the vendor may retry it under another id after the refund.
    pub fn awaits_late_check(&self) -> bool {
        let refunded = matches!(self.phase, Phase::Final { outcome: Outcome::Refunded });
        refunded && self.next_check_at.is_some()
    }

    /// Whether permanent failures reached `review_failures` over `review_failing_for`: then `recheck_failing` is the wait.
    pub fn is_failing(&self, now: Timestamp, schedule: &Schedule) -> bool {
        self.trouble.is_some_and(|run| {
            run.count >= schedule.review_failures && between(run.since, now) >= schedule.review_failing_for
        })
    }

    /// Whether the vendor has ever returned it.
    pub fn is_known(&self) -> bool {
        self.first_seen_at.is_some() || self.facts != Facts::default()
    }

    /// When the order is due again if the check that a recheck claims now is never committed.
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

/// The result of a check.
#[derive(Clone, Debug, PartialEq)]
pub struct CheckResult {
    /// When the check was requested. The later request wins, whichever answer arrives first.
    pub asked_at: Timestamp,
    /// The answer.
    pub observation: Observation,
}

/// The answer to a check.
#[derive(Clone, Debug, PartialEq)]
pub enum Observation {
    /// The vendor returned the order.
    Order(Box<Snapshot>),
    /// The vendor does not know this order.
    NotFound,
    /// A list page that should have shown the order did not. Its status stays unknown; it is checked by id from now on.
    NotListed,
    /// The check failed temporarily: no information about the order.
    Nothing,
    /// The check failed permanently: no information about the order.
    Trouble(Trouble),
    /// No check was made. Deadlines still apply.
    NotAsked,
}

/// Why checks of an order fail permanently, so that retries hardly help.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// The vendor's answer cannot be read.
    Unreadable,
    /// The vendor rejects the call.
    Rejected,
    /// The vendor returned this order before and does not know it now.
    Vanished,
    /// The table rejects the result of the check.
    StoreRefuses,
}

/// Consecutive permanent failures ([`Trouble`]). Temporary failures in between are not counted and do not end the run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TroubleRun {
    /// Number of failures.
    pub count: u32,
    /// When the first one was recorded.
    pub since: Timestamp,
}

/// An order as returned by the vendor.
#[derive(Clone, Debug, PartialEq)]
pub struct Snapshot {
    /// The vendor's fields.
    pub facts: Facts,
    /// The encrypted card; `None`: the answer has none, or the record has one already.
    pub card: Option<SealedCard>,
    /// Which kind of answer it was in.
    pub place: Place,
}

/// The kind of answer that holds an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// A single check: `check-id`, `check-ref`.
    Check,
    /// A row of a list.
    List,
}
