//! The path of one message: read, sign, send, decide, record, tell the queue.

use std::time::Duration;

use aws_lambda_events::sqs::SqsMessage;
use http::{HeaderName, Request, Response, header};
use hyper::body::Bytes;
use shared::{
    http::{CallError, retry_after},
    order::Jitter,
    time::{between, later},
    webhook::{Answer, Attempt, DeliveryState, Verdict, verdict},
};
use standardwebhooks::{HEADER_WEBHOOK_ID, HEADER_WEBHOOK_SIGNATURE, HEADER_WEBHOOK_TIMESTAMP};

use crate::{Notifier, message::Message};

/// A receiver has this long to answer. Standard Webhooks advises 15 to 30 s; a batch of the function waits for its
/// slowest receiver, so this is shorter.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(10);

/// What became of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Done {
    /// The receiver has taken it.
    Delivered,
    /// It stays in the queue, which hands it out again later.
    Stays,
    /// It is a dead letter.
    GivenUp,
}

/// Delivers one message. A message that is no event becomes a dead letter: no repetition would change that.
pub(crate) async fn deliver(notifier: &Notifier, record: SqsMessage) -> Done {
    let Some(message) = Message::read(&record) else {
        let text = record.body.as_deref().unwrap_or_default();
        return give_up(notifier, text, record.message_id.as_deref(), "unreadable").await;
    };
    let began = notifier.clock.now();
    let sent = send(notifier, &message).await;
    let attempt = attempt(began, between(began, notifier.clock.now()), &sent);
    let answer = match &sent {
        Ok(response) => Answer::Status {
            status: response.status().as_u16(),
            retry_after: retry_after(response.headers()),
        },
        Err(_) => Answer::None,
    };
    let jitter = Jitter::new(fastrand::f64() * 2.0 - 1.0);
    let verdict = verdict(&notifier.retry_schedule, message.attempt, &answer, jitter);
    log(&message, &attempt, verdict);
    note(notifier, &message, &attempt, verdict).await;
    match verdict {
        Verdict::Delivered => Done::Delivered,
        Verdict::Retry(wait) => {
            notifier.queue.hide(&message.receipt, wait).await;
            Done::Stays
        }
        Verdict::GiveUp(why) => {
            give_up(notifier, &message.body, Some(&message.event_id.to_string()), why.as_str()).await
        }
    }
}

/// Sends the event to the merchant's URL.
async fn send(notifier: &Notifier, message: &Message) -> Result<Response<Bytes>, CallError> {
    let id = message.event_id.to_string();
    let timestamp = notifier.clock.now().as_second();
    let name = HeaderName::from_static;
    let mut request = Request::post(notifier.url.as_str())
        .header(header::CONTENT_TYPE, "application/json")
        .header(header::USER_AGENT, concat!("topup-tracker/", env!("CARGO_PKG_VERSION")))
        .header(name(HEADER_WEBHOOK_ID), &id)
        .header(name(HEADER_WEBHOOK_TIMESTAMP), timestamp)
        .header(name(HEADER_WEBHOOK_SIGNATURE), notifier.signer.sign(&id, timestamp, &message.body));
    if let Some(traceparent) = &message.traceparent {
        request = request.header(name("traceparent"), traceparent);
    }
    let request = request.body(Bytes::from(message.body.clone())).map_err(|_| CallError::NoUrl)?;
    notifier.http.post(request, notifier.timeout, Attempt::ANSWER_BYTES).await
}

fn attempt(at: jiff::Timestamp, took: Duration, sent: &Result<Response<Bytes>, CallError>) -> Attempt {
    let text = |response: &Response<Bytes>| String::from_utf8_lossy(response.body()).into_owned();
    Attempt {
        at,
        status: sent.as_ref().ok().map(|response| response.status().as_u16()),
        milliseconds: u32::try_from(took.as_millis()).unwrap_or(u32::MAX),
        error: sent.as_ref().err().map(ToString::to_string),
        answer: sent.as_ref().ok().map(text).filter(|text| !text.is_empty()),
    }
}

/// One line for each attempt that failed. The URL and the answer's body are not logged: they may hold a password.
fn log(message: &Message, attempt: &Attempt, verdict: Verdict) {
    let wait_seconds = match verdict {
        Verdict::Delivered => return,
        Verdict::Retry(wait) => Some(wait.as_secs()),
        Verdict::GiveUp(_) => None,
    };
    let Attempt { status, milliseconds, error, .. } = attempt;
    let (event, number, error) = (message.event_id.to_string(), message.attempt, error.as_deref());
    tracing::warn!(
        event,
        attempt = number,
        status,
        milliseconds,
        error,
        wait_seconds,
        "a webhook was not taken"
    );
}

/// Records the attempt. A failure is logged only: the event matters more than its record.
async fn note(notifier: &Notifier, message: &Message, attempt: &Attempt, verdict: Verdict) {
    let (state, next) = match verdict {
        Verdict::Delivered => (DeliveryState::Delivered, None),
        Verdict::Retry(wait) => (DeliveryState::Retrying, Some(later(notifier.clock.now(), wait))),
        Verdict::GiveUp(_) => (DeliveryState::Failed, None),
    };
    let Message { event_id, detail_type, .. } = message;
    if let Err(error) = notifier.store.record_attempt(event_id, detail_type, attempt, state, next).await {
        tracing::error!(event = %event_id, %error, "an attempt could not be recorded");
    }
}

/// Makes the event a dead letter. If that fails, it stays in the queue. `event`: its id, or that of the message.
async fn give_up(notifier: &Notifier, body: &str, event: Option<&str>, reason: &'static str) -> Done {
    tracing::error!(event, reason, "a webhook is given up");
    if notifier.queue.bury(body, reason).await { Done::GivenUp } else { Done::Stays }
}
