//! The queue of events, and that of its dead letters.

use std::time::Duration;

use aws_sdk_sqs::{Client, types::MessageAttributeValue};
use shared::aws::{Lazy, describe};

/// The two queues.
#[derive(Clone, Debug)]
pub(crate) struct Queue {
    /// Created at the first attempt that fails: most invocations need none.
    pub(crate) client: Lazy<Client>,
    pub(crate) url: String,
    pub(crate) dead_letters_url: String,
}

impl Queue {
    /// Hides a message for `wait`, in whole seconds, rounded up. If that fails, the message comes back after the
    /// queue's own visibility timeout: sooner or later than planned, but it comes.
    pub(crate) async fn hide(&self, receipt: &str, wait: Duration) {
        let seconds = wait.as_millis().div_ceil(1000);
        let change =
            self.client.get().change_message_visibility().queue_url(&self.url).receipt_handle(receipt);
        let sent = change.visibility_timeout(i32::try_from(seconds).unwrap_or(i32::MAX)).send().await;
        if let Err(error) = sent {
            tracing::warn!(error = describe(&error), "the time of the next attempt could not be set");
        }
    }

    /// Adds a dead letter with its reason. False if that failed.
    pub(crate) async fn bury(&self, body: &str, reason: &'static str) -> bool {
        let reason = MessageAttributeValue::builder().data_type("String").string_value(reason).build();
        let Ok(reason) = reason else { return false };
        let letter = self.client.get().send_message().queue_url(&self.dead_letters_url).message_body(body);
        let sent = letter.message_attributes("reason", reason).send().await;
        sent.inspect_err(|error| tracing::error!(error = describe(error), "a dead letter could not be sent"))
            .is_ok()
    }
}
