//! The due index: which orders and keys are to be processed by now.

use aws_sdk_dynamodb::types::AttributeValue;
use jiff::Timestamp;

use super::{Item, Store, StoreError, item, permits};
use crate::{order::OrderKey, secret::Fingerprint};

/// What is due, the longest due first within each part of the index.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Due {
    /// The orders.
    pub keys: Vec<OrderKey>,
    /// Keys of the vendor's about which there is something to publish.
    pub vendor_keys: Vec<Fingerprint>,
    /// The moment of what has been due for longest.
    pub oldest: Option<Timestamp>,
    /// Whether there are more than were asked for.
    pub more: bool,
}

impl Store {
    /// Up to `most` orders that are due at `now`. The index lags behind the table: read an order before doing anything.
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
                .map_err(|error| StoreError::unavailable("ask what is due", &error))?;
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

/// What is neither an order nor a key is not ours to touch.
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
