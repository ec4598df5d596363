use secrecy::ExposeSecret;

use super::*;
use crate::order::{Amount, VendorStatus};

fn read_list(page: &Page, body: &[u8]) -> Result<Listing, VendorError> {
    super::read_list(page, StatusCode::OK, None, body)
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_760_000_000 + second).unwrap()
}

fn page(product: Product) -> Page {
    Page { product, from: at(0), to: at(60) }
}

fn row(id: &str, second: i64, more: &str) -> String {
    format!(r#"{{"_id":"{id}","status":"FULFILLED","created_at":"{}"{more}}}"#, at(second))
}

fn mobile(rows: &[String], total: &str) -> String {
    let rows = rows.join(",");
    format!(
        r#"{{"success":true,"data":{{"items":[{rows}],"pagination":{{"page":1,"pageSize":100{total}}}}},"requestId":"r"}}"#
    )
}

fn internet(rows: &[String], pagination: &str) -> String {
    let rows = rows.join(",");
    format!(r#"{{"success":true,"data":{{"topups":[{rows}]}},"meta":{{"pagination":{{{pagination}}}}}}}"#)
}

#[test]
fn lists_of_both_products_are_read() {
    let rows = [row("a", 1, r#","balance_amount":0,"topup_amount":500,"new":{"x":1}"#), row("b", 2, "")];
    let listing =
        read_list(&page(Product::Mobile), mobile(&rows, r#","totalPages":1,"totalResults":2"#).as_bytes())
            .unwrap();
    assert_eq!(
        (listing.complete, listing.total, listing.outside, listing.request_id.as_deref()),
        (true, 2, 0, Some("r"))
    );
    let first = &listing.rows[0];
    assert_eq!((first.id.as_str(), &first.facts.status), ("a", &Some(VendorStatus::Fulfilled)));
    assert_eq!(first.facts.topup_amount, Amount::parse("500"));
    assert_eq!(first.facts.balance_amount, None, "balance_amount of a list is not kept");

    let rows = [row("c", 3, r#","card_code":"4242-1111","num_trans":"AT-1""#)];
    let listing = read_list(
        &page(Product::Internet),
        internet(&rows, r#""totalItems":1,"hasNextPage":false"#).as_bytes(),
    )
    .unwrap();
    assert!(listing.complete);
    assert_eq!(listing.rows[0].card_code.as_ref().unwrap().expose_secret(), "4242-1111");
    assert!(!format!("{listing:?}").contains("4242"), "a card code is never printed");
}

#[test]
fn a_page_is_complete_only_if_it_shows_the_whole_window() {
    let rows = [row("a", 1, "")];
    let full: Vec<String> = (0..100).map(|index| row(&index.to_string(), 1, "")).collect();
    for (product, body, complete, whole, total) in [
        (Product::Mobile, mobile(&rows, r#","totalResults":1"#), true, true, 1),
        (Product::Mobile, mobile(&full, r#","totalResults":250"#), false, false, 250),
        (Product::Mobile, mobile(&full, r#","totalResults":100"#), true, true, 100),
        (Product::Mobile, mobile(&rows, r#","totalResults":"1""#), true, true, 1),
        // A vendor with smaller pages than requested.
        (Product::Mobile, mobile(&full[..60], r#","totalResults":180"#), false, false, 180),
        // A total that ignores the window.
        (Product::Mobile, mobile(&rows, r#","totalResults":50000"#), true, false, 50_000),
        (Product::Mobile, mobile(&rows, r#","totalResults":1,"totalItems":"1""#), true, true, 1),
        (Product::Mobile, mobile(&rows, r#","totalResults":{},"totalItems":null"#), true, true, 1),
        // Pages that tell of more than they show.
        (Product::Mobile, mobile(&[], r#","totalResults":500"#), true, false, 500),
        (Product::Mobile, mobile(&rows, r#","totalResults":1,"totalPages":2"#), true, false, 1),
        (Product::Internet, internet(&rows, r#""totalPages":"3","hasNextPage":false"#), true, false, 1),
        (Product::Mobile, mobile(&rows, r#","totalResults":1,"totalPages":0"#), true, true, 1),
        (Product::Mobile, mobile(&rows, ""), true, true, 1),
        (Product::Mobile, mobile(&full, ""), false, false, 100),
        (Product::Mobile, mobile(&[], r#","totalResults":0"#), true, true, 0),
        (Product::Internet, internet(&rows, r#""totalItems":1,"hasNextPage":true"#), false, false, 1),
        (Product::Internet, internet(&rows, r#""hasNextPage":false"#), true, true, 1),
        (Product::Internet, internet(&rows, r#""hasNextPage":"true""#), false, false, 1),
        (Product::Internet, internet(&rows, r#""hasNextPage":7,"pageSize":"many""#), true, true, 1),
    ] {
        let listing = read_list(&page(product), body.as_bytes()).unwrap();
        let found = (listing.complete, listing.whole, listing.total);
        assert_eq!(found, (complete, whole, total), "{body:.200}");
    }
}

#[test]
fn an_unreadable_row_does_not_affect_the_others() {
    let rows = [
        row("a", 1, ""),
        r#"{"_id":7}"#.to_owned(),
        "null".to_owned(),
        r#"{"status":"FULFILLED"}"#.to_owned(),
        row("b", 2, ""),
    ];
    let listing =
        read_list(&page(Product::Mobile), mobile(&rows, r#","totalResults":5"#).as_bytes()).unwrap();
    let ids: Vec<_> = listing.rows.iter().map(|row| row.id.as_str()).collect();
    assert_eq!((ids.as_slice(), listing.left_out), (["a", "b"].as_slice(), 3));
    assert!(listing.complete && listing.whole);
    assert_eq!(
        listing.odd.to_string(),
        "data.items[1]._id: number, data.items[2]: null, data.items[3]._id: missing"
    );
}

#[test]
fn orders_with_contradicting_rows_are_left_out() {
    let row = |id: &str, status: &str, more: &str| format!(r#"{{"_id":"{id}","status":"{status}"{more}}}"#);
    let rows = [
        row("a", "REFUNDED", ""),
        row("b", "HANDLING", ""),
        row("a", "FULFILLED", ""),
        row("b", "HANDLING", r#","number":"7""#),
        row("c", "FULFILLED", r#","card_code":"1111-2222""#),
        row("c", "FULFILLED", r#","card_code":"3333-4444""#),
        row("a", "REFUNDED", ""),
    ];
    let listing =
        read_list(&page(Product::Internet), internet(&rows, r#""totalItems":7"#).as_bytes()).unwrap();
    let ids: Vec<_> = listing.rows.iter().map(|row| row.id.as_str()).collect();
    assert_eq!(ids, ["b"], "equal rows of an order count once");
    assert_eq!(
        listing.odd.to_string(),
        "data.topups[2]: contradicts another row of the order, data.topups[5]: contradicts another row of the order"
    );
    assert!(!format!("{listing:?}").contains("1111"));
}

#[test]
fn rows_outside_the_window_are_counted() {
    let rows = [
        row("a", -3, ""),
        row("b", -1, ""),
        row("c", 61, ""),
        row("d", 90_000, ""),
        r#"{"_id":"e","status":"HANDLING","created_at":"yesterday"}"#.to_owned(),
    ];
    let listing = read_list(&page(Product::Mobile), mobile(&rows, "").as_bytes()).unwrap();
    assert_eq!(listing.outside, 2, "rows up to 2 s outside the window are tolerated");
}

#[test]
fn an_answer_without_a_list_is_an_error_with_its_path() {
    for (body, path) in [
        (r#"{"success":true}"#, "data"),
        (r#"{"success":true,"data":{}}"#, "data.items"),
        (r#"{"success":true,"data":{"items":7}}"#, "data.items"),
        (r#"{"success":true,"data":[]}"#, "data"),
        ("<html>", "."),
    ] {
        let error = read_list(&page(Product::Mobile), body.as_bytes()).unwrap_err();
        assert!(
            matches!(&error, VendorError::Unreadable { path: at, .. } if at == path),
            "{body}: {error:?}"
        );
    }
}
