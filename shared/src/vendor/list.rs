//! A page of a list: a call, and the orders that it showed.

use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};

use http::StatusCode;
use jiff::Timestamp;
use secrecy::ExposeSecret;
use serde_json::value::RawValue;

use super::{
    Oddities, Vendor, VendorError, VendorOrder,
    client::retry_after,
    envelope::{self, Envelope, Head, Opened},
    json::{Object, kind, text_of},
    order,
};
use crate::{
    order::{OrderId, Product},
    page::{MAX_ROWS, Page},
    secret::VendorKey,
};

/// A hundred rows, each of which may be as long as one order's answer is in practice; nothing longer than this is read to its end.
const MAX_BODY: usize = 4 * 1024 * 1024;
/// A row that was created so much before or after the window is none that was asked for: bounds may be taken to the second.
const SLACK_MILLIS: i64 = 2000;

/// What a page showed.
#[derive(Debug)]
pub struct Listing {
    /// The orders, each once, in the vendor's order (newest first, says the Arabic page of the mobile list); less those that cannot be read.
    pub rows: Vec<VendorOrder>,
    /// Whether the window holds no more than was shown: then an order that is missing is not in it.
    pub complete: bool,
    /// How many orders the window holds, as the vendor says, or as many as were shown.
    pub total: u64,
    /// How many rows were created at another time than was asked for.
    pub outside: usize,
    /// `requestId`, if there was one.
    pub request_id: Option<String>,
    /// Fields and rows that could not be taken as they came.
    pub odd: Oddities,
}

impl Vendor {
    /// `GET /{product}/list`: the first page of the window, one call, no repeat. There is no second page: windows are chosen so that one
    /// is enough, since rows move from page to page while orders come in.
    ///
    /// # Errors
    /// See [`VendorError`].
    pub async fn list(&self, token: &VendorKey, page: &Page) -> Result<Listing, VendorError> {
        let time = |moment: Timestamp| format!("{moment:.3}");
        let path = format!(
            "{}/list?page=1&pageSize={MAX_ROWS}&from={}&to={}",
            page.product,
            time(page.from),
            time(page.to)
        );
        let answer = self.get(token, &path, MAX_BODY).await?;
        read_list(page, answer.status(), retry_after(answer.headers()), answer.body())
    }
}

/// Reads the answer to a page. A row that cannot be read is left out: its order is then checked by its id.
///
/// # Errors
/// See [`VendorError`]. "Not found" is no answer to a list.
pub fn read_list(
    page: &Page,
    http: StatusCode,
    retry_after: Option<Duration>,
    body: &[u8],
) -> Result<Listing, VendorError> {
    let text = text_of(body);
    let mut odd = Oddities::default();
    let envelope = match envelope::open(&Head { http, retry_after }, &text, &mut odd)? {
        Opened::Data(envelope) => envelope,
        Opened::UnknownOrder { .. } => {
            return Err(VendorError::Rejected { http: http.as_u16(), code: "NOT_FOUND".to_owned() });
        }
    };
    let data = envelope.data()?;
    // Its own documented name for the rows, or that of another product: none means anything else in any list.
    let own = page.product.rules().list_rows;
    let (name, items) = [own]
        .into_iter()
        .chain(Product::ALL.map(|product| product.rules().list_rows))
        .find_map(|name| Some((name, data.array(name, &mut odd)?)))
        .ok_or_else(|| VendorError::unreadable(&data.path_of(own), "no array"))?;
    let shown = items.len() as u64;
    let pages = Pagination::read(&data, &envelope, &mut odd);
    let path = data.path_of(name);
    let rows = read_rows(page.product, &path, &items, &mut odd);
    let outside = rows.iter().filter(|row| !is_within(page, row)).count();
    Ok(Listing {
        rows,
        complete: pages.complete(shown),
        total: pages.total.unwrap_or(shown).max(shown),
        outside,
        request_id: envelope.request_id,
        odd,
    })
}

/// `data.pagination` (mobile) or `meta.pagination` (internet), as far as it can be read.
#[derive(Default)]
struct Pagination {
    total: Option<u64>,
    page_size: Option<u64>,
    has_next_page: Option<bool>,
}

impl Pagination {
    fn read(data: &Object<'_>, envelope: &Envelope<'_>, odd: &mut Oddities) -> Self {
        let name = "pagination";
        let of_data = data.object(name, odd);
        let Some(pages) = of_data.or_else(|| envelope.meta(odd)?.object(name, odd)) else {
            return Self::default();
        };
        let totals = ["totalResults", "totalItems"].map(|name| pages.count(name, odd));
        Self {
            // Where they differ, the page may be one of several.
            total: totals.into_iter().flatten().max(),
            page_size: pages.count("pageSize", odd),
            has_next_page: pages.flag("hasNextPage", odd),
        }
    }

    /// Whether a page of `shown` rows holds all that there is in its window.
    fn complete(&self, shown: u64) -> bool {
        let asked = u64::from(MAX_ROWS);
        let page_size = self.page_size.filter(|size| (1..=asked).contains(size)).unwrap_or(asked);
        match (self.has_next_page, self.total) {
            (Some(true), _) => false,
            (_, Some(total)) if total <= shown => true,
            // A page that is not even half full has nothing behind it: this total is not of the window that was asked for.
            (_, Some(_)) => shown * 2 < page_size,
            // Without a total, a full page may have another after it.
            (_, None) => shown < page_size,
        }
    }
}

/// The rows that can be read, each order once; rows of one order that contradict each other count as none.
fn read_rows(product: Product, path: &str, items: &[&RawValue], odd: &mut Oddities) -> Vec<VendorOrder> {
    let mut rows: Vec<VendorOrder> = Vec::with_capacity(items.len());
    let mut places: HashMap<OrderId, usize> = HashMap::with_capacity(items.len());
    let mut contradicted: HashSet<OrderId> = HashSet::new();
    for (index, item) in items.iter().enumerate() {
        let path = format!("{path}[{index}]");
        let Some(object) = Object::at(path.clone(), item) else {
            odd.note(&path, kind(item));
            continue;
        };
        let mut row = match order::read(product, &object, odd) {
            Ok(row) => row,
            Err(VendorError::Unreadable { path, what }) => {
                odd.note(&path, &what);
                continue;
            }
            Err(error) => {
                odd.note(&path, error.name());
                continue;
            }
        };
        // It differs from `check-id`'s for the same refund: what that says is kept.
        row.facts.balance_amount = None;
        match places.get(&row.id).and_then(|place| rows.get(*place)) {
            None => {
                places.insert(row.id.clone(), rows.len());
                rows.push(row);
            }
            Some(first) if contradicts(first, &row) => {
                odd.note(&path, "contradicts another row of its order");
                contradicted.insert(row.id);
            }
            Some(_) => {}
        }
    }
    rows.retain(|row| !contradicted.contains(&row.id));
    rows
}

fn contradicts(one: &VendorOrder, other: &VendorOrder) -> bool {
    let code = |row: &VendorOrder| row.card_code.as_ref().map(|code| code.expose_secret().to_owned());
    one.facts.status != other.facts.status || code(one) != code(other)
}

/// Whether a row was created when it was asked for; one that does not say so counts as if.
fn is_within(page: &Page, row: &VendorOrder) -> bool {
    let created: Option<Timestamp> = row.facts.created_at.as_deref().and_then(|text| text.parse().ok());
    created.is_none_or(|created| {
        let created = created.as_millisecond();
        (page.from.as_millisecond() - SLACK_MILLIS..=page.to.as_millisecond() + SLACK_MILLIS)
            .contains(&created)
    })
}

#[cfg(test)]
mod tests;
