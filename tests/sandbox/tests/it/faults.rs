use std::time::Duration;

use serde_json::json;
use tokio::io::AsyncReadExt;
use tokio::time::{Instant, timeout};

use crate::client::{KEY, Vendor};

async fn scripted(answers: &str) -> (Vendor, String) {
    let vendor = Vendor::start(&[]).await;
    let id = vendor.send_mobile("0665983439").await;
    vendor.control(&format!("orders/{id}/script"), &format!(r#"{{"answers":{answers}}}"#)).await;
    (vendor, id)
}

#[tokio::test(start_paused = true)]
async fn a_script_gives_each_answer_once_then_normal_answers() {
    let (vendor, id) = scripted(
        r#"[{"kind":"not_found","repeat":2},{"kind":"status","http":429,"retry_after":7},
            {"kind":"status","http":503,"code":"PARTNER_UNAVAILABLE"},{"kind":"normal"},
            {"kind":"raw","http":502,"body":"<h1>Bad</h1>","headers":{"x-from":"gateway"}},
            {"kind":"data","data":{"z":1.0,"status":"NEW","a":[{"y":1,"x":2}]}}]"#,
    )
    .await;
    let mut said = Vec::new();
    for _ in 0..5 {
        said.push(vendor.check("mobile", &id).await);
    }
    assert_eq!(said[2].header("retry-after"), Some("7"));
    let said: Vec<_> = said.iter().map(|answer| answer.summary()).collect();
    let expected = [
        "404 NOT_FOUND",
        "404 NOT_FOUND",
        "429 RATE_LIMIT_EXCEEDED",
        "503 PARTNER_UNAVAILABLE",
        "200 PENDING",
    ];
    assert_eq!(said, expected);

    let raw = vendor.check("mobile", &id).await;
    assert_eq!((raw.http, raw.body.as_str()), (502, "<h1>Bad</h1>"));
    assert_eq!((raw.header("content-type"), raw.header("x-from")), (Some("text/html"), Some("gateway")));
    let data = vendor.check("mobile", &id).await;
    let exact = r#"{"success":true,"data":{"z":1.0,"status":"NEW","a":[{"y":1,"x":2}]},"meta":{"#;
    assert!(data.body.starts_with(exact), "{}", data.body);
    assert_eq!(vendor.check("mobile", &id).await.summary(), "200 PENDING");
    let calls = vendor.get(&format!("/_sandbox/calls?order={id}")).await.json();
    assert_eq!(
        (&calls["total"], &calls["calls"][2]["answered"]),
        (&json!(8), &json!("script:status RATE_LIMIT_EXCEEDED"))
    );
}

#[tokio::test(start_paused = true)]
async fn scripts_repeat_until_removed_and_need_no_order() {
    let vendor = Vendor::start(&[]).await;
    let answers = r#"{"answers":[{"kind":"data","data":{"status":"X"},"repeat":"forever"}]}"#;
    vendor.control("orders/unknown-order/script", answers).await;
    for _ in 0..3 {
        assert_eq!(
            vendor.check("internet", "unknown-order").await.body,
            r#"{"success":true,"data":{"status":"X"}}"#
        );
    }
    vendor.delete("/_sandbox/orders/unknown-order/script").await;
    assert_eq!(vendor.check("internet", "unknown-order").await.summary(), "404 NOT_FOUND");
}

#[tokio::test(start_paused = true)]
async fn a_slow_answer_is_counted_on_arrival_and_built_at_its_end() {
    let (vendor, id) = scripted(r#"[{"kind":"slow","seconds":5}]"#).await;
    let hurried = timeout(Duration::from_secs(1), vendor.check("mobile", &id)).await;
    assert!(hurried.is_err(), "the answer takes 5 s");
    let call = vendor.get(&format!("/_sandbox/calls?order={id}")).await.json()["calls"][0].clone();
    assert!(call["at"].is_string() && call["http"].is_null(), "{call}");

    vendor.control(&format!("orders/{id}/script"), r#"{"answers":[{"kind":"slow","seconds":5}]}"#).await;
    let asked = Instant::now();
    assert_eq!(vendor.check("mobile", &id).await.summary(), "200 HANDLING");
    assert!(asked.elapsed() >= Duration::from_secs(5));
}

#[tokio::test(start_paused = true)]
async fn a_slow_body_starts_at_once_and_is_complete() {
    let (vendor, id) = scripted(r#"[{"kind":"slow_body","seconds":3}]"#).await;
    let asked = Instant::now();
    let mut stream = vendor.send_request("GET", &format!("/v3/mobile/check-id/{id}"), Some(KEY), "").await;
    let mut text = String::new();
    while !text.contains("_id") {
        let mut piece = [0; 1024];
        let count = stream.read(&mut piece).await.unwrap();
        text += std::str::from_utf8(&piece[..count]).unwrap();
    }
    assert!(!text.contains("requestId"), "only half: {text}");
    stream.read_to_string(&mut text).await.unwrap();
    assert!(asked.elapsed() >= Duration::from_secs(3));
    let body = text.split_once("\r\n\r\n").unwrap().1;
    assert!(serde_json::from_str::<serde_json::Value>(body).unwrap()["requestId"].is_string());
}

#[tokio::test(start_paused = true)]
async fn a_cut_answer_ends_half_way() {
    let (vendor, id) = scripted(r#"[{"kind":"cut"}]"#).await;
    let cut = vendor.check("mobile", &id).await;
    let promised: usize = cut.header("content-length").unwrap().parse().unwrap();
    assert_eq!((cut.http, cut.body.len()), (200, promised / 2));
    assert_eq!(vendor.check("mobile", &id).await.summary(), "200 PENDING");
}

#[tokio::test(start_paused = true)]
async fn an_outage_answers_every_call_until_it_ends() {
    let (vendor, id) = scripted(r#"[{"kind":"not_found"}]"#).await;
    vendor.control("outage", r#"{"kind":"raw","http":503,"body":"down"}"#).await;
    for path in [format!("/v3/mobile/check-id/{id}"), "/v3/validate".to_owned(), "/v3/nothing".to_owned()] {
        let answer = vendor.get(&path).await;
        assert_eq!((answer.http, answer.body.as_str()), (503, "down"), "{path}");
    }
    assert_eq!(vendor.get("/_sandbox/health").await.http, 200);
    assert_eq!(vendor.truth(&id).await["calls"], 1);
    vendor.control("outage", r#"{"kind":"cut"}"#).await;
    let cut = vendor.get("/v3/validate").await;
    assert_ne!(cut.header("content-length"), Some(cut.body.len().to_string().as_str()));
    vendor.delete("/_sandbox/outage").await;
    assert_eq!(
        vendor.check("mobile", &id).await.summary(),
        "404 NOT_FOUND",
        "the script did not advance during the outage"
    );
    assert_eq!(vendor.check("mobile", &id).await.summary(), "200 PENDING");
}
