//! The tracker's state of an order: in flight, parked or final.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::time::is_ahead;

/// The tracker's state of an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Polled until it leaves this phase or the poll deadline passes.
    InFlight {
        /// Start of the phase; the poll schedule and the deadline count from here.
        since: Timestamp,
    },
    /// Rechecked by the scheduled run.
    Parked {
        /// The reason.
        parked_as: ParkedAs,
        /// When it was first parked for this reason; overdue counts from here.
        since: Timestamp,
    },
    /// The vendor stated an outcome. Never changes again.
    Final {
        /// The outcome.
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

    /// Why it is parked; `None`: not parked.
    pub fn parked_as(self) -> Option<ParkedAs> {
        match self {
            Self::Parked { parked_as, .. } => Some(parked_as),
            Self::InFlight { .. } | Self::Final { .. } => None,
        }
    }

    /// The same phase, with a start set by a clock far ahead replaced by `now`: deadline and overdue need a start in the past.
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

/// Why an order is parked: rechecked instead of polled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub enum ParkedAs {
    /// The vendor stated `QUEUED`.
    Queued,
    /// The vendor stated `UNKNOWN_ERROR`.
    Uncertain,
    /// The order was in flight for longer than the poll deadline.
    Delayed,
    /// The vendor has never known the order.
    NotFound,
}

impl ParkedAs {
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

/// The outcome of an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// `FULFILLED`.
    Fulfilled,
    /// `REFUNDED`.
    Refunded,
}
