//! Updates the state of a key's lists from the answers of list checks.

use jiff::Timestamp;

use super::{Permit, Permits};
use crate::{
    order::Product,
    rate_limiter::{ListTrouble, MAX_LIST_FAILURES, VendorEvent, VendorEventKind, Verdict, pause_until},
    secret::Fingerprint,
    store::StoreError,
    time::later,
};

impl Permits {
    /// Turns a product's list off for [`ListTrouble::off_for`], for all processes. True: there is an event to
    /// publish. A trouble is published once, until the list has recovered.
    ///
    /// # Errors
    /// If the table fails.
    pub async fn distrust_list(
        &self,
        key: &Fingerprint,
        product: Product,
        trouble: ListTrouble,
    ) -> Result<bool, StoreError> {
        self.turn_list_off(key, product, trouble, later(self.clock.now(), trouble.off_for())).await
    }

    async fn turn_list_off(
        &self,
        key: &Fingerprint,
        product: Product,
        trouble: ListTrouble,
        until: Timestamp,
    ) -> Result<bool, StoreError> {
        let now = self.clock.now();
        let usage = self.usage(key).await?;
        let reason = trouble.as_str();
        tracing::warn!(%key, %product, trouble = reason, %until, "the vendor's list is turned off");
        let is_new = usage.list(product).published_trouble.as_deref() != Some(reason);
        let event = is_new.then(|| {
            let kind = VendorEventKind::ListDegraded { reason, product: product.as_str() };
            VendorEvent::new(key, usage.event_seq.saturating_add(1), kind, now)
        });
        let done = self.store.turn_list_off(key, product, reason, until, event.as_ref(), now).await?;
        self.refresh_memory(key).await?;
        Ok(done && is_new)
    }

    /// Counts a failed list check of a product, over all processes; `verdict` is what the answer would say about the
    /// key. It does not affect single checks: no refusal is counted and no pause begins. A limit (429) turns the list
    /// off for as long as the vendor says, within the bounds of a pause. [`MAX_LIST_FAILURES`] failures in a row turn
    /// it off for some minutes. True: there is an event to publish.
    ///
    /// # Errors
    /// If the table fails.
    pub async fn list_failed(
        &self,
        permit: &Permit,
        product: Product,
        verdict: &Verdict,
    ) -> Result<bool, StoreError> {
        let now = self.clock.now();
        let key = &permit.key;
        let usage = self.remember(key, self.store.count_list_failure(key, product).await?);
        let limited_until = match verdict {
            Verdict::Throttled(retry_after) => Some(pause_until(*retry_after, now)),
            Verdict::Accepted | Verdict::Refused(_) | Verdict::Silent => None,
        };
        if usage.list(product).failures >= MAX_LIST_FAILURES {
            let trouble = ListTrouble::Unavailable;
            let until = later(now, trouble.off_for()).max(limited_until.unwrap_or(now));
            return self.turn_list_off(key, product, trouble, until).await;
        }
        if let Some(until) = limited_until {
            tracing::warn!(%key, %product, %until, "the vendor's list is paused: the vendor limits it");
            self.store.pause_list(key, product, until).await?;
            self.refresh_memory(key).await?;
        }
        Ok(false)
    }

    /// Resets the failures and the published trouble of a product's list that has answered well, unless the list was
    /// turned off meanwhile.
    ///
    /// # Errors
    /// If the table fails.
    pub async fn trust_list(&self, key: &Fingerprint, product: Product) -> Result<(), StoreError> {
        let known = self.last_known(key);
        let known = known.list(product);
        if known.published_trouble.is_some() || known.failures > 0 {
            self.store.trust_list(key, product, self.clock.now()).await?;
            self.refresh_memory(key).await?;
        }
        Ok(())
    }
}
