//! Failed executions and killed processes: no outcome is lost, and no event is published under two ids.

use std::{process::Stdio, time::Duration};

use aws_sdk_dynamodb::types::AttributeValue;
use aws_sdk_sfn::types::ExecutionStatus;
use e2e::{HoldingProxy, RuntimeApi, Stack, wait_until};
use serde_json::json;

#[tokio::test]
async fn the_recheck_takes_over_from_a_stopped_standard_execution() {
    let stack = Stack::standard();
    let id = stack.sandbox.send_mobile("0770000011").await;
    let order = stack.order("mobile", &id);
    order.track().await;
    let sfn = stack.sfn();
    let running = || async {
        let list = sfn.list_executions().state_machine_arn(stack.env("STATE_MACHINE_ARN"));
        let list = list.status_filter(ExecutionStatus::Running).send().await.unwrap();
        for execution in list.executions {
            let described =
                sfn.describe_execution().execution_arn(&execution.execution_arn).send().await.unwrap();
            if described.input.unwrap_or_default().contains(&id) {
                return Some(execution.execution_arn);
            }
        }
        None
    };
    let execution = wait_until("the execution", Duration::from_secs(30), running).await;
    sfn.stop_execution().execution_arn(&execution).cause("a test").send().await.unwrap();
    // The order is due 60 s after the poll deadline of 30 s; the next recheck gets the outcome.
    order.wait_for("Order Fulfilled", 240).await;
    order.assert_events(&["Order Tracked", "Order Fulfilled"]).await;
}

#[tokio::test]
async fn the_recheck_takes_over_from_a_failed_express_execution() {
    let stack = Stack::fast();
    let id = stack.sandbox.make("mobile", json!([{"after_seconds": 0, "status": "HANDLING"}])).await;
    let order = stack.order("mobile", &id);
    order.track().await;
    // A corrupt record is not retried: the execution fails.
    stack.tamper("mobile", &id, "phase", AttributeValue::S("asleep".to_owned())).await;
    let letter = wait_until("the dead letter", Duration::from_secs(60), || async {
        let letters = stack.messages("POLLER_DEAD_LETTERS").await;
        letters.into_iter().find(|letter| letter["input"]["id"] == id.as_str())
    })
    .await;
    assert_eq!(letter["error"], "StoreCorrupt", "{letter}");
    stack.sandbox.change_status(&id, "REFUNDED").await;
    stack.tamper("mobile", &id, "phase", AttributeValue::S("in_flight".to_owned())).await;
    order.wait_for("Order Refunded", 300).await;
    order.assert_events(&["Order Tracked", "Order Refunded"]).await;
}

#[tokio::test]
async fn a_process_killed_while_it_publishes_loses_nothing() {
    let stack = Stack::fast();
    let id = stack
        .sandbox
        .make(
            "mobile",
            json!([{"after_seconds": 0, "status": "HANDLING"}, {"after_seconds": 1, "status": "REFUNDED"}]),
        )
        .await;
    let order = stack.order("mobile", &id);

    // The real binary under the test's Runtime API. A proxy holds its `Order Refunded` call to EventBridge.
    let proxy = HoldingProxy::start(stack.env("AWS_ENDPOINT_URL"), "Order Refunded").await;
    let runtime = RuntimeApi::start(json!({"product": "mobile", "id": id})).await;
    let binary = concat!(env!("CARGO_MANIFEST_DIR"), "/../../target/lambda/poller/bootstrap");
    let mut process = tokio::process::Command::new(binary)
        .env_clear()
        .envs(stack.function_environment())
        .env("POLL_SCHEDULE_MOBILE", "1s")
        .env("AWS_ENDPOINT_URL_EVENTBRIDGE", proxy.url())
        .envs(runtime.environment())
        .stdout(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    wait_until("the publishing call to be held", Duration::from_secs(60), || async {
        proxy.holds().then_some(())
    })
    .await;
    process.kill().await.unwrap();

    // Committed, not published, and due.
    let item = stack.item("mobile", &id).await;
    assert_eq!(item["phase"], AttributeValue::S("final".to_owned()));
    assert_eq!(
        (item["seq"].as_n().unwrap().as_str(), item["announced"].as_n().unwrap().as_str()),
        ("2", "1")
    );
    assert!(item.contains_key("due_at"));
    let committed = order.history().await.pop().unwrap();
    assert_eq!(stack.bus.kinds(&order.key()), ["Order Tracked"]);

    let event = order.wait_for("Order Refunded", 150).await;
    assert_eq!(event.detail, committed);
    order.assert_events(&["Order Tracked", "Order Refunded"]).await;
    wait_until("only the late check to be due", Duration::from_secs(60), || async {
        (stack.due_in_minutes("mobile", &id).await? >= 50).then_some(())
    })
    .await;
}
