//! Webhooks: events as HTTP requests to the merchant's URL. The rules of attempts, and what is kept of each.

mod event_id;

use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

pub use event_id::{About, EventId, InvalidEventId};

use crate::order::{Jitter, RetrySchedule};

/// Event source of an event that is sent again on request. Only the rule that feeds the webhooks matches it.
pub const RESEND_SOURCE: &str = "topup-tracker.resend";

/// The longest wait. SQS hides a message for at most 12 hours after it was received; a minute is left for the call.
pub const MAX_WAIT: Duration = Duration::from_secs(12 * 3600 - 60);

/// How much longer or shorter than in the schedule a wait may be.
const JITTER: f64 = 0.2;

/// What became of one request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The receiver answered.
    Status {
        /// HTTP status.
        status: u16,
        /// `Retry-After`, if the receiver sent one.
        retry_after: Option<Duration>,
    },
    /// There was no answer, or the request was not sent.
    None,
}

/// What to do after an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The receiver has taken the event.
    Delivered,
    /// Try again after this time, at most [`MAX_WAIT`].
    Retry(Duration),
    /// Give up: the event becomes a dead letter.
    GiveUp(GiveUp),
}

/// Why no further attempt is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GiveUp {
    /// The receiver answered 410 Gone.
    Gone,
    /// The last wait of the schedule has passed.
    Exhausted,
}

impl GiveUp {
    /// The name in logs and dead letters.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Gone => "gone",
            Self::Exhausted => "exhausted",
        }
    }
}

/// The verdict on attempt number `attempt` (from 1). Any 2xx is a success, as Standard Webhooks says; a redirect is a
/// failure. `Retry-After` can only lengthen a wait.
pub fn verdict(schedule: &RetrySchedule, attempt: u32, answer: &Answer, jitter: Jitter) -> Verdict {
    let retry_after = match answer {
        Answer::Status { status: 200..=299, .. } => return Verdict::Delivered,
        Answer::Status { status: 410, .. } => return Verdict::GiveUp(GiveUp::Gone),
        Answer::Status { retry_after, .. } => *retry_after,
        Answer::None => None,
    };
    match schedule.wait_once(attempt.saturating_sub(1)) {
        Some(wait) => {
            let wait = jitter.scaled(wait, JITTER).max(retry_after.unwrap_or_default());
            Verdict::Retry(wait.min(MAX_WAIT))
        }
        None => Verdict::GiveUp(GiveUp::Exhausted),
    }
}

/// Where the delivery of an event stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeliveryState {
    /// The latest attempt succeeded.
    Delivered,
    /// The latest attempt failed, and another one follows.
    Retrying,
    /// No further attempt is made: the event is a dead letter.
    Failed,
}

impl DeliveryState {
    /// The name in the API and in the table.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Delivered => "delivered",
            Self::Retrying => "retrying",
            Self::Failed => "failed",
        }
    }
}

/// The delivery of one event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Delivery {
    /// The event, see [`EventId`].
    pub event_id: String,
    /// `detail-type` of the event.
    pub detail_type: String,
    /// Where it stands.
    pub state: DeliveryState,
    /// Number of attempts so far.
    pub attempt_count: u32,
    /// When the next attempt follows; only if `state` is `retrying`.
    #[serde(default)]
    pub next_attempt_at: Option<Timestamp>,
    /// The latest attempts, ascending.
    pub attempts: Vec<Attempt>,
}

/// One attempt.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempt {
    /// When it began.
    pub at: Timestamp,
    /// HTTP status of the answer; `None`: there was none.
    #[serde(default)]
    pub status: Option<u16>,
    /// How long it took.
    pub milliseconds: u32,
    /// Why there was no answer.
    #[serde(default)]
    pub error: Option<String>,
    /// The first 200 bytes of the answer's body, as text.
    #[serde(default)]
    pub answer: Option<String>,
}

impl Attempt {
    /// How many bytes of an answer are kept.
    pub const ANSWER_BYTES: usize = 200;
}

#[cfg(test)]
mod tests;
