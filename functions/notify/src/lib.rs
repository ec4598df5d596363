//! Webhooks: sends each event of the queue to the merchant's URL, signed by the Standard Webhooks specification.
//!
//! One path for each message: read, sign, send, decide, record, then tell the queue. The queue keeps the time between
//! attempts; its receive count is the number of the attempt.

mod deliver;
mod message;
mod queue;
mod signer;
mod start;

use aws_lambda_events::sqs::{BatchItemFailure, SqsBatchResponse, SqsEvent};
use futures_util::future::join_all;
use shared::telemetry::Summary;

pub use start::{Notifier, StartError};

use deliver::Done;

/// Sends the events of a batch, all at the same time. Names the messages that stay in the queue.
pub async fn handle(notifier: &Notifier, event: SqsEvent) -> SqsBatchResponse {
    let count = event.records.len();
    notifier.signer.refresh(notifier.clock.now()).await;
    let deliveries = event.records.into_iter().map(|record| async {
        let id = record.message_id.clone().unwrap_or_default();
        (id, deliver::deliver(notifier, record).await)
    });
    let done = join_all(deliveries).await;
    let of = |kind: Done| done.iter().filter(|(_, done)| *done == kind).count();
    Summary::new("notify")
        .field("events", count)
        .count("webhooks_delivered", of(Done::Delivered))
        .count("webhooks_retried", of(Done::Stays))
        .count("webhooks_given_up", of(Done::GivenUp))
        .log(notifier.clock.now());
    let stays = done.into_iter().filter(|(_, done)| *done == Done::Stays);
    let mut response = SqsBatchResponse::default();
    response.batch_item_failures = stays
        .map(|(id, _)| {
            let mut failure = BatchItemFailure::default();
            failure.item_identifier = id;
            failure
        })
        .collect();
    response
}

#[cfg(test)]
mod tests;
