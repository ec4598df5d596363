use std::collections::BTreeMap;

use crate::client::{Answer, Vendor};

/// The `answered` values of 300 checks of one unchanging order, with this seed.
async fn answers(seed: &str) -> Vec<String> {
    let vendor = Vendor::start(&["--faults", "0.2", "--fault-seed", seed, "--time-scale", "1000"]).await;
    let id = vendor.send_mobile("0665983439").await;
    let mut given = Vec::new();
    for _ in 0..300 {
        given.push(vendor.check("mobile", &id).await);
    }
    let log = vendor.get("/_sandbox/calls?endpoint_kind=check").await.json();
    assert_eq!(log["by_order"][&id], 300);
    let calls = log["calls"].as_array().unwrap();
    let answered = calls.iter().map(|call| call["answered"].as_str().unwrap().to_owned());
    given.iter().zip(answered).inspect(|(answer, kind)| check(answer, kind)).map(|(_, kind)| kind).collect()
}

/// Asserts that an answer is what the log says.
fn check(answer: &Answer, kind: &str) {
    let is_json = serde_json::from_str::<serde_json::Value>(&answer.body).is_ok();
    let is_whole = answer.header("content-length") == Some(answer.body.len().to_string().as_str());
    match kind {
        "fault:429" => {
            assert_eq!(answer.summary(), "429 RATE_LIMIT_EXCEEDED");
            assert_eq!(answer.header("retry-after"), Some("1"));
        }
        "fault:503" => assert_eq!(answer.summary(), "503 SERVICE_UNAVAILABLE"),
        "fault:not_json" => {
            assert_eq!((answer.http, answer.header("content-type")), (200, Some("text/html")));
            assert!(!is_json && is_whole);
        }
        "fault:cut" => assert!(answer.http == 200 && !is_json && !is_whole),
        "fault:slow_body" | "PENDING" => assert!(answer.summary() == "200 PENDING" && is_whole),
        other => panic!("{other}"),
    }
}

#[tokio::test(start_paused = true)]
async fn checks_get_faults_of_each_kind_and_a_seed_repeats_them() {
    let first = answers("7").await;
    let mut kinds: BTreeMap<&str, usize> = BTreeMap::new();
    for answered in first.iter().filter(|answered| answered.starts_with("fault:")) {
        *kinds.entry(answered).or_default() += 1;
    }
    assert_eq!(kinds.len(), 5, "{kinds:?}");
    assert!((40..=80).contains(&kinds.values().sum::<usize>()), "about 60 of 300: {kinds:?}");
    assert_eq!(answers("7").await, first);
    assert_ne!(answers("8").await, first);
}

#[tokio::test(start_paused = true)]
async fn sends_bad_keys_and_scripted_checks_get_no_random_fault() {
    let vendor = Vendor::start(&["--faults", "1"]).await;
    let id = vendor.send_mobile("0665983439").await;
    let script = r#"{"answers":[{"kind":"data","data":{"status":"X"},"repeat":20}]}"#;
    vendor.control(&format!("orders/{id}/script"), script).await;
    for _ in 0..20 {
        assert_eq!(vendor.check("mobile", &id).await.summary(), "200 X");
    }
    assert_eq!(vendor.get("/v3/validate").await.http, 200);
    let refused = vendor.call("GET", &format!("/v3/mobile/check-id/{id}"), Some("bad"), "").await;
    assert_eq!(refused.summary(), "401 INVALID_ACCESS_TOKEN");
    vendor.get("/v3/mobile/check-ref/unknown").await;
    let calls = vendor.get("/_sandbox/calls?endpoint=mobile/check-ref").await.json();
    assert!(calls["calls"][0]["answered"].as_str().unwrap().starts_with("fault:"), "{calls}");
}
