//! Publishes the outbox: events about an order, and events about a vendor key.

use jiff::Timestamp;

use super::Tracker;
use crate::{
    order::{Event, Order},
    publish::{self, MAX_ENTRIES},
    secret::Fingerprint,
    store::{MAX_STAMP_AGE, StoreError, VendorOutbox},
    time::between,
};

/// The result of publishing an order's outbox.
pub(super) struct Published {
    pub(super) order: Order,
    /// How many events were published.
    pub(super) count: usize,
    /// Time of the first event that was not published.
    pub(super) unpublished_since: Option<Timestamp>,
}

impl Tracker {
    /// Publishes the order's outbox, then tracks its linked orders. `fresh`: the events just committed; earlier ones
    /// are read from the history. A failure is logged and is no error: the order is due again soon.
    pub(super) async fn publish(&self, mut order: Order, fresh: &[Event]) -> Published {
        let (count, unpublished_since) =
            self.publish_outbox(&mut order, fresh).await.unwrap_or_else(|error| {
                tracing::warn!(order = %order.key, %error, "events stay in the outbox");
                (0, None)
            });
        self.track_links(&mut order).await;
        Published { order, count, unpublished_since }
    }

    /// Returns how many events were published, and the time of the first that was not.
    async fn publish_outbox(
        &self,
        order: &mut Order,
        fresh: &[Event],
    ) -> Result<(usize, Option<Timestamp>), StoreError> {
        if order.published >= order.seq {
            return Ok((0, None));
        }
        let stored;
        let complete = fresh.first().is_some_and(|first| first.seq == order.published.saturating_add(1));
        let events = if complete {
            fresh
        } else {
            stored = self.store.events_after(&order.key, order.published).await?;
            &stored
        };
        let result = self.publish_events(events).await;
        if let Some(why) = &result.stopped {
            tracing::warn!(order = %order.key, why, "events stay in the outbox");
        }
        let is_out = |event: &&Event| result.up_to.is_some_and(|up_to| event.seq <= up_to);
        let unpublished_since = events.iter().find(|event| !is_out(event)).map(|event| event.occurred_at);
        let Some(up_to) = result.up_to else { return Ok((0, unpublished_since)) };
        let before = std::mem::replace(&mut order.published, up_to);
        let due_at = self.schedule.due_at(order, self.clock.now());
        if let Err(error) = self.store.mark_published(order, up_to, due_at).await {
            // The events are published, but the record does not say so: they are published again.
            order.published = before;
            return Err(error);
        }
        Ok((result.count, unpublished_since))
    }

    /// Publishes events, a few at a time: what is listed late must be published soon after it.
    async fn publish_events(&self, events: &[Event]) -> publish::Published {
        let mut published = publish::Published::default();
        for some in events.chunks(MAX_ENTRIES) {
            let result = match self.list_late(some).await {
                Ok(()) => self.publisher.publish(some).await,
                Err(error) => stopped_by(&error),
            };
            published.up_to = result.up_to.or(published.up_to);
            published.count += result.count;
            published.stopped = result.stopped;
            if published.stopped.is_some() {
                break;
            }
        }
        published
    }

    /// Lists events in the feed anew if a reader may have passed them before they were committed: this process was
    /// slow, or another one did not publish them.
    async fn list_late(&self, events: &[Event]) -> Result<(), StoreError> {
        let now = self.clock.now();
        if events.iter().any(|event| between(event.occurred_at, now) > MAX_STAMP_AGE) {
            self.store.list_events(events, &self.clock).await?;
        }
        Ok(())
    }

    /// Publishes the pending events of a key. Returns how many were published, and the time of the first that was
    /// not. A suspended key is due again after 60 s.
    ///
    /// # Errors
    /// If the table fails.
    pub async fn publish_key(&self, key: &Fingerprint) -> Result<(usize, Option<Timestamp>), StoreError> {
        let VendorOutbox { events, usage } = self.store.vendor_outbox(key).await?;
        let result = match self.store.list_vendor_events(key, &events, &self.clock).await {
            Ok(()) => self.publisher.publish(&events).await,
            Err(error) => stopped_by(&error),
        };
        if let Some(why) = &result.stopped {
            tracing::warn!(%key, why, "events about the key stay in the outbox");
            let is_out = |seq: u32| result.up_to.is_some_and(|up_to| seq <= up_to);
            let first = events.iter().find(|event| !is_out(event.seq));
            return Ok((result.count, first.map(|event| event.occurred_at)));
        }
        if usage.event_seq > 0 {
            let is_suspended = usage.suspended_until.is_some();
            self.store.mark_vendor_published(key, usage.event_seq, is_suspended, self.clock.now()).await?;
        }
        Ok((result.count, None))
    }
}

/// Nothing was published, because the events could not be listed in the feed.
fn stopped_by(error: &StoreError) -> publish::Published {
    publish::Published { stopped: Some(error.to_string()), ..publish::Published::default() }
}
