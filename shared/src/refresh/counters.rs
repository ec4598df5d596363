//! The counts in summary lines and metrics (docs/logging.md).

use std::ops::AddAssign;

use jiff::Timestamp;
use serde::Serialize;
use serde_json::{Map, Value};

use super::{Check, CheckError, NoCall};
use crate::{
    order::{Order, ReviewReason},
    telemetry::Summary,
    time::between,
    vendor::VendorError,
};

/// One list for the struct, its sums and its summary line: a new count is one line here. Those under `metrics` are
/// also emitted as metrics of the same name; CloudWatch bills each name.
macro_rules! counters {
    (
        metrics { $($(#[$metric_doc:meta])* $metric:ident,)* }
        fields { $($(#[$field_doc:meta])* $field:ident,)* }
    ) => {
        /// Counts of one invocation, added up with `+=`.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
        pub struct Counters {
            $($(#[$metric_doc])* pub $metric: usize,)*
            $($(#[$field_doc])* pub $field: usize,)*
            /// Orders for which no call was made, by reason, in the order of [`NoCall::REASONS`].
            #[serde(skip)]
            pub no_call: [usize; NoCall::REASONS.len()],
        }

        impl AddAssign for Counters {
            fn add_assign(&mut self, other: Self) {
                $(self.$metric += other.$metric;)*
                $(self.$field += other.$field;)*
                for (sum, more) in self.no_call.iter_mut().zip(other.no_call) {
                    *sum += more;
                }
            }
        }

        impl Counters {
            /// Names of the counts that are also metrics.
            pub const METRICS: &[&str] = &[$(stringify!($metric)),*];
            /// Names of the counts that are only fields of summary lines.
            pub const FIELDS: &[&str] = &[$(stringify!($field)),*];

            /// Adds all counts to a summary line.
            #[must_use]
            pub fn add_to(self, summary: Summary) -> Summary {
                summary
                    $(.count(stringify!($metric), self.$metric))*
                    $(.field(stringify!($field), self.$field))*
            }
        }
    };
}

counters! {
    metrics {
        /// Requests that the API answered.
        requests,
        /// Orders that were tracked without the ref that came with them, since it was invalid.
        refs_ignored,
        /// Runs of the recheck.
        rechecks,
        /// Orders of a recheck that could not be processed: a failed check, or a record that cannot be read.
        failed,
        /// Calls to the vendor, of any kind.
        vendor_calls,
        /// Orders that were checked, also if the check failed. One list check checks many.
        checks,
        /// Orders for which the rate limiter denied the call.
        not_permitted,
        /// Orders that became final.
        became_final,
        /// Seconds from the check before to the event, summed over the orders that became final: the outcome came in between.
        outcome_seconds,
        /// Reviews because an order is overdue.
        overdue_reviews,
        /// Reviews because a status is not known.
        unrecognised_statuses,
        /// Reviews because checks keep failing: unreadable, rejected, vanished, refused by the table.
        failing_reviews,
        /// Fields of the vendor's answers that could not be read as documented.
        odd_fields,
        /// Failed checks: the sum of the `failed_…` counts below.
        failed_checks,
        /// Failed checks: the vendor was not reached, or answered with an error of its own.
        failed_unavailable,
        /// Failed checks: the vendor asked for a pause.
        failed_throttled,
        /// Failed checks: the vendor refused the key.
        failed_key_refused,
        /// Failed checks: the vendor rejected the call.
        failed_rejected,
        /// Failed checks: the answer could not be read.
        failed_unreadable,
        /// Failed checks: the vendor does not know an order that it has shown before.
        failed_vanished,
        /// Failed checks: a card code could not be encrypted.
        failed_card,
        /// Failed checks: the table failed, or refused the result.
        failed_store,
        /// Orders that could not be redacted and keep their data.
        failed_redactions,
        /// Resyncs that failed, and failures of the table while one went on.
        failed_resyncs,
        /// Answers about an order without the link to its page, since the link could not be signed.
        failed_links,
    }
    fields {
        /// Orders that a recheck found due.
        due,
        /// Orders of a recheck that were checked and are still parked.
        still_parked,
        /// Orders of a recheck that remain for the next one.
        remaining,
        /// Events that were published.
        published,
        /// Orders whose personal data was removed.
        redacted,
    }
}

impl Counters {
    /// The sum of both.
    #[must_use]
    pub fn and(mut self, other: Self) -> Self {
        self += other;
        self
    }

    /// The counts of one order's check.
    #[must_use]
    pub fn of(check: &Check) -> Self {
        let mut counters = Self::default();
        match check {
            Check::NotMade(no_call) => counters.no_call(*no_call),
            Check::Answered => counters.checks = 1,
            Check::Failed(error) => {
                counters.checks = 1;
                counters.failed(error);
            }
        }
        counters
    }

    /// The counts of a list check that failed: one call, no orders.
    #[must_use]
    pub fn of_failed_list_check(error: &CheckError) -> Self {
        let mut counters = Self { vendor_calls: 1, ..Self::default() };
        counters.failed(error);
        counters
    }

    /// The counts of a commit: what it changed between `before` and `after`.
    #[must_use]
    pub(super) fn of_change(before: &Before, after: &Order) -> Self {
        let reviews = |reasons: &[ReviewReason]| {
            let new = after.reviewed.difference(&before.reviewed);
            new.filter(|what| reasons.iter().any(|reason| what.starts_with(reason.as_str()))).count()
        };
        let is_new = after.phase.is_final() && !before.is_final;
        let seconds = between(before.checked_at, after.changed_at).as_secs();
        Self {
            became_final: usize::from(is_new),
            outcome_seconds: if is_new { usize::try_from(seconds).unwrap_or(usize::MAX) } else { 0 },
            overdue_reviews: reviews(&[ReviewReason::Overdue]),
            unrecognised_statuses: reviews(&[ReviewReason::UnrecognisedStatus]),
            failing_reviews: reviews(&[
                ReviewReason::Unreadable,
                ReviewReason::Rejected,
                ReviewReason::Vanished,
                ReviewReason::StoreRefuses,
            ]),
            ..Self::default()
        }
    }

    /// Counts a failed check under its reason.
    pub fn failed(&mut self, error: &CheckError) {
        let count = match error {
            CheckError::Vendor(VendorError::Unavailable { .. }) => &mut self.failed_unavailable,
            CheckError::Vendor(VendorError::Throttled { .. }) => &mut self.failed_throttled,
            CheckError::Vendor(VendorError::KeyRefused { .. }) => &mut self.failed_key_refused,
            CheckError::Vendor(VendorError::Rejected { .. }) => &mut self.failed_rejected,
            CheckError::Vendor(VendorError::Unreadable { .. }) => &mut self.failed_unreadable,
            CheckError::Vanished => &mut self.failed_vanished,
            CheckError::Card(_) => &mut self.failed_card,
            CheckError::Store(_) => &mut self.failed_store,
        };
        *count += 1;
        self.failed_checks += 1;
    }

    /// Counts an order for which no call was made.
    pub fn no_call(&mut self, why: NoCall) {
        self.not_permitted += usize::from(matches!(why, NoCall::Denied(_)));
        let counted = NoCall::REASONS.iter().position(|reason| *reason == why.reason());
        if let Some(count) = counted.and_then(|index| self.no_call.get_mut(index)) {
            *count += 1;
        }
    }

    /// The orders for which no call was made, by reason.
    pub fn no_call_reasons(&self) -> Map<String, Value> {
        let all = NoCall::REASONS.into_iter().zip(self.no_call);
        all.filter(|(_, count)| *count > 0).map(|(reason, count)| (reason.to_owned(), count.into())).collect()
    }
}

/// The fields of an order before a commit that its counts compare.
pub(super) struct Before {
    is_final: bool,
    /// The last check, or when the order was tracked.
    checked_at: Timestamp,
    reviewed: std::collections::BTreeSet<String>,
}

impl From<&Order> for Before {
    fn from(order: &Order) -> Self {
        let checked_at = order.checked_at.unwrap_or(order.tracked_at);
        Self { is_final: order.phase.is_final(), checked_at, reviewed: order.reviewed.clone() }
    }
}
