//! Events about a vendor key.

use std::fmt::Display;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// The reason of a `Vendor Resumed` without a successful probe.
const KEY_REPLACED: &str = "key_replaced";

/// The kind of an event about a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VendorEventKind<'a> {
    /// The vendor refused the key repeatedly: no calls until the probe.
    Suspended {
        /// The vendor's `error.code`.
        reason: &'a str,
        /// The time of the first probe.
        suspended_until: Timestamp,
    },
    /// A probe was accepted.
    Resumed,
    /// The suspended key was replaced, so it gets no further probes. Published as `Vendor Resumed` with a reason.
    Replaced,
    /// A list does not behave as documented: orders are checked by id.
    ListDegraded {
        /// The fault, see [`super::ListTrouble`].
        reason: &'a str,
        /// The list's product.
        product: &'a str,
    },
}

/// An event about a key, kept in the key's item until it is published.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VendorEvent {
    /// Number among the key's events, from 1.
    pub seq: u32,
    /// `detail-type`.
    pub detail_type: String,
    /// When it happened.
    #[serde(with = "jiff::fmt::serde::timestamp::millisecond::required")]
    pub occurred_at: Timestamp,
    /// The exact JSON to publish.
    pub detail: String,
}

/// `detail` of every event about a key, version 1.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct Detail<'a> {
    /// The id of the event: `vendor/{fingerprint of the key}#{seq}`. It is the same when the event is published again.
    event_id: String,
    /// The number of the event among the key's events, from 1.
    #[cfg_attr(test, schemars(range(min = 1)))]
    seq: u32,
    /// The version of this format.
    #[cfg_attr(test, schemars(extend("const" = 1)))]
    version: u32,
    /// The same as `detail-type` of the envelope.
    detail_type: &'a str,
    /// When it happened.
    occurred_at: Timestamp,
    /// Why: see each event.
    reason: Option<&'a str>,
    /// When the first probe is made.
    suspended_until: Option<Timestamp>,
    /// Whose list it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, schemars(with = "crate::order::Product", transform = crate::schemas::open))]
    product: Option<&'a str>,
}

impl VendorEvent {
    /// `vendor/{key}#{seq}`: the same for each repetition, so that consumers can deduplicate.
    pub fn id(&self, key: &impl Display) -> String {
        event_id(key, self.seq)
    }

    /// Event `seq` about the key with fingerprint `key`; its id is `vendor/{key}#{seq}`.
    pub fn new(key: &impl Display, seq: u32, kind: VendorEventKind<'_>, now: Timestamp) -> Self {
        let (detail_type, reason, suspended_until, product) = match kind {
            VendorEventKind::Suspended { reason, suspended_until } => {
                ("Vendor Suspended", Some(reason), Some(suspended_until), None)
            }
            VendorEventKind::Resumed => ("Vendor Resumed", None, None, None),
            VendorEventKind::Replaced => ("Vendor Resumed", Some(KEY_REPLACED), None, None),
            VendorEventKind::ListDegraded { reason, product } => {
                ("Vendor List Degraded", Some(reason), None, Some(product))
            }
        };
        let detail = Detail {
            event_id: event_id(key, seq),
            seq,
            version: 1,
            detail_type,
            occurred_at: now,
            reason,
            suspended_until,
            product,
        };
        Self {
            seq,
            detail_type: detail_type.to_owned(),
            occurred_at: now,
            // Strings, numbers and times only: serialisation cannot fail.
            detail: serde_json::to_string(&detail).unwrap_or_default(),
        }
    }
}

fn event_id(key: &impl Display, seq: u32) -> String {
    format!("vendor/{key}#{seq}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vendor_resumed_states_whether_the_key_was_replaced() {
        let key = "1f2e3d4c5b6a7988";
        let reason = |kind| {
            let event = VendorEvent::new(&key, 2, kind, Timestamp::UNIX_EPOCH);
            assert_eq!(event.detail_type, "Vendor Resumed");
            let detail: serde_json::Value = serde_json::from_str(&event.detail).unwrap();
            assert_eq!(detail["event_id"], "vendor/1f2e3d4c5b6a7988#2");
            assert_eq!(detail["suspended_until"], serde_json::Value::Null);
            detail["reason"].clone()
        };
        assert_eq!(reason(VendorEventKind::Replaced), "key_replaced");
        assert_eq!(reason(VendorEventKind::Resumed), serde_json::Value::Null);
    }
}
