//! What planning calls needs of the table: who is in flight, many orders at once, and what was learnt of when they end.

use std::collections::{HashMap, HashSet};

use aws_sdk_dynamodb::types::{AttributeValue, KeysAndAttributes};
use futures_util::future::try_join_all;
use jiff::Timestamp;

use super::{Item, Store, StoreError, due::read_key, item, lost_update};
use crate::{
    order::{Order, OrderKey, Product},
    planner::Chances,
};

/// `BatchGetItem` takes so many keys.
const MOST_KEYS: usize = 100;
/// How often keys that DynamoDB left out are asked for again.
const MOST_TRIES: usize = 4;
/// So many orders in flight are planned over; of more, those in flight for longest.
const MOST_IN_FLIGHT: usize = 4000;

/// What was learnt of when a product's orders end, and the version that it was stored as.
#[derive(Clone, Debug)]
pub struct Learnt {
    /// The chances.
    pub chances: Chances,
    /// 0: it was never stored.
    pub version: i64,
}

impl Store {
    /// Orders in flight, but those that are due already: the sweep sees to them. The index lags behind the table.
    ///
    /// # Errors
    /// If DynamoDB fails.
    pub async fn in_flight(&self, now: Timestamp) -> Result<Vec<OrderKey>, StoreError> {
        let parts = item::IN_FLIGHT.map(|part| self.in_flight_part(part, now));
        Ok(try_join_all(parts).await?.into_iter().flatten().collect())
    }

    async fn in_flight_part(&self, part: &str, now: Timestamp) -> Result<Vec<OrderKey>, StoreError> {
        let most = MOST_IN_FLIGHT / item::IN_FLIGHT.len();
        let page = self
            .client
            .query()
            .table_name(&self.table)
            .index_name("due")
            .key_condition_expression("due_shard = :shard AND due_at > :now")
            .expression_attribute_values(":shard", AttributeValue::S(part.to_owned()))
            .expression_attribute_values(":now", item::millis(now))
            .limit(i32::try_from(most).unwrap_or(i32::MAX))
            .send()
            .await
            .map_err(|error| StoreError::unavailable("ask who is in flight", &error))?;
        Ok(page.items().iter().filter_map(read_key).collect())
    }

    /// These orders as they are or were a moment ago (an eventually consistent read: whoever commits finds out), in any order; one that
    /// is not tracked or cannot be read is left out, and one that is named twice is there once (the index may show it in two parts).
    ///
    /// # Errors
    /// If DynamoDB fails.
    pub async fn load_many(&self, keys: &[OrderKey]) -> Result<Vec<Order>, StoreError> {
        let mut orders = Vec::with_capacity(keys.len());
        let mut named = HashSet::with_capacity(keys.len());
        let keys: Vec<&OrderKey> = keys.iter().filter(|key| named.insert(*key)).collect();
        for some in keys.chunks(MOST_KEYS) {
            let mut wanted: Vec<Item> = some.iter().map(|key| item::order_key(key)).collect();
            for _ in 0..MOST_TRIES {
                if wanted.is_empty() {
                    break;
                }
                let asked = KeysAndAttributes::builder().set_keys(Some(wanted)).build();
                let asked = asked.map_err(|error| StoreError::Unavailable {
                    what: "build a request",
                    why: error.to_string(),
                })?;
                let found = self
                    .client
                    .batch_get_item()
                    .request_items(&self.table, asked)
                    .send()
                    .await
                    .map_err(|error| StoreError::unavailable("read orders", &error))?;
                let items =
                    found.responses.and_then(|mut by_table| by_table.remove(&self.table)).unwrap_or_default();
                orders.extend(items.into_iter().filter_map(|stored| {
                    let key = read_key(&stored)?;
                    let order = item::read_order(&key, stored);
                    order.inspect_err(|error| tracing::error!(order = %key, %error, "left out")).ok()
                }));
                let left = found.unprocessed_keys.and_then(|mut by_table| by_table.remove(&self.table));
                wanted = left.map(|left| left.keys).unwrap_or_default();
            }
        }
        Ok(orders)
    }

    /// What was learnt of when a product's orders end.
    ///
    /// # Errors
    /// If DynamoDB fails.
    pub async fn learnt(&self, product: Product) -> Result<Learnt, StoreError> {
        let found = self
            .client
            .get_item()
            .table_name(&self.table)
            .set_key(Some(chance_key(product)))
            .send()
            .await
            .map_err(|error| StoreError::unavailable("read what was learnt", &error))?
            .item
            .unwrap_or_default();
        let text = found.get("chances").and_then(|text| text.as_s().ok());
        let version = found.get("version").and_then(|version| version.as_n().ok()?.parse().ok());
        Ok(Learnt {
            chances: text
                .map_or_else(|| Chances::documented(product), |text| Chances::from_text(product, text)),
            version: version.unwrap_or_default(),
        })
    }

    /// Keeps what was learnt, unless somebody has learnt something else since: false. That sample is lost, and nothing else.
    ///
    /// # Errors
    /// If DynamoDB fails.
    pub async fn keep_learnt(&self, product: Product, learnt: &Learnt) -> Result<bool, StoreError> {
        let number = |value: i64| AttributeValue::N(value.to_string());
        let result = self
            .client
            .update_item()
            .table_name(&self.table)
            .set_key(Some(chance_key(product)))
            .update_expression("SET chances = :chances, version = :next")
            .condition_expression("attribute_not_exists(version) OR version = :version")
            .expression_attribute_values(":chances", AttributeValue::S(learnt.chances.to_text()))
            .expression_attribute_values(":version", number(learnt.version))
            .expression_attribute_values(":next", number(learnt.version.saturating_add(1)))
            .send()
            .await;
        match result {
            Ok(_) => Ok(true),
            Err(error) if lost_update(&error) => Ok(false),
            Err(error) => Err(StoreError::unavailable("keep what was learnt", &error)),
        }
    }
}

fn chance_key(product: Product) -> Item {
    HashMap::from([
        ("pk".to_owned(), AttributeValue::S(format!("CHANCE#{product}"))),
        ("sk".to_owned(), AttributeValue::S("CHANCE".to_owned())),
    ])
}
