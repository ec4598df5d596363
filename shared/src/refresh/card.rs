//! Showing a card.

use secrecy::SecretString;

use super::{MAX_RACES, Tracker, deleted, too_many_races};
use crate::{
    cards::CardError,
    order::{Decision, Order},
    store::{Commit, StoreError},
};

/// A card could not be shown.
#[derive(Debug, thiserror::Error)]
pub enum RevealError {
    /// The table.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// KMS.
    #[error(transparent)]
    Card(#[from] CardError),
}

impl Tracker {
    /// Commits that the card was read, so that each delivery is on record before it is made, and decrypts it.
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
        Err(too_many_races("record a reading").into())
    }
}
