//! The vendor's status of an order.

use serde::{Deserialize, Serialize};

/// The vendor's status of an order, as it came: any text. The vendor documents six. The tracker keeps any other text and never takes it for
/// an outcome.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[cfg_attr(test, schemars(extend("examples" = ["PENDING", "HANDLING", "QUEUED", "UNKNOWN_ERROR", "FULFILLED", "REFUNDED"])))]
pub enum VendorStatus {
    /// Waiting for a server of the vendor (mobile, 2–15 s).
    Pending,
    /// Being processed (mobile 3–8 s, internet 3–45 s).
    Handling,
    /// Will be delivered within 12–48 h. Not a failure.
    Queued,
    /// The vendor does not know whether the order succeeded. Do not refund.
    UnknownError,
    /// Delivered.
    Fulfilled,
    /// Failed; the vendor has returned the money.
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
