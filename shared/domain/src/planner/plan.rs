//! Which call is worth most now: a single look, or a page of a list over a window of creation times.
//!
//! A call is worth the sum, over the orders that it shows, of the chance that they have ended since the last look: what the chance per
//! second at that age, times the time since then, comes to. That is about the number of outcomes that it brings to light.

use std::time::Duration;

use jiff::Timestamp;

use super::{Chances, parked_chance};
use crate::{
    order::{Order, OrderKey, Phase, Product, Schedule},
    time::between,
};

/// A page of a list shows so many orders at most (`pageSize`, vendor's page of the lists).
pub const MOST_ROWS: u32 = 100;
/// A window is planned for fewer rows: how many there are is an estimate.
const PLANNED_ROWS: f64 = 90.0;
/// So much of the product itself is added to the chance that it comes to: who has waited for long goes on gaining.
const UNBOUNDED: f64 = 0.25;
/// A call that is worth less than this is not made: everything was just looked at.
const LEAST_WORTH: f64 = 0.01;
/// A page must be worth so much more than the best single look, which costs less to read and shows more of its order.
const PAGE_OVER_SINGLE: f64 = 1.2;
/// A page that nobody's ladder wants must show so many orders: then it is as good as free.
const LEAST_FREE: usize = 10;
/// In a sweep, of the windows that are worth nearly as much as the best the earliest is taken: side by side they leave no gaps, where
/// the best ones would lie anywhere.
const NEARLY_BEST: f64 = 0.9;
/// No window is made longer than this only to fill its page.
const LONGEST_FILLED: Duration = Duration::from_secs(24 * 3600);
/// A window reaches so far beyond the creation times that it is about: whether the vendor's bounds are inclusive is not stated.
const EDGE: Duration = Duration::from_millis(50);
/// The same for an order whose creation time is not known yet, and is reckoned from when it was tracked.
const UNSEEN_EDGE: Duration = Duration::from_secs(5);
/// An order in flight that has waited so long beyond its time comes first, whatever it is worth.
const OVERDUE_IN_FLIGHT: Duration = Duration::from_secs(15);
/// The same for a parked one, beyond the one that is due last: who has waited as long as all others waits for his window.
const OVERDUE_PARKED: Duration = Duration::from_secs(15 * 60);

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
    /// How many orders were created in a second, as this page tells that was to show `total` and showed `shown`. Where it did not show all,
    /// windows are to be narrower, whatever its idea of a page is.
    pub fn rows_per_second(&self, shown: usize, total: u64, is_complete: bool) -> f64 {
        let crowd = if is_complete { 1.0 } else { f64::from(MOST_ROWS) / (shown.max(1) as f64) };
        total as f64 / self.seconds() * crowd.max(1.0)
    }

    /// Its length in seconds; never 0.
    pub fn seconds(&self) -> f64 {
        self.to.duration_since(self.from).as_secs_f64().max(0.001)
    }

    /// The same, as long as one page can show where so many orders are created in a second: what else lies there may be parked too. It
    /// begins where `last` ended, the page that was looked at before it, if that is less than a page away: what was left between them
    /// would take a call of its own.
    fn filled(self, rows_per_second: f64, last: Option<Page>, now: Timestamp) -> Self {
        if rows_per_second <= 0.0 {
            return self;
        }
        let length = Duration::try_from_secs_f64(PLANNED_ROWS / rows_per_second).unwrap_or_default();
        let length = length.min(LONGEST_FILLED);
        let end = |from: Timestamp| from.checked_add(length).unwrap_or(self.to).min(now);
        match last {
            Some(last) if last.product == self.product && last.to < self.from && self.from < end(last.to) => {
                Self { from: last.to, to: end(last.to), ..self }
            }
            _ => Self { to: self.to.max(end(self.from)), ..self },
        }
    }
}

/// A page that somebody asked for a moment ago: what it shows need not be asked again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnderWay {
    /// The page.
    pub page: Page,
    /// When it was asked for.
    pub at: Timestamp,
}

/// What is known of a product's list.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct List {
    /// Whether it may be asked at all.
    pub usable: bool,
    /// How many orders a second of creation time holds, everybody's; 0 while that is not known.
    pub rows_per_second: f64,
}

/// An order that awaits a look, as far as planning needs it.
#[derive(Clone, Debug, PartialEq)]
pub struct Waiting {
    /// Which.
    pub key: OrderKey,
    /// When the vendor says it was created; `None`: it has not said so yet.
    pub created_at: Option<Timestamp>,
    /// When we were told of it.
    pub tracked_at: Timestamp,
    /// When it was last looked at, or its age began.
    pub last_look: Timestamp,
    /// When its own ladder wants a look: before that it is only looked at along with others.
    pub due: Timestamp,
    /// Its chance to end, per second.
    pub chance: f64,
    /// Whether the list would show it: it has not been missed there.
    pub listed: bool,
    /// Whether it is polled; else it is rechecked.
    pub in_flight: bool,
}

impl Waiting {
    /// What planning needs of `order`; `None` if nobody has to look at it.
    pub fn of(order: &Order, chances: &Chances, now: Timestamp, schedule: &Schedule) -> Option<Self> {
        let (chance, since, in_flight) = match order.phase {
            Phase::InFlight { since } => (chances.per_second(between(since, now)), since, true),
            Phase::Parked { parked_as, since } => {
                (parked_chance(parked_as, between(since, now)), since, false)
            }
            Phase::Final { .. } => return None,
        };
        Some(Self {
            key: order.key.clone(),
            created_at: order.facts.created_at.as_deref().and_then(|text| text.parse().ok()),
            tracked_at: order.tracked_at,
            last_look: order.asked_at.map_or(since, |asked| asked.max(since)).min(now),
            due: order.next_poll(now, schedule).or_else(|| order.next_look(now, schedule))?,
            chance,
            listed: !order.unlisted,
            in_flight,
        })
    }

    /// The same, looked at only if a page that is worth its call without it has room for it: no call is made, and no window chosen, for
    /// its sake.
    #[must_use]
    pub fn along_with_others(self) -> Self {
        Self { due: Timestamp::MAX, chance: 0.0, ..self }
    }

    /// Whether it has waited for longer than anybody should; `last_due` is who became due last.
    fn is_overdue(&self, last_due: Timestamp, now: Timestamp) -> bool {
        if self.in_flight {
            between(self.due, now) > OVERDUE_IN_FLIGHT
        } else {
            between(self.due, last_due) > OVERDUE_PARKED
        }
    }

    /// What a look at it is worth. One that its ladder wants is always worth making, unless somebody is just `asking`.
    fn worth(&self, asking: Option<Timestamp>, now: Timestamp) -> f64 {
        let last_look = asking.map_or(self.last_look, |asked| asked.max(self.last_look));
        let expected = self.chance * between(last_look, now).as_secs_f64();
        let worth = 1.0 - (-expected).exp() + UNBOUNDED * expected;
        if asking.is_none() && self.due <= now { worth.max(LEAST_WORTH) } else { worth }
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
    /// About how many outcomes it brings to light.
    pub worth: f64,
    /// The orders that it is about, by their place in what was planned over.
    pub covers: Vec<usize>,
}

impl Planned {
    /// The same; a page of a sweep that is filled up to what one can show, and begins where `last` ended, the page that was looked at
    /// before it. `rows_per_second`: how many orders its list holds, 0 if that is not known. `waiting` is what was planned over.
    #[must_use]
    pub fn filled(
        self,
        rows_per_second: f64,
        last: Option<Page>,
        waiting: &[Waiting],
        now: Timestamp,
    ) -> Self {
        let Call::Page(planned) = self.call else { return self };
        let about = || self.covers.iter().filter_map(|index| waiting.get(*index));
        // Whoever is polled stays in the window that was chosen for him.
        let last = last.filter(|_| about().all(|one| !one.in_flight));
        let page = planned.filled(rows_per_second, last, now);
        let shows = |one: &Waiting| match one.created_at {
            Some(created) => page.from <= created && created <= page.to,
            None => page.from <= planned.from && planned.to <= page.to,
        };
        let covers = self.covers.into_iter().filter(|index| waiting.get(*index).is_some_and(shows)).collect();
        Self { call: Call::Page(page), covers, ..self }
    }
}

/// The call that is worth most of all who wait; `None`: none is worth making. `under_way` are pages that others have just asked
/// for; `lists` tells of each product's list.
pub fn plan(
    waiting: &[Waiting],
    under_way: &[UnderWay],
    lists: impl Fn(Product) -> List,
    now: Timestamp,
) -> Option<Planned> {
    let shown =
        [Product::Mobile, Product::Internet].map(|product| Shown::of(waiting, product, under_way, now));
    let all = || shown.iter().flat_map(|shown| shown.rows.iter().chain(&shown.alone));
    let last_due = waiting.iter().map(|one| one.due).filter(|due| *due <= now).max().unwrap_or(now);
    let first = all()
        .filter(|row| row.is_due && row.worth >= LEAST_WORTH)
        .filter_map(|row| {
            waiting.get(row.index).filter(|one| one.is_overdue(last_due, now)).map(|one| (one.due, row.index))
        })
        .min()
        .map(|(_, index)| index);
    let single = all()
        .filter(|row| row.is_due && first.is_none_or(|first| first == row.index))
        .max_by(|one, other| one.worth.total_cmp(&other.worth))
        .and_then(|row| {
            let key = waiting.get(row.index)?.key.clone();
            Some(Planned { call: Call::Single(key), worth: row.worth, covers: vec![row.index] })
        });
    let page = shown
        .iter()
        .filter_map(|shown| shown.best_page(lists(shown.product), first))
        .max_by(|one, other| one.worth.total_cmp(&other.worth));
    let best = match (single, page) {
        (Some(single), Some(page)) if page.worth > single.worth * PAGE_OVER_SINGLE => page,
        (Some(single), _) => single,
        (None, page) => page?,
    };
    (best.worth >= LEAST_WORTH).then_some(best)
}

/// The waiting orders of one product.
struct Shown {
    product: Product,
    /// Those that its list shows, by creation time.
    rows: Vec<Row>,
    /// Those that it does not.
    alone: Vec<Row>,
}

#[derive(Clone, Copy)]
struct Row {
    index: usize,
    /// Between these it was created.
    earliest: Timestamp,
    latest: Timestamp,
    worth: f64,
    is_due: bool,
    in_flight: bool,
}

/// Rows that one page can show, by their places.
#[derive(Clone, Copy)]
struct Window {
    first: usize,
    last: usize,
    worth: f64,
    /// Whether it is about one that is polled.
    in_flight: bool,
}

impl Window {
    /// The one that is worth most; where that is only about parked orders, the earliest of those that are worth nearly as much.
    fn choose(windows: &[Self]) -> Option<Self> {
        let by_worth = |one: &&Self, other: &&Self| one.worth.total_cmp(&other.worth);
        // Of equals the earliest.
        let best = windows.iter().rev().max_by(by_worth)?;
        if best.in_flight {
            return Some(*best);
        }
        let nearly = || windows.iter().filter(|one| one.worth >= best.worth * NEARLY_BEST);
        let earliest = nearly().map(|one| one.first).min()?;
        nearly().filter(|one| one.first == earliest).max_by(by_worth).copied()
    }
}

impl Shown {
    fn of(waiting: &[Waiting], product: Product, under_way: &[UnderWay], now: Timestamp) -> Self {
        let ours = || waiting.iter().enumerate().filter(|(_, one)| one.key.product == product);
        let lag = Lag::of(ours().map(|(_, one)| one));
        let row = |(index, one): (usize, &Waiting)| {
            let (earliest, latest) = match one.created_at {
                Some(created) => (created, created),
                None => lag.before(one.tracked_at),
            };
            let shown_by = |asked: &&UnderWay| {
                one.listed
                    && asked.page.product == product
                    && asked.page.from <= earliest
                    && latest <= asked.page.to
            };
            let asking = under_way.iter().filter(shown_by).map(|asked| asked.at).max();
            Row {
                index,
                earliest,
                latest,
                worth: one.worth(asking, now),
                is_due: one.due <= now,
                in_flight: one.in_flight,
            }
        };
        let (mut rows, mut alone) = (Vec::new(), Vec::new());
        for (index, one) in ours() {
            let row = row((index, one));
            if one.listed { rows.push(row) } else { alone.push(row) }
        }
        rows.sort_by_key(|row| row.earliest);
        Self { product, rows, alone }
    }

    /// The window that is worth most of those that fit on one page; with `must`, of those that show it.
    fn best_page(&self, list: List, must: Option<usize>) -> Option<Planned> {
        if !list.usable {
            return None;
        }
        let mut windows: Vec<Window> = Vec::new();
        let (mut first, mut worth, mut due, mut in_flight, mut must_at) = (0, 0.0, 0, 0, None);
        for (last, row) in self.rows.iter().enumerate() {
            worth += row.worth;
            due += usize::from(row.is_due);
            in_flight += usize::from(row.in_flight);
            if must == Some(row.index) {
                must_at = Some(last);
            }
            while let Some(head) = self.rows.get(first)
                && first < last
                && !self.fits(first, last, list)
            {
                worth -= head.worth;
                due -= usize::from(head.is_due);
                in_flight -= usize::from(head.in_flight);
                first += 1;
            }
            let shows_must = must.is_none() || must_at.is_some_and(|at| first <= at);
            let is_enough = due > 0 || last - first + 1 >= LEAST_FREE;
            if first < last && is_enough && shows_must {
                windows.push(Window { first, last, worth, in_flight: in_flight > 0 });
            }
        }
        let Window { first, last, worth, .. } = Window::choose(&windows)?;
        let rows = self.rows.get(first..=last)?;
        let page = self.page(rows)?;
        Some(Planned { call: Call::Page(page), worth, covers: rows.iter().map(|row| row.index).collect() })
    }

    fn fits(&self, first: usize, last: usize, list: List) -> bool {
        let Some(page) = self.rows.get(first..=last).and_then(|rows| self.page(rows)) else { return false };
        let rows = (list.rows_per_second * page.seconds()).max((last - first + 1) as f64);
        rows <= PLANNED_ROWS
    }

    fn page(&self, rows: &[Row]) -> Option<Page> {
        let from = rows.first()?.earliest.checked_sub(EDGE).ok()?;
        let latest = rows.iter().rev().take(10).map(|row| row.latest).max()?;
        Some(Page { product: self.product, from, to: latest.checked_add(EDGE).ok()? })
    }
}

/// How long after their creation orders were tracked: clocks differ, and so do shops.
struct Lag {
    least: i64,
    most: i64,
}

impl Lag {
    /// From the orders that have been seen; the middle four fifths of them, so that one that was tracked late does not widen all
    /// windows.
    fn of<'a>(waiting: impl Iterator<Item = &'a Waiting>) -> Self {
        let mut lags: Vec<i64> = waiting
            .filter_map(|one| Some(one.tracked_at.as_millisecond() - one.created_at?.as_millisecond()))
            .collect();
        lags.sort_unstable();
        let at = |tenths: usize| lags.get(lags.len() * tenths / 10).copied();
        let edge = i64::try_from(UNSEEN_EDGE.as_millis()).unwrap_or(i64::MAX);
        match (at(1), at(9)) {
            (Some(least), Some(most)) if lags.len() >= 10 => Self { least: least - 100, most: most + 100 },
            _ => Self { least: -edge, most: edge },
        }
    }

    /// Between these an order was created that was tracked then.
    fn before(&self, tracked_at: Timestamp) -> (Timestamp, Timestamp) {
        let moved =
            |lag: i64| Timestamp::from_millisecond(tracked_at.as_millisecond() - lag).unwrap_or(tracked_at);
        (moved(self.most), moved(self.least))
    }
}
