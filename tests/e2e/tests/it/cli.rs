//! The command line against the deployed API: one order from tracking to a webhook that is sent again.

use std::{process::Output, time::Duration};

use e2e::{Stack, wait_until};
use serde_json::{Value, json};

const LIMIT: Duration = Duration::from_secs(60);

/// Runs `tracker` with the settings of a stack and nothing else. Cargo builds it beside the tests: clients/cli has tests that run it.
async fn tracker(stack: &Stack, token: &str, words: &[&str]) -> Output {
    let tests = std::env::current_exe().unwrap();
    let program = tests.ancestors().nth(2).unwrap().join("tracker");
    let mut command = tokio::process::Command::new(program);
    command.env_clear().env("TRACKER_URL", stack.env("API_URL")).env("TRACKER_TOKEN", token).args(words);
    command.output().await.unwrap()
}

/// The JSON lines of a command that must succeed.
async fn lines(stack: &Stack, words: &[&str]) -> Vec<Value> {
    let output = tracker(stack, stack.env("API_TOKEN"), &[words, &["--json"]].concat()).await;
    assert!(output.status.success(), "{words:?}: {output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("{words:?}: {line}")))
        .collect()
}

/// Waits until an event of the order was delivered with the attempt of this number.
async fn delivered(stack: &Stack, id: &str, attempt: u32) -> Value {
    wait_until("a delivery", LIMIT, || async {
        let deliveries = lines(stack, &["deliveries", "mobile", id]).await;
        deliveries.into_iter().find(|one| one["attempt_count"] == attempt && one["state"] == "delivered")
    })
    .await
}

#[tokio::test]
async fn the_command_line_follows_an_order_from_tracking_to_a_webhook_that_is_sent_again() {
    let stack = Stack::fast();
    let id = stack.sandbox.make("mobile", json!([{"after_seconds": 0, "status": "FULFILLED"}])).await;
    lines(&stack, &["track", "mobile", &id, "--ref", "from-the-command-line"]).await;
    let order = stack.order("mobile", &id);
    let event = order.wait_for("Order Fulfilled", 60).await.id().to_owned();
    let shown = lines(&stack, &["show", "mobile", &id]).await;
    assert_eq!(
        (&shown[0]["status"], &shown[0]["ref"]),
        (&json!("FULFILLED"), &json!("from-the-command-line"))
    );
    assert_eq!(lines(&stack, &["history", "mobile", &id]).await, order.history().await);
    assert_eq!(delivered(&stack, &id, 1).await["event_id"], event.as_str());
    lines(&stack, &["resend", &event]).await;
    delivered(&stack, &id, 2).await;
    assert_eq!(stack.sandbox.webhooks(&id).await.len(), 2);
    wait_until("the event in the feed", LIMIT, || async {
        let events = lines(&stack, &["events", "--types", "Order Fulfilled"]).await;
        events.iter().any(|shown| shown["event_id"] == event.as_str()).then_some(())
    })
    .await;
}

#[tokio::test]
async fn an_error_of_the_api_is_one_sentence_and_no_token_is_shown() {
    let stack = Stack::fast();
    let unknown = tracker(&stack, stack.env("API_TOKEN"), &["show", "mobile", "never-tracked"]).await;
    let text = String::from_utf8(unknown.stderr).unwrap();
    assert_eq!(unknown.status.code(), Some(1));
    assert!(text.contains("mobile/never-tracked is not tracked; PUT it first"), "{text}");
    let refused = tracker(&stack, "another-token-0123456789", &["show", "mobile", "never-tracked"]).await;
    let text = String::from_utf8(refused.stderr).unwrap();
    assert_eq!(refused.status.code(), Some(1));
    assert!(text.contains("TRACKER_TOKEN") && !text.contains("another-token"), "{text}");
}
