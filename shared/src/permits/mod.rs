//! Permits: each allows one call with the vendor's key, over all functions that share it.
//!
//! Rate (GCRA), pause (429) and suspension (a refused key) live in one item of the table per key. The rules are
//! [`crate::rate_limiter`]'s; the store's conditional updates make them hold over all processes.

mod learn;
mod lists;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use jiff::Timestamp;

use crate::{
    clock::Clock,
    page::{Page, UnderWay},
    rate_limiter::{
        Budget, Class, Denied, DenyReason, GiveBack, Step, Take, Usage, next_step, still_under_way,
    },
    secret::Fingerprint,
    store::{KeyUpdate, Store, StoreError},
    time::later,
};

/// A permit that is older is not used but given back: the rate is counted from when it was given.
const VALID: Duration = Duration::from_secs(1);
/// What is known of a key is good for so long where a call is to be planned with it: other processes call too.
const FRESH_FOR: Duration = Duration::from_millis(500);
/// The answer to a suspended key's probe is known to one process only: what another remembers of the suspension is soon old.
const SUSPENSION_KNOWN_FOR: Duration = Duration::from_secs(30);
/// Conflicting updates in a row, after which a permit is denied for a moment.
const MAX_TRIES: usize = 10;

/// Gives permits, and learns from the answers of the calls.
#[derive(Clone, Debug)]
pub struct Permits {
    store: Store,
    clock: Clock,
    budget: Budget,
    /// What this process last saw of each key, and when: what to begin with, and when not even to ask the table.
    seen: Arc<Mutex<HashMap<Fingerprint, (Usage, Timestamp)>>>,
}

/// Allows one call, now, with the key that it was acquired for.
#[derive(Clone, Debug)]
pub struct Permit {
    key: Fingerprint,
    /// The moment from which the rate counts the call.
    at: Timestamp,
    /// Refusals in a row before this call.
    refusals: u32,
    /// If this is the probe of a suspended key: what it armed.
    probe: Option<Timestamp>,
    /// How to give it back; a probe is not given back, since the next one is armed.
    give_back: Option<(Class, GiveBack)>,
    /// The page that is on record with it.
    page: Option<OnRecord>,
}

impl Permit {
    /// The key that it was acquired for.
    pub fn key(&self) -> &Fingerprint {
        &self.key
    }
}

/// A list check that a permit is to be for. Its page goes on record with the permit, so that no other process asks for it meanwhile.
#[derive(Clone, Copy, Debug)]
pub struct ListCheck {
    /// The page.
    pub page: Page,
    /// [`Usage::page_turn`] of the usage that it was planned with.
    pub turn: i64,
}

impl ListCheck {
    /// Whether what it was planned with has changed.
    fn is_outdated(&self, usage: &Usage, now: Timestamp) -> bool {
        usage.page_turn != self.turn || !usage.may_ask_list(self.page.product, now)
    }
}

/// A page that is on record.
#[derive(Clone, Debug)]
struct OnRecord {
    page: UnderWay,
    /// The other pages that were on record with it, and the turn since then.
    others: Vec<UnderWay>,
    turn: i64,
}

/// A permit that the table has given, or what is known instead.
type Taken = Result<Permit, Usage>;

impl Permits {
    /// Permits from this table, within this budget.
    pub fn new(store: Store, clock: Clock, budget: Budget) -> Self {
        Self { store, clock, budget, seen: Arc::default() }
    }

    /// The same with another clock (tests move it).
    #[must_use]
    pub fn with_clock(self, clock: Clock) -> Self {
        Self { clock, ..self }
    }

    /// Acquires a permit for one call with `key`, to be used at once. A call that is not a list check passes `None`. A list check that was
    /// planned with what has changed since is denied as [`DenyReason::PlanOutdated`]: plan it again with [`Permits::last_known`].
    ///
    /// # Errors
    /// If the table fails.
    pub async fn acquire(
        &self,
        key: &Fingerprint,
        class: Class,
        list_check: Option<ListCheck>,
    ) -> Result<Result<Permit, Denied>, StoreError> {
        let mut usage = self.last_known(key);
        for _ in 0..MAX_TRIES {
            let now = self.clock.now();
            let step = next_step(&usage, class, now, self.budget);
            if let Step::Deny(denied) = step {
                return Ok(Err(denied));
            }
            if list_check.is_some_and(|check| check.is_outdated(&usage, now)) {
                return Ok(Err(Denied { reason: DenyReason::PlanOutdated, retry_at: now }));
            }
            let taken = match step {
                Step::Deny(denied) => return Ok(Err(denied)),
                Step::Take(take) => self.take((key, class), &take, list_check, &usage, now).await?,
                Step::Probe { armed, next } => self.probe(key, armed, next, now).await?,
                Step::Suspend => {
                    self.suspend(key, &usage, "refused", now).await?;
                    Err(self.usage(key).await?)
                }
            };
            match taken {
                Ok(permit) => return Ok(self.give_back_if_old(&permit).await.map_or(Ok(permit), Err)),
                Err(instead) => usage = instead,
            }
        }
        let retry_at = later(self.clock.now(), VALID);
        Ok(Err(Denied { reason: DenyReason::RateLimited, retry_at }))
    }

    async fn take(
        &self,
        (key, class): (&Fingerprint, Class),
        take: &Take,
        list_check: Option<ListCheck>,
        usage: &Usage,
        now: Timestamp,
    ) -> Result<Taken, StoreError> {
        let page = list_check.map(|check| UnderWay { page: check.page.in_milliseconds(), at: now });
        let pages = page.map(|page| {
            let mut pages = still_under_way(&usage.pages, now);
            pages.push(page);
            pages
        });
        let pages = pages.as_deref().map(|pages| (pages, usage.page_turn));
        let after = match self.store.take(key, class, take, pages, now).await? {
            KeyUpdate::Applied(after) => after,
            KeyUpdate::Conflict(instead) => return Ok(Err(self.remember(key, instead))),
        };
        let on_record = |page| OnRecord { page, others: without(&after.pages, page), turn: after.page_turn };
        let permit = Permit {
            key: key.clone(),
            at: now,
            refusals: after.refusals,
            probe: None,
            give_back: GiveBack::of(take, class, &after, now).map(|give_back| (class, give_back)),
            page: page.map(on_record),
        };
        self.remember(key, after);
        Ok(Ok(permit))
    }

    async fn probe(
        &self,
        key: &Fingerprint,
        armed: Timestamp,
        next: Timestamp,
        now: Timestamp,
    ) -> Result<Taken, StoreError> {
        let after = match self.store.arm_probe(key, armed, next).await? {
            KeyUpdate::Applied(after) => self.remember(key, after),
            KeyUpdate::Conflict(instead) => return Ok(Err(self.remember(key, instead))),
        };
        let (refusals, probe) = (after.refusals, Some(next));
        Ok(Ok(Permit { key: key.clone(), at: now, refusals, probe, give_back: None, page: None }))
    }

    /// What this process knows already: whether a permit would be denied, without asking the table. Pauses and theoretical arrival times
    /// only move on, so what is known of them holds (a permit that another process gives back makes it a call's time too late); what is
    /// known of a suspension holds for a while.
    pub fn denied(&self, key: &Fingerprint, class: Class) -> Option<Denied> {
        match next_step(&self.last_known(key), class, self.clock.now(), self.budget) {
            Step::Deny(denied) => Some(denied),
            Step::Take(_) | Step::Probe { .. } | Step::Suspend => None,
        }
    }

    /// Gives a permit back that is too old to be used, and must not be used then. To be asked right before the call, whenever anything was
    /// awaited since the permit was acquired. The probe of a suspended key is not given back: the next one is armed, and comes then.
    pub async fn give_back_if_old(&self, permit: &Permit) -> Option<Denied> {
        let now = self.clock.now();
        if now.duration_since(permit.at) <= VALID.try_into().unwrap_or_default() {
            return None;
        }
        tracing::warn!(key = %permit.key, "a permit came too late to be used");
        if let Err(error) = self.give_back(permit).await {
            tracing::warn!(key = %permit.key, %error, "a permit could not be given back");
        }
        Some(match permit.probe {
            Some(next) => Denied { reason: DenyReason::Suspended, retry_at: next.max(now) },
            None => Denied { reason: DenyReason::RateLimited, retry_at: now },
        })
    }

    /// Gives a permit back that no call was made with, and the page that is on record with it: one call less of the rate is used up, if no
    /// other permit was given since (see [`GiveBack`]).
    ///
    /// # Errors
    /// If the table fails; the call counts as made then.
    pub async fn give_back(&self, permit: &Permit) -> Result<(), StoreError> {
        let Some((class, give_back)) = &permit.give_back else { return Ok(()) };
        let key = &permit.key;
        let page = permit.page.as_ref();
        let left = page.map(|on_record| (on_record.others.as_slice(), on_record.turn));
        match self.store.give_back(key, *class, give_back, left).await? {
            KeyUpdate::Applied(after) => {
                self.remember(key, after);
                Ok(())
            }
            // The call counts as made; its page is not on the way all the same.
            KeyUpdate::Conflict(instead) => {
                self.remember(key, instead);
                self.forget_page(permit).await
            }
        }
    }

    /// Takes a permit's page off the record before its time: it did not show what it was to show, which may be asked for again at once.
    ///
    /// # Errors
    /// If the table fails; the page is off the record after some seconds then.
    pub async fn forget_page(&self, permit: &Permit) -> Result<(), StoreError> {
        let Some(OnRecord { page, .. }) = &permit.page else { return Ok(()) };
        for _ in 0..MAX_TRIES {
            let usage = self.last_known(&permit.key);
            if !usage.pages.contains(page) {
                break;
            }
            let left = without(&usage.pages, *page);
            match self.store.forget_page(&permit.key, &left, usage.page_turn).await? {
                KeyUpdate::Applied(after) => {
                    self.remember(&permit.key, after);
                    break;
                }
                KeyUpdate::Conflict(instead) => self.remember(&permit.key, instead),
            };
        }
        Ok(())
    }

    /// Whether more than a third of the rate is in use, so that each call is worth planning.
    pub fn is_busy(&self, usage: &Usage) -> bool {
        self.budget.is_busy(usage, self.clock.now())
    }

    /// What is known of a key, read from the table.
    ///
    /// # Errors
    /// If the table fails.
    pub async fn usage(&self, key: &Fingerprint) -> Result<Usage, StoreError> {
        Ok(self.remember(key, self.store.usage(key).await?))
    }

    /// What is known of a key for planning a call: read from the table unless it was just seen.
    ///
    /// # Errors
    /// If the table fails.
    pub async fn fresh_usage(&self, key: &Fingerprint) -> Result<Usage, StoreError> {
        let known = self.seen().get(key).cloned();
        match known {
            Some((usage, at)) if self.clock.now().duration_since(at).unsigned_abs() < FRESH_FOR => Ok(usage),
            _ => self.usage(key).await,
        }
    }

    /// What this process last saw of a key; nothing, if that is no longer good for anything.
    pub fn last_known(&self, key: &Fingerprint) -> Usage {
        let Some((usage, at)) = self.seen().get(key).cloned() else { return Usage::default() };
        let known_for = self.clock.now().duration_since(at).unsigned_abs();
        if usage.suspended_until.is_some() && known_for >= SUSPENSION_KNOWN_FOR {
            return Usage::default();
        }
        usage
    }

    async fn refresh_memory(&self, key: &Fingerprint) -> Result<(), StoreError> {
        self.usage(key).await.map(drop)
    }

    fn remember(&self, key: &Fingerprint, usage: Usage) -> Usage {
        self.seen().insert(key.clone(), (usage.clone(), self.clock.now()));
        usage
    }

    fn seen(&self) -> MutexGuard<'_, HashMap<Fingerprint, (Usage, Timestamp)>> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn without(pages: &[UnderWay], page: UnderWay) -> Vec<UnderWay> {
    pages.iter().copied().filter(|asked| *asked != page).collect()
}
