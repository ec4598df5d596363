//! `make redrive`: dead letters are redriven once to their source; unreadable ones stay in their queue.

use std::{path::Path, process::Output, time::Duration};

use aws_sdk_sqs::types::MessageAttributeValue;
use e2e::{Stack, wait_until};
use jiff::Timestamp;
use serde_json::{Value, json};
use shared::clock::Clock;

/// One test at a time: received letters are hidden from the other test.
static TURN: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

/// Puts a letter into the queue as its sender would. Returns its message id.
async fn put(stack: &Stack, queue: &str, body: &Value, attributes: &[(&str, &str)]) -> String {
    let mut call = stack.sqs().send_message().queue_url(stack.env(queue)).message_body(body.to_string());
    for (name, value) in attributes {
        let value =
            MessageAttributeValue::builder().data_type("String").string_value(*value).build().unwrap();
        call = call.message_attributes(*name, value);
    }
    call.send().await.unwrap().message_id.unwrap()
}

/// Runs the script on the stack for these letters only; other tests leave letters in the same queues.
async fn redrive(stack: &Stack, letters: &[&String], more: &[&str]) -> Output {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut command = tokio::process::Command::new(root.join(".tools/python/bin/python"));
    command.args(["-m", "infra.local.redrive"]).args(more).current_dir(&root);
    for letter in letters {
        command.args(["--message", letter]);
    }
    for name in ["AWS_ENDPOINT_URL", "AWS_REGION", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"] {
        command.env(name, stack.env(name));
    }
    command.env_remove("STACK_NAME").env_remove("AWS_PROFILE").env_remove("AWS_SESSION_TOKEN");
    command.output().await.unwrap()
}

fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// Start times of the executions named after the letter.
async fn executions(stack: &Stack, letter: &str) -> Vec<Timestamp> {
    let listed =
        stack.sfn().list_executions().state_machine_arn(stack.env("STATE_MACHINE_ARN")).send().await.unwrap();
    let of_letter = listed.executions.into_iter().filter(|execution| execution.name.contains(letter));
    of_letter
        .map(|execution| Timestamp::from_millisecond(execution.start_date.to_millis().unwrap()).unwrap())
        .collect()
}

#[tokio::test]
async fn dead_letters_are_redriven_to_their_source() {
    let _turn = TURN.lock().await;
    let stack = Stack::standard();
    let mut orders = Vec::new();
    for number in ["0770000011", "0770000012", "0770000013"] {
        orders.push(stack.order("mobile", &stack.sandbox.send_mobile(number).await));
    }
    let [polled, sent, tracked] = orders.as_slice() else { panic!("three orders") };
    let input = |id: &str| json!({"product": "mobile", "id": id, "ref": "redriven"});
    let rule = |name: &str| {
        [
            ("RULE_ARN", format!("arn:aws:events:us-east-1:000000000000:rule/topup-tracker-events/{name}")),
            ("TARGET_ARN", stack.env("STATE_MACHINE_ARN").to_owned()),
            ("ERROR_CODE", "NO_PERMISSIONS".to_owned()),
        ]
    };
    let (of_sent, of_tracked) = (rule("SentRule"), rule("TrackedRule"));
    let of_sent = of_sent.each_ref().map(|(name, value)| (*name, value.as_str()));
    let of_tracked = of_tracked.each_ref().map(|(name, value)| (*name, value.as_str()));
    let schedule: Value =
        serde_json::from_str(include_str!("../../../../events/recheck-schedule.json")).unwrap();
    let failure = json!({"version": "1.0", "timestamp": Clock::System.now().to_string(),
        "requestContext": {"condition": "RetriesExhausted", "approximateInvokeCount": 1},
        "requestPayload": schedule, "responseContext": {"statusCode": 200, "functionError": "Unhandled"},
        "responsePayload": {"errorType": "StoreUnavailable", "errorMessage": "the table: no connection"}});
    let letter =
        json!({"input": input(&polled.id), "error": "StoreUnavailable", "cause": "", "execution": "arn"});
    let event = |kind: &str, detail: Value| json!({"version": "0", "source": "shop.example", "detail-type": kind, "detail": detail});

    let of_poller = put(&stack, "POLLER_DEAD_LETTERS", &letter, &[]).await;
    let letters = [
        &of_poller,
        &put(&stack, "RULE_DEAD_LETTERS", &event("Top-up Sent", input(&sent.id)), &of_sent).await,
        &put(
            &stack,
            "RULE_DEAD_LETTERS",
            &event("Order Tracked", json!({"order": input(&tracked.id)})),
            &of_tracked,
        )
        .await,
        &put(&stack, "RULE_DEAD_LETTERS", &schedule, &[("ERROR_CODE", "NO_PERMISSIONS")]).await,
        &put(&stack, "RECHECK_FAILURES", &failure, &[]).await,
    ];

    let dry = redrive(&stack, &letters, &["--dry-run"]).await;
    assert!(dry.status.success() && text(&dry).contains("5 would be put back, 0 left"), "{}", text(&dry));
    for order in &orders {
        let (status, ..) = stack.request("GET", &format!("/orders/{}", order.key()), None).await;
        assert_eq!(status, 404, "a dry run redrives nothing");
    }

    // A run that crashed between starting the execution and deleting the letter.
    let name = format!("redrive-{of_poller}");
    let start = stack.sfn().start_execution().state_machine_arn(stack.env("STATE_MACHINE_ARN")).name(&name);
    start.input(input(&polled.id).to_string()).send().await.unwrap();

    let run = redrive(&stack, &letters, &[]).await;
    assert!(run.status.success() && text(&run).contains("5 put back, 0 left"), "{}", text(&run));
    assert_eq!(text(&run).matches("a recheck").count(), 2, "{}", text(&run));
    let again = redrive(&stack, &letters, &[]).await;
    assert!(again.status.success() && text(&again).contains(" 0 put back, 0 left"), "{}", text(&again));
    for order in &orders {
        order.wait_for("Order Fulfilled", 60).await;
        order.assert_events(&["Order Tracked", "Order Fulfilled"]).await;
        let history = order.history().await;
        assert_eq!((&history[0]["by"], &history[0]["order"]["ref"]), (&"poller".into(), &"redriven".into()));
    }
    assert_eq!(executions(&stack, &of_poller).await.len(), 1, "started once");
}

#[tokio::test]
async fn an_event_that_the_shop_has_not_taken_is_sent_again() {
    let _turn = TURN.lock().await;
    let stack = Stack::standard();
    let id = stack.sandbox.make("mobile", json!([{"after_seconds": 0, "status": "HANDLING"}])).await;
    let event: Value =
        serde_json::from_str(include_str!("../../../../events/out/order-refunded.json")).unwrap();
    let event = serde_json::from_str(
        &event.to_string().replace(event["detail"]["order"]["id"].as_str().unwrap(), &id),
    )
    .unwrap();
    let letter = put(&stack, "WEBHOOK_DEAD_LETTERS", &event, &[("reason", "exhausted")]).await;
    let run = redrive(&stack, &[&letter], &[]).await;
    assert!(run.status.success() && text(&run).contains("1 put back, 0 left"), "{}", text(&run));
    let received = wait_until("the webhook", Duration::from_secs(60), || async {
        stack.sandbox.webhooks(&id).await.into_iter().next()
    })
    .await;
    assert_eq!(serde_json::from_str::<Value>(received["body"].as_str().unwrap()).unwrap(), event);
}

#[tokio::test]
async fn an_unreadable_letter_stays_and_is_reported() {
    let _turn = TURN.lock().await;
    let stack = Stack::standard();
    let unreadable = [
        (
            "POLLER_DEAD_LETTERS",
            json!({"input": {"product": "mobile", "id": "not an id"}, "error": "InvalidInput"}),
        ),
        ("RULE_DEAD_LETTERS", json!("neither order nor schedule")),
        ("WEBHOOK_DEAD_LETTERS", json!({"source": "elsewhere"})),
    ];
    let mut letters = Vec::new();
    for (queue, body) in &unreadable {
        letters.push(put(&stack, queue, body, &[]).await);
    }
    let letters: Vec<&String> = letters.iter().collect();
    for _ in 0..2 {
        let run = redrive(&stack, &letters, &[]).await;
        assert_eq!(run.status.code(), Some(1), "{}", text(&run));
        assert!(text(&run).contains(" 0 put back, 3 left"), "{}", text(&run));
        assert!(letters.iter().all(|letter| text(&run).contains(letter.as_str())), "{}", text(&run));
    }
    for (queue, body) in &unreadable {
        assert!(stack.all_messages(queue).await.contains(body), "{queue}");
    }
}
