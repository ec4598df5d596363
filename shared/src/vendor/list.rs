//! Calls to the vendor for a page of a list.

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
    envelope::{self, Envelope, Head, Opened},
    json::{Object, kind, text_of},
    order,
};
use crate::{
    http::retry_after,
    order::{OrderId, Product},
    page::{MAX_ROWS, Page},
    secret::VendorKey,
};

/// Limit of a body, in bytes: 100 rows of up to 40 KiB. A longer body is not read to its end.
const MAX_BODY: usize = 4 * 1024 * 1024;
/// Tolerance for a row's creation time outside the window, in milliseconds: the vendor may round the bounds to
/// seconds.
const SLACK_MILLIS: i64 = 2000;

/// A page of a list.
#[derive(Debug)]
pub struct Listing {
    /// The readable orders, each once, in the vendor's order (newest first, by the Arabic page of the mobile list).
    pub rows: Vec<VendorOrder>,
    /// Whether the page shows all orders of the window, so that a missing order is not in the window.
    pub complete: bool,
    /// The same, told by all that the vendor says of its pages. It can be false where `complete` takes a total for that of another window.
    pub whole: bool,
    /// Rows that could not be read, and orders whose rows contradict each other. They are not in `rows`.
    pub left_out: usize,
    /// Number of orders in the window, as the vendor says; at least the number shown.
    pub total: u64,
    /// Number of rows created outside the window.
    pub outside: usize,
    /// `requestId`, if there was one.
    pub request_id: Option<String>,
    /// Fields and rows that could not be read as documented.
    pub odd: Oddities,
}

impl Vendor {
    /// `GET /{product}/list`: requests the first page of a window, in one call. Windows are chosen so that one page
    /// is enough: rows move between pages while orders come in.
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

/// Reads the answer to a page. Unreadable rows are left out: their orders are checked by id.
///
/// # Errors
/// See [`VendorError`]. "Not found" is [`VendorError::Rejected`] here.
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
    // The product's documented name for the rows, else another product's: neither has another meaning in any list.
    let own = page.product.rules().list_rows;
    let (name, items) = [own]
        .into_iter()
        .chain(Product::ALL.map(|product| product.rules().list_rows))
        .find_map(|name| Some((name, data.array(name, &mut odd)?)))
        .ok_or_else(|| VendorError::unreadable(&data.path_of(own), "not an array"))?;
    let shown = items.len() as u64;
    let pages = Pagination::read(&data, &envelope, &mut odd);
    let path = data.path_of(name);
    let (rows, left_out) = read_rows(page.product, &path, &items, &mut odd);
    let outside = rows.iter().filter(|row| !is_within(page, row)).count();
    Ok(Listing {
        rows,
        complete: pages.complete(shown),
        whole: pages.complete(shown) && pages.whole(shown),
        left_out,
        total: pages.total.unwrap_or(shown).max(shown),
        outside,
        request_id: envelope.request_id,
        odd,
    })
}

/// The readable fields of `data.pagination` (mobile) or `meta.pagination` (internet).
#[derive(Default)]
struct Pagination {
    total: Option<u64>,
    total_pages: Option<u64>,
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
            // If they differ, the larger one: the page may be one of several.
            total: totals.into_iter().flatten().max(),
            total_pages: pages.count("totalPages", odd),
            page_size: pages.count("pageSize", odd),
            has_next_page: pages.flag("hasNextPage", odd),
        }
    }

    /// Whether a page of `shown` rows shows the whole window.
    fn complete(&self, shown: u64) -> bool {
        let asked = u64::from(MAX_ROWS);
        let page_size = self.page_size.filter(|size| (1..=asked).contains(size)).unwrap_or(asked);
        match (self.has_next_page, self.total) {
            (Some(true), _) => false,
            (_, Some(total)) if total <= shown => true,
            // A page that is less than half full is the only one: its total ignores the window.
            (_, Some(_)) => shown * 2 < page_size,
            // Without a total, a full page may be followed by another.
            (_, None) => shown < page_size,
        }
    }

    /// Whether nothing that the vendor says of its pages tells of more than `shown` rows.
    fn whole(&self, shown: u64) -> bool {
        let has_more =
            self.total.is_some_and(|total| total > shown) || self.total_pages.is_some_and(|pages| pages > 1);
        !has_more
    }
}

/// The readable rows, each order once, and how many rows or orders with contradicting rows were left out.
fn read_rows(
    product: Product,
    path: &str,
    items: &[&RawValue],
    odd: &mut Oddities,
) -> (Vec<VendorOrder>, usize) {
    let mut left_out = 0;
    let mut rows: Vec<VendorOrder> = Vec::with_capacity(items.len());
    let mut places: HashMap<OrderId, usize> = HashMap::with_capacity(items.len());
    let mut contradicted: HashSet<OrderId> = HashSet::new();
    for (index, item) in items.iter().enumerate() {
        let path = format!("{path}[{index}]");
        let Some(object) = Object::at(path.clone(), item) else {
            odd.note(&path, kind(item));
            left_out += 1;
            continue;
        };
        let mut row = match order::read(product, &object, odd) {
            Ok(row) => row,
            Err(VendorError::Unreadable { path, what }) => {
                odd.note(&path, &what);
                left_out += 1;
                continue;
            }
            Err(error) => {
                odd.note(&path, error.name());
                left_out += 1;
                continue;
            }
        };
        // For a refund it differs from the value of `check-id`, which is kept.
        row.facts.balance_amount = None;
        match places.get(&row.id).and_then(|place| rows.get(*place)) {
            None => {
                places.insert(row.id.clone(), rows.len());
                rows.push(row);
            }
            Some(first) if contradicts(first, &row) => {
                odd.note(&path, "contradicts another row of the order");
                contradicted.insert(row.id);
            }
            Some(_) => {}
        }
    }
    rows.retain(|row| !contradicted.contains(&row.id));
    (rows, left_out + contradicted.len())
}

fn contradicts(one: &VendorOrder, other: &VendorOrder) -> bool {
    let code = |row: &VendorOrder| row.card_code.as_ref().map(|code| code.expose_secret().to_owned());
    one.facts.status != other.facts.status || code(one) != code(other)
}

/// Whether a row was created within the window; true without a readable `created_at`.
pub(crate) fn is_within(page: &Page, row: &VendorOrder) -> bool {
    let created: Option<Timestamp> = row.facts.created_at.as_deref().and_then(|text| text.parse().ok());
    created.is_none_or(|created| {
        let created = created.as_millisecond();
        (page.from.as_millisecond() - SLACK_MILLIS..=page.to.as_millisecond() + SLACK_MILLIS)
            .contains(&created)
    })
}

#[cfg(test)]
mod tests;
