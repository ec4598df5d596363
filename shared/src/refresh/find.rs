//! Finds an order by the merchant's reference.

use super::{Check, Checked, Counters, Refreshed, Tracker, check::note_odd};
use crate::{
    order::{OrderKey, Place, Product, Ref, TrackedBy},
    rate_limiter::{Class, Denied},
    store::{Registration, StoreError},
    vendor::{Answer, VendorError, without_prefix},
};

/// The result of a lookup by reference.
#[derive(Debug)]
pub enum Found {
    /// The vendor knows the order; it is tracked now.
    Order(Registration, Box<Refreshed>),
    /// The vendor does not know the reference. This does not prove that nothing was sent.
    Unknown,
    /// The rate limiter denies the call.
    Denied(Denied),
    /// The call failed.
    Failed(VendorError),
}

impl Tracker {
    /// Looks an order up by the merchant's reference, as given and without the vendor's prefix, and tracks it if
    /// found. The counters cover all calls made.
    ///
    /// # Errors
    /// If the table fails.
    pub async fn find(&self, product: Product, reference: &Ref) -> Result<(Found, Counters), StoreError> {
        let mut counters = Counters::default();
        for asked in [Some(reference.clone()), without_prefix(reference)].into_iter().flatten() {
            let found = self.find_as(product, &asked, reference, &mut counters).await?;
            if !matches!(found, Found::Unknown) {
                return Ok((found, counters));
            }
        }
        Ok((Found::Unknown, counters))
    }

    /// Makes one `check-ref` call for `asked`. The order found must name `wanted`.
    async fn find_as(
        &self,
        product: Product,
        asked: &Ref,
        wanted: &Ref,
        counters: &mut Counters,
    ) -> Result<Found, StoreError> {
        let vendor_key = self.vault.secrets().vendor_key.clone();
        let permit = match self.permits.acquire(vendor_key.fingerprint(), Class::Status, None).await? {
            Ok(permit) => permit,
            Err(denied) => {
                counters.not_permitted += 1;
                return Ok(Found::Denied(self.denied(&vendor_key, denied).await));
            }
        };
        let asked_at = self.clock.now();
        counters.vendor_calls += 1;
        let answer = self.vendor.check_ref(&vendor_key, product, asked, wanted).await;
        self.learn(&permit, answer.as_ref().err()).await;
        let Answer { order, odd, .. } = match answer {
            Ok(answer) => answer,
            Err(error) => {
                tracing::warn!(%product, kind = error.name(), %error, "lookup by ref failed");
                return Ok(Found::Failed(error));
            }
        };
        let Some(shown) = order else { return Ok(Found::Unknown) };
        let key = OrderKey { product, id: shown.id.clone() };
        note_odd(&key, &odd);
        counters.odd_fields += odd.count();
        let (registration, order) = self.track(&key, Some(wanted.clone()), TrackedBy::Put).await?;
        let (observation, check) = match self.observe(&order, shown, Place::Check).await {
            Ok(observation) => (observation, Check::Answered),
            Err(error) => (error.observation(), Check::Failed(error)),
        };
        let found = self.finish(Checked::made(order, asked_at, observation, check)).await?;
        *counters += found.counters;
        Ok(Found::Order(registration, Box::new(found)))
    }
}
