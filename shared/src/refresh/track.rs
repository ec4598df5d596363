//! Registers orders and their linked orders.

use jiff::Timestamp;

use super::{MAX_RACES, Tracker, deleted, too_many_races};
use crate::{
    order::{Event, Order, OrderId, OrderKey, Ref, TrackedBy},
    store::{Registration, StoreError},
};

impl Tracker {
    /// Registers an order unless it is tracked already. Returns the stored order in both cases, with `reference`
    /// filled in if it had none.
    ///
    /// # Errors
    /// If the table fails.
    pub async fn track(
        &self,
        key: &OrderKey,
        reference: Option<Ref>,
        by: TrackedBy,
    ) -> Result<(Registration, Order), StoreError> {
        let new = |now| Order::track(key.clone(), reference.clone(), by, now, &self.schedule);
        match self.register(key, new).await? {
            (Registration::AlreadyTracked, known) => {
                Ok((Registration::AlreadyTracked, self.complete(known, reference).await?))
            }
            new => Ok(new),
        }
    }

    async fn register(
        &self,
        key: &OrderKey,
        new: impl Fn(Timestamp) -> (Order, Event),
    ) -> Result<(Registration, Order), StoreError> {
        for _ in 0..MAX_RACES {
            let now = self.clock.now();
            let (order, event) = new(now);
            let due_at = self.schedule.due_at(&order, now);
            if self.store.register(&order, &event, due_at).await? == Registration::Tracked {
                return Ok((Registration::Tracked, self.publish(order, &[event]).await.order));
            }
            // No record yet: the competing write is not finished, or failed too. Try again.
            if let Some(known) = self.store.load(key).await? {
                return Ok((Registration::AlreadyTracked, known));
            }
        }
        Err(too_many_races("store a new order"))
    }

    /// Adds a reference to an order that was tracked without one. Returns the order as stored.
    ///
    /// # Errors
    /// If the table fails.
    pub async fn complete(&self, known: Order, reference: Option<Ref>) -> Result<Order, StoreError> {
        let lacks_it = known.reference.is_none() && known.redacted_at.is_none();
        let Some(reference) = reference.filter(|_| lacks_it) else { return Ok(known) };
        for _ in 0..MAX_RACES {
            let kept = self.store.fill_reference(&known, &reference).await?;
            let stored = self.store.load(&known.key).await?.ok_or_else(|| deleted(&known.key))?;
            if kept || stored.reference.is_some() || stored.redacted_at.is_some() {
                return Ok(stored);
            }
        }
        Err(too_many_races("keep a reference"))
    }

    /// Registers the orders that continue `order`, and links both records. A failure is logged and is no error: the
    /// order is due again soon.
    pub(super) async fn track_links(&self, order: &mut Order) {
        for link in order.links_to_track() {
            // Boxed because publishing a new linked order calls this again; a new order has no links.
            if let Err(error) = Box::pin(self.track_link(order, link)).await {
                tracing::warn!(order = %order.key, %error, "a linked order is tracked later");
            }
        }
    }

    /// Registers one linked order. Each step may be repeated.
    async fn track_link(&self, order: &mut Order, link: OrderId) -> Result<(), StoreError> {
        let linked = OrderKey { product: order.key.product, id: link.clone() };
        let from = order.key.id.clone();
        let new = |now| Order::track_link(linked.clone(), from.clone(), now, &self.schedule);
        let (registration, other) = self.register(&linked, new).await?;
        if registration == Registration::AlreadyTracked && !other.linked_from.contains(&order.key.id) {
            self.store.note_origin(&linked, &order.key.id).await?;
        }
        order.links.insert(link.clone());
        self.store.note_link(order, &link, self.schedule.due_at(order, self.clock.now())).await
    }
}
