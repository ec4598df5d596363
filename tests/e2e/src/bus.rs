//! Records every event of a stack's bus: a rule sends them to an SQS queue, and a thread polls the queue.

use std::{
    io::Write,
    sync::{Arc, Mutex, OnceLock},
    time::Duration,
};

use serde_json::Value;
use shared::{aws::AwsEnvironment, http::Http};

use crate::{stack::without_timeouts, wait_until};

/// An event received from the bus.
#[derive(Clone, Debug)]
pub struct BusEvent {
    /// `detail-type`.
    pub kind: String,
    /// `detail`.
    pub detail: Value,
}

impl BusEvent {
    /// `event_id` of the detail.
    pub fn id(&self) -> &str {
        self.detail["event_id"].as_str().unwrap_or_default()
    }
}

/// All events received so far. Only one process of a stack may ask for them: it empties the queue.
#[derive(Debug)]
pub struct Bus {
    aws: AwsEnvironment,
    queue: String,
    file: String,
    events: OnceLock<Arc<Mutex<Vec<BusEvent>>>>,
}

impl Bus {
    pub(crate) fn new(aws: AwsEnvironment, queue: String, log_dir: &str) -> Self {
        Self { aws, queue, file: format!("{log_dir}/bus-events.jsonl"), events: OnceLock::new() }
    }

    /// At first starts the thread, which runs until the process ends and also appends each event to `bus-events.jsonl`.
    fn events(&self) -> &Mutex<Vec<BusEvent>> {
        self.events.get_or_init(|| self.listen())
    }

    fn listen(&self) -> Arc<Mutex<Vec<BusEvent>>> {
        let events = Arc::new(Mutex::new(Vec::new()));
        let received = events.clone();
        let (aws, queue, file) = (self.aws.clone(), self.queue.clone(), self.file.clone());
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async move {
                let config = without_timeouts(&aws, Http::new(&[]).unwrap());
                let client = aws_sdk_sqs::Client::new(&config);
                loop {
                    receive(&client, &queue, &received, &file).await;
                }
            });
        });
        events
    }

    /// The events of an order in order of arrival, duplicates included.
    pub fn events_of(&self, order: &str) -> Vec<BusEvent> {
        let of_order = |event: &&BusEvent| event.id().rsplit_once('#').is_some_and(|(of, _)| of == order);
        self.events().lock().unwrap().iter().filter(of_order).cloned().collect()
    }

    /// Waits for an event of an order. Panics after `limit` (see `wait_until`).
    pub async fn wait_for(&self, order: &str, kind: &str, limit: Duration) -> BusEvent {
        let what = format!("{kind} of {order}; received {:?}", self.kinds(order));
        wait_until(&what, limit, || async {
            self.events_of(order).into_iter().find(|event| event.kind == kind)
        })
        .await
    }

    /// The types of an order's events, ascending by `seq`, duplicates removed. Panics if two copies of an event differ.
    pub fn kinds(&self, order: &str) -> Vec<String> {
        let mut events = self.events_of(order);
        events.sort_by_key(|event| event.detail["seq"].as_u64());
        for pair in events.windows(2) {
            if pair[0].id() == pair[1].id() {
                assert_eq!(pair[0].detail, pair[1].detail, "two events with one event_id differ");
            }
        }
        events.dedup_by(|a, b| a.id() == b.id());
        events.into_iter().map(|event| event.kind).collect()
    }
}

async fn receive(client: &aws_sdk_sqs::Client, queue: &str, received: &Mutex<Vec<BusEvent>>, file: &str) {
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
        received.lock().unwrap().push(BusEvent { kind, detail: event["detail"].clone() });
        if let Some(receipt) = message.receipt_handle() {
            let _ = client.delete_message().queue_url(queue).receipt_handle(receipt).send().await;
        }
    }
}
