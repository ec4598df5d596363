//! Timestamp arithmetic that saturates at the ends of the calendar.

use std::time::Duration;

use jiff::Timestamp;

/// The largest expected difference between two clocks. A stored timestamp further ahead than its rules allow plus this tolerance was
/// written by a wrong clock and is ignored. Lambda keeps clocks within milliseconds.
pub const CLOCK_TOLERANCE: Duration = Duration::from_secs(60);

/// `start` plus `wait`, at most the last whole second of the calendar: the table stores whole milliseconds, and `Timestamp::MAX` is none.
pub fn later(start: Timestamp, wait: Duration) -> Timestamp {
    let end = Timestamp::from_second(Timestamp::MAX.as_second()).unwrap_or(Timestamp::MAX);
    start.checked_add(wait).unwrap_or(end).min(end)
}

/// `end` minus `wait`, at least the first moment of the calendar.
pub fn earlier(end: Timestamp, wait: Duration) -> Timestamp {
    end.checked_sub(wait).unwrap_or(Timestamp::MIN)
}

/// The time from `start` to `end`; zero if `end` is earlier.
pub fn between(start: Timestamp, end: Timestamp) -> Duration {
    Duration::try_from(end.duration_since(start)).unwrap_or(Duration::ZERO)
}

/// Whether `stored` is more than [`CLOCK_TOLERANCE`] after `now`: a wrong clock wrote it.
pub fn is_ahead(stored: Timestamp, now: Timestamp) -> bool {
    between(now, stored) > CLOCK_TOLERANCE
}
