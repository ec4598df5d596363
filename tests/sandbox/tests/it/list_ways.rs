use std::collections::BTreeSet;
use std::time::Duration;

use tokio::time::Instant;

use crate::client::Vendor;
use crate::lists::{five, ids, list, listed, make};

#[tokio::test(start_paused = true)]
async fn a_new_order_shifts_pages_unless_oldest_first() {
    let vendor = five().await;
    assert_eq!(listed(&vendor, "pageSize=2&page=1").await, "e d");
    make(&vendor, "mobile", "f", "17:00:00").await;
    assert_eq!(listed(&vendor, "pageSize=2&page=2").await, "d c", "d again");
    vendor.control("lists", r#"{"order":"oldest"}"#).await;
    assert_eq!(listed(&vendor, "pageSize=2&page=1").await, "a b");
    make(&vendor, "mobile", "g", "18:00:00").await;
    assert_eq!(listed(&vendor, "pageSize=2&page=2").await, "c d");
    vendor.delete("/_sandbox/lists").await;
    assert_eq!(listed(&vendor, "pageSize=2").await, "g f");
}

#[tokio::test(start_paused = true)]
async fn shuffled_rows_change_order_at_every_call() {
    let vendor = five().await;
    vendor.control("lists", r#"{"order":"shuffled"}"#).await;
    let mut orders = BTreeSet::new();
    for _ in 0..30 {
        let said = listed(&vendor, "").await;
        let mut sorted: Vec<_> = said.split(' ').collect();
        sorted.sort_unstable();
        assert_eq!(sorted, ["a", "b", "c", "d", "e"]);
        orders.insert(said);
    }
    assert!(orders.len() > 10, "{orders:?}");
    let windowed = listed(&vendor, "from=2026-03-01T16:00:00Z").await;
    assert_eq!(windowed, "e", "the window still applies");
}

#[tokio::test(start_paused = true)]
async fn the_compared_time_can_be_chosen() {
    let vendor = five().await;
    let next = r#"{"product":"mobile","id":"z","sent_at":"2026-03-02T00:00:00Z","timeline":[{"after_seconds":0,"status":"PENDING"}]}"#;
    assert_eq!(vendor.post("/_sandbox/orders", next).await.http, 201);
    let (afternoon, later) =
        ("from=2026-03-01T15:30:00Z&to=2026-03-01T15:40:00Z", "from=2026-03-03T00:00:00Z");
    assert_eq!(listed(&vendor, afternoon).await, "");
    vendor.control("lists", r#"{"compares":"day"}"#).await;
    assert_eq!(listed(&vendor, afternoon).await, "e d c b a", "that day only");
    assert_eq!(listed(&vendor, "from=2026-03-02T23:30:00-01:00").await, "");
    assert_eq!(listed(&vendor, "from=2026-03-03T00:30:00%2B01:00").await, "z", "the day in UTC");
    vendor.control("lists", r#"{"compares":"nothing"}"#).await;
    assert_eq!(listed(&vendor, later).await, "z e d c b a");
    assert_eq!(
        list(&vendor, "from=x").await.summary(),
        "400 ERR_VALIDATION",
        "the value is validated anyway"
    );
    vendor.control("lists", r#"{"compares":"created_at"}"#).await;
    assert_eq!(listed(&vendor, later).await, "");
}

#[tokio::test(start_paused = true)]
async fn hidden_orders_are_not_listed_and_changes_are_partial() {
    let vendor = five().await;
    vendor.control("lists", r#"{"hides":["b","d"],"order":"oldest"}"#).await;
    let answer = list(&vendor, "").await;
    assert_eq!(ids(&answer), "a c e");
    assert_eq!(answer.json()["data"]["pagination"]["totalResults"], 3);
    assert_eq!(vendor.check("mobile", "b").await.summary(), "200 FULFILLED", "the order exists");
    vendor.control("lists", r#"{"order":"newest"}"#).await;
    assert_eq!(listed(&vendor, "").await, "e c a");
    vendor.control("lists", r#"{"hides":["e"]}"#).await;
    assert_eq!(listed(&vendor, "").await, "d c b a");
    for wrong in [r#"{"order":"up"}"#, r#"{"compares":"month"}"#, r#"{"hide":["a"]}"#] {
        assert_eq!(vendor.post("/_sandbox/lists", wrong).await.http, 400, "{wrong}");
    }
    vendor.delete("/_sandbox/lists").await;
    assert_eq!(listed(&vendor, "").await, "e d c b a");
}

#[tokio::test(start_paused = true)]
async fn scripts_and_outages_apply_to_lists() {
    let vendor = five().await;
    let internet = async || vendor.get("/v3/internet/list").await;
    vendor.control("lists/script", r#"{"answers":[{"kind":"status","http":503,"repeat":2},{"kind":"not_found"},
        {"kind":"raw","http":200,"body":"<p>"},{"kind":"data","data":{"items":[{"z":1}]}},{"kind":"slow","seconds":5},{"kind":"cut"}]}"#).await;
    assert_eq!(list(&vendor, "").await.summary(), "503 SERVICE_UNAVAILABLE");
    assert_eq!(internet().await.summary(), "503 SERVICE_UNAVAILABLE", "the script is for either product");
    assert_eq!(vendor.check("mobile", "a").await.summary(), "200 FULFILLED", "lists only");
    assert_eq!(list(&vendor, "").await.summary(), "404 NOT_FOUND");
    assert_eq!(list(&vendor, "").await.body, "<p>");
    let data = list(&vendor, "").await;
    assert!(data.body.starts_with(r#"{"success":true,"data":{"items":[{"z":1}]},"meta":{"#), "{}", data.body);
    let asked = Instant::now();
    assert_eq!(listed(&vendor, "").await, "e d c b a");
    assert!(asked.elapsed() >= Duration::from_secs(5));
    let cut = list(&vendor, "").await;
    let promised: usize = cut.header("content-length").unwrap().parse().unwrap();
    assert_eq!((cut.http, cut.body.len()), (200, promised / 2));
    assert_eq!(listed(&vendor, "").await, "e d c b a", "the script has ended");

    let one = r#"{"product":"internet","answers":[{"kind":"status","http":500,"repeat":"forever"}]}"#;
    vendor.control("lists/script", one).await;
    assert_eq!(internet().await.summary(), "500 INTERNAL_ERROR");
    assert_eq!(list(&vendor, "").await.http, 200, "the other product has no script");
    vendor.delete("/_sandbox/lists/script").await;
    assert_eq!(internet().await.http, 200);
    assert_eq!(vendor.post("/_sandbox/lists/script", r#"{"answers":[{"kind":"explode"}]}"#).await.http, 400);

    vendor.control("outage", r#"{"kind":"status","http":503}"#).await;
    assert_eq!(list(&vendor, "").await.summary(), "503 SERVICE_UNAVAILABLE");
    let answered: Vec<_> = vendor.get("/_sandbox/calls?endpoint=mobile/list").await.json()["calls"]
        .as_array()
        .unwrap()
        .iter()
        .map(|call| format!("{} {}", call["answered"].as_str().unwrap(), call["rows"]))
        .collect();
    assert_eq!(
        answered,
        [
            "script:status SERVICE_UNAVAILABLE null",
            "script:not_found NOT_FOUND null",
            "script:raw null",
            "script:data null",
            "script:slow listed 5",
            "script:cut listed 5",
            "listed 5",
            "listed 5",
            "outage:status SERVICE_UNAVAILABLE null",
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn lists_get_random_faults_unless_scripted() {
    let vendor = Vendor::start(&["--faults", "1", "--fault-seed", "7", "--time-scale", "1000"]).await;
    vendor.control("lists/script", r#"{"answers":[{"kind":"normal"}]}"#).await;
    for _ in 0..41 {
        list(&vendor, "").await;
    }
    let calls = vendor.get("/_sandbox/calls?endpoint_kind=list").await.json();
    let calls = calls["calls"].as_array().unwrap();
    assert_eq!(calls[0]["answered"], "listed");
    let kinds: BTreeSet<_> = calls[1..].iter().map(|call| call["answered"].as_str().unwrap()).collect();
    let all = ["fault:429", "fault:503", "fault:cut", "fault:not_json", "fault:slow_body"];
    assert_eq!(kinds.into_iter().collect::<Vec<_>>(), all);
}
