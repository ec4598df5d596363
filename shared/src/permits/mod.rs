//! Permits: each allows one call with the vendor's key, over all functions that share it.
//!
//! Rate (GCRA), pause (429) and suspension (a refused key) are in one item per key. The rules are in
//! [`crate::rate_limiter`]; conditional updates enforce them over all processes.

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

/// A permit older than this must be given back instead of used: the rate counts the call from when the permit was
/// given.
const VALID: Duration = Duration::from_secs(1);
/// Age up to which a key's state is used for planning without reading it again: other processes call too.
const FRESH_FOR: Duration = Duration::from_millis(500);
/// Age up to which a remembered suspension is used: another process may have ended it.
const SUSPENSION_KNOWN_FOR: Duration = Duration::from_secs(30);
/// Conflicting updates in a row after which a permit is denied for [`VALID`].
const MAX_TRIES: usize = 10;

/// Issues permits and updates the key's state from the answers. Clones share what is remembered.
#[derive(Clone, Debug)]
pub struct Permits {
    store: Store,
    clock: Clock,
    budget: Budget,
    /// The last known state of each key and when it was read or written; used before the table is asked.
    known_keys: Arc<Mutex<HashMap<Fingerprint, (Usage, Timestamp)>>>,
}

/// Allows one call with the key that it was acquired for, within 1 s.
#[derive(Clone, Debug)]
pub struct Permit {
    key: Fingerprint,
    /// The moment at which the rate counts the call.
    at: Timestamp,
    /// Refusals in a row before this call.
    refusals: u32,
    /// For the probe of a suspended key: the time of the next probe, which this one armed.
    probe: Option<Timestamp>,
    /// How to give it back; `None` for a probe, since the next one is armed already.
    give_back: Option<(Class, GiveBack)>,
    /// For a list check: its page on record.
    page: Option<OnRecord>,
}

impl Permit {
    /// The key that the permit was acquired for.
    pub fn key(&self) -> &Fingerprint {
        &self.key
    }
}

/// A list check to acquire a permit for. Its page goes on record with the permit, so that no other process requests
/// it meanwhile.
#[derive(Clone, Copy, Debug)]
pub struct ListCheck {
    /// The page.
    pub page: Page,
    /// [`Usage::page_turn`] of the state it was planned with.
    pub turn: i64,
}

impl ListCheck {
    /// Whether the pages or the list have changed since it was planned.
    fn is_outdated(&self, usage: &Usage, now: Timestamp) -> bool {
        usage.page_turn != self.turn || !usage.may_ask_list(self.page.product, now)
    }
}

/// A page on record.
#[derive(Clone, Debug)]
struct OnRecord {
    page: UnderWay,
    /// The other pages on record at that time, and the turn since then.
    others: Vec<UnderWay>,
    turn: i64,
}

/// A permit, or the key's state that prevented it.
type Taken = Result<Permit, Usage>;

impl Permits {
    /// Permits stored in this table, within this budget.
    pub fn new(store: Store, clock: Clock, budget: Budget) -> Self {
        Self { store, clock, budget, known_keys: Arc::default() }
    }

    /// The same permits with another clock, for tests.
    #[must_use]
    pub fn with_clock(self, clock: Clock) -> Self {
        Self { clock, ..self }
    }

    /// Acquires a permit for one call with `key`, to be used within 1 s. `list_check` is `None` for other calls. A
    /// list check whose plan is outdated is denied with [`DenyReason::PlanOutdated`]: plan again with
    /// [`Permits::last_known`].
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
            let is_outdated = list_check.is_some_and(|check| check.is_outdated(&usage, now));
            let taken = match next_step(&usage, class, now, self.budget) {
                Step::Deny(denied) => return Ok(Err(denied)),
                _ if is_outdated => {
                    return Ok(Err(Denied { reason: DenyReason::PlanOutdated, retry_at: now }));
                }
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

    /// Whether a permit would be denied as far as this process knows, without reading the table. Pauses and
    /// theoretical arrival times only move forward, so remembered ones are valid (if another process gave a permit
    /// back, they are late by one call's interval). A remembered suspension is valid for 30 s.
    pub fn denied(&self, key: &Fingerprint, class: Class) -> Option<Denied> {
        match next_step(&self.last_known(key), class, self.clock.now(), self.budget) {
            Step::Deny(denied) => Some(denied),
            Step::Take(_) | Step::Probe { .. } | Step::Suspend => None,
        }
    }

    /// Gives back a permit that is too old; it must not be used then. Call this right before the call if anything was
    /// awaited since the permit was acquired. The probe of a suspended key is not given back: the next one is armed.
    pub async fn give_back_if_old(&self, permit: &Permit) -> Option<Denied> {
        let now = self.clock.now();
        if now.duration_since(permit.at) <= VALID.try_into().unwrap_or_default() {
            return None;
        }
        tracing::warn!(key = %permit.key, "a permit expired before its call");
        if let Err(error) = self.give_back(permit).await {
            tracing::warn!(key = %permit.key, %error, "a permit could not be given back");
        }
        Some(match permit.probe {
            Some(next) => Denied { reason: DenyReason::Suspended, retry_at: next.max(now) },
            None => Denied { reason: DenyReason::RateLimited, retry_at: now },
        })
    }

    /// Gives back a permit without a call, and its page on record. The rate gets the call back if no other permit was
    /// given since (see [`GiveBack`]).
    ///
    /// # Errors
    /// If the table fails. The call counts as made then.
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
            // The call counts as made, but its page is no longer under way.
            KeyUpdate::Conflict(instead) => {
                self.remember(key, instead);
                self.forget_page(permit).await
            }
        }
    }

    /// Removes a permit's page from the record early: it did not show what it should, so that may be requested again
    /// at once.
    ///
    /// # Errors
    /// If the table fails. The page expires after some seconds then.
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

    /// Whether more than a third of the rate is in use, so that planning each call pays.
    pub fn is_busy(&self, usage: &Usage) -> bool {
        self.budget.is_busy(usage, self.clock.now())
    }

    /// A key's state, read from the table.
    ///
    /// # Errors
    /// If the table fails.
    pub async fn usage(&self, key: &Fingerprint) -> Result<Usage, StoreError> {
        Ok(self.remember(key, self.store.usage(key).await?))
    }

    /// A key's state for planning: read from the table unless it is less than 500 ms old.
    ///
    /// # Errors
    /// If the table fails.
    pub async fn fresh_usage(&self, key: &Fingerprint) -> Result<Usage, StoreError> {
        let known = self.known_keys().get(key).cloned();
        match known {
            Some((usage, at)) if self.clock.now().duration_since(at).unsigned_abs() < FRESH_FOR => Ok(usage),
            _ => self.usage(key).await,
        }
    }

    /// The last known state of a key; the default if none is known, or if it holds a suspension older than 30 s.
    pub fn last_known(&self, key: &Fingerprint) -> Usage {
        let Some((usage, at)) = self.known_keys().get(key).cloned() else { return Usage::default() };
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
        self.known_keys().insert(key.clone(), (usage.clone(), self.clock.now()));
        usage
    }

    fn known_keys(&self) -> MutexGuard<'_, HashMap<Fingerprint, (Usage, Timestamp)>> {
        self.known_keys.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn without(pages: &[UnderWay], page: UnderWay) -> Vec<UnderWay> {
    pages.iter().copied().filter(|other| *other != page).collect()
}
