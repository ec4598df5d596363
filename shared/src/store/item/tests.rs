use super::*;
use crate::{
    order::{Amount, JsonText, Schedule, TrackedBy, VendorStatus},
    store::update::Expression,
};

fn order() -> Order {
    let key = OrderKey { product: Product::Internet, id: "6901616fe9e88196b4eb64b2".parse().unwrap() };
    let start = Timestamp::from_millisecond(1_760_000_000_000).unwrap();
    let (mut order, _) = Order::track(key, None, TrackedBy::Put, start, &Schedule::default());
    order.reference = Some(Ref::try_from("abc".to_owned()).unwrap());
    order.facts = Facts {
        status: Some(VendorStatus::Unrecognised("NEW".into())),
        vendor_ref: Some("API-+213-abc".into()),
        number: Some("036362608".into()),
        plan_code: Some("p".into()),
        kind: Some("ADSL".into()),
        topup_amount: Amount::parse("1000"),
        balance_amount: Amount::parse("490.250"),
        refund_message: Some("رسالة".into()),
        suggested_offers: Some(JsonText::parse(r#"[{"z":1,"a":2}]"#.into()).unwrap()),
        num_trans: Some("AT".into()),
        date_traitement: Some("d".into()),
        follow_order_id: Some("f".into()),
        retry_order_id: Some("r".into()),
        created_at: Some("c".into()),
    };
    order.trouble = Some(TroubleRun { count: 4, since: start });
    order.first_parked = [(ParkedAs::Queued, start), (ParkedAs::NotFound, start)].into();
    order.card = Some(SealedCard { ciphertext: vec![0, 255, 7], masked: "**".into() });
    order.first_seen_at = Some(start);
    order.asked_at = Some(start);
    order.checked_at = Some(start);
    order.reviewed.insert("unrecognised_status:NEW".into());
    order.open_reviews = [(1, "unrecognised_status".to_owned())].into();
    (order.attempt, order.failures, order.version, order.published) = (3, 2, 9, 1);
    order
}

#[test]
fn an_order_is_read_back_unchanged_in_every_phase() {
    let since = Timestamp::from_millisecond(1_760_000_000_123).unwrap();
    for phase in [
        Phase::InFlight { since },
        Phase::Parked { parked_as: ParkedAs::Uncertain, since },
        Phase::Final { outcome: Outcome::Refunded },
    ] {
        let order = Order { phase, ..order() };
        assert_eq!(read_order(&order.key, write_order(&order).unwrap()).unwrap(), order);
    }
}

#[test]
fn an_unknown_attribute_is_ignored_and_kept() {
    let order = order();
    let mut stored = write_order(&order).unwrap();
    stored.insert("invented_later".into(), AttributeValue::S("x".into()));
    assert_eq!(read_order(&order.key, stored).unwrap(), order);
    let after = Order { attempt: 4, ..order.clone() };
    let Expression { update, names, .. } = difference(&order, &after).unwrap().into_expression();
    assert_eq!(update, "SET #rung = :v0");
    assert_eq!(names["#rung"], "rung");
}

#[test]
fn a_change_names_only_what_differs() {
    let order = order();
    let since = Timestamp::from_millisecond(1_760_000_000_123).unwrap();
    let mut after = Order { phase: Phase::Parked { parked_as: ParkedAs::Queued, since }, ..order.clone() };
    after.facts.refund_message = None;
    let Expression { update, names, values, .. } = difference(&order, &after).unwrap().into_expression();
    let named = |clause: &str| {
        let mut found: Vec<_> =
            clause.split(", ").map(|part| names[part.split(" = ").next().unwrap()].as_str()).collect();
        found.sort_unstable();
        found
    };
    let (sets, removes) = update.strip_prefix("SET ").unwrap().split_once(" REMOVE ").unwrap();
    assert_eq!(named(sets), ["parked_as", "parked_since", "phase"]);
    assert_eq!(named(removes), ["in_flight_since", "refund_message"]);
    assert_eq!(values.unwrap().len(), 3);
}

#[test]
fn an_unreadable_record_names_the_attribute_but_not_the_value() {
    let order = order();
    for (name, value, why) in [
        ("phase", AttributeValue::S("asleep".into()), "phase"),
        ("in_flight_since", AttributeValue::S("x".into()), "in_flight_since"),
        ("topup_amount", AttributeValue::S("much".into()), "amount"),
        ("card_ciphertext", AttributeValue::S("*".into()), "card_ciphertext"),
        ("suggested_offers", AttributeValue::S("[".into()), "suggested_offers"),
    ] {
        let mut stored = write_order(&order).unwrap();
        stored.insert(name.into(), value);
        let error = read_order(&order.key, stored).unwrap_err().to_string();
        assert!(!error.contains("asleep"), "{error}");
        assert!(
            error.contains(why) && error.contains("internet/6901616fe9e88196b4eb64b2"),
            "{name}: {error}"
        );
    }
}

#[test]
fn orders_are_spread_over_all_shards() {
    let key = |n: u32| OrderKey { product: Product::Mobile, id: format!("{n:024x}").parse().unwrap() };
    for shard_name in SHARDS {
        let count = (0..4000).filter(|n| shard(&key(*n)) == shard_name).count();
        assert!((500..2000).contains(&count), "{shard_name}: {count}");
    }
}

/// Stored items stay readable: the exact item that older versions wrote.
#[test]
fn the_stored_form_of_an_item_does_not_change() {
    let mut order = order();
    order.links.insert("6901616fe9e88196b4eb64b3".parse().unwrap());
    order.unlisted = true;
    let item = serde_dynamo::Item::from(write_order(&order).unwrap());
    let mut text = serde_json::to_string_pretty(&serde_json::to_value(item).unwrap()).unwrap();
    text.push('\n');
    assert_eq!(include_str!("golden.json"), text);
}
