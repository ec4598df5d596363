//! Cursors as properties, and pages and listing with a mock of DynamoDB: the local AWS leaves no key unprocessed.

use proptest::prelude::*;
use serde_json::{Value, json};
use wiremock::{Mock, MockServer, ResponseTemplate, matchers::any};

use super::*;
use crate::{
    aws::{AwsEnvironment, sdk_config},
    order::{OrderKey, Product},
};

fn at(ms: i64) -> Timestamp {
    Timestamp::from_millisecond(1_760_000_000_000 + ms).unwrap()
}

fn event(id: &str, seq: u32, ms: i64) -> Event {
    let key = OrderKey { product: Product::Mobile, id: id.parse().unwrap() };
    let detail = format!(r#"{{"event_id":"mobile/{id}#{seq}"}}"#);
    Event { key, seq, detail_type: "Order Tracked".to_owned(), occurred_at: at(ms), detail }
}

fn cursor_of(event: &Event) -> FeedCursor {
    let item = history::write_event(event).unwrap();
    FeedCursor(string(&item, "feed_at").unwrap().clone())
}

/// Few times, ids and numbers, so that many are equal in part.
fn events() -> impl Strategy<Value = Event> {
    ("[-_aA0]{1,3}", prop::sample::select(vec![1, 2, 9, 10, 99, 100, 999_999]), 0..3i64)
        .prop_map(|(id, seq, ms)| event(&id, seq, ms))
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_cursor_is_read_back_unchanged(event in events(), ms in 0..9_999_999_999_999i64) {
        for cursor in [cursor_of(&event), FeedCursor::at(Timestamp::from_millisecond(ms).unwrap())] {
            let text = cursor.write();
            prop_assert!(text.len() <= 300 && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte)));
            prop_assert_eq!(FeedCursor::read(&text), Some(cursor));
        }
    }

    #[test]
    fn only_written_cursors_are_read(text in "[-_A-Za-z0-9=]{0,80}", event in events(), cut in 0..60usize) {
        let written = cursor_of(&event).write();
        for text in [text, written.chars().skip(cut).collect(), written.chars().take(cut).collect()] {
            if let Some(cursor) = FeedCursor::read(&text) {
                prop_assert_eq!(cursor.write(), text);
            }
        }
    }

    #[test]
    fn the_feed_has_the_order_of_times_and_of_an_orders_numbers(one in events(), other in events()) {
        let (first, second) = (cursor_of(&one), cursor_of(&other));
        if one.occurred_at != other.occurred_at {
            prop_assert_eq!(first.cmp(&second), one.occurred_at.cmp(&other.occurred_at));
        } else if one.key == other.key {
            prop_assert_eq!(first.cmp(&second), one.seq.cmp(&other.seq));
        }
        // The range of a query begins right after the cursor.
        let after = format!("{}!", first.0);
        prop_assert!(after > first.0);
        prop_assert_eq!(after < second.0, first < second);
    }
}

#[test]
fn other_text_is_no_cursor() {
    let encoded = |place: &str| URL_SAFE_NO_PAD.encode(place);
    assert!(FeedCursor::read(&encoded("11760000000000")).is_some());
    assert!(FeedCursor::read(&encoded("11760000000000#mobile#a#EVENT#000001")).is_some());
    let long = format!("11760000000000#mobile#{}#EVENT#000001", "a".repeat(65));
    for place in [
        "",
        "1",
        "1760000000000",
        "21760000000000",
        "1176000000000",
        "1-760000000000",
        "11760000000000#",
        "11760000000000#mobile#a#EVENT",
        "11760000000000#mobile#a#ORDER#000001",
        "11760000000000#mobile#a b#EVENT#000001",
        "11760000000000#mobile#a#EVENT#000001#",
        "11760000000000é",
        &long,
    ] {
        assert_eq!(FeedCursor::read(&encoded(place)), None, "{place}");
    }
    for text in ["*", "latest", "MTE3NjAwMDAwMDAwMDA=", "MTE3NjAwMDAwMDAwMDB"] {
        assert_eq!(FeedCursor::read(text), None, "{text}");
    }
}

#[test]
fn readers_stay_behind_by_the_lag() {
    let committed = cursor_of(&event("a", 1, 0));
    assert!(FeedCursor::reached(at(8000)) < committed);
    assert!(FeedCursor::reached(at(8001)) > committed);
    assert!(FeedCursor::start() < FeedCursor::reached(at(0)));
    assert_eq!(FeedCursor::reached(Timestamp::MIN), FeedCursor::start());
}

/// A store whose DynamoDB answers with `respond`, given the operation and the request.
async fn store(
    respond: impl Fn(&str, &Value) -> (u16, Value) + Send + Sync + 'static,
) -> (Store, MockServer) {
    let server = MockServer::start().await;
    let answer = move |request: &wiremock::Request| {
        let operation = request.headers["x-amz-target"].to_str().unwrap().rsplit('.').next().unwrap();
        let (status, body) = respond(operation, &serde_json::from_slice(&request.body).unwrap());
        ResponseTemplate::new(status).set_body_json(body)
    };
    Mock::given(any()).respond_with(answer).mount(&server).await;
    let config = sdk_config(&AwsEnvironment::for_tests(&server.uri()), crate::http::Http::new(&[]).unwrap());
    (Store::new(aws_sdk_dynamodb::Client::new(&config), "orders".to_owned()), server)
}

/// An item in DynamoDB's JSON; of `names` only, unless there are none.
fn wire(item: &Item, names: &[&str]) -> Value {
    let item = serde_dynamo::Item::from(item.clone());
    let Value::Object(mut fields) = serde_json::to_value(item).unwrap() else { panic!() };
    fields.retain(|name, _| names.is_empty() || names.contains(&name.as_str()));
    Value::Object(fields)
}

/// The index lists `events`; the table returns items of `stored`, one for each request.
async fn page_of(events: &[Event], stored: &[Item]) -> Result<FeedPage, StoreError> {
    let listed = |event| wire(&history::write_event(event).unwrap(), &["pk", "sk", "feed", "feed_at"]);
    let listed: Vec<_> = events.iter().map(listed).collect();
    let stored: Vec<_> = stored.iter().map(|item| wire(item, &[])).collect();
    let (store, _server) = store(move |operation, request| {
        if operation == "Query" {
            return (200, json!({"Items": listed}));
        }
        let keys = request["RequestItems"]["orders"]["Keys"].as_array().unwrap();
        let first = &keys[0];
        let found = stored.iter().filter(|item| item["pk"] == first["pk"] && item["sk"] == first["sk"]);
        let left = json!({"orders": {"Keys": keys[1..]}});
        let left = if keys.len() > 1 { left } else { json!({}) };
        (200, json!({"Responses": {"orders": found.collect::<Vec<_>>()}, "UnprocessedKeys": left}))
    })
    .await;
    store.feed_page(&FeedCursor::start(), 100, &FeedCursor::reached(at(60_000))).await
}

fn details(page: &FeedPage) -> Vec<&str> {
    page.events.iter().map(|event| event.detail.get()).collect()
}

#[tokio::test]
async fn a_page_has_the_order_of_the_index_also_with_unprocessed_keys_and_an_event_twice() {
    let events = [event("b", 1, 0), event("a", 1, 1), event("b", 1, 2), event("c", 1, 3)];
    let stored: Vec<_> = events.iter().rev().map(|event| history::write_event(event).unwrap()).collect();
    let page = page_of(&events, &stored).await.unwrap();
    assert_eq!(details(&page), events.each_ref().map(|event| event.detail.as_str()));
    assert_eq!(page.next, cursor_of(&events[3]));
}

#[tokio::test]
async fn a_page_is_an_error_if_the_table_does_not_return_an_event() {
    let events = [event("a", 1, 0), event("b", 1, 1)];
    let stored = [history::write_event(&events[0]).unwrap()];
    assert!(matches!(page_of(&events, &stored).await, Err(StoreError::Unavailable { .. })));
}

#[tokio::test]
async fn an_unreadable_event_is_left_out_and_passed() {
    let events = [event("a", 1, 0), Event { detail: "{".to_owned(), ..event("b", 1, 1) }];
    let stored = events.each_ref().map(|event| history::write_event(event).unwrap());
    let page = page_of(&events, &stored).await.unwrap();
    assert_eq!((details(&page), &page.next), (vec![events[0].detail.as_str()], &cursor_of(&events[1])));
}

#[tokio::test]
async fn a_page_ends_before_the_event_that_is_too_much() {
    let large = |id, ms| Event { detail: format!("\"{}\"", "x".repeat(399_000)), ..event(id, 1, ms) };
    let events = [large("a", 0), large("b", 1), large("c", 2)];
    let stored = events.each_ref().map(|event| history::write_event(event).unwrap());
    let page = page_of(&events, &stored).await.unwrap();
    assert_eq!((page.events.len(), page.next), (2, cursor_of(&events[1])));
}

#[tokio::test]
async fn a_place_that_is_not_reached_yet_needs_no_request() {
    let (store, server) = store(|_, _| (500, json!({}))).await;
    let after = FeedCursor::reached(at(0));
    let page = store.feed_page(&after, 100, &after).await.unwrap();
    assert_eq!((page.events.len(), page.next), (0, after));
    assert!(server.received_requests().await.unwrap().is_empty());
}

/// Lists an event of `at(0)` anew at `at(5000)`, with this answer, which takes `ms` on the clock.
async fn list(status: u16, answer: Value, ms: i64) -> (Result<(), StoreError>, Vec<Value>) {
    let clock = Clock::fixed(at(5000));
    let moved = clock.clone();
    let (store, server) = store(move |_, _| {
        moved.set(at(5000 + ms));
        (status, answer.clone())
    })
    .await;
    let result = store.list_events(&[event("a", 1, 0)], &clock).await;
    let body = |request: &wiremock::Request| serde_json::from_slice(&request.body).unwrap();
    (result, server.received_requests().await.unwrap().iter().map(body).collect())
}

#[tokio::test]
async fn an_event_is_listed_anew_only_forward_and_in_time() {
    let refused = |kind: &str| json!({"__type": format!("com.amazonaws.dynamodb.v20120810#{kind}")});
    let rows = [
        (200, json!({}), 2000, true),
        (200, json!({}), 2001, false),
        (400, refused("ConditionalCheckFailedException"), 0, true),
        (400, refused("ConditionalCheckFailedException"), 2001, false),
        (400, refused("TransactionConflictException"), 0, false),
        (400, refused("AccessDeniedException"), 0, false),
    ];
    for (status, answer, ms, is_listed) in rows {
        let (result, requests) = list(status, answer.clone(), ms).await;
        assert_eq!(result.is_ok(), is_listed, "{answer} after {ms} ms: {result:?}");
        let request = &requests[0];
        assert_eq!(request["Key"], json!({"pk": {"S": "mobile#a"}, "sk": {"S": "EVENT#000001"}}));
        let condition = request["ConditionExpression"].as_str().unwrap();
        let value = condition.rsplit([' ', ')']).nth(1).unwrap();
        assert_eq!(condition, format!("(attribute_not_exists(#feed_at) OR #feed_at < {value})"));
        let stamp = json!({"S": "1760000005000#mobile#a#EVENT#000001"});
        assert_eq!(request["ExpressionAttributeValues"][value], stamp);
    }
}

/// Stored items stay readable: the item of an event as this version writes it. Older versions wrote no `feed` and
/// `feed_at`.
#[test]
fn the_stored_form_of_an_event_does_not_change() {
    let event = event("6901616fe9e88196b4eb64b2", 7, 0);
    let item = history::write_event(&event).unwrap();
    let expected = json!({
        "pk": {"S": "mobile#6901616fe9e88196b4eb64b2"},
        "sk": {"S": "EVENT#000007"},
        "event_id": {"S": "mobile/6901616fe9e88196b4eb64b2#7"},
        "seq": {"N": "7"},
        "detail_type": {"S": "Order Tracked"},
        "occurred_at": {"N": "1760000000000"},
        "detail": {"S": r#"{"event_id":"mobile/6901616fe9e88196b4eb64b2#7"}"#},
        "feed": {"S": "0"},
        "feed_at": {"S": "1760000000000#mobile#6901616fe9e88196b4eb64b2#EVENT#000007"},
    });
    assert_eq!(wire(&item, &[]), expected);
    let mut old = item.clone();
    old.retain(|name, _| !name.starts_with("feed"));
    for item in [item, old] {
        assert_eq!(history::read_event(&event.key, &item).unwrap(), event);
    }
}

#[test]
fn an_event_about_a_key_has_an_item_of_its_own() {
    let key = Fingerprint::stored("1f2e3d4c5b6a7988");
    let (detail_type, detail) = ("Vendor Resumed".to_owned(), "{}".to_owned());
    let event = VendorEvent { seq: 3, detail_type, occurred_at: at(0), detail };
    let item =
        wire(&history::write_vendor_event(&key, &event).unwrap(), &["pk", "sk", "event_id", "feed_at"]);
    let expected = json!({
        "pk": {"S": "vendor#1f2e3d4c5b6a7988"},
        "sk": {"S": "EVENT#000003"},
        "event_id": {"S": "vendor/1f2e3d4c5b6a7988#3"},
        "feed_at": {"S": "1760000000000#vendor#1f2e3d4c5b6a7988#EVENT#000003"},
    });
    assert_eq!(item, expected);
}
