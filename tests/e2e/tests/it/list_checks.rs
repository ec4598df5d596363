//! List checks where calls are scarce. Each test has its own table, bus and vendor.

use std::time::Duration;

use e2e::IsolatedTracker;
use jiff::Timestamp;
use secrecy::ExposeSecret;
use serde_json::{Value, json};
use shared::{
    order::{OrderKey, Product, TrackedBy, Trigger},
    rate_limiter::{Class, ListTrust, Verdict},
    refresh::{BatchOutcome, Check, Refreshed},
};

/// 20 calls a minute: one permit every 3.1 s.
const SCARCE: [(&str, &str); 2] = [("VENDOR_CALLS_PER_MINUTE", "20"), ("VENDOR_CALLS_BURST", "1")];

fn later(start: Timestamp, seconds: f64) -> Timestamp {
    Timestamp::from_millisecond(start.as_millisecond() + (seconds * 1000.0) as i64).unwrap()
}

/// Creates an order that was sent `seconds_ago`, with its timeline from then on, and tracks it from the same time.
async fn tracked_order(
    own: &IsolatedTracker,
    product: Product,
    seconds_ago: f64,
    timeline: Value,
) -> OrderKey {
    let key = untracked_order(own, product, seconds_ago, timeline).await;
    let now = own.tracker.clock.now();
    own.tracker.clock.set(later(now, -seconds_ago));
    own.tracker.track(&key, None, TrackedBy::Put).await.unwrap();
    own.tracker.clock.set(now);
    key
}

/// Creates an order that was sent `seconds_ago`, with its timeline from then on.
async fn untracked_order(
    own: &IsolatedTracker,
    product: Product,
    seconds_ago: f64,
    timeline: Value,
) -> OrderKey {
    let sent_at = later(own.tracker.clock.now(), -seconds_ago).to_string();
    let order = json!({"product": product, "sent_at": sent_at, "timeline": timeline, "number": "0665983439", "amount": 500});
    let answer = own.vendor.control("POST", "/orders", Some(order)).await;
    OrderKey { product, id: answer["id"].as_str().unwrap().parse().unwrap() }
}

/// Uses up the burst, so that calls are scarce, and moves the clock to the next permit.
async fn use_burst(own: &IsolatedTracker) {
    let key = own.tracker.vault.secrets().vendor_key.fingerprint().clone();
    let acquired = own.tracker.permits.acquire(&key, Class::Status, None).await.unwrap();
    assert!(acquired.is_ok(), "{acquired:?}");
    next_permit(own);
}

/// Moves the clock to the next permit.
fn next_permit(own: &IsolatedTracker) {
    own.tracker.clock.set(later(own.tracker.clock.now(), 3.3));
}

async fn poll(own: &IsolatedTracker, key: &OrderKey) -> Check {
    own.tracker.poll(key).await.unwrap().unwrap().check
}

async fn status_of(own: &IsolatedTracker, key: &OrderKey) -> String {
    own.stored(key).await.facts.status.map(|status| status.as_str().to_owned()).unwrap_or_default()
}

async fn event_types(own: &IsolatedTracker, key: &OrderKey) -> Vec<String> {
    let events = own.tracker.store.events_after(key, 0).await.unwrap();
    events.into_iter().map(|event| event.detail_type).collect()
}

/// The number of status checks and of list checks that reached the vendor.
async fn vendor_calls(own: &IsolatedTracker) -> (u64, u64) {
    let of = async |kind: &str| {
        own.vendor.control("GET", &format!("/calls?endpoint_kind={kind}"), None).await["total"]
            .as_u64()
            .unwrap()
    };
    (of("check").await, of("list").await)
}

fn is(status: &str) -> Value {
    json!([{"after_seconds": 0, "status": status}])
}

#[tokio::test]
async fn one_list_check_refreshes_all_orders_in_any_row_order() {
    for order in ["newest", "oldest", "shuffled"] {
        let own = IsolatedTracker::open("lists-one-call", &SCARCE).await;
        own.vendor.control("POST", "/lists", Some(json!({"order": order}))).await;
        let mut keys = Vec::new();
        let statuses = ["PENDING", "HANDLING", "FULFILLED", "REFUNDED", "UNKNOWN_ERROR", "TELEPORTED"];
        for (index, status) in statuses.iter().cycle().take(18).enumerate() {
            keys.push((
                tracked_order(&own, Product::Mobile, 20.0 - index as f64 / 2.0, is(status)).await,
                *status,
            ));
            untracked_order(&own, Product::Mobile, 20.0 - index as f64 / 2.0, is("FULFILLED")).await;
        }
        use_burst(&own).await;
        assert!(matches!(poll(&own, &keys[0].0).await, Check::Answered));
        assert_eq!(vendor_calls(&own).await, (0, 1), "{order}: one call");
        for (key, status) in &keys {
            assert_eq!(status_of(&own, key).await, *status, "{order}");
            let stored = own.stored(key).await;
            assert_eq!(
                (stored.published, stored.asked_at),
                (stored.seq, stored.checked_at),
                "all published and just checked"
            );
            let expected: &[&str] = match *status {
                "FULFILLED" => &["Order Tracked", "Order Fulfilled"],
                "REFUNDED" => &["Order Tracked", "Order Refunded"],
                "UNKNOWN_ERROR" => &["Order Tracked", "Order Uncertain"],
                "TELEPORTED" => &["Order Tracked", "Order Needs Review"],
                _ => &["Order Tracked"],
            };
            assert_eq!(event_types(&own, key).await, expected, "{order}: {status}");
            // A poller makes no call for an order that was just checked.
            assert!(matches!(poll(&own, key).await, Check::NotMade(_)), "{order}: {status}");
        }
        assert_eq!(vendor_calls(&own).await, (0, 1));
        own.delete().await;
    }
}

#[tokio::test]
async fn cards_from_a_list_are_encrypted() {
    let own = IsolatedTracker::open("lists-cards", &SCARCE).await;
    let code = |index: u32| format!("5151-2323-{index:04}");
    let mut keys = Vec::new();
    for index in 0..5 {
        let card = json!({"card_code": code(index), "num_trans": "AT-1", "date_traitement": "2026-11-22"});
        let timeline = json!([{"after_seconds": 0, "status": "FULFILLED", "fields": card}]);
        keys.push(tracked_order(&own, Product::Internet, 20.0 - f64::from(index), timeline).await);
    }
    use_burst(&own).await;
    poll(&own, &keys[0]).await;
    assert_eq!(vendor_calls(&own).await, (0, 1));
    for (index, key) in keys.iter().enumerate() {
        let item = own.table.item(&own.stack, key).await;
        assert!(item.contains_key("card_ciphertext") && !format!("{item:?}").contains("5151"), "{key}");
        let events = own.tracker.store.events_after(key, 0).await.unwrap();
        assert!(events.iter().all(|event| !event.detail.contains("5151-2323")), "{key}");
        let shown = own.tracker.reveal_card(own.stored(key).await).await.unwrap().unwrap();
        assert_eq!(shown.expose_secret(), code(index as u32));
    }
    own.delete().await;
}

#[tokio::test]
async fn an_order_missing_from_the_list_is_checked_by_id() {
    let own = IsolatedTracker::open("lists-hidden", &SCARCE).await;
    let mut keys = Vec::new();
    for index in 0..6 {
        keys.push(tracked_order(&own, Product::Mobile, 20.0 - f64::from(index), is("HANDLING")).await);
    }
    let hidden = keys[3].clone();
    own.vendor.control("POST", "/lists", Some(json!({"hides": [hidden.id]}))).await;
    use_burst(&own).await;
    poll(&own, &keys[0]).await;
    let stored = own.stored(&hidden).await;
    assert!(
        stored.unlisted && stored.checked_at.is_none() && stored.facts.status.is_none(),
        "marked as unlisted, otherwise unchanged"
    );
    next_permit(&own);
    poll(&own, &hidden).await;
    assert_eq!(vendor_calls(&own).await, (1, 1));
    assert_eq!(status_of(&own, &hidden).await, "HANDLING");
    // Its `created_at` is known now: the tracker tries the list once more.
    assert!(!own.stored(&hidden).await.unlisted);
    next_permit(&own);
    poll(&own, &hidden).await;
    assert_eq!(vendor_calls(&own).await, (1, 2));
    assert!(own.stored(&hidden).await.unlisted);
    for _ in 0..6 {
        next_permit(&own);
        poll(&own, &hidden).await;
    }
    let (by_id, _) = vendor_calls(&own).await;
    assert!(by_id > 1, "this order gets some status checks");
    assert!(own.stored(&hidden).await.unlisted);
    // Listed again, the order is covered by list checks again.
    own.vendor.control("DELETE", "/lists", None).await;
    for _ in 0..4 {
        next_permit(&own);
        poll(&own, &keys[0]).await;
    }
    assert!(!own.stored(&hidden).await.unlisted);
    own.delete().await;
}

#[tokio::test]
async fn a_list_that_ignores_its_time_filter_is_reported_once_and_not_used() {
    for compares in ["day", "nothing"] {
        let own = IsolatedTracker::open("lists-times", &SCARCE).await;
        own.vendor.control("POST", "/lists", Some(json!({"compares": compares}))).await;
        // At noon: the order is outside of the window and of the same day (UTC), which the vendor compares.
        let into_the_day = own.tracker.clock.now().as_second() % 86_400;
        own.tracker.clock.set(later(own.tracker.clock.now(), (43_200 - into_the_day) as f64));
        untracked_order(&own, Product::Mobile, 40.0, is("FULFILLED")).await;
        let mut keys = Vec::new();
        for index in 0..6 {
            keys.push(tracked_order(&own, Product::Mobile, 20.0 - f64::from(index), is("HANDLING")).await);
        }
        use_burst(&own).await;
        for key in &keys {
            poll(&own, key).await;
            next_permit(&own);
        }
        let (checks, lists) = vendor_calls(&own).await;
        assert!(lists == 1 && checks >= 1, "{compares}: {checks} by id, {lists} pages");
        let fingerprint = own.tracker.vault.secrets().vendor_key.fingerprint().clone();
        let usage = own.tracker.usage().await.unwrap();
        assert_eq!(usage.list(Product::Mobile).published_trouble.as_deref(), Some("list_filter_ignored"));
        assert_eq!(usage.list(Product::Internet).published_trouble, None, "the other list is not degraded");
        assert_eq!(usage.event_seq, 1, "published once");
        assert!(
            own.tracker.store.vendor_events(&fingerprint).await.unwrap().is_empty(),
            "no event is pending"
        );
        // The rows of this page still count.
        assert_eq!(status_of(&own, &keys[0]).await, "HANDLING");
        own.delete().await;
    }
}

#[tokio::test]
async fn a_list_that_keeps_failing_is_turned_off_for_a_while() {
    let own = IsolatedTracker::open("lists-fails", &[SCARCE[0], SCARCE[1], ("POLL_DEADLINE", "1h")]).await;
    let answers = json!([
        {"kind": "status", "http": 500}, {"kind": "raw", "http": 200, "body": "<h1>down</h1>"}, {"kind": "cut"},
        {"kind": "status", "http": 503, "repeat": "forever"}
    ]);
    own.vendor.control("POST", "/lists/script", Some(json!({"answers": answers}))).await;
    let mut keys = Vec::new();
    for index in 0..6 {
        keys.push(tracked_order(&own, Product::Mobile, 20.0 - f64::from(index), is("HANDLING")).await);
    }
    use_burst(&own).await;
    for number in 0..9 {
        poll(&own, &keys[number % 6]).await;
        next_permit(&own);
    }
    let (checks, lists) = vendor_calls(&own).await;
    assert!(lists == 3 && checks >= 5, "{checks} by id, {lists} pages");
    let usage = own.tracker.usage().await.unwrap();
    assert_eq!(usage.list(Product::Mobile).published_trouble.as_deref(), Some("list_unavailable"));
    for key in &keys {
        assert!(!own.stored(key).await.unlisted, "a failed page changes no order");
    }
    // Available again, the list is called again.
    own.vendor.control("DELETE", "/lists/script", None).await;
    own.tracker.clock.set(later(own.tracker.clock.now(), 400.0));
    use_burst(&own).await;
    for key in &keys {
        poll(&own, key).await;
        next_permit(&own);
    }
    assert_eq!(own.tracker.usage().await.unwrap().list(Product::Mobile).published_trouble, None);
    own.delete().await;
}

/// Sends, tracks and checks `count` orders of one timeline, created 1 s apart. All are parked afterwards.
async fn park(own: &IsolatedTracker, product: Product, count: u32, timeline: &Value) -> Vec<OrderKey> {
    let mut keys = Vec::new();
    for index in 0..count {
        keys.push(tracked_order(own, product, f64::from(60 - index), timeline.clone()).await);
    }
    use_burst(own).await;
    for key in &keys {
        poll(own, key).await;
    }
    for key in &keys {
        assert_eq!(own.stored(key).await.phase.as_str(), "parked", "{key}");
    }
    keys
}

#[tokio::test]
async fn a_recheck_checks_all_due_orders_with_one_call() {
    let own =
        IsolatedTracker::open("lists-recheck", &[SCARCE[0], SCARCE[1], ("RECHECK_UNCERTAIN", "1h")]).await;
    let timeline =
        json!([{"after_seconds": 0, "status": "UNKNOWN_ERROR"}, {"after_seconds": 90, "status": "REFUNDED"}]);
    let keys = park(&own, Product::Mobile, 30, &timeline).await;
    let (_, pages) = vendor_calls(&own).await;
    own.tracker.clock.set(later(own.tracker.clock.now(), 2.0 * 3600.0));
    let report = own.recheck(55).await;
    assert_eq!(
        (report.due, report.became_final, report.failed, report.not_permitted),
        (30, 30, 0, 0),
        "{report:?}"
    );
    assert_eq!(vendor_calls(&own).await, (0, pages + 1));
    for key in &keys {
        assert_eq!(event_types(&own, key).await, ["Order Tracked", "Order Uncertain", "Order Refunded"]);
    }
    assert_eq!(own.recheck(55).await.due, 0);
    own.delete().await;
}

#[tokio::test]
async fn queued_orders_are_checked_hourly_where_a_page_shows_many() {
    let own = IsolatedTracker::open("lists-hourly", &SCARCE).await;
    let keys = park(&own, Product::Internet, 12, &is("QUEUED")).await;
    let (checks, pages) = vendor_calls(&own).await;
    let retry_schedule = own.stored(&keys[0]).await.next_check_at;
    own.tracker.clock.set(later(own.tracker.clock.now(), 3700.0));
    let report = own.recheck(55).await;
    assert_eq!((report.due, report.checks, report.still_parked), (12, 12, 12), "{report:?}");
    assert_eq!(vendor_calls(&own).await, (checks, pages + 1), "one list check for all");
    assert_eq!(own.stored(&keys[0]).await.next_check_at, retry_schedule, "the retry schedule is unchanged");
    assert_eq!(own.recheck(55).await.due, 0, "due again in an hour");

    // Too few for a list check before any order is due by its own schedule.
    let own = {
        own.delete().await;
        IsolatedTracker::open("lists-few", &SCARCE).await
    };
    let keys = park(&own, Product::Internet, 4, &is("QUEUED")).await;
    let before = vendor_calls(&own).await;
    own.tracker.clock.set(later(own.tracker.clock.now(), 3700.0));
    let report = own.recheck(55).await;
    assert_eq!((report.due, report.checks), (4, 0), "{report:?}");
    assert_eq!(vendor_calls(&own).await, before);
    let item = own.table.item(&own.stack, &keys[0]).await;
    assert_eq!(item["due_at"], item["next_look_at"]);
    own.delete().await;
}

/// Two processes with separate memories: the second reads the first one's list check from the permits item.
#[tokio::test]
async fn a_list_check_in_progress_is_not_repeated_by_another_process() {
    let own = IsolatedTracker::open(
        "lists-twice",
        &[("VENDOR_CALLS_PER_MINUTE", "120"), ("VENDOR_CALLS_BURST", "20")],
    )
    .await;
    let mut keys = Vec::new();
    for index in 0..8 {
        keys.push(tracked_order(&own, Product::Mobile, 20.0 - f64::from(index), is("HANDLING")).await);
    }
    let slow = json!({"answers": [{"kind": "slow", "seconds": 5}]});
    own.vendor.control("POST", "/lists/script", Some(slow)).await;
    let other = own
        .table
        .tracker(
            &own.stack,
            &own.vendor,
            own.tracker.clock.clone(),
            &[("VENDOR_CALLS_PER_MINUTE", "120"), ("VENDOR_CALLS_BURST", "20")],
        )
        .await;
    let key = own.tracker.vault.secrets().vendor_key.fingerprint().clone();
    for _ in 0..3 {
        own.tracker.permits.acquire(&key, Class::Status, None).await.unwrap().unwrap();
    }
    let first = own.tracker.poll(&keys[0]);
    let second = async {
        e2e::wait_until("the first page", Duration::from_secs(10), async || {
            (vendor_calls(&own).await.1 == 1).then_some(())
        })
        .await;
        other.poll(&keys[1]).await
    };
    let (first, second) = tokio::join!(first, second);
    assert!(matches!(first.unwrap().unwrap().check, Check::Answered));
    assert!(
        matches!(second.unwrap().unwrap().check, Check::NotMade(_)),
        "a list check in progress covers all orders"
    );
    assert_eq!(vendor_calls(&own).await, (0, 1));
    own.delete().await;
}

/// The recheck's copy is stale: another trigger has claimed the order, and the recheck continues with the others.
#[tokio::test]
async fn a_recheck_skips_an_order_claimed_by_another_trigger() {
    let own =
        IsolatedTracker::open("lists-faster", &[SCARCE[0], SCARCE[1], ("RECHECK_UNCERTAIN", "1h")]).await;
    let keys = park(&own, Product::Mobile, 1, &is("UNKNOWN_ERROR")).await;
    own.tracker.clock.set(later(own.tracker.clock.now(), 2.0 * 3600.0));
    let before = vendor_calls(&own).await;
    let copy = own.stored(&keys[0]).await;
    assert!(own.tracker.store.claim(&copy, own.tracker.clock.now(), None).await.unwrap());
    own.tracker.clock.set(later(own.tracker.clock.now(), 1.0));
    let lists = own.tracker.lists.clone().unwrap();
    let outcome = own.tracker.check_best(&lists, &[copy], Trigger::Recheck).await.unwrap();
    let BatchOutcome::Made { orders: refreshed, .. } = outcome else { panic!("{outcome:?}") };
    assert!(matches!(refreshed[..], [Refreshed { check: Check::NotMade(_), .. }]), "{refreshed:?}");
    assert_eq!(vendor_calls(&own).await, before);
    let twice = [keys[0].clone(), keys[0].clone()];
    assert_eq!(own.tracker.store.load_many(&twice).await.unwrap().len(), 1, "duplicate keys are loaded once");
    own.delete().await;
}

#[tokio::test]
async fn a_429_of_a_list_turns_only_that_list_off() {
    let own = IsolatedTracker::open("lists-limited", &[SCARCE[0], SCARCE[1], ("POLL_DEADLINE", "1h")]).await;
    let answers =
        json!([{"kind": "status", "http": 429, "retry_after": 40}, {"kind": "status", "http": 429}]);
    own.vendor.control("POST", "/lists/script", Some(json!({"answers": answers}))).await;
    let mut keys = Vec::new();
    for index in 0..6 {
        keys.push(tracked_order(&own, Product::Mobile, 20.0 - f64::from(index), is("HANDLING")).await);
    }
    let begin = async || {
        use_burst(&own).await;
        poll(&own, &keys[0]).await;
        own.tracker.clock.now()
    };
    let off_for = async |since: Timestamp| {
        let usage = own.tracker.usage().await.unwrap();
        assert_eq!(
            (usage.paused_until, usage.refusals, usage.event_seq),
            (None, 0, 0),
            "the key is not paused"
        );
        let until = usage.list(Product::Mobile).off_until.unwrap();
        until.duration_since(since).as_secs()
    };
    let since = begin().await;
    assert_eq!((vendor_calls(&own).await, off_for(since).await), ((0, 1), 40));
    for key in keys.iter().cycle().take(10) {
        next_permit(&own);
        poll(&own, key).await;
    }
    let (checks, lists) = vendor_calls(&own).await;
    assert!(lists == 1 && checks >= 5, "{checks} by id, {lists} pages");
    // The list answers 429 again, now without Retry-After.
    own.tracker.clock.set(later(since, 41.0));
    let since = begin().await;
    assert_eq!((vendor_calls(&own).await.1, off_for(since).await), (2, 20));
    // The list answers 200.
    own.tracker.clock.set(later(since, 60.0));
    begin().await;
    assert_eq!(vendor_calls(&own).await.1, 3);
    assert_eq!(own.tracker.usage().await.unwrap().list(Product::Mobile), &ListTrust::default());
    own.delete().await;
}

/// Regression: three `403 API_DISABLED` answers of a list suspended the key although status checks succeeded.
#[tokio::test]
async fn a_list_that_refuses_the_key_does_not_stop_status_checks() {
    for refusal in [
        json!({"kind": "status", "http": 403, "code": "API_DISABLED", "repeat": "forever"}),
        json!({"kind": "status", "http": 401, "code": "INVALID_ACCESS_TOKEN", "repeat": "forever"}),
        json!({"kind": "status", "http": 429, "repeat": "forever"}),
    ] {
        let settings = [SCARCE[0], SCARCE[1], ("POLL_DEADLINE", "1h")];
        let own = IsolatedTracker::open("lists-refused", &settings).await;
        own.vendor.control("POST", "/lists/script", Some(json!({"answers": [refusal]}))).await;
        let mut keys = Vec::new();
        for index in 0..6 {
            keys.push(tracked_order(&own, Product::Mobile, 20.0 - f64::from(index), is("HANDLING")).await);
        }
        // Each is a new process that makes one list check and has no memory of earlier ones.
        for count in 1..=3 {
            let clock = own.tracker.clock.clone();
            let process = own.table.tracker(&own.stack, &own.vendor, clock, &settings).await;
            // A 429 turns the list off for 20 s.
            own.tracker.clock.set(later(own.tracker.clock.now(), 21.0));
            use_burst(&own).await;
            process.poll(&keys[0]).await.unwrap().unwrap();
            let usage = own.tracker.usage().await.unwrap();
            assert_eq!(
                (vendor_calls(&own).await, usage.list(Product::Mobile).failures),
                ((0, count), count as u32)
            );
            assert_eq!(
                (usage.refusals, usage.suspended_until, usage.paused_until),
                (0, None, None),
                "{refusal}"
            );
        }
        let usage = own.tracker.usage().await.unwrap();
        let off = usage.list(Product::Mobile);
        assert_eq!(off.published_trouble.as_deref(), Some("list_unavailable"), "{refusal}");
        assert_eq!(off.off_until.unwrap().duration_since(own.tracker.clock.now()).as_secs(), 300);
        assert_eq!(usage.event_seq, 1, "published once");
        let fingerprint = own.tracker.vault.secrets().vendor_key.fingerprint().clone();
        assert!(
            own.tracker.store.vendor_events(&fingerprint).await.unwrap().is_empty(),
            "no event is pending"
        );
        for _ in 0..6 {
            next_permit(&own);
            for key in &keys {
                poll(&own, key).await;
            }
        }
        assert_eq!(vendor_calls(&own).await, (6, 3), "{refusal}: status checks continue");
        assert_eq!(own.tracker.usage().await.unwrap().list(Product::Internet), &ListTrust::default());
        own.delete().await;
    }
}

#[tokio::test]
async fn the_probe_of_a_suspended_key_is_a_status_check() {
    let own = IsolatedTracker::open("lists-probe", &[SCARCE[0], SCARCE[1], ("POLL_DEADLINE", "1h")]).await;
    let mut keys = Vec::new();
    for index in 0..6 {
        keys.push(tracked_order(&own, Product::Mobile, 20.0 - f64::from(index), is("HANDLING")).await);
    }
    let key = own.tracker.vault.secrets().vendor_key.fingerprint().clone();
    let Ok(permit) = own.tracker.permits.acquire(&key, Class::Status, None).await.unwrap() else {
        panic!("no permit")
    };
    for _ in 0..3 {
        let refused = Verdict::Refused("ERR_AUTH".to_owned());
        own.tracker.permits.learn(&permit, &refused).await.unwrap();
    }
    let usage = own.tracker.usage().await.unwrap();
    let orders = own.tracker.store.load_many(&keys).await.unwrap();
    let lists = own.tracker.lists.clone().unwrap();
    own.tracker.clock.set(usage.suspended_until.unwrap());
    let outcome = own.tracker.check_best(&lists, &orders, Trigger::Poller).await.unwrap();
    assert!(matches!(&outcome, BatchOutcome::Made { orders: seen, .. } if seen.len() == 1), "{outcome:?}");
    assert_eq!(vendor_calls(&own).await, (1, 0));
    assert_eq!(own.tracker.usage().await.unwrap().suspended_until, None, "the probe was answered");
    own.delete().await;
}

/// Orders that await a card need status checks; these get at most half of a recheck's time.
#[tokio::test]
async fn orders_awaiting_cards_do_not_starve_list_checks() {
    let own = IsolatedTracker::open("lists-cards-late", &SCARCE).await;
    let mut late = Vec::new();
    for index in 0..20 {
        late.push(tracked_order(&own, Product::Internet, 300.0 - f64::from(index), is("FULFILLED")).await);
    }
    use_burst(&own).await;
    for key in &late {
        poll(&own, key).await;
    }
    for key in &late {
        let order = own.stored(key).await;
        assert!(order.phase.as_str() == "final" && order.card.is_none(), "{key}");
    }
    let mut queued = Vec::new();
    for index in 0..12 {
        queued.push(tracked_order(&own, Product::Internet, 60.0 - f64::from(index), is("QUEUED")).await);
    }
    for key in &queued {
        next_permit(&own);
        use_burst(&own).await;
        poll(&own, key).await;
        assert_eq!(own.stored(key).await.phase.as_str(), "parked", "{key}");
    }
    own.tracker.clock.set(later(own.tracker.clock.now(), 2.0 * 3600.0));
    let report = own.recheck(55).await;
    assert_eq!((report.due, report.still_parked), (32, 12), "{report:?}");
    assert!(report.checks > 12 && report.not_permitted > 0, "{report:?}");
    own.delete().await;
}
