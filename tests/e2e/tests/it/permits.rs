//! Permits for the key's calls across processes: rate, class shares, pause, suspension, probe. They run against the
//! stack's DynamoDB API.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, UNIX_EPOCH},
};

use aws_sdk_dynamodb::types::AttributeValue;
use e2e::{Answer, Gate, IsolatedTable, Passage, Request, Sandbox, Stack, TestBed};
use futures_util::future::{BoxFuture, join_all};
use jiff::Timestamp;
use serde_json::json;
use shared::{
    clock::Clock,
    order::{OrderKey, Product, TrackedBy, Trigger},
    page::Page,
    permits::{ListCheck, Permit, Permits},
    rate_limiter::{Budget, Class, Denied, DenyReason, ListTrouble, Verdict},
    refresh::{BatchOutcome, Check, Counters, NoCall, Refreshed, Tracker},
    secret::Fingerprint,
    store::Store,
};
use wiremock::{Mock, MockServer, ResponseTemplate, matchers::any};

fn later(start: Timestamp, seconds: f64) -> Timestamp {
    start.checked_add(Duration::from_secs_f64(seconds)).unwrap()
}

/// Permits for a new key name, or for a second process if `name` is empty.
fn permits_of(stack: &Stack, name: &str, clock: &Clock, budget: Budget) -> (Permits, Fingerprint) {
    let store = Store::new(stack.dynamodb(), stack.env("ORDERS_TABLE").to_owned());
    let key = Fingerprint::stored(&format!("{name}-{}", Clock::System.now().as_microsecond()));
    (Permits::new(store, clock.clone(), budget), key)
}

#[tokio::test]
async fn fifty_callers_stay_within_the_budget_and_class_shares() {
    const CALLERS: usize = 50;
    const LIMIT: usize = 120;
    let stack = Stack::fast();
    let start = Clock::System.now();
    let clock = Clock::fixed(start);
    let budget = Budget::new(120, 10).unwrap();
    let (_, key) = permits_of(&stack, "fifty", &clock, budget);
    // Each caller has its own `Permits`, as a separate process would.
    let callers: Vec<_> = (0..CALLERS)
        .map(|index| (permits_of(&stack, "", &clock, budget).0, Class::ALL[index % Class::ALL.len()]))
        .collect();
    let mut calls: Vec<(f64, Class)> = Vec::new();
    for step in 0..3 * 60 * 4 {
        let now = f64::from(step) / 4.0;
        clock.set(later(start, now));
        let asked = join_all(callers.iter().map(|(permits, class)| async {
            let acquired = permits.acquire(&key, *class, None).await.unwrap();
            acquired.is_ok().then_some(*class)
        }));
        calls.extend(asked.await.into_iter().flatten().map(|class| (now, class)));
    }
    let in_window = |first: f64| calls.iter().filter(|(at, _)| (first..=first + 61.0).contains(at)).count();
    let highest = calls.iter().map(|(at, _)| in_window(*at)).max().unwrap();
    let of = |class: Class| calls.iter().filter(|(_, by)| *by == class).count();
    let parts: Vec<_> = Class::ALL.into_iter().map(|class| (class, of(class))).collect();
    println!("{} calls in 3 minutes, {highest} in the fullest 61 s, {parts:?}", calls.len());
    assert!(highest <= LIMIT, "{highest} calls in 61 s");
    // 110 sustained calls in 62 s, of which 50, 20 and 10 % are reserved for the classes.
    for (class, part) in [(Class::Poller, 0.5), (Class::Status, 0.2), (Class::Recheck, 0.1)] {
        let reserved = 110.0 / 62.0 * 180.0 * part;
        assert!(of(class) as f64 >= reserved * 0.95, "{class:?}: {} of {reserved}", of(class));
    }
    assert!(calls.len() as f64 >= 110.0 / 62.0 * 180.0 * 0.95, "the budget is not used: {}", calls.len());
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

/// A tracker on the isolated table with its own key. It publishes to the stack's bus.
async fn tracker(
    stack: &Stack,
    place: &IsolatedTable,
    vendor: &MockServer,
    key: &str,
    clock: Clock,
) -> Tracker {
    let vendor = vendor.uri();
    let settings = [
        ("EVENT_BUS", stack.env("EVENT_BUS")),
        ("ONECLICKDZ_BASE_URL", &vendor),
        ("ONECLICKDZ_API_KEY", key),
        ("LIST_CHECKS", "off"),
        ("VENDOR_CALLS_PER_MINUTE", "6000"),
        ("VENDOR_CALLS_BURST", "1000"),
    ];
    place.tracker_with(stack, clock, &settings).await
}

/// Orders in flight, each with its own tracker.
async fn pollers(
    stack: &Stack,
    place: &IsolatedTable,
    vendor: &MockServer,
    name: &str,
    count: usize,
) -> Vec<(Tracker, OrderKey)> {
    let start = Clock::System.now();
    let key = format!("{name}-{}", start.as_microsecond());
    let clock = Clock::fixed(start);
    join_all((0..count).map(|number| {
        let (key, clock) = (key.clone(), clock.clone());
        async move {
            let tracker = tracker(stack, place, vendor, &key, clock).await;
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
async fn a_revoked_key_is_suspended_after_three_calls() {
    let stack = Stack::fast();
    let vendor = refusing_vendor().await;
    let place = IsolatedTable::create(&stack, "revoked").await;
    let pollers = pollers(&stack, &place, &vendor, "revoked", 8).await;
    let clock = pollers[0].0.clock.clone();
    clock.set(later(clock.now(), 9.0));
    for one in pollers.chunks(1) {
        poll_all(one).await;
    }
    assert_eq!(calls(&vendor).await, 3);
    let key = pollers[0].0.vault.secrets().vendor_key.fingerprint().to_string();
    let event =
        stack.bus.wait_for(&format!("vendor/{key}"), "Vendor Suspended", Duration::from_secs(20)).await;
    assert_eq!(event.id(), format!("vendor/{key}#1"));
    assert_eq!(event.detail["reason"], "INVALID_ACCESS_TOKEN");

    // The probe is lost: its caller got a permit and crashed.
    let permits = &pollers[0].0.permits;
    let fingerprint = Fingerprint::stored(&key);
    clock.set(later(clock.now(), 16.0 * 60.0));
    assert!(permits.acquire(&fingerprint, Class::Poller, None).await.unwrap().is_ok());
    for (other, _) in &pollers {
        let acquired = other.permits.acquire(&fingerprint, Class::Poller, None).await.unwrap();
        assert!(matches!(acquired, Err(Denied { reason: DenyReason::Suspended, .. })), "a second probe");
    }
    // After the suspension a second probe is permitted and refused. The third, after twice the time, is accepted.
    clock.set(later(clock.now(), 16.0 * 60.0));
    let Ok(probe) = permits.acquire(&fingerprint, Class::Status, None).await.unwrap() else {
        panic!("no permit for the second probe")
    };
    assert!(!permits.learn(&probe, &Verdict::Refused("INVALID_ACCESS_TOKEN".to_owned())).await.unwrap());
    clock.set(later(clock.now(), 31.0 * 60.0));
    let Err(Denied { retry_at: until, .. }) =
        permits.acquire(&fingerprint, Class::Status, None).await.unwrap()
    else {
        panic!("a probe before the suspension ended")
    };
    clock.set(until);
    let Ok(probe) = permits.acquire(&fingerprint, Class::Status, None).await.unwrap() else {
        panic!("no permit for the third probe")
    };
    for (other, _) in &pollers {
        let acquired = other.permits.acquire(&fingerprint, Class::Poller, None).await.unwrap();
        assert!(
            matches!(acquired, Err(Denied { reason: DenyReason::Suspended, .. })),
            "a second probe while one is in progress"
        );
    }
    assert!(permits.learn(&probe, &Verdict::Accepted).await.unwrap(), "the first update must resume the key");
    assert!(
        !permits.learn(&probe, &Verdict::Accepted).await.unwrap(),
        "the second update must not resume it again"
    );
    // The other processes learn of the resumption only after their memory of the suspension expires.
    clock.set(later(clock.now(), 31.0));
    pollers[0].0.publish_key(&fingerprint).await.unwrap();
    let event = stack.bus.wait_for(&format!("vendor/{key}"), "Vendor Resumed", Duration::from_secs(20)).await;
    assert_eq!(event.id(), format!("vendor/{key}#2"));
    for (other, _) in &pollers {
        assert!(other.permits.acquire(&fingerprint, Class::Poller, None).await.unwrap().is_ok());
    }
    assert_eq!(stack.bus.kinds(&format!("vendor/{key}")), ["Vendor Suspended", "Vendor Resumed"]);
    place.delete(&stack).await;
}

#[tokio::test]
async fn concurrent_pollers_stop_after_their_calls_in_progress() {
    let stack = Stack::fast();
    let vendor = refusing_vendor().await;
    let place = IsolatedTable::create(&stack, "twenty").await;
    let pollers = pollers(&stack, &place, &vendor, "twenty", 20).await;
    let clock = pollers[0].0.clock.clone();
    clock.set(later(clock.now(), 9.0));
    // All pollers get permits before the first refusal is known.
    poll_all(&pollers).await;
    let at_once = calls(&vendor).await;
    assert!((3..=20).contains(&at_once), "{at_once} calls");
    for _ in 0..5 {
        clock.set(later(clock.now(), 20.0));
        poll_all(&pollers).await;
    }
    assert_eq!(calls(&vendor).await, at_once, "calls after the suspension");
    // A process that crashed after counting the third refusal leaves the key unsuspended; the next caller suspends it.
    let key = pollers[0].0.vault.secrets().vendor_key.fingerprint().to_string();
    assert_eq!(
        stack.bus.wait_for(&format!("vendor/{key}"), "Vendor Suspended", Duration::from_secs(20)).await.id(),
        format!("vendor/{key}#1")
    );
    // The poll deadline applies during a suspension.
    clock.set(later(clock.now(), 20.0));
    let (tracker, order) = &pollers[0];
    let refreshed = tracker.refresh(order, Trigger::Poller).await.unwrap().unwrap();
    assert!(matches!(
        refreshed.check,
        Check::NotMade(NoCall::Denied(Denied { reason: DenyReason::Suspended, .. }))
    ));
    clock.set(later(clock.now(), 280.0));
    let refreshed = tracker.refresh(order, Trigger::Poller).await.unwrap().unwrap();
    assert_eq!(refreshed.order.phase.as_str(), "parked", "the order must be delayed");
    place.delete(&stack).await;
}

#[tokio::test]
async fn a_crash_after_the_third_refusal_does_not_prevent_suspension() {
    let stack = Stack::fast();
    let clock = Clock::fixed(Clock::System.now());
    let (permits, key) = permits_of(&stack, "crashed", &clock, Budget::default());
    let Ok(permit) = permits.acquire(&key, Class::Poller, None).await.unwrap() else { panic!("no permit") };
    for _ in 0..2 {
        permits.learn(&permit, &Verdict::Refused("ERR_AUTH".to_owned())).await.unwrap();
    }
    // The third refusal is counted, and the process crashes before it suspends the key.
    let update = stack.dynamodb().update_item().table_name(stack.env("ORDERS_TABLE"));
    let update = update.key("pk", AttributeValue::S(format!("ADMISSION#{key}")));
    let update = update.key("sk", AttributeValue::S("ADMISSION".to_owned()));
    let update = update.update_expression("ADD refusals :one");
    update.expression_attribute_values(":one", AttributeValue::N("1".to_owned())).send().await.unwrap();
    clock.set(later(clock.now(), 30.0));
    let acquired = permits.acquire(&key, Class::Poller, None).await.unwrap();
    assert!(matches!(acquired, Err(Denied { reason: DenyReason::Suspended, .. })), "{acquired:?}");
}

#[tokio::test]
async fn a_pause_applies_to_all_processes_and_is_bounded() {
    let stack = Stack::fast();
    let start = Clock::System.now();
    let clock = Clock::fixed(start);
    let (one, key) = permits_of(&stack, "pause", &clock, Budget::default());
    let (other, _) = permits_of(&stack, "", &clock, Budget::default());
    let Ok(permit) = one.acquire(&key, Class::Status, None).await.unwrap() else { panic!("no permit") };
    let throttled = |seconds: u64| Verdict::Throttled(Some(Duration::from_secs(seconds)));
    one.learn(&permit, &throttled(30)).await.unwrap();
    one.learn(&permit, &throttled(10)).await.unwrap();
    let paused = |acquired: Result<Permit, Denied>| match acquired {
        Err(Denied { retry_at: until, reason: DenyReason::Paused }) => {
            until.duration_since(clock.now()).as_secs()
        }
        other => panic!("{other:?}"),
    };
    assert_eq!(paused(other.acquire(&key, Class::Poller, None).await.unwrap()), 30);
    clock.set(later(start, 29.0));
    one.learn(&permit, &throttled(86_400)).await.unwrap();
    // A process that remembers the first pause reads the permits item again when that pause ends.
    clock.set(later(start, 30.0));
    assert_eq!(
        paused(other.acquire(&key, Class::Recheck, None).await.unwrap()),
        599,
        "a pause is at most ten minutes"
    );
    clock.set(later(start, 29.0 + 600.0));
    assert!(other.acquire(&key, Class::Recheck, None).await.unwrap().is_ok());
}

/// No check was made, so the order must remain free for other checks.
#[tokio::test]
async fn a_claim_without_a_permit_is_reverted() {
    let stack = Stack::fast();
    let vendor = refusing_vendor().await;
    let place = IsolatedTable::create(&stack, "unclaimed").await;
    let pollers = pollers(&stack, &place, &vendor, "unclaimed", 1).await;
    let (tracker, order) = &pollers[0];
    let key = tracker.vault.secrets().vendor_key.fingerprint().clone();
    // Another process learns of a pause; this one does not.
    let store = Store::new(stack.dynamodb(), place.table().to_owned());
    let other = Permits::new(store, tracker.clock.clone(), Budget::default());
    let Ok(permit) = other.acquire(&key, Class::Status, None).await.unwrap() else { panic!("no permit") };
    tracker.clock.set(later(tracker.clock.now(), 9.0));
    other.learn(&permit, &Verdict::Throttled(Some(Duration::from_secs(60)))).await.unwrap();
    for trigger in [Trigger::Status, Trigger::Poller, Trigger::Recheck] {
        let fresh = self::tracker(&stack, &place, &vendor, "unused-key", tracker.clock.clone()).await;
        let one = Tracker { permits: fresh.permits, ..tracker.clone() };
        let before = place.item(&stack, order).await;
        let refreshed = one.refresh(order, trigger).await.unwrap().unwrap();
        assert!(
            matches!(
                refreshed.check,
                Check::NotMade(NoCall::Denied(Denied { reason: DenyReason::Paused, .. }))
            ),
            "{trigger:?}"
        );
        assert_eq!(place.item(&stack, order).await, before, "{trigger:?}");
    }
    assert_eq!(calls(&vendor).await, 0);
    place.delete(&stack).await;
}

/// The permits item of a key.
async fn key_item(
    place: &IsolatedTable,
    stack: &Stack,
    key: &Fingerprint,
) -> HashMap<String, AttributeValue> {
    let read = stack.dynamodb().get_item().table_name(place.table()).consistent_read(true);
    let read = read.key("pk", AttributeValue::S(format!("ADMISSION#{key}")));
    let read = read.key("sk", AttributeValue::S("ADMISSION".to_owned()));
    read.send().await.unwrap().item.unwrap_or_default()
}

async fn recheck_once(tracker: &Tracker) -> Counters {
    let now = tracker.clock.now().as_millisecond() as u64;
    recheck::handle(tracker, UNIX_EPOCH + Duration::from_millis(now + 55_000)).await.unwrap()
}

/// Regression: processes with an outdated key suspended it, and the suspension was never ended.
#[tokio::test]
async fn a_replaced_key_does_not_stay_suspended() {
    let stack = Stack::fast();
    let place = IsolatedTable::create(&stack, "replaced").await;
    let start = Clock::System.now();
    let clock = Clock::fixed(start);
    let vendor = Sandbox::own(clock.clone()).await;
    let (old, secret) =
        (format!("old-{}", start.as_microsecond()), format!("replaced-{}", start.as_microsecond()));
    let in_use = vendor.settings()[1].1;
    let text = json!({"oneclickdz_api_key": in_use}).to_string();
    stack.create_secret(&secret, &text).await;
    let common = [("EVENT_BUS", stack.env("EVENT_BUS")), ("LIST_CHECKS", "off")];

    // Three processes that keep using the old key.
    let settings = [common[0], common[1], ("ONECLICKDZ_API_KEY", old.as_str())];
    for number in 0..3 {
        let late = place.tracker(&stack, &vendor, clock.clone(), &settings).await;
        let id = vendor.make("mobile", json!([{"after_seconds": 0, "status": "HANDLING"}])).await;
        let order = OrderKey { product: Product::Mobile, id: id.parse().unwrap() };
        late.track(&order, None, TrackedBy::Put).await.unwrap();
        clock.set(later(clock.now(), 5.0));
        let check = late.refresh(&order, Trigger::Status).await.unwrap().unwrap().check;
        assert!(matches!(check, Check::Failed(_)), "{number}: {check:?}");
    }
    let key = fingerprint(&old);
    let about = format!("vendor/{key}");
    let event = stack.bus.wait_for(&about, "Vendor Suspended", Duration::from_secs(20)).await;
    assert_eq!(event.id(), format!("{about}#1"));
    let suspended_at = clock.now();

    // Two rechecks with the new key. They end the suspension only when all events about it were published at least a
    // minute ago: a process reads the secret at most once a minute.
    let settings = [common[0], common[1], ("SECRET_ID", secret.as_str())];
    let rechecks = [
        place.tracker(&stack, &vendor, clock.clone(), &settings).await,
        place.tracker(&stack, &vendor, clock.clone(), &settings).await,
    ];
    clock.set(later(suspended_at, 50.0));
    recheck_once(&rechecks[0]).await;
    assert!(key_item(&place, &stack, &key).await.contains_key("suspended_until"));
    // A recheck that cannot read the secret cannot tell which key is in use: it must not end the suspension.
    let gone = format!("{secret}-gone");
    let text = json!({"oneclickdz_api_key": "another"}).to_string();
    stack.create_secret(&gone, &text).await;
    let settings = [common[0], common[1], ("SECRET_ID", gone.as_str())];
    let unreadable = place.tracker(&stack, &vendor, clock.clone(), &settings).await;
    stack.delete_secret(&gone).await;
    clock.set(later(suspended_at, 121.0));
    recheck_once(&unreadable).await;
    assert!(key_item(&place, &stack, &key).await.contains_key("suspended_until"));

    clock.set(later(suspended_at, 182.0));
    join_all(rechecks.iter().map(recheck_once)).await;
    let event = stack.bus.wait_for(&about, "Vendor Resumed", Duration::from_secs(20)).await;
    assert_eq!(
        (event.id(), event.detail["reason"].as_str()),
        (format!("{about}#2").as_str(), Some("key_replaced"))
    );
    clock.set(later(suspended_at, 400.0));
    join_all(rechecks.iter().map(recheck_once)).await;
    assert_eq!(stack.bus.kinds(&about), ["Vendor Suspended", "Vendor Resumed"], "published once");
    let mut left: Vec<_> = key_item(&place, &stack, &key).await.into_keys().collect();
    left.sort();
    assert_eq!(left, ["event_seq", "pk", "sk"], "the suspension is removed");
    stack.delete_secret(&secret).await;
    place.delete(&stack).await;
}

/// A verdict counts for the key of its permit only. A refusal of a key that is known to be replaced is not counted.
#[tokio::test]
async fn a_refusal_of_a_replaced_key_is_not_counted() {
    let stack = Stack::fast();
    let place = IsolatedTable::create(&stack, "rotated").await;
    let start = Clock::System.now();
    let clock = Clock::fixed(start);
    let vendor = Sandbox::own(clock.clone()).await;
    let name = format!("rotated-{}", start.as_microsecond());
    let text = |key: &str| json!({"oneclickdz_api_key": key}).to_string();
    stack.create_secret(&name, &text(&name)).await;
    let settings = [("SECRET_ID", name.as_str()), ("LIST_CHECKS", "off")];
    let open = async || place.tracker(&stack, &vendor, clock.clone(), &settings).await;
    let (one, other) = (open().await, open().await);
    let (old, new) = (fingerprint(&name), fingerprint(vendor.settings()[1].1));
    stack.put_secret(&name, &text(vendor.settings()[1].1)).await;
    let id = vendor.make("mobile", json!([{"after_seconds": 0, "status": "HANDLING"}])).await;
    let order = OrderKey { product: Product::Mobile, id: id.parse().unwrap() };
    one.track(&order, None, TrackedBy::Put).await.unwrap();
    let check_after = async |tracker: &Tracker, seconds: f64| {
        clock.set(later(start, seconds));
        tracker.refresh(&order, Trigger::Status).await.unwrap().unwrap().check
    };
    // The secret was read less than a minute ago, so two refusals count. The third triggers a new read, which finds the
    // new key.
    for seconds in [10.0, 20.0, 70.0] {
        assert!(matches!(check_after(&one, seconds).await, Check::Failed(_)), "{seconds}");
    }
    let usage = one.permits.usage(&old).await.unwrap();
    assert_eq!((usage.refusals, usage.suspended_until, usage.event_seq), (0, None, 0));
    assert!(matches!(check_after(&one, 80.0).await, Check::Answered));

    // Processes that still had the old key can suspend it; one of them then makes the probe.
    let Ok(permit) = other.permits.acquire(&old, Class::Status, None).await.unwrap() else {
        panic!("no permit")
    };
    for _ in 0..3 {
        other.permits.learn(&permit, &Verdict::Refused("ERR_AUTH".to_owned())).await.unwrap();
    }
    let until = other.permits.usage(&old).await.unwrap().suspended_until.unwrap();
    let check = check_after(&other, until.duration_since(start).as_secs_f64()).await;
    assert!(matches!(check, Check::Failed(_)), "{check:?}");
    let usage = other.permits.usage(&old).await.unwrap();
    assert_eq!(
        (usage.refusals, usage.suspended_until, usage.event_seq),
        (0, None, 2),
        "the suspension is over"
    );
    assert_eq!(other.permits.usage(&new).await.unwrap().refusals, 0);
    let check = check_after(&other, until.duration_since(start).as_secs_f64() + 700.0).await;
    assert!(matches!(check, Check::Answered), "{check:?}");
    stack.delete_secret(&name).await;
    place.delete(&stack).await;
}

/// The fingerprint of a vendor key.
fn fingerprint(key: &str) -> Fingerprint {
    shared::secret::VendorKey::from(secrecy::SecretString::from(key.to_owned())).fingerprint().clone()
}

/// A suspended key that is in use is in the due index. Only a probe ends its suspension, and it does not raise
/// `oldest_due_seconds`.
#[tokio::test]
async fn a_suspended_key_in_use_stays_suspended_until_a_probe() {
    let stack = Stack::fast();
    let place = IsolatedTable::create(&stack, "in-use").await;
    let clock = Clock::fixed(Clock::System.now());
    let vendor = Sandbox::own(clock.clone()).await;
    let tracker = place.tracker(&stack, &vendor, clock.clone(), &[("LIST_CHECKS", "off")]).await;
    let key = tracker.vault.secrets().vendor_key.fingerprint().clone();
    let Ok(permit) = tracker.permits.acquire(&key, Class::Status, None).await.unwrap() else {
        panic!("no permit")
    };
    for _ in 0..3 {
        tracker.permits.learn(&permit, &Verdict::Refused("ERR_AUTH".to_owned())).await.unwrap();
    }
    for _ in 0..12 {
        clock.set(later(clock.now(), 61.0));
        let due = tracker.store.due(clock.now(), 100).await.unwrap();
        assert_eq!(due.vendor_keys, std::slice::from_ref(&key));
        let late = clock.now().duration_since(due.oldest.unwrap());
        assert!(late.as_secs() <= 61, "{late}");
        recheck_once(&tracker).await;
        let usage = tracker.usage().await.unwrap();
        assert!(usage.suspended_until.is_some() && usage.event_seq == 1, "{usage:?}");
        assert!(tracker.store.vendor_events(&key).await.unwrap().is_empty());
    }
    // The accepted probe removes the key from the due index.
    clock.set(tracker.usage().await.unwrap().suspended_until.unwrap());
    let Ok(probe) = tracker.permits.acquire(&key, Class::Status, None).await.unwrap() else {
        panic!("no probe")
    };
    assert!(tracker.permits.learn(&probe, &Verdict::Accepted).await.unwrap());
    clock.set(later(clock.now(), 61.0));
    recheck_once(&tracker).await;
    assert!(tracker.store.due(later(clock.now(), 3600.0), 100).await.unwrap().vendor_keys.is_empty());
    place.delete(&stack).await;
}

/// Delays every third claim by `seconds` on the test's clock, answers for the vendor, and records the call times.
#[derive(Debug)]
struct SlowClaims {
    clock: Clock,
    seconds: f64,
    claims: AtomicU64,
    asked: Mutex<Vec<Timestamp>>,
}

impl SlowClaims {
    fn open(clock: &Clock, seconds: f64) -> Arc<Self> {
        let (claims, asked) = (AtomicU64::new(0), Mutex::default());
        Arc::new(Self { clock: clock.clone(), seconds, claims, asked })
    }
}

impl Gate for SlowClaims {
    fn before<'a>(&'a self, request: &'a Request) -> BoxFuture<'a, Passage> {
        Box::pin(async move {
            if request.operation != "check-id" {
                return Passage::Forward;
            }
            self.asked.lock().unwrap().push(self.clock.now());
            let id = request.text.rsplit('/').next().unwrap();
            let data = json!({"_id": id, "status": "HANDLING"});
            Passage::Answered(Answer {
                status: 200,
                text: json!({"success": true, "data": data}).to_string(),
            })
        })
    }

    fn after<'a>(&'a self, request: &'a Request, _: &'a Answer) -> BoxFuture<'a, ()> {
        Box::pin(async move {
            // The write that reverts a claim sets `asked_at` too, without `#version`.
            let sets = request.text.contains("SET #asked_at = ") && !request.text.contains("#version");
            let is_claim = request.operation == "UpdateItem" && sets;
            if is_claim && self.claims.fetch_add(1, Ordering::SeqCst) % 3 == 1 {
                self.clock.set(later(self.clock.now(), self.seconds));
            }
        })
    }
}

/// Regression: a permit was used up to 2.2 s after it was given, because a slow claim came in between.
#[tokio::test]
async fn a_permit_that_expires_during_a_slow_claim_is_given_back() {
    let stack = Stack::fast();
    let place = IsolatedTable::create(&stack, "slow-claims").await;
    let bed = TestBed::open(&stack, &place).await;
    let settings = [
        ("VENDOR_CALLS_PER_MINUTE", "20"),
        ("VENDOR_CALLS_BURST", "1"),
        ("LIST_CHECKS", "on"),
        ("POLL_DEADLINE", "1h"),
        ("POLL_SCHEDULE_MOBILE", "3s"),
    ];
    for seconds in [0.9, 2.2] {
        let clock = Clock::fixed(Clock::System.now());
        let gate = SlowClaims::open(&clock, seconds);
        let door: Arc<dyn Gate> = gate.clone();
        let name = format!("slow-{}", (seconds * 1000.0) as u64);
        let tracker = bed.tracker(&door, clock.clone(), &name, &settings).await;
        let key = tracker.vault.secrets().vendor_key.fingerprint().clone();
        let lists = tracker.lists.clone().unwrap();
        let order = OrderKey { product: Product::Mobile, id: format!("{name}-1").parse().unwrap() };
        tracker.track(&order, None, TrackedBy::Put).await.unwrap();
        clock.set(later(clock.now(), 9.0));
        let (mut made, mut given_back) = (0, 0);
        for _ in 0..90 {
            let loaded = tracker.store.load(&order).await.unwrap().unwrap();
            let before = bed.item(&order).await.unwrap();
            let outcome = tracker.check_best(&lists, &[loaded], Trigger::Poller).await.unwrap();
            match outcome {
                BatchOutcome::Made { orders: seen, .. } => {
                    assert!(matches!(seen[..], [Refreshed { check: Check::Answered, .. }]), "{seen:?}");
                    made += 1;
                    clock.set(later(clock.now(), 3.1));
                }
                BatchOutcome::Denied(Denied { retry_at: until, reason: DenyReason::RateLimited }) => {
                    if gate.claims.load(Ordering::SeqCst) % 3 == 2 && until == clock.now() {
                        given_back += 1;
                        assert_eq!(bed.item(&order).await.unwrap(), before, "the claim is given back too");
                        let usage = tracker.permits.usage(&key).await.unwrap();
                        assert!(
                            usage.tat.unwrap() <= clock.now().as_microsecond(),
                            "the permit is free again"
                        );
                    }
                    clock.wait_until(until).await;
                }
                // The order is not due yet.
                BatchOutcome::NotWorthIt => clock.set(later(clock.now(), 0.5)),
                other => panic!("{other:?}"),
            }
        }
        let asked = gate.asked.lock().unwrap().clone();
        let fullest = asked
            .iter()
            .map(|first| asked.iter().filter(|at| (*first..later(*first, 60.0)).contains(at)).count());
        let fullest = fullest.max().unwrap();
        assert!(fullest <= 20, "{fullest} calls in 60 s");
        assert_eq!(made, asked.len());
        assert!((given_back > 0) == (seconds > 1.0), "{seconds}: {given_back} given back, {made} made");
        let minutes = asked[asked.len() - 1].duration_since(asked[0]).as_secs_f64() / 60.0;
        println!("{made} calls in {minutes:.1} min, {fullest} in the fullest, {given_back} given back");
    }
    place.delete(&stack).await;
}

#[tokio::test]
async fn a_permit_given_back_removes_its_list_check() {
    let stack = Stack::fast();
    let start = Clock::System.now();
    let clock = Clock::fixed(start);
    let budget = Budget::new(60, 5).unwrap();
    let (one, key) = permits_of(&stack, "given-back", &clock, budget);
    let page = Page { product: Product::Mobile, from: start, to: later(start, 20.0) };
    let take = async |permits: &Permits| {
        let turn = permits.last_known(&key).page_turn;
        let list_check = ListCheck { page, turn };
        permits.acquire(&key, Class::Poller, Some(list_check)).await.unwrap().unwrap()
    };
    let known = async || {
        let usage = one.usage(&key).await.unwrap();
        (usage.tat, usage.reservation_tats, usage.pages.len())
    };
    take(&one).await;
    let before = known().await;
    let permit = take(&one).await;
    assert_eq!(known().await.2, 2);
    clock.set(later(start, 1.0));
    assert!(one.give_back_if_old(&permit).await.is_none(), "a permit is valid for one second");
    clock.set(later(start, 1.001));
    let until = one.give_back_if_old(&permit).await;
    assert_eq!(until, Some(Denied { reason: DenyReason::RateLimited, retry_at: clock.now() }));
    // One list check remains: both permits were for the same page and time.
    assert_eq!((known().await.0, known().await.1), (before.0, before.1));
    let after = known().await;
    one.give_back(&permit).await.unwrap();
    assert_eq!(known().await, after, "once");

    // Another caller got a permit meanwhile: this permit stays used, but its list check is removed.
    clock.set(later(start, 20.0));
    let permit = take(&one).await;
    let (other, _) = permits_of(&stack, "", &clock, budget);
    assert!(other.acquire(&key, Class::Status, None).await.unwrap().is_ok());
    let before = known().await;
    assert_eq!(before.2, 1);
    clock.set(later(start, 22.0));
    assert!(one.give_back_if_old(&permit).await.is_some());
    assert_eq!(known().await, (before.0, before.1, 0));
}

/// Refuses every write that contains the order's id.
#[derive(Debug)]
struct Unwritable {
    id: String,
}

impl Gate for Unwritable {
    fn before<'a>(&'a self, request: &'a Request) -> BoxFuture<'a, Passage> {
        Box::pin(async move {
            let is_write = matches!(request.operation.as_str(), "UpdateItem" | "TransactWriteItems");
            if request.operation == "check-id" {
                let id = request.text.rsplit('/').next().unwrap();
                let data = json!({"_id": id, "status": "HANDLING"});
                let text = json!({"success": true, "data": data}).to_string();
                return Passage::Answered(Answer { status: 200, text });
            }
            if is_write && request.text.contains(&self.id) {
                let text =
                    r#"{"__type": "com.amazon.coral.validate#ValidationException", "message": "too large"}"#;
                return Passage::Answered(Answer { status: 400, text: text.to_owned() });
            }
            Passage::Forward
        })
    }

    fn after<'a>(&'a self, _: &'a Request, _: &'a Answer) -> BoxFuture<'a, ()> {
        Box::pin(async {})
    }
}

/// Regression: a tick that checked another order failed because that order's record could not be written.
#[tokio::test]
async fn an_unwritable_order_does_not_fail_other_orders_ticks() {
    let stack = Stack::fast();
    let place = IsolatedTable::create(&stack, "unwritable").await;
    let bed = TestBed::open(&stack, &place).await;
    let clock = Clock::fixed(Clock::System.now());
    let settings = [
        ("VENDOR_CALLS_PER_MINUTE", "20"),
        ("VENDOR_CALLS_BURST", "1"),
        ("LIST_CHECKS", "on"),
        ("POLL_DEADLINE", "60s"),
        ("RECHECK_DELAYED", "30m"),
    ];
    let stuck = format!("stuck-{}", clock.now().as_millisecond());
    let open: Arc<dyn Gate> = Arc::new(Unwritable { id: "no-order".to_owned() });
    let gate: Arc<dyn Gate> = Arc::new(Unwritable { id: stuck.clone() });
    let open_tracker = bed.tracker(&open, clock.clone(), "unwritable", &settings).await;
    let tracker = bed.tracker(&gate, clock.clone(), "unwritable", &settings).await;
    let key = tracker.vault.secrets().vendor_key.fingerprint().clone();
    // The test bed's vendor has no lists.
    tracker.permits.distrust_list(&key, Product::Mobile, ListTrouble::FilterIgnored).await.unwrap();
    let order = |name: &str| OrderKey { product: Product::Mobile, id: name.parse().unwrap() };
    let (stuck, others) = (order(&stuck), [order("a-1"), order("a-2"), order("a-3")]);
    open_tracker.track(&stuck, None, TrackedBy::Put).await.unwrap();
    clock.set(later(clock.now(), 2.0));
    for other in &others {
        open_tracker.track(other, None, TrackedBy::Put).await.unwrap();
    }
    let use_burst = async || {
        let acquired = tracker.permits.acquire(&key, Class::Status, None).await.unwrap();
        assert!(acquired.is_ok(), "{acquired:?}");
        clock.set(later(clock.now(), 3.3));
    };
    // Ticks of the other orders. The stuck order is always the most urgent, since it is never checked.
    clock.set(later(clock.now(), 20.0));
    use_burst().await;
    let began = clock.now();
    for other in &others {
        tracker.poll(other).await.unwrap().unwrap();
        clock.set(later(clock.now(), 3.3));
    }
    for other in &others {
        let stored = tracker.store.load(other).await.unwrap().unwrap();
        assert!(stored.checked_at.is_some_and(|checked| checked >= began), "{other} was not checked");
    }
    let own = tracker.poll(&stuck).await;
    assert!(own.is_err(), "expected an error: {own:?}");

    // The recheck processes all other orders.
    clock.set(later(clock.now(), 3600.0));
    let before = clock.now();
    let report = recheck_once(&tracker).await;
    assert!(report.failed >= 1, "{report:?}");
    for other in &others {
        let stored = tracker.store.load(other).await.unwrap().unwrap();
        assert!(stored.checked_at.is_some_and(|checked| checked >= before), "{other}: {report:?}");
    }
    assert_eq!(tracker.store.load(&stuck).await.unwrap().unwrap().checked_at, None);
    place.delete(&stack).await;
}
