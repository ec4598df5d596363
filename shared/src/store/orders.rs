//! Orders: load, register, claim, and updates besides commits.

use jiff::Timestamp;

use super::{
    Registration, Store, StoreError,
    error::{failed_transaction, lost_transaction, lost_update},
    history,
    item::{self, millis, number, text},
    update::{Change, Condition, absent, exists, is},
};
use crate::order::{Event, Order, OrderId, OrderKey, Ref};

impl Store {
    /// Loads an order with a consistent read; `None` if it is not tracked.
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

    /// Stores a new order with its first event, unless it exists, or another process is storing it now.
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
        if let Some(due_at) = due_at {
            let due = [("due_at", millis(due_at)), ("due_shard", text(item::part(order)))];
            new.extend(due.map(|(name, value)| (name.to_owned(), value)));
        }
        let result = self
            .client
            .transact_write_items()
            .transact_items(self.put_new(new)?)
            .transact_items(self.put_new(history::write_event(event)?)?)
            .send()
            .await;
        match result {
            Ok(_) => Ok(Registration::Tracked),
            Err(error) if lost_transaction(&error).is_some() => Ok(Registration::AlreadyTracked),
            Err(error) => Err(failed_transaction("store a new order", &error)),
        }
    }

    /// Stores the merchant's reference if the order has none (a poller may have registered it first) and is not
    /// redacted. False if it has one or is redacted now, or a transaction held the order.
    ///
    /// # Errors
    /// If DynamoDB fails.
    pub async fn fill_reference(&self, order: &Order, reference: &Ref) -> Result<bool, StoreError> {
        let listed = item::listed_by_ref(&order.key, reference, order.tracked_at);
        let change = Change::default().set("ref", text(reference.as_str()));
        let change = listed.into_iter().fold(change, |change, (name, value)| change.set(name, value));
        let change = change.only_if(absent("ref")).only_if(absent("redacted_at"));
        self.update(&order.key, "store a reference", change).await
    }

    /// Claims a check of the order. Returns true for at most one of the callers that loaded the same `asked_at`. A recheck also
    /// moves `due_at` forward, so that an order that cannot be checked does not block the others.
    ///
    /// # Errors
    /// If DynamoDB fails.
    pub async fn claim(
        &self,
        order: &Order,
        now: Timestamp,
        due_at: Option<Timestamp>,
    ) -> Result<bool, StoreError> {
        let is_unchanged = match order.asked_at {
            Some(before) => is("asked_at", "=", millis(before)),
            None => absent("asked_at"),
        };
        let change = Change::default().set("asked_at", millis(now)).only_if(is_unchanged);
        let change = match due_at {
            Some(_) => item::set_due(change, item::part(order), due_at),
            None => change,
        };
        self.update(&order.key, "claim an order", change).await
    }

    /// Gives back the claim of `now`; `order` is as loaded before. `due_at`: the value to restore, if the claim moved
    /// it. Does nothing if the order was claimed or committed since.
    ///
    /// # Errors
    /// If DynamoDB fails.
    pub async fn unclaim(
        &self,
        order: &Order,
        now: Timestamp,
        due_at: Option<Option<Timestamp>>,
    ) -> Result<(), StoreError> {
        let change = Change::default()
            .set_or_remove("asked_at", order.asked_at.map(millis))
            .only_if(is("asked_at", "=", millis(now)))
            .only_if(version("=", order));
        let change = match due_at {
            Some(due_at) => item::set_due(change, item::part(order), due_at),
            None => change,
        };
        self.update(&order.key, "give a claim back", change).await.map(drop)
    }

    /// Records that all events up to `published` are published, and sets `due_at` if the order is unchanged. Never
    /// lowers the stored number: another process may have published more.
    ///
    /// # Errors
    /// If DynamoDB fails.
    pub async fn mark_published(
        &self,
        order: &Order,
        published: u32,
        due_at: Option<Timestamp>,
    ) -> Result<(), StoreError> {
        const WHAT: &str = "mark events as published";
        let up_to = number(published);
        let note = || Change::default().set("announced", up_to.clone());
        let change = note().only_if(version("=", order)).only_if(is("announced", "<=", up_to.clone()));
        let change = item::set_due(change, item::part(order), due_at);
        if self.update(&order.key, WHAT, change).await? {
            return Ok(());
        }
        // The order was committed since, and that commit set `due_at`. Only the number is recorded.
        let change = note().only_if(is("announced", "<", up_to.clone()));
        self.update(&order.key, WHAT, change).await.map(drop)
    }

    /// Sets `due_at` if the order is unchanged and no further events of it are published.
    ///
    /// # Errors
    /// If DynamoDB fails.
    pub async fn reschedule_if_unchanged(
        &self,
        order: &Order,
        due_at: Option<Timestamp>,
    ) -> Result<(), StoreError> {
        let change = Change::default().only_if(version("=", order)).only_if(is(
            "announced",
            "=",
            number(order.published),
        ));
        let change = item::set_due(change, item::part(order), due_at);
        self.update(&order.key, "reschedule an order", change).await.map(drop)
    }

    /// Records that the linked order `link` is tracked, and sets `due_at` if the order is unchanged.
    ///
    /// # Errors
    /// If DynamoDB fails.
    pub async fn note_link(
        &self,
        order: &Order,
        link: &OrderId,
        due_at: Option<Timestamp>,
    ) -> Result<(), StoreError> {
        const WHAT: &str = "note a link";
        let note = || Change::default().add("links", link.as_str());
        let change = item::set_due(note().only_if(version("=", order)), item::part(order), due_at);
        if self.update(&order.key, WHAT, change).await? {
            return Ok(());
        }
        // The order was committed since, and that commit set `due_at`. Only the link is recorded.
        self.update(&order.key, WHAT, note().only_if(version(">", order))).await.map(drop)
    }

    /// Records that the order `key` continues the order `from`.
    ///
    /// # Errors
    /// If DynamoDB fails.
    pub async fn note_origin(&self, key: &OrderKey, from: &OrderId) -> Result<(), StoreError> {
        const WHAT: &str = "note the origin of a link";
        if self.update(key, WHAT, Change::default().add("linked_from", from.as_str())).await? {
            return Ok(());
        }
        let why = "a transaction held the other order".to_owned();
        Err(StoreError::Unavailable { what: WHAT, why })
    }

    /// Sets `due_at` of an order whose record cannot be read, if it is due.
    ///
    /// # Errors
    /// If DynamoDB fails.
    pub async fn reschedule(
        &self,
        key: &OrderKey,
        now: Timestamp,
        until: Timestamp,
    ) -> Result<(), StoreError> {
        let change = Change::default().only_if(is("due_at", "<=", millis(now)));
        let change = item::set_due(change, item::shard(key), Some(until));
        self.update(key, "reschedule an order that cannot be read", change).await.map(drop)
    }

    /// Updates an existing order; false if a condition did not hold.
    async fn update(&self, key: &OrderKey, what: &'static str, change: Change) -> Result<bool, StoreError> {
        match self.update_item(item::order_key(key), change.only_if(exists("pk"))).send().await {
            Ok(_) => Ok(true),
            Err(error) if lost_update(&error) => Ok(false),
            Err(error) => Err(StoreError::unavailable(what, &error)),
        }
    }
}

/// A condition on the stored version, compared with that of `order`.
fn version(operator: &'static str, order: &Order) -> Condition {
    is("version", operator, number(order.version))
}
