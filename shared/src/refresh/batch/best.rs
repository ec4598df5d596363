//! Plans the most valuable call, acquires its permit and makes it.

use std::{collections::HashSet, time::Duration};

use super::{
    BatchOutcome, Check, Checked, Counters, Lists, NoCall, Permitted, Refreshed, Tracker, page::PageCheck,
};
use crate::{
    order::{Order, OrderKey, Trigger},
    permits::{ListCheck, Permit},
    planner::{Call, Candidate, Planned, plan},
    rate_limiter::{Denied, DenyReason, still_under_way},
    secret::VendorKey,
    store::StoreError,
    time::later,
};

/// Outdated plans in a row after which the call is postponed …
const MAX_PLANS: usize = 10;
/// … by this long.
const PLAN_AGAIN: Duration = Duration::from_secs(1);

impl Tracker {
    /// Makes the most valuable call for `orders`, if the rate limiter permits it.
    ///
    /// # Errors
    /// If the key's state cannot be read or written. A failed call is [`BatchOutcome::Failed`]; an order whose record
    /// cannot be read or written is [`BatchOutcome::Stuck`].
    pub async fn check_best(
        &self,
        lists: &Lists,
        orders: &[Order],
        trigger: Trigger,
    ) -> Result<BatchOutcome, StoreError> {
        let candidates = self.candidates(lists, orders, trigger);
        let key = self.vault.secrets().vendor_key.clone();
        let (permit, planned) = match self.acquire_for_best(lists, &candidates, &key, trigger).await? {
            Ok(Some(best)) => best,
            Ok(None) => return Ok(BatchOutcome::NotWorthIt),
            Err(denied) => return Ok(BatchOutcome::Denied(denied)),
        };
        let permitted = Permitted { key: &key, permit: &permit };
        match &planned.call {
            Call::Single(key) => {
                let Some(order) = orders.iter().find(|order| order.key == *key) else {
                    return Ok(BatchOutcome::NotWorthIt);
                };
                Ok(self.check_one(lists, order, trigger, permitted).await)
            }
            Call::Page(page) => {
                let about: HashSet<&OrderKey> = planned.covers.iter().collect();
                let check = PageCheck { lists, page, about, orders, trigger, worth: planned.worth };
                Ok(self.check_page(&check, permitted).await)
            }
        }
    }

    /// Plans the most valuable call and acquires a permit for it; `None`: no call is worth making. Plans again if
    /// another process has requested a page meanwhile.
    async fn acquire_for_best(
        &self,
        lists: &Lists,
        candidates: &[Candidate],
        key: &VendorKey,
        trigger: Trigger,
    ) -> Result<Result<Option<(Permit, Planned)>, Denied>, StoreError> {
        let (key, class) = (key.fingerprint(), trigger.into());
        for _ in 0..MAX_PLANS {
            if let Some(denied) = self.permits.denied(key, class) {
                return Ok(Err(denied));
            }
            let (usage, now) = (self.permits.last_known(key), self.clock.now());
            let under_way = still_under_way(&usage.pages, now);
            let list = |product| lists.list(product, trigger, &usage, now);
            let Some(planned) = plan(candidates, &under_way, list, now) else { return Ok(Ok(None)) };
            let list_check = match &planned.call {
                Call::Page(page) => Some(ListCheck { page: *page, turn: usage.page_turn }),
                Call::Single(_) => None,
            };
            match self.permits.acquire(key, class, list_check).await? {
                Ok(permit) => return Ok(Ok(Some((permit, planned)))),
                Err(Denied { reason: DenyReason::PlanOutdated, .. }) => {}
                Err(denied) => return Ok(Err(denied)),
            }
        }
        Ok(Err(Denied { reason: DenyReason::RateLimited, retry_at: later(self.clock.now(), PLAN_AGAIN) }))
    }

    /// The planner's input for these orders.
    fn candidates(&self, lists: &Lists, orders: &[Order], trigger: Trigger) -> Vec<Candidate> {
        let now = self.clock.now();
        let healthy = orders.iter().filter(|order| !lists.is_stuck(&order.key, now));
        let candidate = |order: &Order| {
            let candidate = Candidate::of(order, now, &self.schedule)?;
            let along = trigger == Trigger::Poller && !candidate.in_flight;
            Some(if along { candidate.along_with_others() } else { candidate })
        };
        healthy.filter_map(candidate).collect()
    }

    /// Claims one order and checks it. Gives the permit back if no call is made.
    async fn check_one(
        &self,
        lists: &Lists,
        order: &Order,
        trigger: Trigger,
        permitted: Permitted<'_>,
    ) -> BatchOutcome {
        let refreshed = match self.check_one_permitted(order.clone(), trigger, permitted).await {
            Ok(checked) if checked.check_result.is_none() => Ok(Refreshed::unchanged(checked)),
            Ok(checked) => self.finish(checked).await,
            Err(error) => Err(error),
        };
        match refreshed {
            Ok(Refreshed { check: Check::NotMade(NoCall::Denied(denied)), .. }) => {
                BatchOutcome::Denied(denied)
            }
            Ok(one) => BatchOutcome::Made { orders: vec![one], call: Counters::default() },
            Err(error) => {
                lists.note_stuck(&order.key, self.clock.now());
                BatchOutcome::Stuck(order.key.clone(), error)
            }
        }
    }

    async fn check_one_permitted(
        &self,
        order: Order,
        trigger: Trigger,
        permitted: Permitted<'_>,
    ) -> Result<Checked, StoreError> {
        let now = self.clock.now();
        match self.claim(&order, trigger, now).await {
            Ok(true) => self.check_claimed(order, trigger, permitted, now).await,
            Ok(false) => {
                self.give_back(permitted.permit).await;
                let order = Order { asked_at: Some(now), ..order };
                Ok(Checked::not_made(order, NoCall::ClaimedElsewhere))
            }
            Err(error) => {
                self.give_back(permitted.permit).await;
                Err(error)
            }
        }
    }

    async fn give_back(&self, permit: &Permit) {
        if let Err(error) = self.permits.give_back(permit).await {
            tracing::warn!(%error, "a permit could not be given back");
        }
    }
}
