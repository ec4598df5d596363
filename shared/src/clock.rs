//! The clock, passed in as a value so that tests can set it.

use std::sync::{
    Arc,
    atomic::{AtomicI64, Ordering},
};

use domain::time::between;
use jiff::Timestamp;

/// A source of the current time, in whole milliseconds (the table's precision).
#[derive(Clone, Debug)]
pub enum Clock {
    /// The system clock.
    System,
    /// A clock that changes only when it is set: milliseconds since 1970.
    Fixed(Arc<AtomicI64>),
}

impl Clock {
    /// A fixed clock, set to `start`.
    pub fn fixed(start: Timestamp) -> Self {
        Self::Fixed(Arc::new(AtomicI64::new(start.as_millisecond())))
    }

    /// The current time.
    pub fn now(&self) -> Timestamp {
        match self {
            #[allow(clippy::disallowed_methods, reason = "the one place that reads the system clock")]
            Self::System => millis(Timestamp::now().as_millisecond()),
            Self::Fixed(at) => millis(at.load(Ordering::SeqCst)),
        }
    }

    /// Waits until `moment`. A fixed clock is set to it instead; it never goes back.
    pub async fn wait_until(&self, moment: Timestamp) {
        match self {
            Self::System => {
                tokio::time::sleep(between(self.now(), moment)).await;
            }
            Self::Fixed(at) => {
                // Rounded up to milliseconds: rounded down, the caller would find the moment still ahead and wait for
                // ever.
                let moment = moment.as_microsecond().saturating_add(999).div_euclid(1000);
                at.fetch_max(moment, Ordering::SeqCst);
            }
        }
    }

    /// Sets a fixed clock. Does nothing to the system clock.
    pub fn set(&self, now: Timestamp) {
        if let Self::Fixed(at) = self {
            at.store(now.as_millisecond(), Ordering::SeqCst);
        }
    }
}

fn millis(since_1970: i64) -> Timestamp {
    Timestamp::from_millisecond(since_1970).unwrap_or(Timestamp::MAX)
}
