//! The key's limit as GCRA buckets: one for all calls, and one for the reservation of each class.

use std::time::Duration;

use jiff::Timestamp;

use super::Usage;
use crate::{order::Trigger, time::CLOCK_TOLERANCE};

/// The window of the limit: the vendor's 60 s, plus 1 s that may pass between a permit and its call.
const WINDOW: Duration = Duration::from_secs(61);

/// The tracker's share of the key's limit (`VENDOR_CALLS_PER_MINUTE`, `VENDOR_CALLS_BURST`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    per_minute: u32,
    burst: u32,
}

/// Limits that do not leave room for every class.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidBudget {
    /// The burst is 0, above 10,000, or not below the limit.
    #[error("must be from 1 to 10000, and less than VENDOR_CALLS_PER_MINUTE ({0})")]
    Burst(u32),
}

impl Default for Budget {
    fn default() -> Self {
        Self { per_minute: Self::DEFAULT_PER_MINUTE, burst: Self::DEFAULT_BURST }
    }
}

impl Budget {
    /// Calls in any 60 s. The vendor's SDKs name 60 for a sandbox key and 120 for a production key, sends included.
    pub const DEFAULT_PER_MINUTE: u32 = 60;
    /// Calls at once.
    pub const DEFAULT_BURST: u32 = 5;

    /// `per_minute`: calls in any 60 s, bursts included. `burst`: calls at once.
    ///
    /// # Errors
    /// If the burst is 0, above 10,000, or not below the limit.
    pub fn new(per_minute: u32, burst: u32) -> Result<Self, InvalidBudget> {
        if (1..=10_000).contains(&burst) && burst < per_minute {
            Ok(Self { per_minute, burst })
        } else {
            Err(InvalidBudget::Burst(per_minute))
        }
    }

    /// The bucket of all calls.
    ///
    /// A call may be a quarter of an emission interval early. Without this slack, a burst of 1 could not distinguish reserved from unreserved
    /// calls, and each late call would lose rate for good.
    ///
    /// No window exceeds the limit: `limit` + 1 calls span at least `limit` emission intervals minus the tolerance, which is just over the
    /// window.
    pub(super) fn all(self) -> Bucket {
        let quarters = (i64::from(self.per_minute) - i64::from(self.burst)) * 4 + 3;
        let emission_interval = micros(WINDOW) * 4 / quarters + 1;
        let tolerance = (i64::from(self.burst) - 1) * emission_interval + emission_interval / 4;
        Bucket { emission_interval, tolerance }
    }

    /// The bucket of a class's reservation: its share of the rate and of the burst.
    pub(super) fn reservation(self, class: Class) -> Bucket {
        let emission_interval = self.all().emission_interval * 100 / class.percent().max(1);
        let tolerance = (i64::from(self.reserved_burst(class)) - 1) * emission_interval;
        Bucket { emission_interval, tolerance }
    }

    fn reserved_burst(self, class: Class) -> u32 {
        match class {
            Class::Poller => (self.burst / 2).min(self.burst.saturating_sub(3)).max(1),
            Class::Status => (self.burst / 5).max(1),
            Class::Recheck => (self.burst / 10).max(1),
            Class::Resync => 0,
        }
    }

    /// The burst tolerance in microseconds of a call that no reservation covers: the unreserved part plus half of the slack. A recheck gets
    /// half an emission interval less if pollers made calls recently, since orders in flight come first.
    pub(super) fn unreserved_tolerance(self, class: Class, usage: &Usage, now: i64) -> i64 {
        let reserved: u32 = Class::ALL.iter().map(|class| self.reserved_burst(*class)).sum();
        let calls = i64::from(self.burst.saturating_sub(reserved).max(1));
        let interval = self.all().emission_interval;
        let is_recent = |tat: i64| tat + 2 * self.reservation(Class::Poller).emission_interval > now;
        let yields = class == Class::Recheck && usage.reservation_tat(Class::Poller).is_some_and(is_recent);
        (calls - 1) * interval + interval / 8 - if yields { interval / 2 } else { 0 }
    }

    /// Whether more than a third of the rate is in use: then list checks are worth planning.
    pub fn is_busy(self, usage: &Usage, now: Timestamp) -> bool {
        usage.tat.is_some_and(|tat| tat + 2 * self.all().emission_interval > now.as_microsecond())
    }
}

/// The kind of caller. Each class of [`Self::ALL`] has a reservation; the rest of the rate is shared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// Ticks of wait loops: 50 % of the rate is reserved.
    Poller,
    /// Requests of the merchant: 20 %.
    Status,
    /// The recheck: 10 %.
    Recheck,
    /// The list checks of a resync: no reservation. They get calls only while all other classes leave at least half of the rate unused.
    Resync,
}

impl Class {
    /// All classes with a reservation.
    pub const ALL: [Self; 3] = [Self::Poller, Self::Status, Self::Recheck];

    pub(super) fn percent(self) -> i64 {
        match self {
            Self::Poller => 50,
            Self::Status => 20,
            Self::Recheck => 10,
            Self::Resync => 0,
        }
    }

    /// The name in the table and in logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Poller => "poller",
            Self::Status => "status",
            Self::Recheck => "recheck",
            Self::Resync => "resync",
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

/// A GCRA bucket, in microseconds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bucket {
    /// The time that a call adds to the theoretical arrival time.
    pub(super) emission_interval: i64,
    /// The burst tolerance: how far ahead of now the theoretical arrival time may be for a call to be permitted.
    pub(super) tolerance: i64,
}

impl Bucket {
    /// A later theoretical arrival time was written by a wrong clock.
    pub(super) fn too_far(self, now: i64) -> i64 {
        now + self.tolerance + self.emission_interval + micros(CLOCK_TOLERANCE)
    }
}

fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}
