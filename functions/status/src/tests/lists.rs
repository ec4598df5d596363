//! `GET /orders`: the query, and pages of a table that a mock stands in for.

use std::time::Duration;

use shared::{
    clock::Clock,
    order::{ParkedAs, Product},
    store::{InPhase, OrderCursor, OrderList},
};
use wiremock::{Mock, MockServer, Respond, ResponseTemplate, matchers::any};

use super::*;
use crate::lists::OrderQuery;

const NOW: &str = "2025-10-29T00:36:17Z";

fn page(query: &str) -> ApiGatewayV2httpRequest {
    let mut request = call("GET", "/orders");
    request.raw_query_string = Some(query.to_owned());
    request
}

fn parsed(query: &str) -> OrderQuery {
    match route::parse(&page(query)) {
        Ok(Call::List(query)) => query,
        other => panic!("{query}: {other:?}"),
    }
}

fn in_phase(phase: &'static str, parked_as: Option<ParkedAs>) -> OrderList {
    OrderList::Phase(InPhase { phase, parked_as, until: None })
}

#[test]
fn a_query_names_one_list() {
    let uncertain = in_phase("parked", Some(ParkedAs::Uncertain));
    for (query, list) in [
        ("phase=in_flight", in_phase("in_flight", None)),
        ("phase=final&other=1", in_phase("final", None)),
        ("phase=final&phase=parked", in_phase("parked", None)),
        ("parked_as=uncertain", uncertain.clone()),
        ("phase=parked&parked_as=uncertain", uncertain),
        ("review=open", OrderList::OpenReview),
        ("ref=a+b%23%E2%9C%93", OrderList::Ref("a b#✓".to_owned().try_into().unwrap())),
    ] {
        let expected = OrderQuery { list, older_than: None, product: None, cursor: None, limit: 100 };
        assert_eq!(parsed(query), expected, "{query}");
    }
    let query = parsed("phase=parked&older_than=90m&product=internet&limit=7");
    assert_eq!(
        (query.older_than, query.product, query.limit),
        (Some(Duration::from_secs(5400)), Some(Product::Internet), 7)
    );
    assert_eq!(parsed("review=open&product=mobile").product, Some(Product::Mobile));
}

#[tokio::test]
async fn a_query_that_makes_no_sense_names_the_parameter() {
    for (query, field) in [
        ("", "phase"),
        ("product=mobile", "phase"),
        ("older_than=24h", "phase"),
        ("phase=", "phase"),
        ("phase=lost", "phase"),
        ("phase=parked&ref=a", "ref"),
        ("phase=parked&review=open", "review"),
        ("parked_as=queued&ref=a", "ref"),
        ("ref=a&review=open", "review"),
        ("ref=", "ref"),
        ("review=closed", "review"),
        ("review=open&older_than=24h", "older_than"),
        ("ref=a&older_than=24h", "older_than"),
        ("phase=parked&older_than=24", "older_than"),
        ("phase=parked&older_than=-1h", "older_than"),
        ("phase=parked&older_than=2years", "older_than"),
        ("phase=final&parked_as=queued", "parked_as"),
        ("parked_as=lost", "parked_as"),
        ("phase=parked&product=fax", "product"),
        ("phase=parked&limit=0", "limit"),
        ("phase=parked&limit=101", "limit"),
        ("phase=parked&cursor=a", "cursor"),
        // The cursor of another list.
        ("phase=parked&cursor=cmV2aWV3cy9vcGVuCm1vYmlsZSNhCkVWRU5UIzAwMDAwMgox", "cursor"),
    ] {
        assert_problem(page(query), 400, Some(field), query).await;
    }
    assert!(parsed("review=open&cursor=cmV2aWV3cy9vcGVuCm1vYmlsZSNhCkVWRU5UIzAwMDAwMgox").cursor.is_some());
    assert_problem(page("phase=parked"), 503, None, "no table").await;
}

/// A table with these orders: id, milliseconds of `changed_at`, phase in the index, phase as stored. It filters as DynamoDB does.
struct Table(Vec<(&'static str, i64, &'static str, &'static str)>);

impl Respond for Table {
    fn respond(&self, request: &wiremock::Request) -> ResponseTemplate {
        let asked: Value = serde_json::from_slice(&request.body).unwrap();
        let key = |id: &str| json!({"pk": {"S": format!("mobile#{id}")}, "sk": {"S": "ORDER"}});
        if asked["IndexName"] != "phases" {
            let keys = asked["RequestItems"]["orders"]["Keys"].as_array().unwrap();
            let all = self.0.iter().filter(|(id, ..)| keys.contains(&key(id)));
            let found: Vec<_> = all.map(|(id, ms, _, phase)| stored(key(id), id, *ms, phase)).collect();
            return ResponseTemplate::new(200).set_body_json(json!({"Responses": {"orders": found}}));
        }
        let number = |value: &Value| value["N"].as_str().map(|text| text.parse::<i64>().unwrap());
        let values = &asked["ExpressionAttributeValues"];
        let after = number(&asked["ExclusiveStartKey"]["changed_at"]).unwrap_or(i64::MIN);
        let until = number(&values[":until"]).unwrap_or(i64::MAX);
        let in_range = |(_, ms, phase, _): &&(&str, i64, &str, &str)| {
            *ms > after && *ms <= until && values[":hash"]["S"] == *phase
        };
        let entry = |(id, ms, phase, _): &(&str, i64, &str, &str)| {
            let mut entry = key(id);
            entry["changed_at"] = json!({"N": ms.to_string()});
            entry["phase"] = json!({"S": phase});
            entry
        };
        let limit = usize::try_from(asked["Limit"].as_u64().unwrap()).unwrap();
        let listed: Vec<_> = self.0.iter().filter(in_range).take(limit).map(entry).collect();
        let last = listed.last().filter(|_| listed.len() == limit).cloned();
        let filter = asked["FilterExpression"].as_str();
        assert!(
            filter
                .is_none_or(|filter| filter == "#product = :product" || filter == "#parked_as = :parked_as")
        );
        let hidden = values[":product"]["S"] == "internet";
        let listed = if hidden { Vec::new() } else { listed };
        ResponseTemplate::new(200).set_body_json(json!({"Items": listed, "LastEvaluatedKey": last}))
    }
}

fn stored(key: Value, id: &str, changed_at: i64, phase: &str) -> Value {
    let ms = json!({"N": changed_at.to_string()});
    let mut item = key;
    let attributes = json!({
        "product": {"S": "mobile"}, "id": {"S": id}, "phase": {"S": phase}, "in_flight_since": ms, "parked_since": ms,
        "parked_as": {"S": "uncertain"}, "outcome": {"S": "refunded"}, "tracked_at": ms, "changed_at": ms,
        "version": {"N": "1"}, "seq": {"N": "1"}, "announced": {"N": "1"},
    });
    item.as_object_mut().unwrap().extend(attributes.as_object().unwrap().clone());
    item
}

/// Ids and `next` of an answer.
async fn read(tracker: &Tracker, query: &str) -> (Vec<String>, Option<String>) {
    let response = handle(tracker, page(query)).await;
    let Some(Body::Text(body)) = response.body else { panic!("no text") };
    let body: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(response.status_code, 200, "{body}");
    let ids = body["orders"].as_array().unwrap().iter().map(|order| order["id"].as_str().unwrap().to_owned());
    (ids.collect(), body["next"].as_str().map(str::to_owned))
}

#[tokio::test]
async fn pages_follow_each_other_without_orders_that_have_moved() {
    const DAY: i64 = 86_400_000;
    let now = NOW.parse::<Timestamp>().unwrap().as_millisecond();
    let table = Table(vec![
        ("a", now - 3 * DAY, "parked", "parked"),
        ("b", now - 2 * DAY, "parked", "final"),
        ("c", now - DAY, "parked", "parked"),
        ("d", now - DAY + 1, "parked", "parked"),
        ("e", now - 5 * DAY, "final", "final"),
    ]);
    let server = MockServer::start().await;
    Mock::given(any()).respond_with(table).mount(&server).await;
    let tracker = tracker_at(&server.uri()).await.with_clock(Clock::fixed(NOW.parse().unwrap()));

    let (first, next) = read(&tracker, "phase=parked&limit=2").await;
    assert_eq!(first, ["a"], "b is final by now");
    let (second, end) = read(&tracker, &format!("phase=parked&limit=2&cursor={}", next.unwrap())).await;
    assert_eq!(second, ["c", "d"]);
    assert_eq!(read(&tracker, &format!("phase=parked&cursor={}", end.unwrap())).await, (vec![], None));
    assert_eq!(
        read(&tracker, "phase=parked&older_than=24h").await,
        (vec!["a".to_owned(), "c".to_owned()], None)
    );
    assert_eq!(read(&tracker, "phase=final").await.0, ["e"]);
    assert_eq!(read(&tracker, "phase=in_flight").await, (vec![], None));

    // With a filter many entries are read, and the page ends at its limit.
    let (first, next) = read(&tracker, "parked_as=uncertain&limit=1").await;
    assert_eq!(first, ["a"]);
    let next = next.unwrap();
    let list = in_phase("parked", Some(ParkedAs::Uncertain));
    assert_eq!(OrderCursor::read(&next, &list).unwrap().write(), next);
    let (none, more) = read(&tracker, &format!("parked_as=uncertain&limit=1&cursor={next}")).await;
    assert_eq!((none.len(), more.is_some()), (0, true), "an empty page before the end");
    assert_eq!(read(&tracker, "phase=parked&product=internet").await, (vec![], None));
    // A place after the last order that is old enough.
    assert_eq!(
        read(&tracker, &format!("parked_as=uncertain&older_than=72h&cursor={next}")).await,
        (vec![], None)
    );
    assert_eq!(
        read(&tracker, &format!("parked_as=uncertain&older_than=73h&cursor={next}")).await,
        (vec![], None)
    );
}
