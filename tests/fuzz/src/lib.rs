//! One function per place where something from outside is read. Whatever the input, it is read or refused by a name, and no
//! secret of it is told. libFuzzer calls them with what it makes up, `cargo test` with what is kept in `corpus/`.
//!
//! That a text does not show is asked by comparing: with another secret in its place, what is said must be the same.

#![allow(clippy::panic, clippy::expect_used, reason = "a property that does not hold ends the run")]

use aws_lambda_events::{
    apigw::{ApiGatewayV2httpRequest, ApiGatewayV2httpResponse},
    encodings::Body,
    http::{HeaderValue, StatusCode, header},
};
use jiff::Timestamp;
use poller::{PollerError, Told};
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

/// The order that the samples are about.
const ID: &str = "6901616fe9e88196b4eb64b0";

/// A body with HTTP 200 about a mobile order.
pub fn vendor_mobile(body: &[u8]) {
    vendor_answer(Product::Mobile, body);
}

/// A body with HTTP 200 about an internet order, which may hold a card code.
pub fn vendor_internet(body: &[u8]) {
    vendor_answer(Product::Internet, body);
}

fn vendor_answer(product: Product, body: &[u8]) {
    let key = key(product);
    let answer = vendor::read_answer(product, StatusCode::OK, None, body);
    let decisions = answer.as_ref().map(|answer| decided(&key, answer)).unwrap_or_default();
    // Offers are shown as they came, whatever is in them.
    let offers =
        answer.as_ref().ok().and_then(|answer| answer.order.as_ref()?.facts.suggested_offers.as_ref());
    let shown = offers.is_some_and(|offers| offers.get().contains("\"card_code\""));
    if let Some(other) = secret::replaced(body, b"\"card_code\"").filter(|_| !shown) {
        let other = vendor::read_answer(product, StatusCode::OK, None, &other);
        assert_eq!(said(&answer), said(&other), "a card code shows");
        let others = other.as_ref().map(|answer| decided(&key, answer)).unwrap_or_default();
        assert!(decisions == others, "a card code shows in an order or an event");
    }
    let Ok(Answer { order, .. }) = answer else { return };
    // What is published is the very word that stands in the answer.
    let refunded = body.windows(10).any(|text| text == b"\"REFUNDED\"") || body.contains(&b'\\');
    let shown = order.as_ref().and_then(|shown| shown.facts.status.as_ref());
    let states = |text: &str| shown.is_some_and(|status| status.as_str() == text);
    for decision in &decisions {
        for (outcome, text) in [("Order Refunded", "REFUNDED"), ("Order Fulfilled", "FULFILLED")] {
            assert!(states(text) || !has(decision, outcome), "an outcome that the vendor did not state");
        }
        assert!(refunded || !has(decision, "Order Refunded"), "a refund that is not in the answer");
        comes_back(&decision.order);
        for event in &decision.events {
            assert!(event.detail.len() < 200 * 1024, "an event of {} bytes", event.detail.len());
            serde_json::from_str::<Value>(&event.detail).expect("an event is JSON");
        }
    }
}

/// A body with HTTP 200 to a list, of either shape; its rows may hold card codes.
pub fn vendor_list(body: &[u8]) {
    for product in [Product::Mobile, Product::Internet] {
        let page = Page { product, from: now(), to: now() };
        let listing = vendor::read_list(&page, StatusCode::OK, None, body);
        if let Some(other) = secret::replaced(body, b"\"card_code\"") {
            // Offers are shown as they came, whatever is in them.
            let offers = |listing: &Listing| {
                let of_row = |row: &VendorOrder| {
                    row.facts.suggested_offers.as_ref().map(|offers| offers.get().to_owned())
                };
                listing.rows.iter().filter_map(of_row).collect::<String>()
            };
            let shown = listing.as_ref().is_ok_and(|listing| offers(listing).contains("\"card_code\""));
            let other = vendor::read_list(&page, StatusCode::OK, None, &other);
            assert!(shown || format!("{listing:?}") == format!("{other:?}"), "a card code shows");
        }
        let Ok(listing) = listing else { continue };
        assert!(listing.total >= listing.rows.len() as u64 && listing.outside <= listing.rows.len());
        for row in &listing.rows {
            assert!(row.facts.status.is_some(), "a row without a status says nothing");
            assert!(row.facts.balance_amount.is_none(), "a list's balance_amount is not kept");
        }
    }
}

/// A status other than 200, in the first two bytes, a pause in the third, and a body.
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
            assert_eq!(said(&answer), said(&read(&other)), "a {name} shows");
        }
    }
    match answer {
        Ok(Answer { order: Some(_), .. }) => assert!(status.is_success(), "an order with {number}"),
        // Either the vendor's code says so, or its own envelope with 404.
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

/// An event of API Gateway (HTTP API, payload 2.0).
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
                None if reference.is_some() => assert!(path.contains("/lookup"), "{path} looks nothing up"),
                None => assert!(path.starts_with("/health"), "{path} is about nothing"),
            }
            assert!(reference.is_none_or(|text| (1..=200).contains(&text.as_str().chars().count())));
        }
        (Err(problem), Err(same)) => {
            let text = problem_text(&problem);
            assert_eq!(text, problem_text(&same), "a token shows");
            let told: Value = serde_json::from_str(&text).expect("a problem is JSON");
            assert!(
                (400..500).contains(&problem.status_code)
                    && told.get("status") == Some(&problem.status_code.into()),
                "{text}"
            );
        }
        _ => panic!("a token decides whether a request is read"),
    }
}

fn problem_text(problem: &ApiGatewayV2httpResponse) -> String {
    assert_eq!(
        problem.headers.get(header::CONTENT_TYPE).map(HeaderValue::as_bytes),
        Some(&b"application/problem+json"[..])
    );
    match &problem.body {
        Some(Body::Text(text)) => text.clone(),
        other => panic!("a problem without text: {other:?}"),
    }
}

/// The input of a poller's execution.
pub fn poller_input(input: &[u8]) {
    let Ok(input) = serde_json::from_slice::<Value>(input) else { return };
    match poller::parse(&input) {
        Ok(Told { key, reference, .. }) => {
            let again = json!({"product": key.product, "id": key.id, "ref": reference});
            let same = poller::parse(&again).expect("what was read can be read again");
            assert_eq!((same.key, same.reference, same.ref_ignored), (key, reference, None));
        }
        Err(PollerError::InvalidInput { field, why }) => {
            // A ref costs nothing.
            assert!(["input", "product", "id"].contains(&field.as_str()), "{field}");
            assert!(why.starts_with("must be ") || why.starts_with(&field), "{field}: {why}");
        }
        Err(other) => panic!("{other:?}"),
    }
}

/// An item of the table in DynamoDB's JSON: of this version, of an older one, of a newer one, or damaged.
pub fn stored_item(item: &[u8]) {
    let Ok(stored) = serde_json::from_slice::<serde_dynamo::Item>(item) else { return };
    let key = key(Product::Internet);
    let stored = Item::from(stored);
    let ciphertext = stored.get("card_ciphertext").and_then(|value| value.as_s().ok()).cloned();
    let order = match read_order(&key, stored) {
        Ok(order) => order,
        Err(error) => {
            let told = format!("{error} {error:?}");
            assert!(ciphertext.is_none_or(|text| text.len() < 16 || !told.contains(&text)), "{told}");
            return;
        }
    };
    comes_back(&order);
    let schedule = Schedule::default();
    let waits = !order.phase.is_final()
        || order.awaits_card()
        || order.awaits_late_check()
        || order.published < order.seq
        || !order.links_to_track().is_empty();
    for now in [now(), order.tracked_at, order.next_check_at.unwrap_or_else(now)] {
        assert_eq!(schedule.due_at(&order, now).is_some(), waits, "{order:?}");
        for trigger in [Trigger::Status, Trigger::Poller, Trigger::Recheck] {
            let wants = order.wants_check(trigger, now, &schedule);
            assert!(!wants || waits, "{trigger:?} wants to check {order:?}");
        }
        serde_json::to_string(&OrderView::of(&order, now)).expect("an order can be shown");
        let troubles = [Trouble::Unreadable, Trouble::Rejected, Trouble::Vanished, Trouble::StoreRefuses];
        let shown_nothing =
            [Observation::NotFound, Observation::NotListed, Observation::Nothing, Observation::NotAsked];
        for observation in shown_nothing.into_iter().chain(troubles.map(Observation::Trouble)) {
            let Some(decision) =
                decide(&order, &CheckResult { asked_at: now, observation }, now, Jitter::NONE, &schedule)
            else {
                continue;
            };
            assert!(!has(&decision, "Order Refunded") && !has(&decision, "Order Fulfilled"), "{decision:?}");
            assert_eq!(
                decision.order.facts, order.facts,
                "a check that showed nothing changed what is known"
            );
            comes_back(&decision.order);
        }
    }
}

fn key(product: Product) -> OrderKey {
    OrderKey { product, id: ID.parse().expect("the id of the samples") }
}

fn now() -> Timestamp {
    Timestamp::from_second(1_761_698_160).expect("a time")
}

/// Everything that is logged or printed of an answer.
fn said(answer: &Result<Answer, VendorError>) -> String {
    match answer {
        Ok(answer) => format!("{answer:?}"),
        Err(error) => format!("{error} {error:?} {}", error.name()),
    }
}

/// What follows from the answer for an order that is new, parked in each way, or final.
fn decided(key: &OrderKey, answer: &Answer) -> Vec<Decision> {
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
            .expect("nobody has checked since")
    };
    let (order, _) = Order::track(key.clone(), None, TrackedBy::Put, now, &schedule);
    let later = now.checked_add(Duration::from_secs(600)).expect("a time");
    let last = later.checked_add(Duration::from_secs(600)).expect("a time");
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

/// What is written can be read, and says the same.
fn comes_back(order: &Order) {
    let item = write_order(order).expect("an order can be written");
    assert_eq!(&read_order(&order.key, item).expect("what was written can be read"), order);
}
