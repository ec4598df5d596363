//! DynamoDB: orders, their history, claims and commits. Nobody else knows the table.
//!
//! Every write is conditional and names the attributes it changes: an older deployed version must not drop what it does
//! not know. Key layout: design §7.

mod commit;
mod due;
mod history;
mod item;
mod looks;
mod permits;
mod update;

use std::collections::HashMap;

use aws_sdk_dynamodb::{
    Client,
    error::SdkError,
    operation::{
        transact_write_items::TransactWriteItemsError,
        update_item::{UpdateItemError, builders::UpdateItemFluentBuilder},
    },
    types::AttributeValue,
};
use aws_smithy_types::error::metadata::ProvideErrorMetadata;
use jiff::Timestamp;

pub use commit::Commit;
pub use due::Due;
pub use item::{read_order, write_order};
pub use permits::{KeyUpdate, VendorOutbox};

use crate::{
    aws::describe,
    order::{Event, Order, OrderId, OrderKey, Ref},
};

/// An item of the table: attributes by name.
pub type Item = HashMap<String, AttributeValue>;

/// The table did not do it.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// DynamoDB failed or refused; it may pass.
    #[error("DynamoDB could not {what}: {why}")]
    Unavailable {
        /// What was asked.
        what: &'static str,
        /// Code and message.
        why: String,
    },
    /// DynamoDB does not take what is to be written, now or later: an item is too large, say.
    #[error("DynamoDB refuses to {what}: {why}")]
    Refused {
        /// What was asked.
        what: &'static str,
        /// Code and message.
        why: String,
    },
    /// What is stored cannot be read.
    #[error("the record of {key} cannot be read: {why}")]
    Corrupt {
        /// Which.
        key: OrderKey,
        /// Where it breaks.
        why: String,
    },
}

impl StoreError {
    fn unavailable<E, R>(what: &'static str, error: &SdkError<E, R>) -> Self
    where
        E: ProvideErrorMetadata,
    {
        let why = describe(error);
        let code = error.as_service_error().and_then(|error| error.meta().code());
        let refused =
            matches!(code, Some("ValidationException" | "ItemCollectionSizeLimitExceededException"));
        if refused { Self::Refused { what, why } } else { Self::Unavailable { what, why } }
    }
}

/// The orders table.
#[derive(Clone, Debug)]
pub struct Store {
    client: Client,
    table: String,
}

/// Whether an order was new.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Registration {
    /// It is tracked from now on.
    Tracked,
    /// It was tracked already.
    AlreadyTracked,
}

impl Store {
    /// The table by name.
    pub fn new(client: Client, table: String) -> Self {
        Self { client, table }
    }

    /// The order, read consistently; `None` if it is not tracked.
    ///
    /// # Errors
    /// If DynamoDB fails, or the record cannot be read.
    pub async fn load(&self, key: &OrderKey) -> Result<Option<Order>, StoreError> {
        let found = self
            .client
            .get_item()
            .table_name(&self.table)
            .set_key(Some(item::order_key(key)))
            .consistent_read(true)
            .send()
            .await
            .map_err(|error| StoreError::unavailable("read an order", &error))?;
        found.item.map(|stored| item::read_order(key, stored)).transpose()
    }

    /// Stores a new order with its first event, unless it is tracked already, or somebody is just about to.
    ///
    /// # Errors
    /// If DynamoDB fails.
    pub async fn register(
        &self,
        order: &Order,
        event: &Event,
        due_at: Option<Timestamp>,
    ) -> Result<Registration, StoreError> {
        let mut new = item::write_order(order)?;
        item::set_due(&mut new, order, due_at);
        let result = self
            .client
            .transact_write_items()
            .transact_items(self.put_new(new)?)
            .transact_items(self.put_new(history::write_event(event))?)
            .send()
            .await;
        match result {
            Ok(_) => Ok(Registration::Tracked),
            Err(error) if lost_transaction(&error).is_some() => Ok(Registration::AlreadyTracked),
            Err(error) => Err(failed_transaction("store a new order", &error)),
        }
    }

    /// Keeps the merchant's reference if the order was tracked without one (a poller may have been first); false if it
    /// has one by now, or a transaction held the order.
    ///
    /// # Errors
    /// If DynamoDB fails.
    pub async fn fill_reference(&self, key: &OrderKey, reference: &Ref) -> Result<bool, StoreError> {
        let result = self
            .client
            .update_item()
            .table_name(&self.table)
            .set_key(Some(item::order_key(key)))
            .update_expression("SET #ref = :ref")
            .condition_expression("attribute_exists(pk) AND attribute_not_exists(#ref)")
            .expression_attribute_names("#ref", "ref")
            .expression_attribute_values(":ref", AttributeValue::S(reference.as_str().to_owned()))
            .send()
            .await;
        match result {
            Ok(_) => Ok(true),
            Err(error) if lost_update(&error) => Ok(false),
            Err(error) => Err(StoreError::unavailable("keep a reference", &error)),
        }
    }

    /// Takes leave to look at the order now: of all who loaded it as it is, only one gets it, and is told true. A recheck also moves
    /// `due_at` on, so that an order that cannot be looked at does not block the others.
    ///
    /// # Errors
    /// If DynamoDB fails.
    pub async fn claim(
        &self,
        order: &Order,
        now: Timestamp,
        due_at: Option<Timestamp>,
    ) -> Result<bool, StoreError> {
        let unchanged = match order.asked_at {
            Some(_) => "asked_at = :before",
            None => "attribute_not_exists(asked_at)",
        };
        let moved = if due_at.is_some() { ", due_at = :due, due_shard = :shard" } else { "" };
        let result = self
            .client
            .update_item()
            .table_name(&self.table)
            .set_key(Some(item::order_key(&order.key)))
            .update_expression(format!("SET asked_at = :now{moved}"))
            .condition_expression(format!("attribute_exists(pk) AND {unchanged}"))
            .expression_attribute_values(":now", item::millis(now))
            .set_expression_attribute_values(Some(claim_values(order, now, due_at)))
            .send()
            .await;
        match result {
            Ok(_) => Ok(true),
            Err(error) if lost_update(&error) => Ok(false),
            Err(error) => Err(StoreError::unavailable("claim an order", &error)),
        }
    }

    /// Gives the claim of `now` back: `order` is as it was loaded before. `due_at` is when it is due again, if the claim has moved
    /// that. Whoever has claimed or committed since sees to the rest.
    ///
    /// # Errors
    /// If DynamoDB fails.
    pub async fn unclaim(
        &self,
        order: &Order,
        now: Timestamp,
        due_at: Option<Option<Timestamp>>,
    ) -> Result<(), StoreError> {
        let mut change = item::Change::default();
        match order.asked_at {
            Some(before) => change.set("asked_at", item::millis(before)),
            None => change.remove("asked_at"),
        }
        if let Some(due_at) = due_at {
            change.set_due(item::part(order), due_at);
        }
        let claimed = u64::try_from(now.as_millisecond()).unwrap_or_default();
        let numbers = [(":claimed", claimed), (":version", order.version)];
        self.update(&order.key, change, "asked_at = :claimed AND version = :version", &numbers).await?;
        Ok(())
    }

    /// Notes that all events up to `announced` are out; with the order unchanged since, it is due when `due_at` says. What
    /// somebody else has announced beyond that stays announced.
    ///
    /// # Errors
    /// If DynamoDB fails.
    pub async fn mark_announced(
        &self,
        order: &Order,
        announced: u32,
        due_at: Option<Timestamp>,
    ) -> Result<(), StoreError> {
        let up_to = u64::from(announced);
        let mut change = item::Change::default();
        change.set("announced", AttributeValue::N(announced.to_string()));
        change.set_due(item::part(order), due_at);
        let unchanged = "version = :version AND announced <= :up_to";
        if self
            .update(&order.key, change, unchanged, &[(":version", order.version), (":up_to", up_to)])
            .await?
        {
            return Ok(());
        }
        // Somebody has committed since, and sees to the rest; what is out stays out.
        let mut change = item::Change::default();
        change.set("announced", AttributeValue::N(announced.to_string()));
        self.update(&order.key, change, "announced < :up_to", &[(":up_to", up_to)]).await?;
        Ok(())
    }

    /// Moves on when an order is due, with the order unchanged since, and nothing more of it announced.
    ///
    /// # Errors
    /// If DynamoDB fails.
    pub async fn put_off(&self, order: &Order, due_at: Option<Timestamp>) -> Result<(), StoreError> {
        let mut change = item::Change::default();
        change.set_due(item::part(order), due_at);
        let numbers = [(":version", order.version), (":announced", u64::from(order.announced))];
        self.update(&order.key, change, "version = :version AND announced = :announced", &numbers).await?;
        Ok(())
    }

    /// Notes that the order that `order` lives on under is tracked; with the order unchanged since, it is due when `due_at`
    /// says.
    ///
    /// # Errors
    /// If DynamoDB fails.
    pub async fn note_link(
        &self,
        order: &Order,
        link: &OrderId,
        due_at: Option<Timestamp>,
    ) -> Result<(), StoreError> {
        let mut change = item::Change::default();
        change.add("links", link);
        change.set_due(item::part(order), due_at);
        if self.update(&order.key, change, "version = :version", &[(":version", order.version)]).await? {
            return Ok(());
        }
        // Somebody has committed since, and sees to the rest; what is linked stays linked.
        let mut change = item::Change::default();
        change.add("links", link);
        self.update(&order.key, change, "version > :version", &[(":version", order.version)]).await?;
        Ok(())
    }

    /// Notes that `from` lives on under the order `key`.
    ///
    /// # Errors
    /// If DynamoDB fails.
    pub async fn note_origin(&self, key: &OrderKey, from: &OrderId) -> Result<(), StoreError> {
        let mut change = item::Change::default();
        change.add("linked_from", from);
        if self.update(key, change, "version >= :least", &[(":least", 1)]).await? {
            return Ok(());
        }
        Err(StoreError::Unavailable {
            what: "note a link",
            why: "a transaction held the other order".to_owned(),
        })
    }

    /// Moves on when an order is due that cannot even be read.
    ///
    /// # Errors
    /// If DynamoDB fails.
    pub async fn postpone(&self, key: &OrderKey, now: Timestamp, until: Timestamp) -> Result<(), StoreError> {
        let mut change = item::Change::default();
        change.set_due(item::shard(key), Some(until));
        let now = u64::try_from(now.as_millisecond()).unwrap_or_default();
        self.update(key, change, "due_at <= :now", &[(":now", now)]).await?;
        Ok(())
    }

    /// An update of one item, to be sent.
    fn update_item(&self, key: Item, change: update::Change) -> UpdateItemFluentBuilder {
        let update::Expression { update, condition, names, values } = change.into_expression();
        self.client
            .update_item()
            .table_name(&self.table)
            .set_key(Some(key))
            .update_expression(update)
            .set_condition_expression(condition)
            .set_expression_attribute_names(Some(names))
            .set_expression_attribute_values(values)
    }

    /// Applies a change under a condition on numbers, each given by its name; false if it did not hold.
    async fn update(
        &self,
        key: &OrderKey,
        change: item::Change,
        condition: &str,
        numbers: &[(&str, u64)],
    ) -> Result<bool, StoreError> {
        let (expression, names, mut values) = change.into_expression();
        values.extend(
            numbers.iter().map(|(name, value)| ((*name).to_owned(), AttributeValue::N(value.to_string()))),
        );
        let result = self
            .client
            .update_item()
            .table_name(&self.table)
            .set_key(Some(item::order_key(key)))
            .update_expression(expression)
            .condition_expression(format!("attribute_exists(pk) AND {condition}"))
            .set_expression_attribute_names(Some(names))
            .set_expression_attribute_values(Some(values))
            .send()
            .await;
        match result {
            Ok(_) => Ok(true),
            Err(error) if lost_update(&error) => Ok(false),
            Err(error) => Err(StoreError::unavailable("update an order", &error)),
        }
    }
}

fn claim_values(order: &Order, now: Timestamp, due_at: Option<Timestamp>) -> Item {
    let mut values = Item::from([(":now".to_owned(), item::millis(now))]);
    if let Some(before) = order.asked_at {
        values.insert(":before".to_owned(), item::millis(before));
    }
    if let Some(due_at) = due_at {
        values.insert(":due".to_owned(), item::millis(due_at));
        values.insert(":shard".to_owned(), AttributeValue::S(item::part(order).to_owned()));
    }
    values
}

/// Why a transaction failed, which names a reason for each of its parts.
fn failed_transaction(what: &'static str, error: &SdkError<TransactWriteItemsError>) -> StoreError {
    let reasons = match error.as_service_error() {
        Some(TransactWriteItemsError::TransactionCanceledException(cancelled)) => {
            cancelled.cancellation_reasons()
        }
        _ => return StoreError::unavailable(what, error),
    };
    let codes: Vec<&str> = reasons.iter().filter_map(|reason| reason.code()).collect();
    let why = format!("{}: {}", describe(error), codes.join(", "));
    if codes.iter().any(|code| matches!(*code, "ValidationError" | "ItemCollectionSizeLimitExceeded")) {
        StoreError::Refused { what, why }
    } else {
        StoreError::Unavailable { what, why }
    }
}

/// Whether an update did not happen because somebody else was faster.
fn lost_update(error: &SdkError<UpdateItemError>) -> bool {
    // `TransactionConflict`: a transaction held the item. The condition may hold later, but not for what we knew.
    error.as_service_error().is_some_and(|error| {
        error.is_conditional_check_failed_exception()
            || error.meta().code() == Some("TransactionConflictException")
    })
}

/// The same for a transaction: the items as they were, where DynamoDB gave them.
fn lost_transaction(error: &SdkError<TransactWriteItemsError>) -> Option<Vec<Item>> {
    let Some(TransactWriteItemsError::TransactionCanceledException(cancelled)) = error.as_service_error()
    else {
        return None;
    };
    let reasons = cancelled.cancellation_reasons();
    let lost = |code: Option<&str>| matches!(code, Some("ConditionalCheckFailed" | "TransactionConflict"));
    let other = |code: Option<&str>| !matches!(code, None | Some("None")) && !lost(code);
    let any_lost = reasons.iter().any(|reason| lost(reason.code()));
    if !any_lost || reasons.iter().any(|reason| other(reason.code())) {
        return None;
    }
    Some(reasons.iter().filter_map(|reason| reason.item().cloned()).collect())
}
