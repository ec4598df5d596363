//! Sends that timed out: the caller has a `ref` and no order id.

use std::time::Duration;

use e2e::{Stack, wait_until};
use serde_json::{Value, json};
use shared::clock::Clock;

#[tokio::test]
async fn lookup_tracks_the_order_of_an_unanswered_send() {
    let stack = Stack::express();
    let reference = format!("shop {}", Clock::System.now().as_microsecond());
    stack.sandbox.script_sends(&reference, json!([{"kind": "cut"}])).await;
    let body =
        json!({"plan_code": "PREPAID_DJEZZY", "MSSIDN": "0778037340", "amount": 500, "ref": reference});
    assert!(stack.sandbox.try_send("mobile", body).await.is_none(), "the send must get no answer");

    let lookup = async |reference: &str| {
        let body = json!({"ref": reference}).to_string();
        stack.request("POST", "/orders/mobile/lookup", Some(&body)).await
    };
    let (status, _, text) = lookup(&reference).await;
    assert_eq!(status, 201, "{text}");
    let found: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(found["ref"], reference);
    let order = stack.order("mobile", found["id"].as_str().unwrap());
    let vendor_ref = found["vendor_ref"].as_str().unwrap().to_owned();
    assert!(vendor_ref.starts_with("API-+213") && vendor_ref.ends_with(&reference), "{vendor_ref}");

    // Lookup by the vendor's form of the ref: the same order, already tracked.
    let (status, _, text) = lookup(&vendor_ref).await;
    assert_eq!(status, 200, "{text}");
    assert_eq!(serde_json::from_str::<Value>(&text).unwrap()["id"], order.id.as_str());
    // Another prefix means another order.
    let another = format!("API-+213000000000-{reference}");
    assert_ne!(another, vendor_ref);
    let (status, _, text) = lookup(&another).await;
    assert!(matches!(status, 404 | 502), "{status}: {text}");
    order.wait_for("Order Fulfilled", 90).await;
    order.assert_events(&["Order Tracked", "Order Fulfilled"]).await;
}

#[tokio::test]
async fn lookup_of_an_unknown_ref_answers_404_with_retry_after() {
    let stack = Stack::express();
    let reference = format!("later-{}", Clock::System.now().as_microsecond());
    let ask = async || {
        let body = json!({"ref": reference}).to_string();
        let answer =
            stack.send(Some(stack.env("API_TOKEN")), "POST", "/orders/internet/lookup", Some(&body)).await;
        let retry_after = answer.headers().get("retry-after").map(|wait| wait.to_str().unwrap().to_owned());
        (answer.status().as_u16(), retry_after, answer.text().await.unwrap())
    };
    let (status, retry_after, text) = ask().await;
    assert_eq!((status, retry_after.as_deref()), (404, Some("10")), "{text}");
    assert!(text.contains("may still have been sent"), "{text}");

    // The send succeeds later.
    let body = json!({"type": "ADSL", "number": "036401234", "value": 1000, "ref": reference});
    assert!(stack.sandbox.try_send("internet", body).await.is_some());
    let found = wait_until("the order", Duration::from_secs(30), || async {
        let (status, _, text) = ask().await;
        (status == 201).then_some(text)
    })
    .await;
    let id = serde_json::from_str::<Value>(&found).unwrap()["id"].as_str().unwrap().to_owned();
    stack.order("internet", &id).wait_for("Order Fulfilled", 90).await;
}
