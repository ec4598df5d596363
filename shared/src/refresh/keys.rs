//! The vendor's keys: denials, events, and keys that are no longer in use.

use jiff::Timestamp;

use super::Tracker;
use crate::{
    rate_limiter::{Denied, DenyReason},
    secret::{Fingerprint, VendorKey},
    store::StoreError,
};

impl Tracker {
    /// The denial to report for a call with `key`. If a suspended key has been replaced in the secret, the new key
    /// gets a permit at once.
    pub(super) async fn denied(&self, key: &VendorKey, denied: Denied) -> Denied {
        if denied.reason == DenyReason::Suspended {
            let now = self.clock.now();
            if self.vault.read_again(now).await.vendor_key.fingerprint() != key.fingerprint() {
                return Denied { reason: DenyReason::RateLimited, retry_at: now };
            }
        }
        denied
    }

    /// Publishes the event of a change of the key's state, if `noted` says there is one. A failure is logged only: it
    /// must not lose the order's check.
    pub(super) async fn publish_noted(&self, key: &Fingerprint, noted: Result<bool, StoreError>) {
        let published = match noted {
            Ok(true) => self.publish_key(key).await.map(drop),
            Ok(false) => Ok(()),
            Err(error) => Err(error),
        };
        if let Err(error) = published {
            tracing::error!(%key, %error, "the state of the key or its lists could not be stored or published");
        }
    }

    /// Processes a key that the due index lists: publishes its pending events. Without pending events, a suspended
    /// key that is no longer in the secret is removed, and its suspension ends with an event, since no process may
    /// probe it again. Returns how many events were published, and the time of the first that was not.
    ///
    /// The secret is read again if it was read more than 60 s ago. So it was read after the key was suspended, and a
    /// key that it does not contain is an old one, not a new one that this process does not know yet. If the secret
    /// cannot be read, no suspension ends.
    ///
    /// # Errors
    /// If the table fails.
    pub async fn refresh_key(&self, key: &Fingerprint) -> Result<(usize, Option<Timestamp>), StoreError> {
        if !self.store.vendor_events(key).await?.is_empty() {
            return self.publish_key(key).await;
        }
        let secrets = self.vault.of_this_minute(self.clock.now()).await;
        let is_gone = secrets.is_some_and(|secrets| secrets.vendor_key.fingerprint() != key);
        if is_gone {
            self.permits.replaced(key).await?;
        }
        let published = self.publish_key(key).await?;
        if is_gone {
            // Only after its event is published: until then the table refuses.
            self.store.forget_key(key, self.clock.now()).await?;
        }
        Ok(published)
    }
}
