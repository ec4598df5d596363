//! An ear on the bus: a queue hears every event, and a thread keeps what it hears.

use std::{
    io::Write,
    sync::{Arc, Mutex},
    time::Duration,
};

use serde_json::Value;
use shared::aws::{AwsEnvironment, sdk_config};

use crate::wait_until;

/// An event as it was on the bus.
#[derive(Clone, Debug)]
pub struct Heard {
    /// `detail-type`.
    pub kind: String,
    /// `detail`.
    pub detail: Value,
}

impl Heard {
    /// `event_id` of the detail.
    pub fn id(&self) -> &str {
        self.detail["event_id"].as_str().unwrap_or_default()
    }
}

/// Everything heard so far.
#[derive(Debug)]
pub struct Bus {
    heard: Arc<Mutex<Vec<Heard>>>,
}

impl Bus {
    /// Listens for as long as the process lives, and writes down what it hears beside the logs.
    pub(crate) fn listen(aws: AwsEnvironment, queue: String, log_dir: &str) -> Self {
        let heard = Arc::new(Mutex::new(Vec::new()));
        let ears = heard.clone();
        let file = format!("{log_dir}/events-heard.jsonl");
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async move {
                let client =
                    aws_sdk_sqs::Client::new(&sdk_config(&aws, shared::http::Http::new(&[]).unwrap()));
                loop {
                    hear(&client, &queue, &ears, &file).await;
                }
            });
        });
        Self { heard }
    }

    /// The events of an order, in the order heard, each as often as it came.
    pub fn events_of(&self, order: &str) -> Vec<Heard> {
        let of_order = |event: &&Heard| event.id().rsplit_once('#').is_some_and(|(of, _)| of == order);
        self.heard.lock().unwrap().iter().filter(of_order).cloned().collect()
    }

    /// Waits for an event of an order.
    pub async fn wait_for(&self, order: &str, kind: &str, limit: Duration) -> Heard {
        let what = format!("{kind} of {order}; heard {:?}", self.kinds(order));
        wait_until(&what, limit, || async {
            self.events_of(order).into_iter().find(|event| event.kind == kind)
        })
        .await
    }

    /// Kinds of an order's events by `seq`, each event once; a repeat must be the same to the letter.
    pub fn kinds(&self, order: &str) -> Vec<String> {
        let mut events = self.events_of(order);
        events.sort_by_key(|event| event.detail["seq"].as_u64());
        for pair in events.windows(2) {
            if pair[0].id() == pair[1].id() {
                assert_eq!(pair[0].detail, pair[1].detail, "the same event_id with another detail");
            }
        }
        events.dedup_by(|a, b| a.id() == b.id());
        events.into_iter().map(|event| event.kind).collect()
    }
}

async fn hear(client: &aws_sdk_sqs::Client, queue: &str, ears: &Mutex<Vec<Heard>>, file: &str) {
    let call = client.receive_message().queue_url(queue).max_number_of_messages(10).wait_time_seconds(1);
    let Ok(answer) = call.send().await else {
        return tokio::time::sleep(Duration::from_millis(200)).await;
    };
    for message in answer.messages.unwrap_or_default() {
        let event: Value = serde_json::from_str(message.body().unwrap_or_default()).unwrap_or_default();
        if let Ok(mut file) = std::fs::OpenOptions::new().create(true).append(true).open(file) {
            let _ = writeln!(file, "{event}");
        }
        let kind = event["detail-type"].as_str().unwrap_or_default().to_owned();
        ears.lock().unwrap().push(Heard { kind, detail: event["detail"].clone() });
        if let Some(receipt) = message.receipt_handle() {
            let _ = client.delete_message().queue_url(queue).receipt_handle(receipt).send().await;
        }
    }
}
