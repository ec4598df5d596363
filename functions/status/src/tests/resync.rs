//! The calls about resyncs, with a stand-in for the table.

use std::sync::{Arc, Mutex};

use shared::clock::Clock;
use wiremock::{Mock, MockServer, ResponseTemplate, matchers::any};

use super::*;

const NOW: &str = "2025-10-29T00:36:17Z";
const ID: &str = "mobile-1761609600000-1761695999000";
const BODY: &str = r#"{"product": "mobile", "from": "2025-10-28T00:00:00Z", "to": "2025-10-28T23:59:59Z"}"#;

fn with_body(method: &str, path: &str, body: &str) -> ApiGatewayV2httpRequest {
    request(GET, |event| {
        event["requestContext"]["http"]["method"] = method.into();
        event["rawPath"] = path.into();
        event["body"] = body.into();
    })
}

/// A table that holds at most one item, and refuses a second job while the first runs.
async fn table() -> (Tracker, MockServer) {
    let item: Arc<Mutex<Option<Value>>> = Arc::default();
    let answer = move |request: &wiremock::Request| {
        let target = request.headers["x-amz-target"].to_str().unwrap().to_owned();
        let body: Value = serde_json::from_slice(&request.body).unwrap();
        let mut item = item.lock().unwrap();
        let is_running = item.as_ref().is_some_and(|item| item["state"]["S"] == "running");
        let failed = json!({"__type": "x#ConditionalCheckFailedException"});
        let answer = match target.rsplit('.').next().unwrap() {
            "PutItem" if is_running => return ResponseTemplate::new(400).set_body_json(failed),
            "PutItem" => item.replace(body["Item"].clone()).map_or(json!({}), |_| json!({})),
            "GetItem" => item.as_ref().map_or(json!({}), |item| json!({"Item": item})),
            "UpdateItem" if !is_running => return ResponseTemplate::new(400).set_body_json(failed),
            "UpdateItem" => {
                let stored = item.as_mut().unwrap();
                stored["state"] = json!({"S": "stopped"});
                stored["ended_at"] = stored["started_at"].clone();
                json!({"Attributes": stored})
            }
            "Query" if body["IndexName"] == "feed" => {
                json!({"Items": item.iter().collect::<Vec<_>>(), "LastEvaluatedKey": item.as_ref().map(|item| json!({
                    "pk": item["pk"], "sk": item["sk"], "feed": item["feed"], "feed_at": item["feed_at"],
                }))})
            }
            "Query" => json!({"Items": [{
                "id": {"S": "a1"}, "status": {"S": "FULFILLED"}, "amount": {"S": "490.00"},
                "created_at": {"S": "2025-10-28T10:00:00.000Z"},
            }]}),
            "BatchGetItem" if body.to_string().contains("mobile#a1") => json!({"Responses": {"orders": []}}),
            "BatchGetItem" => json!({"Responses": {"orders": item.iter().collect::<Vec<_>>()}}),
            other => panic!("{other}"),
        };
        ResponseTemplate::new(200).set_body_json(answer)
    };
    let server = MockServer::start().await;
    Mock::given(any()).respond_with(answer).mount(&server).await;
    (tracker_at(&server.uri()).await.with_clock(Clock::fixed(NOW.parse().unwrap())), server)
}

async fn answered(tracker: &Tracker, request: ApiGatewayV2httpRequest) -> (i64, Value) {
    let response = handle(tracker, request).await;
    let Some(Body::Text(body)) = response.body else { panic!("no text") };
    (response.status_code, serde_json::from_str(&body).unwrap())
}

#[tokio::test]
async fn a_resync_is_started_once_read_and_stopped() {
    let (tracker, _server) = table().await;
    let at = format!("/resync/{ID}");
    assert_eq!(answered(&tracker, call("GET", &at)).await.0, 404);
    let (status, job) = answered(&tracker, with_body("POST", "/resync", BODY)).await;
    assert_eq!((status, &job["id"], &job["state"]), (202, &json!(ID), &json!("running")));
    assert_eq!((&job["position"], &job["track"]), (&json!("2025-10-28T00:00:00Z"), &json!(false)));
    tracker.clock.set("2025-10-29T00:37:00Z".parse().unwrap());
    assert_eq!(
        answered(&tracker, with_body("POST", "/resync/", BODY)).await,
        (202, job.clone()),
        "the same job"
    );
    assert_eq!(answered(&tracker, call("GET", &at)).await, (200, job.clone()));

    let (status, page) = answered(&tracker, call("GET", "/resync")).await;
    assert_eq!((status, &page["resyncs"]), (200, &json!([job])));
    let mut next = call("GET", "/resync");
    next.raw_query_string = Some(format!("limit=1&cursor={}", page["next"].as_str().unwrap()));
    assert_eq!(answered(&tracker, next).await.0, 200, "a cursor is read back");

    let (_, found) = answered(&tracker, call("GET", &format!("{at}/unregistered"))).await;
    let order = json!({"product": "mobile", "id": "a1", "status": "FULFILLED", "topup_amount": 490.0,
        "created_at": "2025-10-28T10:00:00.000Z", "tracked": false});
    assert_eq!(found, json!({"orders": [order], "next": null}));

    for _ in 0..2 {
        let (status, job) = answered(&tracker, call("POST", &format!("{at}/stop"))).await;
        assert_eq!((status, &job["state"]), (200, &json!("stopped")));
    }
    let (_, anew) = answered(&tracker, with_body("POST", "/resync", BODY)).await;
    assert_eq!((&anew["state"], &anew["started_at"]), (&json!("running"), &json!("2025-10-29T00:37:00Z")));
}

#[tokio::test]
async fn an_invalid_window_names_the_field() {
    let (tracker, _server) = table().await;
    for (body, field) in [
        ("", "body"),
        ("[]", "body"),
        (r#"{"from": "2025-10-28T00:00:00Z", "to": "2025-10-28T23:59:59Z"}"#, "product"),
        (r#"{"product": "fax", "from": "2025-10-28T00:00:00Z", "to": "2025-10-28T23:59:59Z"}"#, "product"),
        (r#"{"product": "mobile", "to": "2025-10-28T23:59:59Z"}"#, "from"),
        (r#"{"product": "mobile", "from": "yesterday", "to": "2025-10-28T23:59:59Z"}"#, "from"),
        (r#"{"product": "mobile", "from": "2025-10-28T00:00:00Z", "to": 7}"#, "to"),
        (r#"{"product": "mobile", "from": "2025-10-28T00:00:00Z", "to": "2025-10-28T00:00:00Z"}"#, "from"),
        (r#"{"product": "mobile", "from": "2025-10-28T00:00:00Z", "to": "2025-10-29T00:36:18Z"}"#, "to"),
        (r#"{"product": "mobile", "from": "2025-09-27T00:00:00Z", "to": "2025-10-28T00:00:01Z"}"#, "to"),
        (
            r#"{"product": "mobile", "from": "2025-10-28T00:00:00Z", "to": "2025-10-28T01:00:00Z", "track": 1}"#,
            "track",
        ),
    ] {
        let (status, problem) = answered(&tracker, with_body("POST", "/resync", body)).await;
        assert_eq!((status, &problem["field"]), (400, &json!(field)), "{body}: {problem}");
    }
    for (method, path, status, field) in [
        ("GET", "/resync/x", 404, Some("id")),
        ("POST", "/resync/mobile-1-x/stop", 404, Some("id")),
        ("PUT", "/resync", 405, None),
        ("DELETE", "/resync/mobile-1-2", 405, None),
        ("GET", "/resync/mobile-1-2/stop", 405, None),
        ("GET", "/resync/mobile-1-2/orders", 404, None),
    ] {
        assert_problem(call(method, path), status, field, &format!("{method} {path}")).await;
    }
    for (path, query, field) in [
        ("/resync", "cursor=x", "cursor"),
        ("/resync", "limit=0", "limit"),
        ("/resync/mobile-1-2/unregistered", "cursor=a%20b", "cursor"),
    ] {
        let mut request = call("GET", path);
        request.raw_query_string = Some(query.to_owned());
        assert_problem(request, 400, Some(field), query).await;
    }
}
