//! One tick of the wait loop for an order in flight.

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

/// The result of a tick. The state machine waits `wait_seconds` and ticks again, unless `done`.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct Tick {
    /// The order is no longer in flight: final or parked.
    pub done: bool,
    /// Seconds until the next tick: 1 to 300; 0 when done.
    pub wait_seconds: u64,
    /// `in_flight`, `parked` or `final`.
    pub phase: &'static str,
    /// The vendor's last status.
    pub status: Option<String>,
}

/// An error of a tick. The state machine retries by error type.
#[derive(Debug, thiserror::Error)]
pub enum PollerError {
    /// The input is invalid. A retry does not help.
    #[error("{field}: {why}")]
    InvalidInput {
        /// The invalid field.
        field: String,
        /// What is invalid.
        why: String,
    },
    /// The table failed. A retry may help.
    #[error(transparent)]
    StoreUnavailable(StoreError),
    /// The record cannot be read. A retry does not help.
    #[error(transparent)]
    StoreCorrupt(StoreError),
    /// The table rejects the write. A retry does not help.
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

/// The raw input: an order of this tracker (`$.detail.order`) or the detail of a `Top-up Sent`. Other fields are ignored.
#[derive(Deserialize)]
struct Input {
    product: Value,
    id: Value,
    #[serde(rename = "ref", default)]
    reference: Value,
}

/// The parsed input of a tick. With an invalid reference, the order is tracked without one.
#[derive(Debug)]
pub struct TickInput {
    /// The order.
    pub key: OrderKey,
    /// The merchant's reference, if it is valid.
    pub reference: Option<Ref>,
    /// Why the reference was ignored, if it was.
    pub ref_ignored: Option<&'static str>,
}

/// Parses the input of a tick.
///
/// # Errors
/// [`PollerError::InvalidInput`] if product or id is missing or invalid.
pub fn parse(input: &Value) -> Result<TickInput, PollerError> {
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
        // Many merchants use whole numbers as references.
        Value::Number(number) if number.is_i64() || number.is_u64() => {
            (Ref::try_from(number.to_string()).ok(), None)
        }
        _ => (None, Some("neither text nor a whole number")),
    };
    Ok(TickInput { key: OrderKey { product, id }, reference, ref_ignored })
}

/// Checks the order if a poll is due; starts to track it if it is not tracked.
///
/// # Errors
/// See [`PollerError`]. A failed vendor call is no error: the result holds the time of the next tick.
pub async fn handle(tracker: &Tracker, input: &Value) -> Result<Tick, PollerError> {
    tick(tracker, input).await.inspect_err(|error| tracing::error!(%error, "the tick failed"))
}

async fn tick(tracker: &Tracker, input: &Value) -> Result<Tick, PollerError> {
    let TickInput { key, reference, ref_ignored } = parse(input)?;
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
            summary = refs_ignored.add_to(summary.with("no_call_reason", "not_due"));
            (tracker.track(&key, reference.clone(), TrackedBy::Poller).await?.1, None)
        }
    };
    if reference.is_some() && order.reference != reference {
        tracing::warn!(order = %key, field = "ref", "the order is already tracked with another ref; that ref stays");
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

/// When to tick again. `retry_at`: no call is permitted before this time; its jitter spreads the pollers that wait for it.
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
        // At the deadline the order is parked, with or without a permit.
        wait.min(order.poll_ends(schedule).map_or(wait, until))
    });
    Tick {
        done: wait.is_none(),
        // Rounded up to at least 1 s: a tick that is early makes no check.
        wait_seconds: wait.map_or(0, |wait| (wait.as_millis().div_ceil(1000) as u64).clamp(1, 300)),
        phase: order.phase.as_str(),
        status: order.facts.status.as_ref().map(|status| status.as_str().to_owned()),
    }
}

#[cfg(test)]
mod tests;
