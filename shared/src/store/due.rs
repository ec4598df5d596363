//! The due index: orders and keys to process by now.

use aws_sdk_dynamodb::types::AttributeValue;
use jiff::Timestamp;

use super::{Item, Store, StoreError, item, permits};
use crate::{order::OrderKey, secret::Fingerprint};

/// What is due, the earliest first within each part of the index.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Due {
    /// The orders that are due.
    pub keys: Vec<OrderKey>,
    /// Vendor keys with events to publish, or suspended.
    pub vendor_keys: Vec<Fingerprint>,
    /// The earliest `due_at` found.
    pub oldest: Option<Timestamp>,
    /// Whether more are due than were read.
    pub more: bool,
}

impl Store {
    /// About `most` orders and keys that are due at `now`, an equal share from each part. The index lags behind the
    /// table: load an order before changing it.
    ///
    /// # Errors
    /// If DynamoDB fails.
    pub async fn due(&self, now: Timestamp, most: usize) -> Result<Due, StoreError> {
        let mut due = Due::default();
        let parts = [item::IN_FLIGHT.as_slice(), item::SHARDS.as_slice()].concat();
        for part in &parts {
            self.due_in(part, now, most / parts.len(), &mut due).await?;
        }
        Ok(due)
    }

    async fn due_in(
        &self,
        shard: &str,
        now: Timestamp,
        most: usize,
        due: &mut Due,
    ) -> Result<(), StoreError> {
        let mut found = 0;
        let mut next: Option<Item> = None;
        loop {
            let page = self
                .client
                .query()
                .table_name(&self.table)
                .index_name("due")
                .key_condition_expression("due_shard = :shard AND due_at <= :now")
                .expression_attribute_values(":shard", AttributeValue::S(shard.to_owned()))
                .expression_attribute_values(":now", item::millis(now))
                .limit(i32::try_from(most.saturating_sub(found)).unwrap_or(i32::MAX).max(1))
                .set_exclusive_start_key(next)
                .send()
                .await
                .map_err(|error| StoreError::unavailable("query the due index", &error))?;
            found += page.items().len();
            due.keys.extend(page.items().iter().filter_map(read_key));
            due.vendor_keys.extend(page.items().iter().filter_map(read_vendor_key));
            due.oldest = page.items().iter().filter_map(read_due_at).chain(due.oldest).min();
            next = page.last_evaluated_key;
            if next.is_none() {
                return Ok(());
            }
            if found >= most {
                due.more = true;
                return Ok(());
            }
        }
    }
}

/// The order key of an item; `None` for other items.
pub(super) fn read_key(item: &Item) -> Option<OrderKey> {
    let (product, id) = item.get("pk")?.as_s().ok()?.split_once('#')?;
    Some(OrderKey { product: product.parse().ok()?, id: id.parse().ok()? })
}

fn read_vendor_key(item: &Item) -> Option<Fingerprint> {
    item.get("pk")?.as_s().ok()?.strip_prefix(permits::PREFIX).map(Fingerprint::stored)
}

fn read_due_at(item: &Item) -> Option<Timestamp> {
    Timestamp::from_millisecond(item.get("due_at")?.as_n().ok()?.parse().ok()?).ok()
}
