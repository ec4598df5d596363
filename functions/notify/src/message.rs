//! A message of the queue: an event as EventBridge delivers it.

use aws_lambda_events::sqs::SqsMessage;
use serde::Deserialize;
use serde_json::{Value, value::RawValue};
use shared::{
    order::SOURCE,
    telemetry::traceparent,
    webhook::{EventId, RESEND_SOURCE},
};

/// A message to deliver.
#[derive(Debug)]
pub(crate) struct Message {
    /// The event's id, the same for each repetition.
    pub(crate) event_id: EventId,
    /// `detail-type`.
    pub(crate) detail_type: String,
    /// The body to send: the event as it is on the bus.
    pub(crate) body: String,
    /// Number of this attempt, from 1: how often the queue has handed this message out.
    pub(crate) attempt: u32,
    /// The W3C `traceparent` of the event's cause, if X-Ray has given it one.
    pub(crate) traceparent: Option<String>,
    /// Names this receipt of the message to the queue.
    pub(crate) receipt: String,
}

#[derive(Deserialize)]
struct Envelope<'a> {
    source: String,
    #[serde(rename = "detail-type")]
    detail_type: String,
    #[serde(borrow)]
    detail: &'a RawValue,
}

#[derive(Deserialize)]
struct Detail {
    event_id: String,
}

impl Message {
    /// Reads a message. `None`: it is no event of the tracker.
    pub(crate) fn read(record: &SqsMessage) -> Option<Self> {
        let body = record.body.as_deref()?;
        let envelope: Envelope<'_> = serde_json::from_str(body).ok()?;
        let detail: Detail = serde_json::from_str(envelope.detail.get()).ok()?;
        let body = match envelope.source.as_str() {
            SOURCE => body.to_owned(),
            RESEND_SOURCE => with_source(body)?,
            _ => return None,
        };
        Some(Self {
            event_id: detail.event_id.parse().ok()?,
            detail_type: envelope.detail_type,
            body,
            attempt: attempt(record),
            traceparent: record.attributes.get("AWSTraceHeader").and_then(|header| traceparent(header)),
            receipt: record.receipt_handle.clone()?,
        })
    }
}

/// `ApproximateReceiveCount`, from 1.
fn attempt(record: &SqsMessage) -> u32 {
    record.attributes.get("ApproximateReceiveCount").and_then(|count| count.parse().ok()).unwrap_or(1)
}

/// An event that is sent again, with the source that it had at first. Its detail stays byte for byte.
fn with_source(body: &str) -> Option<String> {
    let mut envelope: std::collections::BTreeMap<String, Box<RawValue>> = serde_json::from_str(body).ok()?;
    envelope.insert("source".to_owned(), serde_json::value::to_raw_value(&Value::from(SOURCE)).ok()?);
    serde_json::to_string(&envelope).ok()
}
