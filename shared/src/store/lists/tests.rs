//! Cursors, as properties: only what was written for a list is read for it.

use proptest::prelude::*;

use super::*;

fn lists() -> [OrderList; 5] {
    let in_phase = |phase| OrderList::Phase(InPhase { phase, parked_as: None, until: None });
    let with_ref = |text: &str| OrderList::Ref(Ref::try_from(text.to_owned()).unwrap());
    [in_phase("parked"), with_ref("order-1"), OrderList::OpenReview, in_phase("final"), with_ref("order-2")]
}

/// An entry of the list's index, as DynamoDB answers it.
fn entry(list: &OrderList, pk: &str, ms: i64) -> Item {
    let number = AttributeValue::N(ms.to_string());
    let (name, at) = match list {
        OrderList::Phase(_) => ("changed_at", number),
        OrderList::Ref(_) => ("feed_at", text(format!("{ms:013}#{pk}"))),
        OrderList::OpenReview => ("due_at", number),
    };
    let sk = if *list == OrderList::OpenReview { "EVENT#000002" } else { "ORDER" };
    Item::from([("pk".to_owned(), text(pk)), ("sk".to_owned(), text(sk)), (name.to_owned(), at)])
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_cursor_is_read_back_for_its_own_list_only(id in "[-_A-Za-z0-9]{1,64}", ms in 0..9_999_999_999_999i64, cut in 1..60usize) {
        let key: OrderKey = OrderKey { product: Product::Internet, id: id.parse().unwrap() };
        for (number, list) in lists().iter().enumerate() {
            let written = cursor(list, &entry(list, &item::partition(&key), ms)).unwrap();
            let encoded = written.write();
            for (other, reader) in lists().iter().enumerate() {
                let read = OrderCursor::read(&encoded, reader);
                prop_assert_eq!(read, Some(written.clone()).filter(|_| other == number));
            }
            let shorter: String = encoded.chars().skip(cut).collect();
            prop_assert_eq!(OrderCursor::read(&shorter, list), None);
        }
    }
}

#[test]
fn other_text_is_no_cursor() {
    let [phase, reference, review, ..] = lists();
    let encoded = |parts: &[&str]| URL_SAFE_NO_PAD.encode(parts.join("\n"));
    for (list, parts) in [
        (&phase, &["parked", "mobile#a", "ORDER", "soon"][..]),
        (&phase, &["parked", "mobile#a", "EVENT#000001", "1"]),
        (&phase, &["parked", "fax#a", "ORDER", "1"]),
        (&phase, &["parked", "mobile#a b", "ORDER", "1"]),
        (&phase, &["parked", "mobile#a", "ORDER"]),
        (&phase, &["parked", "mobile#a", "ORDER", "1", "2"]),
        (&reference, &["ref#order-1", "mobile#a", "ORDER", "1"]),
        (&reference, &["ref#order-1", "mobile#a", "ORDER", "1760000000000#mobile#b"]),
        (&review, &["reviews/open", "mobile#a", "ORDER", "1"]),
        (&review, &["reviews/open", "mobile#a", "EVENT#2", "1"]),
        (&review, &["reviews/open", "mobile#a", &format!("EVENT#{}", "0".repeat(2000)), "1"]),
    ] {
        assert_eq!(OrderCursor::read(&encoded(parts), list), None, "{parts:?}");
    }
    for text in ["", "*", "cA"] {
        assert_eq!(OrderCursor::read(text, &phase), None, "{text}");
    }
}

#[test]
fn a_page_has_a_megabyte_of_orders_and_at_least_one() {
    let order = |bytes: usize| {
        let key = OrderKey { product: Product::Mobile, id: "a".parse().unwrap() };
        let schedule = crate::order::Schedule::default();
        let by = crate::order::TrackedBy::Put;
        let (mut order, _) = Order::track(key, None, by, Timestamp::UNIX_EPOCH, &schedule);
        order.facts.refund_message = Some("x".repeat(bytes));
        order
    };
    for (sizes, expected) in [
        (vec![0; 100], 100),
        (vec![80_000; 100], 12),
        (vec![2_000_000, 1], 1),
        (vec![1, 2_000_000, 1], 1),
        (vec![], 1),
    ] {
        let orders: Vec<Order> = sizes.iter().map(|bytes| order(*bytes)).collect();
        assert_eq!(fitting(&orders), expected, "{sizes:?}");
    }
}
