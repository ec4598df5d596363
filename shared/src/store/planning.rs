//! Reads for planning calls: the orders in flight, and many orders at once.

use std::collections::HashSet;

use aws_sdk_dynamodb::types::AttributeValue;
use futures_util::future::try_join_all;
use jiff::Timestamp;

use super::{Store, StoreError, due::read_key, item};
use crate::order::{Order, OrderKey};

/// Orders in flight that a plan includes; if there are more, those in flight for longest.
const MAX_IN_FLIGHT: usize = 4000;

impl Store {
    /// The orders in flight that are not due yet: the recheck processes those that are due. The index lags behind the
    /// table.
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
            .map_err(|error| StoreError::unavailable("query the orders in flight", &error))?;
        Ok(page.items().iter().filter_map(read_key).collect())
    }

    /// Loads these orders with an eventually consistent read, in any order: a commit detects outdated ones. Orders
    /// that are not tracked or cannot be read are left out. A key given twice is loaded once (the index may show an
    /// order in two parts).
    ///
    /// # Errors
    /// If DynamoDB fails.
    pub async fn load_many(&self, keys: &[OrderKey]) -> Result<Vec<Order>, StoreError> {
        let mut orders = Vec::with_capacity(keys.len());
        let mut named = HashSet::with_capacity(keys.len());
        let keys: Vec<&OrderKey> = keys.iter().filter(|key| named.insert(*key)).collect();
        let keys = keys.into_iter().map(item::order_key).collect();
        for stored in self.batch_get(keys, "read orders").await?.found {
            let Some(key) = read_key(&stored) else { continue };
            match item::read_order(&key, stored) {
                Ok(order) => orders.push(order),
                Err(error) => {
                    tracing::error!(order = %key, %error, "an order could not be read and is skipped")
                }
            }
        }
        Ok(orders)
    }
}
