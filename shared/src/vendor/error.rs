//! What can go wrong with a look, by what the caller can do about it.

use std::time::Duration;

use crate::admission::Verdict;

/// A look that showed nothing. Never contains a body, a key or a card code.
#[derive(Debug, thiserror::Error)]
pub enum VendorError {
    /// 429: too many calls with this key. Pause every caller.
    #[error("the vendor asks for a pause")]
    Throttled {
        /// `Retry-After`, if it was sent.
        retry_after: Option<Duration>,
    },
    /// The key, or the address it is used from, is refused: no call can succeed.
    #[error("the vendor refuses the key ({code})")]
    KeyRefused {
        /// `error.code`.
        code: String,
    },
    /// The vendor is there and will not answer this call, now or later.
    #[error("the vendor rejected the call: {http} {code}")]
    Rejected {
        /// HTTP status.
        http: u16,
        /// `error.code`, or nothing.
        code: String,
    },
    /// The vendor, or what stands before it, is not well (5xx), or not there.
    #[error("the vendor is unavailable: {what}")]
    Unavailable {
        /// HTTP status, or what broke on the way.
        what: String,
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
    /// What it says about the key.
    pub fn verdict(&self) -> Verdict {
        match self {
            Self::Throttled { retry_after } => Verdict::Throttled(*retry_after),
            Self::KeyRefused { code } => Verdict::Refused(code.clone()),
            // 400 or 403 about this call: the key itself was taken, if it was the vendor who said so and no gateway.
            Self::Rejected { code, .. } if !code.is_empty() => Verdict::Accepted,
            Self::Rejected { .. } | Self::Unavailable { .. } | Self::Unreadable { .. } => Verdict::Silent,
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
