//! Plans the next vendor call for many orders: a single status check, or a list check of a window of creation times.
//! Pure: no I/O, no clock, no randomness.
//!
//! A page of the vendor's list shows up to 100 orders, and the calls per minute are limited. The planner picks the call with the highest
//! worth (docs/decisions/2026-11-28-small-planner.md): the seconds since the last status check, summed over the orders that the call shows.

use std::time::Duration;

use jiff::Timestamp;

use crate::{
    order::{Order, OrderKey, Phase, Product, Schedule},
    page::{Page, UnderWay},
    time::{between, later},
};

/// Rows that a window is planned for: fewer than a page can show, because the row density is an estimate.
const PLANNED_ROWS: usize = 90;
/// Seconds without a check of a parked order that count as 1 s in flight: rechecks are hours apart, polls are seconds apart.
const PARKED_SECONDS: f64 = 3600.0;
/// A page that shows no due order must show at least this many others.
const MIN_ROWS_NONE_DUE: usize = 10;
/// The longest window in seconds: the row density of one page says little about a longer time.
const MAX_SECONDS: f64 = 7.0 * 24.0 * 3600.0;
/// Margin at both ends of a window: the vendor does not document whether its bounds are inclusive.
const EDGE: Duration = Duration::from_millis(50);
/// Assumed milliseconds between creation and tracking, in either direction, while fewer than 10 orders show the real value.
const UNKNOWN_LAG: i64 = 5000;
/// An order in flight comes first, whatever its worth, once it has been due for this much longer than the order that became due last. The
/// comparison is relative because in a backlog all orders have been due for long.
const OVERDUE_IN_FLIGHT: Duration = Duration::from_secs(15);
/// The same for a parked order.
const OVERDUE_PARKED: Duration = Duration::from_secs(15 * 60);

/// A product's list that may be requested now.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct List {
    /// Rows per second of creation time, orders that are not tracked here included; 0 while unknown.
    pub rows_per_second: f64,
    /// The last recheck page that showed its whole window. The next page starts where it ended.
    pub rechecked: Option<Page>,
}

/// An order that waits for a status check, with the fields that planning needs.
#[derive(Clone, Debug, PartialEq)]
pub struct Candidate {
    /// Product and id.
    pub key: OrderKey,
    /// The vendor's creation time; `None`: not known yet.
    pub created_at: Option<Timestamp>,
    /// When tracking began.
    pub tracked_at: Timestamp,
    /// When its last check was claimed, or when its phase began if that is later.
    pub last_check: Timestamp,
    /// When its retry schedule makes a check due. Before that, it is only checked along with other orders.
    pub due: Timestamp,
    /// Whether the list is expected to show it: no list check has missed it.
    pub listed: bool,
    /// Whether it is in flight (polled); otherwise it is parked (rechecked).
    pub in_flight: bool,
}

impl Candidate {
    /// The candidate for `order`; `None` if it is final.
    pub fn of(order: &Order, now: Timestamp, schedule: &Schedule) -> Option<Self> {
        let (Phase::InFlight { since } | Phase::Parked { since, .. }) = order.phase else { return None };
        Some(Self {
            key: order.key.clone(),
            created_at: order.facts.created_at.as_deref().and_then(|text| text.parse().ok()),
            tracked_at: order.tracked_at,
            last_check: order.asked_at.map_or(since, |asked| asked.max(since)).min(now),
            due: order.next_poll(now, schedule).or_else(|| order.next_check(now, schedule))?,
            listed: !order.unlisted,
            in_flight: matches!(order.phase, Phase::InFlight { .. }),
        })
    }

    /// The same candidate, never due and without worth: a page shows it if there is room, and no call is planned for it.
    #[must_use]
    pub fn along_with_others(self) -> Self {
        Self { due: Timestamp::MAX, last_check: Timestamp::MAX, ..self }
    }
}

/// A call to the vendor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Call {
    /// A check of one order by its id.
    Single(OrderKey),
    /// A page of a list.
    Page(Page),
}

/// The call to make next.
#[derive(Clone, Debug, PartialEq)]
pub struct Planned {
    /// The call.
    pub call: Call,
    /// Seconds since the last check, summed over the orders that the call was chosen for; 1 h of a parked order counts as 1 s.
    pub worth: f64,
    /// The candidates that the call shows, in order of creation time.
    pub covers: Vec<OrderKey>,
}

/// A candidate with the bounds of its creation time and the worth of a check.
struct Row<'a> {
    of: &'a Candidate,
    earliest: Timestamp,
    latest: Timestamp,
    worth: f64,
}

impl Row<'_> {
    fn is_on(&self, page: &Page) -> bool {
        let is_listed = self.of.listed && self.of.key.product == page.product;
        is_listed && page.from <= self.earliest && self.latest <= page.to
    }
}

/// Picks the call with the highest worth; `None`: nothing is due. `under_way`: pages that other processes have just requested.
/// `lists`: a product's list, `None` if it may not be requested.
pub fn plan(
    candidates: &[Candidate],
    under_way: &[UnderWay],
    lists: impl Fn(Product) -> Option<List>,
    now: Timestamp,
) -> Option<Planned> {
    let rows = Product::ALL.map(|product| rows(candidates, product, under_way, now));
    let due = || rows.iter().flatten().filter(|row| row.of.due <= now);
    let last_due = due().map(|row| row.of.due).max().unwrap_or(now);
    let timeout = |row: &Row<'_>| if row.of.in_flight { OVERDUE_IN_FLIGHT } else { OVERDUE_PARKED };
    let is_late = |row: &Row<'_>, times| between(row.of.due, last_due) > timeout(row) * times;
    // Ties go to the last candidate, as below: a poller puts its own order last.
    let late = due().filter(|row| is_late(row, 1)).rev().min_by_key(|row| row.of.due);
    let first = late.map(|row| &row.of.key);
    let single = due()
        .filter(|row| first.is_none_or(|first| *first == row.of.key))
        .max_by(|one, other| one.worth.total_cmp(&other.worth))
        .map(|row| (row.worth, row.of.key.clone()))
        .map(|(worth, key)| Planned { call: Call::Single(key.clone()), worth, covers: vec![key] });
    // Its page may never show it, so check it by id: in one second of four only, since pages clear a backlog faster.
    if late.is_some_and(|row| is_late(row, 2)) && now.as_second() % 4 == 0 {
        return single;
    }
    let page = |rows: &Vec<Row<'_>>| best_page(rows, lists(rows.first()?.of.key.product)?, first, now);
    let calls = rows.iter().map(page).chain([single]).flatten();
    calls.max_by(|one, other| one.worth.total_cmp(&other.worth))
}

/// The candidates of a product by creation time, without those that a page under way covers. An unknown creation time is estimated from
/// the delay between creation and tracking of the others: its middle four fifths, so that one late order does not widen all windows.
fn rows<'a>(all: &'a [Candidate], product: Product, under_way: &[UnderWay], now: Timestamp) -> Vec<Row<'a>> {
    let lag = |one: &Candidate| Some(one.tracked_at.as_millisecond() - one.created_at?.as_millisecond());
    let candidates = || all.iter().filter(|one| one.key.product == product);
    let mut lags: Vec<i64> = candidates().filter_map(lag).collect();
    lags.sort_unstable();
    let at = |tenths: usize| lags.get(lags.len() * tenths / 10).filter(|_| lags.len() >= 10);
    let least = at(1).map_or(-UNKNOWN_LAG, |lag| lag - 100);
    let most = at(9).map_or(UNKNOWN_LAG, |lag| lag + 100);
    let row = |of: &'a Candidate| {
        let before = |lag| Timestamp::from_millisecond(of.tracked_at.as_millisecond() - lag);
        let created = |lag| of.created_at.unwrap_or_else(|| before(lag).unwrap_or(of.tracked_at));
        let seconds = between(of.last_check, now).as_secs_f64();
        let worth = if of.in_flight { seconds } else { seconds / PARKED_SECONDS };
        Row { of, earliest: created(most), latest: created(least), worth }
    };
    let mut rows: Vec<_> = candidates().map(row).collect();
    rows.retain(|row| !under_way.iter().any(|asked| row.of.last_check < asked.at && row.is_on(&asked.page)));
    rows.sort_by_key(|row| row.earliest);
    rows
}

/// The page of a list with the highest worth, among those that show the order `first`. Each listed candidate starts one window, as long as
/// a page can hold. The first window that begins less than one page after the last recheck page is moved to where that page ended: windows
/// chosen by worth alone leave gaps, and each gap costs a call.
fn best_page(rows: &[Row<'_>], list: List, first: Option<&OrderKey>, now: Timestamp) -> Option<Planned> {
    let product = rows.first()?.of.key.product;
    let rows: Vec<_> = rows.iter().filter(|row| row.of.listed).collect();
    let length = Duration::from_secs_f64((PLANNED_ROWS as f64 / list.rows_per_second).min(MAX_SECONDS));
    let is_known = list.rows_per_second > 0.0;
    // The vendor's clock may be ahead of ours.
    let horizon = rows.iter().map(|row| later(row.latest, EDGE)).max()?.max(now);
    let end = |from| later(from, length).min(horizon);
    let window = |start: usize| {
        let from = rows.get(start)?.earliest.checked_sub(EDGE).ok()?;
        let page = Page { product, from, to: end(from) };
        let begun = rows.iter().skip(start).take_while(|row| row.earliest <= page.to);
        let shown: Vec<_> = begun.filter(|row| row.is_on(&page)).take(PLANNED_ROWS).collect();
        let is_full = shown.len() == PLANNED_ROWS || !is_known;
        let to = shown.iter().map(|row| row.latest).max()?;
        let page = if is_full { Page { to: later(to, EDGE), ..page } } else { page };
        let worth = shown.iter().map(|row| row.worth).sum::<f64>();
        let is_worth_it = shown.len() >= MIN_ROWS_NONE_DUE || shown.iter().any(|row| row.of.due <= now);
        let has_first = first.is_none_or(|first| shown.iter().any(|row| row.of.key == *first));
        (shown.len() > 1 && worth > 0.0 && is_worth_it && has_first).then_some((worth, page))
    };
    let windows: Vec<_> = (0..rows.len()).filter_map(window).collect();
    let last = list.rechecked.filter(|_| is_known);
    let beside = |page: &Page| last.map(|last| last.to).filter(|to| *to < page.from && page.from < end(*to));
    let moved = |(worth, page): &(f64, Page)| {
        let page = beside(page).map(|from| Page { from, to: end(from), ..*page })?;
        rows.iter().any(|row| row.is_on(&page)).then_some((*worth, page))
    };
    let best = || windows.iter().rev().max_by(|one, other| one.0.total_cmp(&other.0)).copied();
    let (worth, page) = windows.iter().find_map(moved).or_else(best)?;
    let covers = rows.iter().filter(|row| row.is_on(&page)).map(|row| row.of.key.clone()).collect();
    Some(Planned { call: Call::Page(page), worth, covers })
}

#[cfg(test)]
mod tests;
