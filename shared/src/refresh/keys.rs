//! The vendor's keys: what the rate limiter denies, and keys that are not in use any more.

use jiff::Timestamp;

use super::Tracker;
use crate::{
    rate_limiter::{Denied, DenyReason},
    secret::{Fingerprint, VendorKey},
    store::StoreError,
};

impl Tracker {
    /// What a denial of a call with `key` comes to. A suspended key may have been replaced: the other is permitted a call at once.
    pub(super) async fn denied(&self, key: &VendorKey, denied: Denied) -> Denied {
        if denied.reason == DenyReason::Suspended {
            let now = self.clock.now();
            if self.vault.read_again(now).await.vendor_key.fingerprint() != key.fingerprint() {
                return Denied { reason: DenyReason::RateLimited, retry_at: now };
            }
        }
        denied
    }

    /// Publishes what was just noted about a key, if it is an event. What goes wrong here costs no order its check.
    pub(super) async fn tell(&self, key: &Fingerprint, noted: Result<bool, StoreError>) {
        let told = match noted {
            Ok(true) => self.publish_key(key).await.map(drop),
            Ok(false) => Ok(()),
            Err(error) => Err(error),
        };
        if let Err(error) = told {
            tracing::error!(%key, %error, "what the vendor said about the key or its lists could not be kept");
        }
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
            return self.publish_key(key).await;
        }
        let secrets = self.vault.of_this_minute(self.clock.now()).await;
        let is_gone = secrets.is_some_and(|secrets| secrets.vendor_key.fingerprint() != key);
        if is_gone {
            self.permits.replaced(key).await?;
        }
        let published = self.publish_key(key).await?;
        if is_gone {
            // Not before its event is out: until then the table does not take it.
            self.store.forget_key(key, self.clock.now()).await?;
        }
        Ok(published)
    }
}
