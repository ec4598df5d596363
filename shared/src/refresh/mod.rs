//! The path of an order: load, claim, permit, check, decide, commit, publish. A status request, a poller tick and a recheck differ only
//! in how they pick the order and in what they answer.
//!
//! [`Tracker::refresh`] is the path. Its steps, in their order: [`check`], [`commit`], [`publish`]. [`batch`] checks many orders with one
//! call, and takes each down the same path.

mod batch;
mod card;
mod check;
mod commit;
mod counters;
mod find;
mod keys;
mod publish;
mod start;
mod track;

use jiff::Timestamp;

pub use batch::{BatchOutcome, Lists};
pub use card::RevealError;
pub use counters::Counters;
pub use find::Found;
pub use start::StartError;

use check::{Checked, Permitted};
use commit::Committed;
use publish::Published;

use crate::{
    cards::{CardError, CardSafe},
    clock::Clock,
    order::{Observation, Order, OrderKey, Schedule, Trigger, Trouble},
    permits::Permits,
    publish::Publisher,
    rate_limiter::{Denied, DenyReason, Usage},
    secret::Vault,
    store::{Store, StoreError},
    vendor::{Vendor, VendorError},
};

/// Everything that is needed to process an order.
#[derive(Clone, Debug)]
pub struct Tracker {
    /// The table.
    pub store: Store,
    /// The vendor's key and the merchants' tokens.
    pub vault: Vault,
    /// Permits to call with the key.
    pub permits: Permits,
    /// OneClickDz.
    pub vendor: Vendor,
    /// The key that seals card codes.
    pub cards: CardSafe,
    /// The bus.
    pub publisher: Publisher,
    /// The time.
    pub clock: Clock,
    /// Retry schedules and limits.
    pub schedule: Schedule,
    /// The vendor's lists; `None`: each order is checked by itself.
    pub lists: Option<Lists>,
}

/// What came of a status check.
#[derive(Debug)]
pub enum Check {
    /// No call was made: what is stored is the best there is.
    NotMade(NoCall),
    /// The vendor answered.
    Answered,
    /// The check failed.
    Failed(CheckError),
}

impl Check {
    /// When it is of use to try again, where the rate limiter or a list check of other orders stood before the call.
    pub fn retry_at(&self) -> Option<Timestamp> {
        match self {
            Self::NotMade(NoCall::Denied(denied)) => Some(denied.retry_at),
            Self::NotMade(NoCall::CoveredByPage { retry_at }) => *retry_at,
            Self::NotMade(NoCall::NotDue | NoCall::ClaimedElsewhere) | Self::Answered | Self::Failed(_) => {
                None
            }
        }
    }

    /// Why no call was made: one of [`NoCall::REASONS`].
    pub fn no_call_reason(&self) -> Option<&'static str> {
        match self {
            Self::NotMade(why) => Some(why.reason()),
            Self::Answered | Self::Failed(_) => None,
        }
    }

    /// Whether the order was checked, also in vain.
    pub fn is_made(&self) -> bool {
        matches!(self, Self::Answered | Self::Failed(_))
    }
}

/// Why no call was made for an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoCall {
    /// It is not time for its next check.
    NotDue,
    /// Another process claimed the check.
    ClaimedElsewhere,
    /// A list check was made instead that serves more orders, or another process is making one that shows this order.
    CoveredByPage {
        /// When the rate limiter permits the next call; `None`: this order's own next check is soon enough.
        retry_at: Option<Timestamp>,
    },
    /// The rate limiter denies it.
    Denied(Denied),
}

impl NoCall {
    /// As in logs (`no_call_reason`).
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
                // Another process has just asked for a page.
                DenyReason::PlanOutdated => "covered_by_page",
            },
        }
    }
}

/// Why a check showed nothing.
#[derive(Debug, thiserror::Error)]
pub enum CheckError {
    /// The vendor.
    #[error(transparent)]
    Vendor(#[from] VendorError),
    /// Its card could not be encrypted, and what cannot be encrypted is not stored: the vendor still has it.
    #[error(transparent)]
    Card(#[from] CardError),
    /// The vendor has shown this order before, and does not know it now.
    #[error("the vendor does not know an order that it has shown before")]
    Vanished,
    /// The table does not take what the check showed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl CheckError {
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

/// An order at the end of the path.
#[derive(Debug)]
pub struct Refreshed {
    /// As it is stored now.
    pub order: Order,
    /// What came of the check.
    pub check: Check,
    /// What it cost and brought.
    pub counters: Counters,
    /// When the oldest event happened that could not be published just now; `None`: all are out, or it was not tried.
    pub unpublished_since: Option<Timestamp>,
}

/// So many conflicting writes in a row end a commit. The next check decides anew.
const MAX_RACES: usize = 8;

impl Tracker {
    /// Takes one order down the path; `None` if it is not tracked.
    ///
    /// # Errors
    /// If the table fails. A vendor that fails is no error: see [`Check::Failed`].
    pub async fn refresh(&self, key: &OrderKey, trigger: Trigger) -> Result<Option<Refreshed>, StoreError> {
        let Some(order) = self.store.load(key).await? else { return Ok(None) };
        self.refresh_loaded(order, trigger).await.map(Some)
    }

    /// The path of an order that was just loaded.
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

    /// An order that is due but wants nothing is due when it says so itself: a race can leave it due too early, and the recheck would find
    /// it every minute.
    async fn reschedule(&self, order: &Order) -> Result<(), StoreError> {
        self.store.reschedule_if_unchanged(order, self.schedule.due_at(order, self.clock.now())).await
    }

    /// What is known of the vendor's key that is in use.
    ///
    /// # Errors
    /// If the table fails.
    pub async fn usage(&self) -> Result<Usage, StoreError> {
        self.permits.usage(self.vault.secrets().vendor_key.fingerprint()).await
    }
}

impl Refreshed {
    /// Nothing was decided and nothing is to be published.
    fn unchanged(checked: Checked) -> Self {
        let Checked { order, check, counters, .. } = checked;
        Self { order, counters: counters.and(Counters::of(&check)), check, unpublished_since: None }
    }
}

fn too_many_races(what: &'static str) -> StoreError {
    StoreError::Unavailable { what, why: format!("gave up after {MAX_RACES} conflicting writes") }
}

/// The tracker never deletes orders.
fn deleted(key: &OrderKey) -> StoreError {
    StoreError::Corrupt { key: key.clone(), why: "it was deleted meanwhile".to_owned() }
}
