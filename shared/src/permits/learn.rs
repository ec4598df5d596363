//! Updates a key's state from the answers of calls: refusals, suspension, pause.

use jiff::Timestamp;

use super::{Permit, Permits};
use crate::{
    rate_limiter::{
        FIRST_PROBE, MAX_REFUSALS, Usage, VendorEvent, VendorEventKind, Verdict, doubled, pause_until,
        unbelievable_pause,
    },
    secret::Fingerprint,
    store::StoreError,
    time::later,
};

impl Permits {
    /// Updates the key's state from the answer to a permitted call. True: the state changed and there is an event to
    /// publish.
    ///
    /// # Errors
    /// If the table fails.
    pub async fn learn(&self, permit: &Permit, verdict: &Verdict) -> Result<bool, StoreError> {
        let now = self.clock.now();
        let key = &permit.key;
        match (verdict, permit.probe) {
            (Verdict::Silent, _) => return Ok(false),
            (Verdict::Accepted, None) if permit.refusals == 0 => return Ok(false),
            (Verdict::Accepted, None) => self.store.forget_refusals(key).await?,
            (Verdict::Accepted, Some(armed)) => return self.resume(key, armed, now).await,
            (Verdict::Throttled(retry_after), _) => {
                let until = pause_until(*retry_after, now);
                self.store.pause(key, until, unbelievable_pause(now)).await?;
                tracing::warn!(%key, %until, "the vendor asked for a pause");
            }
            (Verdict::Refused(_), Some(armed)) => {
                let wait = doubled(self.store.usage(key).await?.probe_wait);
                self.store.lengthen_probe(key, armed, later(now, wait), wait).await?;
            }
            (Verdict::Refused(code), None) => return self.count_refusal(key, code, now).await,
        }
        self.refresh_memory(key).await?;
        Ok(false)
    }

    async fn count_refusal(&self, key: &Fingerprint, code: &str, now: Timestamp) -> Result<bool, StoreError> {
        let Some(usage) = self.store.count_refusal(key).await? else { return Ok(false) };
        let usage = self.remember(key, usage);
        if usage.refusals < MAX_REFUSALS {
            return Ok(false);
        }
        self.suspend(key, &usage, code, now).await
    }

    pub(super) async fn suspend(
        &self,
        key: &Fingerprint,
        usage: &Usage,
        reason: &str,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let until = later(now, FIRST_PROBE);
        let kind = VendorEventKind::Suspended { reason, suspended_until: until };
        let event = VendorEvent::new(key, usage.event_seq.saturating_add(1), kind, now);
        let is_changed = self.store.suspend(key, until, FIRST_PROBE, &event, now).await?;
        if is_changed {
            tracing::error!(%key, reason, %until, "the key is suspended: the vendor refuses it");
        }
        self.refresh_memory(key).await?;
        Ok(is_changed)
    }

    async fn resume(&self, key: &Fingerprint, armed: Timestamp, now: Timestamp) -> Result<bool, StoreError> {
        let usage = self.store.usage(key).await?;
        let event = VendorEvent::new(key, usage.event_seq.saturating_add(1), VendorEventKind::Resumed, now);
        let is_changed = self.store.end_suspension(key, Some(armed), &event, now).await?;
        if is_changed {
            tracing::warn!(%key, "the key is in use again: the vendor accepts it");
        }
        self.refresh_memory(key).await?;
        Ok(is_changed)
    }

    /// Ends the refusal count and the suspension of a key that is no longer in use. True, for exactly one caller: the
    /// suspension ended and there is an event to publish.
    ///
    /// # Errors
    /// If the table fails.
    pub async fn replaced(&self, key: &Fingerprint) -> Result<bool, StoreError> {
        let now = self.clock.now();
        let usage = self.store.usage(key).await?;
        let is_changed = if usage.suspended_until.is_some() {
            let seq = usage.event_seq.saturating_add(1);
            let event = VendorEvent::new(key, seq, VendorEventKind::Replaced, now);
            self.store.end_suspension(key, None, &event, now).await?
        } else {
            if usage.refusals > 0 {
                self.store.drop_refusals(key).await?;
            }
            false
        };
        if is_changed {
            tracing::warn!(%key, "the suspension ended: the key is no longer in use");
        }
        self.refresh_memory(key).await?;
        Ok(is_changed)
    }
}
