//! Whether a call may be made now: pure, from what is known of the key's use.
//!
//! A GCRA (generic cell rate algorithm): each bucket keeps one moment, its theoretical arrival time (`tat`), up to which its calls are
//! paid for, and a call moves it on by the bucket's emission interval. A call is permitted while that moment lies no further ahead than the
//! burst tolerance. One bucket is for all calls. Each class has a reservation: a bucket of its own with a part of the same rate. A call
//! that its class's reservation covers may use the whole burst tolerance, any other only what is reserved for no class. So a class that
//! asks without pause gets what the others leave, and never what is reserved for them.

mod budget;
mod event;
mod give_back;
mod usage;

use std::fmt;

use jiff::Timestamp;

pub use budget::{Budget, Class, InvalidBudget};
pub use event::{VendorEvent, VendorEventKind};
pub use give_back::{GiveBack, Restore};
pub use usage::{
    DEFAULT_PAUSE, FIRST_PROBE, ListTrouble, ListTrust, MAX_LIST_FAILURES, MAX_PAUSE, MAX_PROBE_WAIT, Usage,
    Verdict, doubled, pause_until, still_under_way, unbelievable_pause,
};

use crate::time::later;
use budget::Bucket;
use usage::{is_pause, is_probe_due};

/// So many refusals in a row suspend the key.
pub const MAX_REFUSALS: u32 = 3;

/// No permit: a call must not be made before `retry_at`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Denied {
    /// Why.
    pub reason: DenyReason,
    /// The first moment at which asking again is of use.
    pub retry_at: Timestamp,
}

/// Why a permit is denied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DenyReason {
    /// The rate is used up for the moment.
    RateLimited,
    /// The vendor asked for a pause.
    Paused,
    /// The key is suspended.
    Suspended,
    /// What the list check was planned with has changed since: another process asked for a page, or the list may not be asked any more.
    /// Plan again, with what is known now.
    PlanOutdated,
}

impl fmt::Display for DenyReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::RateLimited => "the calls per minute are used up",
            Self::Paused => "the vendor asked for a pause",
            Self::Suspended => "the vendor refuses the key",
            Self::PlanOutdated => "the call was planned with what has changed since",
        })
    }
}

/// What a call has to do for its permit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Move the buckets on.
    Take(Take),
    /// The key is suspended, and it is time for the one probe: the call that arms the next one is the probe.
    Probe {
        /// What `suspended_until` must still be.
        armed: Timestamp,
        /// The next probe's time, should this one not be heard of.
        next: Timestamp,
    },
    /// Refused often enough, but not suspended: the process that counted the last refusal has died.
    Suspend,
    /// No permit.
    Deny(Denied),
}

/// Which buckets to move, and what must hold of them. DynamoDB knows no `max`: a time that lies ahead is moved by the emission interval,
/// one that has passed is set; the two conditions exclude each other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Take {
    /// The bucket of all calls.
    pub all: Move,
    /// The class's reservation, where it covers the call.
    pub reservation: Option<Move>,
}

/// How one theoretical arrival time moves on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Move {
    /// It lies between `now` and `latest`: add the emission interval.
    Busy {
        /// The latest that it may be.
        latest: i64,
        /// What a call costs.
        emission_interval: i64,
    },
    /// It has passed, or there is none, or it lies further ahead than `too_far`: set it to `tat`.
    Idle {
        /// The new theoretical arrival time.
        tat: i64,
        /// What is not believed.
        too_far: i64,
    },
}

/// What follows from what is known, for a call of `class` at `now`.
pub fn next_step(usage: &Usage, class: Class, now: Timestamp, budget: Budget) -> Step {
    let deny = |reason, retry_at| Step::Deny(Denied { reason, retry_at });
    if let Some(armed) = usage.suspended_until {
        let wait = usage.probe_wait.unwrap_or(FIRST_PROBE);
        return if is_probe_due(armed, now) {
            Step::Probe { armed, next: later(now, wait) }
        } else {
            deny(DenyReason::Suspended, armed)
        };
    }
    if usage.refusals >= MAX_REFUSALS {
        return Step::Suspend;
    }
    if let Some(until) = usage.paused_until.filter(|until| is_pause(*until, now)) {
        return deny(DenyReason::Paused, until);
    }
    match take(usage, class, now.as_microsecond(), budget) {
        Ok(take) => Step::Take(take),
        Err(until) => {
            let until = Timestamp::from_microsecond(until).unwrap_or(now);
            deny(DenyReason::RateLimited, until.max(now))
        }
    }
}

/// The moves of a call at `now`, or the first moment at which there are any.
fn take(usage: &Usage, class: Class, now: i64, budget: Budget) -> Result<Take, i64> {
    let (all, reservation) = (budget.all(), budget.reservation(class));
    let ahead =
        |tat: Option<i64>, bucket: Bucket| tat.filter(|tat| (now..=bucket.too_far(now)).contains(tat));
    let tat = ahead(usage.tat, all);
    let reservation_tat = ahead(usage.reservation_tat(class), reservation);
    let unreserved = budget.unreserved_tolerance(class, usage, now);
    let is_covered = reservation_tat.is_none_or(|tat| tat <= now + reservation.tolerance);
    let tolerance = if is_covered { all.tolerance } else { unreserved };
    let Some(tat) = tat.filter(|tat| *tat > now + tolerance) else {
        let reservation =
            is_covered.then(|| advance(reservation, reservation_tat, now, reservation.tolerance));
        return Ok(Take { all: advance(all, tat, now, tolerance), reservation });
    };
    let covered_at = reservation_tat.map_or(now, |tat| tat - reservation.tolerance);
    Err((tat - unreserved).min(covered_at.max(tat - all.tolerance)))
}

fn advance(bucket: Bucket, tat: Option<i64>, now: i64, tolerance: i64) -> Move {
    let emission_interval = bucket.emission_interval;
    match tat {
        Some(_) => Move::Busy { latest: now + tolerance, emission_interval },
        None => Move::Idle { tat: now + emission_interval, too_far: bucket.too_far(now) },
    }
}

#[cfg(test)]
mod tests;
