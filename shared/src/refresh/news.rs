//! What is counted of looks, for the summary lines of all functions and their metrics.

use std::ops::AddAssign;

use super::LookError;
use crate::telemetry::Summary;

/// Counts of what looks brought.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct News {
    /// Outcomes.
    pub became_final: usize,
    /// Reviews because an order is overdue.
    pub overdue_reviews: usize,
    /// Reviews because a status is not known.
    pub unrecognised_statuses: usize,
    /// Reviews because checks go on failing: unreadable, rejected, vanished, refused by the table.
    pub failing_reviews: usize,
    /// Fields of the vendor's answers that could not be taken as they came.
    pub odd_fields: usize,
    /// Failed checks: the vendor was not there, or not well.
    pub failed_unavailable: usize,
    /// Failed checks: the vendor asked for a pause.
    pub failed_throttled: usize,
    /// Failed checks: the vendor refused the key.
    pub failed_key_refused: usize,
    /// Failed checks: the vendor rejected the call.
    pub failed_rejected: usize,
    /// Failed checks: the answer could not be read.
    pub failed_unreadable: usize,
    /// Failed checks: the vendor does not know an order that it has shown before.
    pub failed_vanished: usize,
    /// Failed checks: a card code could not be encrypted.
    pub failed_card: usize,
    /// Failed checks: the table failed, or did not take what was shown.
    pub failed_store: usize,
}

impl News {
    /// Both.
    #[must_use]
    pub fn and(mut self, other: Self) -> Self {
        self += other;
        self
    }

    /// Counts a failed check by its reason.
    pub fn failed(&mut self, error: &LookError) {
        use crate::vendor::VendorError;
        let count = match error {
            LookError::Vendor(VendorError::Unavailable { .. }) => &mut self.failed_unavailable,
            LookError::Vendor(VendorError::Throttled { .. }) => &mut self.failed_throttled,
            LookError::Vendor(VendorError::KeyRefused { .. }) => &mut self.failed_key_refused,
            LookError::Vendor(VendorError::Rejected { .. }) => &mut self.failed_rejected,
            LookError::Vendor(VendorError::Unreadable { .. }) => &mut self.failed_unreadable,
            LookError::Vanished => &mut self.failed_vanished,
            LookError::Card(_) => &mut self.failed_card,
            LookError::Store(_) => &mut self.failed_store,
        };
        *count += 1;
    }

    fn failed_checks(&self) -> usize {
        self.failed_unavailable
            + self.failed_throttled
            + self.failed_key_refused
            + self.failed_rejected
            + self.failed_unreadable
            + self.failed_vanished
            + self.failed_card
            + self.failed_store
    }

    /// Adds all counts to a summary line, each a metric of its own name; `failed_checks` is the sum of those by reason.
    #[must_use]
    pub fn add_to(self, summary: Summary) -> Summary {
        summary
            .count("became_final", self.became_final)
            .count("overdue_reviews", self.overdue_reviews)
            .count("unrecognised_statuses", self.unrecognised_statuses)
            .count("failing_reviews", self.failing_reviews)
            .count("odd_fields", self.odd_fields)
            .count("failed_checks", self.failed_checks())
            .count("failed_unavailable", self.failed_unavailable)
            .count("failed_throttled", self.failed_throttled)
            .count("failed_key_refused", self.failed_key_refused)
            .count("failed_rejected", self.failed_rejected)
            .count("failed_unreadable", self.failed_unreadable)
            .count("failed_vanished", self.failed_vanished)
            .count("failed_card", self.failed_card)
            .count("failed_store", self.failed_store)
    }
}

impl AddAssign for News {
    fn add_assign(&mut self, other: Self) {
        self.became_final += other.became_final;
        self.overdue_reviews += other.overdue_reviews;
        self.unrecognised_statuses += other.unrecognised_statuses;
        self.failing_reviews += other.failing_reviews;
        self.odd_fields += other.odd_fields;
        self.failed_unavailable += other.failed_unavailable;
        self.failed_throttled += other.failed_throttled;
        self.failed_key_refused += other.failed_key_refused;
        self.failed_rejected += other.failed_rejected;
        self.failed_unreadable += other.failed_unreadable;
        self.failed_vanished += other.failed_vanished;
        self.failed_card += other.failed_card;
        self.failed_store += other.failed_store;
    }
}
