//! The examples of `infra/openapi.yaml`: answers of the function to fixed requests, with a stand-in for AWS and the vendor.
//! `UPDATE_OPENAPI=1 cargo test -p status examples` writes them anew.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use base64::{Engine, engine::general_purpose::STANDARD};
use shared::clock::Clock;
use wiremock::{Mock, MockServer, Respond, ResponseTemplate, matchers::any};
use yaml_serde::{Mapping, Value as Yaml};

use super::*;

const MOBILE: &str = "/orders/mobile/6901616fe9e88196b4eb64b0";
const INTERNET: &str = "/orders/internet/6901616fe9e88196b4eb64b2";
const REF: &str = r#"{"ref": "order-12345"}"#;
const TOKEN: &str = "sample-token-0123456789";

const MOBILE_FULFILLED: &str = include_str!("../../../../events/vendor/mobile-fulfilled.json");
const MOBILE_REFUNDED: &str = include_str!("../../../../events/vendor/mobile-refunded-suggested-offers.json");
const INTERNET_QUEUED: &str = include_str!("../../../../events/vendor/internet-queued.json");
const INTERNET_FULFILLED: &str = include_str!("../../../../events/vendor/internet-fulfilled.json");
/// An order's events, as the table has them.
const EVENTS: [&str; 2] = [
    include_str!("../../../../events/out/order-tracked.json"),
    include_str!("../../../../events/out/order-refunded.json"),
];

/// The events of the feed.
const FEED: [&str; 3] = [EVENTS[0], EVENTS[1], include_str!("../../../../events/out/vendor-suspended.json")];

/// When the sample order was tracked, milliseconds since 1970.
const TRACKED_AT: &str = "1761698160000";
/// The time of all examples: 17 s later.
const NOW: &str = "2025-10-29T00:36:17Z";

const IN_1_H: &str = "2025-10-29T01:36:17Z";
const IN_24_H: &str = "2025-10-30T00:36:17Z";

/// One example: a request, and what AWS and the vendor answer.
struct Example {
    name: &'static str,
    summary: &'static str,
    method: &'static str,
    path: String,
    query: &'static str,
    body: String,
    token: &'static str,
    /// `next_check_at` without the random part of the wait.
    next_check_at: Option<&'static str>,
    stand_in: StandIn,
}

#[derive(Clone, Default)]
struct StandIn {
    /// The stored order; `None`: it is not tracked.
    order: Option<Value>,
    /// The vendor's page; `None`: the vendor fails.
    page: Option<String>,
    /// Whether the vendor has asked for a pause of 30 s.
    paused: bool,
    /// Whether AWS cannot be reached.
    down: bool,
    /// How often the order was loaded, if another process commits an event to it after the first time.
    conflict: Option<Arc<AtomicUsize>>,
}

impl Respond for StandIn {
    fn respond(&self, request: &wiremock::Request) -> ResponseTemplate {
        let target = request.headers.get("x-amz-target").map_or("", |target| target.to_str().unwrap());
        let body: Value = serde_json::from_slice(&request.body).unwrap_or_default();
        let of_order = body["Key"]["sk"]["S"] == "ORDER";
        let registers = body["TransactItems"][0]["Put"].is_object();
        let refused = |error: Value| ResponseTemplate::new(400).set_body_json(error);
        let answer = match target.rsplit('.').next().unwrap_or_default() {
            "GetItem" if of_order => self.loaded().map_or(json!({}), |order| json!({"Item": order})),
            "GetItem" => json!({}),
            "Encrypt" => json!({"CiphertextBlob": "AP8H"}),
            "UpdateItem" if !of_order && self.paused => {
                return refused(json!({
                    "__type": "com.amazonaws.dynamodb.v20120810#ConditionalCheckFailedException",
                    "Item": {"paused_until": {"N": "1761698207000"}},
                }));
            }
            "UpdateItem" => json!({"Attributes": {}}),
            "TransactWriteItems" if (registers && self.order.is_some()) || self.conflict.is_some() => {
                return refused(json!({
                    "__type": "com.amazonaws.dynamodb.v20120810#TransactionCanceledException",
                    "CancellationReasons": [{"Code": "ConditionalCheckFailed"}, {"Code": "None"}],
                }));
            }
            "TransactWriteItems" => json!({}),
            "Query" => found(&body),
            "BatchGetItem" if body.to_string().contains("\"ORDER\"") => {
                json!({"Responses": {"orders": [self.order]}, "UnprocessedKeys": {}})
            }
            "BatchGetItem" => read_together(&body),
            "Decrypt" => json!({"Plaintext": STANDARD.encode("123456789012")}),
            "PutEvents" => {
                let entries = body["Entries"].as_array().unwrap().iter().map(|_| json!({"EventId": "1"}));
                json!({"FailedEntryCount": 0, "Entries": entries.collect::<Value>()})
            }
            _ => match &self.page {
                Some(page) => return ResponseTemplate::new(200).set_body_string(page),
                None => return ResponseTemplate::new(500),
            },
        };
        ResponseTemplate::new(200).set_body_json(answer)
    }
}

impl StandIn {
    fn loaded(&self) -> Option<Value> {
        let mut order = self.order.clone()?;
        if self.conflict.as_ref().is_some_and(|loads| loads.fetch_add(1, Ordering::SeqCst) > 0) {
            order["seq"] = json!({"N": "9"});
        }
        Some(order)
    }
}

/// The answer to a query: orders, failed deliveries of all orders, deliveries of one order, or its events.
fn found(query: &Value) -> Value {
    if query["ExpressionAttributeValues"][":hash"].is_object() {
        let sk = if query["IndexName"] == "due" { "EVENT#000002" } else { "ORDER" };
        return json!({"Items": [{"pk": {"S": "mobile#6901616fe9e88196b4eb64b0"}, "sk": {"S": sk}}]});
    }
    if query["IndexName"] == "due" {
        return json!({"Items": [{"pk": {"S": "mobile#6901616fe9e88196b4eb64b0"}, "sk": {"S": "DELIVERY#000002"}}]});
    }
    if query["IndexName"] == "feed" {
        return json!({"Items": FEED.map(stored_event)});
    }
    match query["ExpressionAttributeValues"][":last"]["S"].as_str() {
        Some("DELIVERY#~") => json!({"Items": [delivery("retrying")]}),
        _ => {
            let first = query["ExpressionAttributeValues"][":first"]["S"].as_str().unwrap();
            let is_asked = |event: &Value| {
                format!("EVENT#{:0>6}", event["seq"]["N"].as_str().unwrap()).as_str() >= first
            };
            json!({"Items": EVENTS.map(stored_event).into_iter().filter(is_asked).collect::<Vec<_>>()})
        }
    }
}

/// The answer to a read of several items: events of the feed, or a failed delivery.
fn read_together(asked: &Value) -> Value {
    let keys = asked.to_string();
    let found =
        if keys.contains("DELIVERY#") { vec![delivery("failed")] } else { FEED.map(stored_event).to_vec() };
    json!({"Responses": {"orders": found}, "UnprocessedKeys": {}})
}

/// The delivery of an order's outcome, as the table has it.
fn delivery(state: &str) -> Value {
    let attempt = json!({
        "at": {"S": "2025-10-29T00:36:17Z"}, "status": {"N": if state == "failed" { "410" } else { "500" }},
        "milliseconds": {"N": "31"}, "error": {"NULL": true}, "answer": {"S": "Internal Server Error"},
    });
    let mut item = json!({
        "event_id": {"S": "mobile/6901616fe9e88196b4eb64b0#2"}, "detail_type": {"S": "Order Refunded"}, "state": {"S": state},
        "attempt_count": {"N": "1"}, "attempts": {"L": [{"M": attempt}]},
    });
    if state == "retrying" {
        item["next_attempt_at"] = json!({"S": "2025-10-29T00:36:22Z"});
    }
    item
}

fn stored_event(sample: &str) -> Value {
    let event: Value = serde_json::from_str(sample).unwrap();
    let detail = &event["detail"];
    let text = |value: &Value| json!({"S": value.as_str().unwrap()});
    let (pk, seq) = detail["event_id"].as_str().unwrap().split_once('#').unwrap();
    let (pk, sk) = (pk.replace('/', "#"), format!("EVENT#{seq:0>6}"));
    json!({
        "feed_at": {"S": format!("{TRACKED_AT}#{pk}#{sk}")},
        "pk": {"S": pk},
        "sk": {"S": sk},
        "event_id": text(&detail["event_id"]),
        "seq": {"N": detail["seq"].to_string()},
        "detail_type": text(&detail["detail_type"]),
        "occurred_at": {"N": TRACKED_AT},
        "detail": {"S": detail.to_string()},
    })
}

/// The sample order as the table keeps it: in flight and not checked yet, with `changes`.
fn stored(path: &str, changes: Value) -> Option<Value> {
    let [product, id] = path.split('/').skip(2).collect::<Vec<_>>()[..] else { panic!("{path}") };
    let mut item = json!({
        "pk": {"S": format!("{product}#{id}")}, "sk": {"S": "ORDER"},
        "product": {"S": product}, "id": {"S": id}, "ref": {"S": "order-12345"},
        "phase": {"S": "in_flight"}, "in_flight_since": {"N": TRACKED_AT},
        "tracked_at": {"N": TRACKED_AT}, "changed_at": {"N": TRACKED_AT}, "next_look_at": {"N": "1761698168000"},
        "version": {"N": "1"}, "seq": {"N": "1"}, "announced": {"N": "1"},
    });
    let Value::Object(changes) = changes else { panic!("{changes}") };
    item.as_object_mut().unwrap().extend(changes);
    Some(item)
}

fn example(
    name: &'static str,
    summary: &'static str,
    method: &'static str,
    path: impl Into<String>,
) -> Example {
    let (query, body, stand_in) = ("", String::new(), StandIn::default());
    Example {
        name,
        summary,
        method,
        path: path.into(),
        query,
        body,
        token: TOKEN,
        next_check_at: None,
        stand_in,
    }
}

impl Example {
    fn body(self, body: impl Into<String>) -> Self {
        Self { body: body.into(), ..self }
    }

    fn token(self, token: &'static str) -> Self {
        Self { token, ..self }
    }

    fn query(self, query: &'static str) -> Self {
        Self { query, ..self }
    }

    fn next_check(self, at: &'static str) -> Self {
        Self { next_check_at: Some(at), ..self }
    }

    fn order(mut self, order: Option<Value>) -> Self {
        self.stand_in.order = order;
        self
    }

    fn page(mut self, page: impl Into<String>) -> Self {
        self.stand_in.page = Some(page.into());
        self
    }

    fn request(&self) -> ApiGatewayV2httpRequest {
        request(GET, |event| {
            event["requestContext"]["http"]["method"] = self.method.into();
            event["rawPath"] = self.path.as_str().into();
            event["rawQueryString"] = self.query.into();
            event["body"] = self.body.as_str().into();
            event["headers"]["authorization"] = format!("Bearer {}", self.token).into();
        })
    }

    async fn answer(&self) -> ApiGatewayV2httpResponse {
        if self.name == "tokens_unknown" {
            return Answer::tokens_unknown().into_response();
        }
        let server = MockServer::start().await;
        Mock::given(any()).respond_with(self.stand_in.clone()).mount(&server).await;
        let endpoint = if self.stand_in.down { "http://127.0.0.1:9".to_owned() } else { server.uri() };
        let mut tracker = tracker_at(&endpoint).await.with_clock(Clock::fixed(NOW.parse().unwrap()));
        tracker.has_webhooks = self.name != "no_webhooks";
        super::super::handle(&tracker, &super::tokens(&tracker).await, self.request()).await
    }
}

fn tracking() -> Vec<Example> {
    let put = |name, summary| example(name, summary, "PUT", MOBILE);
    vec![
        put("tracked", "Tracked now").body(REF),
        put("tracked_before", "Tracked before").body(REF).order(stored(MOBILE, json!({}))),
        put("another_ref", "Tracked with another ref")
            .body(r#"{"ref": "order-67890"}"#)
            .order(stored(MOBILE, json!({}))),
        put("wrong_ref", "The ref is empty").body(r#"{"ref": ""}"#),
        put("wrong_body", "The body is no JSON").body("order-12345"),
        put("too_large", "The body is too large").body(" ".repeat(16 * 1024 + 1)),
    ]
}

fn showing() -> Vec<Example> {
    let mobile = |name, summary| example(name, summary, "GET", MOBILE).order(stored(MOBILE, json!({})));
    let internet = |name, summary| example(name, summary, "GET", INTERNET).order(stored(INTERNET, json!({})));
    vec![
        mobile("fulfilled", "Mobile, delivered").page(MOBILE_FULFILLED),
        mobile("refunded", "Mobile, refunded, with other offers").page(MOBILE_REFUNDED).next_check(IN_1_H),
        mobile("handling", "In flight").page(MOBILE_FULFILLED.replace("FULFILLED", "HANDLING")),
        mobile("uncertain", "Parked: the vendor does not know the outcome")
            .page(MOBILE_FULFILLED.replace("FULFILLED", "UNKNOWN_ERROR"))
            .next_check(IN_1_H),
        internet("queued", "Parked: delivered within 12 to 48 hours")
            .page(INTERNET_QUEUED)
            .next_check(IN_24_H),
        internet("internet_fulfilled", "Internet, delivered, with a card").page(INTERNET_FULFILLED),
        mobile("vendor_does_not_answer", "The vendor fails: the stored order, which is stale"),
    ]
}

fn others() -> Vec<Example> {
    let delivered = json!({
        "phase": {"S": "final"}, "outcome": {"S": "fulfilled"}, "status": {"S": "FULFILLED"}, "card_ciphertext": {"S": "AP8H"},
        "card_masked": {"S": "**********12"}, "num_trans": {"S": "AT-2025-12345"}, "date_traitement": {"S": "2025-11-01T12:00:45.000Z"},
    });
    let redacted = json!({
        "phase": {"S": "final"}, "outcome": {"S": "fulfilled"}, "status": {"S": "FULFILLED"}, "redacted_at": {"N": "1769474400000"},
    });
    let card = |name, summary, path: &str| example(name, summary, "GET", format!("{path}/card"));
    let lookup = |name, summary| example(name, summary, "POST", "/orders/mobile/lookup").body(REF);
    let mut paused = lookup("vendor_pause", "The vendor asked for a pause");
    paused.stand_in.paused = true;
    let not_found = r#"{"success": false, "error": {"code": "NOT_FOUND", "message": "m"}}"#;
    vec![
        example("history", "Tracked, then refunded", "GET", format!("{MOBILE}/history")),
        example("wrong_after", "after is no number", "GET", format!("{MOBILE}/history")).query("after=first"),
        example("wrong_limit", "limit is too large", "GET", format!("{MOBILE}/history")).query("limit=1000"),
        card("card", "The card", INTERNET).order(stored(INTERNET, delivered)),
        card("card_redacted", "Removed after REDACT_AFTER", INTERNET).order(stored(INTERNET, redacted)),
        card("card_not_yet", "In flight", INTERNET).order(stored(INTERNET, json!({}))),
        card("no_card", "A mobile order", MOBILE).order(stored(MOBILE, json!({}))),
        card("no_scope_cards", "The token has another scope", INTERNET).token("orders-only-0123456789"),
        lookup("found", "Found, and tracked now").page(MOBILE_FULFILLED),
        lookup("found_before", "Found, and tracked before")
            .page(MOBILE_FULFILLED)
            .order(stored(MOBILE, json!({}))),
        lookup("ref_missing", "No ref").body(""),
        lookup("ref_unknown", "The vendor does not know the ref").page(not_found),
        lookup("vendor_failed", "The vendor fails"),
        paused,
    ]
}

fn webhooks() -> Vec<Example> {
    let of_order = |name, summary| example(name, summary, "GET", format!("{MOBILE}/deliveries"));
    let list = |name, summary| example(name, summary, "GET", "/deliveries");
    // As API Gateway decodes it.
    let resend = |name, summary, event| example(name, summary, "POST", format!("/deliveries/{event}/resend"));
    let event = "mobile/6901616fe9e88196b4eb64b0#2";
    vec![
        of_order("order_deliveries", "The outcome was not taken yet"),
        list("deliveries", "One event was given up").query("state=failed"),
        list("wrong_state", "No such state").query("state=delivered"),
        list("wrong_delivery_cursor", "cursor is not `next` of a page").query("cursor=2"),
        resend("resent", "On its way", event),
        resend("wrong_event_id", "The number of the event is missing", "mobile/6901616fe9e88196b4eb64b0"),
        resend("no_event", "The order has no event with this number", "mobile/6901616fe9e88196b4eb64b0#9"),
        resend("no_webhooks", "WEBHOOK_URL is not set", event),
    ]
}

fn feed() -> Vec<Example> {
    let feed = |name, summary, query| example(name, summary, "GET", "/events").query(query);
    vec![
        feed("feed", "An order that was refunded, and a suspended key", ""),
        feed("feed_latest", "The place of now", "after=latest"),
        feed("feed_empty", "No new events", "after=MTE3NjE2OTgxNjkwMDA"),
        feed("wrong_cursor", "after is no cursor", "after=first"),
        feed("wrong_types", "No such type", "types=Order+Failed"),
        feed("wrong_wait", "wait is too long", "wait=60"),
    ]
}

/// The sample order, parked as uncertain two days before, with a review.
fn uncertain() -> Option<Value> {
    const TWO_DAYS_BEFORE: &str = "1761525360000";
    let changes = json!({
        "phase": {"S": "parked"}, "parked_as": {"S": "uncertain"}, "parked_since": {"N": TWO_DAYS_BEFORE},
        "status": {"S": "UNKNOWN_ERROR"}, "tracked_at": {"N": TWO_DAYS_BEFORE}, "changed_at": {"N": TWO_DAYS_BEFORE},
        "checked_at": {"N": TRACKED_AT}, "next_look_at": {"N": "1761784560000"}, "seq": {"N": "3"}, "announced": {"N": "3"},
        "reviewed": {"L": [{"S": "overdue:uncertain"}]}, "open_reviews": {"M": {"3": {"S": "overdue"}}},
    });
    stored(MOBILE, changes)
}

fn operating() -> Vec<Example> {
    let list = |name, summary, query| example(name, summary, "GET", "/orders").query(query);
    let review = |name, summary, action| {
        let body = json!({"actor": "Amina", "reason": "the vendor was asked", "action": action}).to_string();
        example(name, summary, "POST", format!("{MOBILE}/review")).body(body)
    };
    let fulfilled =
        json!({"phase": {"S": "final"}, "outcome": {"S": "fulfilled"}, "status": {"S": "FULFILLED"}});
    let mut conflict = review("review_conflict", "Another act came first", "close").order(uncertain());
    conflict.stand_in.conflict = Some(Arc::default());
    vec![
        list(
            "orders_uncertain",
            "Uncertain for over a day",
            "phase=parked&parked_as=uncertain&older_than=24h",
        )
        .order(uncertain()),
        list("orders_by_ref", "The orders with a reference", "ref=order-12345")
            .order(stored(MOBILE, json!({}))),
        list("orders_in_review", "With an open review", "review=open").order(uncertain()),
        list("no_list", "Neither phase nor ref nor review", ""),
        list("two_lists", "A phase and a ref", "phase=parked&ref=order-12345"),
        list("wrong_older_than", "No unit", "phase=parked&older_than=24"),
        list("wrong_order_cursor", "cursor is not `next` of a page", "phase=parked&cursor=2"),
        review("review_rechecked", "Checked again soon", "recheck").order(uncertain()),
        review("review_closed", "The review is closed", "close").order(uncertain()),
        review("wrong_actor", "No actor", "close")
            .body(r#"{"reason": "the vendor was asked", "action": "close"}"#),
        review("wrong_reason", "The reason is empty", "close")
            .body(r#"{"actor": "Amina", "reason": "", "action": "close"}"#),
        review("wrong_action", "An outcome is never set by hand", "refunded"),
        review("review_in_flight", "In flight", "recheck").order(stored(MOBILE, json!({}))),
        review("review_ended", "Final, no check left", "recheck").order(stored(MOBILE, fulfilled)),
        review("review_none_open", "No review is open", "close").order(stored(MOBILE, json!({}))),
        conflict,
    ]
}

fn resync() -> Vec<Example> {
    let mut started = example("resync_started", "A day", "POST", "/resync")
        .body(r#"{"product": "mobile", "from": "2025-10-28T00:00:00Z", "to": "2025-10-29T00:00:00Z"}"#);
    started.stand_in.page = Some("{}".to_owned());
    vec![
        started,
        example("wrong_window", "The window ends in the future", "POST", "/resync")
            .body(r#"{"product": "mobile", "from": "2025-10-28T00:00:00Z", "to": "2025-10-30T00:00:00Z"}"#),
        example("no_resync", "No such resync", "GET", "/resync/mobile-1761609600000-1761695999000"),
    ]
}

fn errors() -> Vec<Example> {
    let get = |name, summary| example(name, summary, "GET", MOBILE);
    let mut no_table = get("no_table", "The table does not answer");
    no_table.stand_in.down = true;
    vec![
        example("healthy", "The function runs", "GET", "/health"),
        example("wrong_id", "The id has a space", "GET", "/orders/mobile/6901616f e9e8"),
        example("unknown_product", "No such product", "GET", "/orders/fax/6901616fe9e88196b4eb64b0"),
        get("unauthorized", "Unknown token").token("unknown"),
        get("no_scope_orders", "The token has another scope").token("cards-only-0123456789"),
        get("not_tracked", "Not tracked"),
        get("unreadable_record", "The stored record cannot be read")
            .order(Some(json!({"pk": {"S": "mobile#"}}))),
        no_table,
        get("tokens_unknown", "The secret cannot be read"),
    ]
}

#[tokio::test]
async fn the_examples_of_the_document_are_answers_of_the_function() {
    const MARK: &str = "Change nothing below this line by hand.\n";
    let mut examples = Mapping::new();
    for example in [tracking(), showing(), others(), feed(), webhooks(), operating(), resync(), errors()]
        .into_iter()
        .flatten()
    {
        let (request, response) = (example.request(), example.answer().await);
        let documented = openapi::assert_documented(&request, &response);
        let expected = format!("#/components/examples/{}", example.name);
        assert_eq!(
            documented[example.name]["$ref"], expected,
            "{} {}: {}",
            example.method, example.path, response.status_code
        );
        let Some(Body::Text(body)) = response.body else { panic!("no text") };
        // Not through `serde_json::Value`, which sorts the fields.
        let mut value: Yaml = serde_json::from_str(&body).unwrap();
        if let Some(at) = example.next_check_at {
            value["next_check_at"] = at.into();
        }
        let example_object =
            Mapping::from_iter([("summary".into(), example.summary.into()), ("value".into(), value)]);
        examples.insert(example.name.into(), example_object.into());
    }
    // As JSON, which is YAML too: every parser reads its texts as texts, also those that look like times or numbers.
    let text = serde_json::to_string_pretty(&examples).unwrap();
    let text: String = text.lines().map(|line| format!("    {line}\n")).collect();
    let file = std::fs::read_to_string(openapi::FILE).unwrap();
    let (before, written) = file.split_once(MARK).unwrap();
    #[allow(clippy::disallowed_methods, reason = "a switch of the test, no setting")]
    if std::env::var("UPDATE_OPENAPI").is_ok() {
        std::fs::write(openapi::FILE, format!("{before}{MARK}  examples:\n{text}")).unwrap();
    } else {
        assert!(
            written.strip_prefix("  examples:\n") == Some(&text),
            "write the examples anew: UPDATE_OPENAPI=1 cargo test -p status examples"
        );
    }
}
