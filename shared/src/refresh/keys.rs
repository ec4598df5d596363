//! The vendor's keys: claims that are given back with an admission, and keys that are not in use any more.

use jiff::Timestamp;

use super::Tracker;
use crate::{
    admission::Closed,
    order::{Order, Trigger},
    secret::Fingerprint,
    store::StoreError,
};

impl Tracker {
    /// Gives the claim of `now` back, since nobody looks; what was due is due still. `order` is as it was before the claim.
    pub(super) async fn unclaim(
        &self,
        order: &Order,
        trigger: Trigger,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let due_at = (trigger == Trigger::Recheck).then(|| self.schedule.due_at(order, now));
        self.store.unclaim(order, now, due_at).await
    }

    /// When there is leave again, where there was none for `key`. A suspended key may have been replaced: the other has leave at once.
    pub(super) async fn leave_again(
        &self,
        key: &Fingerprint,
        until: Timestamp,
        why: Closed,
    ) -> (Timestamp, Closed) {
        if why == Closed::Suspended {
            let now = self.clock.now();
            if self.vault.read_again(now).await.vendor_key.fingerprint() != key {
                return (now, Closed::Rate);
            }
        }
        (until, why)
    }

    /// Processes a key of the vendor's that the due index lists: publishes what there is to say about it. If there is nothing, everything
    /// was said at least a minute ago; a suspended key that is not in use any more is then forgotten, and its suspension ended, with an
    /// event: perhaps no process will probe it again. Answers how many events went out, and when
    /// the first happened that did not.
    ///
    /// The secret is read again if what is known of it is older than a minute. So it was read after the key was suspended, and a key that
    /// it does not hold is an older one, not one that this process has not heard of yet. Where the secret cannot be read, nothing is ended.
    ///
    /// # Errors
    /// If the table fails.
    pub async fn refresh_key(&self, key: &Fingerprint) -> Result<(usize, Option<Timestamp>), StoreError> {
        if !self.store.vendor_events(key).await?.is_empty() {
            return self.announce_key(key).await;
        }
        let secrets = self.vault.of_this_minute(self.clock.now()).await;
        let is_gone = secrets.is_some_and(|secrets| secrets.vendor_key.fingerprint() != key);
        if is_gone {
            self.admission.replaced(key).await?;
        }
        let published = self.announce_key(key).await?;
        if is_gone {
            // Not before its event is out: until then the table does not take it.
            self.store.forget_key(key, self.clock.now()).await?;
        }
        Ok(published)
    }
}
