use std::time::Duration;

use serde_json::json;
use tokio::time::{Instant, timeout};

use crate::client::Vendor;

fn body(reference: &str) -> String {
    format!(r#"{{"plan_code":"PREPAID_DJEZZY","MSSIDN":"0665983439","amount":500,"ref":"{reference}"}}"#)
}

async fn found(vendor: &Vendor, reference: &str) -> String {
    vendor.get(&format!("/v3/mobile/check-ref/{reference}")).await.summary()
}

#[tokio::test(start_paused = true)]
async fn a_scripted_send_still_creates_the_order() {
    let vendor = Vendor::start(&[]).await;
    let answers = r#"{"answers":[{"kind":"status","http":503,"repeat":2},{"kind":"not_found"},
        {"kind":"raw","http":502,"body":"<h1>Bad</h1>"},{"kind":"cut"},{"kind":"normal"}]}"#;
    vendor.control("sends/script", answers).await;
    let send = async |reference: &str| vendor.post("/v3/mobile/send", &body(reference)).await;
    assert_eq!(send("a").await.summary(), "503 SERVICE_UNAVAILABLE");
    assert_eq!(send("b").await.summary(), "503 SERVICE_UNAVAILABLE");
    assert_eq!(
        send("b").await.summary(),
        "403 DUPLICATED_REF",
        "rejected, so it consumes no scripted answer"
    );
    assert_eq!(send("c").await.summary(), "404 NOT_FOUND");
    let raw = send("d").await;
    assert_eq!((raw.http, raw.body.as_str()), (502, "<h1>Bad</h1>"));
    let cut = send("e").await;
    assert!(cut.body.contains("topupId") && serde_json::from_str::<serde_json::Value>(&cut.body).is_err());
    assert_eq!(send("f").await.http, 200);
    assert_eq!(send("g").await.http, 200, "the script has ended");
    for reference in ["a", "b", "c", "d", "e", "f", "g"] {
        assert_eq!(found(&vendor, reference).await, "200 PENDING", "{reference}");
    }
    assert_eq!(vendor.get("/_sandbox/orders").await.json()["orders"].as_array().unwrap().len(), 7);
    let calls = vendor.get("/_sandbox/calls?endpoint=mobile/send").await.json();
    assert_eq!(calls["calls"][0]["answered"], "script:status SERVICE_UNAVAILABLE");
}

#[tokio::test(start_paused = true)]
async fn an_unanswered_send_still_creates_the_order() {
    let vendor = Vendor::start(&[]).await;
    for (reference, path) in [("script", "sends/script"), ("outage", "outage")] {
        let slow = r#"{"kind":"slow","seconds":60}"#;
        let control = if path == "outage" { slow.to_owned() } else { format!(r#"{{"answers":[{slow}]}}"#) };
        vendor.control(path, &control).await;
        let (asked, body) = (Instant::now(), body(reference));
        let given_up = timeout(Duration::from_secs(8), vendor.post("/v3/mobile/send", &body)).await;
        assert!(given_up.is_err() && asked.elapsed() < Duration::from_secs(9));
        vendor.delete("/_sandbox/outage").await;
        assert_eq!(found(&vendor, reference).await, "200 HANDLING", "taken 8 s ago");
    }
    let calls = vendor.get("/_sandbox/calls?endpoint=mobile/send").await.json();
    assert_eq!((&calls["total"], &calls["calls"][0]["http"]), (&json!(2), &json!(null)));
}

#[tokio::test(start_paused = true)]
async fn a_send_script_can_apply_to_one_ref() {
    let vendor = Vendor::start(&[]).await;
    vendor.control("sends/script", r#"{"ref":"b","answers":[{"kind":"status","http":503}]}"#).await;
    assert_eq!(vendor.post("/v3/mobile/send", &body("a")).await.http, 200);
    assert_eq!(vendor.post("/v3/mobile/send", &body("b")).await.http, 503);
    assert_eq!(vendor.get("/v3/mobile/check-ref/b").await.summary(), "200 PENDING");
}

#[tokio::test(start_paused = true)]
async fn a_send_script_applies_to_both_products_and_can_be_removed() {
    let vendor = Vendor::start(&[]).await;
    vendor.control("sends/script", r#"{"answers":[{"kind":"status","http":500,"repeat":"forever"}]}"#).await;
    let internet = r#"{"type":"ADSL","number":"036362608","value":1000,"ref":"i"}"#;
    assert_eq!(vendor.post("/v3/internet/send", internet).await.summary(), "500 INTERNAL_ERROR");
    assert_eq!(vendor.post("/v3/mobile/send", &body("m")).await.summary(), "500 INTERNAL_ERROR");
    assert_eq!(vendor.get("/v3/internet/check-ref/i").await.summary(), "200 HANDLING");
    vendor.delete("/_sandbox/sends/script").await;
    assert_eq!(vendor.post("/v3/mobile/send", &body("n")).await.http, 200);
    let wrong = vendor.post("/_sandbox/sends/script", r#"{"answers":[{"kind":"explode"}]}"#).await;
    assert_eq!(wrong.http, 400);
}
