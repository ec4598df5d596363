//! Reviews: a person reads an order that asked for it, has it checked again, or closes its reviews. Nobody sets its status, phase or outcome.

use jiff::Timestamp;
use serde::Serialize;

use super::{Decision, EventKind, Order};

/// The longest name of an actor, in characters.
pub const MAX_ACTOR: usize = 100;
/// The longest reason of an act, in characters.
pub const MAX_NOTE: usize = 500;

/// What a person does about an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub enum ReviewAction {
    /// The order is checked again, by the next recheck.
    Recheck,
    /// All open reviews of the order are closed.
    Close,
}

impl ReviewAction {
    /// The action named so: `recheck` or `close`.
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "recheck" => Some(Self::Recheck),
            "close" => Some(Self::Close),
            _ => None,
        }
    }
}

/// An act of a person about an order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReviewAct {
    /// The person: 1 to [`MAX_ACTOR`] characters, at least one of them visible, no control characters.
    pub actor: String,
    /// Why: the same with 1 to [`MAX_NOTE`] characters.
    pub note: String,
    /// What.
    pub action: ReviewAction,
}

/// Why an act is not possible.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotReviewable {
    /// It is in flight.
    #[error("the order is in flight and is being polled; there is nothing to recheck")]
    InFlight,
    /// It is final, and no check is left.
    #[error("the order is final and has no check left; there is nothing to recheck")]
    NoCheckLeft,
    /// A recheck was asked for, and no check has answered it yet.
    #[error("a recheck was asked for already and is not answered yet")]
    AlreadyAsked,
    /// None of its reviews is open.
    #[error("no review of the order is open")]
    NoOpenReview,
}

impl ReviewAct {
    /// An act with texts that are within their bounds; else the name of the text that is not: `actor` or `reason`.
    ///
    /// # Errors
    /// The name of the wrong text.
    pub fn new(actor: String, reason: String, action: ReviewAction) -> Result<Self, &'static str> {
        let fits = |text: &str, most: usize| {
            text.chars().take(most + 1).count() <= most
                && text.chars().any(is_visible)
                && !text.chars().any(is_control)
        };
        match (fits(&actor, MAX_ACTOR), fits(&reason, MAX_NOTE)) {
            (true, true) => Ok(Self { actor, note: reason, action }),
            (false, _) => Err("actor"),
            (true, false) => Err("reason"),
        }
    }
}

/// Whether a character can change how others are shown: controls, separators of lines, and embeddings and isolates of direction (UAX #9).
fn is_control(character: char) -> bool {
    let is_format =
        matches!(character, '\u{200b}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}');
    character.is_control() || is_format
}

/// Whether a character is neither space nor a joiner or mark of direction, which names may have.
fn is_visible(character: char) -> bool {
    !character.is_whitespace() && !matches!(character, '\u{200c}'..='\u{200f}')
}

impl Order {
    /// The order after an act of a person at `now`, with its `Order Reviewed` event. Status, phase and outcome stay. The note about a redacted
    /// order is not kept: nothing would remove it again.
    ///
    /// # Errors
    /// If there is nothing to check, or no review to close.
    pub fn after_review(&self, act: &ReviewAct, now: Timestamp) -> Result<Decision, NotReviewable> {
        let mut order = self.clone();
        let mut closed = Vec::new();
        match act.action {
            ReviewAction::Recheck => {
                self.can_be_rechecked()?;
                order.recheck_asked_at = Some(now);
            }
            ReviewAction::Close if self.open_reviews.is_empty() => return Err(NotReviewable::NoOpenReview),
            ReviewAction::Close => {
                closed = std::mem::take(&mut order.open_reviews).into_keys().collect();
            }
        }
        let kind = EventKind::OrderReviewed {
            actor: act.actor.clone(),
            note: Some(act.note.clone()).filter(|_| self.redacted_at.is_none()),
            action: act.action,
            closed,
        };
        let event = order.add_event(kind, self.facts.status.as_ref(), false, now);
        Ok(Decision { order, events: vec![event] })
    }

    fn can_be_rechecked(&self) -> Result<(), NotReviewable> {
        match (self.has_check_left(), self.recheck_asked_at) {
            (true, None) => Ok(()),
            (true, Some(_)) => Err(NotReviewable::AlreadyAsked),
            (false, _) if self.phase.is_final() => Err(NotReviewable::NoCheckLeft),
            (false, _) => Err(NotReviewable::InFlight),
        }
    }
}
