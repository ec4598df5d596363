use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::time::advance;

use crate::client::Vendor;

#[tokio::test(start_paused = true)]
async fn an_order_can_be_created_in_the_past() {
    let vendor = Vendor::start(&["--time-scale", "0.5"]).await;
    let now = vendor.get("/v3/mobile/list").await.json()["meta"]["timestamp"].clone();
    let ago = |seconds: i64| {
        let now: Timestamp = now.as_str().unwrap().parse().unwrap();
        format!("{:.3}", now - jiff::SignedDuration::from_secs(seconds))
    };
    let order = |id: &str, sent_at: &str| {
        json!({"product": "internet", "id": id, "sent_at": sent_at, "timeline": [
            {"after_seconds": 0, "status": "HANDLING"},
            {"after_seconds": 20, "status": "QUEUED"},
            {"after_seconds": 200, "status": "FULFILLED"}]})
        .to_string()
    };
    assert_eq!(vendor.post("/_sandbox/orders", &order("o", &ago(10))).await.http, 201);
    let check = vendor.check("internet", "o").await;
    assert_eq!(check.summary(), "200 QUEUED", "20 s unscaled are 10 s at scale 0.5");
    assert_eq!(check.json()["data"]["created_at"], ago(10));
    assert_eq!(vendor.truth("o").await["sent_at"], ago(10));
    advance(Duration::from_secs(90)).await;
    assert_eq!(vendor.check("internet", "o").await.summary(), "200 FULFILLED");
    for wrong in [ago(-1_000), "1969-12-31T23:59:59Z".to_owned(), "yesterday".to_owned()] {
        let answer = vendor.post("/_sandbox/orders", &order("p", &wrong)).await;
        assert_eq!(answer.http, 400, "{wrong}: {}", answer.body);
    }
}

#[tokio::test(start_paused = true)]
async fn many_orders_are_created_in_one_call_or_none() {
    let vendor = Vendor::start(&[]).await;
    let order = |product: &str, id: Option<&str>, after: i64| {
        let mut order =
            json!({"product": product, "timeline": [{"after_seconds": after, "status": "PENDING"}]});
        if let Some(id) = id {
            order["id"] = json!(id);
        }
        order
    };
    let many = async |orders: &[Value]| {
        vendor.post("/_sandbox/orders/many", &json!({"orders": orders}).to_string()).await
    };
    let good = order("mobile", Some("a"), 0);
    let made = many(&[good.clone(), order("internet", None, 0)]).await;
    assert_eq!((made.http, &made.json()["ids"][0]), (201, &json!("a")));
    let made_up = made.json()["ids"][1].as_str().unwrap().to_owned();
    assert_eq!(vendor.check("internet", &made_up).await.summary(), "200 PENDING");

    let fresh = order("mobile", Some("b"), 0);
    for (second, http, complaint) in [
        (order("mobile", None, -1), 400, "orders[1]: after_seconds"),
        (order("telegram", None, 0), 400, "telegram"),
        (good, 409, "orders[1]: there is an order a already"),
        (fresh.clone(), 409, "orders[1]: there is an order b already"),
    ] {
        let refused = many(&[fresh.clone(), second]).await;
        assert_eq!(refused.http, http, "{}", refused.body);
        let said = refused.json()["error"].as_str().unwrap().to_owned();
        assert!(said.contains(complaint), "{said}");
    }
    assert_eq!(vendor.check("mobile", "b").await.summary(), "404 NOT_FOUND", "no order was created");
    assert_eq!(many(&[]).await.json(), json!({"ids": []}));

    // Of the size of a typical test order.
    let long = |n: usize| {
        let mut long = order("internet", None, 0);
        long["ref"] = json!(format!("API-+213036362608-reference-{n}"));
        long["timeline"][0]["fields"] = json!({"card_code": "0".repeat(300), "num_trans": "0".repeat(100)});
        long
    };
    let made = many(&(0..10_000).map(long).collect::<Vec<_>>()).await;
    assert_eq!((made.http, made.json()["ids"].as_array().map(Vec::len)), (201, Some(10_000)));
    let pages = vendor.get("/v3/internet/list").await.json();
    assert_eq!(pages["meta"]["pagination"]["totalItems"], 10_001);
}
