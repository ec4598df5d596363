//! The first half of the path: due?, claim, permit, call the vendor.

use jiff::Timestamp;

use super::{Check, CheckError, Counters, NoCall, Tracker};
use crate::{
    order::{CheckResult, Observation, Order, OrderKey, Place, Snapshot, Trigger},
    permits::Permit,
    rate_limiter::Verdict,
    secret::VendorKey,
    store::StoreError,
    vendor::{Oddities, VendorError, VendorOrder},
};

/// An order between its check and the decision about it.
pub(super) struct Checked {
    /// The order as loaded, or as claimed.
    pub(super) order: Order,
    /// The result for the caller.
    pub(super) check: Check,
    /// The input of `decide`; `None`: nothing to decide.
    pub(super) check_result: Option<CheckResult>,
    /// Counts of the call, without those that follow from `check`.
    pub(super) counters: Counters,
}

impl Checked {
    /// No call was made, and there is nothing to decide.
    pub(super) fn not_made(order: Order, why: NoCall) -> Self {
        let check = Check::NotMade(why);
        Self { order, check, check_result: None, counters: Counters::default() }
    }

    /// No call was made, but poll deadline and overdue reviews are decided all the same.
    pub(super) fn without_call(order: Order, now: Timestamp, why: NoCall) -> Self {
        let check_result = Some(CheckResult { asked_at: now, observation: Observation::NotAsked });
        Self { check_result, ..Self::not_made(order, why) }
    }

    /// A call was made at `asked_at`.
    pub(super) fn made(order: Order, asked_at: Timestamp, observation: Observation, check: Check) -> Self {
        let check_result = Some(CheckResult { asked_at, observation });
        Self { order, check, check_result, counters: Counters::default() }
    }
}

/// A permit for one call, and the key that it belongs to.
#[derive(Clone, Copy)]
pub(super) struct Permitted<'a> {
    pub(super) key: &'a VendorKey,
    pub(super) permit: &'a Permit,
}

impl Tracker {
    /// Checks an order that was just loaded, if its check is due and the rate limiter permits it.
    ///
    /// # Errors
    /// If the table fails. A failed call to the vendor is not an error: see [`Check::Failed`].
    pub(super) async fn check(&self, order: Order, trigger: Trigger) -> Result<Checked, StoreError> {
        let now = self.clock.now();
        if !order.wants_check(trigger, now, &self.schedule) {
            return Ok(Checked::not_made(order, NoCall::NotDue));
        }
        let key = self.vault.secrets().vendor_key.clone();
        if let Some(denied) = self.permits.denied(key.fingerprint(), trigger.into()) {
            let why = NoCall::Denied(self.denied(&key, denied).await);
            return Ok(Checked::without_call(order, now, why));
        }
        if !self.claim(&order, trigger, now).await? {
            // With `asked_at` set, the poller waits until the order's next attempt.
            let order = Order { asked_at: Some(now), ..order };
            return Ok(Checked::not_made(order, NoCall::ClaimedElsewhere));
        }
        let permit = match self.permits.acquire(key.fingerprint(), trigger.into(), None).await {
            Ok(Ok(permit)) => permit,
            Ok(Err(denied)) => {
                self.unclaim(&order, trigger, now).await?;
                let why = NoCall::Denied(self.denied(&key, denied).await);
                return Ok(Checked::without_call(order, now, why));
            }
            Err(error) => {
                self.unclaim(&order, trigger, now).await?;
                return Err(error);
            }
        };
        self.check_claimed(order, trigger, Permitted { key: &key, permit: &permit }, now).await
    }

    /// Claims the order's check at `now`; false: another process has claimed it.
    pub(super) async fn claim(
        &self,
        order: &Order,
        trigger: Trigger,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let due_at = (trigger == Trigger::Recheck).then(|| order.due_after_claim(now, &self.schedule));
        self.store.claim(order, now, due_at).await
    }

    /// Gives back the claim of `now`, since no call is made, and restores `due_at`. `order` is as it was before the
    /// claim.
    async fn unclaim(&self, order: &Order, trigger: Trigger, now: Timestamp) -> Result<(), StoreError> {
        let due_at = (trigger == Trigger::Recheck).then(|| self.schedule.due_at(order, now));
        self.store.unclaim(order, now, due_at).await
    }

    /// Makes the call. `order` is as it was before it was claimed at `now`.
    pub(super) async fn check_claimed(
        &self,
        order: Order,
        trigger: Trigger,
        permitted: Permitted<'_>,
        now: Timestamp,
    ) -> Result<Checked, StoreError> {
        let Permitted { key, permit } = permitted;
        if let Some(denied) = self.permits.give_back_if_old(permit).await {
            self.unclaim(&order, trigger, now).await?;
            return Ok(Checked::without_call(order, now, NoCall::Denied(denied)));
        }
        let claimed = Order { asked_at: Some(now), ..order };
        let answer = self.vendor.check_id(key, &claimed.key).await;
        self.learn(permit, answer.as_ref().err()).await;
        let odd_fields = answer.as_ref().map_or(0, |answer| answer.odd.count());
        let (observation, check) = self.read(&claimed, trigger, answer).await;
        let mut checked = Checked::made(claimed, now, observation, check);
        checked.counters.vendor_calls += 1;
        checked.counters.odd_fields += odd_fields;
        Ok(checked)
    }

    /// Converts an answer into an observation. Logs a failure, once.
    async fn read(
        &self,
        order: &Order,
        trigger: Trigger,
        answer: Result<crate::vendor::Answer, VendorError>,
    ) -> (Observation, Check) {
        let result = match answer {
            Ok(answer) => {
                note_odd(&order.key, &answer.odd);
                let observation = match answer.order {
                    Some(shown) => self.observe(order, shown, Place::Check).await,
                    None if order.is_known() => Err(CheckError::Vanished),
                    None => Ok(Observation::NotFound),
                };
                observation.map(|observation| (observation, answer.request_id))
            }
            Err(error) => Err(error.into()),
        };
        match result {
            Ok((observation, request_id)) => {
                let status = match &observation {
                    Observation::Order(snapshot) => {
                        snapshot.facts.status.as_ref().map_or("", |status| status.as_str())
                    }
                    _ => "NOT_FOUND",
                };
                tracing::info!(order = %order.key, ?trigger, status, request_id, "checked");
                (observation, Check::Answered)
            }
            Err(error) => {
                tracing::warn!(order = %order.key, ?trigger, kind = error.name(), %error, "check failed");
                (error.observation(), Check::Failed(error))
            }
        }
    }

    /// The observation of an order as the vendor shows it. Encrypts its card code first.
    pub(super) async fn observe(
        &self,
        order: &Order,
        shown: VendorOrder,
        place: Place,
    ) -> Result<Observation, CheckError> {
        let card = match shown.card_code {
            Some(code) if order.card.is_none() => Some(self.cards.seal(&order.key, &code).await?),
            _ => None,
        };
        Ok(Observation::Order(Box::new(Snapshot { facts: shown.facts, card, place })))
    }

    /// Updates the key's state from an answer; `error`: the call's error, if any. A failure here is logged only: it
    /// must not lose the order's check.
    pub(super) async fn learn(&self, permit: &Permit, error: Option<&VendorError>) {
        let verdict = error.map_or(Verdict::Accepted, VendorError::verdict);
        let key = permit.key();
        let is_replaced = matches!(verdict, Verdict::Refused(_))
            && self.vault.read_again(self.clock.now()).await.vendor_key.fingerprint() != key;
        let noted = if is_replaced {
            // The key was refused because it is no longer in use.
            self.permits.replaced(key).await
        } else {
            self.permits.learn(permit, &verdict).await
        };
        self.publish_noted(key, noted).await;
    }
}

/// Logs once per answer which fields could not be read as documented.
pub(super) fn note_odd(key: &OrderKey, odd: &Oddities) {
    if odd.count() > 0 {
        tracing::warn!(order = %key, odd_fields = odd.count(), fields = %odd, "the vendor's answer has odd fields");
    }
}
