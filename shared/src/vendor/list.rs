//! A page of a list: a call, and the orders that it showed.

use http::StatusCode;
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{
    ShownOrder, Vendor, VendorError,
    client::{kept, unreadable},
    wire::{self, InternetOrder, MobileOrder},
};
use crate::{
    looks::{MOST_ROWS, Page},
    order::Product,
    secret::VendorKey,
};

/// A hundred rows, each of which may be as long as one order's answer is in practice; nothing longer than this is read to its end.
const MOST_BODY: usize = 4 * 1024 * 1024;
/// A row that was created so much before or after the window is none that was asked for: bounds may be taken to the second.
const SLACK_MILLIS: i64 = 2000;

/// What a page showed.
#[derive(Debug)]
pub struct Listing {
    /// The orders, in the vendor's order, which is not documented; less those that cannot be read.
    pub rows: Vec<ShownOrder>,
    /// Whether the window holds no more than was shown: then an order that is missing is not in it.
    pub complete: bool,
    /// How many orders the window holds, as the vendor says, or as many as were shown.
    pub total: u64,
    /// How many rows were created at another time than was asked for.
    pub outside: usize,
    /// `requestId`, if there was one.
    pub request_id: Option<String>,
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
            "{}/list?page=1&pageSize={MOST_ROWS}&from={}&to={}",
            page.product,
            time(page.from),
            time(page.to)
        );
        let answer = self.get(token, &path, MOST_BODY).await?;
        match answer.status() {
            StatusCode::OK => read_list(page, answer.body()),
            // "Not found" is no answer to a list.
            refused => {
                match super::classify(refused, super::client::retry_after(answer.headers()), answer.body()) {
                    Ok(_) => {
                        Err(VendorError::Rejected { http: refused.as_u16(), code: "NOT_FOUND".to_owned() })
                    }
                    Err(error) => Err(error),
                }
            }
        }
    }
}

/// Both products' shapes: `data.items` with `data.pagination`, or `data.topups` with `meta.pagination`.
#[derive(Deserialize)]
struct List<'a> {
    success: Option<bool>,
    #[serde(borrow)]
    data: Option<Rows<'a>>,
    meta: Option<Meta>,
    #[serde(rename = "requestId")]
    request_id: Option<String>,
}

#[derive(Deserialize)]
struct Rows<'a> {
    #[serde(borrow, alias = "topups")]
    items: Option<Vec<&'a RawValue>>,
    pagination: Option<Pagination>,
}

#[derive(Deserialize)]
struct Meta {
    pagination: Option<Pagination>,
}

#[derive(Deserialize)]
struct Pagination {
    #[serde(rename = "totalResults", alias = "totalItems")]
    total: Option<u64>,
    #[serde(rename = "hasNextPage")]
    has_next_page: Option<bool>,
}

/// Reads the body of a 200. A row that cannot be read is left out: its order is then looked at by its id.
///
/// # Errors
/// [`VendorError::Unreadable`]: it has another form.
pub fn read_list(page: &Page, body: &[u8]) -> Result<Listing, VendorError> {
    let list: List<'_> = wire::read(body)?;
    if list.success == Some(false) {
        return Err(unreadable("success", "false, with HTTP 200"));
    }
    let data = list.data.ok_or_else(|| unreadable("data", "missing"))?;
    let items = data.items.ok_or_else(|| unreadable("data.items", "missing"))?;
    let pagination = data.pagination.or(list.meta.and_then(|meta| meta.pagination));
    let shown = items.len() as u64;
    let total = pagination.as_ref().and_then(|pagination| pagination.total);
    let more = pagination.and_then(|pagination| pagination.has_next_page) == Some(true);
    // Without a total, a full page may have another after it.
    let complete = !more && total.map_or(shown < u64::from(MOST_ROWS), |total| total <= shown);
    let rows: Vec<ShownOrder> =
        items.into_iter().filter_map(|item| read_row(page.product, item.get())).collect();
    let outside = rows.iter().filter(|row| !is_within(page, row)).count();
    Ok(Listing {
        rows,
        complete,
        total: total.unwrap_or(shown).max(shown),
        outside,
        request_id: list.request_id,
    })
}

fn read_row(product: Product, text: &str) -> Option<ShownOrder> {
    let row: Result<ShownOrder, VendorError> = match product {
        Product::Mobile => wire::read::<MobileOrder>(text.as_bytes()).map(Into::into),
        Product::Internet => wire::read::<InternetOrder>(text.as_bytes()).map(Into::into),
    };
    let row = row
        .and_then(kept)
        .inspect_err(|error| tracing::warn!(%product, %error, "a row of a list is left out"));
    let mut row = row.ok()?;
    // It differs from `check-id`'s for the same refund: what that says is kept.
    row.facts.balance_amount = None;
    row.id.is_some().then_some(row)
}

/// Whether a row was created when it was asked for; one that does not say so counts as if.
fn is_within(page: &Page, row: &ShownOrder) -> bool {
    let created: Option<Timestamp> = row.facts.created_at.as_deref().and_then(|text| text.parse().ok());
    created.is_none_or(|created| {
        let created = created.as_millisecond();
        (page.from.as_millisecond() - SLACK_MILLIS..=page.to.as_millisecond() + SLACK_MILLIS)
            .contains(&created)
    })
}

#[cfg(test)]
mod tests;
