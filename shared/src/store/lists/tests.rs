//! Cursors, as properties: only what was written for a list is read for it.

use proptest::prelude::*;

use super::*;

fn lists() -> [OrderList; 3] {
    let in_phase = InPhase { phase: "parked", parked_as: None, until: None };
    let reference = Ref::try_from("order-1".to_owned()).unwrap();
    [OrderList::Phase(in_phase), OrderList::Ref(reference), OrderList::OpenReview]
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
    let [phase, reference, review] = lists();
    let encoded = |parts: &[&str]| URL_SAFE_NO_PAD.encode(parts.join("\n"));
    for (list, parts) in [
        (&phase, &["p", "mobile#a", "ORDER", "soon"][..]),
        (&phase, &["p", "mobile#a", "EVENT#000001", "1"]),
        (&phase, &["p", "fax#a", "ORDER", "1"]),
        (&phase, &["p", "mobile#a b", "ORDER", "1"]),
        (&phase, &["p", "mobile#a", "ORDER"]),
        (&phase, &["p", "mobile#a", "ORDER", "1", "2"]),
        (&reference, &["f", "mobile#a", "ORDER", "1"]),
        (&reference, &["f", "mobile#a", "ORDER", "1760000000000#mobile#b"]),
        (&review, &["r", "mobile#a", "ORDER", "1"]),
    ] {
        assert_eq!(OrderCursor::read(&encoded(parts), list), None, "{parts:?}");
    }
    for text in ["", "*", "cA"] {
        assert_eq!(OrderCursor::read(text, &phase), None, "{text}");
    }
}
