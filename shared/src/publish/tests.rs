use jiff::Timestamp;
use serde_json::{Value, json};
use wiremock::{Mock, MockServer, ResponseTemplate, matchers::any};

use super::*;
use crate::{
    aws::{AwsEnvironment, sdk_config},
    order::{OrderKey, Product},
    telemetry::in_call,
};

async fn publisher(server: &MockServer) -> Publisher {
    let environment = AwsEnvironment::for_tests(&server.uri());
    let config = sdk_config(&environment, crate::http::Http::new(&[]).unwrap());
    Publisher::new(aws_sdk_eventbridge::Client::new(&config), "bus".to_owned())
}

fn events(count: u32, bytes: usize) -> Vec<Event> {
    let key = OrderKey { product: Product::Mobile, id: "1".parse().unwrap() };
    let event = |seq| Event {
        key: key.clone(),
        seq,
        detail_type: "Order Queued".to_owned(),
        occurred_at: Timestamp::from_second(1_760_000_000).unwrap(),
        detail: format!("\"{}\"", "x".repeat(bytes)),
    };
    (1..=count).map(event).collect()
}

/// An EventBridge that refuses the entry at index `refused` of each call.
async fn eventbridge(refused: Option<usize>) -> MockServer {
    let server = MockServer::start().await;
    let answer = move |request: &wiremock::Request| {
        let body: Value = serde_json::from_slice(&request.body).unwrap();
        let entry = |place: usize| match refused {
            Some(refused) if refused == place => {
                json!({"ErrorCode": "InternalFailure", "ErrorMessage": "try again"})
            }
            _ => json!({"EventId": "11710aed-b79e-4468-a20b-bb3c0c3b4860"}),
        };
        let entries: Vec<Value> = (0..body["Entries"].as_array().unwrap().len()).map(entry).collect();
        let failed = entries.iter().filter(|entry| entry.get("ErrorCode").is_some()).count();
        ResponseTemplate::new(200).set_body_json(json!({"FailedEntryCount": failed, "Entries": entries}))
    };
    Mock::given(any()).respond_with(answer).mount(&server).await;
    server
}

async fn sizes_of_calls(server: &MockServer) -> Vec<usize> {
    let size = |request: &wiremock::Request| {
        serde_json::from_slice::<Value>(&request.body).unwrap()["Entries"].as_array().unwrap().len()
    };
    server.received_requests().await.unwrap().iter().map(size).collect()
}

#[tokio::test]
async fn publishes_at_most_ten_events_per_call() {
    let server = eventbridge(None).await;
    let published = publisher(&server).await.publish(&events(23, 10)).await;
    assert_eq!(published, Published { up_to: Some(23), count: 23, stopped: None });
    assert_eq!(sizes_of_calls(&server).await, [10, 10, 3]);
}

#[tokio::test]
async fn splits_batches_below_256_kib() {
    let server = eventbridge(None).await;
    publisher(&server).await.publish(&events(5, 100 * 1024)).await;
    assert_eq!(sizes_of_calls(&server).await, [2, 2, 1]);
}

#[tokio::test]
async fn stops_at_a_refused_entry_of_a_successful_call() {
    for (refused, up_to) in [(0, None), (1, Some(1)), (4, Some(4))] {
        let server = eventbridge(Some(refused)).await;
        let published = publisher(&server).await.publish(&events(5, 10)).await;
        assert_eq!((published.up_to, published.count), (up_to, refused));
        assert_eq!(published.stopped.as_deref(), Some("InternalFailure: try again"));
    }
}

#[tokio::test]
async fn a_missing_bus_publishes_nothing() {
    let server = MockServer::start().await;
    let published = publisher(&server).await.publish(&events(1, 10)).await;
    assert_eq!((published.up_to, published.count), (None, 0));
    assert!(published.stopped.is_some());
}

#[tokio::test]
async fn events_carry_the_trace_of_their_cause() {
    let server = eventbridge(None).await;
    let publisher = publisher(&server).await;
    let trace = "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1";
    in_call("a-request", Some(trace), publisher.publish(&events(1, 10))).await;
    publisher.publish(&events(1, 10)).await;
    let requests = server.received_requests().await.unwrap();
    let bodies: Vec<Value> =
        requests.iter().map(|request| serde_json::from_slice(&request.body).unwrap()).collect();
    assert_eq!(bodies[0]["Entries"][0]["TraceHeader"], trace);
    assert!(bodies[1]["Entries"][0].get("TraceHeader").is_none());
}
