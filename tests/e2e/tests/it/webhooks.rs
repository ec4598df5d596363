//! Webhooks of the deployed stack: rule, queue, `notify`, the sandbox's receiver, and what the API says of each delivery.

use std::time::Duration;

use e2e::{Stack, wait_until};
use serde_json::{Value, json};
use standardwebhooks::Webhook;

const LIMIT: Duration = Duration::from_secs(60);

/// An order that is fulfilled 1 s after it was sent, not tracked yet.
async fn fulfilled(stack: &Stack) -> String {
    stack.sandbox.make("mobile", json!([{"after_seconds": 0, "status": "FULFILLED"}])).await
}

/// The deliveries of an order's events.
async fn deliveries(stack: &Stack, id: &str) -> Vec<Value> {
    let (status, _, text) = stack.request("GET", &format!("/orders/mobile/{id}/deliveries"), None).await;
    assert_eq!(status, 200, "{text}");
    serde_json::from_str::<Value>(&text).unwrap()["deliveries"].as_array().unwrap().clone()
}

/// Waits until the delivery of the order's first event that is sent has this state.
async fn delivery(stack: &Stack, id: &str, state: &str) -> Value {
    wait_until("a delivery", LIMIT, || async {
        deliveries(stack, id).await.into_iter().find(|delivery| delivery["state"] == state)
    })
    .await
}

/// Whether the list of failed deliveries has this event; reads all of its pages.
async fn is_listed_as_failed(stack: &Stack, event: &str) -> bool {
    let mut cursor = String::new();
    loop {
        let (status, _, text) =
            stack.request("GET", &format!("/deliveries?state=failed&limit=1{cursor}"), None).await;
        assert_eq!(status, 200, "{text}");
        let page: Value = serde_json::from_str(&text).unwrap();
        if page["deliveries"].as_array().unwrap().iter().any(|delivery| delivery["event_id"] == event) {
            return true;
        }
        match page["next"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return false,
        }
    }
}

fn resend_path(event: &str) -> String {
    format!("/deliveries/{}/resend", event.replace('/', "%2F").replace('#', "%23"))
}

#[tokio::test]
async fn an_outcome_is_sent_signed_and_as_it_is_on_the_bus() {
    let stack = Stack::fast();
    let order = stack.order("mobile", &fulfilled(&stack).await);
    order.track().await;
    let on_bus = order.wait_for("Order Fulfilled", 60).await;
    let delivered = delivery(&stack, &order.id, "delivered").await;
    assert_eq!(delivered["event_id"], on_bus.detail["event_id"]);
    assert_eq!((&delivered["attempt_count"], &delivered["next_attempt_at"]), (&json!(1), &Value::Null));
    assert_eq!(delivered["attempts"][0]["status"], 204);
    let received = stack.sandbox.webhooks(&order.id).await;
    let [webhook] = &received[..] else {
        panic!("only the outcome is sent, not Order Tracked: {received:?}")
    };
    let body: Value = serde_json::from_str(webhook["body"].as_str().unwrap()).unwrap();
    assert_eq!((&body["source"], &body["detail-type"]), (&json!("topup-tracker"), &json!("Order Fulfilled")));
    assert_eq!(body["detail"], on_bus.detail);
    let text = |name: &str| webhook[name].as_str().unwrap();
    assert_eq!(text("id"), on_bus.id());
    let headers =
        ["id", "timestamp", "signature"].map(|name| (format!("webhook-{name}"), text(name).to_owned()));
    let headers = http::HeaderMap::from_iter(
        headers.map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())),
    );
    let secret = Webhook::new(stack.env("WEBHOOK_SECRET")).unwrap();
    secret.verify(text("body").as_bytes(), &headers).unwrap();
    assert!(secret.verify(text("body").replace("FULFILLED", "REFUNDED").as_bytes(), &headers).is_err());
}

#[tokio::test]
async fn an_event_that_was_not_taken_is_sent_again() {
    let stack = Stack::fast();
    let order = stack.order("mobile", &fulfilled(&stack).await);
    let answers = json!([{"kind": "status", "http": 500}, {"kind": "status", "http": 429, "retry_after": 3}]);
    stack.sandbox.script_webhooks(&order.id, answers).await;
    order.track().await;
    let delivered = delivery(&stack, &order.id, "delivered").await;
    let statuses: Vec<_> =
        delivered["attempts"].as_array().unwrap().iter().map(|attempt| &attempt["status"]).collect();
    assert_eq!(statuses, [500, 429, 204]);
    let at = |attempt: usize| {
        delivered["attempts"][attempt]["at"].as_str().unwrap().parse::<jiff::Timestamp>().unwrap()
    };
    assert!(at(2).duration_since(at(1)).as_secs() >= 3, "Retry-After is kept: {delivered}");
    let ids: Vec<_> =
        stack.sandbox.webhooks(&order.id).await.into_iter().map(|webhook| webhook["id"].clone()).collect();
    assert!(ids.len() == 3 && ids.iter().all(|id| *id == delivered["event_id"]), "{ids:?}");
}

#[tokio::test]
async fn an_event_that_is_given_up_is_listed_and_can_be_sent_again() {
    let stack = Stack::fast();
    let order = stack.order("mobile", &fulfilled(&stack).await);
    stack.sandbox.script_webhooks(&order.id, json!([{"kind": "status", "http": 410}])).await;
    order.track().await;
    let failed = delivery(&stack, &order.id, "failed").await;
    let event = failed["event_id"].as_str().unwrap();
    wait_until("the list of failed deliveries", LIMIT, || async {
        is_listed_as_failed(&stack, event).await.then_some(())
    })
    .await;
    let (status, _, text) = stack.request("POST", &resend_path(event), None).await;
    assert_eq!((status, text.as_str()), (202, json!({"event_id": event}).to_string().as_str()));
    let delivered = delivery(&stack, &order.id, "delivered").await;
    assert_eq!(delivered["attempt_count"], 2);
    assert!(!is_listed_as_failed(&stack, event).await);
    let received = stack.sandbox.webhooks(&order.id).await;
    let body = |at: usize| serde_json::from_str::<Value>(received[at]["body"].as_str().unwrap()).unwrap();
    assert_eq!((&body(1)["source"], &body(1)["detail"]), (&body(0)["source"], &body(0)["detail"]));
}

#[tokio::test]
async fn only_an_event_that_exists_can_be_sent_again() {
    let stack = Stack::fast();
    let order = stack.order("mobile", &fulfilled(&stack).await);
    order.track().await;
    for (event, expected) in [
        (format!("mobile/{}#99", order.id), 404),
        ("mobile/never-tracked#1".to_owned(), 404),
        ("vendor/1f2e3d4c5b6a7988#1".to_owned(), 404),
        ("mobile/1".to_owned(), 400),
        ("fax/1#1".to_owned(), 400),
    ] {
        let (status, kind, text) = stack.request("POST", &resend_path(&event), None).await;
        assert_eq!((status, kind.as_str()), (expected, "application/problem+json"), "{event}: {text}");
        assert_eq!(serde_json::from_str::<Value>(&text).unwrap()["field"], "event_id", "{text}");
    }
    let (status, ..) = stack.request("GET", "/orders/mobile/never-tracked/deliveries", None).await;
    assert_eq!(status, 404);
    for (query, field) in [("state=delivered", "state"), ("cursor=x", "cursor"), ("limit=0", "limit")] {
        let (status, _, text) = stack.request("GET", &format!("/deliveries?{query}"), None).await;
        assert_eq!(status, 400, "{text}");
        assert_eq!(serde_json::from_str::<Value>(&text).unwrap()["field"], field, "{text}");
    }
}
