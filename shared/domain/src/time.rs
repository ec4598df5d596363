//! Arithmetic with moments that never fails: what lies beyond the calendar is its end.

use std::time::Duration;

use jiff::Timestamp;

/// How far the clocks of two processes may be apart. A stored moment that lies further ahead than it can was written by a broken clock,
/// and is not believed. Lambda keeps clocks within milliseconds; a minute is generous.
pub const CLOCK_TOLERANCE: Duration = Duration::from_secs(60);

/// `wait` after `start`, but not after the last whole second of time: `Timestamp::MAX` is no whole millisecond, and the table keeps those.
pub fn later(start: Timestamp, wait: Duration) -> Timestamp {
    let end = Timestamp::from_second(Timestamp::MAX.as_second()).unwrap_or(Timestamp::MAX);
    start.checked_add(wait).unwrap_or(end).min(end)
}

/// From `start` to `end`; zero if `end` comes first.
pub fn between(start: Timestamp, end: Timestamp) -> Duration {
    Duration::try_from(end.duration_since(start)).unwrap_or(Duration::ZERO)
}

/// Whether `stored` lies so far after `now` that a broken clock must have written it.
pub fn is_ahead(stored: Timestamp, now: Timestamp) -> bool {
    between(now, stored) > CLOCK_TOLERANCE
}
