//! Giving back an unused permit.

use jiff::Timestamp;

use super::{Class, Move, Take, Usage};

/// How to give a permit back: the exact inverse of its [`Take`], on condition that the buckets have not changed since.
///
/// Invariant 8 still holds. The rate limiter's only memory of earlier calls is the theoretical arrival times. [`Usage::permits`] changes
/// whenever a permit is given or given back. If it is unchanged, so are the times, and no later call was permitted because of them. Restoring
/// the earlier times gives the state of a history without this permit, and no window of that history exceeds the limit. (A past time is
/// restored as the time of the permit, which is also past; decisions do not depend on which.)
///
/// A weaker condition would not do. Subtracting the emission interval while the time is still ahead would free too much: with an interval
/// of 1 s, a permit given at 0 s and given back at 0.9 s, and another given at 0.5 s, the time would be 1.0 s; with the second permit alone
/// it is 1.5 s. A permit that cannot be given back is lost: that costs rate but never exceeds the limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GiveBack {
    /// The expected [`Usage::permits`].
    pub permits: i64,
    /// For the bucket of all calls.
    pub all: Restore,
    /// For the reservation, if it covered the call.
    pub reservation: Option<Restore>,
}

/// How to restore one theoretical arrival time; microseconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Restore {
    /// The expected value.
    pub after: i64,
    /// The earlier value, or a time in the past.
    pub before: i64,
}

impl GiveBack {
    /// For a permit of `class` given at `now` by `take`, which resulted in `after`. `None`: `after` lacks the times.
    pub fn of(take: &Take, class: Class, after: &Usage, now: Timestamp) -> Option<Self> {
        let restore = |how: Move, after: Option<i64>| {
            let after = after?;
            let before = match how {
                Move::Busy { emission_interval, .. } => after.saturating_sub(emission_interval),
                Move::Idle { .. } => now.as_microsecond(),
            };
            Some(Restore { after, before })
        };
        let reservation = match take.reservation {
            Some(how) => Some(restore(how, after.reservation_tat(class))?),
            None => None,
        };
        Some(Self { permits: after.permits, all: restore(take.all, after.tat)?, reservation })
    }
}
