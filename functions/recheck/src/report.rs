//! The report of a recheck.

use jiff::Timestamp;
use shared::{
    order::Phase,
    rate_limiter::Denied,
    refresh::{Check, Counters, NoCall, Refreshed},
};

/// The report of a recheck or of a part of it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Report {
    /// The counters.
    pub(crate) counters: Counters,
    /// When the oldest unpublished event happened.
    pub(crate) unpublished_since: Option<Timestamp>,
    /// Whether an order was left for the next recheck because no call was permitted in time.
    pub(crate) was_denied: bool,
}

impl Report {
    /// For `due` orders found in the due index.
    pub(crate) fn due(due: usize) -> Self {
        Counters { due, ..Counters::default() }.into()
    }

    /// For an order left for the next recheck.
    pub(crate) fn remaining() -> Self {
        Counters { remaining: 1, ..Counters::default() }.into()
    }

    /// For an order left because no call was permitted in time.
    pub(crate) fn denied(denied: Denied) -> Self {
        let mut counters = Counters::default();
        counters.no_call(NoCall::Denied(denied));
        Self { was_denied: true, ..counters.into() }
    }

    /// For a record that could not be read or written.
    pub(crate) fn store_failed() -> Self {
        Counters { failed: 1, failed_store: 1, failed_checks: 1, ..Counters::default() }.into()
    }

    pub(crate) fn published(published: usize, unpublished_since: Option<Timestamp>) -> Self {
        let counters = Counters { published, ..Counters::default() };
        Self { unpublished_since, ..counters.into() }
    }

    /// For one processed order.
    pub(crate) fn of(refreshed: &Refreshed) -> Self {
        let Refreshed { order, check, counters, unpublished_since } = refreshed;
        let mut counters = *counters;
        if matches!(check, Check::NotMade(NoCall::Denied(_))) {
            // An order denied several permits counts once, in `Report::denied`.
            (counters.not_permitted, counters.no_call) = Default::default();
        }
        let parked = check.is_made() && matches!(order.phase, Phase::Parked { .. });
        let failed = matches!(check, Check::Failed(_));
        let counters =
            Counters { still_parked: usize::from(parked), failed: usize::from(failed), ..counters };
        Self { counters, unpublished_since: *unpublished_since, was_denied: false }
    }

    pub(crate) fn and(self, other: Self) -> Self {
        Self {
            counters: self.counters.and(other.counters),
            unpublished_since: self.unpublished_since.into_iter().chain(other.unpublished_since).min(),
            was_denied: self.was_denied || other.was_denied,
        }
    }
}

impl From<Counters> for Report {
    fn from(counters: Counters) -> Self {
        Self { counters, unpublished_since: None, was_denied: false }
    }
}
