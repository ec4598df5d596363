//! Admission: leave to make one call with the vendor's key, over all functions that share it.
//!
//! Rate (GCRA), pause (429) and suspension (a refused key) live in one item of the table per key; [`rule`] decides, the
//! store's conditional updates make it hold for everybody.

mod event;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use jiff::Timestamp;

pub use domain::rate_limiter::{
    Budget, Class, Closed, FIRST_PROBE, GiveBack, InvalidBudget, LAST_PROBE, LONGEST_PAUSE, ListTrust,
    MAX_LIST_FAILURES, MOST_REFUSALS, Move, Plan, Restore, Take, USUAL_PAUSE, Usage, doubled, pause_until,
    plan, still_under_way, unbelievable_pause,
};
pub use event::{VendorEvent, VendorEventKind};

use crate::{
    clock::Clock,
    order::Product,
    planner::{Page, UnderWay},
    secret::Fingerprint,
    store::{Store, StoreError, Taken},
    time::later,
};

/// An admission that is older is not used but given back: the rate is counted from when it was given.
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

/// Leave to make one call, now, with the key that it was asked for.
#[derive(Clone, Debug)]
pub struct Admitted {
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

/// A page that is on record.
#[derive(Clone, Debug)]
struct OnRecord {
    page: UnderWay,
    /// The other pages that were on record with it, and the turn since then.
    others: Vec<UnderWay>,
    turn: i64,
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
    /// what is known of them holds (a call that another process gives back makes it a call's time too late); of a suspension it is
    /// known for a while.
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
            let page = page.map(|page| UnderWay { page, at: now });
            let (taken, took) = match planned {
                Plan::Wait { until, why } => return Ok(Chosen::Refused { until, why }),
                Plan::Take(take) => {
                    let pages = page.map(|page| {
                        let mut pages = still_under_way(&usage.pages, now);
                        pages.push(page);
                        (pages, usage.page_turn)
                    });
                    (self.store.take_slot(key, class, &take, pages, now).await?, Some(take))
                }
                Plan::Probe { armed, next } => {
                    let taken = self.store.arm_probe(key, armed, next).await?;
                    if let Taken::Yes(after) = taken {
                        self.remember(key, &after);
                        let admitted = Admitted {
                            key: key.clone(),
                            at: now,
                            refusals: after.refusals,
                            probe: Some(next),
                            give_back: None,
                            page: None,
                        };
                        return self.given(admitted, chosen).await;
                    }
                    (taken, None)
                }
                Plan::Suspend => {
                    self.suspend(key, &usage, "refused", now).await?;
                    (Taken::No(self.store.usage(key).await?), None)
                }
            };
            match taken {
                Taken::Yes(after) => {
                    self.remember(key, &after);
                    let give_back = took
                        .and_then(|take| GiveBack::of(&take, class, &after, now))
                        .map(|give_back| (class, give_back));
                    let admitted = Admitted {
                        key: key.clone(),
                        at: now,
                        refusals: after.refusals,
                        probe: None,
                        give_back,
                        page: page.map(|page| OnRecord {
                            page,
                            others: without(&after.pages, page),
                            turn: after.page_turn,
                        }),
                    };
                    return self.given(admitted, chosen).await;
                }
                Taken::No(instead) => {
                    self.remember(key, &instead);
                    usage = instead;
                }
            }
        }
        Ok(Chosen::Refused { until: later(self.clock.now(), VALID), why: Closed::Rate })
    }

    /// Hands an admission out, unless the table took so long that it is too old by now.
    async fn given<T>(&self, admitted: Admitted, chosen: T) -> Result<Chosen<T>, StoreError> {
        Ok(match self.give_back_if_old(&admitted).await {
            Some((until, why)) => Chosen::Refused { until, why },
            None => Chosen::Given(admitted, chosen),
        })
    }

    /// Whether an admission is too old to be used; it is given back then, and must not be used. Answers when to ask again. To be asked
    /// right before the call, whenever anything was awaited since the admission. The probe of a suspended key is not given back: the
    /// next one is armed, and comes then.
    pub async fn give_back_if_old(&self, admitted: &Admitted) -> Option<(Timestamp, Closed)> {
        let now = self.clock.now();
        if now.duration_since(admitted.at) <= VALID.try_into().unwrap_or_default() {
            return None;
        }
        tracing::warn!(key = %admitted.key, "an admission came too late to be used");
        if let Err(error) = self.give_back(admitted).await {
            tracing::warn!(key = %admitted.key, %error, "an admission could not be given back");
        }
        Some(admitted.probe.map_or((now, Closed::Rate), |next| (next.max(now), Closed::Suspended)))
    }

    /// Gives an admission back that no call was made for, with the page that is on record with it: one call less of the rate is used up,
    /// if nobody was admitted since (see [`GiveBack`]).
    ///
    /// # Errors
    /// If the table fails; the call counts as made then.
    pub async fn give_back(&self, admitted: &Admitted) -> Result<(), StoreError> {
        let Some((class, give_back)) = &admitted.give_back else { return Ok(()) };
        let key = &admitted.key;
        let page = admitted.page.as_ref();
        let left = page.map(|on_record| (on_record.others.clone(), on_record.turn));
        let after = match (self.store.give_back(key, *class, give_back, left).await?, page) {
            (Taken::Yes(after), _) => after,
            // The call counts as made; its page is not on the way all the same.
            (Taken::No(instead), Some(OnRecord { page, .. })) if instead.pages.contains(page) => {
                let left = without(&instead.pages, *page);
                match self.store.forget_page(key, &left, instead.page_turn).await? {
                    Taken::Yes(after) | Taken::No(after) => after,
                }
            }
            (Taken::No(instead), _) => instead,
        };
        self.remember(key, &after);
        Ok(())
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
        self.turn_list_off(key, product, trouble, later(self.clock.now(), trouble.off_for())).await
    }

    async fn turn_list_off(
        &self,
        key: &Fingerprint,
        product: Product,
        trouble: ListTrouble,
        until: Timestamp,
    ) -> Result<bool, StoreError> {
        let now = self.clock.now();
        let usage = self.usage(key).await?;
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

    /// Counts that a product's list has failed, refused the key or limited it, for all processes together; `verdict` is what its answer
    /// would say about the key. It says nothing about single checks: no refusal is counted and no pause begins. A limit turns the list off
    /// for as long as the vendor says, within the bounds of a pause; [`MAX_LIST_FAILURES`] in a row turn it off for some minutes. Answers
    /// whether there is an event to announce.
    ///
    /// # Errors
    /// If the table fails.
    pub async fn list_failed(
        &self,
        admitted: &Admitted,
        product: Product,
        verdict: &Verdict,
    ) -> Result<bool, StoreError> {
        let now = self.clock.now();
        let key = &admitted.key;
        let usage = self.store.count_list_failure(key, product).await?;
        self.remember(key, &usage);
        let limited_until = match verdict {
            Verdict::Throttled(retry_after) => Some(pause_until(*retry_after, now)),
            Verdict::Accepted | Verdict::Refused(_) | Verdict::Silent => None,
        };
        if usage.list(product).failures >= MAX_LIST_FAILURES {
            let until = later(now, LIST_FAILED_FOR).max(limited_until.unwrap_or(now));
            return self.turn_list_off(key, product, ListTrouble::Fails, until).await;
        }
        if let Some(until) = limited_until {
            tracing::warn!(%key, %product, %until, "the vendor limits its list: it is not asked until then");
            self.store.pause_list(key, product, until).await?;
            self.refresh_memory(key).await?;
        }
        Ok(false)
    }

    /// A product's list has answered well: earlier failures and what was said to be wrong with it are forgotten, unless it was turned off
    /// while the answer was on its way.
    ///
    /// # Errors
    /// If the table fails.
    pub async fn trust_list(&self, key: &Fingerprint, product: Product) -> Result<(), StoreError> {
        let known = self.last_seen(key);
        let known = known.list(product);
        if known.said.is_some() || known.failures > 0 {
            self.store.trust_list(key, product, self.clock.now()).await?;
            self.refresh_memory(key).await?;
        }
        Ok(())
    }

    /// Forgets what was held against a key that is not in use any more: refusals that were counted, and a suspension, with an event that
    /// says that it is over. Answers whether there is an event to announce; of several who do it at once one is told so.
    ///
    /// # Errors
    /// If the table fails.
    pub async fn replaced(&self, key: &Fingerprint) -> Result<bool, StoreError> {
        let now = self.clock.now();
        let usage = self.store.usage(key).await?;
        let flipped = if usage.suspended_until.is_some() {
            let seq = usage.event_seq.saturating_add(1);
            let event = VendorEvent::new(key, seq, VendorEventKind::Replaced, now);
            self.store.end_suspension(key, &event, now).await?
        } else {
            if usage.refusals > 0 {
                self.store.drop_refusals(key).await?;
            }
            false
        };
        if flipped {
            tracing::warn!(%key, "a suspended key is not in use any more: its suspension is over");
        }
        self.refresh_memory(key).await?;
        Ok(flipped)
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
                self.store.lengthen_probe(key, armed, later(now, wait), wait).await?;
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
        let until = later(now, FIRST_PROBE);
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

fn without(pages: &[UnderWay], page: UnderWay) -> Vec<UnderWay> {
    pages.iter().copied().filter(|asked| *asked != page).collect()
}
