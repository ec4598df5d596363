//! The list endpoints: which orders they return, in which order and in which of the two shapes.

use std::collections::{BTreeMap, HashSet};

use axum::extract::Query;
use axum::http::{StatusCode, Uri};
use jiff::{RoundMode, Timestamp, TimestampRound, Unit};
use serde::{Deserialize, Serialize};

use crate::fields::Fields;
use crate::numbers::Product;
use crate::order::Order;
use crate::reply::{Envelope, Reply};
use crate::sandbox::Sandbox;

const PAGE_SIZE: usize = 20;
const LARGEST_PAGE: usize = 100;

/// All orders by product and creation time: a query costs only what is in its window.
#[derive(Default)]
pub(crate) struct Index(BTreeMap<(Product, Timestamp, usize), Entry>);

struct Entry {
    id: String,
    visible_at: Timestamp,
}

impl Index {
    /// Among orders of the same time the one added later is newer.
    pub(crate) fn add(&mut self, order: &Order) {
        let entry = Entry { id: order.id.clone(), visible_at: order.visible_at() };
        self.0.insert((order.product, as_shown(order.sent_at), self.0.len()), entry);
    }

    /// The orders of a window from oldest to newest; both ends inclusive.
    fn within(&self, product: Product, window: Window) -> impl DoubleEndedIterator<Item = &Entry> {
        let Window { from, to } = window;
        // `range` panics if its end is before its start.
        let range = (from <= to).then(|| self.0.range((product, from, 0)..=(product, to, usize::MAX)));
        range.into_iter().flatten().map(|(_, entry)| entry)
    }
}

/// `created_at` has milliseconds: window bounds compare with the time as shown.
fn as_shown(at: Timestamp) -> Timestamp {
    let whole = TimestampRound::new().smallest(Unit::Millisecond).mode(RoundMode::Floor);
    at.round(whole).unwrap_or(at)
}

/// A range of creation times, both ends inclusive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Window {
    from: Timestamp,
    to: Timestamp,
}

/// Behaviour of the lists that the vendor's documentation leaves open; tests can change it.
#[derive(Default)]
pub(crate) struct Lists {
    order: RowOrder,
    compares: Compares,
    /// Ids of orders that the lists leave out.
    hides: HashSet<String>,
}

/// The order of the rows.
#[derive(Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum RowOrder {
    #[default]
    Newest,
    Oldest,
    /// Random at every call.
    Shuffled,
}

/// How `from` and `to` are compared.
#[derive(Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Compares {
    #[default]
    CreatedAt,
    /// Only their UTC days.
    Day,
    Nothing,
}

/// A change of the lists' behaviour; missing members stay as they are.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Change {
    order: Option<RowOrder>,
    compares: Option<Compares>,
    hides: Option<HashSet<String>>,
}

impl Lists {
    pub(crate) fn change(&mut self, change: Change) {
        self.order = change.order.unwrap_or(self.order);
        self.compares = change.compares.unwrap_or(self.compares);
        if let Some(hides) = change.hides {
            self.hides = hides;
        }
    }

    fn find<'a>(&self, index: &'a Index, product: Product, asked: &Asked, now: Timestamp) -> Found<'a> {
        let window = self.compares.window(asked.from, asked.to);
        let listed = |entry: &&Entry| entry.visible_at <= now && !self.hides.contains(&entry.id);
        let entries = index.within(product, window).filter(listed).map(|entry| entry.id.as_str());
        match self.order {
            RowOrder::Newest => asked.cut_out(entries.rev()),
            RowOrder::Oldest => asked.cut_out(entries),
            RowOrder::Shuffled => {
                let mut entries: Vec<&str> = entries.collect();
                fastrand::shuffle(&mut entries);
                asked.cut_out(entries.into_iter())
            }
        }
    }
}

impl Compares {
    fn window(self, from: Option<Timestamp>, to: Option<Timestamp>) -> Window {
        const DAY: i64 = 24 * 60 * 60;
        let midnight = |at: Timestamp| at.as_second().div_euclid(DAY) * DAY;
        let start = |at| Timestamp::from_second(midnight(at)).unwrap_or(Timestamp::MIN);
        let end = |at| Timestamp::new(midnight(at) + DAY - 1, 999_999_999).unwrap_or(Timestamp::MAX);
        let (from, to) = match self {
            Self::CreatedAt => (from, to),
            Self::Day => (from.map(start), to.map(end)),
            Self::Nothing => (None, None),
        };
        Window { from: from.unwrap_or(Timestamp::MIN), to: to.unwrap_or(Timestamp::MAX) }
    }
}

/// The query string. Unknown parameters are ignored.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Written {
    page: Option<String>,
    page_size: Option<String>,
    from: Option<String>,
    to: Option<String>,
}

struct Asked {
    page: usize,
    size: usize,
    from: Option<Timestamp>,
    to: Option<Timestamp>,
}

struct Found<'a> {
    ids: Vec<&'a str>,
    total: usize,
}

impl Asked {
    fn of(uri: &Uri) -> Result<Self, &'static str> {
        let Query(written) = Query::<Written>::try_from_uri(uri).map_err(|_| "The query is invalid")?;
        let page = number(written.page, 1).filter(|page| *page > 0);
        let size = number(written.page_size, PAGE_SIZE).filter(|size| (1..=LARGEST_PAGE).contains(size));
        Ok(Self {
            page: page.ok_or("page must be a number from 1")?,
            size: size.ok_or("pageSize must be a number from 1 to 100")?,
            from: time(written.from).map_err(|_| "from must be an RFC 3339 time")?,
            to: time(written.to).map_err(|_| "to must be an RFC 3339 time")?,
        })
    }

    /// The requested page of all matching orders.
    fn cut_out<'a>(&self, all: impl Iterator<Item = &'a str>) -> Found<'a> {
        let before = (self.page - 1).saturating_mul(self.size);
        let mut found = Found { ids: Vec::new(), total: 0 };
        for id in all {
            if found.total >= before && found.ids.len() < self.size {
                found.ids.push(id);
            }
            found.total += 1;
        }
        found
    }
}

fn number(written: Option<String>, usual: usize) -> Option<usize> {
    written.map_or(Some(usual), |text| text.parse().ok())
}

fn time(written: Option<String>) -> Result<Option<Timestamp>, jiff::Error> {
    written.map(|text| text.parse()).transpose()
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Items {
    items: Vec<Fields>,
    pagination: MobilePages,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct MobilePages {
    page: usize,
    page_size: usize,
    total_pages: usize,
    total_results: usize,
}

#[derive(Serialize)]
struct TopUps {
    topups: Vec<Fields>,
}

#[derive(Serialize)]
struct InternetMeta {
    pagination: InternetPages,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct InternetPages {
    current_page: usize,
    total_pages: usize,
    total_items: usize,
    has_next_page: bool,
}

impl Sandbox {
    /// A page of a product's orders in the product's shape.
    pub(crate) fn list(&self, product: Product, uri: &Uri, envelope: Envelope) -> Reply {
        let asked = match Asked::of(uri) {
            Ok(asked) => asked,
            Err(message) => return envelope.failure(StatusCode::BAD_REQUEST, "ERR_VALIDATION", message),
        };
        let (rows, total) = {
            let state = self.state();
            let found = state.lists.find(&state.index, product, &asked, envelope.now);
            let row = |id: &str| state.orders.get(id)?.listed(envelope.now);
            (found.ids.into_iter().filter_map(row).collect::<Vec<_>>(), found.total)
        };
        let (count, page, total_pages) = (rows.len(), asked.page, total.div_ceil(asked.size));
        let reply = match product {
            Product::Mobile => {
                let pagination =
                    MobilePages { page, page_size: asked.size, total_pages, total_results: total };
                envelope.success("listed", Items { items: rows, pagination })
            }
            Product::Internet => {
                let pagination = InternetPages {
                    current_page: page,
                    total_pages,
                    total_items: total,
                    has_next_page: page < total_pages,
                };
                envelope.success_with(Some(InternetMeta { pagination }), "listed", TopUps { topups: rows })
            }
        };
        reply.listing(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn window_bounds_follow_the_comparison() {
        let (from, to) = (at("2026-03-01T13:00:00+01:00"), at("2026-03-02T00:00:00.5Z"));
        for (compares, start, end) in [
            (Compares::CreatedAt, from, to),
            (Compares::Day, at("2026-03-01T00:00:00Z"), at("2026-03-02T23:59:59.999999999Z")),
            (Compares::Nothing, Timestamp::MIN, Timestamp::MAX),
        ] {
            assert_eq!(compares.window(Some(from), Some(to)), Window { from: start, to: end });
        }
        let open = Window { from: Timestamp::MIN, to: Timestamp::MAX };
        assert_eq!(Compares::CreatedAt.window(None, None), open);
        assert_eq!(Compares::Day.window(Some(Timestamp::MIN), Some(Timestamp::MAX)), open);
    }

    #[test]
    fn times_are_compared_with_millisecond_precision() {
        let sent = at("2026-03-01T00:00:00.123999Z");
        assert_eq!(as_shown(sent), at(&crate::clock::text(sent)));
    }
}
