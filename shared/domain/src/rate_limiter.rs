//! Whether a call may be made now: pure, from what is known of the key's use.
//!
//! A GCRA (generic cell rate algorithm): each bucket keeps one moment, its **slot**, up to which its calls are paid for, and a
//! call moves it on by the bucket's period. One bucket is for all calls. Each class has one of its own, which is a smaller part of
//! the same rate: a call that its class's bucket covers may use the whole burst, any other only what no class is promised.
//! So a class that asks without pause gets what the others leave, and never their part.

use std::{fmt, time::Duration};

use jiff::Timestamp;

use crate::{
    order::{Product, Trigger},
    planner::UnderWay,
    time::{CLOCK_TOLERANCE, later},
};

/// What the limit is counted over: the vendor's minute, and a second for which an admission may wait before it is used.
const WINDOW: Duration = Duration::from_secs(61);
/// A burst of so many has room for a call of each class, and one that is nobody's. With less, everybody may be late by `LATE` and lose
/// nothing of the rate, and a class whose own bucket covers a call may make it as much earlier again, when nobody else may.
const ROOM_FOR_ALL: u32 = 4;
/// In thousandths of a call.
const LATE: i64 = 125;
/// A sweep that has had its part comes so much later than pollers that are at work: fast looks are not to wait for slow ones.
const YIELD: i64 = 500;
const CALL: i64 = 1000;
/// So many refusals in a row suspend the key.
pub const MOST_REFUSALS: u32 = 3;
/// A list that fails so often in a row, whichever processes asked for it, is turned off for a while.
pub const MAX_LIST_FAILURES: u32 = 3;
/// The first probe of a suspended key: the vendor's lock-out takes about 15 min.
pub const FIRST_PROBE: Duration = Duration::from_secs(16 * 60);
/// Probes are never further apart.
pub const LAST_PROBE: Duration = Duration::from_secs(256 * 60);
/// `Retry-After` is believed up to here.
pub const LONGEST_PAUSE: Duration = Duration::from_secs(600);
/// The pause after a 429 without `Retry-After`: ours, the vendor says nothing.
pub const USUAL_PAUSE: Duration = Duration::from_secs(20);
/// From asking for a page to the commits of its rows: the vendor has 8 s to answer.
const LONGEST_PAGE: Duration = Duration::from_secs(10);

/// The tracker's part of the key's limit (`VENDOR_CALLS_PER_MINUTE`, `VENDOR_CALLS_BURST`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    per_minute: u32,
    burst: u32,
}

/// Limits that leave no room for every class.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidBudget {
    /// The burst.
    #[error("must be from 1 to 10000, and less than VENDOR_CALLS_PER_MINUTE ({0})")]
    Burst(u32),
}

impl Default for Budget {
    /// The defaults of design §5.
    fn default() -> Self {
        Self { per_minute: 60, burst: 5 }
    }
}

impl Budget {
    /// `per_minute` calls in any minute, the `burst` that may leave at once included.
    ///
    /// # Errors
    /// If the burst is 0, or not less than the limit.
    pub fn new(per_minute: u32, burst: u32) -> Result<Self, InvalidBudget> {
        if (1..=10_000).contains(&burst) && burst < per_minute {
            Ok(Self { per_minute, burst })
        } else {
            Err(InvalidBudget::Burst(per_minute))
        }
    }

    /// The bucket of all calls. The sustained rate is the limit less what may come at once, so that no window exceeds the limit: one
    /// call more than the limit takes the burst and `limit + 1 - burst` periods, which is just the window.
    fn all(self) -> Bucket {
        let early = if self.burst < ROOM_FOR_ALL { 2 * LATE } else { 0 };
        let burst = i64::from(self.burst) * CALL + early;
        let periods = (i64::from(self.per_minute) + 1) * CALL - burst;
        Bucket { period: micros(WINDOW) * CALL / periods + 1, burst }
    }

    /// The bucket of a class: its part of the rate, and of the burst.
    fn own(self, class: Class) -> Bucket {
        let period = self.all().period * 100 / class.percent();
        Bucket { period, burst: i64::from(self.own_burst(class)) * CALL }
    }

    fn own_burst(self, class: Class) -> u32 {
        match class {
            Class::Poller => (self.burst / 2).min(self.burst.saturating_sub(3)).max(1),
            Class::Status => (self.burst / 5).max(1),
            Class::Recheck => (self.burst / 10).max(1),
        }
    }

    /// How much of the burst is promised to nobody, in thousandths; at least one call.
    fn common_burst(self) -> i64 {
        if self.burst < ROOM_FOR_ALL {
            return i64::from(self.burst) * CALL + LATE;
        }
        let promised: u32 = Class::ALL.iter().map(|class| self.own_burst(*class)).sum();
        i64::from(self.burst.saturating_sub(promised).max(1)) * CALL
    }

    /// What a class may use beyond its own part.
    fn left_to(self, class: Class, usage: &Usage, now: i64) -> i64 {
        let lately = |slot: i64| slot + 2 * self.own(Class::Poller).period > now;
        let yields = class == Class::Recheck && usage.own_slot(Class::Poller).is_some_and(lately);
        self.common_burst() - if yields { YIELD } else { 0 }
    }

    /// Whether calls with the key follow each other so closely that each of them is worth planning: more than a third of the rate is
    /// used.
    pub fn is_busy(self, usage: &Usage, now: Timestamp) -> bool {
        usage.slot.is_some_and(|slot| slot + 2 * self.all().period > now.as_microsecond())
    }
}

/// Who asks. Each has its own part of the rate; what they leave is for whoever comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// Ticks of wait loops: half of the rate.
    Poller,
    /// Requests of the merchant: a fifth.
    Status,
    /// The sweep: a tenth.
    Recheck,
}

impl Class {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Poller, Self::Status, Self::Recheck];

    fn percent(self) -> i64 {
        match self {
            Self::Poller => 50,
            Self::Status => 20,
            Self::Recheck => 10,
        }
    }

    /// In the table and in logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Poller => "poller",
            Self::Status => "status",
            Self::Recheck => "recheck",
        }
    }
}

impl From<Trigger> for Class {
    fn from(trigger: Trigger) -> Self {
        match trigger {
            Trigger::Poller => Self::Poller,
            Trigger::Status => Self::Status,
            Trigger::Recheck => Self::Recheck,
        }
    }
}

/// One bucket of the GCRA.
#[derive(Clone, Copy, Debug)]
struct Bucket {
    /// Microseconds that a call costs.
    period: i64,
    /// Thousandths of calls at once.
    burst: i64,
}

impl Bucket {
    /// The latest slot at which a call may still be made with `burst` thousandths of calls at once.
    fn latest(self, now: i64, burst: i64) -> i64 {
        now + self.ahead(burst)
    }

    /// How far ahead a slot is then.
    fn ahead(self, burst: i64) -> i64 {
        (burst - CALL) * self.period / CALL
    }

    /// Further ahead than a slot can be.
    fn too_far(self, now: i64) -> i64 {
        self.latest(now, self.burst + CALL) + micros(CLOCK_TOLERANCE)
    }
}

/// What is known of a key's use; times of slots are microseconds since 1970.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Slot of the bucket of all calls.
    pub slot: Option<i64>,
    /// Slots of the classes' own buckets: poller, status, recheck.
    pub own_slots: [Option<i64>; 3],
    /// The vendor asked for a pause (429).
    pub paused_until: Option<Timestamp>,
    /// Refusals of the key in a row.
    pub refusals: u32,
    /// No calls but one probe then.
    pub suspended_until: Option<Timestamp>,
    /// How long after a probe the next may follow.
    pub probe_wait: Option<Duration>,
    /// Number of the last event about this key.
    pub event_seq: u32,
    /// Pages of lists that were asked for in the last seconds.
    pub pages: Vec<UnderWay>,
    /// Counts the pages asked for: who plans the next one must know all before it.
    pub page_turn: i64,
    /// How far each product's list is trusted: mobile, internet.
    pub lists: [ListTrust; 2],
    /// Counts every change of the buckets: calls admitted and calls given back.
    pub permits: i64,
}

/// How far a product's list is trusted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ListTrust {
    /// It is not asked before then.
    pub off_until: Option<Timestamp>,
    /// What was said to be wrong with it; said once, until it is well again.
    pub said: Option<String>,
    /// Failures in a row, over all processes; 0 after a good answer.
    pub failures: u32,
}

impl Usage {
    /// How far this product's list is trusted.
    pub fn list(&self, product: Product) -> &ListTrust {
        let [mobile, internet] = &self.lists;
        match product {
            Product::Mobile => mobile,
            Product::Internet => internet,
        }
    }

    /// Whether this product's list may be asked now. While the key is suspended it may not: the one probe is a single check, since a
    /// list may be refused where single checks are not, and the other way round.
    pub fn may_ask_list(&self, product: Product, now: Timestamp) -> bool {
        self.suspended_until.is_none() && self.list(product).off_until.is_none_or(|until| until <= now)
    }

    fn own_slot(&self, class: Class) -> Option<i64> {
        let [poller, status, recheck] = self.own_slots;
        match class {
            Class::Poller => poller,
            Class::Status => status,
            Class::Recheck => recheck,
        }
    }
}

/// Why there is no leave to call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Closed {
    /// The rate is used up for the moment.
    Rate,
    /// The vendor asked for a pause.
    Paused,
    /// The key is suspended.
    Suspended,
}

impl fmt::Display for Closed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Rate => "the calls per minute are used up",
            Self::Paused => "the vendor asked for a pause",
            Self::Suspended => "the vendor refuses the key",
        })
    }
}

/// What to do about a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Plan {
    /// Take a slot.
    Take(Take),
    /// The key is suspended, and it is time for the one probe: whoever arms the next makes it.
    Probe {
        /// What `suspended_until` must still be.
        armed: Timestamp,
        /// The next probe's time, should this one not be heard of.
        next: Timestamp,
    },
    /// Refused often enough, but not suspended: whoever counted last has died.
    Suspend,
    /// No leave before then.
    Wait {
        /// The first moment at which asking again is of use.
        until: Timestamp,
        /// Why.
        why: Closed,
    },
}

/// Which slots to move, and what must hold of them. DynamoDB knows no `max`: a slot that lies ahead is moved by the
/// period, one that has passed is set; the two conditions exclude each other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Take {
    /// The bucket of all calls.
    pub all: Move,
    /// The class's own bucket, where it covers the call.
    pub own: Option<Move>,
}

/// How one slot moves on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Move {
    /// It lies between `now` and `latest`: add the period.
    Busy {
        /// The latest that it may be.
        latest: i64,
        /// What a call costs.
        period: i64,
    },
    /// It has passed, or there is none, or it lies further ahead than `too_far`: set it to `slot`.
    Idle {
        /// The new slot.
        slot: i64,
        /// What is not believed.
        too_far: i64,
    },
}

/// What giving a call back does to the buckets that it moved: the exact inverse of its [`Take`], under the condition that nothing has
/// happened to them since.
///
/// Invariant 8 holds with it. All that the rule remembers of earlier calls is the two numbers in the buckets. [`Usage::permits`]
/// changes with every call that is admitted and with every one that is given back, so if it is still what this call made of it, the
/// numbers are still those that this call left, and no later call was admitted because of them. Setting them to what they were before
/// leaves the very state of a history in which the call was never admitted; what follows are decisions of that history, in which no
/// window holds more calls than the limit. (A slot that had passed is set to the moment of the call, which has passed too: whether a
/// call is admitted does not depend on which.)
///
/// Nothing less than "nothing since" would do. Subtracting the period whenever the slot is still ahead frees too much: with a period
/// of 1 s, a call admitted at 0 s and given back at 0.9 s, and another made at 0.5 s, the slot would be 1.0 s, where a history with
/// the second call alone has 1.5 s. A call that cannot be given back is lost, which costs rate and breaks nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GiveBack {
    /// What [`Usage::permits`] must still be.
    pub permits: i64,
    /// The slot of all calls.
    pub all: Restore,
    /// The slot of the class's own bucket, where it covered the call.
    pub own: Option<Restore>,
}

/// One slot that is set back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Restore {
    /// What it must still be; microseconds since 1970.
    pub after: i64,
    /// What it was before, or a moment that has passed.
    pub before: i64,
}

impl GiveBack {
    /// Of a call of `class` that was admitted at `now` by `take`, which left `after`. `None`: the slots are not there.
    pub fn of(take: &Take, class: Class, after: &Usage, now: Timestamp) -> Option<Self> {
        let restore = |how: Move, after: Option<i64>| {
            let after = after?;
            let before = match how {
                Move::Busy { period, .. } => after.saturating_sub(period),
                Move::Idle { .. } => now.as_microsecond(),
            };
            Some(Restore { after, before })
        };
        let own = match take.own {
            Some(own) => Some(restore(own, after.own_slot(class))?),
            None => None,
        };
        Some(Self { permits: after.permits, all: restore(take.all, after.slot)?, own })
    }
}

/// What follows from what is known, for a call of `class` at `now`.
pub fn plan(usage: &Usage, class: Class, now: Timestamp, budget: Budget) -> Plan {
    if let Some(until) = usage.suspended_until {
        let wait = usage.probe_wait.unwrap_or(FIRST_PROBE);
        if until <= now || is_too_far(until, now, LAST_PROBE) {
            return Plan::Probe { armed: until, next: later(now, wait) };
        }
        return Plan::Wait { until, why: Closed::Suspended };
    }
    if usage.refusals >= MOST_REFUSALS {
        return Plan::Suspend;
    }
    if let Some(until) = usage.paused_until.filter(|until| is_pause(*until, now)) {
        return Plan::Wait { until, why: Closed::Paused };
    }
    let (all, own) = (budget.all(), budget.own(class));
    let at = now.as_microsecond();
    let slot = usage.slot.filter(|slot| (at..=all.too_far(at)).contains(slot));
    let own_slot = usage.own_slot(class).filter(|slot| (at..=own.too_far(at)).contains(slot));
    let covered = own_slot.is_none_or(|slot| slot <= own.latest(at, own.burst));
    let (burst, own_move) = if covered {
        (all.burst, Some(advance(own, own_slot, at, own.burst)))
    } else {
        (budget.left_to(class, usage, at), None)
    };
    if slot.is_none_or(|slot| slot <= all.latest(at, burst)) {
        return Plan::Take(Take { all: advance(all, slot, at, burst), own: own_move });
    }
    let slot = slot.unwrap_or(at);
    let common = slot - all.ahead(budget.left_to(class, usage, at));
    let as_own =
        (slot - all.ahead(all.burst)).max(own_slot.map_or(at, |own_slot| own_slot - own.ahead(own.burst)));
    let until = Timestamp::from_microsecond(common.min(as_own)).unwrap_or(now);
    Plan::Wait { until: until.max(now), why: Closed::Rate }
}

fn advance(bucket: Bucket, slot: Option<i64>, now: i64, burst: i64) -> Move {
    match slot {
        Some(_) => Move::Busy { latest: bucket.latest(now, burst), period: bucket.period },
        None => Move::Idle { slot: now + bucket.period, too_far: bucket.too_far(now) },
    }
}

/// The pages asked for so short a time ago that their rows may still be on the way.
pub fn still_under_way(pages: &[UnderWay], now: Timestamp) -> Vec<UnderWay> {
    let recent = |asked: &&UnderWay| now.duration_since(asked.at).unsigned_abs() < LONGEST_PAGE;
    pages.iter().filter(recent).copied().collect()
}

/// Whether a pause is still on; one further ahead than any pause is not believed.
fn is_pause(until: Timestamp, now: Timestamp) -> bool {
    until > now && !is_too_far(until, now, LONGEST_PAUSE)
}

fn is_too_far(until: Timestamp, now: Timestamp, longest: Duration) -> bool {
    until > later(later(now, longest), CLOCK_TOLERANCE)
}

/// Until when a 429 pauses all calls.
pub fn pause_until(retry_after: Option<Duration>, now: Timestamp) -> Timestamp {
    later(now, retry_after.unwrap_or(USUAL_PAUSE).min(LONGEST_PAUSE))
}

/// A pause that ends later than this is not believed.
pub fn unbelievable_pause(now: Timestamp) -> Timestamp {
    later(later(now, LONGEST_PAUSE), CLOCK_TOLERANCE)
}

/// The wait after a probe that was refused.
pub fn doubled(probe_wait: Option<Duration>) -> Duration {
    probe_wait.unwrap_or(FIRST_PROBE).saturating_mul(2).min(LAST_PROBE)
}

fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests;
