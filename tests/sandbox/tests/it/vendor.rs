use std::time::Duration;

use serde_json::json;
use tokio::time::advance;

use crate::client::{KEY, Vendor};

const SECOND: Duration = Duration::from_secs(1);

/// The member names of `data`, in their textual order.
fn members(body: &str) -> Vec<&str> {
    let known = [
        "_id",
        "ref",
        "status",
        "plan_code",
        "MSSIDN",
        "type",
        "number",
        "topup_amount",
        "balance_amount",
        "card_code",
        "num_trans",
        "date_traitement",
        "created_at",
        "refund_message",
        "suggested_offers",
    ];
    let data = body.split_once("\"data\":").unwrap().1;
    let mut found: Vec<_> =
        known.into_iter().filter_map(|name| Some((data.find(&format!("\"{name}\":"))?, name))).collect();
    found.sort_unstable();
    found.into_iter().map(|(_, name)| name).collect()
}

#[tokio::test(start_paused = true)]
async fn a_mobile_order_follows_the_documented_course() {
    let vendor = Vendor::start(&[]).await;
    let sent = vendor
        .post(
            "/v3/mobile/send",
            r#"{"plan_code":"PREPAID_DJEZZY","MSSIDN":"0665983439","amount":500,"ref":"abc"}"#,
        )
        .await;
    let sent = sent.json();
    assert_eq!(sent["success"], true);
    assert_eq!(sent["data"]["topupRef"], "API-+213665983439-abc");
    assert!(sent["meta"]["timestamp"].is_string() && sent["requestId"].is_string());
    let id = sent["data"]["topupId"].as_str().unwrap();
    assert!(id.len() == 24 && id.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')), "{id}");

    assert_eq!(vendor.check("mobile", id).await.summary(), "200 PENDING");
    advance(Duration::from_millis(4_999)).await;
    assert_eq!(vendor.check("mobile", id).await.summary(), "200 PENDING");
    advance(Duration::from_millis(1)).await;
    assert_eq!(vendor.check("mobile", id).await.summary(), "200 HANDLING");
    advance(10 * SECOND).await;
    let done = vendor.check("mobile", id).await;
    let page =
        ["_id", "ref", "status", "plan_code", "MSSIDN", "topup_amount", "balance_amount", "created_at"];
    assert_eq!(members(&done.body), page);
    assert!(done.body.contains(r#""topup_amount":500,"balance_amount":490,"#), "{}", done.body);
    let done = done.json();
    assert_eq!(done["data"]["status"], "FULFILLED");
    assert!(done["meta"]["timestamp"].is_string());
    assert!(done["requestId"].as_str().unwrap().starts_with("req_"));
}

#[tokio::test(start_paused = true)]
async fn the_documented_numbers_end_as_documented() {
    let vendor =
        Vendor::start(&["--uncertain-settles-as", "REFUNDED", "--uncertain-settles-after", "1h"]).await;
    let (message, offers) = (vendor.send_mobile("0600000001").await, vendor.send_mobile("0600000002").await);
    let uncertain = vendor.send_mobile("0600000003").await;
    advance(15 * SECOND).await;

    let message = vendor.check("mobile", &message).await.json();
    assert_eq!(message["data"]["refund_message"], "الرصيد المطلوب غير متوفر لهذا الرقم");
    assert!(message["data"].get("suggested_offers").is_none());

    let offers = vendor.check("mobile", &offers).await;
    assert_eq!(offers.summary(), "200 REFUNDED");
    let sample =
        r#"[{"typename":"📋 FACTURE | فاتورة","plan_code":"FACTURE_DJEZZY","amount":500},{"typename":"#;
    assert!(offers.body.contains(sample), "{}", offers.body);
    assert!(offers.body.contains(r#""validity":{"unit":"day","count":30},"amount":1000"#), "{}", offers.body);

    let before = vendor.check("mobile", &uncertain).await;
    assert_eq!(before.summary(), "200 UNKNOWN_ERROR");
    assert!(
        before.json()["data"]["refund_message"]
            .as_str()
            .unwrap()
            .starts_with("هذه العملية حالتها غير معروفة")
    );
    advance(3_600 * SECOND).await;
    assert_eq!(vendor.check("mobile", &uncertain).await.summary(), "200 REFUNDED");
}

#[tokio::test(start_paused = true)]
async fn an_internet_order_has_its_card_at_once_or_later() {
    let vendor = Vendor::start(&["--time-scale", "0.1"]).await;
    let (id, late) = (vendor.send_internet("036362608").await, vendor.send_internet("036000004").await);
    let before = ["_id", "ref", "status", "type", "number", "topup_amount", "created_at"];
    assert_eq!(members(&vendor.check("internet", &id).await.body), before);
    advance(SECOND).await;

    let done = vendor.check("internet", &id).await;
    let page = [
        "_id",
        "ref",
        "status",
        "type",
        "number",
        "topup_amount",
        "card_code",
        "num_trans",
        "date_traitement",
        "created_at",
    ];
    assert_eq!(members(&done.body), page);
    let (done, truth) = (done.json(), vendor.truth(&id).await);
    assert!(done.get("meta").is_none() && done.get("requestId").is_none());
    let card = done["data"]["card_code"].as_str().unwrap();
    assert!(card.len() == 12 && card.bytes().all(|byte| byte.is_ascii_digit()), "{card}");
    assert_eq!(truth["card_code"], card);
    assert_eq!(done["data"]["date_traitement"], truth["ended_at"]);
    assert!(done["data"]["num_trans"].as_str().unwrap().starts_with("AT-2"));

    let without = vendor.check("internet", &late).await;
    assert_eq!((without.summary().as_str(), members(&without.body)), ("200 FULFILLED", before.to_vec()));
    advance(6 * SECOND).await;
    let with = vendor.check("internet", &late).await.json();
    assert_ne!(with["data"]["card_code"], card, "each order has its own card");
    assert!(with["data"]["num_trans"].is_string() && with["data"]["date_traitement"].is_string());
}

#[tokio::test(start_paused = true)]
async fn invalid_sends_are_rejected() {
    let vendor = Vendor::start(&[]).await;
    for (path, body, said) in [
        ("mobile", r#"{"plan_code":"P","MSSIDN":"0465983439"}"#, "400 ERR_PHONE"),
        ("mobile", r#"{"plan_code":"P","MSSIDN":"06659834390"}"#, "400 ERR_PHONE"),
        ("mobile", r#"{"plan_code":"P","MSSIDN":"066598343x"}"#, "400 ERR_PHONE"),
        ("mobile", r#"{"MSSIDN":"0665983439"}"#, "400 ERR_VALIDATION"),
        ("mobile", r#"{"plan_code":"P","MSSIDN":"0665983439","amount":-1}"#, "400 ERR_VALIDATION"),
        ("mobile", "not json", "400 ERR_VALIDATION"),
        ("internet", r#"{"type":"FIBRE","number":"036362608","value":1}"#, "400 ERR_VALIDATION"),
        ("internet", r#"{"type":"4G","number":"36362608","value":1}"#, "400 ERR_PHONE"),
        ("internet", r#"{"type":"4G","number":"036362608"}"#, "400 ERR_VALIDATION"),
    ] {
        assert_eq!(vendor.post(&format!("/v3/{path}/send"), body).await.summary(), said, "{body}");
    }
    let body = r#"{"type":"4G","number":"036362608","value":1000,"ref":"once"}"#;
    assert_eq!(vendor.post("/v3/internet/send", body).await.http, 200);
    assert_eq!(vendor.post("/v3/internet/send", body).await.summary(), "403 DUPLICATED_REF");
    assert_eq!(vendor.get("/_sandbox/orders").await.json()["orders"].as_array().unwrap().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn unknown_orders_and_paths_are_not_found() {
    let vendor = Vendor::start(&[]).await;
    let id = vendor.send_mobile("0665983439").await;
    assert_eq!(vendor.check("mobile", "6901616fe9e88196b4eb64b0").await.summary(), "404 NOT_FOUND");
    let other = vendor.check("internet", &id).await;
    assert_eq!(other.summary(), "404 NOT_FOUND");
    assert!(other.json().get("requestId").is_none());
    let unrouted = json!({"message": "Cannot GET /v3/mobile/send", "error": "Not Found", "statusCode": 404});
    assert_eq!(vendor.get("/v3/mobile/send").await.json(), unrouted);
    assert_eq!(vendor.get("/v2/validate").await.json()["statusCode"], 404);
}

#[tokio::test(start_paused = true)]
async fn keys_are_checked_revoked_and_restored() {
    let vendor = Vendor::start(&["--api-key", "one", "--api-key", "two"]).await;
    let validate = async |key| vendor.call("GET", "/v3/validate", key, "").await;
    assert_eq!(validate(None).await.summary(), "401 MISSING_ACCESS_TOKEN");
    assert_eq!(validate(Some(KEY)).await.summary(), "401 INVALID_ACCESS_TOKEN");
    let valid = validate(Some("two")).await.json();
    assert_eq!(valid["data"]["apiKey"]["type"], "SANDBOX");
    assert!(valid.get("meta").is_none());

    vendor.control("keys/two/revoke", "").await;
    assert_eq!(validate(Some("two")).await.summary(), "401 INVALID_ACCESS_TOKEN");
    assert_eq!(validate(Some("one")).await.http, 200);
    vendor.control("keys/two/restore", "").await;
    assert_eq!(validate(Some("two")).await.http, 200);
    assert_eq!(vendor.post("/_sandbox/keys/three/revoke", "").await.http, 404);
}

#[tokio::test(start_paused = true)]
async fn twenty_bad_calls_lock_the_address_out() {
    let vendor = Vendor::start(&[]).await;
    let bad = async || vendor.call("GET", "/v3/validate", Some("bad"), "").await.summary();
    for _ in 0..20 {
        assert_eq!(bad().await, "401 INVALID_ACCESS_TOKEN");
    }
    assert_eq!(vendor.get("/v3/validate").await.summary(), "403 IP_BLOCKED");
    advance(899 * SECOND).await;
    assert_eq!(vendor.get("/v3/validate").await.summary(), "403 IP_BLOCKED");
    advance(SECOND).await;
    assert_eq!(vendor.get("/v3/validate").await.http, 200);
    for _ in 0..20 {
        bad().await;
    }
    vendor.delete("/_sandbox/lockouts").await;
    assert_eq!(vendor.get("/v3/validate").await.http, 200);
}

#[tokio::test(start_paused = true)]
async fn a_key_beyond_its_limit_gets_429_with_retry_after() {
    let vendor = Vendor::start(&["--keys-per-minute", "2"]).await;
    let id = vendor.send_mobile("0665983439").await;
    assert_eq!(vendor.check("mobile", &id).await.http, 200);
    let refused = vendor.check("mobile", &id).await;
    assert_eq!(refused.summary(), "429 RATE_LIMIT_EXCEEDED");
    assert_eq!(refused.header("retry-after"), Some("60"));
    advance(60 * SECOND).await;
    assert_eq!(vendor.check("mobile", &id).await.http, 200);
}
