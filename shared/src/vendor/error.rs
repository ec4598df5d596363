//! What can go wrong with a check, by what the caller can do about it.

use std::time::Duration;

use super::meaning;
use crate::{order::Trouble, rate_limiter::Verdict};

/// A check that showed nothing. Never contains a body, a key or a card code.
#[derive(Debug, thiserror::Error)]
pub enum VendorError {
    /// Too many calls with this key. Pause every caller.
    #[error("the vendor asks for a pause")]
    Throttled {
        /// `Retry-After`, if it was sent.
        retry_after: Option<Duration>,
    },
    /// The key, or the address it is used from, is refused: no call can succeed.
    #[error("the vendor refuses the key ({code})")]
    KeyRefused {
        /// The vendor's code, or nothing.
        code: String,
    },
    /// The vendor is there and will not answer this call, now or later.
    #[error("the vendor rejected the call: {http} {code}")]
    Rejected {
        /// HTTP status.
        http: u16,
        /// The vendor's code, or nothing.
        code: String,
    },
    /// The vendor, or what stands before it, is not well (5xx), or not there.
    #[error("the vendor is unavailable: {what}")]
    Unavailable {
        /// HTTP status and code, or what broke on the way.
        what: String,
        /// `Retry-After`, if it was sent: pause every caller.
        retry_after: Option<Duration>,
    },
    /// An answer that cannot be read. Says where it broke, never what stood there.
    #[error("the vendor's answer cannot be read at {path}: {what}")]
    Unreadable {
        /// Path of the field.
        path: String,
        /// Kind of the trouble.
        what: String,
    },
}

impl VendorError {
    pub(super) fn unreadable(path: &str, what: &str) -> Self {
        Self::Unreadable { path: path.to_owned(), what: what.to_owned() }
    }

    /// What it says about the key.
    pub fn verdict(&self) -> Verdict {
        match self {
            Self::Throttled { retry_after } => Verdict::Throttled(*retry_after),
            Self::Unavailable { retry_after: Some(wait), .. } => Verdict::Throttled(Some(*wait)),
            Self::KeyRefused { code } => Verdict::Refused(code.clone()),
            // A documented code about this call: the vendor has taken the key. Under any other it may have been a gateway, or the key.
            Self::Rejected { code, .. } if meaning::of_code(code).is_some() => Verdict::Accepted,
            Self::Rejected { .. } | Self::Unavailable { .. } | Self::Unreadable { .. } => Verdict::Silent,
        }
    }

    /// What it means for the order: `None`, it may pass by itself.
    pub fn trouble(&self) -> Option<Trouble> {
        match self {
            Self::Rejected { .. } => Some(Trouble::Rejected),
            Self::Unreadable { .. } => Some(Trouble::Unreadable),
            Self::Throttled { .. } | Self::KeyRefused { .. } | Self::Unavailable { .. } => None,
        }
    }

    /// A stable name for logs and metrics.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Throttled { .. } => "throttled",
            Self::KeyRefused { .. } => "key_refused",
            Self::Rejected { .. } => "rejected",
            Self::Unavailable { .. } => "unavailable",
            Self::Unreadable { .. } => "unreadable",
        }
    }
}
