//! Publishes events on the EventBridge bus, lowest `seq` first.

use aws_sdk_eventbridge::{
    Client,
    primitives::DateTime,
    types::{PutEventsRequestEntry, PutEventsResultEntry},
};

use jiff::Timestamp;

use crate::{
    aws::{Lazy, describe},
    order::{Event, SOURCE},
    rate_limiter::VendorEvent,
    telemetry::trace_header,
    webhook::RESEND_SOURCE,
};

/// `PutEvents` takes at most 10 entries (EventBridge quota) …
pub(crate) const MAX_ENTRIES: usize = 10;
/// … and 256 KiB in total. This counts details only, and leaves room for the other fields.
const MAX_BYTES: usize = 240 * 1024;

/// A client of one event bus.
#[derive(Clone, Debug)]
pub struct Publisher {
    client: Lazy<Client>,
    bus: String,
}

/// The result of publishing. Events that were not published stay in the outbox.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Published {
    /// `seq` of the last event that was published; all before it were published too. `None`: no event was.
    pub up_to: Option<u32>,
    /// How many events were published.
    pub count: usize,
    /// Why publishing stopped before the last event; `None`: it did not.
    pub stopped: Option<String>,
}

/// The fields of an event that go on the bus, for events about orders and about keys.
#[derive(Clone, Copy, Debug)]
pub struct Entry<'a> {
    seq: u32,
    detail_type: &'a str,
    occurred_at: Timestamp,
    detail: &'a str,
}

impl<'a> From<&'a Event> for Entry<'a> {
    fn from(event: &'a Event) -> Self {
        let Event { seq, detail_type, occurred_at, detail, .. } = event;
        Self { seq: *seq, detail_type, occurred_at: *occurred_at, detail }
    }
}

impl<'a> From<&'a VendorEvent> for Entry<'a> {
    fn from(event: &'a VendorEvent) -> Self {
        let VendorEvent { seq, detail_type, occurred_at, detail } = event;
        Self { seq: *seq, detail_type, occurred_at: *occurred_at, detail }
    }
}

impl Publisher {
    /// `bus`: name of the event bus.
    pub fn new(client: impl Into<Lazy<Client>>, bus: String) -> Self {
        Self { client: client.into(), bus }
    }

    /// Publishes `events`, which must be in ascending order. Stops after the first call with a failed entry: later
    /// entries of that call may have been delivered, and are published again.
    pub async fn publish<'a, E>(&self, events: &'a [E]) -> Published
    where
        Entry<'a>: From<&'a E>,
    {
        let mut published = Published::default();
        let events: Vec<Entry<'a>> = events.iter().map(Entry::from).collect();
        for chunk in chunks(&events) {
            let entries = chunk.iter().map(|event| self.entry(SOURCE, event)).collect();
            let results = match self.client.get().put_events().set_entries(Some(entries)).send().await {
                Ok(answer) => answer.entries.unwrap_or_default(),
                Err(error) => {
                    published.stopped = Some(describe(&error));
                    return published;
                }
            };
            for (index, event) in chunk.iter().enumerate() {
                if let Some(why) = refused(results.get(index)) {
                    published.stopped = Some(why);
                    return published;
                }
                published.up_to = Some(event.seq);
                published.count += 1;
            }
        }
        published
    }

    /// Publishes an event once more, for the webhooks only: with the source [`RESEND_SOURCE`].
    ///
    /// # Errors
    /// Why EventBridge did not take it.
    pub async fn resend(&self, event: Entry<'_>) -> Result<(), String> {
        let entry = self.entry(RESEND_SOURCE, &event);
        let sent = self.client.get().put_events().entries(entry).send().await;
        match refused(sent.map_err(|error| describe(&error))?.entries().first()) {
            None => Ok(()),
            Some(why) => Err(why),
        }
    }

    fn entry(&self, source: &str, event: &Entry<'_>) -> PutEventsRequestEntry {
        PutEventsRequestEntry::builder()
            .event_bus_name(&self.bus)
            .source(source)
            .detail_type(event.detail_type)
            .detail(event.detail)
            .set_trace_header(trace_header())
            .time(DateTime::from_millis(event.occurred_at.as_millisecond()))
            .build()
    }
}

/// The error of one entry. `PutEvents` may succeed as a call and still refuse single entries.
fn refused(result: Option<&PutEventsResultEntry>) -> Option<String> {
    let Some(result) = result else { return Some("EventBridge did not answer for this entry".to_owned()) };
    let code = result.error_code()?;
    Some(format!("{code}: {}", result.error_message().unwrap_or("no message")))
}

fn chunks<'a, 'b>(events: &'b [Entry<'a>]) -> Vec<Vec<&'b Entry<'a>>> {
    let mut chunks: Vec<Vec<&'b Entry<'a>>> = Vec::new();
    let mut bytes = 0;
    for event in events {
        let fits = bytes + event.detail.len() <= MAX_BYTES;
        match chunks.last_mut() {
            Some(last) if fits && last.len() < MAX_ENTRIES => last.push(event),
            _ => {
                bytes = 0;
                chunks.push(vec![event]);
            }
        }
        bytes += event.detail.len();
    }
    chunks
}

#[cfg(test)]
mod tests;
