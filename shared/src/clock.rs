//! The time, passed in, so that tests can move it.

use std::sync::{
    Arc,
    atomic::{AtomicI64, Ordering},
};

use domain::time::between;
use jiff::Timestamp;

/// Tells the time, in whole milliseconds (what the table keeps).
#[derive(Clone, Debug)]
pub enum Clock {
    /// The machine's.
    System,
    /// One that stands where it was put: milliseconds since 1970.
    Fixed(Arc<AtomicI64>),
}

impl Clock {
    /// A clock that stands at `start` until it is moved.
    pub fn fixed(start: Timestamp) -> Self {
        Self::Fixed(Arc::new(AtomicI64::new(start.as_millisecond())))
    }

    /// The time.
    pub fn now(&self) -> Timestamp {
        match self {
            #[allow(clippy::disallowed_methods, reason = "the one place that asks the machine")]
            Self::System => millis(Timestamp::now().as_millisecond()),
            Self::Fixed(at) => millis(at.load(Ordering::SeqCst)),
        }
    }

    /// Waits until `moment`; a fixed clock is put there.
    pub async fn wait_until(&self, moment: Timestamp) {
        match self {
            Self::System => {
                tokio::time::sleep(between(self.now(), moment)).await;
            }
            Self::Fixed(at) => {
                // It keeps milliseconds: one too early would be waited for again, and for ever.
                let moment = moment.as_microsecond().saturating_add(999).div_euclid(1000);
                at.fetch_max(moment, Ordering::SeqCst);
            }
        }
    }

    /// Puts a fixed clock to a time; the machine's stays as it is.
    pub fn set(&self, now: Timestamp) {
        if let Self::Fixed(at) = self {
            at.store(now.as_millisecond(), Ordering::SeqCst);
        }
    }
}

fn millis(since_1970: i64) -> Timestamp {
    Timestamp::from_millisecond(since_1970).unwrap_or(Timestamp::MAX)
}
