//! The recorded use of a key, and bounds for plausible values.

use std::time::Duration;

use jiff::Timestamp;
use serde::Deserialize;

use super::Class;
use crate::{
    order::Product,
    page::UnderWay,
    time::{CLOCK_TOLERANCE, later},
};

/// Consecutive failures of a list, over all processes, after which it is turned off for a while.
pub const MAX_LIST_FAILURES: u32 = 3;
/// Wait before the first probe of a suspended key: the vendor's lock-out takes about 15 min.
pub const FIRST_PROBE: Duration = Duration::from_secs(16 * 60);
/// The longest wait between two probes.
pub const MAX_PROBE_WAIT: Duration = Duration::from_secs(256 * 60);
/// The longest `Retry-After` that is honoured.
pub const MAX_PAUSE: Duration = Duration::from_secs(600);
/// The pause after a 429 without `Retry-After`. Our choice: the vendor documents none.
pub const DEFAULT_PAUSE: Duration = Duration::from_secs(20);
/// The longest time from the request of a page to the commits of its rows: the vendor's answer may take 8 s.
const MAX_PAGE_TIME: Duration = Duration::from_secs(10);
/// Time off of a list that failed, …
const UNAVAILABLE_FOR: Duration = Duration::from_secs(5 * 60);
/// … and of one that ignores its filter.
const FILTER_IGNORED_FOR: Duration = Duration::from_secs(24 * 3600);

/// The recorded use of a key. A `tat` is a theoretical arrival time in microseconds since 1970.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// The `tat` of the bucket of all calls.
    pub tat: Option<i64>,
    /// The `tat`s of the reservations: poller, status, recheck.
    pub reservation_tats: [Option<i64>; 3],
    /// End of a pause that the vendor asked for (429).
    pub paused_until: Option<Timestamp>,
    /// Consecutive refusals of the key.
    pub refusals: u32,
    /// The key is suspended: the time of the next probe.
    pub suspended_until: Option<Timestamp>,
    /// The wait between this probe and the next.
    pub probe_wait: Option<Duration>,
    /// Number of the last event about this key; 0: none.
    pub event_seq: u32,
    /// List pages requested in the last 10 s.
    pub pages: Vec<UnderWay>,
    /// Number of changes of `pages`: the condition that a list check was planned with all earlier pages.
    pub page_turn: i64,
    /// The health of each product's list: mobile, internet.
    pub lists: [ListTrust; Product::ALL.len()],
    /// Number of changes of the buckets: permits given and given back.
    pub permits: i64,
}

impl Usage {
    /// The health of this product's list.
    pub fn list(&self, product: Product) -> &ListTrust {
        let [mobile, internet] = &self.lists;
        match product {
            Product::Mobile => mobile,
            Product::Internet => internet,
        }
    }

    /// Whether this product's list may be requested now. Never while the key is suspended: the probe is a single check, because the vendor may
    /// refuse one kind of call and accept the other.
    pub fn may_ask_list(&self, product: Product, now: Timestamp) -> bool {
        self.suspended_until.is_none() && self.list(product).off_until.is_none_or(|until| until <= now)
    }

    /// Whether a resync may request this product's list now: also while the list is off because it showed orders of another window. A resync
    /// looks at the creation time of each order.
    pub fn may_resync(&self, product: Product, now: Timestamp) -> bool {
        let list = self.list(product);
        let ignored_filter = list.published_trouble.as_deref() == Some(ListTrouble::FilterIgnored.as_str());
        let is_off_for_filter = ignored_filter && list.failures < MAX_LIST_FAILURES;
        (self.suspended_until.is_none() && is_off_for_filter) || self.may_ask_list(product, now)
    }

    pub(super) fn reservation_tat(&self, class: Class) -> Option<i64> {
        let [poller, status, recheck] = self.reservation_tats;
        match class {
            Class::Poller => poller,
            Class::Status => status,
            Class::Recheck => recheck,
            Class::Resync => None,
        }
    }
}

/// The health of a product's list.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct ListTrust {
    /// The list is not requested before this time.
    #[serde(with = "jiff::fmt::serde::timestamp::millisecond::optional")]
    pub off_until: Option<Timestamp>,
    /// The trouble that was published; cleared when the list works again, so each is published once.
    #[serde(rename = "said")]
    pub published_trouble: Option<String>,
    /// Consecutive failures, over all processes; 0 after a good answer.
    pub failures: u32,
}

/// A fault of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ListTrouble {
    /// Requests fail repeatedly.
    Unavailable,
    /// Pages hold orders created outside the requested window.
    FilterIgnored,
}

impl ListTrouble {
    /// The name in the event's `reason`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unavailable => "list_unavailable",
            Self::FilterIgnored => "list_filter_ignored",
        }
    }

    /// Time for which a list with this fault is not requested.
    pub fn off_for(self) -> Duration {
        match self {
            Self::Unavailable => UNAVAILABLE_FOR,
            Self::FilterIgnored => FILTER_IGNORED_FOR,
        }
    }
}

/// What an answer shows about the key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The vendor accepted the key.
    Accepted,
    /// The vendor refused the key; its `error.code`.
    Refused(String),
    /// Too many calls (429); its `Retry-After`.
    Throttled(Option<Duration>),
    /// No information.
    Silent,
}

/// The pages requested so recently that their rows may not be committed yet.
pub fn still_under_way(pages: &[UnderWay], now: Timestamp) -> Vec<UnderWay> {
    let recent = |asked: &&UnderWay| now.duration_since(asked.at).unsigned_abs() < MAX_PAGE_TIME;
    pages.iter().filter(recent).copied().collect()
}

/// Whether a pause is in force. A time further ahead than the longest pause is ignored.
pub(super) fn is_pause(until: Timestamp, now: Timestamp) -> bool {
    until > now && until <= unbelievable_pause(now)
}

/// Whether a probe is due. A time further ahead than the longest wait is ignored: the probe is due.
pub(super) fn is_probe_due(until: Timestamp, now: Timestamp) -> bool {
    until <= now || until > later(later(now, MAX_PROBE_WAIT), CLOCK_TOLERANCE)
}

/// The end of the pause after a 429.
pub fn pause_until(retry_after: Option<Duration>, now: Timestamp) -> Timestamp {
    later(now, retry_after.unwrap_or(DEFAULT_PAUSE).min(MAX_PAUSE))
}

/// A pause that ends later than this was written by a wrong clock and is ignored.
pub fn unbelievable_pause(now: Timestamp) -> Timestamp {
    later(later(now, MAX_PAUSE), CLOCK_TOLERANCE)
}

/// The wait after a refused probe: twice the last one, at most [`MAX_PROBE_WAIT`].
pub fn doubled(probe_wait: Option<Duration>) -> Duration {
    probe_wait.unwrap_or(FIRST_PROBE).saturating_mul(2).min(MAX_PROBE_WAIT)
}
