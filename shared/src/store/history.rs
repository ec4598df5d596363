//! The history of an order: its events, numbered. Those after `announced` are the outbox.

use aws_sdk_dynamodb::types::AttributeValue;
use jiff::Timestamp;

use super::{Item, Store, StoreError, item};
use crate::order::{Event, OrderKey};

fn sort_key(seq: u32) -> String {
    format!("EVENT#{seq:06}")
}

pub(super) fn write_event(event: &Event) -> Item {
    let mut item = item::item_key(&event.key, &sort_key(event.seq));
    item.insert("event_id".to_owned(), AttributeValue::S(event.id()));
    item.insert("seq".to_owned(), AttributeValue::N(event.seq.to_string()));
    item.insert("detail_type".to_owned(), AttributeValue::S(event.detail_type.clone()));
    item.insert("occurred_at".to_owned(), item::millis(event.occurred_at));
    item.insert("detail".to_owned(), AttributeValue::S(event.detail.clone()));
    item
}

fn read_event(key: &OrderKey, item: &Item) -> Result<Event, StoreError> {
    let missing =
        |name: &str| StoreError::Corrupt { key: key.clone(), why: format!("an event without {name}") };
    let text = |name: &str| item.get(name).and_then(|value| value.as_s().ok()).ok_or_else(|| missing(name));
    let number = |name: &str| item.get(name).and_then(|value| value.as_n().ok()).ok_or_else(|| missing(name));
    let occurred_at = number("occurred_at")?.parse().ok().and_then(|ms| Timestamp::from_millisecond(ms).ok());
    Ok(Event {
        key: key.clone(),
        seq: number("seq")?.parse().map_err(|_| missing("seq"))?,
        detail_type: text("detail_type")?.clone(),
        occurred_at: occurred_at.ok_or_else(|| missing("occurred_at"))?,
        detail: text("detail")?.clone(),
    })
}

impl Store {
    /// The events after number `after`, ascending; all of them for `after` 0.
    ///
    /// # Errors
    /// If DynamoDB fails, or an event cannot be read.
    pub async fn events_after(&self, key: &OrderKey, after: u32) -> Result<Vec<Event>, StoreError> {
        let mut events = Vec::new();
        let mut from = Some(after);
        while let Some(after) = from {
            let (page, next) = self.query_events(key, after, None).await?;
            events.extend(page);
            from = next;
        }
        Ok(events)
    }

    /// A page of the events after number `after`: `limit` at most, and no more than DynamoDB reads at once (1 MB), ascending; with the
    /// number to go on after, if there are more.
    ///
    /// # Errors
    /// If DynamoDB fails, or an event cannot be read.
    pub async fn events_page(
        &self,
        key: &OrderKey,
        after: u32,
        limit: u32,
    ) -> Result<(Vec<Event>, Option<u32>), StoreError> {
        self.query_events(key, after, Some(limit)).await
    }

    async fn query_events(
        &self,
        key: &OrderKey,
        after: u32,
        limit: Option<u32>,
    ) -> Result<(Vec<Event>, Option<u32>), StoreError> {
        let page = self
            .client
            .query()
            .table_name(&self.table)
            .key_condition_expression("pk = :pk AND sk BETWEEN :first AND :last")
            .expression_attribute_values(":pk", AttributeValue::S(item::partition(key)))
            .expression_attribute_values(":first", AttributeValue::S(sort_key(after.saturating_add(1))))
            .expression_attribute_values(":last", AttributeValue::S("EVENT#~".to_owned()))
            .consistent_read(true)
            .set_limit(limit.map(|limit| i32::try_from(limit).unwrap_or(i32::MAX)))
            .send()
            .await
            .map_err(|error| StoreError::unavailable("read a history", &error))?;
        let events = page.items().iter().map(|item| read_event(key, item));
        let events = events.collect::<Result<Vec<Event>, _>>()?;
        let more = page.last_evaluated_key.is_some();
        let next = events.last().map(|event| event.seq).filter(|_| more);
        Ok((events, next))
    }
}
