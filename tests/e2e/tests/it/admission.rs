//! The key's calls, over everybody who shares it: rate, parts, pause, suspension, probe. Against the DynamoDB API of the stack.

use std::time::Duration;

use aws_sdk_dynamodb::types::AttributeValue;
use e2e::Stack;
use futures_util::future::join_all;
use jiff::Timestamp;
use serde_json::json;
use shared::{
    admission::{Admission, Budget, Class, Closed, Leave, Verdict},
    clock::Clock,
    order::{OrderKey, Product, TrackedBy, Trigger},
    refresh::{Look, Tracker},
    secret::Fingerprint,
    store::Store,
};
use wiremock::{Mock, MockServer, ResponseTemplate, matchers::any};

fn later(start: Timestamp, seconds: f64) -> Timestamp {
    start.checked_add(Duration::from_secs_f64(seconds)).unwrap()
}

/// Admissions for a key that nobody else uses.
fn admission(stack: &Stack, name: &str, clock: &Clock, budget: Budget) -> (Admission, Fingerprint) {
    let store = Store::new(stack.dynamodb(), stack.env("ORDERS_TABLE").to_owned());
    let key = Fingerprint::stored(&format!("{name}-{}", Clock::System.now().as_microsecond()));
    (Admission::new(store, clock.clone(), budget), key)
}

#[tokio::test]
async fn fifty_callers_never_exceed_the_budget_and_each_class_gets_its_part() {
    const CALLERS: usize = 50;
    const LIMIT: usize = 120;
    let stack = Stack::fast();
    let start = Clock::System.now();
    let clock = Clock::fixed(start);
    let budget = Budget::new(120, 10).unwrap();
    let (_, key) = admission(&stack, "fifty", &clock, budget);
    // Each caller is a process of its own, with a memory of its own.
    let callers: Vec<_> = (0..CALLERS)
        .map(|index| (admission(&stack, "", &clock, budget).0, Class::ALL[index % Class::ALL.len()]))
        .collect();
    let mut calls: Vec<(f64, Class)> = Vec::new();
    for step in 0..3 * 60 * 4 {
        let now = f64::from(step) / 4.0;
        clock.set(later(start, now));
        let asked = join_all(callers.iter().map(|(admission, class)| async {
            let leave = admission.admit(&key, *class).await.unwrap();
            matches!(leave, Leave::Given(_)).then_some(*class)
        }));
        calls.extend(asked.await.into_iter().flatten().map(|class| (now, class)));
    }
    let in_window = |first: f64| calls.iter().filter(|(at, _)| (first..=first + 61.0).contains(at)).count();
    let highest = calls.iter().map(|(at, _)| in_window(*at)).max().unwrap();
    let of = |class: Class| calls.iter().filter(|(_, by)| *by == class).count();
    let parts: Vec<_> = Class::ALL.into_iter().map(|class| (class, of(class))).collect();
    println!("{} calls in 3 minutes, {highest} in the fullest 61 s, {parts:?}", calls.len());
    assert!(highest <= LIMIT, "{highest} calls in 61 s");
    // 110 sustained in 62 s, of which the parts are 50, 20 and 10 %.
    for (class, part) in [(Class::Poller, 0.5), (Class::Status, 0.2), (Class::Recheck, 0.1)] {
        let promised = 110.0 / 62.0 * 180.0 * part;
        assert!(of(class) as f64 >= promised * 0.95, "{class:?}: {} of {promised}", of(class));
    }
    assert!(calls.len() as f64 >= 110.0 / 62.0 * 180.0 * 0.95, "the budget is used: {}", calls.len());
}

async fn refusing_vendor() -> MockServer {
    let server = MockServer::start().await;
    let body = json!({"success": false, "error": {"code": "INVALID_ACCESS_TOKEN", "message": "no"}});
    let answer = ResponseTemplate::new(401).set_body_json(body).set_delay(Duration::from_millis(100));
    Mock::given(any()).respond_with(answer).mount(&server).await;
    server
}

async fn calls(vendor: &MockServer) -> usize {
    vendor.received_requests().await.unwrap().len()
}

/// Orders in flight, each with a poller of its own process.
async fn pollers(stack: &Stack, vendor: &MockServer, name: &str, count: usize) -> Vec<(Tracker, OrderKey)> {
    let start = Clock::System.now();
    let key = format!("{name}-{}", start.as_microsecond());
    let clock = Clock::fixed(start);
    join_all((0..count).map(|number| {
        let (key, clock) = (key.clone(), clock.clone());
        async move {
            let tracker = stack.tracker(&vendor.uri(), &key, clock).await;
            let order = OrderKey { product: Product::Mobile, id: format!("{key}-{number}").parse().unwrap() };
            tracker.track(&order, None, TrackedBy::Poller).await.unwrap();
            (tracker, order)
        }
    }))
    .await
}

async fn poll_all(pollers: &[(Tracker, OrderKey)]) {
    join_all(pollers.iter().map(|(tracker, order)| async {
        tracker.refresh(order, Trigger::Poller).await.unwrap().unwrap();
    }))
    .await;
}

#[tokio::test]
async fn a_revoked_key_is_suspended_after_three_calls_and_said_once() {
    let stack = Stack::fast();
    let vendor = refusing_vendor().await;
    let pollers = pollers(&stack, &vendor, "revoked", 8).await;
    let clock = pollers[0].0.clock.clone();
    clock.set(later(clock.now(), 9.0));
    for one in pollers.chunks(1) {
        poll_all(one).await;
    }
    assert_eq!(calls(&vendor).await, 3);
    let key = pollers[0].0.vault.secrets().vendor_key.fingerprint().to_string();
    let heard =
        stack.bus.wait_for(&format!("vendor/{key}"), "Vendor Suspended", Duration::from_secs(20)).await;
    assert_eq!(heard.id(), format!("vendor/{key}#1"));
    assert_eq!(heard.detail["reason"], "INVALID_ACCESS_TOKEN");

    // The probe dies: it was given leave, and nothing more is heard of it.
    let admission = &pollers[0].0.admission;
    let fingerprint = Fingerprint::stored(&key);
    clock.set(later(clock.now(), 16.0 * 60.0));
    assert!(matches!(admission.admit(&fingerprint, Class::Poller).await.unwrap(), Leave::Given(_)));
    for (other, _) in &pollers {
        let leave = other.admission.admit(&fingerprint, Class::Poller).await.unwrap();
        assert!(matches!(leave, Leave::Refused { why: Closed::Suspended, .. }), "one probe, not nine");
    }
    // Not for ever: the next probe is refused, the one after that comes after twice the time and is taken.
    clock.set(later(clock.now(), 16.0 * 60.0));
    let Leave::Given(probe) = admission.admit(&fingerprint, Class::Status).await.unwrap() else {
        panic!("no second probe")
    };
    assert!(!admission.learn(&probe, &Verdict::Refused("INVALID_ACCESS_TOKEN".to_owned())).await.unwrap());
    clock.set(later(clock.now(), 31.0 * 60.0));
    let Leave::Refused { until, .. } = admission.admit(&fingerprint, Class::Status).await.unwrap() else {
        panic!("a probe too early")
    };
    clock.set(until);
    let Leave::Given(probe) = admission.admit(&fingerprint, Class::Status).await.unwrap() else {
        panic!("no third probe")
    };
    for (other, _) in &pollers {
        let leave = other.admission.admit(&fingerprint, Class::Poller).await.unwrap();
        assert!(matches!(leave, Leave::Refused { why: Closed::Suspended, .. }), "while the probe is out");
    }
    assert!(admission.learn(&probe, &Verdict::Accepted).await.unwrap(), "this update resumed the key");
    assert!(!admission.learn(&probe, &Verdict::Accepted).await.unwrap(), "and only this one");
    // The others have heard of no probe that was answered: soon they ask again.
    clock.set(later(clock.now(), 31.0));
    pollers[0].0.announce_key(&fingerprint).await.unwrap();
    let heard = stack.bus.wait_for(&format!("vendor/{key}"), "Vendor Resumed", Duration::from_secs(20)).await;
    assert_eq!(heard.id(), format!("vendor/{key}#2"));
    for (other, _) in &pollers {
        assert!(matches!(other.admission.admit(&fingerprint, Class::Poller).await.unwrap(), Leave::Given(_)));
    }
    assert_eq!(stack.bus.kinds(&format!("vendor/{key}")), ["Vendor Suspended", "Vendor Resumed"]);
}

#[tokio::test]
async fn twenty_pollers_at_once_stop_with_the_calls_that_are_under_way() {
    let stack = Stack::fast();
    let vendor = refusing_vendor().await;
    let pollers = pollers(&stack, &vendor, "twenty", 20).await;
    let clock = pollers[0].0.clock.clone();
    clock.set(later(clock.now(), 9.0));
    // All of them have leave before the first refusal is heard.
    poll_all(&pollers).await;
    let at_once = calls(&vendor).await;
    assert!((3..=20).contains(&at_once), "{at_once} calls");
    for _ in 0..5 {
        clock.set(later(clock.now(), 20.0));
        poll_all(&pollers).await;
    }
    assert_eq!(calls(&vendor).await, at_once, "not one call more");
    // Whoever died after counting the third refusal leaves a key that is not suspended: the next caller does it.
    let key = pollers[0].0.vault.secrets().vendor_key.fingerprint().to_string();
    assert_eq!(
        stack.bus.wait_for(&format!("vendor/{key}"), "Vendor Suspended", Duration::from_secs(20)).await.id(),
        format!("vendor/{key}#1")
    );
    // The deadline counts all the same.
    clock.set(later(clock.now(), 20.0));
    let (tracker, order) = &pollers[0];
    let refreshed = tracker.refresh(order, Trigger::Poller).await.unwrap().unwrap();
    assert!(matches!(refreshed.look, Look::NotAdmitted { why: Closed::Suspended, .. }));
    clock.set(later(clock.now(), 280.0));
    let refreshed = tracker.refresh(order, Trigger::Poller).await.unwrap().unwrap();
    assert_eq!(refreshed.order.phase.as_str(), "parked", "delayed, and nothing was asked");
}

#[tokio::test]
async fn the_third_refusal_is_made_good_if_its_counter_died() {
    let stack = Stack::fast();
    let clock = Clock::fixed(Clock::System.now());
    let (admission, key) = admission(&stack, "died", &clock, Budget::default());
    let Leave::Given(admitted) = admission.admit(&key, Class::Poller).await.unwrap() else {
        panic!("no leave")
    };
    for _ in 0..2 {
        admission.learn(&admitted, &Verdict::Refused("ERR_AUTH".to_owned())).await.unwrap();
    }
    // The third was counted, and then nothing more was heard.
    let update = stack.dynamodb().update_item().table_name(stack.env("ORDERS_TABLE"));
    let update = update.key("pk", AttributeValue::S(format!("ADMISSION#{key}")));
    let update = update.key("sk", AttributeValue::S("ADMISSION".to_owned()));
    let update = update.update_expression("ADD refusals :one");
    update.expression_attribute_values(":one", AttributeValue::N("1".to_owned())).send().await.unwrap();
    clock.set(later(clock.now(), 30.0));
    let leave = admission.admit(&key, Class::Poller).await.unwrap();
    assert!(matches!(leave, Leave::Refused { why: Closed::Suspended, .. }), "{leave:?}");
}

#[tokio::test]
async fn a_pause_holds_for_everybody_is_never_shortened_and_has_an_end() {
    let stack = Stack::fast();
    let start = Clock::System.now();
    let clock = Clock::fixed(start);
    let (one, key) = admission(&stack, "pause", &clock, Budget::default());
    let (other, _) = admission(&stack, "", &clock, Budget::default());
    let Leave::Given(admitted) = one.admit(&key, Class::Status).await.unwrap() else { panic!("no leave") };
    let throttled = |seconds: u64| Verdict::Throttled(Some(Duration::from_secs(seconds)));
    one.learn(&admitted, &throttled(30)).await.unwrap();
    one.learn(&admitted, &throttled(10)).await.unwrap();
    let paused = |leave: Leave| match leave {
        Leave::Refused { until, why: Closed::Paused } => until.duration_since(clock.now()).as_secs(),
        other => panic!("{other:?}"),
    };
    assert_eq!(paused(other.admit(&key, Class::Poller).await.unwrap()), 30);
    clock.set(later(start, 29.0));
    one.learn(&admitted, &throttled(86_400)).await.unwrap();
    // Who knew of the first pause asks again when that is over.
    clock.set(later(start, 30.0));
    assert_eq!(paused(other.admit(&key, Class::Recheck).await.unwrap()), 599, "ten minutes at most");
    clock.set(later(start, 29.0 + 600.0));
    assert!(matches!(other.admit(&key, Class::Recheck).await.unwrap(), Leave::Given(_)));
}

/// Nobody looks, so nobody may be kept from looking.
#[tokio::test]
async fn a_claim_that_no_call_is_admitted_for_is_given_back() {
    let stack = Stack::fast();
    let vendor = refusing_vendor().await;
    let pollers = pollers(&stack, &vendor, "unclaimed", 1).await;
    let (tracker, order) = &pollers[0];
    let key = tracker.vault.secrets().vendor_key.fingerprint().clone();
    // Another process hears of a pause, and this one does not.
    let store = Store::new(stack.dynamodb(), stack.env("ORDERS_TABLE").to_owned());
    let other = Admission::new(store, tracker.clock.clone(), Budget::default());
    let Leave::Given(admitted) = other.admit(&key, Class::Status).await.unwrap() else { panic!("no leave") };
    tracker.clock.set(later(tracker.clock.now(), 9.0));
    other.learn(&admitted, &Verdict::Throttled(Some(Duration::from_secs(60)))).await.unwrap();
    for trigger in [Trigger::Status, Trigger::Poller, Trigger::Recheck] {
        let fresh = stack.tracker(&vendor.uri(), "nobody-uses-it", tracker.clock.clone()).await;
        let one = Tracker { admission: fresh.admission, ..tracker.clone() };
        let before = stack.item("mobile", order.id.as_str()).await;
        let refreshed = one.refresh(order, trigger).await.unwrap().unwrap();
        assert!(matches!(refreshed.look, Look::NotAdmitted { why: Closed::Paused, .. }), "{trigger:?}");
        assert_eq!(stack.item("mobile", order.id.as_str()).await, before, "{trigger:?}");
    }
    assert_eq!(calls(&vendor).await, 0);
}
