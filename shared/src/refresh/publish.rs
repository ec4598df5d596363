//! Publishing what is in the outbox: events about an order, and events about a key of the vendor's.

use jiff::Timestamp;

use super::Tracker;
use crate::{
    order::{Event, Order},
    secret::Fingerprint,
    store::{StoreError, VendorOutbox},
};

/// What became of an order's outbox.
pub(super) struct Published {
    pub(super) order: Order,
    /// How many events went out.
    pub(super) count: usize,
    /// When the first event happened that did not go out.
    pub(super) unpublished_since: Option<Timestamp>,
}

impl Tracker {
    /// Publishes what is in the outbox, then tracks the orders that this one lives on under. `fresh` are the events just
    /// committed; others are read from the history. What fails is due soon, so it is logged and no error.
    pub(super) async fn publish(&self, mut order: Order, fresh: &[Event]) -> Published {
        let (count, unpublished_since) =
            self.publish_outbox(&mut order, fresh).await.unwrap_or_else(|error| {
                tracing::warn!(order = %order.key, %error, "events stay in the outbox");
                (0, None)
            });
        self.track_links(&mut order).await;
        Published { order, count, unpublished_since }
    }

    /// Answers how many events went out, and when the first happened that did not.
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
        let result = self.publisher.publish(events).await;
        if let Some(why) = &result.stopped {
            tracing::warn!(order = %order.key, why, "events stay in the outbox");
        }
        let is_out = |event: &&Event| result.up_to.is_some_and(|up_to| event.seq <= up_to);
        let unpublished_since = events.iter().find(|event| !is_out(event)).map(|event| event.occurred_at);
        let Some(up_to) = result.up_to else { return Ok((0, unpublished_since)) };
        let before = std::mem::replace(&mut order.published, up_to);
        let due_at = self.schedule.due_at(order, self.clock.now());
        if let Err(error) = self.store.mark_published(order, up_to, due_at).await {
            // The events are out, but the record does not say so: they go out again.
            order.published = before;
            return Err(error);
        }
        Ok((result.count, unpublished_since))
    }

    /// Publishes what there is to say about a key; answers how many events went out, and when the first happened that did not. A key that
    /// is suspended is due again soon.
    ///
    /// # Errors
    /// If the table fails.
    pub async fn publish_key(&self, key: &Fingerprint) -> Result<(usize, Option<Timestamp>), StoreError> {
        let VendorOutbox { events, usage } = self.store.vendor_outbox(key).await?;
        let result = self.publisher.publish(&events).await;
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
