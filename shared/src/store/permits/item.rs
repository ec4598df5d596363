//! The item of a vendor key, as stored (`pk = ADMISSION#{fingerprint}`).

use std::{borrow::Cow, time::Duration};

use aws_sdk_dynamodb::types::AttributeValue;
use jiff::{Timestamp, fmt::serde::timestamp::millisecond};
use serde::{Deserialize, Deserializer, de::DeserializeOwned};
use serde_path_to_error::Segment;

use super::super::Item;
use crate::{
    order::Product,
    page::{Page, UnderWay},
    rate_limiter::{Class, ListTrust, Usage, VendorEvent},
    secret::Fingerprint,
};

/// The prefix of the partition key.
pub(in crate::store) const PREFIX: &str = "ADMISSION#";
/// Attribute: theoretical arrival time of the bucket of all calls, in microseconds since 1970.
pub(super) const TAT: &str = "slot";

/// Attribute: theoretical arrival time of a class's reservation.
pub(super) fn reservation_tat(class: Class) -> String {
    format!("{TAT}_{}", class.as_str())
}

/// Attribute of a product's list; `field` is a field of [`ListTrust`].
pub(super) fn of_list(product: Product, field: &str) -> String {
    format!("list_{product}_{field}")
}

pub(super) fn item_key(key: &Fingerprint) -> Item {
    Item::from([
        ("pk".to_owned(), AttributeValue::S(format!("{PREFIX}{key}"))),
        ("sk".to_owned(), AttributeValue::S("ADMISSION".to_owned())),
    ])
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct KeyItem {
    #[serde(rename = "slot")]
    tat: Option<i64>,
    slot_poller: Option<i64>,
    slot_status: Option<i64>,
    slot_recheck: Option<i64>,
    #[serde(with = "millisecond::optional")]
    paused_until: Option<Timestamp>,
    refusals: u32,
    #[serde(with = "millisecond::optional")]
    suspended_until: Option<Timestamp>,
    /// Seconds.
    probe_wait: Option<u64>,
    event_seq: u32,
    #[serde(deserialize_with = "read_pages")]
    pages: Vec<UnderWay>,
    page_turn: i64,
    permits: i64,
}

pub(super) fn read_usage(item: &Item) -> Usage {
    let key: KeyItem = read(Cow::Borrowed(item));
    Usage {
        tat: key.tat,
        reservation_tats: Class::ALL.map(|class| match class {
            Class::Poller => key.slot_poller,
            Class::Status => key.slot_status,
            Class::Recheck => key.slot_recheck,
            Class::Resync => None,
        }),
        paused_until: key.paused_until,
        refusals: key.refusals,
        suspended_until: key.suspended_until,
        probe_wait: key.probe_wait.map(Duration::from_secs),
        event_seq: key.event_seq,
        pages: key.pages,
        page_turn: key.page_turn,
        lists: Product::ALL.map(|product| read_list(item, product)),
        permits: key.permits,
    }
}

fn read_list(item: &Item, product: Product) -> ListTrust {
    let prefix = of_list(product, "");
    let field = |(name, value): (&String, &AttributeValue)| {
        Some((name.strip_prefix(&prefix)?.to_owned(), value.clone()))
    };
    read(Cow::Owned(item.iter().filter_map(field).collect()))
}

/// Events that are not published yet, ascending. Unreadable ones are left out.
pub(super) fn read_events(item: &Item) -> Vec<VendorEvent> {
    let events = item.get("events").and_then(|events| events.as_l().ok());
    let event = |event: &AttributeValue| serde_dynamo::from_attribute_value(event.clone()).ok();
    events.into_iter().flatten().filter_map(event).collect()
}

/// Unreadable attributes count as absent: a bucket then starts empty, and the next update writes it anew.
fn read<T: DeserializeOwned + Default>(mut item: Cow<'_, Item>) -> T {
    loop {
        let whole = AttributeValue::M(item.as_ref().clone());
        let whole = serde_dynamo::Deserializer::from_attribute_value(whole.into());
        let error = match serde_path_to_error::deserialize(whole) {
            Ok(read) => return read,
            Err(error) => error,
        };
        let Some(Segment::Map { key }) = error.path().iter().next() else { return T::default() };
        if item.to_mut().remove(key).is_none() {
            return T::default();
        }
    }
}

/// `product from to at;…`, times in milliseconds. Compact, since every permit writes the whole item.
pub(super) fn write_pages(pages: &[UnderWay]) -> String {
    let page = |UnderWay { page, at }: &UnderWay| {
        let (from, to) = (page.from.as_millisecond(), page.to.as_millisecond());
        format!("{} {from} {to} {}", page.product, at.as_millisecond())
    };
    pages.iter().map(page).collect::<Vec<_>>().join(";")
}

/// Unreadable pages are left out; they may be requested twice then.
fn read_pages<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<UnderWay>, D::Error> {
    let page = |text: &str| {
        let mut words = text.split(' ');
        let product = words.next()?.parse().ok()?;
        let mut time = || Timestamp::from_millisecond(words.next()?.parse().ok()?).ok();
        let (from, to, at) = (time()?, time()?, time()?);
        Some(UnderWay { page: Page { product, from, to }, at })
    };
    Ok(String::deserialize(from)?.split(';').filter_map(page).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(value: i64) -> AttributeValue {
        AttributeValue::N(value.to_string())
    }

    #[test]
    fn the_stored_state_of_a_key_is_read() {
        let at = |ms| Timestamp::from_millisecond(ms).unwrap();
        let page = UnderWay { page: Page { product: Product::Internet, from: at(1), to: at(2) }, at: at(3) };
        let mut item = item_key(&Fingerprint::stored("k"));
        for (name, value) in [
            ("slot", 1_760_000_000_000_001),
            ("slot_status", 7),
            ("paused_until", 1000),
            ("probe_wait", 960),
            ("refusals", 2),
            ("event_seq", 4),
            ("page_turn", 5),
            ("permits", 6),
            ("list_internet_off_until", 2000),
            ("list_internet_failures", 3),
        ] {
            item.insert(name.to_owned(), number(value));
        }
        item.insert("pages".to_owned(), AttributeValue::S(format!("nonsense;{}", write_pages(&[page]))));
        item.insert("list_internet_said".to_owned(), AttributeValue::S("x".to_owned()));
        let internet =
            ListTrust { off_until: Some(at(2000)), published_trouble: Some("x".to_owned()), failures: 3 };
        let expected = Usage {
            tat: Some(1_760_000_000_000_001),
            reservation_tats: [None, Some(7), None],
            paused_until: Some(at(1000)),
            refusals: 2,
            suspended_until: None,
            probe_wait: Some(Duration::from_secs(960)),
            event_seq: 4,
            pages: vec![page],
            page_turn: 5,
            lists: [ListTrust::default(), internet],
            permits: 6,
        };
        assert_eq!(read_usage(&item), expected);
    }

    #[test]
    fn an_unreadable_attribute_counts_as_absent() {
        let mut item = Item::from([("slot".to_owned(), number(5)), ("event_seq".to_owned(), number(9))]);
        for name in ["slot_poller", "paused_until", "refusals", "pages", "list_mobile_failures"] {
            item.insert(name.to_owned(), AttributeValue::Bool(true));
        }
        item.insert("permits".to_owned(), AttributeValue::N("1.5".to_owned()));
        item.insert("suspended_until".to_owned(), number(i64::MAX));
        item.insert("page_turn".to_owned(), AttributeValue::Null(true));
        assert_eq!(read_usage(&item), Usage { tat: Some(5), event_seq: 9, ..Usage::default() });
        assert_eq!(read_usage(&Item::new()), Usage::default());
    }

    #[test]
    fn an_unreadable_event_is_left_out() {
        let event = VendorEvent {
            seq: 3,
            detail_type: "Vendor Resumed".to_owned(),
            occurred_at: Timestamp::from_millisecond(1_760_000_000_123).unwrap(),
            detail: "{}".to_owned(),
        };
        let written: AttributeValue = serde_dynamo::to_attribute_value(&event).unwrap();
        assert_eq!(written.as_m().unwrap()["occurred_at"], number(1_760_000_000_123));
        let events = AttributeValue::L(vec![AttributeValue::Bool(true), written]);
        assert_eq!(read_events(&Item::from([("events".to_owned(), events)])), [event]);
    }
}
