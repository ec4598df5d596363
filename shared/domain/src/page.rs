//! Pages of the vendor's lists.

use jiff::Timestamp;

use crate::order::Product;

/// A page of a list shows at most so many orders (`pageSize`, vendor's page of the lists).
pub const MAX_ROWS: u32 = 100;

/// A window of creation times in one product's list, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Page {
    /// Which list.
    pub product: Product,
    /// The earliest creation time.
    pub from: Timestamp,
    /// The latest.
    pub to: Timestamp,
}

impl Page {
    /// How many orders were created in a second, according to this page, which showed `shown` of `total`. A page that did not show all makes
    /// windows narrower, however few rows the vendor puts on a page.
    pub fn rows_per_second(&self, shown: usize, total: u64, is_complete: bool) -> f64 {
        let crowd = if is_complete { 1.0 } else { f64::from(MAX_ROWS) / (shown.max(1) as f64) };
        total as f64 / self.seconds() * crowd.max(1.0)
    }

    /// The same in whole milliseconds, as the table keeps it.
    #[must_use]
    pub fn in_milliseconds(self) -> Self {
        let whole = |time: Timestamp| Timestamp::from_millisecond(time.as_millisecond()).unwrap_or(time);
        Self { from: whole(self.from), to: whole(self.to), ..self }
    }

    /// Its length in seconds; never 0.
    pub fn seconds(&self) -> f64 {
        self.to.duration_since(self.from).as_secs_f64().max(0.001)
    }
}

/// A page that another process asked for a moment ago: what it shows need not be asked again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnderWay {
    /// The page.
    pub page: Page,
    /// When it was asked for.
    pub at: Timestamp,
}
