//! Each case of the vendor's documentation ends as documented, through the deployed template.

use e2e::Stack;
use serde_json::{Value, json};

#[tokio::test]
async fn an_ordinary_mobile_order_is_fulfilled_with_at_most_four_calls() {
    let stack = Stack::express();
    let id = stack.sandbox.send_mobile("0778037340").await;
    let order = stack.order("mobile", &id);
    let tracked = order.track().await;
    assert_eq!((&tracked["phase"], &tracked["status"]), (&Value::from("in_flight"), &Value::Null));
    // The shop reports the order twice, so two executions poll it. They share the checks and the events.
    stack.put_event("Top-up Sent", &json!({"product": "mobile", "id": id})).await;
    order.wait_for("Order Fulfilled", 60).await;
    order.assert_events(&["Order Tracked", "Order Fulfilled"]).await;
    let calls = stack.sandbox.calls(&id).await.len();
    assert!((1..=4).contains(&calls), "{calls} calls");

    // A final order is answered from the table, without a call to the vendor.
    for _ in 0..3 {
        let order = order.get().await;
        assert_eq!((&order["phase"], &order["status"]), (&Value::from("final"), &Value::from("FULFILLED")));
        assert_eq!(
            (&order["number"], &order["topup_amount"]),
            (&Value::from("0778037340"), &Value::from(500))
        );
    }
    assert_eq!(stack.sandbox.calls(&id).await.len(), calls);
}

#[tokio::test]
async fn refunds_carry_the_vendors_message_and_offers_unchanged() {
    let stack = Stack::express();
    for (number, has_offers) in [("0600000001", false), ("0600000002", true)] {
        let id = stack.sandbox.send_mobile(number).await;
        let order = stack.order("mobile", &id);
        order.track().await;
        let event = order.wait_for("Order Refunded", 60).await;
        order.assert_events(&["Order Tracked", "Order Refunded"]).await;

        let vendor = &stack.sandbox.check("mobile", &id).await["data"];
        assert!(
            vendor["refund_message"].as_str().unwrap().chars().any(|c| ('\u{600}'..'\u{6ff}').contains(&c))
        );
        assert_eq!(vendor.get("suggested_offers").is_some(), has_offers);
        let ours = order.get().await;
        for shown in [&event.detail["order"], &ours] {
            assert_eq!(shown["refund_message"], vendor["refund_message"]);
            assert_eq!(&shown["suggested_offers"], vendor.get("suggested_offers").unwrap_or(&Value::Null));
        }
        if has_offers {
            // The vendor's field order is kept: the sandbox's offers begin with `plan_code`, which a sorted
            // serialisation would not.
            let text = order.get_text().await;
            assert!(text.contains("{\"plan_code\":"), "{text}");
        }
    }
}

#[tokio::test]
async fn the_scheduled_recheck_brings_an_uncertain_order_to_its_outcome() {
    let stack = Stack::express();
    let id = stack.sandbox.send_mobile("0600000003").await;
    let order = stack.order("mobile", &id);
    order.track().await;
    let uncertain = order.wait_for("Order Uncertain", 60).await;
    assert_eq!(uncertain.detail["order"]["parked_as"], "uncertain");
    assert!(uncertain.detail["order"]["refund_message"].is_string());
    order.wait_for("Order Fulfilled", 240).await;
    order.assert_events(&["Order Tracked", "Order Uncertain", "Order Fulfilled"]).await;
}

#[tokio::test]
async fn cards_are_only_in_the_card_answer_and_reading_one_is_an_event() {
    let stack = Stack::express();
    for kind in ["ADSL", "4G"] {
        let number = if kind == "ADSL" { "036362608" } else { "0213362608" };
        let id = stack.sandbox.send_internet(kind, number).await;
        let order = stack.order("internet", &id);
        order.track().await;
        assert_eq!(order.card().await.0, 409);
        let event = order.wait_for("Order Fulfilled", 60).await;
        assert_eq!(event.detail["order"]["card"]["available"], true);
        let truth = stack.sandbox.truth(&id).await;
        let (status, card) = order.card().await;
        assert_eq!(status, 200);
        let vendor = &stack.sandbox.check("internet", &id).await["data"];
        for field in ["card_code", "num_trans", "date_traitement"] {
            assert!(card[field].is_string() && card[field] == vendor[field], "{field}");
        }
        order.wait_for("Card Revealed", 30).await;
        order.assert_events(&["Order Tracked", "Order Fulfilled", "Card Revealed"]).await;

        let code = truth["card_code"].as_str().unwrap();
        for event in order.history().await {
            assert!(!event.to_string().contains(code), "{}", event["detail_type"]);
        }
        assert!(!order.get_text().await.contains(code));
        let stored = format!("{:?}", stack.item("internet", &id).await);
        assert!(stored.contains("card_ciphertext") && !stored.contains(code));
    }
}

#[tokio::test]
async fn the_scheduled_recheck_brings_a_queued_order_to_its_outcome() {
    let stack = Stack::express();
    for (number, end) in [("036000001", "Order Fulfilled"), ("036000005", "Order Refunded")] {
        let id = stack.sandbox.send_internet("ADSL", number).await;
        let order = stack.order("internet", &id);
        order.track().await;
        order.wait_for("Order Queued", 60).await;
        order.wait_for(end, 240).await;
        order.assert_events(&["Order Tracked", "Order Queued", end]).await;
    }
}

#[tokio::test]
async fn a_late_card_is_published() {
    let stack = Stack::express();
    let id = stack.sandbox.send_internet("ADSL", "036000004").await;
    let order = stack.order("internet", &id);
    order.track().await;
    let fulfilled = order.wait_for("Order Fulfilled", 60).await;
    assert_eq!(fulfilled.detail["order"]["card"]["available"], false);
    assert_eq!(order.card().await.0, 409);
    order.wait_for("Card Available", 240).await;
    order.assert_events(&["Order Tracked", "Order Fulfilled", "Card Available"]).await;
    assert_eq!(order.card().await.0, 200);
}

#[tokio::test]
async fn a_top_up_sent_event_starts_tracking_on_both_state_machine_types() {
    for stack in [Stack::express(), Stack::standard()] {
        let id = stack.sandbox.send_mobile("0660000001").await;
        stack.put_event("Top-up Sent", &json!({"product": "mobile", "id": id, "ref": "mine-1"})).await;
        let order = stack.order("mobile", &id);
        let tracked = order.wait_for("Order Tracked", 60).await;
        assert_eq!(
            (&tracked.detail["by"], &tracked.detail["order"]["ref"]),
            (&"poller".into(), &"mine-1".into())
        );
        order.wait_for("Order Fulfilled", 90).await;
        order.assert_events(&["Order Tracked", "Order Fulfilled"]).await;
    }
}

#[tokio::test]
async fn a_card_is_revealed_only_for_a_fulfilled_order() {
    let stack = Stack::express();
    let early = json!([{"after_seconds": 0, "status": "HANDLING", "fields": {"card_code": "775533991122"}}]);
    let id = stack.sandbox.make("internet", early).await;
    let order = stack.order("internet", &id);
    order.track().await;
    e2e::wait_until("the early card", std::time::Duration::from_secs(30), || async {
        (order.get().await["card"]["available"] == true).then_some(())
    })
    .await;
    assert_eq!(order.card().await.0, 409);
    stack.sandbox.change_status(&id, "REFUNDED").await;
    order.wait_for("Order Refunded", 300).await;
    assert_eq!(order.card().await.0, 404);
    order.assert_events(&["Order Tracked", "Order Refunded"]).await;
}
