//! What is known of a key's use, and the bounds of what is believed of it.

use std::time::Duration;

use jiff::Timestamp;
use serde::Deserialize;

use super::Class;
use crate::{
    order::Product,
    page::UnderWay,
    time::{CLOCK_TOLERANCE, later},
};

/// A list that fails so often in a row, over all processes, is turned off for a while.
pub const MAX_LIST_FAILURES: u32 = 3;
/// The first probe of a suspended key: the vendor's lock-out takes about 15 min.
pub const FIRST_PROBE: Duration = Duration::from_secs(16 * 60);
/// The longest wait between two probes.
pub const MAX_PROBE_WAIT: Duration = Duration::from_secs(256 * 60);
/// `Retry-After` is believed up to here.
pub const MAX_PAUSE: Duration = Duration::from_secs(600);
/// The pause after a 429 without `Retry-After`: ours, the vendor says nothing.
pub const DEFAULT_PAUSE: Duration = Duration::from_secs(20);
/// From asking for a page to the commits of its rows: the vendor has 8 s to answer.
const MAX_PAGE_TIME: Duration = Duration::from_secs(10);
/// A list that failed is asked again after so long …
const UNAVAILABLE_FOR: Duration = Duration::from_secs(5 * 60);
/// … and one that ignores its filter after so long.
const FILTER_IGNORED_FOR: Duration = Duration::from_secs(24 * 3600);

/// What is known of a key's use. A `tat` is a theoretical arrival time in microseconds since 1970.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Of the bucket of all calls.
    pub tat: Option<i64>,
    /// Of the reservations: poller, status, recheck.
    pub reservation_tats: [Option<i64>; 3],
    /// The vendor asked for a pause (429).
    pub paused_until: Option<Timestamp>,
    /// Refusals of the key in a row.
    pub refusals: u32,
    /// No calls but one probe then.
    pub suspended_until: Option<Timestamp>,
    /// How long after a probe the next may follow.
    pub probe_wait: Option<Duration>,
    /// Number of the last event about this key.
    pub event_seq: u32,
    /// Pages of lists that were asked for in the last seconds.
    pub pages: Vec<UnderWay>,
    /// Counts the changes of `pages`: a list check is planned with all pages before it.
    pub page_turn: i64,
    /// How far each product's list is trusted: mobile, internet.
    pub lists: [ListTrust; Product::ALL.len()],
    /// Counts the changes of the buckets: permits given and given back.
    pub permits: i64,
}

impl Usage {
    /// How far this product's list is trusted.
    pub fn list(&self, product: Product) -> &ListTrust {
        let [mobile, internet] = &self.lists;
        match product {
            Product::Mobile => mobile,
            Product::Internet => internet,
        }
    }

    /// Whether this product's list may be asked now. While the key is suspended it may not: the one probe is a single check, since a
    /// list may be refused where single checks are not, and the other way round.
    pub fn may_ask_list(&self, product: Product, now: Timestamp) -> bool {
        self.suspended_until.is_none() && self.list(product).off_until.is_none_or(|until| until <= now)
    }

    pub(super) fn reservation_tat(&self, class: Class) -> Option<i64> {
        let [poller, status, recheck] = self.reservation_tats;
        match class {
            Class::Poller => poller,
            Class::Status => status,
            Class::Recheck => recheck,
        }
    }
}

/// How far a product's list is trusted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct ListTrust {
    /// It is not asked before then.
    #[serde(with = "jiff::fmt::serde::timestamp::millisecond::optional")]
    pub off_until: Option<Timestamp>,
    /// The trouble that was published; published once, until the list is well again.
    pub said: Option<String>,
    /// Failures in a row, over all processes; 0 after a good answer.
    pub failures: u32,
}

/// What is wrong with a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ListTrouble {
    /// It fails, again and again.
    Unavailable,
    /// It shows orders that were created at other times than it was asked for.
    FilterIgnored,
}

impl ListTrouble {
    /// As in the event.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unavailable => "list_unavailable",
            Self::FilterIgnored => "list_filter_ignored",
        }
    }

    /// How long a list with this trouble is not asked.
    pub fn off_for(self) -> Duration {
        match self {
            Self::Unavailable => UNAVAILABLE_FOR,
            Self::FilterIgnored => FILTER_IGNORED_FOR,
        }
    }
}

/// What an answer says about the key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The vendor took it.
    Accepted,
    /// The vendor refused it: `error.code`.
    Refused(String),
    /// Too many calls: `Retry-After`.
    Throttled(Option<Duration>),
    /// Nothing.
    Silent,
}

/// The pages asked for so short a time ago that their rows may still be on the way.
pub fn still_under_way(pages: &[UnderWay], now: Timestamp) -> Vec<UnderWay> {
    let recent = |asked: &&UnderWay| now.duration_since(asked.at).unsigned_abs() < MAX_PAGE_TIME;
    pages.iter().filter(recent).copied().collect()
}

/// Whether a pause is still on; one further ahead than any pause is not believed.
pub(super) fn is_pause(until: Timestamp, now: Timestamp) -> bool {
    until > now && until <= unbelievable_pause(now)
}

/// Whether a probe is due; a time further ahead than any probe is not believed.
pub(super) fn is_probe_due(until: Timestamp, now: Timestamp) -> bool {
    until <= now || until > later(later(now, MAX_PROBE_WAIT), CLOCK_TOLERANCE)
}

/// Until when a 429 pauses all calls.
pub fn pause_until(retry_after: Option<Duration>, now: Timestamp) -> Timestamp {
    later(now, retry_after.unwrap_or(DEFAULT_PAUSE).min(MAX_PAUSE))
}

/// A pause that ends later than this is not believed.
pub fn unbelievable_pause(now: Timestamp) -> Timestamp {
    later(later(now, MAX_PAUSE), CLOCK_TOLERANCE)
}

/// The wait after a probe that was refused.
pub fn doubled(probe_wait: Option<Duration>) -> Duration {
    probe_wait.unwrap_or(FIRST_PROBE).saturating_mul(2).min(MAX_PROBE_WAIT)
}
