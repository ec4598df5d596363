//! The operator's lists and reviews, over the deployed API: found, checked again with a reason, settled by the vendor, closed.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex},
    time::{Duration, UNIX_EPOCH},
};

use e2e::{IsolatedTable, IsolatedTracker, Stack, wait_until};
use futures_util::future::join;
use serde_json::{Value, json};
use shared::{
    clock::Clock,
    order::{OrderKey, Product, ReviewAct, ReviewAction, TrackedBy, Trigger},
    refresh::Tracker,
    store::{InPhase, OrderList},
    time::later,
};
use wiremock::{Mock, MockServer, ResponseTemplate, matchers::any};

const LIMIT: Duration = Duration::from_secs(60);

/// The ids of a list, read to its end in pages of `limit`.
async fn listed(stack: &Stack, query: &str, limit: u32) -> Vec<String> {
    let (mut ids, mut cursor) = (Vec::new(), String::new());
    loop {
        let path = format!("/orders?{query}&limit={limit}{cursor}");
        let (status, _, text) = stack.request("GET", &path, None).await;
        assert_eq!(status, 200, "{path}: {text}");
        let page: Value = serde_json::from_str(&text).unwrap();
        let orders = page["orders"].as_array().unwrap();
        assert!(orders.len() <= limit as usize, "{path}");
        ids.extend(orders.iter().map(|order| order["id"].as_str().unwrap().to_owned()));
        match page["next"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return ids,
        }
    }
}

/// Waits until the list has the order, or has it no more. The index can be late.
async fn wait_listed(stack: &Stack, query: &str, id: &str, is_listed: bool) {
    wait_until("the list", LIMIT, || async {
        (listed(stack, query, 3).await.iter().any(|listed| listed == id) == is_listed).then_some(())
    })
    .await;
}

async fn review(stack: &Stack, key: &str, action: &str) -> (u16, Value) {
    let act = json!({"actor": "Amina", "reason": "the vendor was asked", "action": action}).to_string();
    let (status, _, text) = stack.request("POST", &format!("/orders/{key}/review"), Some(&act)).await;
    (status, serde_json::from_str(&text).unwrap())
}

#[tokio::test]
async fn an_uncertain_order_is_found_checked_again_and_settled_by_the_vendor() {
    let stack = Stack::fast();
    let timeline = json!([{"after_seconds": 0, "status": "UNKNOWN_ERROR"}]);
    let order = stack.order("mobile", &stack.sandbox.make("mobile", timeline).await);
    order.track().await;
    // On the other stack, orders stay in flight for minutes.
    let slow = Stack::express();
    let handled = json!([{"after_seconds": 0, "status": "HANDLING"}]);
    let flying = slow.order("mobile", &slow.sandbox.make("mobile", handled).await);
    flying.track().await;
    assert_eq!(review(&slow, &flying.key(), "recheck").await.0, 409, "in flight");
    order.wait_for("Order Uncertain", 60).await;
    wait_listed(&stack, "parked_as=uncertain&product=mobile", &order.id, true).await;
    assert!(!listed(&stack, "phase=parked&parked_as=queued", 100).await.contains(&order.id));
    assert!(!listed(&stack, "phase=parked&older_than=1h", 100).await.contains(&order.id));

    let (status, after) = review(&stack, &order.key(), "recheck").await;
    assert_eq!((status, &after["status"]), (200, &json!("UNKNOWN_ERROR")), "{after}");
    stack.sandbox.change_status(&order.id, "FULFILLED").await;
    order.wait_for("Order Fulfilled", 90).await;
    order.assert_events(&["Order Tracked", "Order Uncertain", "Order Reviewed", "Order Fulfilled"]).await;
    wait_listed(&stack, "phase=parked", &order.id, false).await;
    wait_listed(&stack, "phase=final", &order.id, true).await;
    let (status, problem) = review(&stack, &order.key(), "recheck").await;
    assert_eq!(status, 409, "{problem}");
}

#[tokio::test]
async fn a_review_is_open_until_a_person_closes_it_and_of_two_persons_one_gets_409() {
    let stack = Stack::fast();
    let timeline = json!([{"after_seconds": 0, "status": "FULFILLED"}]);
    let order = stack.order("mobile", &stack.sandbox.make("mobile", timeline).await);
    let unknown = json!({"kind": "data", "data": {"_id": order.id, "status": "TELEPORTED"}, "repeat": 2});
    stack.sandbox.script(&order.id, json!([unknown])).await;
    order.track().await;
    order.wait_for("Order Needs Review", 60).await;
    order.wait_for("Order Fulfilled", 60).await;
    wait_listed(&stack, "review=open", &order.id, true).await;
    wait_listed(&stack, "review=open&product=internet", &order.id, false).await;
    let open = json!([{"seq": 2, "reason": "unrecognised_status"}]);
    assert_eq!(order.get().await["open_reviews"], open, "an outcome closes no review");

    let ((one, _), (other, _)) =
        join(review(&stack, &order.key(), "close"), review(&stack, &order.key(), "close")).await;
    assert_eq!((one.min(other), one.max(other)), (200, 409));
    wait_listed(&stack, "review=open", &order.id, false).await;
    assert_eq!(order.get().await["open_reviews"], json!([]));
    order.wait_for("Order Reviewed", 60).await;
    order.assert_events(&["Order Tracked", "Order Needs Review", "Order Fulfilled", "Order Reviewed"]).await;
    let history = order.history().await;
    let acted = &history[3];
    assert_eq!(
        [&acted["actor"], &acted["note"], &acted["action"], &acted["closed"]],
        [&json!("Amina"), &json!("the vendor was asked"), &json!("close"), &json!([2])]
    );
}

#[tokio::test]
async fn orders_are_found_by_their_ref_whenever_it_came() {
    let stack = Stack::fast();
    let reference = format!("list-{}", Clock::System.now().as_microsecond());
    let body = json!({"ref": reference}).to_string();
    let mut ids = Vec::new();
    for (product, is_late) in [("mobile", false), ("internet", true)] {
        let id = stack.sandbox.make(product, json!([{"after_seconds": 0, "status": "HANDLING"}])).await;
        let path = format!("/orders/{product}/{id}");
        if is_late {
            assert_eq!(stack.request("PUT", &path, None).await.0, 201);
        }
        let (status, _, text) = stack.request("PUT", &path, Some(&body)).await;
        assert_eq!(status, if is_late { 200 } else { 201 }, "{text}");
        ids.push(id);
    }
    let by_ref = format!("ref={reference}");
    wait_until("both orders", LIMIT, || async { (listed(&stack, &by_ref, 1).await == ids).then_some(()) })
        .await;
    assert_eq!(listed(&stack, &format!("{by_ref}&product=internet"), 100).await, ids[1..]);
    assert_eq!(listed(&stack, &format!("{by_ref}0"), 100).await, [""; 0]);
}

/// A vendor that states `status` for every order.
async fn vendor(status: &Arc<Mutex<&'static str>>) -> MockServer {
    let (server, status) = (MockServer::start().await, status.clone());
    let answer = move |request: &wiremock::Request| {
        let id = request.url.path_segments().unwrap().next_back().unwrap();
        let data = json!({"_id": id, "status": *status.lock().unwrap()});
        ResponseTemplate::new(200).set_body_json(json!({"success": true, "data": data}))
    };
    Mock::given(any()).respond_with(answer).mount(&server).await;
    server
}

/// Runs the recheck at a moment of the tracker's clock; returns how many checks it made.
async fn recheck_at(tracker: &Tracker, clock: &Clock, at: jiff::Timestamp) -> usize {
    clock.set(at);
    let deadline = UNIX_EPOCH + Duration::from_millis(at.as_millisecond() as u64 + 55_000);
    recheck::handle(tracker, deadline).await.unwrap().checks
}

#[tokio::test]
async fn an_act_brings_the_check_forward_and_a_late_publication_does_not_open_a_closed_review() {
    let stack = Stack::fast();
    let place = IsolatedTable::create(&stack, "reviews").await;
    let status = Arc::new(Mutex::new("UNKNOWN_ERROR"));
    let vendor = vendor(&status).await;
    let clock = Clock::fixed(Clock::System.now());
    let settings = [("ONECLICKDZ_BASE_URL", vendor.uri()), ("ONECLICKDZ_API_KEY", "own-key".to_owned())];
    let settings = settings.each_ref().map(|(name, value)| (*name, value.as_str()));
    let tracker = place.tracker_with(&stack, clock.clone(), &settings).await;
    let (began, key) = (clock.now(), OrderKey { product: Product::Mobile, id: "reviewed".parse().unwrap() });
    let at = |seconds| later(began, Duration::from_secs(seconds));
    tracker.track(&key, None, TrackedBy::Put).await.unwrap();
    clock.set(at(8));
    tracker.refresh(&key, Trigger::Poller).await.unwrap().unwrap();
    *status.lock().unwrap() = "TELEPORTED";
    let act = |action| ReviewAct::new("Amina".to_owned(), "the vendor was asked".to_owned(), action).unwrap();

    assert_eq!(recheck_at(&tracker, &clock, at(120)).await, 0, "its own next check follows in an hour");
    tracker.review(&key, &act(ReviewAction::Recheck)).await.unwrap();
    assert_eq!(recheck_at(&tracker, &clock, at(180)).await, 1);
    let order = tracker.store.load(&key).await.unwrap().unwrap();
    let open: Vec<_> = order.open_reviews.clone().into_iter().collect();
    assert_eq!(open, [(4, "unrecognised_status".to_owned())]);
    let listed = async || tracker.store.orders_page(&OrderList::OpenReview, None, None, 100).await.unwrap().0;
    assert_eq!(listed().await, [order]);

    let closed = tracker.review(&key, &act(ReviewAction::Close)).await.unwrap();
    assert_eq!((listed().await, closed.published), (vec![], 5));
    // As a process does that publishes the event late.
    let events = tracker.store.events_after(&key, 3).await.unwrap();
    tracker.store.list_events(&events, &clock).await.unwrap();
    assert_eq!(listed().await, []);
    let again = tracker.review(&key, &act(ReviewAction::Close)).await.unwrap_err();
    assert_eq!(again.to_string(), "no review of the order is open");
}

#[tokio::test]
async fn a_list_of_very_large_orders_is_read_in_more_pages() {
    let plenty = [("VENDOR_CALLS_PER_MINUTE", "6000"), ("VENDOR_CALLS_BURST", "100")];
    let own = IsolatedTracker::open("large-lists", &plenty).await;
    let offer = json!({"typename": "x".repeat(60_000), "plan_code": "P", "amount": 500});
    for _ in 0..20 {
        let fields = json!({"suggested_offers": [offer]});
        let timeline = json!([{"after_seconds": 0, "status": "REFUNDED", "fields": fields}]);
        let key = OrderKey {
            product: Product::Mobile,
            id: own.vendor.make("mobile", timeline).await.parse().unwrap(),
        };
        own.tracker.track(&key, None, TrackedBy::Put).await.unwrap();
        own.tracker.refresh(&key, Trigger::Status).await.unwrap();
    }
    let list = OrderList::Phase(InPhase { phase: "final", parked_as: None, until: None });
    let (mut cursor, mut sizes, mut ids) = (None, Vec::new(), BTreeSet::new());
    loop {
        let (orders, next) = own.tracker.store.orders_page(&list, None, cursor, 100).await.unwrap();
        sizes.push(orders.len());
        ids.extend(orders.into_iter().map(|order| order.key.id));
        match next {
            Some(next) => cursor = Some(next),
            None => break,
        }
    }
    assert_eq!((sizes, ids.len()), (vec![16, 4], 20), "none twice, none left out");
    own.delete().await;
}
