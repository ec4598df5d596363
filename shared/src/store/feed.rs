//! The feed: all events in one order, which readers follow with a cursor. Why it loses none:
//! docs/decisions/2026-11-28-feed.md.
//!
//! The sparse index `feed` orders events by their stamp: the time of the event and its key. A reader passes a stamp
//! when it is [`FEED_LAG`] old. An event that may come later than that is listed again before it is published.

use std::{
    collections::{BTreeSet, HashMap},
    time::Duration,
};

use aws_sdk_dynamodb::{error::SdkError, operation::update_item::UpdateItemError};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use jiff::Timestamp;
use serde_json::value::RawValue;

use super::{
    Item, Store, StoreError, due, history,
    item::text,
    update::{Change, Condition, absent, is},
};
use crate::{
    clock::Clock,
    order::{Event, OrderKey},
    rate_limiter::VendorEvent,
    secret::Fingerprint,
    time::between,
};

/// Readers pass a stamp that is older: 5 s for the operation that writes it, 1 s between two clocks, 2 s until the
/// index has it.
pub const FEED_LAG: Duration = Duration::from_secs(8);
/// An event is published with a stamp that is at most this old. Well below the lag, so that the index has the event in
/// time.
pub const MAX_STAMP_AGE: Duration = Duration::from_secs(2);

/// The index has one partition: its order is the order of all events.
const PARTITION: &str = "0";
/// Bytes of the events of a page. A Lambda function answers at most 6 MB, an item has at most 400 KB.
const MAX_BYTES: usize = 1024 * 1024;

/// The first byte of a cursor: its version.
const VERSION: &str = "1";
/// Digits of the time in a cursor: milliseconds since 1970, up to the year 2286.
const DIGITS: usize = 13;

/// A place in the feed: a time, or an event. `{milliseconds since 1970}`, or `{milliseconds}#{pk}#{sk}`. The order of
/// cursors is that of the feed.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct FeedCursor(String);

impl FeedCursor {
    /// The place before the first event.
    pub fn start() -> Self {
        Self::at(Timestamp::UNIX_EPOCH)
    }

    /// The place that readers may reach at `now`.
    pub fn reached(now: Timestamp) -> Self {
        Self::at(now.checked_sub(FEED_LAG).unwrap_or(Timestamp::MIN))
    }

    /// The place of the first event at `time` or later.
    pub fn at(time: Timestamp) -> Self {
        Self(format!("{:0DIGITS$}", time.as_millisecond().clamp(0, 9_999_999_999_999)))
    }

    /// The place as it is stored.
    pub(super) fn as_str(&self) -> &str {
        &self.0
    }

    /// The cursor as opaque text: base64 for URLs, without padding.
    pub fn write(&self) -> String {
        URL_SAFE_NO_PAD.encode(format!("{VERSION}{}", self.0))
    }

    /// Reads what [`Self::write`] wrote; `None` for any other text.
    pub fn read(text: &str) -> Option<Self> {
        let place = String::from_utf8(URL_SAFE_NO_PAD.decode(text).ok()?).ok()?;
        let place = place.strip_prefix(VERSION)?;
        let (time, event) = place.split_at_checked(DIGITS)?;
        let is_valid = time.bytes().all(|byte| byte.is_ascii_digit()) && is_event(event);
        is_valid.then(|| Self(place.to_owned()))
    }
}

/// Whether `text` is `#{pk}#{sk}` of an event, or nothing.
fn is_event(text: &str) -> bool {
    let is_name = |part: &str| {
        let is_letter = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        (1..=64).contains(&part.len()) && part.bytes().all(is_letter)
    };
    match text.split('#').collect::<Vec<_>>().as_slice() {
        [""] => true,
        ["", about, id, "EVENT", seq] => [about, id, seq].into_iter().all(|part| is_name(part)),
        _ => false,
    }
}

/// A page of the feed.
#[derive(Debug)]
pub struct FeedPage {
    /// The events, in the feed's order.
    pub events: Vec<FeedEvent>,
    /// The place after the last of them; without events, the place where the page began.
    pub next: FeedCursor,
}

/// An event of the feed.
#[derive(Debug)]
pub struct FeedEvent {
    /// `detail-type`.
    pub detail_type: String,
    /// The exact JSON that is published.
    pub detail: Box<RawValue>,
}

/// Adds the attributes by which the index lists an event's item.
pub(super) fn stamped(mut item: Item, at: Timestamp) -> Item {
    let stamp = format!("{}#{}", FeedCursor::at(at).0, name(&item).unwrap_or_default());
    item.extend([("feed".to_owned(), text(PARTITION)), ("feed_at".to_owned(), text(stamp))]);
    item
}

/// `{pk}#{sk}`.
fn name(item: &Item) -> Option<String> {
    Some(format!("{}#{}", string(item, "pk")?, string(item, "sk")?))
}

fn key(item: &Item) -> Item {
    let parts = ["pk", "sk"].into_iter();
    parts.filter_map(|part| Some((part.to_owned(), item.get(part)?.clone()))).collect()
}

fn string<'a>(item: &'a Item, name: &str) -> Option<&'a String> {
    item.get(name)?.as_s().ok()
}

fn read_event(item: &Item) -> Option<FeedEvent> {
    let detail = RawValue::from_string(string(item, "detail")?.clone()).ok()?;
    Some(FeedEvent { detail_type: string(item, "detail_type")?.clone(), detail })
}

/// Whether the event is listed at this moment or later: it is as good.
fn is_listed_later(error: &SdkError<UpdateItemError>) -> bool {
    error.as_service_error().is_some_and(UpdateItemError::is_conditional_check_failed_exception)
}

impl Store {
    /// A page of the events after `after` and before `until`: at most `limit` and at most 1 MB. The index lags behind
    /// the table by up to 2 s. An event that cannot be read is logged and left out.
    ///
    /// # Errors
    /// If DynamoDB fails, or does not have all events of the page yet.
    pub async fn feed_page(
        &self,
        after: &FeedCursor,
        limit: u32,
        until: &FeedCursor,
    ) -> Result<FeedPage, StoreError> {
        const WHAT: &str = "read the feed";
        let mut page = FeedPage { events: Vec::new(), next: after.clone() };
        let listed = self.query_feed(after, limit, until).await?;
        // By name: while an event is listed anew, the index can show it twice.
        let keys: HashMap<_, _> = listed.iter().map(|entry| (name(entry), key(entry))).collect();
        let found = self.batch_get(keys.into_values().collect(), WHAT).await?.found;
        let found: HashMap<_, _> = found.into_iter().map(|item| (name(&item), item)).collect();
        let mut bytes = 0;
        for entry in &listed {
            let event = found.get(&name(entry)).ok_or_else(|| StoreError::Unavailable {
                what: WHAT,
                why: "an event of the index was not returned".to_owned(),
            })?;
            let Some(stamp) = string(entry, "feed_at") else { continue };
            match read_event(event) {
                Some(event) => {
                    bytes += event.detail.get().len();
                    if bytes > MAX_BYTES {
                        break;
                    }
                    page.events.push(event);
                }
                None => tracing::error!(stamp, "an event of the feed could not be read and is skipped"),
            }
            page.next = FeedCursor(stamp.clone());
        }
        Ok(page)
    }

    /// The orders that have one of the `limit` events after `after` and before `until`, each once, and the place after
    /// these events. No events: the same place.
    ///
    /// # Errors
    /// If DynamoDB fails.
    pub async fn orders_in_feed(
        &self,
        after: &FeedCursor,
        limit: u32,
        until: &FeedCursor,
    ) -> Result<(BTreeSet<OrderKey>, FeedCursor), StoreError> {
        let listed = self.query_feed(after, limit, until).await?;
        let last = listed.last().and_then(|entry| string(entry, "feed_at"));
        let next = last.map_or_else(|| after.clone(), |stamp| FeedCursor(stamp.clone()));
        Ok((listed.iter().filter_map(due::read_key).collect(), next))
    }

    /// The entries of the index, ascending.
    async fn query_feed(
        &self,
        after: &FeedCursor,
        limit: u32,
        until: &FeedCursor,
    ) -> Result<Vec<Item>, StoreError> {
        // `!` sorts before `#` and before all letters: the first place after `after`.
        let first = format!("{}!", after.0);
        if first > until.0 {
            // DynamoDB refuses such a range.
            return Ok(Vec::new());
        }
        let page = self
            .client
            .query()
            .table_name(&self.table)
            .index_name("feed")
            .key_condition_expression("feed = :feed AND feed_at BETWEEN :first AND :last")
            .expression_attribute_values(":feed", text(PARTITION))
            .expression_attribute_values(":first", text(first))
            .expression_attribute_values(":last", text(until.0.clone()))
            .limit(i32::try_from(limit).unwrap_or(i32::MAX))
            .send()
            .await
            .map_err(|error| StoreError::unavailable("query the feed", &error))?;
        Ok(page.items.unwrap_or_default())
    }

    /// Lists events of an order in the feed anew, all at this moment.
    ///
    /// # Errors
    /// If DynamoDB fails, or takes so long that a reader may have passed this moment.
    pub async fn list_events(&self, events: &[Event], clock: &Clock) -> Result<(), StoreError> {
        self.list(events.iter().rev().map(history::write_event), clock).await
    }

    /// Lists events about a key in the feed, all at this moment. It is their only place: the key's item keeps an event
    /// until it is published.
    ///
    /// # Errors
    /// If DynamoDB fails, or takes so long that a reader may have passed this moment.
    pub async fn list_vendor_events(
        &self,
        key: &Fingerprint,
        events: &[VendorEvent],
        clock: &Clock,
    ) -> Result<(), StoreError> {
        self.list(events.iter().rev().map(|event| history::write_vendor_event(key, event)), clock).await
    }

    /// The last event comes first, so that no event is ever listed after a later one.
    async fn list(
        &self,
        items: impl Iterator<Item = Result<Item, StoreError>>,
        clock: &Clock,
    ) -> Result<(), StoreError> {
        const WHAT: &str = "list an event in the feed";
        let now = clock.now();
        for item in items {
            let item = stamped(item?, now);
            // Never back: a late writer would move the event to a place that readers have passed.
            let is_earlier = item.get("feed_at").map(|stamp| is("feed_at", "<", stamp.clone()));
            let key = key(&item);
            let change = item
                .into_iter()
                .filter(|(name, _)| !key.contains_key(name))
                .fold(Change::default(), |change, (name, value)| change.set(name, value))
                .only_if(is_earlier.into_iter().fold(absent("feed_at"), Condition::or));
            match self.update_item(key, change).send().await {
                Err(error) if !is_listed_later(&error) => return Err(StoreError::unavailable(WHAT, &error)),
                _ => {}
            }
        }
        if between(now, clock.now()) > MAX_STAMP_AGE {
            return Err(StoreError::Unavailable { what: WHAT, why: "it took too long".to_owned() });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
