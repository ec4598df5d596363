//! Checking many orders with one call: a single status check, or a list check of a window of creation times, whichever is worth most now.
//! Pure: no I/O, no clock, no chance.
//!
//! The vendor's lists show up to a hundred orders at once, and the key's calls are scarce. So a process that has a permit makes the call that
//! is worth most to all orders (docs/decisions/2026-11-28-small-planner.md): the seconds since their last status check of the orders that it
//! shows, added up.

use std::time::Duration;

use jiff::Timestamp;

use crate::{
    order::{Order, OrderKey, Phase, Product, Schedule},
    page::{Page, UnderWay},
    time::{between, later},
};

/// A window is planned for fewer rows than a page can show: how many there are is an estimate.
const PLANNED_ROWS: usize = 90;
/// Rechecks are hours apart where polls are seconds apart: an hour without a check counts for a parked order as a second does in flight.
const PARKED_SECONDS: f64 = 3600.0;
/// A page that shows no order that is due must show so many others: then it is as good as free.
const LEAST_FREE: usize = 10;
/// No window is longer than so many seconds: what a page told a moment ago says little of how many rows so long a time holds.
const MAX_SECONDS: f64 = 7.0 * 24.0 * 3600.0;
/// A window reaches so far beyond the creation times that it is about: whether the vendor's bounds are inclusive is not stated.
const EDGE: Duration = Duration::from_millis(50);
/// So many milliseconds before or after its creation an order was tracked, where fewer than ten orders tell how long that takes.
const UNKNOWN_LAG: i64 = 5000;
/// An order in flight comes first, whatever it is worth, if it is due for so much longer than the order that became due last: in a backlog
/// all are due for long.
const OVERDUE_IN_FLIGHT: Duration = Duration::from_secs(15);
/// The same for a parked order.
const OVERDUE_PARKED: Duration = Duration::from_secs(15 * 60);

/// What is known of a product's list that may be asked.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct List {
    /// How many orders a second of creation time holds, tracked by this tracker or not; 0 while that is not known.
    pub rows_per_second: f64,
    /// The last page of a recheck that showed its whole window: the next one lies beside it.
    pub rechecked: Option<Page>,
}

/// An order that awaits a status check, as far as planning needs it.
#[derive(Clone, Debug, PartialEq)]
pub struct Candidate {
    /// Which.
    pub key: OrderKey,
    /// When the vendor says it was created; `None`: it has not said so yet.
    pub created_at: Option<Timestamp>,
    /// When we were told of it.
    pub tracked_at: Timestamp,
    /// When its status was last asked for, or its phase began.
    pub last_check: Timestamp,
    /// When its own retry schedule wants a check: before that it is only checked along with others.
    pub due: Timestamp,
    /// Whether the list would show it: it has not been missed there.
    pub listed: bool,
    /// Whether it is polled; else it is rechecked.
    pub in_flight: bool,
}

impl Candidate {
    /// What planning needs of `order`; `None` if it is final.
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

    /// The same, but never due and worth nothing: a page shows it where there is room, and no call is made for it.
    #[must_use]
    pub fn along_with_others(self) -> Self {
        Self { due: Timestamp::MAX, last_check: Timestamp::MAX, ..self }
    }
}

/// What to ask the vendor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Call {
    /// One order, by its id.
    Single(OrderKey),
    /// A page of a list.
    Page(Page),
}

/// The call that is worth most.
#[derive(Clone, Debug, PartialEq)]
pub struct Planned {
    /// The call.
    pub call: Call,
    /// The seconds since their last check of the orders that it was chosen for, added up.
    pub worth: f64,
    /// The candidates that it shows, by creation time.
    pub covers: Vec<OrderKey>,
}

/// A candidate, between which moments it was created, and what a check of it is worth.
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

/// The call that is worth most to all `candidates`; `None`: there is nothing to ask. `under_way`: pages that others have just asked for;
/// `lists` tells of each product's list, `None` if it is not to be asked.
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
    // Of equals the last, as below: a poller plans its own order last.
    let late = due().filter(|row| is_late(row, 1)).rev().min_by_key(|row| row.of.due);
    let first = late.map(|row| &row.of.key);
    let single = due()
        .filter(|row| first.is_none_or(|first| *first == row.of.key))
        .max_by(|one, other| one.worth.total_cmp(&other.worth))
        .map(|row| (row.worth, row.of.key.clone()))
        .map(|(worth, key)| Planned { call: Call::Single(key.clone()), worth, covers: vec![key] });
    // Its page may have been made again and again without showing it. One call in four: if all orders are so late, pages are better.
    if late.is_some_and(|row| is_late(row, 2)) && now.as_second() % 4 == 0 {
        return single;
    }
    let page = |rows: &Vec<Row<'_>>| best_page(rows, lists(rows.first()?.of.key.product)?, first, now);
    let calls = rows.iter().map(page).chain([single]).flatten();
    calls.max_by(|one, other| one.worth.total_cmp(&other.worth))
}

/// The candidates of a product by creation time, but those that a page under way is to show. One whose creation time is not known yet was
/// created as long before it was tracked as the middle four fifths of the others: one that was tracked late does not widen all windows.
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

/// The page of a list that is worth most, of those that show the order that comes `first`. Each row that the list shows begins a
/// window as long as a page can show: what else lies there is shown for nothing. A recheck takes the first window that begins
/// less than a page after its last one, from where that one ended: the best ones lie anywhere, and leave gaps that take calls of their own.
fn best_page(rows: &[Row<'_>], list: List, first: Option<&OrderKey>, now: Timestamp) -> Option<Planned> {
    let product = rows.first()?.of.key.product;
    let rows: Vec<_> = rows.iter().filter(|row| row.of.listed).collect();
    let length = Duration::from_secs_f64((PLANNED_ROWS as f64 / list.rows_per_second).min(MAX_SECONDS));
    let is_known = list.rows_per_second > 0.0;
    // The vendor's clock may be ahead.
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
        let is_wanted = shown.len() >= LEAST_FREE || shown.iter().any(|row| row.of.due <= now);
        let has_first = first.is_none_or(|first| shown.iter().any(|row| row.of.key == *first));
        (shown.len() > 1 && worth > 0.0 && is_wanted && has_first).then_some((worth, page))
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
