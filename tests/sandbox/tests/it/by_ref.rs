use std::time::Duration;

use serde_json::json;
use tokio::time::advance;

use crate::client::Vendor;

const SEND: &str = r#"{"plan_code":"PREPAID_DJEZZY","MSSIDN":"0665983439","amount":500,"ref":"shop 1/a+b"}"#;

#[tokio::test(start_paused = true)]
async fn an_order_is_found_by_its_ref_with_and_without_prefix() {
    let vendor = Vendor::start(&[]).await;
    let sent = vendor.post("/v3/mobile/send", SEND).await.json();
    let id = sent["data"]["topupId"].as_str().unwrap();
    assert_eq!(sent["data"]["topupRef"], "API-+213665983439-shop 1/a+b");
    let by_id = vendor.check("mobile", id).await;
    let data = |body: &str| body.split_once(r#","meta":"#).unwrap().0.to_owned();
    for path in [
        "shop%201%2Fa+b",
        "shop%201%2fa%2Bb",
        "API-+213665983439-shop%201%2Fa+b",
        "API-%2B213665983439-shop%201%2Fa%2Bb",
    ] {
        let by_ref = vendor.get(&format!("/v3/mobile/check-ref/{path}")).await;
        assert_eq!(by_ref.summary(), "200 PENDING", "{path}");
        assert_eq!(data(&by_ref.body), data(&by_id.body), "{path}");
        assert!(by_ref.json()["requestId"].is_string());
    }
    let calls = vendor.get("/_sandbox/calls?endpoint=mobile/check-ref").await.json();
    assert_eq!((&calls["total"], &calls["by_order"]), (&json!(4), &json!({id: 4})));
    assert_eq!(vendor.truth(id).await["calls"], 5, "checks by id and by ref");
}

#[tokio::test(start_paused = true)]
async fn an_unknown_ref_is_not_found() {
    let vendor = Vendor::start(&[]).await;
    vendor.post("/v3/mobile/send", SEND).await;
    for path in [
        "mobile/check-ref/other",
        // A plus sign in a path is not a space.
        "mobile/check-ref/shop+1%2Fa+b",
        "mobile/check-ref/API-+213770000000-shop%201%2Fa+b",
        "internet/check-ref/shop%201%2Fa+b",
    ] {
        let answer = vendor.get(&format!("/v3/{path}")).await;
        assert_eq!(answer.summary(), "404 NOT_FOUND", "{path}");
        assert_eq!(answer.json()["success"], false);
    }
    let calls = vendor.get("/_sandbox/calls?endpoint=internet/check-ref").await.json();
    assert_eq!((&calls["total"], &calls["calls"][0]["order"]), (&json!(1), &json!(null)));
    assert_eq!(vendor.get("/v3/mobile/check-name/x").await.json()["statusCode"], 404);
}

#[tokio::test(start_paused = true)]
async fn a_created_order_is_found_by_ref_and_scripts_and_outages_apply() {
    let vendor = Vendor::start(&[]).await;
    for (id, reference) in [("o1", "mine"), ("o2", "API-+21336362608-yours"), ("o3", "mine")] {
        let order = format!(
            r#"{{"product":"internet","id":"{id}","ref":"{reference}","timeline":[{{"after_seconds":0,"status":"HANDLING"}}]}}"#
        );
        assert_eq!(vendor.post("/_sandbox/orders", &order).await.http, 201);
    }
    let asked = async |reference: &str| vendor.get(&format!("/v3/internet/check-ref/{reference}")).await;
    assert_eq!(asked("mine").await.json()["data"]["_id"], "o1", "the first order keeps the ref");
    assert_eq!(asked("yours").await.json()["data"]["_id"], "o2");
    assert_eq!(asked("API-%2B21336362608-yours").await.json()["data"]["_id"], "o2");

    vendor.control("orders/o1/script", r#"{"answers":[{"kind":"status","http":503}]}"#).await;
    assert_eq!(asked("mine").await.summary(), "503 SERVICE_UNAVAILABLE");
    assert_eq!(asked("mine").await.summary(), "200 HANDLING");
    vendor.control("outage", r#"{"kind":"not_found"}"#).await;
    assert_eq!(asked("mine").await.summary(), "404 NOT_FOUND");
}

#[tokio::test(start_paused = true)]
async fn a_new_order_can_be_invisible_for_a_while() {
    let vendor = Vendor::start(&["--refs-visible-after", "4s", "--time-scale", "0.5"]).await;
    let sent = vendor.post("/v3/mobile/send", SEND).await.json();
    let id = sent["data"]["topupId"].as_str().unwrap();
    let check = async || {
        let by_ref = vendor.get("/v3/mobile/check-ref/shop%201%2Fa+b").await.summary();
        assert_eq!(vendor.check("mobile", id).await.summary(), by_ref);
        by_ref
    };
    assert_eq!(check().await, "404 NOT_FOUND");
    assert_eq!(
        vendor.post("/v3/mobile/send", SEND).await.summary(),
        "403 DUPLICATED_REF",
        "the order exists"
    );
    advance(Duration::from_millis(1_999)).await;
    assert_eq!(check().await, "404 NOT_FOUND");
    advance(Duration::from_millis(1)).await;
    assert_eq!(check().await, "200 PENDING");
}
