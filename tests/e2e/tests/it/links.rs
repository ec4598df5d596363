//! Linked orders: the tracker tracks each once, records the link on both sides and ends every chain.

use e2e::Stack;
use serde_json::json;
use shared::clock::Clock;

#[tokio::test]
async fn a_cycle_of_linked_orders_is_tracked_once_each() {
    let stack = Stack::express();
    let name = format!("link{}", Clock::System.now().as_microsecond());
    let id = |letter: &str| format!("{name}-{letter}");
    // a is redirected to b; b is refunded and retried as c; c links back to a.
    let steps = |ends_as: &str, fields: serde_json::Value| json!([{"after_seconds": 0, "status": "HANDLING"}, {"after_seconds": 9, "status": ends_as, "fields": fields}]);
    let orders = [
        (id("a"), steps("FULFILLED", json!({"follow_orderid": id("b")}))),
        (id("b"), steps("REFUNDED", json!({"retry_orderid": id("c"), "refund_message": "x"}))),
        (id("c"), steps("FULFILLED", json!({"follow_orderid": id("a")}))),
    ];
    for (id, timeline) in &orders {
        stack.sandbox.make_as(id, "mobile", timeline.clone()).await;
    }
    let [a, b, c] = orders.map(|(id, _)| stack.order("mobile", &id));
    a.track().await;
    a.wait_for("Order Fulfilled", 90).await;
    let tracked = b.wait_for("Order Tracked", 30).await;
    assert_eq!(
        (&tracked.detail["by"], &tracked.detail["order"]["linked_from"]),
        (&json!("link"), &json!([a.id]))
    );
    b.wait_for("Order Needs Review", 90).await;
    c.wait_for("Order Fulfilled", 90).await;
    a.assert_events(&["Order Tracked", "Order Fulfilled"]).await;
    b.assert_events(&["Order Tracked", "Order Refunded", "Order Needs Review"]).await;
    assert_eq!(b.history().await[2]["reason"], "retried");
    c.assert_events(&["Order Tracked", "Order Fulfilled"]).await;
    for (order, from, follow, retry) in [
        (&a, &c, json!(b.id), json!(null)),
        (&b, &a, json!(null), json!(c.id)),
        (&c, &b, json!(a.id), json!(null)),
    ] {
        let shown = order.get().await;
        assert_eq!(shown["linked_from"], json!([from.id]), "{shown}");
        assert_eq!((&shown["follow_order_id"], &shown["retry_order_id"]), (&follow, &retry), "{shown}");
    }
    for order in [&a, &c] {
        assert_eq!(stack.due_in_minutes("mobile", &order.id).await, None, "not due");
    }
    let late = stack.due_in_minutes("mobile", &b.id).await.unwrap();
    assert!(late >= 50, "the late check is due in {late} minutes");
}
