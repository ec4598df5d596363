use std::time::Duration;

use serde_json::json;
use tokio::time::advance;

use crate::client::{KEY, Vendor};

#[tokio::test(start_paused = true)]
async fn a_created_order_shows_exactly_its_steps() {
    let vendor = Vendor::start(&["--time-scale", "0.5"]).await;
    let order = r#"{"product":"mobile","id":"custom-1","number":"0665983439","plan_code":"P","amount":100.5,"ref":"mine","timeline":[
        {"after_seconds":2,"status":"SUCCESS","fields":{"zeta":1.50,"alpha":{"y":[],"x":null},"plan_code":"OTHER"}},
        {"after_seconds":4,"status":"FULFILLED","fields":{"retry_orderid":"r1"}}]}"#;
    let created = vendor.post("/_sandbox/orders", order).await;
    assert_eq!((created.http, created.json()), (201, json!({"id": "custom-1"})));
    assert_eq!(vendor.check("mobile", "custom-1").await.summary(), "404 NOT_FOUND", "before its first step");
    advance(Duration::from_secs(1)).await;
    let first = vendor.check("mobile", "custom-1").await;
    assert_eq!(first.summary(), "200 SUCCESS");
    assert!(
        first.body.contains(r#""zeta":1.50,"alpha":{"y":[],"x":null},"plan_code":"OTHER"}"#),
        "{}",
        first.body
    );
    assert_eq!(first.body.matches("plan_code").count(), 1, "{}", first.body);
    assert!(
        first.body.contains(r#""ref":"mine""#) && first.body.contains(r#""balance_amount":98.49"#),
        "{}",
        first.body
    );
    advance(Duration::from_secs(1)).await;
    let second = vendor.check("mobile", "custom-1").await;
    assert_eq!(second.json()["data"]["retry_orderid"], "r1");
    assert!(!second.body.contains("zeta"), "the fields of a step replace earlier ones: {}", second.body);
    assert_eq!(vendor.post("/_sandbox/orders", order).await.http, 409);
}

#[tokio::test(start_paused = true)]
async fn invalid_control_calls_are_rejected() {
    let vendor = Vendor::start(&[]).await;
    for (path, body) in [
        ("orders", r#"{"product":"mobile","timeline":[]}"#),
        ("orders", r#"{"product":"telegram","timeline":[{"after_seconds":0,"status":"X"}]}"#),
        ("orders", r#"{"product":"mobile","timeline":[{"after_seconds":-1,"status":"X"}]}"#),
        (
            "orders",
            r#"{"product":"mobile","timeline":[{"after_seconds":1,"status":"X"},{"after_seconds":0,"status":"Y"}]}"#,
        ),
        ("orders/x/script", r#"{"answers":[{"kind":"explode"}]}"#),
        ("outage", r#"{"kind":"slow"}"#),
    ] {
        let answer = vendor.post(&format!("/_sandbox/{path}"), body).await;
        assert_eq!(answer.http, 400, "{body}");
        assert!(answer.json()["error"].is_string());
    }
    assert_eq!(vendor.get("/_sandbox/calls?sinc=x").await.http, 400);
    assert_eq!(vendor.get("/_sandbox/orders/none").await.http, 404);
}

#[tokio::test(start_paused = true)]
async fn a_status_given_now_replaces_the_steps_to_come() {
    let vendor = Vendor::start(&[]).await;
    let order = r#"{"product":"mobile","id":"o1","timeline":[{"after_seconds":0,"status":"PENDING"},
        {"after_seconds":5,"status":"HANDLING"},{"after_seconds":60,"status":"FULFILLED"}]}"#;
    assert_eq!(vendor.post("/_sandbox/orders", order).await.http, 201);
    advance(Duration::from_secs(10)).await;
    let change = r#"{"status":"REFUNDED","fields":{"refund_message":"x"}}"#;
    assert_eq!(vendor.post("/_sandbox/orders/o1/status", change).await.http, 204);
    advance(Duration::from_secs(90)).await;
    let shown = vendor.check("mobile", "o1").await.json()["data"].clone();
    assert_eq!((&shown["status"], &shown["refund_message"]), (&json!("REFUNDED"), &json!("x")));
    let truth = vendor.truth("o1").await;
    let statuses: Vec<_> = truth["timeline"].as_array().unwrap().iter().map(|step| &step["status"]).collect();
    assert_eq!(statuses, ["PENDING", "HANDLING", "REFUNDED"]);
    assert_eq!(truth["ends_as"], "REFUNDED");
    assert_eq!(vendor.post("/_sandbox/orders/none/status", change).await.http, 404);
    assert_eq!(vendor.post("/_sandbox/orders/o1/status", "{}").await.http, 400);
    let later = r#"{"product":"mobile","id":"o2","timeline":[{"after_seconds":5,"status":"PENDING"}]}"#;
    assert_eq!(vendor.post("/_sandbox/orders", later).await.http, 201);
    assert_eq!(vendor.post("/_sandbox/orders/o2/status", change).await.http, 400, "before its first step");
}

#[tokio::test(start_paused = true)]
async fn the_true_state_includes_the_final_status() {
    let vendor = Vendor::start(&["--queued-settles-after", "1h"]).await;
    let id = vendor.send_internet("036000001").await;
    let truth = vendor.truth(&id).await;
    let statuses: Vec<_> = truth["timeline"].as_array().unwrap().iter().map(|step| &step["status"]).collect();
    assert_eq!(statuses, ["HANDLING", "QUEUED", "FULFILLED"]);
    assert_eq!(truth["ends_as"], "FULFILLED");
    assert_eq!((&truth["status"], &truth["calls"]), (&json!("HANDLING"), &json!(0)));
    assert_eq!(truth["card_code"].as_str().unwrap().len(), 12, "known before the vendor's API shows it");
    let time = |value: &serde_json::Value| value.as_str().unwrap().parse::<jiff::Timestamp>().unwrap();
    assert_eq!(time(&truth["ended_at"]).duration_since(time(&truth["sent_at"])).as_secs(), 3_610);
    assert_eq!(truth["timeline"][2]["at"], truth["ended_at"]);
    assert_eq!(truth["sent_at"].as_str().unwrap().len(), "2025-11-01T12:00:00.000Z".len());
}

#[tokio::test(start_paused = true)]
async fn calls_are_counted_filtered_and_cleared_without_keys() {
    let vendor = Vendor::start(&["--api-key", KEY, "--api-key", "other"]).await;
    let (one, two) = (vendor.send_mobile("0665983439").await, vendor.send_internet("036362608").await);
    vendor.check("mobile", &one).await;
    vendor.check("mobile", &one).await;
    advance(Duration::from_secs(10)).await;
    vendor.call("GET", &format!("/v3/internet/check-id/{two}"), Some("other"), "").await;

    let all = vendor.get("/_sandbox/calls").await;
    assert!(!all.body.contains(KEY), "{}", all.body);
    let card = vendor.truth(&two).await["card_code"].as_str().unwrap().to_owned();
    assert!(!all.body.contains(&card), "{}", all.body);
    let all = all.json();
    assert_eq!(all["total"], 5);
    assert_eq!(all["by_order"], json!({&one: 2, &two: 1}));
    let endpoints =
        json!({"mobile/send": 1, "internet/send": 1, "mobile/check-id": 2, "internet/check-id": 1});
    assert_eq!(all["by_endpoint"], endpoints);
    let last = &all["calls"][4];
    assert_eq!(
        (&last["http"], &last["answered"], &last["order"]),
        (&json!(200), &json!("FULFILLED"), &json!(two))
    );
    assert_eq!(all["by_key"][last["key"].as_str().unwrap()], 1);
    assert_eq!(last["key"].as_str().unwrap().len(), 8);

    let since = last["at"].as_str().unwrap();
    for (filter, total) in [
        (format!("order={one}"), 2),
        ("endpoint=internet/send".to_owned(), 1),
        ("key=other".to_owned(), 1),
        (format!("key={}", last["key"].as_str().unwrap()), 1),
        (format!("since={since}"), 1),
        (format!("order={one}&since={since}"), 0),
    ] {
        assert_eq!(vendor.get(&format!("/_sandbox/calls?{filter}")).await.json()["total"], total, "{filter}");
    }
    vendor.delete("/_sandbox/calls").await;
    assert_eq!(vendor.get("/_sandbox/calls").await.json()["total"], 0);
    assert_eq!(vendor.truth(&one).await["calls"], 2, "the order keeps its count");
}

#[tokio::test(start_paused = true)]
async fn the_fullest_window_is_counted_per_key() {
    let vendor = Vendor::start(&["--api-key", "one", "--api-key", "two"]).await;
    let check = async |key| vendor.call("GET", "/v3/mobile/check-id/x", key, "").await;
    // At 0, 30 and 60 s with one key, at 61 s with the other.
    for key in ["one", "one", "one"] {
        check(Some(key)).await;
        advance(Duration::from_secs(30)).await;
    }
    let body = r#"{"plan_code":"P","MSSIDN":"0665983439"}"#;
    vendor.call("POST", "/v3/mobile/send", Some("one"), body).await;
    check(Some("two")).await;
    check(None).await;
    let calls = vendor.get("/_sandbox/calls").await.json()["calls"].clone();
    let (one, two) = (calls[0]["key"].as_str().unwrap(), calls[4]["key"].as_str().unwrap());
    for (query, total, highest, of_one) in [
        ("seconds=60", 5, 2, 2),
        ("seconds=61", 5, 3, 3),
        ("seconds=3600", 5, 4, 4),
        ("seconds=61&endpoint_kind=check", 4, 3, 3),
        ("seconds=60&endpoint_kind=send", 1, 1, 1),
        (&format!("seconds=61&since={}", calls[1]["at"].as_str().unwrap()), 4, 3, 3),
        ("seconds=61&key=one", 4, 3, 3),
    ] {
        let windows = vendor.get(&format!("/_sandbox/calls/windows?{query}")).await.json();
        let found = (&windows["total"], &windows["highest"], &windows["by_key"][one]["highest"]);
        assert_eq!(found, (&json!(total), &json!(highest), &json!(of_one)), "{query}: {windows}");
    }
    let windows = vendor.get("/_sandbox/calls/windows?seconds=61").await.json();
    assert_eq!(windows["by_key"][two], json!({"total": 1, "highest": 1}));
    assert!(windows["by_key"].get("none").is_none(), "{windows}");
    assert_eq!(vendor.get("/_sandbox/calls/windows").await.http, 400, "`seconds` is missing");
}

#[tokio::test(start_paused = true)]
async fn linked_orders_have_the_ids_given() {
    let vendor = Vendor::start(&[]).await;
    for order in [
        r#"{"product":"mobile","id":"first","timeline":[{"after_seconds":0,"status":"HANDLING"},
            {"after_seconds":5,"status":"HANDLING","fields":{"follow_orderid":"second"}}]}"#,
        r#"{"product":"mobile","id":"second","timeline":[{"after_seconds":5,"status":"PENDING"},
            {"after_seconds":10,"status":"REFUNDED","fields":{"refund_message":"later","retry_orderid":"third"}}]}"#,
        r#"{"product":"mobile","id":"third","timeline":[{"after_seconds":10,"status":"FULFILLED"}]}"#,
    ] {
        assert_eq!(vendor.post("/_sandbox/orders", order).await.http, 201);
    }
    assert_eq!(vendor.check("mobile", "second").await.summary(), "404 NOT_FOUND", "redirected later");
    assert!(!vendor.check("mobile", "first").await.body.contains("orderid"));
    advance(Duration::from_secs(5)).await;
    assert_eq!(vendor.check("mobile", "first").await.json()["data"]["follow_orderid"], "second");
    assert_eq!(vendor.check("mobile", "second").await.summary(), "200 PENDING");
    advance(Duration::from_secs(5)).await;
    assert_eq!(vendor.check("mobile", "second").await.json()["data"]["retry_orderid"], "third");
    assert_eq!(vendor.check("mobile", "third").await.summary(), "200 FULFILLED");
}

#[tokio::test(start_paused = true)]
async fn health_and_numbers_need_no_key() {
    let vendor = Vendor::start(&[]).await;
    assert_eq!(vendor.call("GET", "/_sandbox/health", None, "").await.http, 200);
    let numbers = vendor.call("GET", "/_sandbox/numbers", None, "").await.json();
    for row in numbers.as_array().unwrap() {
        let ours = row["product"] == "internet";
        assert_eq!(row["basis"] == "[our assumption]", ours, "{row}");
    }
    assert_eq!(vendor.get("/_sandbox/calls").await.json()["total"], 0, "control calls are not logged");
}
