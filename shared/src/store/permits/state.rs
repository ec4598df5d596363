//! The state of a vendor key: refusals, pause, suspension, and the events about it.

use std::time::Duration;

use aws_sdk_dynamodb::types::AttributeValue;
use jiff::Timestamp;

use super::{KeyUpdate, item, seconds};
use crate::{
    order::{OUTBOX_DUE, Product},
    rate_limiter::{Class, MAX_REFUSALS, Usage, VendorEvent},
    secret::Fingerprint,
    store::{
        Store, StoreError,
        item::{millis, number, text},
        update::{Change, absent, exists, is},
    },
    time::later,
};

/// The partition of the due index for keys.
const SHARD: &str = "0";
/// A suspended key is due again this long after its events are published. It stays in the due index so that its end
/// can be published even if the key is not used again.
const SUSPENDED_DUE: Duration = Duration::from_secs(60);

/// A key's state, with its events that are not published yet.
#[derive(Clone, Debug, Default)]
pub struct VendorOutbox {
    /// The events, ascending.
    pub events: Vec<VendorEvent>,
    /// The state.
    pub usage: Usage,
}

impl Store {
    /// Takes the probe of a suspended key and arms the next one in the same update.
    ///
    /// # Errors
    /// If DynamoDB fails.
    pub async fn arm_probe(
        &self,
        key: &Fingerprint,
        armed: Timestamp,
        next: Timestamp,
    ) -> Result<KeyUpdate, StoreError> {
        let change = Change::default().set("suspended_until", millis(next)).only_if(is(
            "suspended_until",
            "=",
            millis(armed),
        ));
        self.change_key(key, "take a probe", change).await
    }

    /// Postpones the next probe after one that was refused.
    ///
    /// # Errors
    /// If DynamoDB fails.
    pub async fn lengthen_probe(
        &self,
        key: &Fingerprint,
        armed: Timestamp,
        next: Timestamp,
        wait: Duration,
    ) -> Result<(), StoreError> {
        let change = Change::default()
            .set("suspended_until", millis(next))
            .set("probe_wait", seconds(wait))
            .only_if(is("suspended_until", "=", millis(armed)));
        self.change_key(key, "postpone a probe", change).await.map(drop)
    }

    /// Counts a refusal of a key that is not suspended. Returns the new state; `None` if it is suspended.
    ///
    /// # Errors
    /// If DynamoDB fails.
    pub async fn count_refusal(&self, key: &Fingerprint) -> Result<Option<Usage>, StoreError> {
        let change = Change::default().count("refusals").only_if(absent("suspended_until"));
        match self.change_key(key, "count a refusal", change).await? {
            KeyUpdate::Applied(usage) => Ok(Some(usage)),
            KeyUpdate::Conflict(_) => Ok(None),
        }
    }

    /// Resets the refusals of a key that the vendor accepted again before it was suspended.
    ///
    /// # Errors
    /// If DynamoDB fails.
    pub async fn forget_refusals(&self, key: &Fingerprint) -> Result<(), StoreError> {
        let change = Change::default().remove("refusals").only_if(absent("suspended_until")).only_if(is(
            "refusals",
            "<",
            number(MAX_REFUSALS),
        ));
        self.change_key(key, "reset refusals", change).await.map(drop)
    }

    /// Resets the refusals of a key that is no longer in use, unless it is suspended.
    ///
    /// # Errors
    /// If DynamoDB fails.
    pub async fn drop_refusals(&self, key: &Fingerprint) -> Result<(), StoreError> {
        let change = Change::default().remove("refusals").only_if(absent("suspended_until"));
        self.change_key(key, "reset the refusals of an old key", change).await.map(drop)
    }

    /// Pauses all calls until `until`; never shortens a pause. A stored pause after `unbelievable` is overwritten.
    ///
    /// # Errors
    /// If DynamoDB fails.
    pub async fn pause(
        &self,
        key: &Fingerprint,
        until: Timestamp,
        unbelievable: Timestamp,
    ) -> Result<(), StoreError> {
        let change = Change::default().set("paused_until", millis(until)).only_if(
            absent("paused_until").or(is("paused_until", "<", millis(until))).or(is(
                "paused_until",
                ">",
                millis(unbelievable),
            )),
        );
        self.change_key(key, "pause calls", change).await.map(drop)
    }

    /// Suspends a key that was refused [`MAX_REFUSALS`] times, with its event. True for exactly one caller.
    ///
    /// # Errors
    /// If DynamoDB fails.
    pub async fn suspend(
        &self,
        key: &Fingerprint,
        until: Timestamp,
        probe_wait: Duration,
        event: &VendorEvent,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let change = Change::default()
            .set("suspended_until", millis(until))
            .set("probe_wait", seconds(probe_wait))
            .only_if(absent("suspended_until"))
            .only_if(is("refusals", ">=", number(MAX_REFUSALS)));
        self.change_with_event(key, "suspend a key", change, event, now).await
    }

    /// Ends a suspension, with its event. `armed`: only the suspension whose probe was armed for then; `None`: any,
    /// for a key that is no longer in use. True for exactly one caller.
    ///
    /// # Errors
    /// If DynamoDB fails.
    pub async fn end_suspension(
        &self,
        key: &Fingerprint,
        armed: Option<Timestamp>,
        event: &VendorEvent,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let is_suspended = match armed {
            Some(armed) => is("suspended_until", "=", millis(armed)),
            None => exists("suspended_until"),
        };
        let change = Change::default()
            .remove("suspended_until")
            .remove("probe_wait")
            .remove("refusals")
            .only_if(is_suspended);
        self.change_with_event(key, "end a suspension", change, event, now).await
    }

    /// Removes the state of a key that is no longer in use, if it is not suspended, has no events to publish, is not
    /// paused, and its theoretical arrival time has passed, so that a permit would be given at once anyway. The
    /// number of its last event stays, so that numbers do not repeat if the key is used again.
    ///
    /// # Errors
    /// If DynamoDB fails.
    pub async fn forget_key(&self, key: &Fingerprint, now: Timestamp) -> Result<(), StoreError> {
        let of_lists = Product::ALL
            .into_iter()
            .flat_map(|product| ["off_until", "said", "failures"].map(|field| item::of_list(product, field)));
        let reservations = Class::ALL.map(item::reservation_tat);
        let others = [
            item::TAT,
            "permits",
            "refusals",
            "probe_wait",
            "paused_until",
            "pages",
            "page_turn",
            "due_at",
            "due_shard",
        ];
        let change = Change::default()
            .only_if(exists("event_seq"))
            .only_if(absent("suspended_until"))
            .only_if(absent("events"))
            .only_if(absent("paused_until").or(is("paused_until", "<=", millis(now))))
            .only_if(absent(item::TAT).or(is(item::TAT, "<", number(now.as_microsecond()))));
        let names = of_lists.chain(reservations).chain(others.map(str::to_owned));
        self.change_key(key, "forget a key", names.fold(change, Change::remove)).await.map(drop)
    }

    /// Events about a key that are not published yet, ascending.
    ///
    /// # Errors
    /// If DynamoDB fails.
    pub async fn vendor_events(&self, key: &Fingerprint) -> Result<Vec<VendorEvent>, StoreError> {
        Ok(self.vendor_outbox(key).await?.events)
    }

    /// The unpublished events about a key, with its state at that moment.
    ///
    /// # Errors
    /// If DynamoDB fails.
    pub async fn vendor_outbox(&self, key: &Fingerprint) -> Result<VendorOutbox, StoreError> {
        let item = self.key_item(key).await?.unwrap_or_default();
        Ok(VendorOutbox { events: item::read_events(&item), usage: item::read_usage(&item) })
    }

    /// Records that the events up to number `seq` are published, unless there is a newer one: then they are published
    /// again. A suspended key is due again after 60 s; any other is removed from the due index. `is_suspended` is as
    /// of `seq`: a suspension changes only together with an event.
    ///
    /// # Errors
    /// If DynamoDB fails.
    pub async fn mark_vendor_published(
        &self,
        key: &Fingerprint,
        seq: u32,
        is_suspended: bool,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let due_at = is_suspended.then(|| millis(later(now, SUSPENDED_DUE)));
        let change = Change::default()
            .remove("events")
            .only_if(is("event_seq", "=", number(seq)))
            .set_or_remove("due_at", due_at)
            .set_or_remove("due_shard", is_suspended.then(|| text(SHARD)));
        self.change_key(key, "mark events about a key as published", change).await.map(drop)
    }

    /// Changes the key's state and adds the event, in one update. False if a condition did not hold.
    pub(super) async fn change_with_event(
        &self,
        key: &Fingerprint,
        what: &'static str,
        change: Change,
        event: &VendorEvent,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let stored: AttributeValue = serde_dynamo::to_attribute_value(event)
            .map_err(|error| StoreError::Refused { what, why: error.to_string() })?;
        let is_next = match event.seq.checked_sub(1) {
            None | Some(0) => absent("event_seq"),
            Some(before) => is("event_seq", "=", number(before)),
        };
        let change = change
            .set("event_seq", number(event.seq))
            .append("events", stored)
            .set("due_at", millis(later(now, OUTBOX_DUE)))
            .set("due_shard", text(SHARD))
            .only_if(is_next);
        Ok(matches!(self.change_key(key, what, change).await?, KeyUpdate::Applied(_)))
    }
}
