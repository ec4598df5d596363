//! The history of an order: its numbered events. Those after `published` are the outbox.

use aws_sdk_dynamodb::types::AttributeValue;
use jiff::{Timestamp, fmt::serde::timestamp::millisecond};
use serde::{Deserialize, Serialize};

use super::{Item, Store, StoreError, feed, item};
use crate::{
    order::{Event, OrderKey},
    rate_limiter::VendorEvent,
    secret::Fingerprint,
};

fn sort_key(seq: u32) -> String {
    format!("EVENT#{seq:06}")
}

/// The attributes of an event, besides its key.
#[derive(Debug, Serialize, Deserialize)]
struct EventItem {
    event_id: String,
    seq: u32,
    detail_type: String,
    #[serde(with = "millisecond::required")]
    occurred_at: Timestamp,
    detail: String,
}

/// An event's item, listed in the feed at the time of the event: it is the time at which its commit began.
pub(super) fn write_event(event: &Event) -> Result<Item, StoreError> {
    let Event { key, seq, detail_type, occurred_at, detail } = event.clone();
    let (partition, event_id) = (item::partition(&key), event.id());
    write(partition, &EventItem { event_id, seq, detail_type, occurred_at, detail })
}

/// An event's item as its commit writes it. One that asks for a review is in the due index until the review is closed.
pub(super) fn write_committed(event: &Event) -> Result<Item, StoreError> {
    let mut item = write_event(event)?;
    if event.asks_for_review() {
        item.extend([
            ("due_shard".to_owned(), item::text(item::OPEN_REVIEWS)),
            ("due_at".to_owned(), item::millis(event.occurred_at)),
        ]);
    }
    Ok(item)
}

/// The key of event number `seq` of an order.
pub(super) fn numbered_key(key: &OrderKey, seq: u32) -> Item {
    item::item_key(key, &sort_key(seq))
}

/// The key of an event's item.
pub(super) fn event_key(event: &Event) -> Item {
    numbered_key(&event.key, event.seq)
}

/// The item of an event about a key.
pub(super) fn write_vendor_event(key: &Fingerprint, event: &VendorEvent) -> Result<Item, StoreError> {
    let VendorEvent { seq, detail_type, occurred_at, detail } = event.clone();
    write(
        format!("vendor#{key}"),
        &EventItem { event_id: event.id(key), seq, detail_type, occurred_at, detail },
    )
}

fn write(partition: String, event: &EventItem) -> Result<Item, StoreError> {
    let mut item: Item = serde_dynamo::to_item(event)
        .map_err(|error| StoreError::Refused { what: "write an event", why: error.to_string() })?;
    let key = [("pk", partition), ("sk", sort_key(event.seq))];
    item.extend(key.map(|(name, value)| (name.to_owned(), AttributeValue::S(value))));
    Ok(feed::stamped(item, event.occurred_at))
}

pub(super) fn read_event(key: &OrderKey, item: &Item) -> Result<Event, StoreError> {
    let EventItem { seq, detail_type, occurred_at, detail, .. } = item::read(key, item.clone())?;
    Ok(Event { key: key.clone(), seq, detail_type, occurred_at, detail })
}

impl Store {
    /// Event number `seq` about a key; `None` if there is none, or it was not published yet.
    ///
    /// # Errors
    /// If DynamoDB fails, or the event cannot be read.
    pub async fn vendor_event(&self, key: &str, seq: u32) -> Result<Option<VendorEvent>, StoreError> {
        const WHAT: &str = "read an event about a key";
        let read = self.client.get_item().table_name(&self.table);
        let read = read.key("pk", AttributeValue::S(format!("vendor#{key}")));
        let found = read.key("sk", AttributeValue::S(sort_key(seq))).send().await;
        let Some(item) = found.map_err(|error| StoreError::unavailable(WHAT, &error))?.item else {
            return Ok(None);
        };
        let EventItem { seq, detail_type, occurred_at, detail, .. } = serde_dynamo::from_item(item)
            .map_err(|error| StoreError::Refused { what: WHAT, why: error.to_string() })?;
        Ok(Some(VendorEvent { seq, detail_type, occurred_at, detail }))
    }

    /// All events after number `after`, ascending; 0 for all events.
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

    /// A page of the events after number `after`, ascending: at most `limit`, and at most 1 MB (DynamoDB). With the
    /// number to continue after, if there are more.
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
