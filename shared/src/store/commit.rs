//! Commits a decision: the order under a condition on its version, and its events in the same transaction.

use aws_sdk_dynamodb::{
    error::{BuildError, SdkError},
    operation::update_item::UpdateItemError,
    types::{AttributeValue, Put, ReturnValuesOnConditionCheckFailure, TransactWriteItem, Update},
};
use jiff::Timestamp;

use super::{
    Item, Store, StoreError,
    error::{failed_transaction, lost_transaction, lost_update},
    history,
    item::{self, number},
    update::{Change, Expression, exists, is},
};
use crate::order::{Event, Order, OrderKey};

/// The result of a commit. A lost race is no error: another process committed first.
#[derive(Clone, Debug, PartialEq)]
pub enum Commit {
    /// Committed; the order as stored.
    Applied(Box<Order>),
    /// The stored order is final: load it and check whether there is anything to publish.
    AlreadyFinal,
    /// The stored order has changed: load it and decide again.
    LostRace,
}

impl Store {
    /// Commits `after` with its new `events` if the stored version is that of `before`, and closes the reviews that `after` has no more. A
    /// transaction holds at most 100 items (DynamoDB); an order has at most 64 reviews.
    ///
    /// # Errors
    /// If DynamoDB fails.
    pub async fn commit(
        &self,
        before: &Order,
        after: Order,
        events: &[Event],
        due_at: Option<Timestamp>,
    ) -> Result<Commit, StoreError> {
        let mut writes = Vec::with_capacity(events.len());
        for event in events {
            writes.push(self.put_new(history::write_committed(event)?)?);
        }
        // The events of reviews that `after` has closed leave the due index in the same transaction.
        for seq in before.open_reviews.keys().filter(|seq| !after.open_reviews.contains_key(seq)) {
            writes.push(self.close_review(&before.key, *seq)?);
        }
        let after = Order { version: before.version.saturating_add(1), ..after };
        let change = item::set_due(item::difference(before, &after)?, item::part(&after), due_at)
            .only_if(is("version", "=", number(before.version)));
        let key = item::order_key(&before.key);
        let lost = if writes.is_empty() {
            self.write_alone(key, change).await?
        } else {
            self.write_together(key, change, writes).await?
        };
        Ok(match lost {
            None => Commit::Applied(Box::new(after)),
            Some(found) if found.iter().any(is_final) => Commit::AlreadyFinal,
            Some(_) => Commit::LostRace,
        })
    }

    async fn write_alone(&self, key: Item, change: Change) -> Result<Option<Vec<Item>>, StoreError> {
        let result = self
            .update_item(key, change)
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
            .send()
            .await;
        match result {
            Ok(_) => Ok(None),
            Err(error) if lost_update(&error) => Ok(Some(found_instead(&error).into_iter().collect())),
            Err(error) => Err(StoreError::unavailable("commit an order", &error)),
        }
    }

    async fn write_together(
        &self,
        key: Item,
        change: Change,
        others: Vec<TransactWriteItem>,
    ) -> Result<Option<Vec<Item>>, StoreError> {
        let mut writes = vec![self.update_existing(key, change)?];
        writes.extend(others);
        let result = self.client.transact_write_items().set_transact_items(Some(writes)).send().await;
        match result {
            Ok(_) => Ok(None),
            Err(error) => match lost_transaction(&error) {
                Some(found) => Ok(Some(found)),
                None => Err(failed_transaction("commit an order with its events", &error)),
            },
        }
    }

    /// Takes the event that opened a review out of the due index.
    fn close_review(&self, key: &OrderKey, seq: u32) -> Result<TransactWriteItem, StoreError> {
        let change = item::set_due(Change::default(), item::OPEN_REVIEWS, None).only_if(exists("pk"));
        self.update_existing(history::numbered_key(key, seq), change)
    }

    /// An update as a part of a transaction. If its condition fails, the stored item is returned.
    fn update_existing(&self, key: Item, change: Change) -> Result<TransactWriteItem, StoreError> {
        let Expression { update, condition, names, values } = change.into_expression();
        let update = Update::builder()
            .table_name(&self.table)
            .set_key(Some(key))
            .update_expression(update)
            .set_condition_expression(condition)
            .set_expression_attribute_names(Some(names))
            .set_expression_attribute_values(values)
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
            .build()
            .map_err(|error| unbuilt(&error))?;
        Ok(TransactWriteItem::builder().update(update).build())
    }

    /// A put under the condition that the item does not exist.
    pub(super) fn put_new(&self, item: Item) -> Result<TransactWriteItem, StoreError> {
        let put = Put::builder()
            .table_name(&self.table)
            .set_item(Some(item))
            .condition_expression("attribute_not_exists(pk)")
            .build()
            .map_err(|error| unbuilt(&error))?;
        Ok(TransactWriteItem::builder().put(put).build())
    }
}

pub(super) fn unbuilt(error: &BuildError) -> StoreError {
    StoreError::Unavailable { what: "build a request", why: error.to_string() }
}

fn found_instead(error: &SdkError<UpdateItemError>) -> Option<Item> {
    match error.as_service_error()? {
        UpdateItemError::ConditionalCheckFailedException(failed) => failed.item().cloned(),
        _ => None,
    }
}

fn is_final(item: &Item) -> bool {
    item.get("phase") == Some(&AttributeValue::S("final".to_owned()))
}

#[cfg(test)]
mod tests;
