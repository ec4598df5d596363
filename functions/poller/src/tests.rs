use serde_json::json;
use shared::config::Config;

use super::*;

/// A tracker whose table is unreachable.
async fn tracker() -> Tracker {
    let settings = [
        ("ORDERS_TABLE", "orders"),
        ("EVENT_BUS", "bus"),
        ("CARD_KEY_ID", "key"),
        ("ONECLICKDZ_API_KEY", "vendor-key"),
        ("AWS_REGION", "eu-west-3"),
        ("AWS_ACCESS_KEY_ID", "id"),
        ("AWS_SECRET_ACCESS_KEY", "secret"),
        ("AWS_ENDPOINT_URL", "http://127.0.0.1:9"),
    ];
    let config = Config::read(settings.map(|(name, value)| (name.to_owned(), value.to_owned()))).unwrap();
    Tracker::open(&config).await.unwrap()
}

/// Whether an input fits the published schema of a `Top-up Sent`.
fn fits_the_schema(detail: &Value) -> bool {
    let schema = serde_json::from_str(include_str!("../../../events/schemas/top-up-sent.json")).unwrap();
    let event = json!({"detail-type": "Top-up Sent", "source": "shop.example", "detail": detail});
    jsonschema::is_valid(&schema, &event)
}

#[test]
fn an_invalid_input_error_names_the_field() {
    let long = "x".repeat(65);
    let rows = [
        (json!(null), "input"),
        (json!("mobile"), "input"),
        (json!([]), "input"),
        (json!({"id": "1"}), "input"),
        (json!({"product": "mobile"}), "input"),
        (json!({"product": "fax", "id": "1"}), "product"),
        (json!({"product": 7, "id": "1"}), "product"),
        (json!({"product": "mobile", "id": 1}), "id"),
        (json!({"product": "mobile", "id": "a b"}), "id"),
        (json!({"product": "mobile", "id": long}), "id"),
    ];
    for (input, field) in rows {
        assert!(!fits_the_schema(&input), "{input}");
        let diagnostic = Diagnostic::from(parse(&input).unwrap_err());
        assert_eq!(diagnostic.error_type, "InvalidInput", "{input}");
        assert!(
            diagnostic.error_message.starts_with(&format!("{field}: ")),
            "{input}: {}",
            diagnostic.error_message
        );
    }
}

#[test]
fn accepts_ticks_top_up_sent_events_and_tracker_orders() {
    let sample = |text: &str| serde_json::from_str::<Value>(text).unwrap();
    let tick = sample(include_str!("../../../events/poller-tick.json"));
    let sent = sample(include_str!("../../../events/in/top-up-sent.json"));
    let tracked = sample(include_str!("../../../events/out/order-tracked.json"));
    let resumed = sample(include_str!("../../../events/out/order-resumed.json"));
    for (input, order) in [
        (&tick, "mobile/6901616fe9e88196b4eb64b0"),
        (&sent["detail"], "mobile/6901616fe9e88196b4eb64b0"),
        (&tracked["detail"]["order"], "mobile/6901616fe9e88196b4eb64b0"),
        (&resumed["detail"]["order"], "internet/6901616fe9e88196b4eb64b2"),
    ] {
        let TickInput { key, reference, .. } = parse(input).unwrap();
        assert_eq!(key.to_string(), order);
        assert_eq!(reference.unwrap().as_str(), "order-12345");
    }
}

#[test]
fn an_order_with_an_invalid_ref_is_tracked_without_it() {
    for (reference, kept, is_ignored) in [
        (json!(null), None, false),
        (json!("order-1"), Some("order-1"), false),
        (json!(12345), Some("12345"), false),
        (json!(-7), Some("-7"), false),
        (json!(""), None, true),
        (json!("a\nb"), None, true),
        (json!("x".repeat(201)), None, true),
        (json!(1.5), None, true),
        (json!(true), None, true),
        (json!({"a": 1}), None, true),
        (json!(["order-1"]), None, true),
    ] {
        let input = json!({"product": "mobile", "id": "1", "ref": reference});
        assert_eq!(fits_the_schema(&input), !is_ignored, "{reference}");
        let parsed = parse(&input).unwrap();
        assert_eq!(parsed.key.to_string(), "mobile/1", "{reference}");
        assert_eq!(parsed.reference.as_ref().map(Ref::as_str), kept, "{reference}");
        assert_eq!(parsed.ref_ignored.is_some(), is_ignored, "{reference}");
    }
    assert_eq!(parse(&json!({"product": "mobile", "id": "1"})).unwrap().reference, None);
}

#[tokio::test]
async fn an_unreachable_table_is_reported_as_store_unavailable() {
    let error = handle(&tracker().await, &json!({"product": "mobile", "id": "1"})).await.unwrap_err();
    assert_eq!(Diagnostic::from(error).error_type, "StoreUnavailable");
}

#[tokio::test]
async fn a_tick_returns_the_seconds_until_the_next_check() {
    let tracker = tracker().await;
    let start = Timestamp::from_second(1_760_000_000).unwrap();
    let key = OrderKey { product: Product::Mobile, id: "1".parse().unwrap() };
    let (order, _) = Order::track(key, None, TrackedBy::Poller, start, &tracker.schedule);
    for (millis, wait) in [(0, 8), (1, 8), (7001, 1), (7999, 1), (8000, 1), (60_000, 1)] {
        let now = start.checked_add(Duration::from_millis(millis)).unwrap();
        assert_eq!(next_tick(&tracker.schedule, &order, None, now).wait_seconds, wait, "after {millis} ms");
    }
}

#[tokio::test]
async fn a_denied_tick_waits_for_the_permit_or_the_deadline() {
    let tracker = tracker().await;
    let start = Timestamp::from_second(1_760_000_000).unwrap();
    let key = OrderKey { product: Product::Mobile, id: "1".parse().unwrap() };
    let (order, _) = Order::track(key, None, TrackedBy::Poller, start, &tracker.schedule);
    let after = |seconds: u64| start.checked_add(Duration::from_secs(seconds)).unwrap();
    for (now, permit, jitter, wait) in
        [(8, 9, 0, 1), (8, 9, 2, 3), (8, 12, 1, 5), (8, 968, 0, 272), (279, 968, 0, 1)]
    {
        let retry_at = Some((after(permit), Duration::from_secs(jitter)));
        let tick = next_tick(&tracker.schedule, &order, retry_at, after(now));
        assert_eq!(tick.wait_seconds, wait, "at {now} s, permit at {permit} s");
    }
}
