//! DynamoDB's possible responses to a commit, from a mock: the local AWS never answers `TransactionConflict`.

use serde_json::{Value, json};
use wiremock::{Mock, MockServer, ResponseTemplate, matchers::any};

use super::*;
use crate::{
    aws::{AwsEnvironment, sdk_config},
    order::{
        CheckResult, Decision, Facts, Jitter, Observation, OrderKey, Place, Product, ReviewAct, ReviewAction,
        Schedule, Snapshot, TrackedBy, VendorStatus, decide,
    },
};

fn order() -> Order {
    let key = OrderKey { product: Product::Mobile, id: "1".parse().unwrap() };
    Order::track(
        key,
        None,
        TrackedBy::Put,
        Timestamp::from_second(1_760_000_000).unwrap(),
        &Schedule::default(),
    )
    .0
}

/// A decision with an event (`FULFILLED`) or without (`HANDLING`).
fn decision(order: &Order, status: &str) -> Decision {
    let now = Timestamp::from_second(1_760_000_008).unwrap();
    let facts = Facts { status: Some(VendorStatus::from(status.to_owned())), ..Facts::default() };
    let check_result = CheckResult {
        asked_at: now,
        observation: Observation::Order(Box::new(Snapshot { facts, card: None, place: Place::Check })),
    };
    decide(order, &check_result, now, Jitter::NONE, &Schedule::default()).unwrap()
}

async fn commit(status: &str, http: u16, answer: Value) -> (Result<Commit, StoreError>, Vec<Value>) {
    let server = MockServer::start().await;
    let answer = ResponseTemplate::new(http).set_body_json(answer);
    Mock::given(any()).respond_with(answer).mount(&server).await;
    let config = sdk_config(&AwsEnvironment::for_tests(&server.uri()), crate::http::Http::new(&[]).unwrap());
    let store = Store::new(aws_sdk_dynamodb::Client::new(&config), "orders".to_owned());
    let order = order();
    let result = {
        let decided = decision(&order, status);
        store.commit(&order, decided.order, &decided.events, None).await
    };
    let body = |request: &wiremock::Request| serde_json::from_slice(&request.body).unwrap();
    (result, server.received_requests().await.unwrap().iter().map(body).collect())
}

fn refused(kind: &str, more: Value) -> Value {
    let mut answer = json!({"__type": format!("com.amazonaws.dynamodb.v20120810#{kind}"), "message": "m"});
    answer.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    answer
}

fn in_short(result: Result<Commit, StoreError>) -> &'static str {
    match result {
        Ok(Commit::Applied(_)) => "applied",
        Ok(Commit::AlreadyFinal) => "already final",
        Ok(Commit::LostRace) => "lost race",
        Err(StoreError::Refused { .. }) => "refused",
        Err(_) => "error",
    }
}

#[tokio::test]
async fn a_commit_with_events_is_one_transaction() {
    let (result, requests) = commit("FULFILLED", 200, json!({})).await;
    let Ok(Commit::Applied(after)) = result else { panic!("{result:?}") };
    assert_eq!((after.version, after.seq, after.published), (2, 2, 0));
    let items = requests[0]["TransactItems"].as_array().unwrap();
    assert_eq!(items.len(), 2);
    assert_eq!(
        items[0]["Update"]["ConditionExpression"].as_str().unwrap().split(' ').next().unwrap(),
        "#version"
    );
    assert_eq!(items[1]["Put"]["ConditionExpression"], "attribute_not_exists(pk)");
    assert_eq!(items[1]["Put"]["Item"]["sk"]["S"], "EVENT#000002");
}

#[tokio::test]
async fn a_review_is_in_the_due_index_from_its_event_to_its_close() {
    let (result, requests) = commit("NEW", 200, json!({})).await;
    let Ok(Commit::Applied(after)) = result else { panic!("{result:?}") };
    let put = &requests[0]["TransactItems"][1]["Put"]["Item"];
    assert_eq!((&put["due_shard"]["S"], &put["due_at"]), (&json!("reviews/open"), &put["occurred_at"]));

    let act = ReviewAct::new("a".to_owned(), "b".to_owned(), ReviewAction::Close).unwrap();
    let Decision { order: closed, events } =
        after.after_review(&act, Timestamp::from_second(1_760_000_009).unwrap()).unwrap();
    let server = MockServer::start().await;
    Mock::given(any()).respond_with(ResponseTemplate::new(200).set_body_json(json!({}))).mount(&server).await;
    let config = sdk_config(&AwsEnvironment::for_tests(&server.uri()), crate::http::Http::new(&[]).unwrap());
    let store = Store::new(aws_sdk_dynamodb::Client::new(&config), "orders".to_owned());
    store.commit(&after, closed, &events, None).await.unwrap();
    let request: Value = serde_json::from_slice(&server.received_requests().await.unwrap()[0].body).unwrap();
    let [order, put, update] = request["TransactItems"].as_array().unwrap().as_slice() else {
        panic!("{request}")
    };
    assert!(
        order["Update"]["UpdateExpression"].as_str().unwrap().contains("REMOVE #open_reviews"),
        "{order}"
    );
    assert_eq!(put["Put"]["Item"]["detail_type"]["S"], "Order Reviewed");
    assert!(put["Put"]["Item"].get("due_at").is_none(), "{put}");
    assert_eq!(update["Update"]["Key"]["sk"]["S"], "EVENT#000002");
    assert_eq!(update["Update"]["UpdateExpression"], "REMOVE #due_at, #due_shard");
    assert_eq!(update["Update"]["ConditionExpression"], "attribute_exists(#pk)");
}

#[tokio::test]
async fn a_lost_race_is_not_an_error() {
    let cancelled =
        |reasons: Value| refused("TransactionCanceledException", json!({"CancellationReasons": reasons}));
    let item = |phase: &str| json!({"phase": {"S": phase}});
    let rows = [
        (
            "FULFILLED",
            cancelled(
                json!([{"Code": "ConditionalCheckFailed", "Item": item("in_flight")}, {"Code": "None"}]),
            ),
            "lost race",
        ),
        (
            "FULFILLED",
            cancelled(json!([{"Code": "ConditionalCheckFailed", "Item": item("final")}, {"Code": "None"}])),
            "already final",
        ),
        ("FULFILLED", cancelled(json!([{"Code": "TransactionConflict"}, {"Code": "None"}])), "lost race"),
        ("FULFILLED", cancelled(json!([{"Code": "None"}, {"Code": "ConditionalCheckFailed"}])), "lost race"),
        ("FULFILLED", cancelled(json!([{"Code": "ValidationError"}, {"Code": "None"}])), "refused"),
        (
            "FULFILLED",
            cancelled(
                json!([{"Code": "ConditionalCheckFailed"}, {"Code": "ItemCollectionSizeLimitExceeded"}]),
            ),
            "refused",
        ),
        ("FULFILLED", cancelled(json!([{"Code": "ThrottlingError"}, {"Code": "None"}])), "error"),
        ("FULFILLED", refused("ValidationException", json!({})), "refused"),
        (
            "HANDLING",
            refused("ConditionalCheckFailedException", json!({"Item": item("parked")})),
            "lost race",
        ),
        (
            "HANDLING",
            refused("ConditionalCheckFailedException", json!({"Item": item("final")})),
            "already final",
        ),
        ("HANDLING", refused("TransactionConflictException", json!({})), "lost race"),
        ("HANDLING", refused("ValidationException", json!({})), "refused"),
        ("HANDLING", refused("ItemCollectionSizeLimitExceededException", json!({})), "refused"),
        ("HANDLING", refused("AccessDeniedException", json!({})), "error"),
    ];
    for (status, answer, meaning) in rows {
        let (result, _) = commit(status, 400, answer.clone()).await;
        assert_eq!(in_short(result), meaning, "{status} {answer}");
    }
}
