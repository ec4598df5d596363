//! Items: converts an order's record to attributes and back, and changes to update expressions.

use std::collections::{BTreeMap, BTreeSet};

use aws_sdk_dynamodb::types::AttributeValue;
use base64::{Engine, engine::general_purpose::STANDARD};
use jiff::{Timestamp, fmt::serde::timestamp::millisecond};
use serde::{
    Deserialize, Serialize,
    de::{DeserializeOwned, IntoDeserializer, value::StrDeserializer},
};
use serde_dynamo::string_set;

use super::{Item, StoreError, feed::FeedCursor, update::Change};
use crate::order::{
    Facts, Order, OrderId, OrderKey, Outcome, ParkedAs, Phase, Product, Ref, SealedCard, TroubleRun,
};

/// The sort key of an order.
pub(super) const ORDER: &str = "ORDER";

/// The due index has this many partitions for orders that are not in flight: enough for thousands of orders per
/// second.
pub(super) const SHARDS: [&str; 4] = ["0", "1", "2", "3"];
/// Partitions of the due index for orders in flight, so that a plan reads them without reading parked orders.
pub(super) const IN_FLIGHT: [&str; 2] = ["f0", "f1"];

/// The partition of the due index for events that opened a review: from their commit until the review is closed. `due_at` is the event's time.
pub(super) const OPEN_REVIEWS: &str = "reviews/open";

/// The tracker's own attributes of an order; [`Facts`] has the vendor's. Times are milliseconds since 1970. An
/// attribute without a value is absent. A stored name never changes: fields with a newer name in the code are renamed
/// here, so that every old item stays readable.
#[derive(Debug, Serialize, Deserialize)]
struct OrderItem {
    pk: String,
    sk: String,
    product: Product,
    id: OrderId,
    #[serde(rename = "ref", skip_serializing_if = "Option::is_none")]
    reference: Option<Ref>,
    #[serde(skip_serializing_if = "Option::is_none")]
    card_ciphertext: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    card_masked: Option<String>,
    phase: PhaseName,
    #[serde(default, with = "millisecond::optional", skip_serializing_if = "Option::is_none")]
    in_flight_since: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    parked_as: Option<ParkedAs>,
    #[serde(default, with = "millisecond::optional", skip_serializing_if = "Option::is_none")]
    parked_since: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    outcome: Option<Outcome>,
    #[serde(with = "millisecond::required")]
    tracked_at: Timestamp,
    #[serde(default, with = "millisecond::optional", skip_serializing_if = "Option::is_none")]
    first_seen_at: Option<Timestamp>,
    #[serde(default, with = "millisecond::optional", skip_serializing_if = "Option::is_none")]
    asked_at: Option<Timestamp>,
    #[serde(default, with = "millisecond::optional", skip_serializing_if = "Option::is_none")]
    checked_at: Option<Timestamp>,
    #[serde(with = "millisecond::required")]
    changed_at: Timestamp,
    #[serde(
        rename = "next_look_at",
        default,
        with = "millisecond::optional",
        skip_serializing_if = "Option::is_none"
    )]
    next_check_at: Option<Timestamp>,
    #[serde(default, with = "millisecond::optional", skip_serializing_if = "Option::is_none")]
    recheck_asked_at: Option<Timestamp>,
    #[serde(rename = "rung", default)]
    attempt: u32,
    #[serde(default)]
    failures: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    trouble_count: Option<u32>,
    #[serde(default, with = "millisecond::optional", skip_serializing_if = "Option::is_none")]
    trouble_since: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    first_parked: BTreeMap<String, i64>,
    #[serde(default)]
    reviewed: BTreeSet<String>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    open_reviews: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "is_false")]
    unlisted: bool,
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty", serialize_with = "string_set::serialize")]
    links: BTreeSet<OrderId>,
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty", serialize_with = "string_set::serialize")]
    linked_from: BTreeSet<OrderId>,
    #[serde(default, with = "millisecond::optional", skip_serializing_if = "Option::is_none")]
    redacted_at: Option<Timestamp>,
    version: u64,
    seq: u32,
    #[serde(rename = "announced")]
    published: u32,
}

fn is_false(value: &bool) -> bool {
    !value
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum PhaseName {
    InFlight,
    Parked,
    Final,
}

pub(super) fn partition(key: &OrderKey) -> String {
    format!("{}#{}", key.product, key.id)
}

pub(super) fn order_key(key: &OrderKey) -> Item {
    item_key(key, ORDER)
}

pub(super) fn item_key(key: &OrderKey, sort: &str) -> Item {
    Item::from([
        ("pk".to_owned(), AttributeValue::S(partition(key))),
        ("sk".to_owned(), AttributeValue::S(sort.to_owned())),
    ])
}

/// The partition of the due index for an order that is not in flight. Constant for a key, and evenly distributed.
pub(super) fn shard(key: &OrderKey) -> &'static str {
    spread(key, &SHARDS)
}

/// The partition of the due index for this order.
pub(super) fn part(order: &Order) -> &'static str {
    match order.phase {
        Phase::InFlight { .. } => spread(&order.key, &IN_FLIGHT),
        Phase::Parked { .. } | Phase::Final { .. } => shard(&order.key),
    }
}

fn spread(key: &OrderKey, parts: &[&'static str]) -> &'static str {
    let sum =
        partition(key).bytes().fold(0u32, |sum, byte| sum.wrapping_mul(31).wrapping_add(u32::from(byte)));
    let index = usize::try_from(sum).unwrap_or_default() % parts.len().max(1);
    parts.get(index).copied().unwrap_or("0")
}

pub(super) fn millis(time: Timestamp) -> AttributeValue {
    AttributeValue::N(time.as_millisecond().to_string())
}

pub(super) fn number(value: impl Into<i128>) -> AttributeValue {
    AttributeValue::N(value.into().to_string())
}

pub(super) fn text(value: impl Into<String>) -> AttributeValue {
    AttributeValue::S(value.into())
}

/// Sets `due_at` and the partition; `None` removes the order from the index.
pub(super) fn set_due(change: Change, part: &str, due_at: Option<Timestamp>) -> Change {
    change.set_or_remove("due_at", due_at.map(millis)).set_or_remove("due_shard", due_at.map(|_| text(part)))
}

/// The item of an order, without `due_at` and `due_shard`.
///
/// # Errors
/// If the record cannot be serialised.
pub fn write_order(order: &Order) -> Result<Item, StoreError> {
    let mut item = attributes(&order.key, &OrderItem::from(order))?;
    item.extend(attributes(&order.key, &order.facts)?);
    if let Some(reference) = &order.reference {
        item.extend(listed_by_ref(&order.key, reference, order.tracked_at));
    }
    Ok(item)
}

/// The partition of the index `feed` with the orders of one reference. Events are in another one.
pub(super) fn ref_partition(reference: &Ref) -> String {
    format!("ref#{}", reference.as_str())
}

/// The attributes by which the index `feed` finds an order by its reference: `{tracked_at, 13 digits}#{pk}` sorts them.
pub(super) fn listed_by_ref(
    key: &OrderKey,
    reference: &Ref,
    tracked_at: Timestamp,
) -> [(String, AttributeValue); 2] {
    let place = format!("{}#{}", FeedCursor::at(tracked_at).as_str(), partition(key));
    [("feed".to_owned(), text(ref_partition(reference))), ("feed_at".to_owned(), text(place))]
}

/// Serialises a value to attributes.
pub(super) fn attributes(key: &OrderKey, value: &impl Serialize) -> Result<Item, StoreError> {
    serde_dynamo::to_item(value)
        .map_err(|error| StoreError::Corrupt { key: key.clone(), why: error.to_string() })
}

/// The change from the item of `before` to that of `after`. Names only attributes that differ.
///
/// # Errors
/// If one of the records cannot be serialised.
pub(super) fn difference(before: &Order, after: &Order) -> Result<Change, StoreError> {
    let (old, new) = (write_order(before)?, write_order(after)?);
    let gone = old.keys().filter(|name| !new.contains_key(*name));
    let change = gone.fold(Change::default(), Change::remove);
    let differs = |(name, value): &(String, AttributeValue)| old.get(name) != Some(value);
    Ok(new.into_iter().filter(differs).fold(change, |change, (name, value)| change.set(name, value)))
}

impl From<&Order> for OrderItem {
    fn from(order: &Order) -> Self {
        let mut item = Self {
            pk: partition(&order.key),
            sk: ORDER.to_owned(),
            product: order.key.product,
            id: order.key.id.clone(),
            reference: order.reference.clone(),
            card_ciphertext: order.card.as_ref().map(|card| STANDARD.encode(&card.ciphertext)),
            card_masked: order.card.as_ref().map(|card| card.masked.clone()),
            phase: PhaseName::InFlight,
            in_flight_since: None,
            parked_as: None,
            parked_since: None,
            outcome: None,
            tracked_at: order.tracked_at,
            first_seen_at: order.first_seen_at,
            asked_at: order.asked_at,
            checked_at: order.checked_at,
            changed_at: order.changed_at,
            next_check_at: order.next_check_at,
            recheck_asked_at: order.recheck_asked_at,
            attempt: order.attempt,
            failures: order.failures,
            trouble_count: order.trouble.map(|run| run.count),
            trouble_since: order.trouble.map(|run| run.since),
            first_parked: write_first_parked(order),
            reviewed: order.reviewed.clone(),
            open_reviews: write_open_reviews(order),
            unlisted: order.unlisted,
            links: order.links.clone(),
            linked_from: order.linked_from.clone(),
            redacted_at: order.redacted_at,
            version: order.version,
            seq: order.seq,
            published: order.published,
        };
        item.set_phase(order.phase);
        item
    }
}

impl OrderItem {
    fn set_phase(&mut self, phase: Phase) {
        match phase {
            Phase::InFlight { since } => {
                (self.phase, self.in_flight_since) = (PhaseName::InFlight, Some(since));
            }
            Phase::Parked { parked_as, since } => {
                self.phase = PhaseName::Parked;
                (self.parked_as, self.parked_since) = (Some(parked_as), Some(since));
            }
            Phase::Final { outcome } => (self.phase, self.outcome) = (PhaseName::Final, Some(outcome)),
        }
    }

    /// `None`: an attribute of the phase is missing.
    fn phase(&self) -> Option<Phase> {
        Some(match self.phase {
            PhaseName::InFlight => Phase::InFlight { since: self.in_flight_since? },
            PhaseName::Parked => Phase::Parked { parked_as: self.parked_as?, since: self.parked_since? },
            PhaseName::Final => Phase::Final { outcome: self.outcome? },
        })
    }

    fn card(&self) -> Result<Option<SealedCard>, base64::DecodeError> {
        let Some(text) = &self.card_ciphertext else { return Ok(None) };
        let masked = self.card_masked.clone().unwrap_or_default();
        Ok(Some(SealedCard { ciphertext: STANDARD.decode(text)?, masked }))
    }
}

/// Reads the order of an item. Unknown attributes are ignored.
///
/// # Errors
/// [`StoreError::Corrupt`] names the attribute, never its value.
pub fn read_order(key: &OrderKey, mut stored: Item) -> Result<Order, StoreError> {
    let corrupt = |why: &str| StoreError::Corrupt { key: key.clone(), why: why.to_owned() };
    let facts = Facts::STORED.iter().filter_map(|name| stored.remove_entry(*name)).collect();
    let facts: Facts = read(key, facts)?;
    let item: OrderItem = read(key, stored)?;
    Ok(Order {
        facts,
        card: item.card().map_err(|_| corrupt("card_ciphertext is not base64"))?,
        phase: item.phase().ok_or_else(|| corrupt("the phase is incomplete"))?,
        key: OrderKey { product: item.product, id: item.id },
        reference: item.reference,
        tracked_at: item.tracked_at,
        first_seen_at: item.first_seen_at,
        asked_at: item.asked_at,
        checked_at: item.checked_at,
        changed_at: item.changed_at,
        next_check_at: item.next_check_at,
        recheck_asked_at: item.recheck_asked_at,
        attempt: item.attempt,
        failures: item.failures,
        trouble: item.trouble_count.zip(item.trouble_since).map(|(count, since)| TroubleRun { count, since }),
        first_parked: read_first_parked(&item.first_parked),
        reviewed: item.reviewed,
        open_reviews: item
            .open_reviews
            .into_iter()
            .filter_map(|(seq, why)| Some((seq.parse().ok()?, why)))
            .collect(),
        unlisted: item.unlisted,
        links: item.links,
        linked_from: item.linked_from,
        redacted_at: item.redacted_at,
        version: item.version,
        seq: item.seq,
        published: item.published,
    })
}

/// Reads a part of an order's record. An error contains only the path: serde's message would repeat the value.
pub(super) fn read<T: DeserializeOwned>(key: &OrderKey, stored: Item) -> Result<T, StoreError> {
    let stored = serde_dynamo::Deserializer::from_attribute_value(AttributeValue::M(stored).into());
    serde_path_to_error::deserialize(stored)
        .map_err(|error| StoreError::Corrupt { key: key.clone(), why: format!("at {}", error.path()) })
}

fn write_open_reviews(order: &Order) -> BTreeMap<String, String> {
    order.open_reviews.iter().map(|(seq, reason)| (seq.to_string(), reason.clone())).collect()
}

fn write_first_parked(order: &Order) -> BTreeMap<String, i64> {
    let entry =
        |(parked_as, first): (&ParkedAs, &Timestamp)| (parked_as.as_str().to_owned(), first.as_millisecond());
    order.first_parked.iter().map(entry).collect()
}

/// Ignores values of `parked_as` that this version does not know.
fn read_first_parked(stored: &BTreeMap<String, i64>) -> BTreeMap<ParkedAs, Timestamp> {
    let known = |name: &str| {
        let name: StrDeserializer<'_, serde::de::value::Error> = name.into_deserializer();
        ParkedAs::deserialize(name).ok()
    };
    let entry = |(name, ms): (&String, &i64)| Some((known(name)?, Timestamp::from_millisecond(*ms).ok()?));
    stored.iter().filter_map(entry).collect()
}

#[cfg(test)]
mod tests;
