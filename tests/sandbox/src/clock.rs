//! The sandbox's clock.

use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Instant;

/// The sandbox's source of the current time.
pub(crate) struct Clock(Box<dyn Fn() -> Timestamp + Send + Sync>);

impl Clock {
    /// Wall-clock time that advances with tokio's clock, so that tests can pause and advance it.
    #[allow(clippy::disallowed_methods, reason = "the sandbox does not depend on `shared`; the only use")]
    pub(crate) fn start() -> Self {
        let (started, since) = (Timestamp::now(), Instant::now());
        Self::read_by(move || later(started, since.elapsed()))
    }

    /// A clock that calls `read`.
    pub(crate) fn read_by(read: impl Fn() -> Timestamp + Send + Sync + 'static) -> Self {
        Self(Box::new(read))
    }

    pub(crate) fn now(&self) -> Timestamp {
        (self.0)()
    }
}

/// `from + by`, at most `Timestamp::MAX`.
pub(crate) fn later(from: Timestamp, by: Duration) -> Timestamp {
    from.checked_add(by).unwrap_or(Timestamp::MAX)
}

/// The time from `from` to `to`; zero if `to` is earlier.
pub(crate) fn between(from: Timestamp, to: Timestamp) -> Duration {
    Duration::try_from(to.duration_since(from)).unwrap_or_default()
}

/// RFC 3339 with milliseconds, the vendor's format.
pub(crate) fn text(at: Timestamp) -> String {
    format!("{at:.3}")
}

/// Factor for the vendor's times.
#[derive(Clone, Copy)]
pub(crate) struct Scale(pub(crate) f64);

impl Scale {
    /// Unscaled.
    pub(crate) const REAL: Self = Self(1.0);

    pub(crate) fn of(self, wait: Duration) -> Duration {
        self.seconds(wait.as_secs_f64())
    }

    pub(crate) fn seconds(self, seconds: f64) -> Duration {
        Duration::try_from_secs_f64(seconds * self.0).unwrap_or(Duration::MAX)
    }
}
