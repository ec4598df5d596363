//! Fuzz targets, one for each parser of external input. Any input must be parsed or rejected with a named error,
//! without leaking a secret. libFuzzer runs them with generated input, `cargo test` with the inputs in `corpus/`.
//!
//! To find leaks, a target replaces the secret in its input and asserts that the output stays the same.

#![allow(clippy::panic, clippy::expect_used, reason = "a violated property ends the run")]

use aws_lambda_events::{
    apigw::{ApiGatewayV2httpRequest, ApiGatewayV2httpResponse},
    encodings::Body,
    http::{HeaderValue, StatusCode, header},
};
use jiff::Timestamp;
use poller::{PollerError, TickInput};
use secrecy::ExposeSecret;
use serde_json::{Value, json};
use shared::{
    order::{
        CheckResult, Decision, Facts, Jitter, Observation, Order, OrderKey, OrderView, Place, Product,
        Schedule, SealedCard, Snapshot, TrackedBy, Trigger, Trouble, decide,
    },
    page::Page,
    store::{Item, read_order, write_order},
    vendor::{self, Answer, Listing, VendorError, VendorOrder},
};
use std::time::Duration;

mod secret;

/// The order id in the samples.
const ID: &str = "6901616fe9e88196b4eb64b0";

/// Body of an HTTP 200 answer about a mobile order.
pub fn vendor_mobile(body: &[u8]) {
    vendor_answer(Product::Mobile, body);
}

/// Body of an HTTP 200 answer about an internet order. It may hold a card code.
pub fn vendor_internet(body: &[u8]) {
    vendor_answer(Product::Internet, body);
}

fn vendor_answer(product: Product, body: &[u8]) {
    let key = key(product);
    let answer = vendor::read_answer(product, StatusCode::OK, None, body);
    let decisions = answer.as_ref().map(|answer| decisions_for(&key, answer)).unwrap_or_default();
    // Offers are kept byte for byte, so the input may put a `card_code` there.
    let offers =
        answer.as_ref().ok().and_then(|answer| answer.order.as_ref()?.facts.suggested_offers.as_ref());
    let shown = offers.is_some_and(|offers| offers.get().contains("\"card_code\""));
    if let Some(other) = secret::replaced(body, b"\"card_code\"").filter(|_| !shown) {
        let other = vendor::read_answer(product, StatusCode::OK, None, &other);
        assert_eq!(logged_text(&answer), logged_text(&other), "a card code leaks into the output");
        let others = other.as_ref().map(|answer| decisions_for(&key, answer)).unwrap_or_default();
        assert!(decisions == others, "a card code leaks into an order or an event");
    }
    let Ok(Answer { order, .. }) = answer else { return };
    // The answer must contain an outcome verbatim (JSON escapes aside) before it is published.
    let refunded = body.windows(10).any(|text| text == b"\"REFUNDED\"") || body.contains(&b'\\');
    let shown = order.as_ref().and_then(|shown| shown.facts.status.as_ref());
    let states = |text: &str| shown.is_some_and(|status| status.as_str() == text);
    for decision in &decisions {
        for (outcome, text) in [("Order Refunded", "REFUNDED"), ("Order Fulfilled", "FULFILLED")] {
            assert!(states(text) || !has(decision, outcome), "an outcome that the vendor did not state");
        }
        assert!(refunded || !has(decision, "Order Refunded"), "a refund that is not in the answer");
        assert_round_trip(&decision.order);
        for event in &decision.events {
            assert!(event.detail.len() < 200 * 1024, "an event of {} bytes", event.detail.len());
            serde_json::from_str::<Value>(&event.detail).expect("an event is JSON");
        }
    }
}

/// Body of an HTTP 200 answer of a list, of either product. Its rows may hold card codes.
pub fn vendor_list(body: &[u8]) {
    for product in [Product::Mobile, Product::Internet] {
        let page = Page { product, from: now(), to: now() };
        let listing = vendor::read_list(&page, StatusCode::OK, None, body);
        if let Some(other) = secret::replaced(body, b"\"card_code\"") {
            // Offers are kept byte for byte, so the input may put a `card_code` there.
            let offers = |listing: &Listing| {
                let of_row = |row: &VendorOrder| {
                    row.facts.suggested_offers.as_ref().map(|offers| offers.get().to_owned())
                };
                listing.rows.iter().filter_map(of_row).collect::<String>()
            };
            let shown = listing.as_ref().is_ok_and(|listing| offers(listing).contains("\"card_code\""));
            let other = vendor::read_list(&page, StatusCode::OK, None, &other);
            assert!(
                shown || format!("{listing:?}") == format!("{other:?}"),
                "a card code leaks into the output"
            );
        }
        let Ok(listing) = listing else { continue };
        assert!(listing.total >= listing.rows.len() as u64 && listing.outside <= listing.rows.len());
        for row in &listing.rows {
            assert!(row.facts.status.is_some(), "a row without a status");
            assert!(row.facts.balance_amount.is_none(), "balance_amount of a list row");
        }
    }
}

/// An answer other than HTTP 200: status in bytes 0 and 1, Retry-After in byte 2, then the body.
pub fn vendor_refusal(input: &[u8]) {
    let [high, low, pause, body @ ..] = input else { return };
    let number = 100 + u16::from_be_bytes([*high, *low]) % 500;
    let Ok(status) = StatusCode::from_u16(number) else { return };
    if status == StatusCode::OK {
        return;
    }
    let retry_after = (*pause > 0).then(|| Duration::from_secs(u64::from(*pause)));
    let read = |body: &[u8]| vendor::read_answer(Product::Mobile, status, retry_after, body);
    let answer = read(body);
    for name in ["card_code", "message", "details"] {
        if let Some(other) = secret::replaced(body, format!("\"{name}\"").as_bytes()) {
            assert_eq!(logged_text(&answer), logged_text(&read(&other)), "a {name} shows");
        }
    }
    match answer {
        Ok(Answer { order: Some(_), .. }) => assert!(status.is_success(), "an order with {number}"),
        // NOT_FOUND in the body's code, or HTTP 404 in the vendor's envelope.
        Ok(Answer { order: None, .. }) => {}
        Err(VendorError::Throttled { retry_after: kept }) => assert_eq!(kept, retry_after),
        Err(VendorError::KeyRefused { code }) => assert!(code.chars().count() <= 64),
        Err(VendorError::Rejected { http, code }) => {
            assert!(http == number && code.chars().count() <= 64);
        }
        Err(VendorError::Unavailable { retry_after: kept, .. }) => {
            assert!(kept.is_none() || (number == 503 && kept == retry_after));
        }
        Err(VendorError::Unreadable { .. }) => assert!(status.is_success(), "unreadable with {number}"),
    }
}

/// A request event of API Gateway (HTTP API, payload format 2.0).
pub fn api_event(event: &[u8]) {
    let Ok(request) = serde_json::from_slice::<ApiGatewayV2httpRequest>(event) else { return };
    let parsed = status::parse(&request);
    let mut other = request.clone();
    other.headers.insert(header::AUTHORIZATION, HeaderValue::from_static("Bearer another-token-0123456789"));
    let other = status::parse(&other);
    match (parsed, other) {
        (Ok((key, reference)), Ok(same)) => {
            assert_eq!((key.clone(), reference.clone()), same);
            let path = request.raw_path.unwrap_or_default();
            match key {
                Some(key) => {
                    assert!(
                        format!("/{path}").contains(&format!("/orders/{key}")),
                        "{path} is not about {key}"
                    );
                }
                None if reference.is_some() => assert!(path.contains("/lookup"), "{path} is no lookup path"),
                None => assert!(
                    path.starts_with("/health") || path.starts_with("/events"),
                    "{path} is no known path"
                ),
            }
            assert!(reference.is_none_or(|text| (1..=200).contains(&text.as_str().chars().count())));
        }
        (Err(problem), Err(same)) => {
            let text = problem_text(&problem);
            assert_eq!(text, problem_text(&same), "a token leaks into a problem");
            let output: Value = serde_json::from_str(&text).expect("a problem is JSON");
            assert!(
                (400..500).contains(&problem.status_code)
                    && output.get("status") == Some(&problem.status_code.into()),
                "{text}"
            );
        }
        _ => panic!("the token changes whether the request is parsed"),
    }
}

fn problem_text(problem: &ApiGatewayV2httpResponse) -> String {
    assert_eq!(
        problem.headers.get(header::CONTENT_TYPE).map(HeaderValue::as_bytes),
        Some(&b"application/problem+json"[..])
    );
    match &problem.body {
        Some(Body::Text(text)) => text.clone(),
        other => panic!("a problem without a text body: {other:?}"),
    }
}

/// The input of a poller's execution.
pub fn poller_input(input: &[u8]) {
    let Ok(input) = serde_json::from_slice::<Value>(input) else { return };
    match poller::parse(&input) {
        Ok(TickInput { key, reference, .. }) => {
            let again = json!({"product": key.product, "id": key.id, "ref": reference});
            let same = poller::parse(&again).expect("a parsed input must parse again");
            assert_eq!((same.key, same.reference, same.ref_ignored), (key, reference, None));
        }
        Err(PollerError::InvalidInput { field, why }) => {
            // An invalid ref is ignored, not rejected.
            assert!(["input", "product", "id"].contains(&field.as_str()), "{field}");
            assert!(why.starts_with("must be ") || why.starts_with(&field), "{field}: {why}");
        }
        Err(other) => panic!("{other:?}"),
    }
}

/// A table item in DynamoDB's JSON: of this version, an older or newer one, or corrupt.
pub fn stored_item(item: &[u8]) {
    let Ok(stored) = serde_json::from_slice::<serde_dynamo::Item>(item) else { return };
    let key = key(Product::Internet);
    let stored = Item::from(stored);
    let ciphertext = stored.get("card_ciphertext").and_then(|value| value.as_s().ok()).cloned();
    let order = match read_order(&key, stored) {
        Ok(order) => order,
        Err(error) => {
            let output = format!("{error} {error:?}");
            assert!(ciphertext.is_none_or(|text| text.len() < 16 || !output.contains(&text)), "{output}");
            return;
        }
    };
    assert_round_trip(&order);
    let schedule = Schedule::default();
    let is_due = !order.phase.is_final()
        || order.awaits_card()
        || order.awaits_late_check()
        || order.published < order.seq
        || !order.links_to_track().is_empty();
    for now in [now(), order.tracked_at, order.next_check_at.unwrap_or_else(now)] {
        assert_eq!(schedule.due_at(&order, now).is_some(), is_due, "{order:?}");
        for trigger in [Trigger::Status, Trigger::Poller, Trigger::Recheck] {
            let would_check = order.wants_check(trigger, now, &schedule);
            assert!(!would_check || is_due, "{trigger:?} would check {order:?}, which is never due");
        }
        serde_json::to_string(&OrderView::of(&order, now)).expect("an order must serialise");
        let troubles = [Trouble::Unreadable, Trouble::Rejected, Trouble::Vanished, Trouble::StoreRefuses];
        let no_answer =
            [Observation::NotFound, Observation::NotListed, Observation::Nothing, Observation::NotAsked];
        for observation in no_answer.into_iter().chain(troubles.map(Observation::Trouble)) {
            let Some(decision) =
                decide(&order, &CheckResult { asked_at: now, observation }, now, Jitter::NONE, &schedule)
            else {
                continue;
            };
            assert!(!has(&decision, "Order Refunded") && !has(&decision, "Order Fulfilled"), "{decision:?}");
            assert_eq!(decision.order.facts, order.facts, "a check without an answer changed the facts");
            assert_round_trip(&decision.order);
        }
    }
}

fn key(product: Product) -> OrderKey {
    OrderKey { product, id: ID.parse().expect("a valid id") }
}

fn now() -> Timestamp {
    Timestamp::from_second(1_761_698_160).expect("a valid time")
}

/// Everything that can be logged about an answer.
fn logged_text(answer: &Result<Answer, VendorError>) -> String {
    match answer {
        Ok(answer) => format!("{answer:?}"),
        Err(error) => format!("{error} {error:?} {}", error.name()),
    }
}

/// The decisions for a new order, an order parked in each way, and a final order.
fn decisions_for(key: &OrderKey, answer: &Answer) -> Vec<Decision> {
    let schedule = Schedule::default();
    let now = now();
    let seal = |code: &str| SealedCard { ciphertext: b"sealed".to_vec(), masked: SealedCard::mask(code) };
    let observation = match &answer.order {
        Some(shown) => Observation::Order(Box::new(Snapshot {
            facts: shown.facts.clone(),
            card: shown.card_code.as_ref().map(|code| seal(code.expose_secret())),
            place: Place::Check,
        })),
        None => Observation::NotFound,
    };
    let check = |order: &Order, observation: Observation, now: Timestamp| {
        decide(order, &CheckResult { asked_at: now, observation }, now, Jitter::NONE, &schedule)
            .expect("a decision")
    };
    let (order, _) = Order::track(key.clone(), None, TrackedBy::Put, now, &schedule);
    let later = now.checked_add(Duration::from_secs(600)).expect("a valid time");
    let last = later.checked_add(Duration::from_secs(600)).expect("a valid time");
    let before = ["HANDLING", "QUEUED", "UNKNOWN_ERROR", "FULFILLED", "REFUNDED"].map(|text| {
        let facts = Facts { status: Some(text.to_owned().into()), ..Facts::default() };
        check(
            &order,
            Observation::Order(Box::new(Snapshot { facts, card: None, place: Place::Check })),
            later,
        )
        .order
    });
    let mut all = vec![
        check(&order, observation.clone(), later),
        check(&check(&order, Observation::NotFound, later).order, observation.clone(), last),
    ];
    all.extend(before.map(|order| check(&order, observation.clone(), last)));
    all
}

fn has(decision: &Decision, detail_type: &str) -> bool {
    decision.events.iter().any(|event| event.detail_type == detail_type)
}

/// Asserts that a written order reads back unchanged.
fn assert_round_trip(order: &Order) {
    let item = write_order(order).expect("an order must be writable");
    assert_eq!(&read_order(&order.key, item).expect("a written order must be readable"), order);
}
