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
    Budget, Class, Closed, FIRST_PROBE, InvalidBudget, LAST_PROBE, LONGEST_PAUSE, ListTrust, MOST_REFUSALS,
    Move, Plan, Take, USUAL_PAUSE, Usage, doubled, pause_until, plan, still_under_way, unbelievable_pause,
};

use crate::{
    clock::Clock,
    looks::{Page, UnderWay},
    order::Product,
    secret::Fingerprint,
    store::{Store, StoreError, Taken},
};

/// An admission that was not used for so long is given up: the rate is counted from when it was given.
const VALID: Duration = Duration::from_secs(1);
/// What is known of a key is good for so long where a call is to be planned with it: others call too.
const FRESH_FOR: Duration = Duration::from_millis(500);
/// A list that failed is asked again after so long …
const LIST_FAILED_FOR: Duration = Duration::from_secs(5 * 60);
/// … and one that does not tell orders apart by when they were created: it will hardly learn that today.
const LIST_USELESS_FOR: Duration = Duration::from_secs(24 * 3600);
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

/// Leave to make the call that was chosen, or not.
#[derive(Clone, Debug)]
pub enum Chosen<T> {
    /// Make this call.
    Given(Admitted, T),
    /// Do not call before then.
    Refused {
        /// The first moment at which asking again is of use.
        until: Timestamp,
        /// Why.
        why: Closed,
    },
    /// No call is worth making; no leave was taken.
    NotWorthIt,
}

/// What is wrong with a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ListTrouble {
    /// It fails, again and again.
    Fails,
    /// It shows orders that were created at other times than it was asked for.
    OtherTimes,
}

impl ListTrouble {
    /// As in the event.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Fails => "list_fails",
            Self::OtherTimes => "list_shows_other_times",
        }
    }

    fn off_for(self) -> Duration {
        match self {
            Self::Fails => LIST_FAILED_FOR,
            Self::OtherTimes => LIST_USELESS_FOR,
        }
    }
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
        Ok(match self.admit_for(key, class, |_, _| Some(((), None))).await? {
            Chosen::Given(admitted, ()) => Leave::Given(admitted),
            Chosen::Refused { until, why } => Leave::Refused { until, why },
            // It always is.
            Chosen::NotWorthIt => Leave::Refused { until: self.clock.now(), why: Closed::Rate },
        })
    }

    /// Asks for leave to make the call that `choose` answers, given what is known of the key and the time; it is asked again when
    /// somebody else was faster. A page of a list that was chosen is on record with the leave, so that nobody else asks for it.
    ///
    /// # Errors
    /// If the table fails.
    pub async fn admit_for<T>(
        &self,
        key: &Fingerprint,
        class: Class,
        choose: impl Fn(&Usage, Timestamp) -> Option<(T, Option<Page>)>,
    ) -> Result<Chosen<T>, StoreError> {
        let mut usage = self.last_seen(key);
        for _ in 0..MOST_TRIES {
            let now = self.clock.now();
            let planned = plan(&usage, class, now, self.budget);
            if let Plan::Wait { until, why } = planned {
                return Ok(Chosen::Refused { until, why });
            }
            let Some((chosen, page)) = choose(&usage, now) else { return Ok(Chosen::NotWorthIt) };
            let taken = match planned {
                Plan::Wait { until, why } => return Ok(Chosen::Refused { until, why }),
                Plan::Take(take) => {
                    let pages = page.map(|page| {
                        let mut pages = still_under_way(&usage.pages, now);
                        pages.push(UnderWay { page, at: now });
                        (pages, usage.page_turn)
                    });
                    self.store.take_slot(key, class, &take, pages, now).await?
                }
                Plan::Probe { armed, next } => {
                    let taken = self.store.arm_probe(key, armed, next).await?;
                    if let Taken::Yes(after) = taken {
                        self.remember(key, &after);
                        let admitted =
                            Admitted { key: key.clone(), refusals: after.refusals, probe: Some(next) };
                        return Ok(Chosen::Given(admitted, chosen));
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
                        return Ok(Chosen::Refused { until: self.clock.now(), why: Closed::Rate });
                    }
                    let admitted = Admitted { key: key.clone(), refusals: after.refusals, probe: None };
                    return Ok(Chosen::Given(admitted, chosen));
                }
                Taken::No(instead) => {
                    self.remember(key, &instead);
                    usage = instead;
                }
            }
        }
        Ok(Chosen::Refused { until: rule::later(self.clock.now(), VALID), why: Closed::Rate })
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

    /// Whether so many calls are made with the key that each is worth planning.
    pub fn is_busy(&self, usage: &Usage) -> bool {
        self.budget.is_busy(usage, self.clock.now())
    }

    /// Turns a product's list off for a while, for everybody; answers whether there is an event to announce: what is wrong is said
    /// once, until the list is well again.
    ///
    /// # Errors
    /// If the table fails.
    pub async fn distrust_list(
        &self,
        key: &Fingerprint,
        product: Product,
        trouble: ListTrouble,
    ) -> Result<bool, StoreError> {
        let now = self.clock.now();
        let usage = self.usage(key).await?;
        let until = rule::later(now, trouble.off_for());
        tracing::warn!(%key, %product, trouble = trouble.as_str(), %until, "the vendor's list is not asked until then");
        let is_new = usage.list(product).said.as_deref() != Some(trouble.as_str());
        let event = is_new.then(|| {
            let kind = VendorEventKind::NeedsReview { reason: trouble.as_str(), product: product.as_str() };
            VendorEvent::new(key, usage.event_seq.saturating_add(1), kind, now)
        });
        let said =
            self.store.distrust_list(key, product, trouble.as_str(), until, event.as_ref(), now).await?;
        self.refresh_memory(key).await?;
        Ok(said && is_new)
    }

    /// A list that was said to be in trouble has answered well.
    ///
    /// # Errors
    /// If the table fails.
    pub async fn trust_list(&self, key: &Fingerprint, product: Product) -> Result<(), StoreError> {
        if self.last_seen(key).list(product).said.is_some() {
            self.store.trust_list(key, product).await?;
            self.refresh_memory(key).await?;
        }
        Ok(())
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
