//! Redaction: removes personal data from the items of an order, and keeps the place in the feed up to which that is done.

use aws_sdk_dynamodb::types::AttributeValue;
use jiff::Timestamp;

use super::{
    Commit, FeedCursor, Item, Store, StoreError, deliveries,
    error::lost_update,
    history,
    item::{number, text},
    update::{Change, exists, is},
};
use crate::order::{Event, Order, OrderKey};

/// The one item with the place; its key is both.
const PLACE: &str = "REDACTION";
/// Deliveries that are read at once.
const PAGE: u32 = 100;

fn place() -> Item {
    ["pk", "sk"].map(|name| (name.to_owned(), text(PLACE))).into()
}

impl Store {
    /// The place in the feed up to which all orders were considered; at first the start.
    ///
    /// # Errors
    /// If DynamoDB fails.
    pub async fn redaction_place(&self) -> Result<FeedCursor, StoreError> {
        let found = self.client.get_item().table_name(&self.table).set_key(Some(place())).send().await;
        let found =
            found.map_err(|error| StoreError::unavailable("read the place of the redaction", &error))?;
        let stored = found.item.as_ref().and_then(|item| item.get("feed_place")?.as_s().ok());
        Ok(stored.and_then(|stored| FeedCursor::read(stored)).unwrap_or_else(FeedCursor::start))
    }

    /// Moves that place. Two rechecks at once may move it back: what is redacted already is passed quickly.
    ///
    /// # Errors
    /// If DynamoDB fails.
    pub async fn keep_redaction_place(&self, to: &FeedCursor) -> Result<(), StoreError> {
        let change = Change::default().set("feed_place", text(to.write()));
        let sent = self.update_item(place(), change).send().await;
        sent.map(drop).map_err(|error| StoreError::unavailable("keep the place of the redaction", &error))
    }

    /// Replaces the details of `events` (all of the order), removes the shop's answers from its deliveries, then commits `after`.
    /// It may be repeated after a failure: the order is marked last.
    ///
    /// # Errors
    /// If DynamoDB fails.
    pub async fn redact(
        &self,
        before: &Order,
        after: Order,
        events: &[Event],
        due_at: Option<Timestamp>,
    ) -> Result<Commit, StoreError> {
        for event in events {
            let change = Change::default().set("detail", text(event.detail.clone())).only_if(exists("pk"));
            self.replace(history::event_key(event), change).await?;
        }
        self.redact_deliveries(&before.key).await?;
        self.commit(before, after, &[], due_at).await
    }

    async fn redact_deliveries(&self, order: &OrderKey) -> Result<(), StoreError> {
        let mut from = Some(0);
        while let Some(after) = from {
            let (page, next) = self.deliveries_of(order, after, PAGE).await?;
            for delivery in page {
                let Ok(event) = delivery.event_id.parse() else { continue };
                let unanswered = delivery.attempts.iter().cloned().map(|mut attempt| {
                    attempt.answer = None;
                    attempt
                });
                let attempts: AttributeValue =
                    serde_dynamo::to_attribute_value(unanswered.collect::<Vec<_>>()).map_err(|error| {
                        StoreError::Refused { what: "redact a delivery", why: error.to_string() }
                    })?;
                let change = Change::default().set("attempts", attempts).only_if(is(
                    "attempt_count",
                    "=",
                    number(delivery.attempt_count),
                ));
                self.replace(deliveries::key(&event), change).await?;
            }
            from = next;
        }
        Ok(())
    }

    async fn replace(&self, key: Item, change: Change) -> Result<(), StoreError> {
        const WHAT: &str = "redact an order";
        match self.update_item(key, change).send().await {
            Ok(_) => Ok(()),
            Err(error) if lost_update(&error) => {
                Err(StoreError::Unavailable { what: WHAT, why: "an item changed meanwhile".to_owned() })
            }
            Err(error) => Err(StoreError::unavailable(WHAT, &error)),
        }
    }
}
