//! The path of an order: load, claim, permit, check, decide, commit, publish. A status request, a poller tick and a
//! recheck take the same path; they differ in how they pick the order and what they return.
//!
//! [`Tracker::refresh`] takes one order down the path; `Tracker::poll` does so for a tick, and adds list checks. Its steps, in order: [`check`], [`commit`], [`publish`]. [`batch`] checks many
//! orders with one call and takes each down the same path.

mod batch;
mod card;
mod check;
mod commit;
mod counters;
mod find;
mod keys;
mod publish;
mod redact;
mod resync;
mod review;
mod start;
mod track;

use std::time::Duration;

use jiff::Timestamp;

pub use batch::{BatchOutcome, Lists};
pub use card::{RevealError, Revealer};
pub use counters::Counters;
pub use find::Found;
pub use redact::{RedactError, Redacted};
pub use review::ReviewError;
pub use start::StartError;

use check::{Checked, Permitted};
use commit::Committed;
use publish::Published;

use crate::{
    capability::Links,
    cards::{CardError, CardSafe},
    clock::Clock,
    order::{Observation, Order, OrderKey, Schedule, Trigger, Trouble},
    permits::Permits,
    publish::Publisher,
    rate_limiter::{Denied, DenyReason, Usage},
    secret::{Vault, VendorSecret},
    store::{Store, StoreError},
    vendor::{Vendor, VendorError},
};

/// The clients and settings for processing an order. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Tracker {
    /// The table.
    pub store: Store,
    /// The vendor's key.
    pub vault: Vault<VendorSecret>,
    /// Permits for calls with the vendor's key.
    pub permits: Permits,
    /// The client of OneClickDz.
    pub vendor: Vendor,
    /// Encrypts and decrypts card codes.
    pub cards: CardSafe,
    /// The event bus.
    pub publisher: Publisher,
    /// The clock.
    pub clock: Clock,
    /// Retry schedules and limits.
    pub schedule: Schedule,
    /// What is known of the vendor's lists; `None`: list checks are off, each order is checked alone.
    pub lists: Option<Lists>,
    /// Whether events are sent to the merchant's URL.
    pub has_webhooks: bool,
    /// Makes the links to the tracking page; `None`: there is none.
    pub links: Option<Links>,
    /// How long after the outcome an order's personal data is removed; `None`: never.
    pub redact_after: Option<Duration>,
}

/// The result of a status check.
#[derive(Debug)]
pub enum Check {
    /// No call was made: the stored order is the latest that is known.
    NotMade(NoCall),
    /// The vendor answered.
    Answered,
    /// The check failed.
    Failed(CheckError),
}

impl Check {
    /// When to try again, if the rate limiter or a list check for other orders prevented the call; `None`: at the
    /// order's own next check.
    pub fn retry_at(&self) -> Option<Timestamp> {
        match self {
            Self::NotMade(NoCall::Denied(denied)) => Some(denied.retry_at),
            Self::NotMade(NoCall::CoveredByPage { retry_at }) => *retry_at,
            Self::NotMade(NoCall::NotDue | NoCall::ClaimedElsewhere) | Self::Answered | Self::Failed(_) => {
                None
            }
        }
    }

    /// Why no call was made: one of [`NoCall::REASONS`]; `None` if one was made.
    pub fn no_call_reason(&self) -> Option<&'static str> {
        match self {
            Self::NotMade(why) => Some(why.reason()),
            Self::Answered | Self::Failed(_) => None,
        }
    }

    /// Whether the order was checked, also if the check failed.
    pub fn is_made(&self) -> bool {
        matches!(self, Self::Answered | Self::Failed(_))
    }
}

/// Why no call was made for an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoCall {
    /// The order's next check is not due yet.
    NotDue,
    /// Another process has claimed the check.
    ClaimedElsewhere,
    /// The call was made for other orders (a list check or a single check), or another process requests a page that
    /// shows this order.
    CoveredByPage {
        /// When the rate limiter permits the next call; `None`: try again at this order's own next check.
        retry_at: Option<Timestamp>,
    },
    /// The rate limiter denies the call.
    Denied(Denied),
}

impl NoCall {
    /// The values of the log field `no_call_reason` (docs/logging.md).
    pub const REASONS: [&'static str; 6] =
        ["not_due", "claimed_elsewhere", "covered_by_page", "rate_limited", "paused", "suspended"];

    /// One of [`Self::REASONS`].
    pub fn reason(self) -> &'static str {
        match self {
            Self::NotDue => "not_due",
            Self::ClaimedElsewhere => "claimed_elsewhere",
            Self::CoveredByPage { .. } => "covered_by_page",
            Self::Denied(denied) => match denied.reason {
                DenyReason::RateLimited => "rate_limited",
                DenyReason::Paused => "paused",
                DenyReason::Suspended => "suspended",
                // Another process has just requested a page.
                DenyReason::PlanOutdated => "covered_by_page",
            },
        }
    }
}

/// Why a check failed.
#[derive(Debug, thiserror::Error)]
pub enum CheckError {
    /// The call to the vendor failed.
    #[error(transparent)]
    Vendor(#[from] VendorError),
    /// The card code could not be encrypted. It is not stored then; the vendor still has it.
    #[error(transparent)]
    Card(#[from] CardError),
    /// The vendor has shown this order before and does not know it now.
    #[error("the vendor does not know an order that it has shown before")]
    Vanished,
    /// The table does not accept the result of the check.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl CheckError {
    /// A stable name for the log field `kind`: `card_not_sealed`, `vanished`, `store_refuses`, or see
    /// [`VendorError::name`].
    pub fn name(&self) -> &'static str {
        match self {
            Self::Vendor(error) => error.name(),
            Self::Card(_) => "card_not_sealed",
            Self::Vanished => "vanished",
            Self::Store(_) => "store_refuses",
        }
    }

    /// The observation to decide on: nothing for errors that pass by themselves, else the trouble.
    fn observation(&self) -> Observation {
        let trouble = match self {
            Self::Vendor(error) => error.trouble(),
            Self::Card(_) => None,
            Self::Vanished => Some(Trouble::Vanished),
            Self::Store(_) => Some(Trouble::StoreRefuses),
        };
        trouble.map_or(Observation::Nothing, Observation::Trouble)
    }
}

/// An order that was taken down the path.
#[derive(Debug)]
pub struct Refreshed {
    /// The order as stored now.
    pub order: Order,
    /// The result of its check.
    pub check: Check,
    /// The counts of this order.
    pub counters: Counters,
    /// Time of the oldest event that could not be published just now; `None`: all are published, or publishing was
    /// not tried.
    pub unpublished_since: Option<Timestamp>,
}

/// Conflicting writes in a row after which a commit gives up. The next check decides again.
const MAX_RACES: usize = 8;

impl Tracker {
    /// Takes one order down the path. `None` if it is not tracked.
    ///
    /// # Errors
    /// If the table fails. A failed call to the vendor is not an error: see [`Check::Failed`].
    pub async fn refresh(&self, key: &OrderKey, trigger: Trigger) -> Result<Option<Refreshed>, StoreError> {
        let Some(order) = self.store.load(key).await? else { return Ok(None) };
        self.refresh_loaded(order, trigger).await.map(Some)
    }

    /// Takes an order that was just loaded down the path.
    async fn refresh_loaded(&self, order: Order, trigger: Trigger) -> Result<Refreshed, StoreError> {
        let checked = self.check(order, trigger).await?;
        if trigger != Trigger::Recheck && checked.check_result.is_none() {
            return Ok(Refreshed::unchanged(checked));
        }
        let refreshed = self.finish(checked).await?;
        if matches!(refreshed.check, Check::NotMade(NoCall::NotDue)) {
            self.reschedule(&refreshed.order).await?;
        }
        Ok(refreshed)
    }

    /// The path after the check: decide, commit, publish.
    async fn finish(&self, checked: Checked) -> Result<Refreshed, StoreError> {
        let Committed { order, events, check, mut counters } = self.decide_and_commit(checked).await?;
        let Published { order, count, unpublished_since } = self.publish(order, &events).await;
        counters.published += count;
        counters += Counters::of(&check);
        Ok(Refreshed { order, check, counters, unpublished_since })
    }

    /// Sets `due_at` of an order for which nothing is due. A race can leave `due_at` too early; without this, every
    /// recheck would load the order.
    async fn reschedule(&self, order: &Order) -> Result<(), StoreError> {
        self.store.reschedule_if_unchanged(order, self.schedule.due_at(order, self.clock.now())).await
    }

    /// What is known of the vendor's key in use, read from the table.
    ///
    /// # Errors
    /// If the table fails.
    pub async fn usage(&self) -> Result<Usage, StoreError> {
        self.permits.usage(self.vault.secrets().vendor_key.fingerprint()).await
    }
}

impl Refreshed {
    /// An order for which nothing was decided and nothing is to be published.
    fn unchanged(checked: Checked) -> Self {
        let Checked { order, check, counters, .. } = checked;
        Self { order, counters: counters.and(Counters::of(&check)), check, unpublished_since: None }
    }
}

fn too_many_races(what: &'static str) -> StoreError {
    StoreError::Unavailable { what, why: format!("gave up after {MAX_RACES} conflicting writes") }
}

/// A record disappeared between two reads. The tracker never deletes orders.
fn deleted(key: &OrderKey) -> StoreError {
    StoreError::Corrupt { key: key.clone(), why: "the record was deleted".to_owned() }
}
