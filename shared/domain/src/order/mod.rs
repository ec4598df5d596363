//! Orders and the rules about them. Every rule that affects money is in [`decide`].

mod card;
mod decide;
mod event;
mod facts;
mod id;
mod phase;
mod product;
mod record;
mod redact;
mod review;
mod schedule;
mod status;
mod view;

pub use card::SealedCard;
pub use decide::{Decision, decide};
#[cfg(test)]
pub(crate) use event::Detail;
pub use event::{DETAIL_TYPES, Event, EventKind, ReviewReason, SOURCE, TrackedBy};
pub use facts::{Amount, Facts, JsonText};
pub use id::{InvalidId, OrderId, OrderKey, Ref};
pub use phase::{Outcome, ParkedAs, Phase};
pub use product::{Product, ProductRules, UnknownProduct};
pub use record::{CheckResult, MAX_CHECK, Observation, Order, Place, Snapshot, Trigger, Trouble, TroubleRun};
pub use redact::NotRedactable;
pub use review::{MAX_ACTOR, MAX_NOTE, NotReviewable, ReviewAct, ReviewAction};
pub use schedule::{InvalidRetrySchedule, Jitter, OUTBOX_DUE, RetrySchedule, Schedule, parse_duration};
pub use status::VendorStatus;
pub use view::OrderView;

#[cfg(test)]
mod tests;
