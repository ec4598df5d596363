//! The deployed HTTP API: bad requests get a problem document that names the field, never a 500.

use std::time::Duration;

use e2e::{Stack, wait_until};
use serde_json::{Value, json};

#[tokio::test]
async fn bad_input_gets_a_problem_that_names_the_field() {
    let stack = Stack::express();
    let large = format!("{{\"ref\": \"{}\"}}", "x".repeat(17 * 1024));
    let long = format!("/orders/mobile/{}", "x".repeat(65));
    let rows = [
        ("GET", "/orders/fax/1", None, 404, Some("product")),
        ("GET", "/elsewhere", None, 404, None),
        ("GET", "/orders/mobile/never-tracked", None, 404, None),
        ("GET", "/orders/mobile/never-tracked/history", None, 404, None),
        ("GET", "/orders/internet/never-tracked/card", None, 404, None),
        ("PUT", "/orders/mobile/a%20b", None, 400, Some("id")),
        ("PUT", long.as_str(), None, 400, Some("id")),
        ("PUT", "/orders/mobile/1", Some("{nonsense"), 400, Some("body")),
        ("PUT", "/orders/mobile/1", Some("[1]"), 400, Some("body")),
        ("PUT", "/orders/mobile/1", Some("{\"ref\": 7}"), 400, Some("ref")),
        ("PUT", "/orders/mobile/1", Some(large.as_str()), 413, Some("body")),
        ("DELETE", "/orders/mobile/1", None, 405, None),
        ("POST", "/orders/mobile/1/card", None, 405, None),
    ];
    for (method, path, body, expected, field) in rows {
        let (status, kind, text) = stack.request(method, path, body).await;
        assert_eq!(
            (status, kind.as_str()),
            (expected, "application/problem+json"),
            "{method} {path}: {text}"
        );
        let problem: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(problem.get("field").and_then(Value::as_str), field, "{method} {path}: {text}");
    }
    for token in [None, Some("unknown-token-0123456789")] {
        let (status, kind, _) = stack.request_as(token, "GET", "/orders/mobile/1", None).await;
        assert_eq!((status, kind.as_str()), (401, "application/problem+json"));
    }
    let (status, _, _) = stack.request_as(None, "GET", "/health", None).await;
    assert_eq!(status, 200);
}

#[tokio::test]
async fn a_repeated_put_tracks_once_and_adds_a_missing_ref() {
    let stack = Stack::express();
    let id = stack.sandbox.send_mobile("0770000004").await;
    let path = format!("/orders/mobile/{id}");
    let order = stack.order("mobile", &id);
    order.track().await;
    for body in ["{\"ref\": \"mine\"}", "{\"ref\": \"mine\"}", ""] {
        let (status, _, text) = stack.request("PUT", &path, Some(body)).await;
        assert_eq!(status, 200, "{text}");
        assert_eq!(serde_json::from_str::<Value>(&text).unwrap()["ref"], "mine");
    }
    let before = stack.item("mobile", &id).await;
    let (status, kind, text) = stack.request("PUT", &path, Some("{\"ref\": \"another\"}")).await;
    assert_eq!((status, kind.as_str()), (409, "application/problem+json"), "{text}");
    let problem: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(problem["field"], "ref");
    assert!(
        problem["detail"].as_str().unwrap().contains("\"mine\""),
        "the problem names the stored ref: {text}"
    );
    assert_eq!(stack.item("mobile", &id).await["ref"], before["ref"], "the stored ref is unchanged");
    order.wait_for("Order Fulfilled", 60).await;
    order.assert_events(&["Order Tracked", "Order Fulfilled"]).await;
    assert_eq!(order.card().await.0, 404, "mobile orders have no card");
}

#[tokio::test]
async fn concurrent_puts_with_different_refs_store_one_of_them() {
    let stack = Stack::express();
    let id = stack.sandbox.send_mobile("0770000014").await;
    let path = format!("/orders/mobile/{id}");
    let put = async |reference: &str| {
        let body = json!({"ref": reference}).to_string();
        (stack.request("PUT", &path, Some(&body)).await.0, reference.to_owned())
    };
    let (one, other) = tokio::join!(put("one"), put("other"));
    let taken: Vec<&str> = [&one, &other]
        .into_iter()
        .filter(|(status, _)| *status < 300)
        .map(|(_, text)| text.as_str())
        .collect();
    let refused = [&one, &other].into_iter().filter(|(status, _)| *status == 409).count();
    assert_eq!((taken.len(), refused), (1, 1), "{one:?} {other:?}");
    assert_eq!(stack.order("mobile", &id).get().await["ref"], taken[0]);
}

#[tokio::test]
async fn an_event_with_an_invalid_ref_is_tracked_without_it() {
    let stack = Stack::express();
    for reference in [json!("a\nb"), json!(""), json!({"a": 1}), json!(4711)] {
        let id = stack.sandbox.send_mobile("0770000015").await;
        stack.put_event("Top-up Sent", &json!({"product": "mobile", "id": id, "ref": reference})).await;
        let order = stack.order("mobile", &id);
        let tracked = order.wait_for("Order Tracked", 60).await;
        let kept = if reference.is_number() { json!("4711") } else { Value::Null };
        assert_eq!(tracked.detail["order"]["ref"], kept, "{reference}");
    }
    wait_until("the warning", Duration::from_secs(30), || async {
        stack.logs().contains("without the ref that came with it").then_some(())
    })
    .await;
}

#[tokio::test]
async fn history_is_paginated() {
    let stack = Stack::express();
    let id = stack.sandbox.send_mobile("0600000001").await;
    let order = stack.order("mobile", &id);
    order.track().await;
    order.wait_for("Order Refunded", 60).await;
    let page = async |query: &str| {
        let path = format!("/orders/mobile/{id}/history{query}");
        let (status, _, text) = stack.request("GET", &path, None).await;
        (status, serde_json::from_str::<Value>(&text).unwrap())
    };
    let (status, all) = page("").await;
    assert_eq!((status, all["events"].as_array().unwrap().len(), &all["next"]), (200, 2, &Value::Null));
    let (_, first) = page("?limit=1").await;
    assert_eq!((&first["events"][0], &first["next"]), (&all["events"][0], &json!(1)));
    let (_, second) = page("?after=1&limit=5").await;
    assert_eq!((&second["events"][0], &second["next"]), (&all["events"][1], &Value::Null));
    let (status, beyond) = page("?after=99").await;
    assert_eq!((status, beyond), (200, json!({"events": [], "next": null})));
    let (status, problem) = page("?limit=1000").await;
    assert_eq!((status, &problem["field"]), (400, &json!("limit")));
    let (status, _, _) = stack.request("GET", "/orders/mobile/never-tracked/history?after=5", None).await;
    assert_eq!(status, 404);
}

#[tokio::test]
async fn invalid_poller_input_becomes_a_dead_letter_with_its_error() {
    let stack = Stack::express();
    stack.put_event("Top-up Sent", &json!({"product": "mobile", "id": "not an id"})).await;
    let letter = wait_until("the dead letter", Duration::from_secs(60), || async {
        let letters = stack.messages("POLLER_DEAD_LETTERS").await;
        letters.into_iter().find(|letter| letter["input"]["id"] == "not an id")
    })
    .await;
    assert_eq!(letter["error"], "InvalidInput", "{letter}");
    assert!(letter["cause"].as_str().unwrap().contains("id must be"), "{letter}");
}

#[tokio::test]
async fn the_deployed_functions_answer_the_sample_events() {
    let stack = Stack::express();
    let schedule = serde_json::from_str(include_str!("../../../../events/recheck-schedule.json")).unwrap();
    let report = stack.invoke("RECHECK_FUNCTION", &schedule).await;
    for field in
        ["due", "published", "checks", "became_final", "still_parked", "failed", "not_permitted", "remaining"]
    {
        assert!(report[field].is_u64(), "{field}: {report}");
    }
    let tick = serde_json::from_str(include_str!("../../../../events/poller-tick.json")).unwrap();
    let answer = stack.invoke("POLLER_FUNCTION", &tick).await;
    assert_eq!((&answer["done"], &answer["phase"]), (&false.into(), &"in_flight".into()), "{answer}");
    assert!(answer["wait_seconds"].as_u64().is_some_and(|wait| (1..=300).contains(&wait)), "{answer}");
}
