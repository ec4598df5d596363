//! Our word for where an order stands: what is to be done about it.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::time::is_ahead;

/// What is to be done about an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Poll it.
    InFlight {
        /// Since when; the poll retry schedule and the deadline count from here.
        since: Timestamp,
    },
    /// Recheck it.
    Parked {
        /// Why.
        parked_as: ParkedAs,
        /// Since when; overdue counts from here.
        since: Timestamp,
    },
    /// The vendor stated an outcome, and it never changes.
    Final {
        /// Which.
        outcome: Outcome,
    },
}

impl Phase {
    /// `in_flight`, `parked` or `final`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::InFlight { .. } => "in_flight",
            Self::Parked { .. } => "parked",
            Self::Final { .. } => "final",
        }
    }

    /// Why it is parked, if it is.
    pub fn parked_as(self) -> Option<ParkedAs> {
        match self {
            Self::Parked { parked_as, .. } => Some(parked_as),
            Self::InFlight { .. } | Self::Final { .. } => None,
        }
    }

    /// The same, begun now if a clock far ahead began it: deadline and overdue count from a moment that has been.
    pub(super) fn begun_by(self, now: Timestamp) -> Self {
        match self {
            Self::InFlight { since } if is_ahead(since, now) => Self::InFlight { since: now },
            Self::Parked { parked_as, since } if is_ahead(since, now) => {
                Self::Parked { parked_as, since: now }
            }
            other => other,
        }
    }

    /// Whether the vendor stated an outcome.
    pub fn is_final(self) -> bool {
        matches!(self, Self::Final { .. })
    }
}

/// Why an order is rechecked instead of polled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ParkedAs {
    /// `QUEUED`.
    Queued,
    /// `UNKNOWN_ERROR`.
    Uncertain,
    /// In flight for longer than the poll deadline.
    Delayed,
    /// The vendor has never known it.
    NotFound,
}

impl ParkedAs {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Queued, Self::Uncertain, Self::Delayed, Self::NotFound];

    /// `queued`, `uncertain`, `delayed` or `not_found`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Uncertain => "uncertain",
            Self::Delayed => "delayed",
            Self::NotFound => "not_found",
        }
    }
}

/// How an order ended. There is no third way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// `FULFILLED`.
    Fulfilled,
    /// `REFUNDED`.
    Refunded,
}
