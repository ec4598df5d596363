//! Events about a key.

use std::fmt::Display;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// The reason of a `Vendor Resumed` that no probe has brought about.
const KEY_REPLACED: &str = "key_replaced";

/// What happened to a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VendorEventKind<'a> {
    /// The vendor refused it again and again: no calls until then.
    Suspended {
        /// The vendor's `error.code`.
        reason: &'a str,
        /// The time of the first probe.
        suspended_until: Timestamp,
    },
    /// A probe was answered.
    Resumed,
    /// The key was suspended, and another is in use now: no probe of this one will come. `Vendor Resumed` with a reason.
    Replaced,
    /// A list is not what it is documented to be: orders are checked one by one.
    ListDegraded {
        /// What is wrong with it.
        reason: &'a str,
        /// The list's product.
        product: &'a str,
    },
}

/// An event about a key, kept in the key's item until it is published.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VendorEvent {
    /// Its number among the key's events, from 1.
    pub seq: u32,
    /// `detail-type`.
    pub detail_type: String,
    /// When it happened.
    #[serde(with = "jiff::fmt::serde::timestamp::millisecond::required")]
    pub occurred_at: Timestamp,
    /// The exact JSON to be published.
    pub detail: String,
}

#[derive(Serialize)]
struct Detail<'a> {
    event_id: String,
    seq: u32,
    version: u32,
    detail_type: &'a str,
    occurred_at: Timestamp,
    reason: Option<&'a str>,
    suspended_until: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    product: Option<&'a str>,
}

impl VendorEvent {
    /// Number `seq` about the key with this fingerprint; its id is `vendor/{fingerprint}#{seq}`.
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
            event_id: format!("vendor/{key}#{seq}"),
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
            // Strings, numbers and times only: writing them cannot fail.
            detail: serde_json::to_string(&detail).unwrap_or_default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_suspension_says_whether_the_key_was_replaced() {
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
