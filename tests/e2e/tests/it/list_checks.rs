//! One call for everybody: pages of the vendor's lists, where calls are scarce. Each test has a table, a bus and a vendor of its own.

use std::time::{Duration, UNIX_EPOCH};

use e2e::{IsolatedTable, Sandbox, Stack};
use jiff::Timestamp;
use secrecy::ExposeSecret;
use serde_json::{Value, json};
use shared::{
    clock::Clock,
    order::{Order, OrderKey, Product, TrackedBy, Trigger},
    rate_limiter::{Class, ListTrust, Verdict},
    refresh::{BatchOutcome, Check, Counters, Refreshed, Tracker},
};

/// Twenty calls a minute: 3.1 s for each.
const SCARCE: [(&str, &str); 2] = [("VENDOR_CALLS_PER_MINUTE", "20"), ("VENDOR_CALLS_BURST", "1")];

fn later(start: Timestamp, seconds: f64) -> Timestamp {
    Timestamp::from_millisecond(start.as_millisecond() + (seconds * 1000.0) as i64).unwrap()
}

/// A shop of the test's own.
struct Shop {
    stack: Stack,
    place: IsolatedTable,
    vendor: Sandbox,
    tracker: Tracker,
}

impl Shop {
    async fn open(name: &str, settings: &[(&str, &str)]) -> Self {
        let stack = Stack::fast();
        let place = IsolatedTable::create(&stack, name).await;
        let vendor = Sandbox::own().await;
        let clock = Clock::fixed(Clock::System.now());
        let tracker = place.tracker(&stack, &vendor, clock, settings).await;
        Self { stack, place, vendor, tracker }
    }

    /// An order that was sent so many seconds ago, with its timeline from then on, and tracked from the same moment.
    async fn order(&self, product: Product, seconds_ago: f64, timeline: Value) -> OrderKey {
        let key = self.others(product, seconds_ago, timeline).await;
        let now = self.tracker.clock.now();
        self.tracker.clock.set(later(now, -seconds_ago));
        self.tracker.track(&key, None, TrackedBy::Put).await.unwrap();
        self.tracker.clock.set(now);
        key
    }

    /// The same, tracked by nobody.
    async fn others(&self, product: Product, seconds_ago: f64, timeline: Value) -> OrderKey {
        let sent_at = later(Clock::System.now(), -seconds_ago).to_string();
        let order = json!({"product": product, "sent_at": sent_at, "timeline": timeline, "number": "0665983439", "amount": 500});
        let answer = self.vendor.control("POST", "/orders", Some(order)).await;
        OrderKey { product, id: answer["id"].as_str().unwrap().parse().unwrap() }
    }

    /// Has the key used, so that calls are scarce, and waits until the next may be made.
    async fn get_busy(&self) {
        let key = self.tracker.vault.secrets().vendor_key.fingerprint().clone();
        let acquired = self.tracker.permits.acquire(&key, Class::Status, None).await.unwrap();
        assert!(acquired.is_ok(), "{acquired:?}");
        self.wait_for_leave();
    }

    fn wait_for_leave(&self) {
        self.tracker.clock.set(later(self.tracker.clock.now(), 3.3));
    }

    async fn poll(&self, key: &OrderKey) -> Check {
        self.tracker.poll(key).await.unwrap().unwrap().check
    }

    async fn recheck(&self) -> Counters {
        let now = self.tracker.clock.now().as_millisecond() as u64;
        let deadline = UNIX_EPOCH + Duration::from_millis(now + 55_000);
        recheck::handle(&self.tracker, deadline).await.unwrap()
    }

    async fn stored(&self, key: &OrderKey) -> Order {
        self.tracker.store.load(key).await.unwrap().unwrap()
    }

    async fn status(&self, key: &OrderKey) -> String {
        self.stored(key).await.facts.status.map(|status| status.as_str().to_owned()).unwrap_or_default()
    }

    async fn history(&self, key: &OrderKey) -> Vec<String> {
        let events = self.tracker.store.events_after(key, 0).await.unwrap();
        events.into_iter().map(|event| event.detail_type).collect()
    }

    /// How often the vendor was asked: by id, and for pages.
    async fn calls(&self) -> (u64, u64) {
        let of = async |kind: &str| {
            self.vendor.control("GET", &format!("/calls?endpoint_kind={kind}"), None).await["total"]
                .as_u64()
                .unwrap()
        };
        (of("check").await, of("list").await)
    }

    async fn close(self) {
        self.place.delete(&self.stack).await;
    }
}

fn is(status: &str) -> Value {
    json!([{"after_seconds": 0, "status": status}])
}

#[tokio::test]
async fn one_page_shows_everybody_whatever_its_order_and_whoever_lies_between() {
    for order in ["newest", "oldest", "shuffled"] {
        let shop = Shop::open("lists-everybody", &SCARCE).await;
        shop.vendor.control("POST", "/lists", Some(json!({"order": order}))).await;
        let mut keys = Vec::new();
        let statuses = ["PENDING", "HANDLING", "FULFILLED", "REFUNDED", "UNKNOWN_ERROR", "TELEPORTED"];
        for (index, status) in statuses.iter().cycle().take(18).enumerate() {
            keys.push((shop.order(Product::Mobile, 20.0 - index as f64 / 2.0, is(status)).await, *status));
            shop.others(Product::Mobile, 20.0 - index as f64 / 2.0, is("FULFILLED")).await;
        }
        shop.get_busy().await;
        assert!(matches!(shop.poll(&keys[0].0).await, Check::Answered));
        assert_eq!(shop.calls().await, (0, 1), "{order}: one call");
        for (key, status) in &keys {
            assert_eq!(shop.status(key).await, *status, "{order}");
            let stored = shop.stored(key).await;
            assert_eq!(
                (stored.published, stored.asked_at),
                (stored.seq, stored.checked_at),
                "all published, and fresh"
            );
            let expected: &[&str] = match *status {
                "FULFILLED" => &["Order Tracked", "Order Fulfilled"],
                "REFUNDED" => &["Order Tracked", "Order Refunded"],
                "UNKNOWN_ERROR" => &["Order Tracked", "Order Uncertain"],
                "TELEPORTED" => &["Order Tracked", "Order Needs Review"],
                _ => &["Order Tracked"],
            };
            assert_eq!(shop.history(key).await, expected, "{order}: {status}");
            // Pollers that find their order fresh make no call.
            assert!(matches!(shop.poll(key).await, Check::NotMade(_)), "{order}: {status}");
        }
        assert_eq!(shop.calls().await, (0, 1));
        shop.close().await;
    }
}

#[tokio::test]
async fn cards_of_a_list_are_sealed_like_any_other() {
    let shop = Shop::open("lists-cards", &SCARCE).await;
    let code = |index: u32| format!("5151-2323-{index:04}");
    let mut keys = Vec::new();
    for index in 0..5 {
        let card = json!({"card_code": code(index), "num_trans": "AT-1", "date_traitement": "2026-11-22"});
        let timeline = json!([{"after_seconds": 0, "status": "FULFILLED", "fields": card}]);
        keys.push(shop.order(Product::Internet, 20.0 - f64::from(index), timeline).await);
    }
    shop.get_busy().await;
    shop.poll(&keys[0]).await;
    assert_eq!(shop.calls().await, (0, 1));
    for (index, key) in keys.iter().enumerate() {
        let item = shop.place.item(&shop.stack, key).await;
        assert!(item.contains_key("card_ciphertext") && !format!("{item:?}").contains("5151"), "{key}");
        let events = shop.tracker.store.events_after(key, 0).await.unwrap();
        assert!(events.iter().all(|event| !event.detail.contains("5151-2323")), "{key}");
        let shown = shop.tracker.reveal_card(shop.stored(key).await).await.unwrap().unwrap();
        assert_eq!(shown.expose_secret(), code(index as u32));
    }
    shop.close().await;
}

#[tokio::test]
async fn an_order_missing_from_the_list_is_checked_by_id() {
    let shop = Shop::open("lists-hidden", &SCARCE).await;
    let mut keys = Vec::new();
    for index in 0..6 {
        keys.push(shop.order(Product::Mobile, 20.0 - f64::from(index), is("HANDLING")).await);
    }
    let hidden = keys[3].clone();
    shop.vendor.control("POST", "/lists", Some(json!({"hides": [hidden.id]}))).await;
    shop.get_busy().await;
    shop.poll(&keys[0]).await;
    let stored = shop.stored(&hidden).await;
    assert!(
        stored.unlisted && stored.checked_at.is_none() && stored.facts.status.is_none(),
        "not seen, and nothing is made of it"
    );
    shop.wait_for_leave();
    shop.poll(&hidden).await;
    assert_eq!(shop.calls().await, (1, 1));
    assert_eq!(shop.status(&hidden).await, "HANDLING");
    // Its creation time is known now: the list has another chance, and then it has none.
    assert!(!shop.stored(&hidden).await.unlisted);
    shop.wait_for_leave();
    shop.poll(&hidden).await;
    assert_eq!(shop.calls().await, (1, 2));
    assert!(shop.stored(&hidden).await.unlisted);
    for _ in 0..6 {
        shop.wait_for_leave();
        shop.poll(&hidden).await;
    }
    let (by_id, _) = shop.calls().await;
    assert!(by_id > 1, "pages for the others, and now and then a call for this one");
    assert!(shop.stored(&hidden).await.unlisted);
    // Shown again, it is one of all.
    shop.vendor.control("DELETE", "/lists", None).await;
    for _ in 0..4 {
        shop.wait_for_leave();
        shop.poll(&keys[0]).await;
    }
    assert!(!shop.stored(&hidden).await.unlisted);
    shop.close().await;
}

#[tokio::test]
async fn a_list_that_shows_other_times_is_noticed_said_once_and_not_asked_again() {
    for compares in ["day", "nothing"] {
        let shop = Shop::open("lists-times", &SCARCE).await;
        shop.vendor.control("POST", "/lists", Some(json!({"compares": compares}))).await;
        shop.others(Product::Mobile, 3600.0, is("FULFILLED")).await;
        let mut keys = Vec::new();
        for index in 0..6 {
            keys.push(shop.order(Product::Mobile, 20.0 - f64::from(index), is("HANDLING")).await);
        }
        shop.get_busy().await;
        for key in &keys {
            shop.poll(key).await;
            shop.wait_for_leave();
        }
        let (checks, lists) = shop.calls().await;
        assert!(lists == 1 && checks >= 1, "{compares}: {checks} by id, {lists} pages");
        let fingerprint = shop.tracker.vault.secrets().vendor_key.fingerprint().clone();
        let usage = shop.tracker.usage().await.unwrap();
        assert_eq!(usage.list(Product::Mobile).said.as_deref(), Some("list_filter_ignored"));
        assert_eq!(usage.list(Product::Internet).said, None, "the other list has done nothing");
        assert_eq!(usage.event_seq, 1, "said once");
        assert!(shop.tracker.store.vendor_events(&fingerprint).await.unwrap().is_empty(), "and published");
        // What it showed is true all the same.
        assert_eq!(shop.status(&keys[0]).await, "HANDLING");
        shop.close().await;
    }
}

#[tokio::test]
async fn a_list_that_fails_again_and_again_is_left_alone_for_a_while() {
    let shop = Shop::open("lists-fails", &[SCARCE[0], SCARCE[1], ("POLL_DEADLINE", "1h")]).await;
    let answers = json!([
        {"kind": "status", "http": 500}, {"kind": "raw", "http": 200, "body": "<h1>down</h1>"}, {"kind": "cut"},
        {"kind": "status", "http": 503, "repeat": "forever"}
    ]);
    shop.vendor.control("POST", "/lists/script", Some(json!({"answers": answers}))).await;
    let mut keys = Vec::new();
    for index in 0..6 {
        keys.push(shop.order(Product::Mobile, 20.0 - f64::from(index), is("HANDLING")).await);
    }
    shop.get_busy().await;
    for round in 0..9 {
        shop.poll(&keys[round % 6]).await;
        shop.wait_for_leave();
    }
    let (checks, lists) = shop.calls().await;
    assert!(lists == 3 && checks >= 5, "{checks} by id, {lists} pages");
    let usage = shop.tracker.usage().await.unwrap();
    assert_eq!(usage.list(Product::Mobile).said.as_deref(), Some("list_unavailable"));
    for key in &keys {
        assert!(!shop.stored(key).await.unlisted, "a page that failed says nothing about an order");
    }
    // Well again, it is asked again.
    shop.vendor.control("DELETE", "/lists/script", None).await;
    shop.tracker.clock.set(later(shop.tracker.clock.now(), 400.0));
    shop.get_busy().await;
    for key in &keys {
        shop.poll(key).await;
        shop.wait_for_leave();
    }
    assert_eq!(shop.tracker.usage().await.unwrap().list(Product::Mobile).said, None);
    shop.close().await;
}

/// Parks `count` orders as the vendor says, a second of creation time apart.
async fn park(shop: &Shop, product: Product, count: u32, timeline: &Value) -> Vec<OrderKey> {
    let mut keys = Vec::new();
    for index in 0..count {
        keys.push(shop.order(product, f64::from(60 - index), timeline.clone()).await);
    }
    shop.get_busy().await;
    for key in &keys {
        shop.poll(key).await;
    }
    for key in &keys {
        assert_eq!(shop.stored(key).await.phase.as_str(), "parked", "{key}");
    }
    keys
}

#[tokio::test]
async fn a_recheck_checks_all_due_orders_with_one_call() {
    let shop = Shop::open("lists-recheck", &[SCARCE[0], SCARCE[1], ("RECHECK_UNCERTAIN", "1h")]).await;
    // The first order was sent 60 s ago: all of them are to be parked within the next 30.
    let timeline =
        json!([{"after_seconds": 0, "status": "UNKNOWN_ERROR"}, {"after_seconds": 90, "status": "REFUNDED"}]);
    let keys = park(&shop, Product::Mobile, 30, &timeline).await;
    let (_, pages) = shop.calls().await;
    for key in &keys {
        e2e::wait_until("the vendor's outcome", Duration::from_secs(60), async || {
            (shop.vendor.truth(key.id.as_str()).await["status"] == "REFUNDED").then_some(())
        })
        .await;
    }
    shop.tracker.clock.set(later(shop.tracker.clock.now(), 2.0 * 3600.0));
    let report = shop.recheck().await;
    assert_eq!(
        (report.due, report.became_final, report.failed, report.not_permitted),
        (30, 30, 0, 0),
        "{report:?}"
    );
    assert_eq!(shop.calls().await, (0, pages + 1));
    for key in &keys {
        assert_eq!(shop.history(key).await, ["Order Tracked", "Order Uncertain", "Order Refunded"]);
    }
    assert_eq!(shop.recheck().await.due, 0);
    shop.close().await;
}

#[tokio::test]
async fn queued_orders_are_checked_hourly_where_a_page_shows_many() {
    let shop = Shop::open("lists-hourly", &SCARCE).await;
    let keys = park(&shop, Product::Internet, 12, &is("QUEUED")).await;
    let (checks, pages) = shop.calls().await;
    let retry_schedule = shop.stored(&keys[0]).await.next_check_at;
    shop.tracker.clock.set(later(shop.tracker.clock.now(), 3700.0));
    let report = shop.recheck().await;
    assert_eq!((report.due, report.checks, report.still_parked), (12, 12, 12), "{report:?}");
    assert_eq!(shop.calls().await, (checks, pages + 1), "one call for all");
    assert_eq!(
        shop.stored(&keys[0]).await.next_check_at,
        retry_schedule,
        "its own retry schedule stays where it is"
    );
    assert_eq!(shop.recheck().await.due, 0, "for an hour");

    // Too few for a call that no order's retry schedule wants: they wait for their own turn.
    let shop = {
        shop.close().await;
        Shop::open("lists-few", &SCARCE).await
    };
    let keys = park(&shop, Product::Internet, 4, &is("QUEUED")).await;
    let before = shop.calls().await;
    shop.tracker.clock.set(later(shop.tracker.clock.now(), 3700.0));
    let report = shop.recheck().await;
    assert_eq!((report.due, report.checks), (4, 0), "{report:?}");
    assert_eq!(shop.calls().await, before);
    let item = shop.place.item(&shop.stack, &keys[0]).await;
    assert_eq!(item["due_at"], item["next_look_at"]);
    shop.close().await;
}

/// Two processes that do not know of each other: the second finds the first's page on record and asks for something else.
#[tokio::test]
async fn nobody_asks_for_a_page_that_somebody_else_is_asking_for() {
    let shop =
        Shop::open("lists-twice", &[("VENDOR_CALLS_PER_MINUTE", "120"), ("VENDOR_CALLS_BURST", "20")]).await;
    let mut keys = Vec::new();
    for index in 0..8 {
        keys.push(shop.order(Product::Mobile, 20.0 - f64::from(index), is("HANDLING")).await);
    }
    let slow = json!({"answers": [{"kind": "slow", "seconds": 5}]});
    shop.vendor.control("POST", "/lists/script", Some(slow)).await;
    let other = shop
        .place
        .tracker(
            &shop.stack,
            &shop.vendor,
            shop.tracker.clock.clone(),
            &[("VENDOR_CALLS_PER_MINUTE", "120"), ("VENDOR_CALLS_BURST", "20")],
        )
        .await;
    let key = shop.tracker.vault.secrets().vendor_key.fingerprint().clone();
    for _ in 0..3 {
        shop.tracker.permits.acquire(&key, Class::Status, None).await.unwrap().unwrap();
    }
    let first = shop.tracker.poll(&keys[0]);
    let second = async {
        e2e::wait_until("the first page", Duration::from_secs(10), async || {
            (shop.calls().await.1 == 1).then_some(())
        })
        .await;
        other.poll(&keys[1]).await
    };
    let (first, second) = tokio::join!(first, second);
    assert!(matches!(first.unwrap().unwrap().check, Check::Answered));
    assert!(matches!(second.unwrap().unwrap().check, Check::NotMade(_)), "everything was just asked for");
    assert_eq!(shop.calls().await, (0, 1));
    shop.close().await;
}

/// An order of which a recheck's copy is a moment old: whoever was faster sees to it, and the recheck goes on with the others.
#[tokio::test]
async fn a_recheck_leaves_an_order_to_a_faster_trigger() {
    let shop = Shop::open("lists-faster", &[SCARCE[0], SCARCE[1], ("RECHECK_UNCERTAIN", "1h")]).await;
    let keys = park(&shop, Product::Mobile, 1, &is("UNKNOWN_ERROR")).await;
    shop.tracker.clock.set(later(shop.tracker.clock.now(), 2.0 * 3600.0));
    let before = shop.calls().await;
    let copy = shop.stored(&keys[0]).await;
    assert!(shop.tracker.store.claim(&copy, shop.tracker.clock.now(), None).await.unwrap());
    shop.tracker.clock.set(later(shop.tracker.clock.now(), 1.0));
    let lists = shop.tracker.lists.clone().unwrap();
    let round = shop.tracker.check_best(&lists, &[copy], Trigger::Recheck).await.unwrap();
    let BatchOutcome::Made { orders: seen_to, .. } = round else { panic!("{round:?}") };
    assert!(matches!(seen_to[..], [Refreshed { check: Check::NotMade(_), .. }]), "{seen_to:?}");
    assert_eq!(shop.calls().await, before);
    let twice = [keys[0].clone(), keys[0].clone()];
    assert_eq!(shop.tracker.store.load_many(&twice).await.unwrap().len(), 1, "named twice");
    shop.close().await;
}

#[tokio::test]
async fn a_list_that_alone_is_limited_is_left_alone_for_as_long_as_the_vendor_says() {
    let shop = Shop::open("lists-limited", &[SCARCE[0], SCARCE[1], ("POLL_DEADLINE", "1h")]).await;
    let answers =
        json!([{"kind": "status", "http": 429, "retry_after": 40}, {"kind": "status", "http": 429}]);
    shop.vendor.control("POST", "/lists/script", Some(json!({"answers": answers}))).await;
    let mut keys = Vec::new();
    for index in 0..6 {
        keys.push(shop.order(Product::Mobile, 20.0 - f64::from(index), is("HANDLING")).await);
    }
    let begin = async || {
        shop.get_busy().await;
        shop.poll(&keys[0]).await;
        shop.tracker.clock.now()
    };
    let off_for = async |since: Timestamp| {
        let usage = shop.tracker.usage().await.unwrap();
        assert_eq!((usage.paused_until, usage.refusals, usage.event_seq), (None, 0, 0), "nobody else waits");
        let until = usage.list(Product::Mobile).off_until.unwrap();
        until.duration_since(since).as_secs()
    };
    let since = begin().await;
    assert_eq!((shop.calls().await, off_for(since).await), ((0, 1), 40));
    for key in keys.iter().cycle().take(10) {
        shop.wait_for_leave();
        shop.poll(key).await;
    }
    let (checks, lists) = shop.calls().await;
    assert!(lists == 1 && checks >= 5, "{checks} by id, {lists} pages");
    // It is asked again, and limited again, without a word for how long.
    shop.tracker.clock.set(later(since, 41.0));
    let since = begin().await;
    assert_eq!((shop.calls().await.1, off_for(since).await), (2, 20));
    // Well again.
    shop.tracker.clock.set(later(since, 60.0));
    begin().await;
    assert_eq!(shop.calls().await.1, 3);
    assert_eq!(shop.tracker.usage().await.unwrap().list(Product::Mobile), &ListTrust::default());
    shop.close().await;
}

/// Findings, 3: three answers `403 API_DISABLED` of a list suspended the key, though single checks were well.
#[tokio::test]
async fn a_list_that_alone_refuses_the_key_costs_no_single_check() {
    for refusal in [
        json!({"kind": "status", "http": 403, "code": "API_DISABLED", "repeat": "forever"}),
        json!({"kind": "status", "http": 401, "code": "INVALID_ACCESS_TOKEN", "repeat": "forever"}),
        json!({"kind": "status", "http": 429, "repeat": "forever"}),
    ] {
        let settings = [SCARCE[0], SCARCE[1], ("POLL_DEADLINE", "1h")];
        let shop = Shop::open("lists-refused", &settings).await;
        shop.vendor.control("POST", "/lists/script", Some(json!({"answers": [refusal]}))).await;
        let mut keys = Vec::new();
        for index in 0..6 {
            keys.push(shop.order(Product::Mobile, 20.0 - f64::from(index), is("HANDLING")).await);
        }
        // Each asks for one page, and has never heard of the others.
        for count in 1..=3 {
            let clock = shop.tracker.clock.clone();
            let process = shop.place.tracker(&shop.stack, &shop.vendor, clock, &settings).await;
            // A limit turns it off at once: until it may be asked again.
            shop.tracker.clock.set(later(shop.tracker.clock.now(), 21.0));
            shop.get_busy().await;
            process.poll(&keys[0]).await.unwrap().unwrap();
            let usage = shop.tracker.usage().await.unwrap();
            assert_eq!(
                (shop.calls().await, usage.list(Product::Mobile).failures),
                ((0, count), count as u32)
            );
            assert_eq!(
                (usage.refusals, usage.suspended_until, usage.paused_until),
                (0, None, None),
                "{refusal}"
            );
        }
        let usage = shop.tracker.usage().await.unwrap();
        let off = usage.list(Product::Mobile);
        assert_eq!(off.said.as_deref(), Some("list_unavailable"), "{refusal}");
        assert_eq!(off.off_until.unwrap().duration_since(shop.tracker.clock.now()).as_secs(), 300);
        assert_eq!(usage.event_seq, 1, "said once");
        let fingerprint = shop.tracker.vault.secrets().vendor_key.fingerprint().clone();
        assert!(shop.tracker.store.vendor_events(&fingerprint).await.unwrap().is_empty(), "and published");
        for _ in 0..6 {
            shop.wait_for_leave();
            for key in &keys {
                shop.poll(key).await;
            }
        }
        assert_eq!(shop.calls().await, (6, 3), "{refusal}: single checks go on");
        assert_eq!(shop.tracker.usage().await.unwrap().list(Product::Internet), &ListTrust::default());
        shop.close().await;
    }
}

#[tokio::test]
async fn the_probe_of_a_suspended_key_is_a_single_check() {
    let shop = Shop::open("lists-probe", &[SCARCE[0], SCARCE[1], ("POLL_DEADLINE", "1h")]).await;
    let mut keys = Vec::new();
    for index in 0..6 {
        keys.push(shop.order(Product::Mobile, 20.0 - f64::from(index), is("HANDLING")).await);
    }
    let key = shop.tracker.vault.secrets().vendor_key.fingerprint().clone();
    let Ok(permit) = shop.tracker.permits.acquire(&key, Class::Status, None).await.unwrap() else {
        panic!("no leave")
    };
    for _ in 0..3 {
        let refused = Verdict::Refused("ERR_AUTH".to_owned());
        shop.tracker.permits.learn(&permit, &refused).await.unwrap();
    }
    let usage = shop.tracker.usage().await.unwrap();
    let orders = shop.tracker.store.load_many(&keys).await.unwrap();
    let lists = shop.tracker.lists.clone().unwrap();
    shop.tracker.clock.set(usage.suspended_until.unwrap());
    let round = shop.tracker.check_best(&lists, &orders, Trigger::Poller).await.unwrap();
    assert!(matches!(&round, BatchOutcome::Made { orders: seen, .. } if seen.len() == 1), "{round:?}");
    assert_eq!(shop.calls().await, (1, 0));
    assert_eq!(shop.tracker.usage().await.unwrap().suspended_until, None, "the check was answered");
    shop.close().await;
}

/// Orders that await their cards are checked one by one, however many: they have half of a recheck.
#[tokio::test]
async fn orders_that_await_cards_leave_time_for_those_that_a_page_shows() {
    let shop = Shop::open("lists-cards-late", &SCARCE).await;
    let mut late = Vec::new();
    for index in 0..20 {
        late.push(shop.order(Product::Internet, 300.0 - f64::from(index), is("FULFILLED")).await);
    }
    shop.get_busy().await;
    for key in &late {
        shop.poll(key).await;
    }
    for key in &late {
        let order = shop.stored(key).await;
        assert!(order.phase.as_str() == "final" && order.card.is_none(), "{key}");
    }
    let mut queued = Vec::new();
    for index in 0..12 {
        queued.push(shop.order(Product::Internet, 60.0 - f64::from(index), is("QUEUED")).await);
    }
    for key in &queued {
        shop.wait_for_leave();
        shop.get_busy().await;
        shop.poll(key).await;
        assert_eq!(shop.stored(key).await.phase.as_str(), "parked", "{key}");
    }
    shop.tracker.clock.set(later(shop.tracker.clock.now(), 2.0 * 3600.0));
    let report = shop.recheck().await;
    assert_eq!((report.due, report.still_parked), (32, 12), "{report:?}");
    assert!(report.checks > 12 && report.not_permitted > 0, "{report:?}");
    shop.close().await;
}
