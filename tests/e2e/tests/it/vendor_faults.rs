//! A vendor that is unavailable, gives unreadable answers or does not know the order yet.

use std::time::Duration;

use e2e::{Stack, wait_until};
use serde_json::{Value, json};
use shared::clock::Clock;

#[tokio::test]
async fn an_unavailable_vendor_delays_an_order_and_stops_no_other() {
    let stack = Stack::fast();
    let id = stack.sandbox.send_mobile("0770000001").await;
    let away = json!([{"kind": "raw", "http": 503, "body": "<html>down</html>", "content_type": "text/html", "repeat": "forever"}]);
    stack.sandbox.script(&id, away).await;
    let order = stack.order("mobile", &id);
    order.track().await;
    let delayed = order.wait_for("Order Delayed", 60).await;
    assert_eq!(
        (&delayed.detail["order"]["status"], &delayed.detail["previous_status"]),
        (&Value::Null, &Value::Null)
    );
    assert_eq!(delayed.detail["order"]["parked_as"], "delayed");

    // Another parked order is processed meanwhile.
    let other_id = stack.sandbox.send_internet("ADSL", "036000001").await;
    let other = stack.order("internet", &other_id);
    other.track().await;
    other.wait_for("Order Queued", 60).await;
    other.wait_for("Order Fulfilled", 300).await;

    // Rechecks with growing intervals. They are invoked here, because the schedule runs only once a minute.
    let wait = wait_until("a second failed recheck", Duration::from_secs(150), || async {
        stack.invoke("RECHECK_FUNCTION", &json!({})).await;
        let item = stack.item("mobile", &id).await;
        let number = |name: &str| item[name].as_n().unwrap().parse::<i64>().unwrap();
        // Between claim and commit the item has the new `asked_at` and the old `next_look_at`.
        let wait = number("next_look_at") - number("asked_at");
        (number("failures") >= 2 && wait > 0).then_some(wait)
    })
    .await;
    // RETRY_AFTER_FAILURE is 10 s on this stack and doubles: 10 s, 20 s, 40 s, ±10 %.
    assert!(wait >= 17_900, "{wait}");
    assert_eq!(stack.bus.kinds(&order.key()), ["Order Tracked", "Order Delayed"]);

    stack.sandbox.unscript(&id).await;
    order.wait_for("Order Fulfilled", 150).await;
    order.assert_events(&["Order Tracked", "Order Delayed", "Order Fulfilled"]).await;
}

#[tokio::test]
async fn an_unreadable_answer_changes_nothing() {
    let stack = Stack::express();
    let id = stack.sandbox.send_mobile("0770000002").await;
    let nonsense = json!([
        {"kind": "raw", "http": 200, "body": "<html>REFUNDED 8842119900</html>", "content_type": "text/html"},
        {"kind": "data", "data": {"_id": id, "status": 8_842_119_900_u64}},
        {"kind": "data", "data": {"status": "REFUNDED", "topup_amount": "8842119900"}},
        {"kind": "data", "data": {"_id": "someoneelses", "status": "REFUNDED"}},
        {"kind": "cut"},
        {"kind": "status", "http": 429, "retry_after": 1, "code": "RATE_LIMIT_EXCEEDED"},
        {"kind": "status", "http": 500, "code": "INTERNAL_ERROR"},
    ]);
    stack.sandbox.script(&id, nonsense).await;
    let order = stack.order("mobile", &id);
    order.track().await;
    wait_until("seven unusable answers", Duration::from_secs(60), || async {
        let shown = order.get().await;
        assert_ne!(shown["status"], "REFUNDED");
        (stack.sandbox.calls(&id).await.len() >= 7).then_some(())
    })
    .await;
    order.wait_for("Order Fulfilled", 60).await;
    order.assert_events(&["Order Tracked", "Order Fulfilled"]).await;

    // The log has the path of the unreadable field, but not the body.
    wait_until("the log lines", Duration::from_secs(20), || async {
        let logs = stack.logs();
        let logged = ["data.status", "data._id", "check failed"].iter().all(|text| logs.contains(text));
        assert!(!logs.contains("8842119900"));
        logged.then_some(())
    })
    .await;
}

#[tokio::test]
async fn an_order_not_found_at_first_is_polled_on() {
    let stack = Stack::express();
    let id = stack.sandbox.send_mobile("0770000003").await;
    stack.sandbox.script(&id, json!([{"kind": "not_found", "repeat": 2}])).await;
    let order = stack.order("mobile", &id);
    order.track().await;
    order.wait_for("Order Fulfilled", 90).await;
    order.assert_events(&["Order Tracked", "Order Fulfilled"]).await;
}

#[tokio::test]
async fn an_order_never_found_is_reviewed_and_never_refunded() {
    let stack = Stack::fast();
    let id = format!("{:024x}", Clock::System.now().as_microsecond());
    let order = stack.order("mobile", &id);
    order.track().await;
    let review = order.wait_for("Order Needs Review", 60).await;
    assert_eq!(
        (&review.detail["reason"], &review.detail["order"]["parked_as"]),
        (&"not_found".into(), &"not_found".into())
    );
    order.assert_events(&["Order Tracked", "Order Needs Review"]).await;
}
