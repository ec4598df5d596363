//! `events/out/`: one sample per event that goes out, made by the rules themselves. `UPDATE_EVENTS=1 cargo test -p shared
//! --test event_samples` writes them anew.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test")]

use jiff::Timestamp;
use serde_json::{Value, json};
use shared::{
    order::{
        Amount, CheckResult, Decision, Event, Facts, Jitter, JsonText, Observation, Order, OrderKey, Place,
        Product, Ref, ReviewAct, ReviewAction, SOURCE, Schedule, SealedCard, Snapshot, TrackedBy,
        VendorStatus, decide,
    },
    rate_limiter::{VendorEvent, VendorEventKind},
    secret::Fingerprint,
};

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_761_698_160 + seconds).unwrap()
}

fn tracked(product: Product) -> (Order, Event) {
    let id = match product {
        Product::Mobile => "6901616fe9e88196b4eb64b0",
        Product::Internet => "6901616fe9e88196b4eb64b2",
    };
    let key = OrderKey { product, id: id.parse().unwrap() };
    let reference = Some(Ref::try_from("order-12345".to_owned()).unwrap());
    Order::track(key, reference, TrackedBy::Put, at(0), &Schedule::default())
}

fn facts(product: Product, status: &str) -> Facts {
    let text = |text: &str| Some(text.to_owned());
    let common = Facts {
        status: Some(VendorStatus::from(status.to_owned())),
        vendor_ref: text("API-+213778037340-order-12345"),
        created_at: text("2025-10-29T00:35:59.378Z"),
        ..Facts::default()
    };
    match product {
        Product::Mobile => Facts {
            number: text("0778037340"),
            plan_code: text("PREPAID_DJEZZY"),
            topup_amount: Amount::parse("500"),
            balance_amount: Amount::parse("490"),
            ..common
        },
        Product::Internet => Facts {
            number: text("036362608"),
            kind: text("ADSL"),
            topup_amount: Amount::parse("1000"),
            ..common
        },
    }
}

fn refunded() -> Facts {
    let offers = r#"[{"typename":"📋 FACTURE | فاتورة","plan_code":"FACTURE_DJEZZY","amount":500}]"#;
    Facts {
        refund_message: Some("هذا العرض غير متوافق مع هذا الرقم جرب فاتورة".to_owned()),
        suggested_offers: Some(JsonText::parse(offers.to_owned()).unwrap()),
        ..facts(Product::Mobile, "REFUNDED")
    }
}

fn with_card() -> Snapshot {
    let facts = Facts {
        num_trans: Some("AT-2025-12345".into()),
        date_traitement: Some("2025-11-01T12:00:45.000Z".into()),
        ..facts(Product::Internet, "FULFILLED")
    };
    let card = SealedCard { ciphertext: b"sealed".to_vec(), masked: SealedCard::mask("123456789012") };
    Snapshot { facts, card: Some(card), place: Place::Check }
}

fn check(order: &Order, second: i64, facts: Facts) -> Decision {
    see(order, second, Snapshot { facts, card: None, place: Place::Check })
}

fn see(order: &Order, second: i64, seen: Snapshot) -> Decision {
    let check_result = CheckResult { asked_at: at(second), observation: Observation::Order(Box::new(seen)) };
    decide(order, &check_result, at(second), Jitter::NONE, &Schedule::default()).unwrap()
}

/// One of each about a key, by file name.
fn about_a_key() -> [(&'static str, VendorEvent); 3] {
    let key = Fingerprint::stored("1f2e3d4c5b6a7988");
    let suspended = VendorEventKind::Suspended { reason: "IP_BLOCKED", suspended_until: at(960) };
    let list_degraded = VendorEventKind::ListDegraded { reason: "list_unavailable", product: "mobile" };
    [
        ("vendor-suspended", VendorEvent::new(&key, 1, suspended, at(0))),
        ("vendor-resumed", VendorEvent::new(&key, 2, VendorEventKind::Resumed, at(961))),
        ("vendor-list-degraded", VendorEvent::new(&key, 3, list_degraded, at(1000))),
    ]
}

/// One of each about an order, by file name.
fn about_an_order() -> Vec<(&'static str, Event)> {
    use Product::{Internet, Mobile};
    let (mobile, order_tracked) = tracked(Mobile);
    let (internet, _) = tracked(Internet);
    let queued = check(&internet, 11, facts(Internet, "QUEUED"));
    let resumed = check(&queued.order, 86_411, facts(Internet, "HANDLING"));
    let without_card = check(&internet, 11, facts(Internet, "FULFILLED"));
    let card = see(&without_card.order, 71, with_card());
    let strange = check(&mobile, 8, facts(Mobile, "SUCCESS"));
    let reason = "the vendor confirmed that it was delivered".to_owned();
    let act = ReviewAct::new("Amina".to_owned(), reason, ReviewAction::Close).unwrap();
    let reviewed = strange.order.after_review(&act, at(3600)).unwrap();
    let first = |decision: Decision| decision.events.into_iter().next().unwrap();
    vec![
        ("order-tracked", order_tracked),
        ("order-queued", first(queued)),
        ("order-resumed", first(resumed)),
        ("order-fulfilled", first(see(&internet, 11, with_card()))),
        ("order-refunded", first(check(&mobile, 17, refunded()))),
        ("order-uncertain", first(check(&mobile, 17, facts(Mobile, "UNKNOWN_ERROR")))),
        ("order-delayed", first(check(&mobile, 280, facts(Mobile, "HANDLING")))),
        ("order-needs-review", first(strange)),
        ("order-reviewed", first(reviewed)),
        ("card-revealed", first(card.order.card_revealed(at(90)))),
        ("card-available", first(card)),
    ]
}

fn on_the_bus(detail_type: &str, occurred_at: Timestamp, detail: &str) -> Value {
    json!({
        "version": "0",
        "id": "17793124-05d4-b198-2fde-7ededc63b103",
        "detail-type": detail_type,
        "source": SOURCE,
        "account": "123456789012",
        "time": occurred_at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
        "region": "eu-west-3",
        "resources": [],
        "detail": serde_json::from_str::<Value>(detail).unwrap(),
    })
}

#[test]
fn every_event_has_a_sample_and_every_sample_an_event() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../events/out");
    let mut names = Vec::new();
    let orders = about_an_order().into_iter();
    let all =
        orders
            .map(|(name, event)| (name, on_the_bus(&event.detail_type, event.occurred_at, &event.detail)))
            .chain(about_a_key().map(|(name, event)| {
                (name, on_the_bus(&event.detail_type, event.occurred_at, &event.detail))
            }));
    for (name, made) in all {
        let path = format!("{folder}/{name}.json");
        #[allow(clippy::disallowed_methods, reason = "a switch of the test, no setting")]
        if std::env::var("UPDATE_EVENTS").is_ok() {
            std::fs::write(&path, serde_json::to_string_pretty(&made).unwrap() + "\n").unwrap();
        }
        let sample: Value = serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
        assert_eq!(sample, made, "{path}");
        names.push(format!("{name}.json"));
    }
    let mut there: Vec<String> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    there.sort();
    assert_eq!(there, names);
}
