//! The log of calls to the vendor's API.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::clock::{between, text};

/// Kind of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Send,
    Check,
    List,
    Validate,
    Unknown,
}

/// Comma-separated kinds in a filter: `check`, or `check,list`.
#[derive(Clone, Deserialize)]
#[serde(try_from = "String")]
struct Kinds(Vec<Kind>);

impl TryFrom<String> for Kinds {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let one = |name: &str| match name {
            "send" => Ok(Kind::Send),
            "check" => Ok(Kind::Check),
            "list" => Ok(Kind::List),
            "validate" => Ok(Kind::Validate),
            "unknown" => Ok(Kind::Unknown),
            other => Err(format!("unknown kind of endpoint: `{other}`")),
        };
        text.split(',').map(one).collect::<Result<_, _>>().map(Self)
    }
}

/// A logged call. `http` and `answered` stay null until it is answered, and for good if the caller disconnects before.
#[derive(Clone, Serialize)]
pub(crate) struct Call {
    #[serde(skip)]
    pub(crate) turn: u64,
    #[serde(serialize_with = "milliseconds")]
    pub(crate) at: Timestamp,
    pub(crate) endpoint: &'static str,
    #[serde(skip)]
    pub(crate) kind: Kind,
    pub(crate) order: Option<String>,
    pub(crate) key: String,
    pub(crate) http: Option<u16>,
    pub(crate) answered: Option<String>,
    /// Number of rows in a list answer; null for other calls.
    pub(crate) rows: Option<usize>,
}

fn milliseconds<S: serde::Serializer>(at: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&text(*at))
}

/// Filter of calls; all given conditions apply.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Filter {
    order: Option<String>,
    endpoint: Option<String>,
    endpoint_kind: Option<Kinds>,
    /// A key or its fingerprint.
    key: Option<String>,
    since: Option<Timestamp>,
}

impl Filter {
    fn takes(&self, call: &Call) -> bool {
        let key = |key: &String| *key == call.key || fingerprint(Some(key)) == call.key;
        self.order.as_ref().is_none_or(|order| call.order.as_ref() == Some(order))
            && self.endpoint.as_ref().is_none_or(|endpoint| endpoint == call.endpoint)
            && self.endpoint_kind.as_ref().is_none_or(|kinds| kinds.0.contains(&call.kind))
            && self.key.as_ref().is_none_or(key)
            && self.since.is_none_or(|since| call.at >= since)
    }
}

/// The calls that match a filter, and their number.
#[derive(Serialize, Default)]
pub(crate) struct Counted {
    total: usize,
    by_order: BTreeMap<String, u64>,
    by_endpoint: BTreeMap<String, u64>,
    by_key: BTreeMap<String, u64>,
    calls: Vec<Call>,
}

pub(crate) fn count(log: &[Call], filter: &Filter) -> Counted {
    let calls: Vec<Call> = log.iter().filter(|call| filter.takes(call)).cloned().collect();
    let mut counted = Counted { total: calls.len(), ..Counted::default() };
    for call in &calls {
        if let Some(order) = &call.order {
            *counted.by_order.entry(order.clone()).or_default() += 1;
        }
        *counted.by_endpoint.entry(call.endpoint.to_owned()).or_default() += 1;
        *counted.by_key.entry(call.key.clone()).or_default() += 1;
    }
    Counted { calls, ..counted }
}

/// Which calls to count, and the window's length in seconds.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Windows {
    seconds: u32,
    endpoint_kind: Option<Kinds>,
    key: Option<String>,
    since: Option<Timestamp>,
}

/// The maximum number of calls in any window of the given length; its end is exclusive.
#[derive(Serialize, Default)]
pub(crate) struct Counts {
    total: usize,
    highest: usize,
    by_key: BTreeMap<String, Count>,
}

#[derive(Serialize, Default)]
struct Count {
    total: usize,
    highest: usize,
    #[serde(skip)]
    window: VecDeque<Timestamp>,
}

/// Counts the calls of each key separately. Calls without a key are not counted.
pub(crate) fn count_windows(log: &[Call], windows: &Windows) -> Counts {
    let Windows { seconds, endpoint_kind, key, since } = windows;
    let length = Duration::from_secs((*seconds).into());
    let filter = Filter {
        order: None,
        endpoint: None,
        endpoint_kind: endpoint_kind.clone(),
        key: key.clone(),
        since: *since,
    };
    let mut counts = Counts::default();
    for call in log.iter().filter(|call| call.key != NO_KEY && filter.takes(call)) {
        let count = counts.by_key.entry(call.key.clone()).or_default();
        count.window.push_back(call.at);
        while count.window.front().is_some_and(|first| between(*first, call.at) >= length) {
            count.window.pop_front();
        }
        count.total += 1;
        count.highest = count.highest.max(count.window.len());
        counts.total += 1;
        counts.highest = counts.highest.max(count.highest);
    }
    counts
}

const NO_KEY: &str = "none";

/// The first 8 hex characters of a key's FNV-1a hash: tells keys apart without showing them.
pub(crate) fn fingerprint(key: Option<&str>) -> String {
    let Some(key) = key else {
        return NO_KEY.to_owned();
    };
    let hash = key.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    format!("{:08x}", hash >> 32)
}
