//! The first half of the path: is it time, claim the check, get a permit, ask the vendor.

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

/// An order on the way from its check to the decision about it.
pub(super) struct Checked {
    /// As it was loaded, or claimed.
    pub(super) order: Order,
    /// What came of the check.
    pub(super) check: Check,
    /// What is to be decided on; `None`: nothing.
    pub(super) check_result: Option<CheckResult>,
    /// What the call cost and brought, but for what came of it.
    pub(super) counters: Counters,
}

impl Checked {
    /// No call was made, and nothing is to be decided.
    pub(super) fn not_made(order: Order, why: NoCall) -> Self {
        let check = Check::NotMade(why);
        Self { order, check, check_result: None, counters: Counters::default() }
    }

    /// No call was made, but the deadline and the time to be overdue count all the same.
    pub(super) fn time_passed(order: Order, now: Timestamp, why: NoCall) -> Self {
        let check_result = Some(CheckResult { asked_at: now, observation: Observation::NotAsked });
        Self { check_result, ..Self::not_made(order, why) }
    }

    /// The vendor was asked at `asked_at`.
    pub(super) fn made(order: Order, asked_at: Timestamp, observation: Observation, check: Check) -> Self {
        let check_result = Some(CheckResult { asked_at, observation });
        Self { order, check, check_result, counters: Counters::default() }
    }
}

/// A permit for one call, and the key that it is for.
#[derive(Clone, Copy)]
pub(super) struct Permitted<'a> {
    pub(super) key: &'a VendorKey,
    pub(super) permit: &'a Permit,
}

impl Tracker {
    /// Checks an order that was just loaded, if it is time and the rate limiter permits it.
    ///
    /// # Errors
    /// If the table fails. A vendor that fails is no error: see [`Check::Failed`].
    pub(super) async fn check(&self, order: Order, trigger: Trigger) -> Result<Checked, StoreError> {
        let now = self.clock.now();
        if !order.wants_check(trigger, now, &self.schedule) {
            return Ok(Checked::not_made(order, NoCall::NotDue));
        }
        let key = self.vault.secrets().vendor_key.clone();
        if let Some(denied) = self.permits.denied(key.fingerprint(), trigger.into()) {
            let why = NoCall::Denied(self.denied(&key, denied).await);
            return Ok(Checked::time_passed(order, now, why));
        }
        if !self.claim(&order, trigger, now).await? {
            // A poller comes back at its order's next attempt, and not at once.
            let order = Order { asked_at: Some(now), ..order };
            return Ok(Checked::not_made(order, NoCall::ClaimedElsewhere));
        }
        let permit = match self.permits.acquire(key.fingerprint(), trigger.into(), None).await {
            Ok(Ok(permit)) => permit,
            Ok(Err(denied)) => {
                self.unclaim(&order, trigger, now).await?;
                let why = NoCall::Denied(self.denied(&key, denied).await);
                return Ok(Checked::time_passed(order, now, why));
            }
            Err(error) => {
                self.unclaim(&order, trigger, now).await?;
                return Err(error);
            }
        };
        self.check_claimed(order, trigger, Permitted { key: &key, permit: &permit }, now).await
    }

    /// Claims the check of `now`; false: another process was faster.
    pub(super) async fn claim(
        &self,
        order: &Order,
        trigger: Trigger,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let due_at = (trigger == Trigger::Recheck).then(|| order.due_after_claim(now, &self.schedule));
        self.store.claim(order, now, due_at).await
    }

    /// Gives the claim of `now` back, since no call is made; what was due is due still. `order` is as it was before the claim.
    async fn unclaim(&self, order: &Order, trigger: Trigger, now: Timestamp) -> Result<(), StoreError> {
        let due_at = (trigger == Trigger::Recheck).then(|| self.schedule.due_at(order, now));
        self.store.unclaim(order, now, due_at).await
    }

    /// The call itself. `order` is as it was before it was claimed at `now`.
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
            return Ok(Checked::time_passed(order, now, NoCall::Denied(denied)));
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

    /// What an answer shows. A failure is logged here, once, and goes on as an observation.
    async fn read(
        &self,
        order: &Order,
        trigger: Trigger,
        answer: Result<crate::vendor::Answer, VendorError>,
    ) -> (Observation, Check) {
        let seen = match answer {
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
        match seen {
            Ok((observation, request_id)) => {
                let status = match &observation {
                    Observation::Order(seen) => {
                        seen.facts.status.as_ref().map_or("", |status| status.as_str())
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

    /// An order as it was shown, its card code encrypted before anything else is done with it.
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

    /// Takes in what an answer says about the key; `error`: why there is none. What goes wrong here costs no order its check.
    pub(super) async fn learn(&self, permit: &Permit, error: Option<&VendorError>) {
        let verdict = error.map_or(Verdict::Accepted, VendorError::verdict);
        let key = permit.key();
        let is_replaced = matches!(verdict, Verdict::Refused(_))
            && self.vault.read_again(self.clock.now()).await.vendor_key.fingerprint() != key;
        let told = if is_replaced {
            // It was refused because it is not in use any more.
            self.permits.replaced(key).await
        } else {
            self.permits.learn(permit, &verdict).await
        };
        self.tell(key, told).await;
    }
}

/// Says once for an answer which of its fields could not be taken as they came.
pub(super) fn note_odd(key: &OrderKey, odd: &Oddities) {
    if odd.count() > 0 {
        tracing::warn!(order = %key, odd_fields = odd.count(), fields = %odd, "the vendor's answer has odd fields");
    }
}
