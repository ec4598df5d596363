use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::advance;

use crate::client::{Answer, KEY, Vendor};

/// Creates an order that was sent at `time` on 2026-03-01 and has ended.
pub(crate) async fn make(vendor: &Vendor, product: &str, id: &str, time: &str) {
    let order = json!({"product": product, "id": id, "amount": 500, "sent_at": format!("2026-03-01T{time}Z"),
        "timeline": [{"after_seconds": 0, "status": "FULFILLED"}]});
    let made = vendor.post("/_sandbox/orders", &order.to_string()).await;
    assert_eq!(made.http, 201, "{}", made.body);
}

/// Five mobile orders, `a` to `e`, sent hourly from noon.
pub(crate) async fn five() -> Vendor {
    let vendor = Vendor::start(&[]).await;
    for (id, time) in
        [("c", "14:00:00"), ("a", "12:00:00"), ("e", "16:00:00"), ("b", "13:00:00.250"), ("d", "15:00:00")]
    {
        make(&vendor, "mobile", id, time).await;
    }
    vendor
}

pub(crate) async fn list(vendor: &Vendor, query: &str) -> Answer {
    vendor.get(&format!("/v3/mobile/list?{query}")).await
}

pub(crate) fn rows(answer: &Answer) -> Vec<Value> {
    let data = &answer.json()["data"];
    let rows = data["items"].as_array().or(data["topups"].as_array());
    rows.unwrap_or_else(|| panic!("{}", answer.body)).clone()
}

/// The ids of the rows, in order.
pub(crate) fn ids(answer: &Answer) -> String {
    rows(answer).iter().map(|row| row["_id"].as_str().unwrap()).collect::<Vec<_>>().join(" ")
}

pub(crate) async fn listed(vendor: &Vendor, query: &str) -> String {
    ids(&list(vendor, query).await)
}

#[tokio::test(start_paused = true)]
async fn mobile_list_rows_equal_check_id_except_refund_balance() {
    let vendor = Vendor::start(&[]).await;
    let done = vendor.send_mobile("0665983439").await;
    advance(Duration::from_secs(1)).await;
    let refunded = vendor.send_mobile("0600000002").await;
    advance(Duration::from_secs(15)).await;

    let answer = list(&vendor, "page=1&pageSize=10").await;
    assert_eq!(ids(&answer), format!("{refunded} {done}"), "newest first");
    let body = answer.json();
    assert_eq!(
        body["data"]["pagination"],
        json!({"page": 1, "pageSize": 10, "totalPages": 1, "totalResults": 2})
    );
    assert!(body["success"] == true && body["requestId"].is_string());
    assert_eq!(body["meta"].as_object().unwrap().keys().collect::<Vec<_>>(), ["timestamp"]);

    let rows = rows(&answer);
    assert_eq!(rows[1], vendor.check("mobile", &done).await.json()["data"]);
    let mut checked = vendor.check("mobile", &refunded).await.json()["data"].clone();
    assert_eq!((&checked["balance_amount"], &rows[0]["balance_amount"]), (&json!(490), &json!(0)));
    checked["balance_amount"] = json!(0);
    assert_eq!(rows[0], checked);
    assert!(rows[0]["refund_message"].is_string() && rows[0]["suggested_offers"].is_array());
}

#[tokio::test(start_paused = true)]
async fn internet_lists_contain_card_codes_but_the_log_does_not() {
    let vendor = Vendor::start(&[]).await;
    let mut sent = Vec::new();
    for _ in 0..3 {
        sent.push(vendor.send_internet("036362608").await);
        advance(Duration::from_secs(10)).await;
    }
    let answer = vendor.get("/v3/internet/list?page=1&pageSize=2").await;
    assert_eq!(ids(&answer), format!("{} {}", sent[2], sent[1]));
    let body = answer.json();
    let pagination = json!({"currentPage": 1, "totalPages": 2, "totalItems": 3, "hasNextPage": true});
    assert_eq!(body["meta"], json!({"pagination": pagination}));
    assert_eq!(body["data"].as_object().unwrap().keys().collect::<Vec<_>>(), ["topups"]);
    assert!(body["success"] == true && body.get("requestId").is_none());
    let row = &rows(&answer)[0];
    assert_eq!(*row, vendor.check("internet", &sent[2]).await.json()["data"]);
    assert!(row["num_trans"].is_string() && row["date_traitement"].is_string());
    let last = vendor.get("/v3/internet/list?page=2&pageSize=2").await;
    assert_eq!(ids(&last), sent[0]);
    assert_eq!(last.json()["meta"]["pagination"]["hasNextPage"], false);

    let log = vendor.get("/_sandbox/calls").await.body;
    for row in rows(&answer) {
        for secret in ["card_code", "num_trans", "number"] {
            assert!(!log.contains(row[secret].as_str().unwrap()), "{secret}: {log}");
        }
    }
    assert!(!log.contains(KEY), "{log}");
}

#[tokio::test(start_paused = true)]
async fn pages_have_20_rows_and_the_last_one_is_partial() {
    let vendor = Vendor::start(&[]).await;
    let orders: Vec<_> = (0..45).map(|n| json!({"product": "mobile", "id": format!("{n:02}"), "timeline": [{"after_seconds": 0, "status": "PENDING"}]})).collect();
    assert_eq!(vendor.post("/_sandbox/orders/many", &json!({"orders": orders}).to_string()).await.http, 201);
    let mut seen = Vec::new();
    for (page, count) in [(1, 20), (2, 20), (3, 5), (4, 0), (9_999_999, 0)] {
        let answer = list(&vendor, &format!("page={page}")).await;
        let pagination = json!({"page": page, "pageSize": 20, "totalPages": 3, "totalResults": 45});
        assert_eq!((rows(&answer).len(), &answer.json()["data"]["pagination"]), (count, &pagination));
        seen.extend(rows(&answer).iter().map(|row| row["_id"].as_str().unwrap().to_owned()));
    }
    let newest: Vec<_> = (0..45).rev().map(|n| format!("{n:02}")).collect();
    assert_eq!(seen, newest, "of orders with one time the last created is the newest");
    assert_eq!(rows(&list(&vendor, "pageSize=100").await).len(), 45);
    let none = vendor.get("/v3/internet/list").await.json();
    let pagination = json!({"currentPage": 1, "totalPages": 0, "totalItems": 0, "hasNextPage": false});
    assert_eq!(
        (&none["data"]["topups"], &none["meta"]["pagination"]),
        (&json!([]), &pagination),
        "the lists are separate per product"
    );
}

#[tokio::test(start_paused = true)]
async fn windows_include_both_ends() {
    let vendor = five().await;
    let day = "2026-03-01T";
    for (query, expected) in [
        (String::new(), "e d c b a"),
        (format!("from={day}14:00:00Z"), "e d c"),
        (format!("to={day}14:00:00Z"), "c b a"),
        (format!("from={day}13:00:00.250Z&to={day}13:00:00.250Z"), "b"),
        (format!("from={day}13:00:00.251Z&to={day}14:59:59.999Z"), "c"),
        (format!("from={day}15:00:00%2B01:00&to={day}16:00:00%2B01:00"), "d c"),
        (format!("from={day}15:00:00Z&to={day}14:00:00Z"), ""),
        (format!("from={day}12:00:00Z&to={day}16:00:00Z&pageSize=2&page=2"), "c b"),
    ] {
        assert_eq!(listed(&vendor, &query).await, expected, "{query}");
    }
    let window = list(&vendor, &format!("from={day}14:00:00Z&pageSize=2")).await.json();
    assert_eq!(window["data"]["pagination"]["totalResults"], 3, "total within the window");
}

#[tokio::test(start_paused = true)]
async fn a_window_at_the_exact_shown_time_includes_the_order() {
    let vendor = Vendor::start(&[]).await;
    advance(Duration::from_nanos(1_234_567)).await;
    let id = vendor.send_mobile("0665983439").await;
    let created = vendor.check("mobile", &id).await.json()["data"]["created_at"].clone();
    let created = created.as_str().unwrap();
    assert_eq!(listed(&vendor, &format!("from={created}&to={created}")).await, id);
}

#[tokio::test(start_paused = true)]
async fn invalid_queries_are_rejected() {
    let vendor = five().await;
    for query in [
        "pageSize=0",
        "pageSize=101",
        "pageSize=ten",
        "pageSize=-1",
        "pageSize=",
        "page=0",
        "page=-1",
        "page=first",
        "from=yesterday",
        "to=2026-03-01",
        "from=2026-03-01T12:00:00",
        // An unescaped plus sign in a query is a space.
        "to=2026-03-01T12:00:00+01:00",
        "page=1&page=2",
    ] {
        let answer = list(&vendor, query).await;
        assert_eq!(answer.summary(), "400 ERR_VALIDATION", "{query}");
        assert!(answer.json()["requestId"].is_string());
        let internet = vendor.get(&format!("/v3/internet/list?{query}")).await;
        assert_eq!(internet.summary(), "400 ERR_VALIDATION", "{query}");
        assert!(internet.json().get("requestId").is_none());
    }
    assert_eq!(listed(&vendor, "status=REFUNDED&pageSize=2").await, "e d", "unknown parameters are ignored");
    assert_eq!(vendor.post("/v3/mobile/list", "").await.json()["statusCode"], 404);
}

#[tokio::test(start_paused = true)]
async fn orders_not_yet_visible_are_not_listed() {
    let vendor = Vendor::start(&["--refs-visible-after", "4s"]).await;
    let sent = vendor.send_mobile("0665983439").await;
    let later = r#"{"product":"mobile","id":"later","timeline":[{"after_seconds":6,"status":"PENDING"}]}"#;
    vendor.post("/_sandbox/orders", later).await;
    for (wait, expected) in
        [(3_999, String::new()), (1, sent.clone()), (1_999, sent.clone()), (1, format!("later {sent}"))]
    {
        advance(Duration::from_millis(wait)).await;
        let answer = list(&vendor, "").await;
        assert_eq!(ids(&answer), expected);
        assert_eq!(answer.json()["data"]["pagination"]["totalResults"], rows(&answer).len());
    }
}

#[tokio::test(start_paused = true)]
async fn lists_need_a_key_and_are_counted_as_calls() {
    let vendor = Vendor::start(&["--keys-per-minute", "3"]).await;
    make(&vendor, "mobile", "a", "12:00:00").await;
    let without = vendor.call("GET", "/v3/mobile/list", None, "").await;
    assert_eq!(without.summary(), "401 MISSING_ACCESS_TOKEN");
    let bad = vendor.call("GET", "/v3/internet/list", Some("bad"), "").await;
    assert_eq!(bad.summary(), "401 INVALID_ACCESS_TOKEN");
    assert_eq!(listed(&vendor, "").await, "a");
    assert_eq!(rows(&vendor.get("/v3/internet/list").await).len(), 0);
    assert_eq!(vendor.check("mobile", "a").await.http, 200);
    assert_eq!(list(&vendor, "").await.summary(), "429 RATE_LIMIT_EXCEEDED", "lists share the key's limit");

    let calls = vendor.get("/_sandbox/calls?endpoint_kind=list").await.json();
    assert_eq!(calls["by_endpoint"], json!({"mobile/list": 3, "internet/list": 2}));
    assert_eq!(calls["by_order"], json!({}));
    let of = |n: usize| (&calls["calls"][n]["answered"], &calls["calls"][n]["rows"]);
    assert_eq!(of(0), (&json!("MISSING_ACCESS_TOKEN"), &json!(null)));
    assert_eq!((of(2), of(3)), ((&json!("listed"), &json!(1)), (&json!("listed"), &json!(0))));
    for (kinds, total) in
        [("check", 1), ("list", 5), ("check,list", 6), ("list,check", 6), ("send,validate,unknown", 0)]
    {
        let counted = vendor.get(&format!("/_sandbox/calls?endpoint_kind={kinds}")).await.json();
        assert_eq!(counted["total"], total, "{kinds}");
        let windows =
            vendor.get(&format!("/_sandbox/calls/windows?seconds=61&endpoint_kind={kinds}")).await.json();
        assert_eq!(
            windows["total"],
            total - u64::from(kinds.contains("list")),
            "calls without a key are not counted"
        );
    }
    for kinds in ["look", "check,", ""] {
        let wrong = vendor.get(&format!("/_sandbox/calls?endpoint_kind={kinds}")).await;
        assert_eq!(wrong.http, 400, "{kinds}");
    }
    let check = vendor.get("/_sandbox/calls?endpoint_kind=check").await.json();
    assert_eq!(check["calls"][0]["rows"], json!(null));
    assert_eq!(vendor.truth("a").await["calls"], 1, "a list call is not counted as a check of the order");
    for _ in 0..20 {
        vendor.call("GET", "/v3/mobile/list", Some("bad"), "").await;
    }
    assert_eq!(list(&vendor, "").await.summary(), "403 IP_BLOCKED");
}
