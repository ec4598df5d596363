//! Fault injection: production trackers against the DynamoDB API of a local stack, with crashes at every request and
//! with races. A test binary of its own, so that nothing else runs beside it. See tests/README.md.
#![allow(clippy::too_many_lines, reason = "tests are long scenarios")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use std::io::Write;

use e2e::ASKED_ID;
use jiff::Timestamp;
use shared::order::Product;

mod crash_points;
mod race_schedules;

/// The start of every scenario on the tests' own clock.
const START: Timestamp = Timestamp::constant(1_800_000_000, 0);

/// Prints to standard error directly: the test harness hides the output of tests that pass.
fn print_progress(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

/// The vendor's answer 200 about an order, with a card code if `card` is set.
fn order_answer(product: Product, status: Option<&str>, card: bool) -> e2e::Answer {
    let mut data = serde_json::json!({
        "_id": ASKED_ID, "ref": "shop-1", "topup_amount": 500, "created_at": "2026-11-01T10:00:00.000Z",
    });
    if let Some(status) = status {
        data["status"] = status.into();
    }
    match product {
        Product::Mobile => data["MSSIDN"] = "0778037340".into(),
        Product::Internet => data["number"] = "023456789".into(),
    }
    if status == Some("REFUNDED") && product == Product::Mobile {
        data["refund_message"] = "تم استرجاع الرصيد".into();
        data["suggested_offers"] = serde_json::json!([{"typename": "offer", "amount": 450}]);
    }
    if card {
        data["card_code"] = "012345678901234".into();
        data["num_trans"] = "AT-1".into();
    }
    e2e::Answer { status: 200, text: serde_json::json!({"success": true, "data": data}).to_string() }
}

/// The vendor's answer for an unknown order.
fn not_found() -> e2e::Answer {
    let text = r#"{"success": false, "error": {"code": "NOT_FOUND", "message": "no such order"}}"#;
    e2e::Answer { status: 404, text: text.to_owned() }
}

/// An answer that is not JSON.
fn unreadable() -> e2e::Answer {
    e2e::Answer { status: 200, text: "<html>welcome</html>".to_owned() }
}

/// An answer that rejects the call.
fn rejected() -> e2e::Answer {
    let text = r#"{"success": false, "error": {"code": "ERR_VALIDATION", "message": "no such form"}}"#;
    e2e::Answer { status: 400, text: text.to_owned() }
}

/// An answer with a server error.
fn server_error() -> e2e::Answer {
    let text = r#"{"success": false, "error": {"code": "INTERNAL_SERVER_ERROR", "message": "later"}}"#;
    e2e::Answer { status: 500, text: text.to_owned() }
}
