//! When to check again: the retry schedules, as data and pure functions.

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
    /// A wait that is no duration.
    #[error("{text:?} is not a duration such as 500ms, 8s, 5m or 24h")]
    Duration {
        /// The text.
        text: String,
    },
    /// A wait of nothing would check without end, and one of more than a year is a slip.
    #[error("{text:?} is not between 1ms and 366days")]
    Range {
        /// The text.
        text: String,
    },
}

/// Reads a duration in human form (`280s`, `24h`), between 1 ms and 366 days.
///
/// # Errors
/// If it is not one.
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
    /// The wait before check number `attempt` (from 0).
    pub fn wait(&self, attempt: u32) -> Duration {
        let Some(after_first) = attempt.checked_sub(1) else { return self.first };
        let index = usize::try_from(after_first).unwrap_or(usize::MAX);
        self.rest.get(index).or(self.rest.last()).copied().unwrap_or(self.first)
    }

    /// The same for a retry schedule that ends: `None` after its last wait.
    pub fn wait_once(&self, attempt: u32) -> Option<Duration> {
        let index = usize::try_from(attempt).unwrap_or(usize::MAX);
        (index <= self.rest.len()).then(|| self.wait(attempt))
    }

    /// Whether `attempt` has reached the last wait, the one that repeats.
    pub fn is_last(&self, attempt: u32) -> bool {
        usize::try_from(attempt).unwrap_or(usize::MAX) >= self.rest.len()
    }

    /// The shortest wait: no two polls of an order are closer together.
    pub fn shortest(&self) -> Duration {
        self.rest.iter().copied().fold(self.first, Duration::min)
    }

    /// The longest wait.
    fn longest(&self) -> Duration {
        self.rest.iter().copied().fold(self.first, Duration::max)
    }

    /// The first moment of the retry schedule after `elapsed`, both counted from the retry schedule's start.
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

/// Chance, as an input, so that deciding stays pure: from -1 (10 % sooner) to 1 (10 % later).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Jitter(f64);

impl Jitter {
    /// No jitter.
    pub const NONE: Self = Self(0.0);

    /// From a number between -1 and 1; what lies outside is cut off.
    pub fn new(value: f64) -> Self {
        Self(if value.is_nan() { 0.0 } else { value.clamp(-1.0, 1.0) })
    }

    pub(super) fn of(self, wait: Duration) -> Duration {
        wait.mul_f64(1.0 + 0.1 * self.0)
    }
}

/// All waits and limits, as settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Schedule {
    /// `POLL_SCHEDULE_MOBILE`: waits from `in_flight_since`.
    pub poll_mobile: RetrySchedule,
    /// `POLL_SCHEDULE_INTERNET`.
    pub poll_internet: RetrySchedule,
    /// `POLL_DEADLINE`.
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
    /// `NOT_FOUND_GRACE`, from `tracked_at`.
    pub not_found_grace: Duration,
    /// `OVERDUE_QUEUED`, from `parked_since`.
    pub overdue_queued: Duration,
    /// `OVERDUE_UNCERTAIN`, from `parked_since`.
    pub overdue_uncertain: Duration,
    /// `OVERDUE_DELAYED`, from `parked_since`.
    pub overdue_delayed: Duration,
    /// `OVERDUE_NOT_FOUND`, from `parked_since`.
    pub overdue_not_found: Duration,
    /// `RECHECK_REFUNDED`: checks after a refund; there is none after the last wait.
    pub recheck_refunded: RetrySchedule,
    /// `RETRY_AFTER_FAILURE`.
    pub retry_after_failure: Duration,
    /// `REVIEW_FAILURES`: after so many checks in a row that failed in a way that does not pass by itself …
    pub review_failures: u32,
    /// … `REVIEW_FAILING_FOR`: over so long, the order is reviewed, and then checked seldom:
    pub review_failing_for: Duration,
    /// `RECHECK_FAILING`.
    pub recheck_failing: Duration,
    /// `LIST_RECHECK_INTERVAL`: a queued or uncertain order is due so long after it was last seen, if a page of a list then shows many of
    /// them. `None`: lists are not used.
    pub list_recheck_interval: Option<Duration>,
}

/// An execution that died is noticed so long after the poll deadline.
const SAFETY_NET: Duration = Duration::from_secs(60);
/// An event that was committed but not published is due after so long.
pub const OUTBOX_DUE: Duration = Duration::from_secs(30);
/// The vendor has not known an order for so long: from now on ask monthly.
const NOT_FOUND_FOR_LONG: Duration = Duration::from_secs(30 * 24 * 3600);
/// Failed rechecks double their wait up to so many times the first.
const MAX_BACKOFF: u32 = 12;

impl Schedule {
    /// The retry schedule of an order in flight.
    pub fn poll(&self, product: Product) -> &RetrySchedule {
        (product.rules().poll)(self)
    }

    /// When an order in flight is to be checked next, given the last question: the retry schedule's next moment, but at least
    /// its shortest wait after the question (however many pollers run), and the deadline is itself such a moment.
    pub fn next_poll(&self, product: Product, since: Timestamp, asked_at: Option<Timestamp>) -> Timestamp {
        let retry_schedule = self.poll(product);
        let elapsed = asked_at.map_or(Duration::ZERO, |asked| between(since, asked));
        let moment = later(since, retry_schedule.moment_after(elapsed).min(self.poll_deadline));
        match asked_at {
            Some(asked) => moment.max(later(asked, retry_schedule.shortest())),
            None => moment,
        }
    }

    /// The wait before recheck number `attempt` of an order parked so.
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
            // The vendor knows it by now: it is only late.
            ParkedAs::NotFound if known => self.recheck_delayed.wait(attempt),
            ParkedAs::NotFound if parked >= NOT_FOUND_FOR_LONG => NOT_FOUND_FOR_LONG,
            ParkedAs::NotFound => self.recheck_not_found.wait(attempt),
        }
    }

    /// When an order parked so is overdue, counted from `parked_since`.
    pub(super) fn overdue(&self, parked_as: ParkedAs) -> Duration {
        match parked_as {
            ParkedAs::Queued => self.overdue_queued,
            ParkedAs::Uncertain => self.overdue_uncertain,
            ParkedAs::Delayed => self.overdue_delayed,
            ParkedAs::NotFound => self.overdue_not_found,
        }
    }

    /// The wait after failed check number `failures` in a row (from 1): doubled each time, at most twelvefold.
    pub(super) fn failure_wait(&self, failures: u32) -> Duration {
        let doubled = 1u32.checked_shl(failures.saturating_sub(1)).unwrap_or(MAX_BACKOFF);
        self.retry_after_failure.saturating_mul(doubled.min(MAX_BACKOFF))
    }

    /// The longest wait for a recheck that any rule gives an order in this phase, jitter included.
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

    /// When a page that shows many may show this order too, though no check of its own is due.
    fn list_check_at(&self, order: &Order, now: Timestamp) -> Option<Timestamp> {
        let wait = self.list_recheck_interval.filter(|_| order.is_checked_with_others())?;
        Some(later(order.checked_at.map_or(now, |checked| checked.min(now)), wait))
    }

    /// By when somebody must see to this order: to check, or to publish. `None`: nobody has to.
    pub fn due_at(&self, order: &Order, now: Timestamp) -> Option<Timestamp> {
        self.due(order, now, self.list_check_at(order, now))
    }

    /// The same for an order that was only to be checked along with others, and was not: again later if a page might have been
    /// `worth_it`, else when it is its own turn.
    pub fn due_if_unchecked(&self, order: &Order, now: Timestamp, worth_it: bool) -> Option<Timestamp> {
        self.due(order, now, self.list_recheck_interval.filter(|_| worth_it).map(|wait| later(now, wait)))
    }

    fn due(&self, order: &Order, now: Timestamp, list_check_at: Option<Timestamp>) -> Option<Timestamp> {
        let check = match order.phase {
            Phase::InFlight { since } => {
                Some(later(since.min(now), self.poll_deadline.saturating_add(SAFETY_NET)))
            }
            Phase::Parked { .. } | Phase::Final { .. } => {
                order.next_check(now, self).map(|next| list_check_at.map_or(next, |free| free.min(next)))
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
    /// The defaults (README, Settings).
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
