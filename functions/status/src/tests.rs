use aws_lambda_events::encodings::Body;
use serde_json::{Value, json};
use shared::{
    config::Config,
    order::{Order, OrderKey, Product, TrackedBy},
    refresh::Counters,
    secret::{ApiTokens, SecretSource, Vault},
};

use super::*;

mod examples;
mod feed;
mod lists;
mod openapi;
mod resync;

/// The answer to a request, which is as `infra/openapi.yaml` documents it.
async fn handle(tracker: &Tracker, request: ApiGatewayV2httpRequest) -> ApiGatewayV2httpResponse {
    let tokens = tokens(tracker).await;
    let response = super::handle(tracker, &tokens, request.clone()).await;
    openapi::assert_documented(&request, &response);
    response
}

/// A tracker whose table is unreachable: invalid requests are rejected before any access.
async fn tracker() -> Tracker {
    tracker_at("http://127.0.0.1:9").await
}

/// A tracker with AWS and the vendor at this address.
async fn tracker_at(endpoint: &str) -> Tracker {
    tracker_with(endpoint, &[]).await
}

async fn tracker_with(endpoint: &str, more: &[(&str, &str)]) -> Tracker {
    let vendor = format!("{endpoint}/v3");
    let settings = [
        ("ORDERS_TABLE", "orders"),
        ("EVENT_BUS", "bus"),
        ("CARD_KEY_ID", "key"),
        ("ONECLICKDZ_API_KEY", "vendor-key"),
        ("AWS_REGION", "eu-west-3"),
        ("AWS_ACCESS_KEY_ID", "id"),
        ("AWS_SECRET_ACCESS_KEY", "secret"),
        ("AWS_ENDPOINT_URL", endpoint),
        ("ONECLICKDZ_BASE_URL", &vendor),
    ];
    let settings = settings.iter().chain(more).map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    Tracker::open(&Config::read(settings).unwrap()).await.unwrap()
}

/// A customer without a link opens no page, so nothing else would tell.
#[tokio::test]
async fn an_answer_without_the_link_to_its_page_is_counted() {
    let on =
        [("TRACKING_PAGE", "on"), ("TRACKING_URL_BASE", "https://shop.example"), ("PAGE_SECRET_ID", "page")];
    for (more, failed_links) in [(&on[..], 1), (&[], 0)] {
        let tracker = tracker_with("http://127.0.0.1:9", more).await;
        let key = OrderKey { product: Product::Mobile, id: "690".parse().unwrap() };
        let (order, _) = Order::track(key, None, TrackedBy::Put, tracker.clock.now(), &tracker.schedule);
        let answer = orders::view(&tracker, 200, &order).await;
        assert_eq!(answer.counted.0, Counters { failed_links, ..Counters::default() });
        let answer = answer.counted(Counters { checks: 1, ..Counters::default() }, None);
        assert_eq!((answer.counted.0.failed_links, answer.counted.0.checks), (failed_links, 1));
    }
}

async fn tokens(tracker: &Tracker) -> Vault<ApiTokens> {
    let tokens = json!({
        "api_tokens": [
            {"token": "sample-token-0123456789", "scopes": ["orders", "cards"]},
            {"token": "orders-only-0123456789", "scopes": ["orders"]},
            {"token": "cards-only-0123456789", "scopes": ["cards"]},
        ],
    });
    let source = SecretSource::Environment(serde_json::from_value(tokens).unwrap());
    tracker.vault.beside(source, tracker.clock.now()).await.unwrap()
}

const PUT: &str = include_str!("../../../events/http/put-order.json");
const GET: &str = include_str!("../../../events/http/get-order.json");

fn request(sample: &str, change: impl FnOnce(&mut Value)) -> ApiGatewayV2httpRequest {
    let mut event: Value = serde_json::from_str(sample).unwrap();
    change(&mut event);
    serde_json::from_value(event).unwrap()
}

fn call(method: &str, path: &str) -> ApiGatewayV2httpRequest {
    request(GET, |event| {
        event["requestContext"]["http"]["method"] = method.into();
        event["rawPath"] = path.into();
    })
}

/// Status, content type and body of the answer.
async fn answers(request: ApiGatewayV2httpRequest) -> (i64, String, Value) {
    let response = handle(&tracker().await, request).await;
    let kind = response.headers["content-type"].to_str().unwrap().to_owned();
    let Some(Body::Text(body)) = response.body else { panic!("the body is not text") };
    (response.status_code, kind, serde_json::from_str(&body).unwrap())
}

async fn assert_problem(request: ApiGatewayV2httpRequest, status: i64, field: Option<&str>, what: &str) {
    let (answered, kind, body) = answers(request).await;
    assert_eq!((answered, kind.as_str()), (status, "application/problem+json"), "{what}: {body}");
    assert_eq!(body["status"], status, "{what}");
    assert_eq!(body.get("field").and_then(Value::as_str), field, "{what}: {body}");
    assert!(body["detail"].as_str().is_some_and(|detail| !detail.is_empty()), "{what}");
}

#[tokio::test]
async fn invalid_requests_get_a_problem_naming_the_field() {
    let id = "x".repeat(65);
    let rows = [
        ("GET", "/", 404, None),
        ("GET", "/orders", 400, Some("phase")),
        ("POST", "/orders", 405, None),
        ("GET", "/orders/mobile/1/review", 405, None),
        ("POST", "/orders/fax/1/review", 404, Some("product")),
        ("POST", "/orders/mobile/1/review/2", 404, None),
        ("GET", "/orders/mobile", 404, None),
        ("GET", "/orders/fax/1", 404, Some("product")),
        ("GET", "/orders/mobile/1/cards", 404, None),
        ("GET", "/orders/mobile/1/card/2", 404, None),
        ("GET", "/orders/mobile/a%20b", 400, Some("id")),
        ("GET", &format!("/orders/mobile/{id}"), 400, Some("id")),
        ("GET", "/orders/mobile//history", 400, Some("id")),
        ("POST", "/orders/mobile/1", 405, None),
        ("DELETE", "/orders/mobile/1", 405, None),
        ("PUT", "/orders/mobile/1/history", 405, None),
        ("POST", "/orders/internet/1/card", 405, None),
        ("POST", "/orders/fax/lookup", 404, Some("product")),
        ("DELETE", "/orders/mobile/lookup", 405, None),
        ("POST", "/orders/mobile/lookup/abc", 404, None),
        ("PUT", "/refs/mobile/abc", 404, None),
        ("PUT", "/health", 405, None),
        ("PUT", "/health/", 405, None),
        ("GET", "/health/x", 404, None),
    ];
    for (method, path, status, field) in rows {
        assert_problem(call(method, path), status, field, &format!("{method} {path}")).await;
    }
}

#[tokio::test]
async fn method_not_allowed_lists_the_allowed_methods() {
    for (method, path, allowed) in [
        ("POST", "/orders/mobile/1", "GET, PUT"),
        ("DELETE", "/orders/mobile/lookup", "GET, POST, PUT"),
        ("PUT", "/orders/mobile/1/history", "GET"),
        ("POST", "/health", "GET"),
        ("PUT", "/orders", "GET"),
        ("GET", "/orders/mobile/1/review", "POST"),
    ] {
        let response = handle(&tracker().await, call(method, path)).await;
        assert_eq!(response.headers["allow"], allowed, "{method} {path}");
    }
}

#[tokio::test]
async fn history_pages_take_numeric_after_and_limit() {
    let page = |query: &str| {
        let mut request = call("GET", "/orders/mobile/1/history");
        request.raw_query_string = Some(query.to_owned());
        request
    };
    let parsed = |query: &str| match route::parse(&page(query)) {
        Ok(Call::History(_, page)) => (page.after, page.limit),
        other => panic!("{other:?}"),
    };
    for (query, after, limit) in [
        ("", 0, 100),
        ("after=7", 7, 100),
        ("limit=1&after=4294967295", 4_294_967_295, 1),
        ("limit=5&limit=9&other=x&after=0", 0, 9),
    ] {
        assert_eq!(parsed(query), (after, limit), "{query}");
    }
    for (query, field) in [
        ("after=x", "after"),
        ("after=-1", "after"),
        ("after=+1", "after"),
        ("after=", "after"),
        ("after=4294967296", "after"),
        ("limit=0", "limit"),
        ("limit=101", "limit"),
        ("limit=all", "limit"),
    ] {
        assert_problem(page(query), 400, Some(field), query).await;
    }
}

#[tokio::test]
async fn health_needs_no_token_with_or_without_trailing_slash() {
    for path in ["/health", "/health/"] {
        for token in [None, Some("Bearer sample-token-0123456789"), Some("Bearer nonsense")] {
            let mut request = call("GET", path);
            request.headers.remove("authorization");
            request.headers.extend(token.map(|token| (http::header::AUTHORIZATION, token.parse().unwrap())));
            assert_eq!(answers(request).await.0, 200, "{path} {token:?}");
        }
    }
}

#[tokio::test]
async fn a_lookup_needs_a_ref() {
    const LOOKUP: &str = include_str!("../../../events/http/lookup.json");
    for (body, status, field) in [
        ("", 400, "ref"),
        ("{}", 400, "ref"),
        (r#"{"ref": null}"#, 400, "ref"),
        (r#"{"ref": 7}"#, 400, "ref"),
        (r#"{"ref": "a\nb"}"#, 400, "ref"),
        ("nonsense", 400, "body"),
        (&" ".repeat(16 * 1024 + 1), 413, "body"),
    ] {
        assert_problem(request(LOOKUP, |event| event["body"] = body.into()), status, Some(field), body).await;
    }
}

#[tokio::test]
async fn an_invalid_body_gets_a_problem_naming_the_field() {
    let rows = [
        ("{", 400, "body"),
        ("[]", 400, "body"),
        ("\"ref\"", 400, "body"),
        (r#"{"ref": 7}"#, 400, "ref"),
        (r#"{"ref": ""}"#, 400, "ref"),
        (&format!(r#"{{"ref": "{}"}}"#, "x".repeat(201)), 400, "ref"),
        (&" ".repeat(16 * 1024 + 1), 413, "body"),
        (&"x".repeat(100_000), 413, "body"),
    ];
    for (body, status, field) in rows {
        assert_problem(request(PUT, |event| event["body"] = body.into()), status, Some(field), body).await;
    }
    let not_base64 = request(PUT, |event| {
        event["isBase64Encoded"] = true.into();
        event["body"] = "***".into();
    });
    assert_problem(not_base64, 400, Some("body"), "not base64").await;
}

#[tokio::test]
async fn requests_need_a_token_with_the_required_scope() {
    for header in [
        json!(null),
        json!(""),
        json!("Bearer"),
        json!("Bearer nonsense"),
        json!("Basic sample-token-0123456789"),
    ] {
        let request = request(GET, |event| {
            if header.is_null() {
                event["headers"].as_object_mut().unwrap().remove("authorization");
            } else {
                event["headers"]["authorization"] = header.clone();
            }
        });
        assert_problem(request, 401, None, &header.to_string()).await;
    }
    for (token, path, status) in [
        ("orders-only-0123456789", "/orders/internet/1/card", 403),
        ("cards-only-0123456789", "/orders/internet/1", 403),
        // Authorised; then the table is unreachable.
        ("orders-only-0123456789", "/orders/internet/1", 503),
        ("cards-only-0123456789", "/orders/internet/1/card", 503),
    ] {
        let mut request = call("GET", path);
        request.headers.insert("authorization", format!("bearer {token}").parse().unwrap());
        assert_problem(request, status, None, &format!("{token} {path}")).await;
    }
}

#[tokio::test]
async fn every_sample_request_matches_a_route() {
    for sample in [
        PUT,
        GET,
        include_str!("../../../events/http/lookup.json"),
        include_str!("../../../events/http/get-history.json"),
        include_str!("../../../events/http/get-card.json"),
        include_str!("../../../events/http/get-events.json"),
        include_str!("../../../events/http/list-orders.json"),
        include_str!("../../../events/http/review-order.json"),
        include_str!("../../../events/http/start-resync.json"),
    ] {
        // The route exists; then the table is unreachable.
        assert_problem(request(sample, |_| {}), 503, None, sample).await;
    }
    let (status, kind, _) = answers(request(include_str!("../../../events/http/health.json"), |_| {})).await;
    assert_eq!((status, kind.as_str()), (200, "application/json"));
}

#[test]
fn debug_output_of_an_answer_hides_its_body() {
    let printed = format!("{:?}", Answer::ok(&json!({"card_code": "123456789012"})));
    assert_eq!(printed, "Answer(200)");
}

#[test]
fn a_body_may_be_base64_and_a_ref_may_be_missing() {
    let body = |text: &str, base64: bool| {
        route::body(&request(PUT, |event| {
            event["body"] = text.into();
            event["isBase64Encoded"] = base64.into();
        }))
        .unwrap()
        .map(String::from)
    };
    assert_eq!(body(r#"{"ref": "order-1"}"#, false).as_deref(), Some("order-1"));
    assert_eq!(body("eyJyZWYiOiAib3JkZXItMSJ9", true).as_deref(), Some("order-1"));
    for nothing in ["", " \n", "{}", r#"{"ref": null}"#, r#"{"other": 1}"#] {
        assert_eq!(body(nothing, false), None, "{nothing:?}");
    }
}

#[test]
fn lookup_is_a_valid_order_id_and_the_lookup_route_takes_no_id() {
    let parsed = |method: &str, path: &str| route::parse(&call(method, path)).unwrap();
    let key = OrderKey { product: Product::Mobile, id: "lookup".parse().unwrap() };
    assert_eq!(parsed("POST", "/orders/mobile/lookup"), Call::Lookup(Product::Mobile));
    assert_eq!(parsed("POST", "/orders/internet/lookup/"), Call::Lookup(Product::Internet));
    assert_eq!(parsed("GET", "/orders/mobile/lookup"), Call::Show(key.clone()));
    assert_eq!(parsed("PUT", "/orders/mobile/lookup"), Call::Track(key));
}
