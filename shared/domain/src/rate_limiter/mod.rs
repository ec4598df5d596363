//! Decides whether a call may be made now. Pure: the input is the recorded use of the key.
//!
//! GCRA (generic cell rate algorithm): each bucket stores a theoretical arrival time (`tat`). Each call advances it by the bucket's emission
//! interval. A call is permitted while the `tat` is at most the burst tolerance ahead of now. One bucket counts all calls. In addition, each
//! class has a reservation: a bucket with a share of the same rate. A call covered by its class's reservation may use the whole burst
//! tolerance; any other call may use only the unreserved part. A class under full load therefore never takes the reservations of others.
//!
//! A resync has no reservation and takes leftovers only: it gets a call once the bucket of all calls has been empty for a whole emission
//! interval. So no call is refused for its sake while calls of other classes wait, at most one call of the burst is in use by it, and alone
//! it gets half of the rate.

mod budget;
mod event;
mod give_back;
mod usage;

use std::fmt;

use jiff::Timestamp;

pub use budget::{Budget, Class, InvalidBudget};
#[cfg(test)]
pub(crate) use event::Detail;
pub use event::{VendorEvent, VendorEventKind};
pub use give_back::{GiveBack, Restore};
pub use usage::{
    DEFAULT_PAUSE, FIRST_PROBE, ListTrouble, ListTrust, MAX_LIST_FAILURES, MAX_PAUSE, MAX_PROBE_WAIT, Usage,
    Verdict, doubled, pause_until, still_under_way, unbelievable_pause,
};

use crate::time::later;
use budget::Bucket;
use usage::{is_pause, is_probe_due};

/// Consecutive refusals that suspend the key.
pub const MAX_REFUSALS: u32 = 3;

/// No permit: a call must not be made before `retry_at`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Denied {
    /// The reason.
    pub reason: DenyReason,
    /// The earliest time at which a call may be permitted.
    pub retry_at: Timestamp,
}

/// Why a permit is denied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DenyReason {
    /// The rate is used up for now.
    RateLimited,
    /// The vendor asked for a pause.
    Paused,
    /// The key is suspended.
    Suspended,
    /// The state that the list check was planned with has changed: another process requested a page, or the list was turned off. Plan again.
    PlanOutdated,
}

impl fmt::Display for DenyReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::RateLimited => "the calls per minute are used up",
            Self::Paused => "the vendor asked for a pause",
            Self::Suspended => "the vendor refuses the key",
            Self::PlanOutdated => "the plan of the call is outdated",
        })
    }
}

/// The next step of a call towards its permit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Advance the buckets.
    Take(Take),
    /// The key is suspended, and a probe is due. The call that sets the time of the next probe is the probe.
    Probe {
        /// The expected `suspended_until`.
        armed: Timestamp,
        /// The time of the next probe if this one gets no answer.
        next: Timestamp,
    },
    /// [`MAX_REFUSALS`] reached without a suspension: the process that counted the last refusal crashed.
    Suspend,
    /// No permit.
    Deny(Denied),
}

/// How to advance the buckets, with the conditions. DynamoDB has no `max`: a `tat` in the future is incremented, a past one is set; the two
/// conditions exclude each other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Take {
    /// The bucket of all calls.
    pub all: Move,
    /// The reservation of the class, if it covers the call.
    pub reservation: Option<Move>,
}

/// How to advance one theoretical arrival time (microseconds since 1970).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Move {
    /// If it is between `now` and `latest`: add the emission interval.
    Busy {
        /// The latest permitted value.
        latest: i64,
        /// The emission interval in microseconds.
        emission_interval: i64,
    },
    /// If it is past, absent or later than `too_far`: set it to `tat`.
    Idle {
        /// The new theoretical arrival time.
        tat: i64,
        /// Later values were written by a wrong clock.
        too_far: i64,
    },
}

/// The next step for a call of `class` at `now`.
pub fn next_step(usage: &Usage, class: Class, now: Timestamp, budget: Budget) -> Step {
    let deny = |reason, retry_at| Step::Deny(Denied { reason, retry_at });
    if let Some(armed) = usage.suspended_until {
        let wait = usage.probe_wait.unwrap_or(FIRST_PROBE);
        return if class == Class::Resync {
            // A probe is a single check, and a resync makes list checks only.
            deny(DenyReason::Suspended, armed.max(later(now, FIRST_PROBE)))
        } else if is_probe_due(armed, now) {
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

/// The moves for a call at `now` (microseconds since 1970). `Err`: the earliest time at which it is permitted.
fn take(usage: &Usage, class: Class, now: i64, budget: Budget) -> Result<Take, i64> {
    if class == Class::Resync {
        return take_leftover(usage, now, budget);
    }
    let (all, reservation) = (budget.all(), budget.reservation(class));
    let ahead =
        |tat: Option<i64>, bucket: Bucket| tat.filter(|tat| (now..=bucket.too_far(now)).contains(tat));
    let tat = ahead(usage.tat, all);
    let reservation_tat = ahead(usage.reservation_tat(class), reservation);
    let unreserved = budget.unreserved_tolerance(class, usage, now);
    let is_covered = reservation_tat.is_none_or(|tat| tat <= now + reservation.tolerance);
    let tolerance = if is_covered { all.tolerance } else { unreserved };
    match tat {
        Some(tat) if tat > now + tolerance => {
            // Permitted once the unreserved part or the reservation covers the call, whichever is first.
            let covered_at = reservation_tat.map_or(now, |tat| tat - reservation.tolerance);
            Err((tat - unreserved).min(covered_at.max(tat - all.tolerance)))
        }
        _ => {
            let reservation =
                is_covered.then(|| advance(reservation, reservation_tat, now, reservation.tolerance));
            Ok(Take { all: advance(all, tat, now, tolerance), reservation })
        }
    }
}

/// The move for a call without a reservation that yields to all others: only if no call was made or waited for lately.
fn take_leftover(usage: &Usage, now: i64, budget: Budget) -> Result<Take, i64> {
    let all = budget.all();
    let free_at = usage.tat.filter(|tat| *tat <= all.too_far(now)).map(|tat| tat + all.emission_interval);
    match free_at {
        Some(free_at) if free_at > now => Err(free_at),
        _ => Ok(Take { all: advance(all, None, now, all.tolerance), reservation: None }),
    }
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
