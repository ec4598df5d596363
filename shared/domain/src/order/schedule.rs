//! When checks are due: the retry schedules as data and pure functions.

use std::{str::FromStr, time::Duration};

use jiff::Timestamp;

use super::{Order, Outcome, ParkedAs, Phase, Product};
use crate::time::{between, later};

/// Text that is not a retry schedule or a duration.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum InvalidRetrySchedule {
    /// No wait at all.
    #[error("a retry schedule needs at least one wait, such as 24h,12h")]
    Empty,
    /// A wait that is not a duration.
    #[error("{text:?} is not a duration such as 500ms, 8s, 5m or 24h")]
    Duration {
        /// The text.
        text: String,
    },
    /// A wait of 0 would check in a busy loop; a wait of more than a year is taken for a typing error.
    #[error("{text:?} is not between 1ms and 366days")]
    Range {
        /// The text.
        text: String,
    },
}

/// Parses a duration (`280s`, `24h`) from 1 ms to 366 days.
///
/// # Errors
/// If the text is not a duration, or out of range.
pub fn parse_duration(text: &str) -> Result<Duration, InvalidRetrySchedule> {
    let invalid = || InvalidRetrySchedule::Duration { text: text.to_owned() };
    let duration = humantime::parse_duration(text.trim()).map_err(|_| invalid())?;
    let range = Duration::from_millis(1)..=Duration::from_secs(366 * 24 * 3600);
    if range.contains(&duration) {
        Ok(duration)
    } else {
        Err(InvalidRetrySchedule::Range { text: text.to_owned() })
    }
}

/// Waits between checks; the last one repeats. Never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RetrySchedule {
    first: Duration,
    rest: Vec<Duration>,
}

impl FromStr for RetrySchedule {
    type Err = InvalidRetrySchedule;

    fn from_str(text: &str) -> Result<Self, InvalidRetrySchedule> {
        if text.trim().is_empty() {
            return Err(InvalidRetrySchedule::Empty);
        }
        let mut waits = text.split(',').map(parse_duration);
        let first = waits.next().ok_or(InvalidRetrySchedule::Empty)??;
        Ok(Self { first, rest: waits.collect::<Result<_, _>>()? })
    }
}

impl RetrySchedule {
    /// A schedule of these waits.
    pub fn new(first: Duration, rest: impl IntoIterator<Item = Duration>) -> Self {
        Self { first, rest: rest.into_iter().collect() }
    }

    /// The wait before check number `attempt` (from 0).
    pub fn wait(&self, attempt: u32) -> Duration {
        let Some(after_first) = attempt.checked_sub(1) else { return self.first };
        let index = usize::try_from(after_first).unwrap_or(usize::MAX);
        self.rest.get(index).or(self.rest.last()).copied().unwrap_or(self.first)
    }

    /// The wait of a schedule that does not repeat: `None` after its last wait.
    pub fn wait_once(&self, attempt: u32) -> Option<Duration> {
        let index = usize::try_from(attempt).unwrap_or(usize::MAX);
        (index <= self.rest.len()).then(|| self.wait(attempt))
    }

    /// Whether `attempt` has reached the last wait, the one that repeats.
    pub fn is_last(&self, attempt: u32) -> bool {
        usize::try_from(attempt).unwrap_or(usize::MAX) >= self.rest.len()
    }

    /// The shortest wait: the minimum time between two polls of an order.
    pub fn shortest(&self) -> Duration {
        self.rest.iter().copied().fold(self.first, Duration::min)
    }

    /// The longest wait.
    fn longest(&self) -> Duration {
        self.rest.iter().copied().fold(self.first, Duration::max)
    }

    /// The first check time after `elapsed`; both count from the start of the schedule.
    pub fn moment_after(&self, elapsed: Duration) -> Duration {
        let mut moment = self.first;
        let mut attempt = 0;
        while moment <= elapsed {
            attempt += 1;
            let wait = self.wait(attempt);
            if self.is_last(attempt) {
                let whole = elapsed.saturating_sub(moment).as_millis() / wait.as_millis().max(1) + 1;
                let whole = u32::try_from(whole).unwrap_or(u32::MAX);
                return moment.saturating_add(wait.saturating_mul(whole));
            }
            moment = moment.saturating_add(wait);
        }
        moment
    }
}

/// Random jitter of waits, from -1 (shorter) to 1 (longer); of a recheck by up to 10 %. An input, so that decisions stay pure.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Jitter(f64);

impl Jitter {
    /// No jitter.
    pub const NONE: Self = Self(0.0);

    /// Clamps `value` to -1 to 1; NaN counts as 0.
    pub fn new(value: f64) -> Self {
        Self(if value.is_nan() { 0.0 } else { value.clamp(-1.0, 1.0) })
    }

    pub(super) fn of(self, wait: Duration) -> Duration {
        self.scaled(wait, 0.1)
    }

    /// `wait`, at most `most` (0.2: a fifth) shorter or longer.
    pub(crate) fn scaled(self, wait: Duration, most: f64) -> Duration {
        wait.mul_f64(1.0 + most * self.0)
    }
}

/// All waits and limits. Each field is the setting named in its comment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Schedule {
    /// `POLL_SCHEDULE_MOBILE`: waits between polls, from the start of the in-flight phase.
    pub poll_mobile: RetrySchedule,
    /// `POLL_SCHEDULE_INTERNET`: the same.
    pub poll_internet: RetrySchedule,
    /// `POLL_DEADLINE`: time in flight after which an order is parked as delayed.
    pub poll_deadline: Duration,
    /// `RECHECK_QUEUED`.
    pub recheck_queued: RetrySchedule,
    /// `RECHECK_UNCERTAIN`.
    pub recheck_uncertain: RetrySchedule,
    /// `RECHECK_DELAYED`.
    pub recheck_delayed: RetrySchedule,
    /// `RECHECK_CARD`.
    pub recheck_card: RetrySchedule,
    /// `RECHECK_NOT_FOUND`.
    pub recheck_not_found: RetrySchedule,
    /// `NOT_FOUND_GRACE`: time from `tracked_at` during which an order that the vendor does not know stays in flight.
    pub not_found_grace: Duration,
    /// `OVERDUE_QUEUED`: time parked after which the order is reviewed.
    pub overdue_queued: Duration,
    /// `OVERDUE_UNCERTAIN`: the same.
    pub overdue_uncertain: Duration,
    /// `OVERDUE_DELAYED`: the same.
    pub overdue_delayed: Duration,
    /// `OVERDUE_NOT_FOUND`: the same.
    pub overdue_not_found: Duration,
    /// `RECHECK_REFUNDED`: waits before checks after a refund. Does not repeat.
    pub recheck_refunded: RetrySchedule,
    /// `RETRY_AFTER_FAILURE`: wait after the first failed recheck; doubles up to twelvefold.
    pub retry_after_failure: Duration,
    /// `REVIEW_FAILURES`: consecutive permanent failures before a review, …
    pub review_failures: u32,
    /// … `REVIEW_FAILING_FOR`: and the time that they must span.
    pub review_failing_for: Duration,
    /// `RECHECK_FAILING`: wait between checks after such a review.
    pub recheck_failing: Duration,
    /// `LIST_RECHECK_INTERVAL`: wait after which a queued or uncertain order may be checked again as part of a list check. `None`: list
    /// checks are off.
    pub list_recheck_interval: Option<Duration>,
}

/// Time after the poll deadline at which the recheck takes over an order whose state machine execution failed.
const SAFETY_NET: Duration = Duration::from_secs(60);
/// Time after which the recheck publishes a committed event that is still unpublished.
pub const OUTBOX_DUE: Duration = Duration::from_secs(30);
/// An order unknown to the vendor for this long is checked at this interval.
const NOT_FOUND_FOR_LONG: Duration = Duration::from_secs(30 * 24 * 3600);
/// The longest wait after failed rechecks, as a multiple of the first.
const MAX_BACKOFF: u32 = 12;

impl Schedule {
    /// The retry schedule of an order in flight.
    pub fn poll(&self, product: Product) -> &RetrySchedule {
        (product.rules().poll)(self)
    }

    /// When the next poll is due, given the last check: the next time of the retry schedule or the poll deadline, whichever is earlier, and at
    /// least the schedule's shortest wait after the last check, however many pollers run.
    pub fn next_poll(&self, product: Product, since: Timestamp, asked_at: Option<Timestamp>) -> Timestamp {
        let retry_schedule = self.poll(product);
        let elapsed = asked_at.map_or(Duration::ZERO, |asked| between(since, asked));
        let moment = later(since, retry_schedule.moment_after(elapsed).min(self.poll_deadline));
        match asked_at {
            Some(asked) => moment.max(later(asked, retry_schedule.shortest())),
            None => moment,
        }
    }

    /// The wait before recheck number `attempt` (from 0). `parked`: how long it has been parked.
    pub(super) fn recheck_wait(
        &self,
        parked_as: ParkedAs,
        known: bool,
        attempt: u32,
        parked: Duration,
    ) -> Duration {
        match parked_as {
            ParkedAs::Queued => self.recheck_queued.wait(attempt),
            ParkedAs::Uncertain => self.recheck_uncertain.wait(attempt),
            ParkedAs::Delayed => self.recheck_delayed.wait(attempt),
            // The vendor knows the order now: treat it as delayed.
            ParkedAs::NotFound if known => self.recheck_delayed.wait(attempt),
            ParkedAs::NotFound if parked >= NOT_FOUND_FOR_LONG => NOT_FOUND_FOR_LONG,
            ParkedAs::NotFound => self.recheck_not_found.wait(attempt),
        }
    }

    /// Time parked after which the order is overdue.
    pub(super) fn overdue(&self, parked_as: ParkedAs) -> Duration {
        match parked_as {
            ParkedAs::Queued => self.overdue_queued,
            ParkedAs::Uncertain => self.overdue_uncertain,
            ParkedAs::Delayed => self.overdue_delayed,
            ParkedAs::NotFound => self.overdue_not_found,
        }
    }

    /// The wait after `failures` consecutive failures (from 1): doubled each time, at most twelvefold.
    pub(super) fn failure_wait(&self, failures: u32) -> Duration {
        let doubled = 1u32.checked_shl(failures.saturating_sub(1)).unwrap_or(MAX_BACKOFF);
        self.retry_after_failure.saturating_mul(doubled.min(MAX_BACKOFF))
    }

    /// The longest wait before a recheck in this phase, jitter included.
    pub(super) fn longest_wait(&self, phase: Phase) -> Duration {
        let retry_schedule = match phase {
            Phase::Parked { parked_as: ParkedAs::Queued, .. } => self.recheck_queued.longest(),
            Phase::Parked { parked_as: ParkedAs::Uncertain, .. } => self.recheck_uncertain.longest(),
            Phase::Parked { parked_as: ParkedAs::Delayed, .. } => self.recheck_delayed.longest(),
            Phase::Parked { parked_as: ParkedAs::NotFound, .. } => {
                let known = self.recheck_delayed.longest();
                NOT_FOUND_FOR_LONG.max(self.recheck_not_found.longest()).max(known)
            }
            Phase::Final { outcome: Outcome::Fulfilled } => self.recheck_card.longest(),
            Phase::Final { outcome: Outcome::Refunded } => self.recheck_refunded.longest(),
            Phase::InFlight { .. } => Duration::ZERO,
        };
        Jitter(1.0).of(retry_schedule.max(self.failure_wait(u32::MAX)).max(self.recheck_failing))
    }

    /// When a list check may cover this order before its own check is due; `None`: never.
    fn list_check_at(&self, order: &Order, now: Timestamp) -> Option<Timestamp> {
        let wait = self.list_recheck_interval.filter(|_| order.is_checked_with_others())?;
        Some(later(order.checked_at.map_or(now, |checked| checked.min(now)), wait))
    }

    /// When this order is next due: for a status check or for publishing. `None`: never.
    pub fn due_at(&self, order: &Order, now: Timestamp) -> Option<Timestamp> {
        self.due(order, now, self.list_check_at(order, now))
    }

    /// The same for an order that was to be checked on a page but was not. `worth_it`: a later page may still be worth a call, so the order is
    /// due again after `list_recheck_interval`; otherwise when its own check is due.
    pub fn due_if_unchecked(&self, order: &Order, now: Timestamp, worth_it: bool) -> Option<Timestamp> {
        self.due(order, now, self.list_recheck_interval.filter(|_| worth_it).map(|wait| later(now, wait)))
    }

    fn due(&self, order: &Order, now: Timestamp, list_check_at: Option<Timestamp>) -> Option<Timestamp> {
        let check = match order.phase {
            Phase::InFlight { since } => {
                Some(later(since.min(now), self.poll_deadline.saturating_add(SAFETY_NET)))
            }
            Phase::Parked { .. } | Phase::Final { .. } => {
                order.next_check(now, self).map(|next| list_check_at.map_or(next, |at| at.min(next)))
            }
        };
        if order.published >= order.seq && order.links_to_track().is_empty() {
            return check;
        }
        let publish = later(now, OUTBOX_DUE);
        Some(check.map_or(publish, |check| check.min(publish)))
    }
}

impl Default for Schedule {
    /// The defaults (docs/configuration.md).
    fn default() -> Self {
        let seconds = |all: &[u64]| RetrySchedule {
            first: Duration::from_secs(all.first().copied().unwrap_or(1)),
            rest: all.iter().skip(1).map(|s| Duration::from_secs(*s)).collect(),
        };
        const MINUTE: u64 = 60;
        const HOUR: u64 = 3600;
        let poll = seconds(&[8, 3, 3, 3, 3, 5, 5, 5, 5, 5, 10]);
        Self {
            poll_mobile: poll.clone(),
            poll_internet: poll,
            poll_deadline: Duration::from_secs(280),
            recheck_queued: seconds(&[24 * HOUR, 12 * HOUR]),
            recheck_uncertain: seconds(&[HOUR, HOUR, 2 * HOUR, 4 * HOUR, 4 * HOUR, 12 * HOUR, 24 * HOUR]),
            recheck_delayed: seconds(&[5 * MINUTE, 10 * MINUTE, 45 * MINUTE, 5 * HOUR, 24 * HOUR]),
            recheck_card: seconds(&[MINUTE, 4 * MINUTE, 55 * MINUTE, 24 * HOUR]),
            recheck_not_found: seconds(&[24 * HOUR]),
            not_found_grace: Duration::from_secs(2 * MINUTE),
            overdue_queued: Duration::from_secs(48 * HOUR),
            overdue_uncertain: Duration::from_secs(24 * HOUR),
            overdue_delayed: Duration::from_secs(24 * HOUR),
            overdue_not_found: Duration::from_secs(72 * HOUR),
            recheck_refunded: seconds(&[HOUR, 24 * HOUR]),
            retry_after_failure: Duration::from_secs(5 * MINUTE),
            review_failures: 5,
            review_failing_for: Duration::from_secs(30 * MINUTE),
            recheck_failing: Duration::from_secs(24 * HOUR),
            list_recheck_interval: None,
        }
    }
}
