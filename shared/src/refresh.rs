//! The one path: load, claim, ask the vendor, decide, commit, announce. A status request, a poller tick and a recheck
//! differ only in how they pick the order and in what they answer.

use jiff::Timestamp;
use secrecy::SecretString;

use crate::{
    announce::Announcer,
    aws::{events_client, sdk_config},
    cards::{CardError, CardSafe},
    clock::Clock,
    config::Config,
    http::{self, HttpError},
    order::{
        Decision, Event, Jitter, Observation, Order, OrderKey, Ref, Saw, Schedule, Seen, TrackedBy, Trigger,
        decide,
    },
    secret::{SecretError, Secrets},
    store::{Commit, Registration, Store, StoreError},
    vendor::{Answer, Vendor, VendorError},
};

/// Everything a trigger needs to see to an order.
#[derive(Clone, Debug)]
pub struct Tracker {
    /// The table.
    pub store: Store,
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
}

/// A function could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// No HTTP client.
    #[error(transparent)]
    Http(#[from] HttpError),
    /// No secrets.
    #[error(transparent)]
    Secrets(#[from] SecretError),
}

/// What became of a look.
#[derive(Debug)]
pub enum Look {
    /// It was not time, or somebody else was faster: what is stored is the best there is.
    NotMade,
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
}

impl LookError {
    /// A stable name for logs.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Vendor(error) => error.name(),
            Self::Card(_) => "card_not_sealed",
        }
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
    /// Whether this look brought the outcome.
    pub became_final: bool,
}

/// Somebody else commits all the time; after so many lost races a look is given up. The ladder brings the next.
const MOST_RACES: usize = 8;

impl Tracker {
    /// Wires all clients, and reads the secrets.
    ///
    /// # Errors
    /// If TLS cannot be set up or the secrets cannot be had.
    pub async fn start(config: &Config) -> Result<(Self, Secrets), StartError> {
        let http = http::client()?;
        let aws = sdk_config(&config.aws, http.clone());
        let secrets = Secrets::read(&config.secrets, &aws_sdk_secretsmanager::Client::new(&aws)).await?;
        let tracker = Self {
            store: Store::new(aws_sdk_dynamodb::Client::new(&aws), config.orders_table.clone()),
            vendor: Vendor::new(http, config.base_url.clone(), secrets.vendor_key.clone()),
            cards: CardSafe::new(aws_sdk_kms::Client::new(&aws), config.card_key_id.clone()),
            announcer: Announcer::new(events_client(&config.aws, &aws), config.event_bus.clone()),
            clock: Clock::System,
            schedule: config.schedule.clone(),
        };
        Ok((tracker, secrets))
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
        for _ in 0..MOST_RACES {
            let now = self.clock.now();
            let (order, event) = Order::track(key.clone(), reference.clone(), by, now, &self.schedule);
            let due_at = self.schedule.due_at(&order, now);
            if self.store.register(&order, &event, due_at).await? == Registration::Tracked {
                let (order, _) = self.announce(order, &[event]).await;
                return Ok((Registration::Tracked, order));
            }
            // Nothing is there yet if the one we lost to is still at it, or lost too: try again.
            if let Some(known) = self.store.load(key).await? {
                return Ok((Registration::AlreadyTracked, self.complete(known, reference).await?));
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
        let Some(mut order) = self.store.load(key).await? else { return Ok(None) };
        let mut announced = 0;
        if trigger == Trigger::Recheck {
            (order, announced) = self.announce(order, &[]).await;
        }
        let now = self.clock.now();
        if !order.wants_look(trigger, now, &self.schedule) {
            if trigger == Trigger::Recheck {
                self.put_off(&order, now).await?;
            }
            return Ok(Some(Refreshed { order, look: Look::NotMade, announced, became_final: false }));
        }
        let due_at = (trigger == Trigger::Recheck).then(|| order.due_after_claim(now, &self.schedule));
        let Some(claimed) = self.store.claim(&order, now, due_at).await? else {
            return Ok(Some(Refreshed { order, look: Look::NotMade, announced, became_final: false }));
        };
        let was_final = claimed.phase.is_final();
        let (saw, look) = self.ask(&claimed, trigger).await;
        let (order, events) = self.settle(claimed, &Observation { asked_at: now, saw }).await?;
        let (order, more) = self.announce(order, &events).await;
        let became_final = order.phase.is_final() && !was_final;
        Ok(Some(Refreshed { order, look, announced: announced + more, became_final }))
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
            let events = decision.events.clone();
            let due_at = self.schedule.due_at(&decision.order, now);
            match self.store.commit(&order, decision, due_at).await? {
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

    /// Asks the vendor. A failure is logged here, once, and goes on as an observation of nothing.
    async fn ask(&self, order: &Order, trigger: Trigger) -> (Saw, Look) {
        match self.look(order).await {
            Ok((saw, request_id)) => {
                let status = match &saw {
                    Saw::Order(seen) => seen.facts.status.as_ref().map_or("", |status| status.as_str()),
                    Saw::NotFound | Saw::Nothing => "NOT_FOUND",
                };
                tracing::info!(order = %order.key, ?trigger, status, request_id, "looked");
                (saw, Look::Answered)
            }
            Err(error) => {
                tracing::warn!(order = %order.key, ?trigger, kind = error.name(), %error, "look failed");
                (Saw::Nothing, Look::Failed(error))
            }
        }
    }

    async fn look(&self, order: &Order) -> Result<(Saw, Option<String>), LookError> {
        let Answer { order: shown, request_id } = self.vendor.check_id(&order.key).await?;
        let Some(shown) = shown else { return Ok((Saw::NotFound, request_id)) };
        let card = match shown.card_code {
            Some(code) if order.card.is_none() => Some(self.cards.seal(&order.key, &code).await?),
            _ => None,
        };
        Ok((Saw::Order(Box::new(Seen { facts: shown.facts, card })), request_id))
    }

    /// Decides and commits until it holds, or is overtaken.
    async fn settle(
        &self,
        order: Order,
        observation: &Observation,
    ) -> Result<(Order, Vec<Event>), StoreError> {
        let jitter = Jitter::new(fastrand::f64() * 2.0 - 1.0);
        let mut order = order;
        for _ in 0..MOST_RACES {
            let now = self.clock.now();
            let Some(decision) = decide(&order, observation, now, jitter, &self.schedule) else {
                return Ok((order, Vec::new()));
            };
            let Decision { events, .. } = &decision;
            let events = events.clone();
            let due_at = self.schedule.due_at(&decision.order, now);
            match self.store.commit(&order, decision, due_at).await? {
                Commit::Applied(after) => return Ok((*after, events)),
                Commit::AlreadyFinal | Commit::LostRace => {
                    order = self.store.load(&order.key).await?.ok_or_else(|| vanished(&order.key))?;
                }
            }
        }
        tracing::warn!(order = %order.key, "gave a look up: too many races");
        Ok((order, Vec::new()))
    }

    /// Announces what is in the outbox. `fresh` are the events just committed; others are read from the history. What
    /// fails stays in the outbox and is due soon, so it is logged and no error.
    async fn announce(&self, order: Order, fresh: &[Event]) -> (Order, usize) {
        match self.try_announce(&order, fresh).await {
            Ok((announced, count)) => (Order { announced: order.announced.max(announced), ..order }, count),
            Err(error) => {
                tracing::warn!(order = %order.key, %error, "events stay in the outbox");
                (order, 0)
            }
        }
    }

    /// An order that is due but wants nothing is due when it says so itself: a race can leave it due too early, and it would
    /// be found at every tick.
    async fn put_off(&self, order: &Order, now: Timestamp) -> Result<(), StoreError> {
        self.store.mark_announced(order, order.announced, self.schedule.due_at(order, now)).await
    }

    async fn try_announce(&self, order: &Order, fresh: &[Event]) -> Result<(u32, usize), StoreError> {
        if order.announced >= order.seq {
            return Ok((order.announced, 0));
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
        let Some(up_to) = result.up_to else { return Ok((order.announced, 0)) };
        let after = Order { announced: up_to, ..order.clone() };
        let now: Timestamp = self.clock.now();
        self.store.mark_announced(&after, up_to, self.schedule.due_at(&after, now)).await?;
        Ok((up_to, result.count))
    }
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

fn too_many_races(what: &'static str) -> StoreError {
    StoreError::Unavailable { what, why: "others were faster, again and again".to_owned() }
}

/// Orders are never deleted by us.
fn vanished(key: &OrderKey) -> StoreError {
    StoreError::Corrupt { key: key.clone(), why: "it was deleted meanwhile".to_owned() }
}
