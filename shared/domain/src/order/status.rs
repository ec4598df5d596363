//! The vendor's own word for where an order stands.

use serde::{Deserialize, Serialize};

/// A status, as the vendor last stated it. Open: the pages name six texts (and in places two others that their own
/// samples contradict); an unrecognised text is kept as it came and never taken for an outcome.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub enum VendorStatus {
    /// Waiting for one of the vendor's servers (mobile, 2–15 s).
    Pending,
    /// Being processed (mobile 3–8 s, internet 3–45 s).
    Handling,
    /// Will be delivered within 12–48 h. Not a failure.
    Queued,
    /// The vendor does not know: it may have succeeded or failed. Never a reason for a refund.
    UnknownError,
    /// Delivered.
    Fulfilled,
    /// Failed, and the money is back.
    Refunded,
    /// Any other text.
    Unrecognised(String),
}

impl VendorStatus {
    /// The text as the vendor writes it.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Pending => "PENDING",
            Self::Handling => "HANDLING",
            Self::Queued => "QUEUED",
            Self::UnknownError => "UNKNOWN_ERROR",
            Self::Fulfilled => "FULFILLED",
            Self::Refunded => "REFUNDED",
            Self::Unrecognised(text) => text,
        }
    }
}

impl From<String> for VendorStatus {
    fn from(text: String) -> Self {
        match text.as_str() {
            "PENDING" => Self::Pending,
            "HANDLING" => Self::Handling,
            "QUEUED" => Self::Queued,
            "UNKNOWN_ERROR" => Self::UnknownError,
            "FULFILLED" => Self::Fulfilled,
            "REFUNDED" => Self::Refunded,
            _ => Self::Unrecognised(text),
        }
    }
}

impl From<VendorStatus> for String {
    fn from(status: VendorStatus) -> Self {
        match status {
            VendorStatus::Unrecognised(text) => text,
            known => known.as_str().to_owned(),
        }
    }
}
