//! Tracking: an order is known from now on, and so are the orders that it lives on under.

use jiff::Timestamp;

use super::{MAX_RACES, Tracker, deleted, too_many_races};
use crate::{
    order::{Event, Order, OrderId, OrderKey, Ref, TrackedBy},
    store::{Registration, StoreError},
};

impl Tracker {
    /// Tracks an order from now on, unless it is tracked already; answers the order either way.
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
            // Nothing is there yet if the process that won is not done, or lost too: try again.
            if let Some(known) = self.store.load(key).await? {
                return Ok((Registration::AlreadyTracked, known));
            }
        }
        Err(too_many_races("store a new order"))
    }

    /// Keeps a reference that comes after the order was tracked without one; answers the order as it is stored.
    ///
    /// # Errors
    /// If the table fails.
    pub async fn complete(&self, known: Order, reference: Option<Ref>) -> Result<Order, StoreError> {
        let Some(reference) = reference.filter(|_| known.reference.is_none()) else { return Ok(known) };
        for _ in 0..MAX_RACES {
            let kept = self.store.fill_reference(&known.key, &reference).await?;
            let stored = self.store.load(&known.key).await?.ok_or_else(|| deleted(&known.key))?;
            if kept || stored.reference.is_some() {
                return Ok(stored);
            }
        }
        Err(too_many_races("keep a reference"))
    }

    /// Tracks the orders that `order` lives on under, and notes in both that they belong together. What fails is due soon, so it is logged
    /// and no error.
    pub(super) async fn track_links(&self, order: &mut Order) {
        for link in order.links_to_track() {
            // Boxed: the order that is tracked is published in its turn, though it has no links yet.
            if let Err(error) = Box::pin(self.track_link(order, link)).await {
                tracing::warn!(order = %order.key, %error, "a linked order is tracked later");
            }
        }
    }

    /// Any step may be repeated.
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
