//! The walk of a resync: which window of a product's list to request next. Pure.
//!
//! The walk goes through the job's window from its start to its end. A window is passed only if its page was complete, so no row is skipped.

use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{
    order::Product,
    page::{MAX_ROWS, Page},
};

/// The longest window of a job.
pub const MAX_WINDOW: Duration = Duration::from_secs(31 * 24 * 3600);
/// A job whose list cannot be read for this long fails, …
pub const MAX_FAILING: Duration = Duration::from_secs(3600);
/// … if it was tried this often meanwhile: a job can wait for its turn for longer than that.
pub const MIN_FAILURES: u32 = 10;
/// A job that gets no call for this long fails.
pub const MAX_WAITING: Duration = Duration::from_secs(24 * 3600);

/// Rows that the next page should have: half a page, so that a denser stretch still fits.
const TARGET_ROWS: u64 = (MAX_ROWS / 2) as u64;
/// The first window, milliseconds.
const FIRST_WIDTH: i64 = 3_600_000;
/// The widest window, milliseconds.
const MAX_WIDTH: i64 = 24 * 3_600_000;
/// A window is at most this many times as wide as the one before.
const MAX_GROWTH: i64 = 8;
/// Milliseconds by which a window reaches back into the one before, as the vendor may compare less exactly than it says. Windows that are less
/// than ten times as wide do not reach back, so that a dense stretch can be split down to a second.
const OVERLAP: i64 = 2000;
/// The bounds of windows are whole seconds, milliseconds each: the vendor may cut them to seconds.
const SECOND: i64 = 1000;

/// The state of a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JobState {
    /// The walk goes on.
    Running,
    /// The whole window was checked.
    Done,
    /// A person stopped it.
    Stopped,
    /// It cannot go on.
    Failed,
}

impl JobState {
    /// The name in the table and in the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Done => "done",
            Self::Stopped => "stopped",
            Self::Failed => "failed",
        }
    }
}

/// The id of the job of a window: `{product}-{from}-{to}`, in milliseconds since 1970.
pub fn job_id(product: Product, from: Timestamp, to: Timestamp) -> String {
    format!("{product}-{}-{}", from.as_millisecond(), to.as_millisecond())
}

/// Whether a text has the form of [`job_id`].
pub fn is_job_id(text: &str) -> bool {
    let read = || {
        let (product, times) = text.split_once('-')?;
        let (from, to) = times.split_once('-')?;
        let at = |text: &str| Timestamp::from_millisecond(text.parse().ok()?).ok();
        Some(job_id(product.parse().ok()?, at(from)?, at(to)?) == text)
    };
    read().unwrap_or(false)
}

/// Where a walk is. Times are milliseconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Walk {
    /// The first moment of the window.
    pub from: i64,
    /// Its last moment, inclusive.
    pub to: i64,
    /// The first moment that no complete page has covered. After `to`: the walk is done.
    pub position: i64,
    /// The width of the next window, at least 1.
    pub width: i64,
}

/// What follows a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// The walk goes on here.
    Walk(Walk),
    /// The whole window is covered.
    Done(Walk),
    /// The narrowest window, from one whole second to the next, has more rows than a page.
    Stuck,
}

impl Walk {
    /// A walk at the start of a window, both ends inclusive.
    pub fn start(from: Timestamp, to: Timestamp) -> Self {
        let (from, to) = (from.as_millisecond(), to.as_millisecond());
        Self { from, to, position: from, width: FIRST_WIDTH }
    }

    /// The window to request now, in whole seconds. Its end is after every moment that is covered; its start is not after the first that is
    /// not. At the ends of the job's window it can reach over by less than a second.
    pub fn page(&self, product: Product) -> Page {
        let back = if self.width >= 10 * OVERLAP { OVERLAP } else { 0 };
        let from = self.position.saturating_sub(back).max(self.from).min(self.position);
        let to = self.position.saturating_add(self.width.max(1) - 1).min(self.to.saturating_add(SECOND));
        let to = whole_second(to).max(self.narrowest_end()).min(whole_second_after(self.to));
        let at = |millis| Timestamp::from_millisecond(millis).unwrap_or(Timestamp::MAX);
        Page { product, from: at(whole_second(from)), to: at(to) }
    }

    /// The end of the narrowest window from here.
    fn narrowest_end(&self) -> i64 {
        whole_second_after(self.position)
    }

    /// What follows the page of [`Self::page`], which showed `shown` of `total` rows.
    #[must_use]
    pub fn after(&self, page: &Page, shown: u64, total: u64, is_complete: bool) -> Next {
        let to = page.to.as_millisecond();
        let width = to.saturating_sub(self.position).saturating_add(1).max(1);
        let target = i64::try_from(TARGET_ROWS).unwrap_or(1);
        let fitting =
            |rows: u64| width.saturating_mul(target) / i64::try_from(rows.max(1)).unwrap_or(i64::MAX);
        if is_complete {
            let widest = self.width.max(width).saturating_mul(MAX_GROWTH).min(MAX_WIDTH);
            let walk =
                Self { position: to.saturating_add(1), width: fitting(shown).clamp(1, widest), ..*self };
            return if walk.position > self.to { Next::Done(walk) } else { Next::Walk(walk) };
        }
        if to <= self.narrowest_end() {
            // A window that reached back can hold more rows than the narrowest one.
            let is_narrowest = page.from.as_millisecond() >= whole_second(self.position);
            return if is_narrowest { Next::Stuck } else { Next::Walk(Self { width: SECOND, ..*self }) };
        }
        // The total may be that of another window.
        let narrowest = (width / MAX_GROWTH).max(1);
        Next::Walk(Self { width: fitting(shown.max(total)).clamp(narrowest, width / 2), ..*self })
    }
}

/// The last whole second up to this moment.
fn whole_second(millis: i64) -> i64 {
    millis.div_euclid(SECOND).saturating_mul(SECOND)
}

/// The first whole second from this moment on.
fn whole_second_after(millis: i64) -> i64 {
    whole_second(millis.saturating_add(SECOND - 1))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const START: i64 = 1_760_000_000_000;

    fn walk(from: i64, to: i64) -> Walk {
        let at = |millis| Timestamp::from_millisecond(millis).unwrap();
        Walk::start(at(from), at(to))
    }

    /// Walks through rows at these moments. Answers the rows of complete pages, whether the walk ended well, and its calls.
    fn run(mut walk: Walk, rows: &[i64], page_size: usize, lies: bool) -> (Vec<i64>, bool, usize) {
        let mut found = Vec::new();
        for calls in 1..100_000 {
            let page = walk.page(Product::Mobile);
            let within = page.from.as_millisecond()..=page.to.as_millisecond();
            assert!(within.contains(&walk.position));
            assert!(*within.start() > walk.from - SECOND && *within.end() < walk.to + SECOND);
            assert!([*within.start(), *within.end()].iter().all(|bound| bound % SECOND == 0), "{page:?}");
            let all: Vec<i64> = rows.iter().copied().filter(|row| within.contains(row)).collect();
            let is_complete = all.len() <= page_size;
            if is_complete {
                found.extend(&all);
            }
            let total = if lies { 1_000_000_000 } else { all.len() as u64 };
            match walk.after(&page, all.len().min(page_size) as u64, total, is_complete) {
                Next::Walk(next) => {
                    assert!(
                        next.position > walk.position || next.width < walk.width,
                        "it moves on or narrows"
                    );
                    walk = next;
                }
                Next::Done(last) => {
                    assert!(last.position > last.to);
                    return (found, true, calls);
                }
                Next::Stuck => return (found, false, calls),
            }
        }
        panic!("it does not end");
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

        /// The walk ends, covers the whole window, and skips no row, however dense the rows are and whatever the vendor says of the total. It
        /// ends early only at a second that has more rows than a page.
        #[test]
        fn a_walk_covers_its_whole_window(
            offset in 0i64..1000,
            length in prop_oneof![0i64..10, 0i64..100_000, 0i64..31 * 86_400_000],
            places in proptest::collection::vec((0.0f64..1.0, 1i64..40, 1i64..300), 0..40),
            page_size in 1usize..100,
            lies in any::<bool>(),
        ) {
            let (from, to) = (START + offset, START + offset + length);
            let mut rows: Vec<i64> = places
                .iter()
                .flat_map(|(place, count, apart)| {
                    (0..*count).map(move |row| from + (place * length as f64) as i64 + row * apart)
                })
                .filter(|row| *row <= to)
                .collect();
            rows.sort_unstable();
            let (mut found, ended, _) = run(walk(from, to), &rows, page_size, lies);
            found.sort_unstable();
            found.dedup();
            // The rows of a second, both ends included, as the narrowest window has them.
            let in_second = |start: i64| rows.iter().filter(|row| (start..=start + SECOND).contains(*row)).count();
            let crowded = rows.iter().map(|row| whole_second_after(*row) - SECOND).find(|start| in_second(*start) > page_size);
            rows.dedup();
            match crowded {
                None => prop_assert!(ended && found == rows),
                Some(start) => {
                    prop_assert!(!ended);
                    rows.retain(|row| *row <= start);
                    prop_assert!(found.starts_with(&rows));
                }
            }
        }

        /// A second with more rows than a page ends the walk, and is never passed.
        #[test]
        fn a_crowded_second_ends_the_walk(length in 0i64..10_000_000, place in 0.0f64..1.0) {
            let rows = vec![START + (place * length as f64) as i64; 101];
            let (found, ended, _) = run(walk(START, START + length), &rows, 100, false);
            prop_assert!(!ended && found.is_empty());
        }
    }

    /// The last second of a window of whole seconds has a page of its own, which reaches back. Its rows do not fit a page; those of each second do.
    #[test]
    fn a_last_page_that_reaches_back_is_narrowed() {
        let at = |millis: i64| START + 3_600_000 - millis;
        let rows = [1900, 1800, 1700, 1600, 1500, 900, 800, 700].map(at);
        let (found, ended, _) = run(walk(START, START + 3_600_000), &rows, 5, false);
        assert!(ended && rows.iter().all(|row| found.contains(row)), "{found:?}");
    }

    #[test]
    fn a_quiet_month_takes_few_calls() {
        let (_, ended, calls) = run(walk(START, START + 31 * 86_400_000), &[], 100, false);
        assert!(ended && calls <= 34, "{calls}");
    }

    #[test]
    fn ids_name_the_window() {
        let at = |millis| Timestamp::from_millisecond(millis).unwrap();
        let id = job_id(Product::Mobile, at(START), at(START + 5));
        assert_eq!(id, "mobile-1760000000000-1760000000005");
        assert!(is_job_id(&id));
        for wrong in
            ["", "mobile", "mobile-1", "fax-1-2", "mobile-1-2-3", "mobile-01-2", "mobile-1-x", "mobile-+1-2"]
        {
            assert!(!is_job_id(wrong), "{wrong}");
        }
    }
}
