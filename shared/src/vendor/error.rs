//! Errors of a call to the vendor, by what the caller can do about them.

use std::time::Duration;

use super::meaning;
use crate::{order::Trouble, rate_limiter::Verdict};

/// A failed call to the vendor. Never contains a body, a key or a card code.
#[derive(Debug, thiserror::Error)]
pub enum VendorError {
    /// Too many calls with this key (429): all callers must pause.
    #[error("the vendor asks for a pause")]
    Throttled {
        /// `Retry-After`, if it was sent.
        retry_after: Option<Duration>,
    },
    /// The vendor refuses the key, or the address it is used from: no call can succeed.
    #[error("the vendor refuses the key ({code})")]
    KeyRefused {
        /// The vendor's code, or empty.
        code: String,
    },
    /// The vendor rejects this call permanently.
    #[error("the vendor rejected the call: {http} {code}")]
    Rejected {
        /// HTTP status.
        http: u16,
        /// The vendor's code, or empty.
        code: String,
    },
    /// The vendor or a gateway before it answers with an error of its own (5xx), or was not reached.
    #[error("the vendor is unavailable: {what}")]
    Unavailable {
        /// HTTP status and code, or the transport error.
        what: String,
        /// `Retry-After`, if it was sent with 503: all callers must pause.
        retry_after: Option<Duration>,
    },
    /// The answer cannot be read. Names the field, never its value.
    #[error("the vendor's answer cannot be read at {path}: {what}")]
    Unreadable {
        /// Path of the field.
        path: String,
        /// What is wrong with it.
        what: String,
    },
}

impl VendorError {
    pub(super) fn unreadable(path: &str, what: &str) -> Self {
        Self::Unreadable { path: path.to_owned(), what: what.to_owned() }
    }

    /// What the error says about the key.
    pub fn verdict(&self) -> Verdict {
        match self {
            Self::Throttled { retry_after } => Verdict::Throttled(*retry_after),
            Self::Unavailable { retry_after: Some(wait), .. } => Verdict::Throttled(Some(*wait)),
            Self::KeyRefused { code } => Verdict::Refused(code.clone()),
            // A documented code about this call: the vendor accepted the key. An undocumented one may come from a
            // gateway, or be about the key.
            Self::Rejected { code, .. } if meaning::of_code(code).is_some() => Verdict::Accepted,
            Self::Rejected { .. } | Self::Unavailable { .. } | Self::Unreadable { .. } => Verdict::Silent,
        }
    }

    /// The order's trouble; `None`: the error may pass by itself.
    pub fn trouble(&self) -> Option<Trouble> {
        match self {
            Self::Rejected { .. } => Some(Trouble::Rejected),
            Self::Unreadable { .. } => Some(Trouble::Unreadable),
            Self::Throttled { .. } | Self::KeyRefused { .. } | Self::Unavailable { .. } => None,
        }
    }

    /// A stable name for logs and metrics: the variant in snake case.
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
