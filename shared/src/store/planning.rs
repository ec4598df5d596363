//! What planning calls needs of the table: the orders in flight, and many orders at once.

use std::collections::HashSet;

use aws_sdk_dynamodb::types::{AttributeValue, KeysAndAttributes};
use futures_util::future::try_join_all;
use jiff::Timestamp;

use super::{Item, Store, StoreError, due::read_key, item};
use crate::order::{Order, OrderKey};

/// `BatchGetItem` takes so many keys.
const MAX_KEYS: usize = 100;
/// How often keys that DynamoDB left out are asked for again.
const MAX_TRIES: usize = 4;
/// So many orders in flight are planned over; of more, those in flight for longest.
const MAX_IN_FLIGHT: usize = 4000;

impl Store {
    /// Orders in flight, but those that are due already: the recheck processes them. The index lags behind the table.
    ///
    /// # Errors
    /// If DynamoDB fails.
    pub async fn in_flight(&self, now: Timestamp) -> Result<Vec<OrderKey>, StoreError> {
        let parts = item::IN_FLIGHT.map(|part| self.in_flight_part(part, now));
        Ok(try_join_all(parts).await?.into_iter().flatten().collect())
    }

    async fn in_flight_part(&self, part: &str, now: Timestamp) -> Result<Vec<OrderKey>, StoreError> {
        let most = MAX_IN_FLIGHT / item::IN_FLIGHT.len();
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
        for some in keys.chunks(MAX_KEYS) {
            let mut wanted: Vec<Item> = some.iter().map(|key| item::order_key(key)).collect();
            for _ in 0..MAX_TRIES {
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
}
