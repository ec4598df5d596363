//! The one path: load, claim, admit, ask the vendor, decide, commit, announce. A status request, a poller tick and a recheck
//! differ only in how they pick the order and in what they answer.

mod bulk;
mod keys;
mod news;

use std::{borrow::Cow, collections::BTreeSet};

use jiff::Timestamp;
use secrecy::SecretString;
use tokio::time::timeout;

pub use bulk::{Lists, Round};
pub use news::News;

use crate::{
    admission::{Admission, Admitted, Class, Closed, Leave, Usage, Verdict},
    announce::Announcer,
    aws::{Later, Service, of_service, sdk_config},
    cards::{CardError, CardSafe},
    clock::Clock,
    config::Config,
    http::Http,
    order::{
        Decision, Event, Jitter, Observation, Order, OrderId, OrderKey, Place, Product, Ref, ReviewReason,
        Saw, Schedule, Seen, TrackedBy, Trigger, Trouble, decide,
    },
    secret::{Fingerprint, SecretError, Vault, VendorKey},
    store::{Commit, Registration, Store, StoreError, VendorOutbox},
    vendor::{Oddities, ShownOrder, Vendor, VendorError, without_prefix},
};

/// Everything a trigger needs to see to an order.
#[derive(Clone, Debug)]
pub struct Tracker {
    /// The table.
    pub store: Store,
    /// The vendor's key and the merchants' tokens.
    pub vault: Vault,
    /// Leave to use the key.
    pub admission: Admission,
    /// OneClickDz.
    pub vendor: Vendor,
    /// The key that seals card codes.
    pub cards: CardSafe,
    /// The bus.
    pub announcer: Announcer,
    /// The time.
    pub clock: Clock,
    /// Ladders and limits.
    pub schedule: Schedule,
    /// The vendor's lists; `None`: each order is looked at by itself.
    pub lists: Option<Lists>,
}

/// A function could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// No HTTP client.
    #[error("TLS cannot be set up")]
    Tls(#[from] rustls::Error),
    /// No secrets.
    #[error(transparent)]
    Secrets(#[from] SecretError),
}

/// What became of a look.
#[derive(Debug)]
pub enum Look {
    /// It was not time, or somebody else was faster: what is stored is the best there is.
    NotMade,
    /// There is no leave to call before then; nothing was asked.
    NotAdmitted {
        /// The first moment at which trying again is of use.
        until: Timestamp,
        /// Why.
        why: Closed,
    },
    /// The vendor answered.
    Answered,
    /// The look failed. It says nothing about the order.
    Failed(LookError),
}

/// Why a look showed nothing.
#[derive(Debug, thiserror::Error)]
pub enum LookError {
    /// The vendor.
    #[error(transparent)]
    Vendor(#[from] VendorError),
    /// Its card could not be encrypted, and what cannot be encrypted is not stored: the vendor still has it.
    #[error(transparent)]
    Card(#[from] CardError),
    /// The vendor has shown this order before, and does not know it now.
    #[error("the vendor does not know an order that it has shown before")]
    Vanished,
    /// The table does not take what the look showed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl LookError {
    /// A stable name for logs.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Vendor(error) => error.name(),
            Self::Card(_) => "card_not_sealed",
            Self::Vanished => "vanished",
            Self::Store(_) => "store_refuses",
        }
    }

    /// What it means for the order.
    fn saw(&self) -> Saw {
        let trouble = match self {
            Self::Vendor(error) => error.trouble(),
            Self::Card(_) => None,
            Self::Vanished => Some(Trouble::Vanished),
            Self::Store(_) => Some(Trouble::StoreRefuses),
        };
        trouble.map_or(Saw::Nothing, Saw::Trouble)
    }
}

/// An order after the path was walked.
#[derive(Debug)]
pub struct Refreshed {
    /// As it is stored now.
    pub order: Order,
    /// What became of the look.
    pub look: Look,
    /// How many events went out.
    pub announced: usize,
    /// What this look brought.
    pub news: News,
    /// When the oldest event happened that could not be published just now; `None`: all are out, or it was not tried.
    pub unpublished_since: Option<Timestamp>,
}

/// Somebody else commits all the time; after so many lost races a look is given up. The ladder brings the next.
const MOST_RACES: usize = 8;

impl Tracker {
    /// Wires all clients, reads the secrets, and makes the connections that the first call will need: init has a whole CPU, and
    /// the first call of a small function a few percent of one.
    ///
    /// # Errors
    /// If TLS cannot be set up or the secrets cannot be had.
    pub async fn start(config: &Config) -> Result<Self, StartError> {
        let http = Http::new(&config.extra_roots)?;
        let patience = config.connect_ahead_timeout;
        let vendor = timeout(patience, http.connect_ahead(&config.base_url));
        let (tracker, _) = tokio::join!(Self::with_http(config, http.clone()), vendor);
        let tracker = tracker?;
        // A first question to the table: what it says of the key is of use too. Without it, the first call finds out.
        let _ = timeout(patience, tracker.usage()).await;
        Ok(tracker)
    }

    /// Wires all clients, and reads the secrets.
    ///
    /// # Errors
    /// If TLS cannot be set up or the secrets cannot be had.
    pub async fn open(config: &Config) -> Result<Self, StartError> {
        Self::with_http(config, Http::new(&config.extra_roots)?).await
    }

    async fn with_http(config: &Config, http: Http) -> Result<Self, StartError> {
        let aws = sdk_config(&config.aws, http.clone());
        let of = |service| of_service(&config.aws, &aws, service);
        let (manager, kms, events) =
            (of(Service::SecretsManager), of(Service::Kms), of(Service::EventBridge));
        let clock = Clock::System;
        let manager = Later::new(move || aws_sdk_secretsmanager::Client::new(&manager));
        let vault = Vault::open(config.secrets.clone(), manager, clock.now()).await?;
        let store =
            Store::new(aws_sdk_dynamodb::Client::new(&of(Service::DynamoDb)), config.orders_table.clone());
        let kms = Later::new(move || aws_sdk_kms::Client::new(&kms));
        let events = Later::new(move || aws_sdk_eventbridge::Client::new(&events));
        Ok(Self {
            admission: Admission::new(store.clone(), clock.clone(), config.budget),
            store,
            vault,
            vendor: Vendor::new(http, config.base_url.clone()),
            cards: CardSafe::new(kms, config.card_key_id.clone()),
            announcer: Announcer::new(events, config.event_bus.clone()),
            clock,
            schedule: config.schedule.clone(),
            lists: config.bulk_looks.then(Lists::default),
        })
    }

    /// The same with another clock (tests move it).
    #[must_use]
    pub fn with_clock(self, clock: Clock) -> Self {
        Self { admission: self.admission.with_clock(clock.clone()), clock, ..self }
    }

    /// Tracks an order from now on, unless it is tracked already; answers the order either way.
    ///
    /// # Errors
    /// If the table fails.
    pub async fn track(
        &self,
        key: &OrderKey,
        reference: Option<Ref>,
        by: TrackedBy,
    ) -> Result<(Registration, Order), StoreError> {
        let new = |now| Order::track(key.clone(), reference.clone(), by, now, &self.schedule);
        match self.register(key, new).await? {
            (Registration::AlreadyTracked, known) => {
                Ok((Registration::AlreadyTracked, self.complete(known, reference).await?))
            }
            new => Ok(new),
        }
    }

    async fn register(
        &self,
        key: &OrderKey,
        new: impl Fn(Timestamp) -> (Order, Event),
    ) -> Result<(Registration, Order), StoreError> {
        for _ in 0..MOST_RACES {
            let now = self.clock.now();
            let (order, event) = new(now);
            let due_at = self.schedule.due_at(&order, now);
            if self.store.register(&order, &event, due_at).await? == Registration::Tracked {
                let Published { order, .. } = self.announce(order, &[event]).await;
                return Ok((Registration::Tracked, order));
            }
            // Nothing is there yet if the one we lost to is still at it, or lost too: try again.
            if let Some(known) = self.store.load(key).await? {
                return Ok((Registration::AlreadyTracked, known));
            }
        }
        Err(too_many_races("store a new order"))
    }

    /// Keeps a reference that comes after the order was tracked without one; answers the order as it is stored.
    ///
    /// # Errors
    /// If the table fails.
    pub async fn complete(&self, known: Order, reference: Option<Ref>) -> Result<Order, StoreError> {
        let Some(reference) = reference.filter(|_| known.reference.is_none()) else { return Ok(known) };
        for _ in 0..MOST_RACES {
            let kept = self.store.fill_reference(&known.key, &reference).await?;
            let stored = self.store.load(&known.key).await?.ok_or_else(|| vanished(&known.key))?;
            if kept || stored.reference.is_some() {
                return Ok(stored);
            }
        }
        Err(too_many_races("keep a reference"))
    }

    /// Walks the path for one order; `None` if it is not tracked.
    ///
    /// # Errors
    /// If the table fails. A vendor that fails is no error: see [`Look::Failed`].
    pub async fn refresh(&self, key: &OrderKey, trigger: Trigger) -> Result<Option<Refreshed>, StoreError> {
        let Some(order) = self.store.load(key).await? else { return Ok(None) };
        self.walk(order, trigger).await.map(Some)
    }

    /// The path for an order that was just loaded.
    async fn walk(&self, mut order: Order, trigger: Trigger) -> Result<Refreshed, StoreError> {
        let (mut announced, mut unpublished_since) = (0, None);
        if trigger == Trigger::Recheck {
            Published { order, count: announced, unpublished_since } = self.announce(order, &[]).await;
        }
        let now = self.clock.now();
        let not_made = |order| Refreshed {
            order,
            look: Look::NotMade,
            announced,
            news: News::default(),
            unpublished_since,
        };
        if !order.wants_look(trigger, now, &self.schedule) {
            if trigger == Trigger::Recheck {
                self.put_off(&order, now).await?;
            }
            return Ok(not_made(order));
        }
        let vendor_key = self.vault.secrets().vendor_key.clone();
        if let Some((until, why)) = self.admission.closed(vendor_key.fingerprint(), trigger.into()) {
            let look = self.not_admitted(vendor_key.fingerprint(), until, why).await;
            return self.settled(order, now, Saw::NotAsked, look, announced).await;
        }
        let due_at = (trigger == Trigger::Recheck).then(|| order.due_after_claim(now, &self.schedule));
        if !self.store.claim(&order, now, due_at).await? {
            // Somebody else has just asked: whoever polls comes back when the ladder says so, and not at once.
            return Ok(not_made(Order { asked_at: Some(now), ..order }));
        }
        let leave = self.admission.admit(vendor_key.fingerprint(), trigger.into()).await;
        let Ok(Leave::Given(admitted)) = leave else {
            self.unclaim(&order, trigger, now).await?;
            let Leave::Refused { until, why } = leave? else { return Ok(not_made(order)) };
            let look = self.not_admitted(vendor_key.fingerprint(), until, why).await;
            return self.settled(order, now, Saw::NotAsked, look, announced).await;
        };
        self.ask(order, trigger, (&vendor_key, &admitted), now, announced).await
    }

    /// The look itself at an order that was claimed at `now`, as it was before, with the key that was admitted for it.
    async fn ask(
        &self,
        order: Order,
        trigger: Trigger,
        (vendor_key, admitted): (&VendorKey, &Admitted),
        now: Timestamp,
        announced: usize,
    ) -> Result<Refreshed, StoreError> {
        if let Some((until, why)) = self.admission.give_back_if_old(admitted).await {
            self.unclaim(&order, trigger, now).await?;
            let look = Look::NotAdmitted { until, why };
            return self.settled(order, now, Saw::NotAsked, look, announced).await;
        }
        let claimed = Order { asked_at: Some(now), ..order };
        let answer = self.vendor.check_id(vendor_key, &claimed.key).await;
        let odd_fields = answer.as_ref().map_or(0, |answer| answer.odd.count());
        let (saw, look) = self.observe(&claimed, trigger, admitted, answer).await;
        let mut refreshed = self.settled(claimed, now, saw, look, announced).await?;
        refreshed.news.odd_fields += odd_fields;
        Ok(refreshed)
    }

    /// Looks an order up by the merchant's reference, with the vendor's prefix or without, and tracks what is found.
    ///
    /// # Errors
    /// If the table fails.
    pub async fn find(&self, product: Product, reference: &Ref) -> Result<Found, StoreError> {
        for asked in [Some(reference.clone()), without_prefix(reference)].into_iter().flatten() {
            let vendor_key = self.vault.secrets().vendor_key.clone();
            let admitted = match self.admission.admit(vendor_key.fingerprint(), Class::Status).await? {
                Leave::Given(admitted) => admitted,
                Leave::Refused { until, why } => {
                    let (until, why) = self.leave_again(vendor_key.fingerprint(), until, why).await;
                    return Ok(Found::NotAdmitted { until, why });
                }
            };
            let asked_at = self.clock.now();
            let answer = self.vendor.check_ref(&vendor_key, product, &asked, reference).await;
            self.learn(&admitted, answer.as_ref().map_or_else(VendorError::verdict, |_| Verdict::Accepted))
                .await;
            let (shown, odd) = match answer {
                Ok(answer) => (answer.order, answer.odd),
                Err(error) => {
                    tracing::warn!(%product, kind = error.name(), %error, "look-up failed");
                    return Ok(Found::Failed(error));
                }
            };
            let Some(shown) = shown else { continue };
            let key = OrderKey { product, id: shown.id.clone() };
            note_odd(&key, &odd);
            let (registration, order) = self.track(&key, Some(reference.clone()), TrackedBy::Put).await?;
            let (saw, look) = match self.seen(&order, shown, Place::Check).await {
                Ok(saw) => (saw, Look::Answered),
                Err(error) => (error.saw(), Look::Failed(error)),
            };
            let mut found = self.settled(order, asked_at, saw, look, 0).await?;
            found.news.odd_fields += odd.count();
            return Ok(Found::Order(registration, Box::new(found)));
        }
        Ok(Found::Unknown)
    }

    /// Announces what there is to say about a key; answers how many events went out, and when the first happened that did not. A key that is
    /// suspended is due again soon.
    ///
    /// # Errors
    /// If the table fails.
    pub async fn announce_key(&self, key: &Fingerprint) -> Result<(usize, Option<Timestamp>), StoreError> {
        let VendorOutbox { events, usage } = self.store.vendor_outbox(key).await?;
        let result = self.announcer.announce(&events).await;
        if let Some(why) = &result.stopped {
            tracing::warn!(%key, why, "events about the key stay in the outbox");
            let is_out = |seq: u32| result.up_to.is_some_and(|up_to| seq <= up_to);
            let first = events.iter().find(|event| !is_out(event.seq));
            return Ok((result.count, first.map(|event| event.occurred_at)));
        }
        if usage.event_seq > 0 {
            let is_suspended = usage.suspended_until.is_some();
            self.store.mark_vendor_announced(key, usage.event_seq, is_suspended, self.clock.now()).await?;
        }
        Ok((result.count, None))
    }

    /// What is known of the vendor's key that is in use.
    ///
    /// # Errors
    /// If the table fails.
    pub async fn usage(&self) -> Result<Usage, StoreError> {
        self.admission.usage(self.vault.secrets().vendor_key.fingerprint()).await
    }

    /// Commits that the card was read, so that each delivery is on record before it is made, and decrypts it.
    ///
    /// # Errors
    /// If the table or KMS fails.
    pub async fn reveal_card(&self, order: Order) -> Result<Option<SecretString>, RevealError> {
        let Some(card) = order.card.clone() else { return Ok(None) };
        let code = self.cards.open(&order.key, &card).await?;
        let mut order = order;
        for _ in 0..MOST_RACES {
            let now = self.clock.now();
            let decision = order.card_revealed(now);
            let Decision { order: after, events } = decision;
            let due_at = self.schedule.due_at(&after, now);
            match self.store.commit(&order, after, &events, due_at).await? {
                Commit::Applied(order) => {
                    self.announce(*order, &events).await;
                    return Ok(Some(code));
                }
                Commit::AlreadyFinal | Commit::LostRace => {
                    order = self.store.load(&order.key).await?.ok_or_else(|| vanished(&order.key))?;
                }
            }
        }
        Err(too_many_races("record a reading").into())
    }

    /// There was no leave to call with `key`.
    async fn not_admitted(&self, key: &Fingerprint, until: Timestamp, why: Closed) -> Look {
        let (until, why) = self.leave_again(key, until, why).await;
        Look::NotAdmitted { until, why }
    }

    /// What a look's answer shows, and what it says about the key. A failure is logged here, once, and goes on as an observation
    /// of nothing.
    async fn observe(
        &self,
        order: &Order,
        trigger: Trigger,
        admitted: &Admitted,
        answer: Result<crate::vendor::Answer, VendorError>,
    ) -> (Saw, Look) {
        self.learn(admitted, answer.as_ref().map_or_else(VendorError::verdict, |_| Verdict::Accepted)).await;
        let seen = match answer {
            Ok(answer) => {
                note_odd(&order.key, &answer.odd);
                match answer.order {
                    Some(shown) => {
                        self.seen(order, shown, Place::Check).await.map(|saw| (saw, answer.request_id))
                    }
                    None if order.is_known() => Err(LookError::Vanished),
                    None => Ok((Saw::NotFound, answer.request_id)),
                }
            }
            Err(error) => Err(error.into()),
        };
        match seen {
            Ok((saw, request_id)) => {
                let status = match &saw {
                    Saw::Order(seen) => seen.facts.status.as_ref().map_or("", |status| status.as_str()),
                    _ => "NOT_FOUND",
                };
                tracing::info!(order = %order.key, ?trigger, status, request_id, "looked");
                (saw, Look::Answered)
            }
            Err(error) => {
                tracing::warn!(order = %order.key, ?trigger, kind = error.name(), %error, "look failed");
                (error.saw(), Look::Failed(error))
            }
        }
    }

    /// Takes in what an answer says about the key; what goes wrong here costs no order its look.
    async fn learn(&self, admitted: &Admitted, verdict: Verdict) {
        let key = admitted.key();
        let is_replaced = matches!(verdict, Verdict::Refused(_))
            && self.vault.read_again(self.clock.now()).await.vendor_key.fingerprint() != key;
        let told = if is_replaced {
            // It was refused because it is not in use any more.
            self.admission.replaced(key).await
        } else {
            self.admission.learn(admitted, &verdict).await
        };
        let told = match told {
            Ok(true) => self.announce_key(key).await.map(drop),
            Ok(false) => Ok(()),
            Err(error) => Err(error),
        };
        if let Err(error) = told {
            tracing::error!(%key, %error, "what the vendor said about the key could not be kept");
        }
    }

    /// An order as it was shown, its card code encrypted before anything else is done with it.
    async fn seen(&self, order: &Order, shown: ShownOrder, place: Place) -> Result<Saw, LookError> {
        let card = match shown.card_code {
            Some(code) if order.card.is_none() => Some(self.cards.seal(&order.key, &code).await?),
            _ => None,
        };
        Ok(Saw::Order(Box::new(Seen { facts: shown.facts, card, place })))
    }

    /// The end of the path: decide, commit, announce.
    async fn settled(
        &self,
        order: Order,
        asked_at: Timestamp,
        saw: Saw,
        look: Look,
        announced: usize,
    ) -> Result<Refreshed, StoreError> {
        let (was_final, reviewed) = (order.phase.is_final(), order.reviewed.clone());
        let Settled { order, events, refused } = self.settle(order, &Observation { asked_at, saw }).await?;
        let look = refused.map_or(look, |error| Look::Failed(error.into()));
        let reviews = |reasons: &[ReviewReason]| -> usize {
            reasons.iter().map(|reason| reviews(&reviewed, &order, reason)).sum()
        };
        let mut news = News {
            became_final: usize::from(order.phase.is_final() && !was_final),
            overdue_reviews: reviews(&[ReviewReason::Overdue]),
            unrecognised_statuses: reviews(&[ReviewReason::UnrecognisedStatus]),
            failing_reviews: reviews(&[
                ReviewReason::Unreadable,
                ReviewReason::Rejected,
                ReviewReason::Vanished,
                ReviewReason::StoreRefuses,
            ]),
            ..News::default()
        };
        if let Look::Failed(error) = &look {
            news.failed(error);
        }
        let Published { order, count, unpublished_since } = self.announce(order, &events).await;
        Ok(Refreshed { order, look, announced: announced + count, news, unpublished_since })
    }

    /// Decides and commits until it holds, or is overtaken. What the table refuses for good is not tried again: it is noted instead that it
    /// does, so that deadline, waits and reviews count on.
    async fn settle(&self, order: Order, observation: &Observation) -> Result<Settled, StoreError> {
        let jitter = Jitter::new(fastrand::f64() * 2.0 - 1.0);
        let mut order = order;
        let mut observation = Cow::Borrowed(observation);
        let mut refused = None;
        for _ in 0..MOST_RACES {
            let now = self.clock.now();
            let Some(decision) = decide(&order, &observation, now, jitter, &self.schedule) else {
                return Ok(Settled { order, events: Vec::new(), refused });
            };
            if decision.order == order && observation.saw == Saw::NotAsked {
                return Ok(Settled { order, events: Vec::new(), refused });
            }
            let due_at = self.schedule.due_at(&decision.order, now);
            let Decision { order: after, events } = decision;
            match self.store.commit(&order, after, &events, due_at).await {
                Ok(Commit::Applied(after)) => return Ok(Settled { order: *after, events, refused }),
                Ok(Commit::AlreadyFinal | Commit::LostRace) => {
                    order = self.store.load(&order.key).await?.ok_or_else(|| vanished(&order.key))?;
                }
                Err(error @ StoreError::Refused { .. }) if refused.is_none() => {
                    tracing::error!(order = %order.key, %error, "what a look showed cannot be stored");
                    let saw = Saw::Trouble(Trouble::StoreRefuses);
                    observation = Cow::Owned(Observation { asked_at: observation.asked_at, saw });
                    refused = Some(error);
                }
                Err(error) => {
                    if matches!(error, StoreError::Refused { .. }) {
                        self.check_seldom(&order, now).await;
                    }
                    return Err(error);
                }
            }
        }
        tracing::warn!(order = %order.key, "gave a look up: too many races");
        Ok(Settled { order, events: Vec::new(), refused })
    }

    /// Not even a note fits into the record: all that is left is to make the order due seldom. Whoever sees the error tells of it.
    async fn check_seldom(&self, order: &Order, now: Timestamp) {
        let due_at = now.checked_add(self.schedule.recheck_failing).ok();
        if let Err(error) = self.store.put_off(order, due_at).await {
            tracing::error!(order = %order.key, %error, "nor can it be made due later");
        }
    }

    /// Announces what is in the outbox, then tracks the orders that this one lives on under. `fresh` are the events just
    /// committed; others are read from the history. What fails is due soon, so it is logged and no error.
    async fn announce(&self, mut order: Order, fresh: &[Event]) -> Published {
        let (count, unpublished_since) = self.try_announce(&mut order, fresh).await.unwrap_or_else(|error| {
            tracing::warn!(order = %order.key, %error, "events stay in the outbox");
            (0, None)
        });
        for link in order.links_to_track() {
            // Boxed: the order that is tracked is announced in its turn, though it has no links yet.
            if let Err(error) = Box::pin(self.track_link(&mut order, link)).await {
                tracing::warn!(order = %order.key, %error, "a linked order is tracked later");
            }
        }
        Published { order, count, unpublished_since }
    }

    /// Tracks an order that `order` lives on under; both name each other. Any step may be repeated.
    async fn track_link(&self, order: &mut Order, link: OrderId) -> Result<(), StoreError> {
        let linked = OrderKey { product: order.key.product, id: link.clone() };
        let from = order.key.id.clone();
        let new = |now| Order::track_link(linked.clone(), from.clone(), now, &self.schedule);
        let (registration, other) = self.register(&linked, new).await?;
        if registration == Registration::AlreadyTracked && !other.linked_from.contains(&order.key.id) {
            self.store.note_origin(&linked, &order.key.id).await?;
        }
        order.links.insert(link.clone());
        self.store.note_link(order, &link, self.schedule.due_at(order, self.clock.now())).await
    }

    /// An order that is due but wants nothing is due when it says so itself: a race can leave it due too early, and it would
    /// be found at every tick.
    async fn put_off(&self, order: &Order, now: Timestamp) -> Result<(), StoreError> {
        self.store.put_off(order, self.schedule.due_at(order, now)).await
    }

    /// Answers how many events went out, and when the first happened that did not.
    async fn try_announce(
        &self,
        order: &mut Order,
        fresh: &[Event],
    ) -> Result<(usize, Option<Timestamp>), StoreError> {
        if order.announced >= order.seq {
            return Ok((0, None));
        }
        let stored;
        let complete = fresh.first().is_some_and(|first| first.seq == order.announced.saturating_add(1));
        let events = if complete {
            fresh
        } else {
            stored = self.store.events_after(&order.key, order.announced).await?;
            &stored
        };
        let result = self.announcer.announce(events).await;
        if let Some(why) = &result.stopped {
            tracing::warn!(order = %order.key, why, "events stay in the outbox");
        }
        let is_out = |event: &&Event| result.up_to.is_some_and(|up_to| event.seq <= up_to);
        let unpublished_since = events.iter().find(|event| !is_out(event)).map(|event| event.occurred_at);
        let Some(up_to) = result.up_to else { return Ok((0, unpublished_since)) };
        let before = std::mem::replace(&mut order.announced, up_to);
        let due_at = self.schedule.due_at(order, self.clock.now());
        if let Err(error) = self.store.mark_announced(order, up_to, due_at).await {
            // It is out, but nobody will know: it goes out again.
            order.announced = before;
            return Err(error);
        }
        Ok((result.count, unpublished_since))
    }
}

/// What became of an order's outbox.
struct Published {
    order: Order,
    /// How many events went out.
    count: usize,
    /// When the first event happened that did not go out.
    unpublished_since: Option<Timestamp>,
}

/// What became of a look-up by reference.
#[derive(Debug)]
pub enum Found {
    /// The vendor knows it, and it is tracked now.
    Order(Registration, Box<Refreshed>),
    /// The vendor does not know it. That is no proof that nothing was sent.
    Unknown,
    /// There is no leave to ask.
    NotAdmitted {
        /// The first moment at which trying again is of use.
        until: Timestamp,
        /// Why.
        why: Closed,
    },
    /// The vendor did not say.
    Failed(VendorError),
}

/// A card could not be shown.
#[derive(Debug, thiserror::Error)]
pub enum RevealError {
    /// The table.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// KMS.
    #[error(transparent)]
    Card(#[from] CardError),
}

/// What became of an observation.
struct Settled {
    order: Order,
    events: Vec<Event>,
    /// Why the table did not take what the look showed.
    refused: Option<StoreError>,
}

/// Says once for an answer which of its fields could not be taken as they came.
fn note_odd(key: &OrderKey, odd: &Oddities) {
    if odd.count() > 0 {
        tracing::warn!(order = %key, odd_fields = odd.count(), fields = %odd, "the vendor's answer has odd fields");
    }
}

/// How many reviews for this reason `after` has that were not `before`.
fn reviews(before: &BTreeSet<String>, after: &Order, reason: &ReviewReason) -> usize {
    after.reviewed.difference(before).filter(|what| what.starts_with(reason.as_str())).count()
}

fn too_many_races(what: &'static str) -> StoreError {
    StoreError::Unavailable { what, why: "others were faster, again and again".to_owned() }
}

/// Orders are never deleted by us.
fn vanished(key: &OrderKey) -> StoreError {
    StoreError::Corrupt { key: key.clone(), why: "it was deleted meanwhile".to_owned() }
}
