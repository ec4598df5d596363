//! The state of a product's list.

use jiff::Timestamp;

use super::{KeyUpdate, item::of_list};
use crate::{
    order::Product,
    rate_limiter::{Usage, VendorEvent},
    secret::Fingerprint,
    store::{
        Store, StoreError,
        item::{millis, text},
        update::{Change, absent, exists, is},
    },
};

impl Store {
    /// Turns a product's list off until `until`, with `event` if given. False if another process was faster.
    ///
    /// # Errors
    /// If DynamoDB fails.
    pub async fn turn_list_off(
        &self,
        key: &Fingerprint,
        product: Product,
        trouble: &str,
        until: Timestamp,
        event: Option<&VendorEvent>,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let change = off_until(product, until).set(of_list(product, "said"), text(trouble));
        match event {
            Some(event) => self.change_with_event(key, "turn a list off", change, event, now).await,
            None => {
                let done = self.change_key(key, "turn a list off", change).await?;
                Ok(matches!(done, KeyUpdate::Applied(_)))
            }
        }
    }

    /// Turns a product's list off until `until`; never shortens the time.
    ///
    /// # Errors
    /// If DynamoDB fails.
    pub async fn pause_list(
        &self,
        key: &Fingerprint,
        product: Product,
        until: Timestamp,
    ) -> Result<(), StoreError> {
        self.change_key(key, "pause a list", off_until(product, until)).await.map(drop)
    }

    /// Counts a failure of a product's list. Returns the key's new state.
    ///
    /// # Errors
    /// If DynamoDB fails.
    pub async fn count_list_failure(&self, key: &Fingerprint, product: Product) -> Result<Usage, StoreError> {
        let change = Change::default().count(of_list(product, "failures"));
        match self.change_key(key, "count a failure of a list", change).await? {
            KeyUpdate::Applied(usage) | KeyUpdate::Conflict(usage) => Ok(usage),
        }
    }

    /// Resets the failures and the trouble of a product's list, unless it is off at `now`.
    ///
    /// # Errors
    /// If DynamoDB fails.
    pub async fn trust_list(
        &self,
        key: &Fingerprint,
        product: Product,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let [off, said, failures] = ["off_until", "said", "failures"].map(|field| of_list(product, field));
        let change = Change::default()
            .only_if(exists(&said).or(exists(&failures)))
            .only_if(absent(&off).or(is(&off, "<=", millis(now))))
            .remove(off)
            .remove(said)
            .remove(failures);
        self.change_key(key, "turn a list on", change).await.map(drop)
    }
}

/// Sets `off_until`, if it is later than the stored one.
fn off_until(product: Product, until: Timestamp) -> Change {
    let name = of_list(product, "off_until");
    let is_later = absent(&name).or(is(&name, "<", millis(until)));
    Change::default().set(name, millis(until)).only_if(is_later)
}
