//! Admission: leave to make one call with the vendor's key, over all functions that share it.
//!
//! Rate (GCRA), pause (429) and suspension (a refused key) live in one item of the table per key; [`rule`] decides, the
//! store's conditional updates make it hold for everybody.

mod event;
mod rule;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use jiff::Timestamp;

pub use event::{VendorEvent, VendorEventKind};
pub use rule::{
    Budget, Class, Closed, FIRST_PROBE, InvalidBudget, LAST_PROBE, LONGEST_PAUSE, MOST_REFUSALS, Move, Plan,
    Take, USUAL_PAUSE, Usage, doubled, pause_until, plan, unbelievable_pause,
};

use crate::{
    clock::Clock,
    secret::Fingerprint,
    store::{Store, StoreError, Taken},
};

/// An admission that was not used for so long is given up: the rate is counted from when it was given.
const VALID: Duration = Duration::from_secs(1);
/// A suspended key is heard of only when its probe is answered, by whoever made it: what is remembered of it is soon old.
const SUSPENSION_KNOWN_FOR: Duration = Duration::from_secs(30);
/// So many others were faster, one after the other: come again.
const MOST_TRIES: usize = 10;

/// Gives leave to call, and learns from the answers.
#[derive(Clone, Debug)]
pub struct Admission {
    store: Store,
    clock: Clock,
    budget: Budget,
    /// What this process last saw of each key, and when: where to begin, and when not even to ask.
    seen: Arc<Mutex<HashMap<Fingerprint, (Usage, Timestamp)>>>,
}

/// Leave to make one call, now.
#[derive(Clone, Debug)]
pub struct Admitted {
    key: Fingerprint,
    /// Refusals in a row before this call.
    refusals: u32,
    /// If this is the probe of a suspended key: what it armed.
    probe: Option<Timestamp>,
}

impl Admitted {
    /// For which key.
    pub fn key(&self) -> &Fingerprint {
        &self.key
    }
}

/// Leave, or not.
#[derive(Clone, Debug)]
pub enum Leave {
    /// Call.
    Given(Admitted),
    /// Do not call before then.
    Refused {
        /// The first moment at which asking again is of use.
        until: Timestamp,
        /// Why.
        why: Closed,
    },
}

/// What an answer says about the key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The vendor took it.
    Accepted,
    /// The vendor refused it: `error.code`.
    Refused(String),
    /// Too many calls: `Retry-After`.
    Throttled(Option<Duration>),
    /// Nothing.
    Silent,
}

impl Admission {
    /// Admissions from this table, within this budget.
    pub fn new(store: Store, clock: Clock, budget: Budget) -> Self {
        Self { store, clock, budget, seen: Arc::default() }
    }

    /// The same with another clock (tests move it).
    #[must_use]
    pub fn with_clock(self, clock: Clock) -> Self {
        Self { clock, ..self }
    }

    /// What this process knows already: until when there is no leave, without asking the table. Pauses and slots only move on, so
    /// what is known of them holds; of a suspension it is known for a while.
    pub fn closed(&self, key: &Fingerprint, class: Class) -> Option<(Timestamp, Closed)> {
        match plan(&self.last_seen(key), class, self.clock.now(), self.budget) {
            Plan::Wait { until, why } => Some((until, why)),
            Plan::Take(_) | Plan::Probe { .. } | Plan::Suspend => None,
        }
    }

    /// Asks for leave to make one call with `key`. To be used at once.
    ///
    /// # Errors
    /// If the table fails.
    pub async fn admit(&self, key: &Fingerprint, class: Class) -> Result<Leave, StoreError> {
        let mut usage = self.last_seen(key);
        for _ in 0..MOST_TRIES {
            let now = self.clock.now();
            let taken = match plan(&usage, class, now, self.budget) {
                Plan::Wait { until, why } => return Ok(Leave::Refused { until, why }),
                Plan::Take(take) => self.store.take_slot(key, class, &take, now).await?,
                Plan::Probe { armed, next } => {
                    let taken = self.store.arm_probe(key, armed, next).await?;
                    if let Taken::Yes(after) = taken {
                        self.remember(key, &after);
                        return Ok(Leave::Given(Admitted {
                            key: key.clone(),
                            refusals: after.refusals,
                            probe: Some(next),
                        }));
                    }
                    taken
                }
                Plan::Suspend => {
                    self.suspend(key, &usage, "refused", now).await?;
                    Taken::No(self.store.usage(key).await?)
                }
            };
            match taken {
                Taken::Yes(after) => {
                    self.remember(key, &after);
                    if self.clock.now().duration_since(now) > VALID.try_into().unwrap_or_default() {
                        tracing::warn!(%key, "an admission came too late to be used");
                        return Ok(Leave::Refused { until: self.clock.now(), why: Closed::Rate });
                    }
                    return Ok(Leave::Given(Admitted {
                        key: key.clone(),
                        refusals: after.refusals,
                        probe: None,
                    }));
                }
                Taken::No(instead) => {
                    self.remember(key, &instead);
                    usage = instead;
                }
            }
        }
        Ok(Leave::Refused { until: rule::later(self.clock.now(), VALID), why: Closed::Rate })
    }

    /// Takes in what the answer to an admitted call says about the key; answers whether the key's state flipped, so that
    /// there is an event to announce.
    ///
    /// # Errors
    /// If the table fails.
    pub async fn learn(&self, admitted: &Admitted, verdict: &Verdict) -> Result<bool, StoreError> {
        let now = self.clock.now();
        let key = &admitted.key;
        match (verdict, admitted.probe) {
            (Verdict::Silent, _) => Ok(false),
            (Verdict::Accepted, Some(armed)) => self.resume(key, armed, now).await,
            (Verdict::Accepted, None) if admitted.refusals == 0 => Ok(false),
            (Verdict::Accepted, None) => {
                self.store.forget_refusals(key).await?;
                self.refresh_memory(key).await?;
                Ok(false)
            }
            (Verdict::Throttled(retry_after), _) => {
                let until = pause_until(*retry_after, now);
                self.store.pause(key, until, unbelievable_pause(now)).await?;
                tracing::warn!(%key, %until, "the vendor asks for a pause");
                self.refresh_memory(key).await?;
                Ok(false)
            }
            (Verdict::Refused(_), Some(armed)) => {
                let before = self.store.usage(key).await?;
                let wait = doubled(before.probe_wait);
                self.store.lengthen_probe(key, armed, rule::later(now, wait), wait).await?;
                self.refresh_memory(key).await?;
                Ok(false)
            }
            (Verdict::Refused(code), None) => {
                let Some(usage) = self.store.count_refusal(key).await? else { return Ok(false) };
                self.remember(key, &usage);
                if usage.refusals < MOST_REFUSALS {
                    return Ok(false);
                }
                self.suspend(key, &usage, code, now).await
            }
        }
    }

    /// What is known of a key, read from the table.
    ///
    /// # Errors
    /// If the table fails.
    pub async fn usage(&self, key: &Fingerprint) -> Result<Usage, StoreError> {
        let usage = self.store.usage(key).await?;
        self.remember(key, &usage);
        Ok(usage)
    }

    async fn suspend(
        &self,
        key: &Fingerprint,
        usage: &Usage,
        reason: &str,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let until = rule::later(now, FIRST_PROBE);
        let kind = VendorEventKind::Suspended { reason, suspended_until: until };
        let event = VendorEvent::new(key, usage.event_seq.saturating_add(1), kind, now);
        let flipped = self.store.suspend(key, until, FIRST_PROBE, &event, now).await?;
        if flipped {
            tracing::error!(%key, reason, %until, "the vendor refuses the key: no calls until then");
        }
        self.refresh_memory(key).await?;
        Ok(flipped)
    }

    async fn resume(&self, key: &Fingerprint, armed: Timestamp, now: Timestamp) -> Result<bool, StoreError> {
        let usage = self.store.usage(key).await?;
        let event = VendorEvent::new(key, usage.event_seq.saturating_add(1), VendorEventKind::Resumed, now);
        let flipped = self.store.resume(key, armed, &event, now).await?;
        if flipped {
            tracing::warn!(%key, "the vendor takes the key again");
        }
        self.refresh_memory(key).await?;
        Ok(flipped)
    }

    async fn refresh_memory(&self, key: &Fingerprint) -> Result<(), StoreError> {
        self.usage(key).await.map(drop)
    }

    fn last_seen(&self, key: &Fingerprint) -> Usage {
        let Some((usage, at)) = self.seen().get(key).cloned() else { return Usage::default() };
        let known_for = self.clock.now().duration_since(at).unsigned_abs();
        if usage.suspended_until.is_some() && known_for >= SUSPENSION_KNOWN_FOR {
            return Usage::default();
        }
        usage
    }

    fn remember(&self, key: &Fingerprint, usage: &Usage) {
        self.seen().insert(key.clone(), (usage.clone(), self.clock.now()));
    }

    fn seen(&self) -> MutexGuard<'_, HashMap<Fingerprint, (Usage, Timestamp)>> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
