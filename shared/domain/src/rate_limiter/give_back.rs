//! Giving a permit back.

use jiff::Timestamp;

use super::{Class, Move, Take, Usage};

/// What giving a permit back does to the buckets that it moved: the exact inverse of its [`Take`], under the condition that nothing has
/// happened to them since.
///
/// Invariant 8 holds with it. All that the rule remembers of earlier calls is the two theoretical arrival times. [`Usage::permits`] changes
/// with every permit that is given and with every one that is given back, so if it is still what this permit made of it, the times are
/// still those that this permit left, and no later call was permitted because of them. Setting them to what they were before leaves the
/// very state of a history in which the permit was never given; what follows are decisions of that history, in which no window holds more
/// calls than the limit. (A time that had passed is set to the moment of the permit, which has passed too: whether a call is permitted
/// does not depend on which.)
///
/// Nothing less than "nothing since" would do. Subtracting the emission interval whenever the theoretical arrival time is still ahead frees
/// too much: with an interval of 1 s, a permit given at 0 s and given back at 0.9 s, and another given at 0.5 s, the time would be 1.0 s,
/// where a history with the second alone has 1.5 s. A permit that cannot be given back is lost, which costs rate and breaks nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GiveBack {
    /// What [`Usage::permits`] must still be.
    pub permits: i64,
    /// Of the bucket of all calls.
    pub all: Restore,
    /// Of the reservation, where it covered the call.
    pub reservation: Option<Restore>,
}

/// One theoretical arrival time that is set back; microseconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Restore {
    /// What it must still be.
    pub after: i64,
    /// What it was before, or a moment that has passed.
    pub before: i64,
}

impl GiveBack {
    /// Of a permit of `class` that was given at `now` by `take`, which left `after`. `None`: the times are not there.
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
