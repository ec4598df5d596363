//! The feed: a reader with a cursor gets every event, in one order, whatever the writers do.

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use e2e::{Answer, Gate, IsolatedTable, Passage, Request, Stack, TestBed, wait_until};
use futures_util::{
    StreamExt,
    future::{BoxFuture, join_all},
    stream,
};
use serde_json::Value;
use shared::{
    clock::Clock,
    order::{OrderKey, Product, TrackedBy, Trigger},
    rate_limiter::{Class, Verdict},
    refresh::Tracker,
    store::{FEED_LAG, FeedCursor},
    time::later,
};
use tokio::sync::Notify;
use wiremock::{Mock, MockServer, ResponseTemplate, matchers::any};

/// A vendor that refunds every order.
async fn refunding_vendor() -> MockServer {
    let server = MockServer::start().await;
    let answer = |request: &wiremock::Request| {
        let id = request.url.path_segments().unwrap().next_back().unwrap();
        let body = serde_json::json!({"success": true, "data": {"_id": id, "status": "REFUNDED"}});
        ResponseTemplate::new(200).set_body_json(body)
    };
    Mock::given(any()).respond_with(answer).mount(&server).await;
    server
}

fn order(name: &str) -> OrderKey {
    OrderKey { product: Product::Mobile, id: name.parse().unwrap() }
}

/// A reader of the feed.
struct Reader {
    tracker: Tracker,
    cursor: FeedCursor,
    /// `event_id` of each event that it got.
    got: Vec<String>,
}

impl Reader {
    fn new(tracker: &Tracker) -> Self {
        Self { tracker: tracker.clone(), cursor: FeedCursor::start(), got: Vec::new() }
    }

    /// Reads pages of `limit` events until one is empty. Panics if a page is not ascending, or not the same when it is
    /// read again.
    async fn read(&mut self, limit: u32) {
        loop {
            let now = self.tracker.clock.now();
            let until = FeedCursor::reached(now);
            let page = self.tracker.store.feed_page(&self.cursor, limit, &until).await.unwrap();
            assert!(page.next >= self.cursor, "the feed went back");
            if page.events.is_empty() {
                return;
            }
            assert!(page.next > self.cursor && page.next < until);
            self.cursor = page.next;
            self.got.extend(page.events.iter().map(|event| {
                let detail: Value = serde_json::from_str(event.detail.get()).unwrap();
                detail["event_id"].as_str().unwrap().to_owned()
            }));
        }
    }

    /// The numbers of an order's events, in the order in which they came.
    fn numbers(&self, order: &OrderKey) -> Vec<u32> {
        let of_order = self.got.iter().filter_map(|id| id.rsplit_once('#'));
        of_order
            .filter(|(about, _)| *about == order.to_string())
            .map(|(_, seq)| seq.parse().unwrap())
            .collect()
    }
}

#[tokio::test]
async fn a_reader_gets_all_events_of_many_writers_in_order() {
    const WRITERS: usize = 4;
    const ORDERS: usize = 80;
    let stack = Stack::fast();
    let vendor = refunding_vendor().await;
    let place = IsolatedTable::create(&stack, "feed-many").await;
    let settings = [
        ("ONECLICKDZ_BASE_URL", vendor.uri()),
        ("ONECLICKDZ_API_KEY", "own-key".to_owned()),
        ("LIST_CHECKS", "off".to_owned()),
        ("VENDOR_CALLS_PER_MINUTE", "6000".to_owned()),
        ("VENDOR_CALLS_BURST", "1000".to_owned()),
        ("POLL_SCHEDULE_MOBILE", "1s".to_owned()),
    ];
    let settings = settings.each_ref().map(|(name, value)| (*name, value.as_str()));
    // Real time: the lag must be enough for this machine.
    let trackers = join_all((0..WRITERS).map(|_| place.tracker_with(&stack, Clock::System, &settings))).await;
    let orders: Vec<_> = (0..ORDERS).map(|number| order(&format!("many-{number}"))).collect();
    let writes = async {
        let writes = orders.iter().enumerate().map(async |(number, key)| {
            let [one, other] = [number, number + 1].map(|writer| &trackers[writer % WRITERS]);
            one.track(key, None, TrackedBy::Poller).await.unwrap();
            wait_until("the outcome", Duration::from_secs(60), async || {
                let refreshed = other.refresh(key, Trigger::Poller).await.unwrap().unwrap();
                (refreshed.order.phase.as_str() == "final").then_some(())
            })
            .await;
        });
        stream::iter(writes).buffer_unordered(16).collect::<Vec<()>>().await;
    };
    let mut reader = Reader::new(&trackers[0]);
    let reads = async {
        let all: BTreeSet<_> =
            orders.iter().flat_map(|order| [1, 2].map(|seq| format!("{order}#{seq}"))).collect();
        while !all.is_subset(&reader.got.iter().cloned().collect()) {
            reader.read(7).await;
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    };
    let all = async { tokio::join!(writes, reads) };
    tokio::time::timeout(Duration::from_secs(240), all).await.expect("not all events came");
    for order in &orders {
        // If this machine is slow, an event can come again, later.
        assert_eq!(reader.numbers(order)[0], 1, "{order}: {:?}", reader.numbers(order));
    }
    let twice = reader.got.len() - 2 * ORDERS;
    println!("{} events, {twice} of them came twice", reader.got.len());
    // From the same place, the same events.
    let (mut one, mut other) = (Reader::new(&trackers[1]), Reader::new(&trackers[2]));
    one.read(100).await;
    other.read(3).await;
    assert_eq!(one.got, other.got);
    assert_eq!(one.got.len(), 2 * ORDERS, "the index has each event once");
    assert!(orders.iter().all(|order| one.numbers(order) == [1, 2]));
    place.delete(&stack).await;
}

/// Holds the transactions until it is told to go on. Then lets them through and, if it kills, their answers never
/// arrive.
#[derive(Debug, Default)]
struct Hold {
    kills: bool,
    is_held: AtomicBool,
    go_on: Notify,
}

impl Gate for Hold {
    fn before<'a>(&'a self, request: &'a Request) -> BoxFuture<'a, Passage> {
        Box::pin(async {
            if request.operation == "TransactWriteItems" {
                self.is_held.store(true, Ordering::SeqCst);
                self.go_on.notified().await;
            }
            Passage::Forward
        })
    }

    fn after<'a>(&'a self, request: &'a Request, _: &'a Answer) -> BoxFuture<'a, ()> {
        Box::pin(async {
            if self.kills && request.operation == "TransactWriteItems" {
                self.is_held.store(false, Ordering::SeqCst);
                std::future::pending::<()>().await;
            }
        })
    }
}

#[tokio::test]
async fn a_commit_that_takes_longer_than_the_lag_reaches_the_reader() {
    let stack = Stack::fast();
    let place = IsolatedTable::create(&stack, "feed-late").await;
    let bed = TestBed::open(&stack, &place).await;
    for kills in [false, true] {
        let clock = Clock::fixed(Clock::System.now());
        let hold = Arc::new(Hold { kills, ..Hold::default() });
        let gate: Arc<dyn Gate> = hold.clone();
        let slow = bed.tracker(&gate, clock.clone(), "own-key", &[]).await;
        let open: Arc<dyn Gate> = Arc::new(Open);
        let quick = bed.tracker(&open, clock.clone(), "own-key", &[]).await;
        let mut reader = Reader::new(&quick);

        let (late, other) = (order(&format!("late-{kills}")), order(&format!("other-{kills}")));
        let key = late.clone();
        let commit = tokio::spawn(async move { slow.track(&key, None, TrackedBy::Put).await.unwrap() });
        wait_until("the transaction", Duration::from_secs(20), async || {
            hold.is_held.load(Ordering::SeqCst).then_some(())
        })
        .await;
        // Another order overtakes it, and the reader passes the moment of the late event.
        clock.set(later(clock.now(), Duration::from_secs(1)));
        quick.track(&other, None, TrackedBy::Put).await.unwrap();
        clock.set(later(clock.now(), FEED_LAG * 2));
        reader.read(100).await;
        assert_eq!((reader.numbers(&other), reader.numbers(&late)), (vec![1], vec![]));

        hold.go_on.notify_one();
        if kills {
            wait_until("the answer", Duration::from_secs(20), async || {
                (!hold.is_held.load(Ordering::SeqCst)).then_some(())
            })
            .await;
            commit.abort();
            reader.read(100).await;
            assert!(reader.numbers(&late).is_empty(), "the reader has passed it");
            clock.set(later(clock.now(), Duration::from_secs(30)));
            quick.refresh(&late, Trigger::Recheck).await.unwrap().unwrap();
        } else {
            commit.await.unwrap();
        }
        clock.set(later(clock.now(), FEED_LAG));
        reader.read(100).await;
        assert!(reader.numbers(&late).is_empty(), "not before the lag");
        clock.set(later(clock.now(), Duration::from_millis(1)));
        reader.read(100).await;
        assert_eq!((reader.numbers(&late), reader.numbers(&other)), (vec![1], vec![1]));
        assert_eq!(bed.published(&late).len(), 1);
    }
    place.delete(&stack).await;
}

/// Lets everything through; the vendor fails.
#[derive(Debug)]
struct Open;

impl Gate for Open {
    fn before<'a>(&'a self, request: &'a Request) -> BoxFuture<'a, Passage> {
        let fails = Answer { status: 500, text: String::new() };
        let is_vendor = request.operation == "check-id";
        Box::pin(std::future::ready(if is_vendor { Passage::Answered(fails) } else { Passage::Forward }))
    }

    fn after<'a>(&'a self, _: &'a Request, _: &'a Answer) -> BoxFuture<'a, ()> {
        Box::pin(std::future::ready(()))
    }
}

/// A table in which listing an event takes 100 ms.
#[derive(Debug)]
struct SlowListing(Clock);

impl Gate for SlowListing {
    fn before<'a>(&'a self, request: &'a Request) -> BoxFuture<'a, Passage> {
        if request.operation == "UpdateItem" && request.text.contains("feed_at") {
            self.0.set(later(self.0.now(), Duration::from_millis(100)));
        }
        Box::pin(std::future::ready(Passage::Forward))
    }

    fn after<'a>(&'a self, _: &'a Request, _: &'a Answer) -> BoxFuture<'a, ()> {
        Box::pin(std::future::ready(()))
    }
}

/// Listing all of them at once would take longer than a stamp may be old, each time anew.
#[tokio::test]
async fn an_outbox_of_many_events_is_published() {
    const EVENTS: u32 = 26;
    let stack = Stack::fast();
    let place = IsolatedTable::create(&stack, "feed-outbox").await;
    let bed = TestBed::open(&stack, &place).await;
    let clock = Clock::fixed(Clock::System.now());
    let slow: Arc<dyn Gate> = Arc::new(SlowListing(clock.clone()));
    let tracker = bed.tracker(&slow, clock.clone(), "own-key", &[]).await;
    let key = order("outbox");
    let (_, before) = tracker.track(&key, None, TrackedBy::Poller).await.unwrap();
    let (mut after, mut events) = (before.clone(), Vec::new());
    for _ in 1..EVENTS {
        let decision = after.card_revealed(clock.now());
        after = decision.order;
        events.extend(decision.events);
    }
    // The process dies before it publishes them.
    tracker.store.commit(&before, after, &events, Some(clock.now())).await.unwrap();
    clock.set(later(clock.now(), Duration::from_secs(30)));
    tracker.refresh(&key, Trigger::Recheck).await.unwrap();
    assert_eq!(bed.published(&key).len(), EVENTS as usize);
    let mut reader = Reader::new(&tracker);
    clock.set(later(clock.now(), FEED_LAG * 2));
    reader.read(100).await;
    assert_eq!(reader.numbers(&key), (1..=EVENTS).collect::<Vec<_>>());
    place.delete(&stack).await;
}

#[tokio::test]
async fn events_about_a_key_are_in_the_feed() {
    let stack = Stack::fast();
    let place = IsolatedTable::create(&stack, "feed-key").await;
    let bed = TestBed::open(&stack, &place).await;
    let clock = Clock::fixed(Clock::System.now());
    let open: Arc<dyn Gate> = Arc::new(Open);
    let tracker = bed.tracker(&open, clock.clone(), "refused-key", &[]).await;
    let key = tracker.vault.secrets().vendor_key.fingerprint().clone();
    let refused = Verdict::Refused("ERR_AUTH".to_owned());
    for _ in 0..3 {
        let permit = tracker.permits.acquire(&key, Class::Poller, None).await.unwrap().unwrap();
        tracker.permits.learn(&permit, &refused).await.unwrap();
        clock.set(later(clock.now(), Duration::from_secs(2)));
    }
    // Not published yet: the process died. A recheck publishes it.
    clock.set(later(clock.now(), FEED_LAG * 2));
    let mut reader = Reader::new(&tracker);
    reader.read(100).await;
    assert!(reader.got.is_empty());
    assert_eq!(tracker.publish_key(&key).await.unwrap(), (1, None));
    clock.set(later(clock.now(), FEED_LAG + Duration::from_millis(1)));
    reader.read(100).await;
    assert_eq!(reader.got, [format!("vendor/{key}#1")]);
    // It can be sent to the shop again.
    let event = tracker.store.vendor_event(&key.to_string(), 1).await.unwrap().unwrap();
    assert_eq!(event.detail_type, "Vendor Suspended");
    tracker.publisher.resend((&event).into()).await.unwrap();
    assert!(tracker.store.vendor_event(&key.to_string(), 2).await.unwrap().is_none());
    place.delete(&stack).await;
}

/// The deployed API. Other tests write to this table: only the own order counts.
#[tokio::test]
async fn the_api_shows_an_orders_events_as_its_history_does() {
    let stack = Stack::express();
    let page = async |query: String| {
        let (status, _, text) = stack.request("GET", &format!("/events?{query}"), None).await;
        (status, serde_json::from_str::<Value>(&text).unwrap())
    };
    let (_, latest) = page("after=latest".to_owned()).await;
    let start = latest["next"].as_str().unwrap().to_owned();
    let id = stack.sandbox.send_mobile("0600000001").await;
    let order = stack.order("mobile", &id);
    order.track().await;
    order.wait_for("Order Refunded", 60).await;
    let history = order.history().await;
    let until_refunded = async |types: &str| {
        let mut after = start.clone();
        let mut got: Vec<Value> = Vec::new();
        while !got.iter().any(|event| event["detail_type"] == "Order Refunded") {
            let (status, answer) = page(format!("after={after}&wait=5{types}")).await;
            assert_eq!(status, 200, "{answer}");
            for event in answer["events"].as_array().unwrap() {
                // An event can come twice.
                if event["order"]["id"] == id.as_str() && !got.contains(event) {
                    got.push(event.clone());
                }
            }
            after = answer["next"].as_str().unwrap().to_owned();
        }
        got
    };
    let outcome = history.iter().filter(|event| event["detail_type"] == "Order Refunded");
    let outcome: Vec<_> = outcome.cloned().collect();
    for (types, wanted) in [("", &history), ("&types=Order+Refunded", &outcome)] {
        let got = tokio::time::timeout(Duration::from_secs(120), until_refunded(types)).await;
        assert_eq!(&got.expect("the events did not come"), wanted, "{types}");
    }
    for (query, field) in
        [("after=x", "after"), ("types=x", "types"), ("wait=60", "wait"), ("limit=0", "limit")]
    {
        let (status, problem) = page(query.to_owned()).await;
        assert_eq!((status, &problem["field"]), (400, &field.into()), "{query}");
    }
}
