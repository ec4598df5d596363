//! Redaction: the personal data of orders that ended long ago is removed, and nothing else.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::{Duration, UNIX_EPOCH},
};

use aws_sdk_dynamodb::types::AttributeValue;
use e2e::{IsolatedTable, Stack};
use recheck::RecheckError;
use serde_json::{Value, json};
use shared::{
    clock::Clock,
    order::{Order, OrderKey, Product, Ref, TrackedBy, Trigger},
    refresh::Tracker,
    time::later,
    webhook::{Attempt, DeliveryState, EventId},
};
use wiremock::{Mock, MockServer, ResponseTemplate, matchers::any};

/// What no item may contain after the redaction.
const PERSONAL: [&str; 7] = [
    "0778037340",
    "023456789",
    "shop-ref-1",
    "vendor-ref-1",
    "تم استرجاع الرصيد",
    "AT-9",
    "thank you, Amina",
];
const DAY: Duration = Duration::from_secs(24 * 3600);

type Statuses = Arc<Mutex<HashMap<&'static str, &'static str>>>;

/// A vendor with an order for each id; `statuses` says which status it states.
async fn vendor(statuses: &Statuses) -> MockServer {
    let (server, statuses) = (MockServer::start().await, statuses.clone());
    let answer = move |request: &wiremock::Request| {
        let id = request.url.path_segments().unwrap().next_back().unwrap();
        let status = statuses.lock().unwrap()[id];
        let mut data = json!({
            "_id": id, "status": status, "ref": "vendor-ref-1", "topup_amount": 500.50,
            "created_at": "2026-11-01T10:00:00.000Z",
        });
        if request.url.path().contains("internet") {
            data["number"] = "023456789".into();
        } else {
            data["MSSIDN"] = "0778037340".into();
        }
        match (status, request.url.path().contains("internet")) {
            ("FULFILLED", true) => {
                (data["card_code"], data["num_trans"]) = ("012345678901234".into(), "AT-9".into())
            }
            ("REFUNDED", false) => {
                data["refund_message"] = "تم استرجاع الرصيد".into();
                data["suggested_offers"] = json!([{"typename": "0778037340", "amount": 450}]);
            }
            _ => {}
        }
        ResponseTemplate::new(200).set_body_json(json!({"success": true, "data": data}))
    };
    Mock::given(any()).respond_with(answer).mount(&server).await;
    server
}

fn order(product: Product, id: &str) -> OrderKey {
    OrderKey { product, id: id.parse().unwrap() }
}

async fn recheck(tracker: &Tracker) -> usize {
    let deadline = UNIX_EPOCH + Duration::from_millis(tracker.clock.now().as_millisecond() as u64 + 55_000);
    recheck::handle(tracker, deadline).await.unwrap().redacted
}

/// All items of an order, as text, and its stored order.
async fn items(stack: &Stack, place: &IsolatedTable, key: &OrderKey) -> String {
    let found = stack
        .dynamodb()
        .query()
        .table_name(place.table())
        .key_condition_expression("pk = :pk")
        .expression_attribute_values(":pk", AttributeValue::S(format!("{}#{}", key.product, key.id)))
        .consistent_read(true)
        .send()
        .await
        .unwrap();
    format!("{:?}", found.items())
}

fn personal(text: &str) -> Vec<&'static str> {
    // Debug output escapes nothing of Arabic; JSON inside a string has escaped quotes only.
    PERSONAL.into_iter().filter(|data| text.contains(data)).collect()
}

async fn stored(tracker: &Tracker, key: &OrderKey) -> Order {
    tracker.store.load(key).await.unwrap().unwrap()
}

async fn details(tracker: &Tracker, key: &OrderKey) -> Vec<Value> {
    let events = tracker.store.events_after(key, 0).await.unwrap();
    events.iter().map(|event| serde_json::from_str(&event.detail).unwrap()).collect()
}

#[tokio::test]
async fn personal_data_goes_90_days_after_the_outcome_and_all_else_stays() {
    let stack = Stack::fast();
    let place = IsolatedTable::create(&stack, "redaction").await;
    let statuses: Statuses = Arc::default();
    statuses.lock().unwrap().extend([("card", "FULFILLED"), ("refund", "REFUNDED"), ("queue", "QUEUED")]);
    let vendor = vendor(&statuses).await;
    let clock = Clock::fixed(Clock::System.now());
    let settings = [
        ("ONECLICKDZ_BASE_URL", vendor.uri()),
        ("ONECLICKDZ_API_KEY", "own-key".to_owned()),
        ("LIST_CHECKS", "off".to_owned()),
        ("REDACT_AFTER", "90days".to_owned()),
        ("RECHECK_REFUNDED", "1h".to_owned()),
    ];
    let settings = settings.each_ref().map(|(name, value)| (*name, value.as_str()));
    let tracker = place.tracker_with(&stack, clock.clone(), &settings).await;
    let began = clock.now();
    let [card, refund, queue] =
        [(Product::Internet, "card"), (Product::Mobile, "refund"), (Product::Mobile, "queue")]
            .map(|(product, id)| order(product, id));
    for key in [&card, &refund, &queue] {
        tracker
            .track(key, Some(Ref::try_from("shop-ref-1".to_owned()).unwrap()), TrackedBy::Put)
            .await
            .unwrap();
    }
    clock.set(later(began, Duration::from_secs(8)));
    for key in [&card, &refund, &queue] {
        tracker.refresh(key, Trigger::Poller).await.unwrap().unwrap();
    }
    let event: EventId = format!("{refund}#2").parse().unwrap();
    let attempt = Attempt {
        at: clock.now(),
        status: Some(200),
        milliseconds: 12,
        error: None,
        answer: Some("thank you, Amina".to_owned()),
    };
    tracker
        .store
        .record_attempt(&event, "Order Refunded", &attempt, DeliveryState::Delivered, None)
        .await
        .unwrap();

    let ask = async |key: &OrderKey| {
        let payload = json!({"redact": {"product": key.product, "id": key.id}});
        recheck::answer(&tracker, &payload, UNIX_EPOCH).await
    };
    let refused = ask(&refund).await.unwrap_err().to_string();
    assert_eq!(
        refused,
        format!(
            "{refund} is not redacted: the order has checks left, for a retry after the refund or for its card"
        )
    );

    clock.set(later(began, 90 * DAY));
    assert_eq!(recheck(&tracker).await, 0, "the outcomes are 90 days old in 8 s");
    assert_eq!(personal(&items(&stack, &place, &refund).await).len(), 5);
    let before = (details(&tracker, &card).await, stored(&tracker, &card).await);

    clock.set(later(began, 91 * DAY));
    assert_eq!(recheck(&tracker).await, 2);
    for key in [&card, &refund] {
        assert_eq!(personal(&items(&stack, &place, key).await), Vec::<&str>::new(), "{key}");
    }
    assert!(!items(&stack, &place, &card).await.contains("card_ciphertext"));
    let after = (details(&tracker, &card).await, stored(&tracker, &card).await);
    for (mut before, mut after) in before.0.into_iter().zip(after.0) {
        for name in ["ref", "vendor_ref", "number", "num_trans", "card", "redacted_at"] {
            let (was, is) = (before["order"][name].take(), after["order"][name].take());
            assert!(name == "card" || is.is_null() != (name == "redacted_at"), "{name}: {was} became {is}");
        }
        assert_eq!(before, after, "nothing else changes in an event");
    }
    let (before, after) = (before.1, after.1);
    assert_eq!(
        (before.phase, before.seq, before.changed_at, &before.facts.status, &before.facts.topup_amount),
        (after.phase, after.seq, after.changed_at, &after.facts.status, &after.facts.topup_amount)
    );
    assert!(!place.item(&stack, &card).await.contains_key("due_at"), "it is not due");

    // The data does not come back.
    tracker
        .track(&card, Some(Ref::try_from("shop-ref-1".to_owned()).unwrap()), TrackedBy::Put)
        .await
        .unwrap();
    tracker.refresh(&card, Trigger::Recheck).await.unwrap().unwrap();
    clock.set(later(began, 92 * DAY));
    assert_eq!(recheck(&tracker).await, 0, "nothing is redacted twice");
    assert_eq!(personal(&items(&stack, &place, &card).await), Vec::<&str>::new());

    // An order without an outcome keeps its data, until its own outcome is as old.
    assert!(personal(&items(&stack, &place, &queue).await).contains(&"0778037340"));
    assert!(matches!(ask(&queue).await, Err(RecheckError::NotRedacted { .. })));
    statuses.lock().unwrap().insert("queue", "FULFILLED");
    tracker.refresh(&queue, Trigger::Status).await.unwrap().unwrap();
    clock.set(later(began, 93 * DAY));
    assert_eq!(recheck(&tracker).await, 0);
    // On request it goes at once.
    assert_eq!(ask(&queue).await.unwrap().redacted, 1);
    assert_eq!(personal(&items(&stack, &place, &queue).await), Vec::<&str>::new());
    place.delete(&stack).await;
}

#[tokio::test]
async fn an_order_that_ended_lately_holds_no_other_order_up() {
    let stack = Stack::fast();
    let place = IsolatedTable::create(&stack, "redaction-young").await;
    let statuses: Statuses = Arc::default();
    statuses.lock().unwrap().extend([("a-young", "QUEUED"), ("b-old", "FULFILLED")]);
    let vendor = vendor(&statuses).await;
    let clock = Clock::fixed(Clock::System.now());
    let settings = [
        ("ONECLICKDZ_BASE_URL", vendor.uri()),
        ("ONECLICKDZ_API_KEY", "own-key".to_owned()),
        ("LIST_CHECKS", "off".to_owned()),
        ("REDACT_AFTER", "7days".to_owned()),
    ];
    let settings = settings.each_ref().map(|(name, value)| (*name, value.as_str()));
    let tracker = place.tracker_with(&stack, clock.clone(), &settings).await;
    let began = clock.now();
    let [young, old] = ["a-young", "b-old"].map(|id| order(Product::Mobile, id));
    for key in [&young, &old] {
        tracker.track(key, None, TrackedBy::Put).await.unwrap();
    }
    clock.set(later(began, Duration::from_secs(8)));
    for key in [&young, &old] {
        tracker.refresh(key, Trigger::Poller).await.unwrap().unwrap();
    }
    // The first events of both are seven days old when the walk reads them. One outcome is an hour old, with late checks left.
    clock.set(later(began, 7 * DAY));
    statuses.lock().unwrap().insert("a-young", "REFUNDED");
    tracker.refresh(&young, Trigger::Status).await.unwrap().unwrap();
    clock.set(later(began, 7 * DAY + Duration::from_secs(3600)));
    assert_eq!(recheck(&tracker).await, 1);
    assert!(stored(&tracker, &old).await.redacted_at.is_some());
    assert!(stored(&tracker, &young).await.redacted_at.is_none());
    place.delete(&stack).await;
}

#[tokio::test]
async fn a_request_that_names_no_order_is_refused() {
    let stack = Stack::fast();
    let place = IsolatedTable::create(&stack, "redaction-request").await;
    let settings = [("ONECLICKDZ_API_KEY", "own-key")];
    let tracker = place.tracker_with(&stack, Clock::System, &settings).await;
    for payload in [json!({"redact": "mobile/x"}), json!({"redact": {"product": "car", "id": "x"}})] {
        let answer = recheck::answer(&tracker, &payload, UNIX_EPOCH).await;
        assert!(matches!(answer, Err(RecheckError::InvalidInput)), "{answer:?}");
    }
    let unknown = json!({"redact": {"product": "mobile", "id": "never-tracked"}});
    let answer = recheck::answer(&tracker, &unknown, UNIX_EPOCH).await.unwrap_err();
    assert_eq!(answer.to_string(), "mobile/never-tracked is not redacted: the order is not tracked");
    place.delete(&stack).await;
}
