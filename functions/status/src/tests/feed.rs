//! `GET /events`: its query, its long poll and its filter, with a stand-in for the table and a fixed clock.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use shared::{
    clock::Clock,
    order::{DETAIL_TYPES, OrderKey},
    store::FeedCursor,
};
use wiremock::{Mock, MockServer, Respond, ResponseTemplate, matchers::any};

use super::*;

const NOW: &str = "2025-10-29T00:36:17Z";

fn page(query: &str) -> ApiGatewayV2httpRequest {
    let mut request = call("GET", "/events");
    request.raw_query_string = Some(query.to_owned());
    request
}

#[test]
fn a_query_may_be_encoded_in_any_way() {
    let parsed = |query: &str| match route::parse(&page(query)) {
        Ok(Call::Feed(query)) => query,
        other => panic!("{other:?}"),
    };
    let all = parsed("");
    let start = Some(FeedCursor::start());
    assert_eq!((&all.after, all.limit, all.types.len(), all.wait), (&start, 100, 0, Duration::ZERO));
    let cursor = FeedCursor::reached(NOW.parse().unwrap());
    let query = parsed(&format!("after={}&limit=1&wait=15&other=%", cursor.write()));
    assert_eq!((query.after, query.limit, query.wait.as_secs()), (Some(cursor), 1, 15));
    assert_eq!(parsed("after=latest").after, None);
    let two = ["Order Fulfilled", "Vendor Suspended"];
    for types in [
        "Order%20Fulfilled,Vendor%20Suspended",
        "Order+Fulfilled%2CVendor+Suspended",
        "%4frder%20Fulfilled,Vendor Suspended",
    ] {
        assert_eq!(parsed(&format!("types={types}")).types, two, "{types}");
    }
    assert_eq!(parsed(&format!("types={}", DETAIL_TYPES.join(","))).types, DETAIL_TYPES);
    assert_eq!(parsed("limit=5&types=Order Queued&limit=9&types=Order Tracked").types, ["Order Tracked"]);
}

#[tokio::test]
async fn an_invalid_query_names_the_field() {
    for (query, field) in [
        ("after=", "after"),
        ("after=7", "after"),
        ("after=Latest", "after"),
        ("after=MTE3NjAwMDAwMDAwMDA%3D", "after"),
        ("limit=0", "limit"),
        ("limit=101", "limit"),
        ("limit=+1", "limit"),
        ("types=", "types"),
        ("types=Order Fulfilled,", "types"),
        ("types=order fulfilled", "types"),
        ("types=Top-up Sent", "types"),
        ("types=%FF", "types"),
        ("wait=16", "wait"),
        ("wait=1.5", "wait"),
        ("wait=-1", "wait"),
        ("wait=", "wait"),
    ] {
        assert_problem(page(query), 400, Some(field), query).await;
    }
    for method in ["PUT", "POST", "DELETE"] {
        assert_problem(call(method, "/events"), 405, None, method).await;
    }
    assert_problem(call("GET", "/events/1"), 404, None, "a longer path").await;
    let mut request = page("after=latest");
    request.headers.insert("authorization", "Bearer cards-only-0123456789".parse().unwrap());
    assert_problem(request, 403, None, "another scope").await;
}

/// An event that the table lists.
struct Listed {
    /// The first read of the index that shows it, from 0.
    from: usize,
    place: &'static str,
    detail_type: &'static str,
}

impl Listed {
    fn stamp(&self) -> String {
        format!("1761698100000#mobile#{}#EVENT#000001", self.place)
    }

    fn key(&self) -> Value {
        json!({"pk": {"S": format!("mobile#{}", self.place)}, "sk": {"S": "EVENT#000001"}})
    }

    fn item(&self) -> Value {
        let detail = json!({"place": self.place}).to_string();
        let mut item = self.key();
        item["feed_at"] = json!({"S": self.stamp()});
        item["detail_type"] = json!({"S": self.detail_type});
        item["detail"] = json!({"S": detail});
        item
    }
}

struct Table {
    listed: Vec<Listed>,
    reads: AtomicUsize,
}

impl Respond for Table {
    fn respond(&self, request: &wiremock::Request) -> ResponseTemplate {
        let asked: Value = serde_json::from_slice(&request.body).unwrap();
        let all = self.listed.iter();
        let items: Vec<Value> = if asked["IndexName"] == "feed" {
            let read = self.reads.fetch_add(1, Ordering::SeqCst);
            let first = asked["ExpressionAttributeValues"][":first"]["S"].as_str().unwrap();
            let follows = |event: &&Listed| event.from <= read && event.stamp().as_str() > first;
            let limit = usize::try_from(asked["Limit"].as_u64().unwrap()).unwrap();
            all.filter(follows).take(limit).map(Listed::item).collect()
        } else {
            let keys = asked["RequestItems"]["orders"]["Keys"].as_array().unwrap();
            all.filter(|event| keys.contains(&event.key())).map(Listed::item).collect()
        };
        ResponseTemplate::new(200).set_body_json(json!({"Items": items, "Responses": {"orders": items}}))
    }
}

/// A tracker whose table lists these events, and the table.
async fn tracker_with(listed: &[(usize, &'static str, &'static str)]) -> (Tracker, MockServer) {
    let event = |&(from, place, detail_type): &_| Listed { from, place, detail_type };
    let table = Table { listed: listed.iter().map(event).collect(), reads: AtomicUsize::new(0) };
    let server = MockServer::start().await;
    Mock::given(any()).respond_with(table).mount(&server).await;
    (tracker_at(&server.uri()).await.with_clock(Clock::fixed(NOW.parse().unwrap())), server)
}

/// The places of the events of an answer, the place of `next`, and the seconds that passed on the clock.
async fn read(tracker: &Tracker, query: &str) -> (Vec<String>, String, i64) {
    let before = tracker.clock.now();
    // The details here are no events of the document.
    let response = super::super::handle(tracker, &super::tokens(tracker).await, page(query)).await;
    let Some(Body::Text(body)) = response.body else { panic!("the body is not text") };
    assert_eq!(response.status_code, 200, "{body}");
    let body: Value = serde_json::from_str(&body).unwrap();
    let events =
        body["events"].as_array().unwrap().iter().map(|event| event["place"].as_str().unwrap().to_owned());
    let seconds = tracker.clock.now().as_second() - before.as_second();
    (events.collect(), body["next"].as_str().unwrap().to_owned(), seconds)
}

#[tokio::test]
async fn a_page_is_followed_by_the_next() {
    let (tracker, _server) =
        tracker_with(&[(0, "a", "Order Tracked"), (0, "b", "Order Queued"), (0, "c", "Order Resumed")]).await;
    let (first, next, _) = read(&tracker, "limit=2").await;
    assert_eq!(first, ["a", "b"]);
    let (second, end, _) = read(&tracker, &format!("limit=2&after={next}")).await;
    assert_eq!(second, ["c"]);
    assert_eq!(read(&tracker, &format!("after={end}")).await, (vec![], end.clone(), 0));
    assert_eq!(read(&tracker, &format!("after={next}")).await.0, second, "the same again");
    let latest = FeedCursor::reached(NOW.parse().unwrap()).write();
    assert_eq!(read(&tracker, "after=latest&wait=15").await, (vec![], latest, 0));
}

#[tokio::test]
async fn a_reader_waits_for_an_event() {
    let (tracker, server) = tracker_with(&[(3, "a", "Order Tracked")]).await;
    let (events, _, seconds) = read(&tracker, "wait=15").await;
    assert_eq!((events, seconds), (vec!["a".to_owned()], 3));
    assert_eq!(
        server.received_requests().await.unwrap().len(),
        5,
        "four reads of the index, one of the event"
    );
}

#[tokio::test]
async fn a_reader_waits_no_longer_than_it_said() {
    for wait in [0, 1, 15] {
        let (tracker, server) = tracker_with(&[(99, "a", "Order Tracked")]).await;
        let start = FeedCursor::start().write();
        assert_eq!(read(&tracker, &format!("wait={wait}")).await, (vec![], start, wait));
        assert_eq!(server.received_requests().await.unwrap().len() as i64, wait + 1);
    }
}

#[tokio::test]
async fn events_of_other_types_are_passed_without_a_wait() {
    const LISTED: &[(usize, &str, &str)] = &[
        (0, "a", "Order Tracked"),
        (0, "b", "A type of tomorrow"),
        (0, "c", "Order Fulfilled"),
        (0, "d", "Order Tracked"),
    ];
    let (tracker, _server) = tracker_with(LISTED).await;
    let (events, next, seconds) = read(&tracker, "limit=1&types=Order+Fulfilled&wait=15").await;
    assert_eq!((events, seconds), (vec!["c".to_owned()], 0));
    let (events, end, seconds) = read(&tracker, &format!("after={next}&types=Order+Fulfilled&wait=15")).await;
    assert_eq!((events.len(), seconds), (0, 15));
    assert_ne!(end, next);
    let (events, next, _) = read(&tracker, "limit=2&types=Order+Fulfilled").await;
    assert!(
        events.is_empty() && next != FeedCursor::start().write(),
        "without a wait: an empty page that moves on"
    );
    assert_eq!(read(&tracker, "").await.0, ["a", "b", "c", "d"], "all types, also unknown ones");
}

#[tokio::test]
async fn an_unreachable_table_is_a_problem_to_retry() {
    assert_problem(page("wait=15"), 503, None, "no table").await;
}

#[test]
fn the_feed_has_no_order_in_its_log_line() {
    let call = route::parse(&page("")).unwrap();
    assert_eq!((call.name(), call.order()), ("feed", None::<&OrderKey>));
}
