//! Items: the record as attributes, and changes to it as expressions.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use aws_sdk_dynamodb::types::AttributeValue;
use base64::{Engine, engine::general_purpose::STANDARD};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_dynamo::string_set;

use super::{Item, StoreError};
use crate::order::{
    Amount, Facts, JsonText, Order, OrderId, OrderKey, Outcome, ParkedAs, Phase, Product, Ref, SealedCard,
    TroubleRun, VendorStatus,
};

/// The due index is spread over so many partitions; a handful does for thousands of orders a second.
pub(super) const SHARDS: [&str; 4] = ["0", "1", "2", "3"];
/// Orders in flight have parts of their own: who plans a call finds them without passing all that are parked.
pub(super) const IN_FLIGHT: [&str; 2] = ["f0", "f1"];

/// An order as the table keeps it. Times are milliseconds since 1970; amounts and `suggested_offers` are the vendor's own
/// text. An attribute with no value is absent.
#[derive(Debug, Serialize, Deserialize)]
struct OrderItem {
    pk: String,
    sk: String,
    product: Product,
    id: OrderId,
    #[serde(rename = "ref", skip_serializing_if = "Option::is_none")]
    reference: Option<Ref>,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<VendorStatus>,
    #[serde(skip_serializing_if = "Option::is_none")]
    vendor_ref: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    number: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    plan_code: Option<String>,
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    kind: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    topup_amount: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    balance_amount: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    refund_message: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    suggested_offers: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    num_trans: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    date_traitement: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    follow_order_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    retry_order_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    created_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    card_ciphertext: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    card_masked: Option<String>,
    phase: PhaseName,
    #[serde(skip_serializing_if = "Option::is_none")]
    in_flight_since: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    parked_as: Option<ParkedAs>,
    #[serde(skip_serializing_if = "Option::is_none")]
    parked_since: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    outcome: Option<Outcome>,
    tracked_at: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    first_seen_at: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    asked_at: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    checked_at: Option<i64>,
    changed_at: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_look_at: Option<i64>,
    #[serde(default)]
    rung: u32,
    #[serde(default)]
    failures: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    trouble_count: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    trouble_since: Option<i64>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    first_parked: BTreeMap<String, i64>,
    #[serde(default)]
    reviewed: Vec<String>,
    #[serde(default, skip_serializing_if = "is_false")]
    unlisted: bool,
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty", serialize_with = "string_set::serialize")]
    links: BTreeSet<OrderId>,
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty", serialize_with = "string_set::serialize")]
    linked_from: BTreeSet<OrderId>,
    version: u64,
    seq: u32,
    announced: u32,
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
    item_key(key, "ORDER")
}

pub(super) fn item_key(key: &OrderKey, sort: &str) -> Item {
    Item::from([
        ("pk".to_owned(), AttributeValue::S(partition(key))),
        ("sk".to_owned(), AttributeValue::S(sort.to_owned())),
    ])
}

/// Which part of the due index an order is in: the same for ever, spread evenly.
pub(super) fn shard(key: &OrderKey) -> &'static str {
    spread(key, &SHARDS)
}

/// Where in the due index this order is.
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

pub(super) fn number(value: i64) -> AttributeValue {
    AttributeValue::N(value.to_string())
}

pub(super) fn text(value: impl Into<String>) -> AttributeValue {
    AttributeValue::S(value.into())
}

pub(super) fn set_due(item: &mut Item, order: &Order, due_at: Option<Timestamp>) {
    if let Some(due_at) = due_at {
        item.insert("due_at".to_owned(), millis(due_at));
        item.insert("due_shard".to_owned(), AttributeValue::S(part(order).to_owned()));
    }
}

/// The item of an order, less when it is due.
///
/// # Errors
/// If it cannot be written as attributes.
pub fn write_order(order: &Order) -> Result<Item, StoreError> {
    attributes(order, OrderItem::from(order))
}

fn attributes(order: &Order, item: OrderItem) -> Result<Item, StoreError> {
    serde_dynamo::to_item(item)
        .map_err(|error| StoreError::Corrupt { key: order.key.clone(), why: error.to_string() })
}

impl From<&Order> for OrderItem {
    fn from(order: &Order) -> Self {
        let facts = &order.facts;
        let ms = |time: Option<Timestamp>| time.map(Timestamp::as_millisecond);
        let (phase, in_flight_since, parked_as, parked_since, outcome) = match order.phase {
            Phase::InFlight { since } => (PhaseName::InFlight, Some(since), None, None, None),
            Phase::Parked { parked_as, since } => {
                (PhaseName::Parked, None, Some(parked_as), Some(since), None)
            }
            Phase::Final { outcome } => (PhaseName::Final, None, None, None, Some(outcome)),
        };
        Self {
            pk: partition(&order.key),
            sk: "ORDER".to_owned(),
            product: order.key.product,
            id: order.key.id.clone(),
            reference: order.reference.clone(),
            status: facts.status.clone(),
            vendor_ref: facts.vendor_ref.clone(),
            number: facts.number.clone(),
            plan_code: facts.plan_code.clone(),
            kind: facts.kind.clone(),
            topup_amount: facts.topup_amount.as_ref().map(|amount| amount.as_str().to_owned()),
            balance_amount: facts.balance_amount.as_ref().map(|amount| amount.as_str().to_owned()),
            refund_message: facts.refund_message.clone(),
            suggested_offers: facts.suggested_offers.as_ref().map(|json| json.get().to_owned()),
            num_trans: facts.num_trans.clone(),
            date_traitement: facts.date_traitement.clone(),
            follow_order_id: facts.follow_order_id.clone(),
            retry_order_id: facts.retry_order_id.clone(),
            created_at: facts.created_at.clone(),
            card_ciphertext: order.card.as_ref().map(|card| STANDARD.encode(&card.ciphertext)),
            card_masked: order.card.as_ref().map(|card| card.masked.clone()),
            phase,
            in_flight_since: ms(in_flight_since),
            parked_as,
            parked_since: ms(parked_since),
            outcome,
            tracked_at: order.tracked_at.as_millisecond(),
            first_seen_at: ms(order.first_seen_at),
            asked_at: ms(order.asked_at),
            checked_at: ms(order.checked_at),
            changed_at: order.changed_at.as_millisecond(),
            next_look_at: ms(order.next_look_at),
            rung: order.rung,
            failures: order.failures,
            trouble_count: order.trouble.map(|run| run.count),
            trouble_since: ms(order.trouble.map(|run| run.since)),
            first_parked: order
                .first_parked
                .iter()
                .map(|(parked_as, first)| (parked_as.as_str().to_owned(), first.as_millisecond()))
                .collect(),
            reviewed: order.reviewed.iter().cloned().collect(),
            unlisted: order.unlisted,
            links: order.links.clone(),
            linked_from: order.linked_from.clone(),
            version: order.version,
            seq: order.seq,
            announced: order.announced,
        }
    }
}

impl OrderItem {
    /// Forgets what is the same in both, as far as it may be absent: only what differs is written.
    fn forget_what_is_the_same(&mut self, other: &mut Self) {
        fn same<T: PartialEq>(one: &mut Option<T>, other: &mut Option<T>) {
            if one == other {
                (*one, *other) = (None, None);
            }
        }
        same(&mut self.reference, &mut other.reference);
        same(&mut self.status, &mut other.status);
        same(&mut self.vendor_ref, &mut other.vendor_ref);
        same(&mut self.number, &mut other.number);
        same(&mut self.plan_code, &mut other.plan_code);
        same(&mut self.kind, &mut other.kind);
        same(&mut self.topup_amount, &mut other.topup_amount);
        same(&mut self.balance_amount, &mut other.balance_amount);
        same(&mut self.refund_message, &mut other.refund_message);
        same(&mut self.suggested_offers, &mut other.suggested_offers);
        same(&mut self.num_trans, &mut other.num_trans);
        same(&mut self.date_traitement, &mut other.date_traitement);
        same(&mut self.created_at, &mut other.created_at);
        same(&mut self.card_ciphertext, &mut other.card_ciphertext);
        same(&mut self.card_masked, &mut other.card_masked);
        same(&mut self.in_flight_since, &mut other.in_flight_since);
        same(&mut self.parked_since, &mut other.parked_since);
        same(&mut self.first_seen_at, &mut other.first_seen_at);
        same(&mut self.asked_at, &mut other.asked_at);
        same(&mut self.checked_at, &mut other.checked_at);
        same(&mut self.next_look_at, &mut other.next_look_at);
    }
}

/// The order of an item; attributes that we do not know are passed over.
///
/// # Errors
/// [`StoreError::Corrupt`] says at which attribute it breaks, and not what stands there.
pub fn read_order(key: &OrderKey, stored: Item) -> Result<Order, StoreError> {
    let corrupt = |why: &str| StoreError::Corrupt { key: key.clone(), why: why.to_owned() };
    // By path, and not in the library's own words: they repeat the value that they stumble over.
    let stored = serde_dynamo::Deserializer::from_attribute_value(AttributeValue::M(stored).into());
    let item: OrderItem =
        serde_path_to_error::deserialize(stored).map_err(|error| corrupt(&format!("at {}", error.path())))?;
    let time = |ms: i64| Timestamp::from_millisecond(ms).map_err(|_| corrupt("a time out of range"));
    let times = |ms: Option<i64>| ms.map(time).transpose();
    let amount = |text: Option<String>| {
        text.map(|text| Amount::parse(&text).ok_or_else(|| corrupt("an amount is no number"))).transpose()
    };
    let phase = match (item.phase, item.in_flight_since, item.parked_as, item.parked_since, item.outcome) {
        (PhaseName::InFlight, Some(since), ..) => Phase::InFlight { since: time(since)? },
        (PhaseName::Parked, _, Some(parked_as), Some(since), _) => {
            Phase::Parked { parked_as, since: time(since)? }
        }
        (PhaseName::Final, .., Some(outcome)) => Phase::Final { outcome },
        _ => return Err(corrupt("the phase is incomplete")),
    };
    let card = match (item.card_ciphertext, item.card_masked) {
        (Some(text), masked) => Some(SealedCard {
            ciphertext: STANDARD.decode(text).map_err(|_| corrupt("card_ciphertext is not base64"))?,
            masked: masked.unwrap_or_default(),
        }),
        (None, _) => None,
    };
    let offers = item.suggested_offers.map(JsonText::parse).transpose();
    let trouble = match (item.trouble_count, item.trouble_since) {
        (Some(count), Some(since)) => Some(TroubleRun { count, since: time(since)? }),
        _ => None,
    };
    Ok(Order {
        key: OrderKey { product: item.product, id: item.id },
        reference: item.reference,
        facts: Facts {
            status: item.status,
            vendor_ref: item.vendor_ref,
            number: item.number,
            plan_code: item.plan_code,
            kind: item.kind,
            topup_amount: amount(item.topup_amount)?,
            balance_amount: amount(item.balance_amount)?,
            refund_message: item.refund_message,
            suggested_offers: offers.map_err(|_| corrupt("suggested_offers is not JSON"))?,
            num_trans: item.num_trans,
            date_traitement: item.date_traitement,
            follow_order_id: item.follow_order_id,
            retry_order_id: item.retry_order_id,
            created_at: item.created_at,
        },
        card,
        phase,
        tracked_at: time(item.tracked_at)?,
        first_seen_at: times(item.first_seen_at)?,
        asked_at: times(item.asked_at)?,
        checked_at: times(item.checked_at)?,
        changed_at: time(item.changed_at)?,
        next_look_at: times(item.next_look_at)?,
        rung: item.rung,
        failures: item.failures,
        trouble,
        first_parked: first_parked(&item.first_parked),
        reviewed: item.reviewed.into_iter().collect(),
        unlisted: item.unlisted,
        links: item.links,
        linked_from: item.linked_from,
        version: item.version,
        seq: item.seq,
        announced: item.announced,
    })
}

/// What a newer version parks an order as is passed over.
fn first_parked(stored: &BTreeMap<String, i64>) -> BTreeMap<ParkedAs, Timestamp> {
    let known = |name: &str| ParkedAs::ALL.into_iter().find(|parked_as| parked_as.as_str() == name);
    let entry = |(name, ms): (&String, &i64)| Some((known(name)?, Timestamp::from_millisecond(*ms).ok()?));
    stored.iter().filter_map(entry).collect()
}

/// Attributes to set and to remove, by name; what is not named stays as it is.
#[derive(Debug, Default)]
pub(super) struct Change {
    set: Vec<(String, AttributeValue)>,
    remove: Vec<String>,
    add: Vec<(String, AttributeValue)>,
}

impl Change {
    /// What turns `before` into `after`.
    ///
    /// # Errors
    /// If one of them cannot be written as attributes.
    pub(super) fn between(before: &Order, after: &Order) -> Result<Self, StoreError> {
        let (mut old, mut new) = (OrderItem::from(before), OrderItem::from(after));
        old.forget_what_is_the_same(&mut new);
        let (old, new) = (attributes(before, old)?, attributes(after, new)?);
        let gone = old.keys().filter(|name| !new.contains_key(*name)).cloned().collect();
        let set = new.into_iter().filter(|(name, value)| old.get(name) != Some(value)).collect();
        Ok(Self { set, remove: gone, add: Vec::new() })
    }

    pub(super) fn set(&mut self, name: &str, value: AttributeValue) {
        self.set.push((name.to_owned(), value));
    }

    pub(super) fn remove(&mut self, name: &str) {
        self.remove.push(name.to_owned());
    }

    /// Adds an order's id to a set of them; once is enough.
    pub(super) fn add(&mut self, name: &str, id: &OrderId) {
        self.add.push((name.to_owned(), AttributeValue::Ss(vec![id.to_string()])));
    }

    pub(super) fn set_due(&mut self, part: &str, due_at: Option<Timestamp>) {
        match due_at {
            Some(due_at) => {
                self.set("due_at", millis(due_at));
                self.set("due_shard", AttributeValue::S(part.to_owned()));
            }
            None => self.remove.extend(["due_at".to_owned(), "due_shard".to_owned()]),
        }
    }

    /// Update expression, names and values. Every name is a placeholder: some of ours are DynamoDB's reserved words.
    pub(super) fn into_expression(self) -> (String, HashMap<String, String>, Item) {
        let mut names = HashMap::new();
        let mut values = Item::new();
        let (mut sets, mut removes) = (Vec::new(), Vec::new());
        for (index, (name, value)) in self.set.into_iter().enumerate() {
            names.insert(format!("#s{index}"), name);
            values.insert(format!(":s{index}"), value);
            sets.push(format!("#s{index} = :s{index}"));
        }
        for (index, name) in self.remove.into_iter().enumerate() {
            names.insert(format!("#r{index}"), name);
            removes.push(format!("#r{index}"));
        }
        let mut adds = Vec::new();
        for (index, (name, value)) in self.add.into_iter().enumerate() {
            names.insert(format!("#a{index}"), name);
            values.insert(format!(":a{index}"), value);
            adds.push(format!("#a{index} :a{index}"));
        }
        let mut clauses = Vec::new();
        if !sets.is_empty() {
            clauses.push(format!("SET {}", sets.join(", ")));
        }
        if !removes.is_empty() {
            clauses.push(format!("REMOVE {}", removes.join(", ")));
        }
        if !adds.is_empty() {
            clauses.push(format!("ADD {}", adds.join(", ")));
        }
        (clauses.join(" "), names, values)
    }
}

#[cfg(test)]
mod tests;
