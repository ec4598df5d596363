//! Returns a card code to the caller, on record.

use secrecy::SecretString;

use super::{MAX_RACES, Tracker, deleted, too_many_races};
use crate::{
    cards::{CardError, CardSafe},
    clock::Clock,
    order::{Decision, Event, Order, Schedule},
    store::{Commit, Store, StoreError},
};

/// Why a card code could not be returned.
#[derive(Debug, thiserror::Error)]
pub enum RevealError {
    /// The table failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// KMS failed.
    #[error(transparent)]
    Card(#[from] CardError),
}

impl Tracker {
    /// Decrypts the order's card code, and commits an event that it was read before returning it. `None`: the order
    /// has no card.
    ///
    /// # Errors
    /// If the table or KMS fails.
    pub async fn reveal_card(&self, order: Order) -> Result<Option<SecretString>, RevealError> {
        let revealer =
            Revealer { store: &self.store, cards: &self.cards, schedule: &self.schedule, clock: &self.clock };
        let Some((code, order, events)) = revealer.reveal(order).await? else { return Ok(None) };
        self.publish(order, &events).await;
        Ok(Some(code))
    }
}

/// What reading a card needs. Without a publisher, the event stays in the outbox, and the next recheck publishes it.
#[derive(Debug)]
pub struct Revealer<'a> {
    /// The table.
    pub store: &'a Store,
    /// Decrypts card codes.
    pub cards: &'a CardSafe,
    /// When the order is due, so that its event gets published.
    pub schedule: &'a Schedule,
    /// The clock.
    pub clock: &'a Clock,
}

impl Revealer<'_> {
    /// Decrypts the order's card code, and commits an event that it was read before returning it, with the order and the events to publish.
    /// `None`: the order has no card.
    ///
    /// # Errors
    /// If the table or KMS fails.
    pub async fn reveal(
        &self,
        mut order: Order,
    ) -> Result<Option<(SecretString, Order, Vec<Event>)>, RevealError> {
        let Some(card) = order.card.clone() else { return Ok(None) };
        let code = self.cards.open(&order.key, &card).await?;
        for _ in 0..MAX_RACES {
            let now = self.clock.now();
            let Decision { order: after, events } = order.card_revealed(now);
            let due_at = self.schedule.due_at(&after, now);
            match self.store.commit(&order, after, &events, due_at).await? {
                Commit::Applied(order) => return Ok(Some((code, *order, events))),
                Commit::AlreadyFinal | Commit::LostRace => {
                    order = self.store.load(&order.key).await?.ok_or_else(|| deleted(&order.key))?;
                }
            }
        }
        Err(too_many_races("record that a card was read").into())
    }
}
