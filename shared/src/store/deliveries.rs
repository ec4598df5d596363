//! Deliveries of webhooks: one item for each event, beside the item of the event itself.

use aws_sdk_dynamodb::types::AttributeValue;
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use jiff::Timestamp;

use super::{
    Item, Store, StoreError,
    error::lost_update,
    item::{self, text},
    update::{Change, absent, shorter},
};
use crate::{
    order::OrderKey,
    webhook::{About, Attempt, Delivery, DeliveryState, EventId},
};

/// Attempts that an item keeps. One attempt takes at most 500 bytes, an item 400 KB (DynamoDB).
const MAX_ATTEMPTS: usize = 50;

/// A page of deliveries, and the place where the next one begins; `None`: this is the last one.
pub type DeliveryPage<Next> = (Vec<Delivery>, Option<Next>);

/// A place in the list of deliveries of one state. Opaque to users.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeliveryCursor {
    pk: String,
    sk: String,
    due_at: String,
}

impl DeliveryCursor {
    /// The cursor as text: base64 that is safe in a URL.
    pub fn write(&self) -> String {
        URL_SAFE_NO_PAD.encode([self.pk.as_str(), &self.sk, &self.due_at].join("\n"))
    }

    /// Reads what [`Self::write`] wrote; `None` for any other text.
    pub fn read(text: &str) -> Option<Self> {
        let decoded = String::from_utf8(URL_SAFE_NO_PAD.decode(text).ok()?).ok()?;
        let mut parts = decoded.split('\n').map(str::to_owned);
        match (parts.next(), parts.next(), parts.next(), parts.next()) {
            (Some(pk), Some(sk), Some(due_at), None)
                if !pk.is_empty() && sk.starts_with(PREFIX) && due_at.parse::<i64>().is_ok() =>
            {
                Some(Self { pk, sk, due_at })
            }
            _ => None,
        }
    }
}

const PREFIX: &str = "DELIVERY#";

fn sort_key(seq: u32) -> String {
    format!("{PREFIX}{seq:06}")
}

/// The partition of the due index for deliveries of this state. Only those are listed that the merchant may have to
/// act on, so that a delivery that succeeds at once costs no entry.
fn shard(state: DeliveryState) -> Option<&'static str> {
    match state {
        DeliveryState::Delivered => None,
        DeliveryState::Retrying => Some("deliveries/retrying"),
        DeliveryState::Failed => Some("deliveries/failed"),
    }
}

pub(super) fn key(event: &EventId) -> Item {
    let pk = match &event.about {
        About::Order(key) => item::partition(key),
        About::VendorKey(key) => format!("vendor#{key}"),
    };
    Item::from([("pk".to_owned(), text(pk)), ("sk".to_owned(), text(sort_key(event.seq)))])
}

impl Store {
    /// Records an attempt and where the delivery stands after it. An item keeps its latest attempts, at most 50: the
    /// list begins anew when it is full.
    ///
    /// # Errors
    /// If DynamoDB fails.
    pub async fn record_attempt(
        &self,
        event: &EventId,
        detail_type: &str,
        attempt: &Attempt,
        state: DeliveryState,
        next_attempt_at: Option<Timestamp>,
    ) -> Result<(), StoreError> {
        let what = "record a delivery";
        let entry: Item = serde_dynamo::to_item(attempt)
            .map_err(|error| StoreError::Refused { what, why: error.to_string() })?;
        let change = |list: fn(Change, AttributeValue) -> Change| {
            let change = Change::default()
                .set("event_id", text(event.to_string()))
                .set("detail_type", text(detail_type))
                .set("state", text(state.as_str()))
                .set_or_remove("next_attempt_at", next_attempt_at.map(|at| text(at.to_string())))
                .count("attempt_count");
            let change =
                item::set_due(change, shard(state).unwrap_or_default(), shard(state).map(|_| attempt.at));
            list(change, AttributeValue::M(entry.clone()))
        };
        let appended = change(|change, entry| {
            change.append("attempts", entry).only_if(absent("attempts").or(shorter("attempts", MAX_ATTEMPTS)))
        });
        match self.update_item(key(event), appended).send().await {
            Ok(_) => return Ok(()),
            Err(error) if lost_update(&error) => {}
            Err(error) => return Err(StoreError::unavailable(what, &error)),
        }
        let anew = change(|change, entry| change.set("attempts", AttributeValue::L(vec![entry])));
        let sent = self.update_item(key(event), anew).send().await;
        sent.map(drop).map_err(|error| StoreError::unavailable(what, &error))
    }

    /// A page of the deliveries of an order's events after number `after`, ascending, at most `limit`.
    ///
    /// # Errors
    /// If DynamoDB fails, or a delivery cannot be read.
    pub async fn deliveries_of(
        &self,
        order: &OrderKey,
        after: u32,
        limit: u32,
    ) -> Result<DeliveryPage<u32>, StoreError> {
        let page = self
            .client
            .query()
            .table_name(&self.table)
            .key_condition_expression("pk = :pk AND sk BETWEEN :first AND :last")
            .expression_attribute_values(":pk", text(item::partition(order)))
            .expression_attribute_values(":first", text(sort_key(after.saturating_add(1))))
            .expression_attribute_values(":last", text(format!("{PREFIX}~")))
            .limit(i32::try_from(limit).unwrap_or(i32::MAX))
            .send()
            .await
            .map_err(|error| StoreError::unavailable("read the deliveries of an order", &error))?;
        let deliveries = read_all(page.items())?;
        let last = deliveries.last().and_then(|last| last.event_id.parse::<EventId>().ok());
        let next = page.last_evaluated_key.and(last).map(|last| last.seq);
        Ok((deliveries, next))
    }

    /// A page of the deliveries of all events in this state, the one with the oldest latest attempt first, at most
    /// `limit` (1 to 100: `BatchGetItem` takes 100 keys). The index lags behind the table: a delivery whose state has
    /// changed meanwhile is left out.
    ///
    /// # Errors
    /// If DynamoDB fails, or a delivery cannot be read.
    pub async fn deliveries_in(
        &self,
        state: DeliveryState,
        after: Option<DeliveryCursor>,
        limit: u32,
    ) -> Result<DeliveryPage<DeliveryCursor>, StoreError> {
        let what = "list deliveries";
        let shard = text(shard(state).unwrap_or_default());
        let start = after.map(|after| {
            Item::from([
                ("pk".to_owned(), text(after.pk)),
                ("sk".to_owned(), text(after.sk)),
                ("due_at".to_owned(), AttributeValue::N(after.due_at)),
                ("due_shard".to_owned(), shard.clone()),
            ])
        });
        let page = self
            .client
            .query()
            .table_name(&self.table)
            .index_name("due")
            .key_condition_expression("due_shard = :shard")
            .expression_attribute_values(":shard", shard)
            .limit(i32::try_from(limit).unwrap_or(i32::MAX))
            .set_exclusive_start_key(start)
            .send()
            .await
            .map_err(|error| StoreError::unavailable(what, &error))?;
        let next = page.last_evaluated_key().and_then(cursor);
        let keys = page.items().iter().map(|found| {
            let part = |name: &str| found.get(name).map(|value| (name.to_owned(), value.clone()));
            part("pk").into_iter().chain(part("sk")).collect::<Item>()
        });
        let batch = self.batch_get(keys.collect(), what).await?;
        if batch.is_partial {
            return Err(StoreError::Unavailable { what, why: "DynamoDB left keys unprocessed".to_owned() });
        }
        let mut deliveries = read_all(&batch.found)?;
        deliveries.retain(|delivery| delivery.state == state);
        deliveries.sort_by_key(|delivery| delivery.attempts.last().map(|attempt| attempt.at));
        Ok((deliveries, next))
    }
}

fn cursor(found: &Item) -> Option<DeliveryCursor> {
    let part = |name: &str| found.get(name)?.as_s().ok().cloned();
    Some(DeliveryCursor {
        pk: part("pk")?,
        sk: part("sk")?,
        due_at: found.get("due_at")?.as_n().ok()?.clone(),
    })
}

fn read_all(items: &[Item]) -> Result<Vec<Delivery>, StoreError> {
    let read = |found: &Item| {
        let stored =
            serde_dynamo::Deserializer::from_attribute_value(AttributeValue::M(found.clone()).into());
        serde_path_to_error::deserialize(stored).map_err(|error| StoreError::Refused {
            what: "read a delivery",
            why: format!("at {}", error.path()),
        })
    };
    items.iter().map(read).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_written_cursors_are_read() {
        let cursor = DeliveryCursor {
            pk: "mobile#a-1".to_owned(),
            sk: sort_key(7),
            due_at: "1761698177000".to_owned(),
        };
        assert_eq!(DeliveryCursor::read(&cursor.write()), Some(cursor));
        let encoded = |parts: &[&str]| URL_SAFE_NO_PAD.encode(parts.join("\n"));
        for text in [
            "",
            "*",
            &encoded(&["mobile#a", "DELIVERY#000001"]),
            &encoded(&["", "DELIVERY#000001", "1"]),
            &encoded(&["mobile#a", "ORDER", "1"]),
            &encoded(&["mobile#a", "DELIVERY#000001", "soon"]),
            &encoded(&["mobile#a", "DELIVERY#000001", "1", "2"]),
        ] {
            assert_eq!(DeliveryCursor::read(text), None, "{text}");
        }
    }
}
