//! Pages of the vendor's lists.

use jiff::Timestamp;

use crate::order::Product;

/// The most orders on one page of a list (`pageSize` in the vendor's documentation of lists).
pub const MAX_ROWS: u32 = 100;

/// A window of creation times in one product's list, both ends inclusive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Page {
    /// The product whose list it is.
    pub product: Product,
    /// The earliest creation time.
    pub from: Timestamp,
    /// The latest creation time.
    pub to: Timestamp,
}

impl Page {
    /// Rows per second of creation time, if this page showed `shown` of `total` rows. An incomplete page raises the estimate, so that the
    /// next window is narrower, whatever the vendor's page size.
    pub fn rows_per_second(&self, shown: usize, total: u64, is_complete: bool) -> f64 {
        let crowd = if is_complete { 1.0 } else { f64::from(MAX_ROWS) / (shown.max(1) as f64) };
        total as f64 / self.seconds() * crowd.max(1.0)
    }

    /// The same window in whole milliseconds, as the table stores it.
    #[must_use]
    pub fn in_milliseconds(self) -> Self {
        let whole = |time: Timestamp| Timestamp::from_millisecond(time.as_millisecond()).unwrap_or(time);
        Self { from: whole(self.from), to: whole(self.to), ..self }
    }

    /// The length in seconds, at least 0.001.
    pub fn seconds(&self) -> f64 {
        self.to.duration_since(self.from).as_secs_f64().max(0.001)
    }
}

/// A page that a process requested a moment ago. The orders on it need no second request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnderWay {
    /// The page.
    pub page: Page,
    /// When it was requested.
    pub at: Timestamp,
}
