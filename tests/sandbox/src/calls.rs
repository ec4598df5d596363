//! The log of the calls that reached the vendor.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::clock::text;

/// A call. `http` and `answered` are null until it is answered; they stay null if the caller goes away before.
#[derive(Clone, Serialize)]
pub(crate) struct Call {
    #[serde(skip)]
    pub(crate) turn: u64,
    #[serde(serialize_with = "milliseconds")]
    pub(crate) at: Timestamp,
    pub(crate) endpoint: &'static str,
    pub(crate) order: Option<String>,
    pub(crate) key: String,
    pub(crate) http: Option<u16>,
    pub(crate) answered: Option<String>,
}

fn milliseconds<S: serde::Serializer>(at: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&text(*at))
}

/// Which calls; all that are given must fit.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Filter {
    order: Option<String>,
    endpoint: Option<String>,
    /// A key, or its fingerprint.
    key: Option<String>,
    since: Option<Timestamp>,
}

impl Filter {
    fn takes(&self, call: &Call) -> bool {
        let key = |key: &String| *key == call.key || fingerprint(Some(key)) == call.key;
        self.order.as_ref().is_none_or(|order| call.order.as_ref() == Some(order))
            && self.endpoint.as_ref().is_none_or(|endpoint| endpoint == call.endpoint)
            && self.key.as_ref().is_none_or(key)
            && self.since.is_none_or(|since| call.at >= since)
    }
}

/// The calls that a filter takes, and how many they are.
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

/// The first 8 hex characters of a key's FNV-1a hash: enough to tell keys apart, and never the key.
pub(crate) fn fingerprint(key: Option<&str>) -> String {
    let Some(key) = key else {
        return "none".to_owned();
    };
    let hash = key.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    format!("{:08x}", hash >> 32)
}
