//! Returns a card code to the caller, on record.

use secrecy::SecretString;

use super::{MAX_RACES, Tracker, deleted, too_many_races};
use crate::{
    cards::CardError,
    order::{Decision, Order},
    store::{Commit, StoreError},
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
    pub async fn reveal_card(&self, mut order: Order) -> Result<Option<SecretString>, RevealError> {
        let Some(card) = order.card.clone() else { return Ok(None) };
        let code = self.cards.open(&order.key, &card).await?;
        for _ in 0..MAX_RACES {
            let now = self.clock.now();
            let Decision { order: after, events } = order.card_revealed(now);
            let due_at = self.schedule.due_at(&after, now);
            match self.store.commit(&order, after, &events, due_at).await? {
                Commit::Applied(order) => {
                    self.publish(*order, &events).await;
                    return Ok(Some(code));
                }
                Commit::AlreadyFinal | Commit::LostRace => {
                    order = self.store.load(&order.key).await?.ok_or_else(|| deleted(&order.key))?;
                }
            }
        }
        Err(too_many_races("record that a card was read").into())
    }
}
