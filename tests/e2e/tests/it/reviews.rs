//! The operator's lists and reviews, over the deployed API: found, checked again with a reason, settled by the vendor, closed.

use std::time::Duration;

use e2e::{Stack, wait_until};
use futures_util::future::join;
use serde_json::{Value, json};
use shared::clock::Clock;

const LIMIT: Duration = Duration::from_secs(60);

/// The ids of a list, read to its end in pages of `limit`.
async fn listed(stack: &Stack, query: &str, limit: u32) -> Vec<String> {
    let (mut ids, mut cursor) = (Vec::new(), String::new());
    loop {
        let path = format!("/orders?{query}&limit={limit}{cursor}");
        let (status, _, text) = stack.request("GET", &path, None).await;
        assert_eq!(status, 200, "{path}: {text}");
        let page: Value = serde_json::from_str(&text).unwrap();
        let orders = page["orders"].as_array().unwrap();
        assert!(orders.len() <= limit as usize, "{path}");
        ids.extend(orders.iter().map(|order| order["id"].as_str().unwrap().to_owned()));
        match page["next"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return ids,
        }
    }
}

/// Waits until the list has the order, or has it no more. The index can be late.
async fn wait_listed(stack: &Stack, query: &str, id: &str, is_listed: bool) {
    wait_until("the list", LIMIT, || async {
        (listed(stack, query, 3).await.iter().any(|listed| listed == id) == is_listed).then_some(())
    })
    .await;
}

async fn review(stack: &Stack, key: &str, action: &str) -> (u16, Value) {
    let act = json!({"actor": "Amina", "reason": "the vendor was asked", "action": action}).to_string();
    let (status, _, text) = stack.request("POST", &format!("/orders/{key}/review"), Some(&act)).await;
    (status, serde_json::from_str(&text).unwrap())
}

#[tokio::test]
async fn an_uncertain_order_is_found_checked_again_and_settled_by_the_vendor() {
    let stack = Stack::fast();
    let timeline = json!([{"after_seconds": 0, "status": "UNKNOWN_ERROR"}, {"after_seconds": 10, "status": "FULFILLED"}]);
    let order = stack.order("mobile", &stack.sandbox.make("mobile", timeline).await);
    order.track().await;
    assert_eq!(review(&stack, &order.key(), "recheck").await.0, 409, "in flight");
    order.wait_for("Order Uncertain", 60).await;
    wait_listed(&stack, "parked_as=uncertain&product=mobile", &order.id, true).await;
    assert!(!listed(&stack, "phase=parked&parked_as=queued", 100).await.contains(&order.id));
    assert!(!listed(&stack, "phase=parked&older_than=1h", 100).await.contains(&order.id));

    // Its own next check follows in an hour; this one comes with the next recheck.
    let settled = async || stack.sandbox.truth(&order.id).await["status"] == "FULFILLED";
    wait_until("the vendor to settle it", LIMIT, || async { settled().await.then_some(()) }).await;
    let (status, after) = review(&stack, &order.key(), "recheck").await;
    assert_eq!((status, &after["status"]), (200, &json!("UNKNOWN_ERROR")), "{after}");
    order.wait_for("Order Fulfilled", 90).await;
    order.assert_events(&["Order Tracked", "Order Uncertain", "Order Reviewed", "Order Fulfilled"]).await;
    wait_listed(&stack, "phase=parked", &order.id, false).await;
    wait_listed(&stack, "phase=final", &order.id, true).await;
    let (status, problem) = review(&stack, &order.key(), "recheck").await;
    assert_eq!(status, 409, "{problem}");
}

#[tokio::test]
async fn a_review_is_open_until_a_person_closes_it_and_of_two_persons_one_gets_409() {
    let stack = Stack::fast();
    let timeline =
        json!([{"after_seconds": 0, "status": "TELEPORTED"}, {"after_seconds": 4, "status": "FULFILLED"}]);
    let order = stack.order("mobile", &stack.sandbox.make("mobile", timeline).await);
    order.track().await;
    order.wait_for("Order Needs Review", 60).await;
    order.wait_for("Order Fulfilled", 60).await;
    wait_listed(&stack, "review=open", &order.id, true).await;
    wait_listed(&stack, "review=open&product=internet", &order.id, false).await;
    let open = json!([{"seq": 2, "reason": "unrecognised_status"}]);
    assert_eq!(order.get().await["open_reviews"], open, "an outcome closes no review");

    let ((one, _), (other, _)) =
        join(review(&stack, &order.key(), "close"), review(&stack, &order.key(), "close")).await;
    assert_eq!((one.min(other), one.max(other)), (200, 409));
    wait_listed(&stack, "review=open", &order.id, false).await;
    assert_eq!(order.get().await["open_reviews"], json!([]));
    order.wait_for("Order Reviewed", 60).await;
    order.assert_events(&["Order Tracked", "Order Needs Review", "Order Fulfilled", "Order Reviewed"]).await;
    let history = order.history().await;
    let acted = &history[3];
    assert_eq!(
        [&acted["actor"], &acted["note"], &acted["action"], &acted["closed"]],
        [&json!("Amina"), &json!("the vendor was asked"), &json!("close"), &json!([2])]
    );
}

#[tokio::test]
async fn orders_are_found_by_their_ref_whenever_it_came() {
    let stack = Stack::fast();
    let reference = format!("list-{}", Clock::System.now().as_microsecond());
    let body = json!({"ref": reference}).to_string();
    let mut ids = Vec::new();
    for (product, is_late) in [("mobile", false), ("internet", true)] {
        let id = stack.sandbox.make(product, json!([{"after_seconds": 0, "status": "HANDLING"}])).await;
        let path = format!("/orders/{product}/{id}");
        if is_late {
            assert_eq!(stack.request("PUT", &path, None).await.0, 201);
        }
        let (status, _, text) = stack.request("PUT", &path, Some(&body)).await;
        assert_eq!(status, if is_late { 200 } else { 201 }, "{text}");
        ids.push(id);
    }
    let by_ref = format!("ref={reference}");
    wait_until("both orders", LIMIT, || async { (listed(&stack, &by_ref, 1).await == ids).then_some(()) })
        .await;
    assert_eq!(listed(&stack, &format!("{by_ref}&product=internet"), 100).await, ids[1..]);
    assert_eq!(listed(&stack, &format!("{by_ref}0"), 100).await, [""; 0]);
}
