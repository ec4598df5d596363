//! What is announced about a key.

use jiff::Timestamp;
use serde::Serialize;

use crate::secret::Fingerprint;

/// What happened to a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VendorEventKind<'a> {
    /// The vendor refused it again and again: nobody calls until then.
    Suspended {
        /// The vendor's `error.code`.
        reason: &'a str,
        /// The time of the first probe.
        suspended_until: Timestamp,
    },
    /// A probe was answered.
    Resumed,
    /// A list is not what it is documented to be: orders are looked at one by one.
    NeedsReview {
        /// What is wrong with it.
        reason: &'a str,
        /// Whose list.
        product: &'a str,
    },
}

/// An event about a key, kept beside its admission until it is announced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VendorEvent {
    /// Its number among the key's events, from 1.
    pub seq: u32,
    /// `detail-type`.
    pub detail_type: String,
    /// When it happened.
    pub occurred_at: Timestamp,
    /// The exact JSON to be announced.
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
    /// Number `seq` about `key`; its id is `vendor/{fingerprint}#{seq}`.
    pub fn new(key: &Fingerprint, seq: u32, kind: VendorEventKind<'_>, now: Timestamp) -> Self {
        let (detail_type, reason, suspended_until, product) = match kind {
            VendorEventKind::Suspended { reason, suspended_until } => {
                ("Vendor Suspended", Some(reason), Some(suspended_until), None)
            }
            VendorEventKind::Resumed => ("Vendor Resumed", None, None, None),
            VendorEventKind::NeedsReview { reason, product } => {
                ("Vendor Needs Review", Some(reason), None, Some(product))
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
