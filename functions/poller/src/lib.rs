//! One tick of the wait loop over an order in flight.

use std::time::Duration;

use jiff::Timestamp;
use lambda_runtime::Diagnostic;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use shared::{
    order::{Order, OrderId, OrderKey, Product, Ref, Schedule, TrackedBy},
    refresh::{Counters, Refreshed, Tracker},
    store::StoreError,
    telemetry::Summary,
    time::between,
};

/// What a tick answers: the state machine waits so long and ticks again, unless it is done.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct Tick {
    /// Not in flight any more: final or parked.
    pub done: bool,
    /// Whole seconds until the next tick; 0 when done.
    pub wait_seconds: u64,
    /// `in_flight`, `parked` or `final`.
    pub phase: &'static str,
    /// The vendor's status, as last seen.
    pub status: Option<String>,
}

/// A tick that failed, by a name that the state machine can tell apart.
#[derive(Debug, thiserror::Error)]
pub enum PollerError {
    /// Trying again is of no use.
    #[error("{field}: {why}")]
    InvalidInput {
        /// The field.
        field: String,
        /// What is wrong with it.
        why: String,
    },
    /// The table failed: try again.
    #[error(transparent)]
    StoreUnavailable(StoreError),
    /// The record cannot be read: trying again is of no use.
    #[error(transparent)]
    StoreCorrupt(StoreError),
    /// The table does not take what is to be written: trying again is of no use.
    #[error(transparent)]
    StoreRefused(StoreError),
}

impl From<StoreError> for PollerError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Unavailable { .. } => Self::StoreUnavailable(error),
            StoreError::Corrupt { .. } => Self::StoreCorrupt(error),
            StoreError::Refused { .. } => Self::StoreRefused(error),
        }
    }
}

impl From<PollerError> for Diagnostic {
    fn from(error: PollerError) -> Self {
        let error_type = match &error {
            PollerError::InvalidInput { .. } => "InvalidInput",
            PollerError::StoreUnavailable(_) => "StoreUnavailable",
            PollerError::StoreCorrupt(_) => "StoreCorrupt",
            PollerError::StoreRefused(_) => "StoreRefused",
        };
        Diagnostic { error_type: error_type.to_owned(), error_message: error.to_string() }
    }
}

/// The input as it comes: an order of ours (`$.detail.order`) or the detail of a `Top-up Sent`. Other fields are passed
/// over.
#[derive(Deserialize)]
struct Input {
    product: Value,
    id: Value,
    #[serde(rename = "ref", default)]
    reference: Value,
}

/// The order that a tick is about, and its reference. A reference that is no good costs the order nothing: it is tracked without.
#[derive(Debug)]
pub struct Told {
    /// Which order.
    pub key: OrderKey,
    /// The merchant's reference.
    pub reference: Option<Ref>,
    /// What is wrong with the reference that came, if it was left out.
    pub ref_ignored: Option<&'static str>,
}

/// Reads a tick's input.
///
/// # Errors
/// [`PollerError::InvalidInput`]: product or id.
pub fn parse(input: &Value) -> Result<Told, PollerError> {
    let invalid = |field: &str, why: &str| PollerError::InvalidInput { field: field.into(), why: why.into() };
    let input: Input =
        Input::deserialize(input).map_err(|_| invalid("input", "must be an object with product and id"))?;
    let text = |field: &str, value: Value| match value {
        Value::String(text) => Ok(text),
        _ => Err(invalid(field, "must be a string")),
    };
    let product: Product =
        text("product", input.product)?.parse().map_err(|error| invalid("product", &format!("{error}")))?;
    let id = OrderId::try_from(text("id", input.id)?).map_err(|error| invalid("id", &error.to_string()))?;
    let (reference, ref_ignored) = match input.reference {
        Value::Null => (None, None),
        Value::String(text) => match Ref::try_from(text) {
            Ok(reference) => (Some(reference), None),
            Err(_) => (None, Some("not 1 to 200 characters without control characters")),
        },
        // Many shops number their orders.
        Value::Number(number) if number.is_i64() || number.is_u64() => {
            (Ref::try_from(number.to_string()).ok(), None)
        }
        _ => (None, Some("no text")),
    };
    Ok(Told { key: OrderKey { product, id }, reference, ref_ignored })
}

/// Checks the order if the retry schedule says that it is time, registering it first if it is not known.
///
/// # Errors
/// See [`PollerError`]. A vendor that fails is no error: the answer says when to come back.
pub async fn handle(tracker: &Tracker, input: &Value) -> Result<Tick, PollerError> {
    tick(tracker, input).await.inspect_err(|error| tracing::error!(%error, "the tick failed"))
}

async fn tick(tracker: &Tracker, input: &Value) -> Result<Tick, PollerError> {
    let Told { key, reference, ref_ignored } = parse(input)?;
    if let Some(why) = ref_ignored {
        tracing::warn!(order = %key, field = "ref", why, "the order is tracked without the ref that came with it");
    }
    let refs_ignored = Counters { refs_ignored: usize::from(ref_ignored.is_some()), ..Counters::default() };
    let mut summary = Summary::new("poller").with("order", key.to_string());
    let (order, retry_at) = match tracker.poll(&key).await? {
        Some(Refreshed { order, check, counters, .. }) => {
            summary = summary.with("no_call_reason", check.no_call_reason());
            summary = counters.and(refs_ignored).add_to(summary);
            (tracker.complete(order, reference.clone()).await?, check.retry_at())
        }
        None => {
            summary = refs_ignored.add_to(summary);
            (tracker.track(&key, reference.clone(), TrackedBy::Poller).await?.1, None)
        }
    };
    if reference.is_some() && order.reference != reference {
        tracing::warn!(order = %key, field = "ref", "the order is tracked with another ref, and keeps it");
    }
    let now = tracker.clock.now();
    let jitter = Duration::from_millis(fastrand::u64(..=1000));
    let tick = next_tick(&tracker.schedule, &order, retry_at.map(|moment| (moment, jitter)), now);
    summary
        .with("phase", tick.phase)
        .with("status", tick.status.clone())
        .with("wait_seconds", tick.wait_seconds)
        .log(now);
    Ok(tick)
}

/// When to tick again. `retry_at`: no call is permitted before then, and all pollers that wait for it come back a little apart.
pub fn next_tick(
    schedule: &Schedule,
    order: &Order,
    retry_at: Option<(Timestamp, Duration)>,
    now: Timestamp,
) -> Tick {
    let until = |moment: Timestamp| between(now, moment);
    let next = order.next_poll(now, schedule).filter(|_| !order.polling_has_ended(now, schedule));
    let wait = next.map(|next| {
        let Some((moment, jitter)) = retry_at else { return until(next) };
        let wait = until(next).max(until(moment) + jitter);
        // At the deadline it is parked, permit or no permit.
        wait.min(order.poll_ends(schedule).map_or(wait, until))
    });
    Tick {
        done: wait.is_none(),
        // Rounded up, at least a second: a tick that comes early asks nothing and is wasted.
        wait_seconds: wait.map_or(0, |wait| (wait.as_millis().div_ceil(1000) as u64).clamp(1, 300)),
        phase: order.phase.as_str(),
        status: order.facts.status.as_ref().map(|status| status.as_str().to_owned()),
    }
}

#[cfg(test)]
mod tests;
