//! Publishing events on the bus, lowest `seq` first.

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
};

/// One `PutEvents` takes ten entries (EventBridge quotas) …
const MAX_ENTRIES: usize = 10;
/// … and 256 KiB in all; this leaves room for what is not the detail.
const MAX_BYTES: usize = 240 * 1024;

/// Puts events on the bus.
#[derive(Clone, Debug)]
pub struct Publisher {
    client: Lazy<Client>,
    bus: String,
}

/// How far publishing came. What is not out stays in the outbox.
#[derive(Debug, PartialEq, Eq)]
pub struct Published {
    /// Number of the last event that is out, and all before it.
    pub up_to: Option<u32>,
    /// How many went out.
    pub count: usize,
    /// Why it stopped before the end.
    pub stopped: Option<String>,
}

/// What is put on the bus of an event, whatever it is about.
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
    /// `bus`: the event bus by name.
    pub fn new(client: impl Into<Lazy<Client>>, bus: String) -> Self {
        Self { client: client.into(), bus }
    }

    /// Publishes `events`, which are ascending, and stops after the call in which one did not go out: what came after it in
    /// that call may be heard before it, and again.
    pub async fn publish<'a, E>(&self, events: &'a [E]) -> Published
    where
        Entry<'a>: From<&'a E>,
    {
        let mut published = Published { up_to: None, count: 0, stopped: None };
        let events: Vec<Entry<'a>> = events.iter().map(Entry::from).collect();
        for chunk in chunks(&events) {
            let entries = chunk.iter().map(|event| self.entry(event)).collect();
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

    fn entry(&self, event: &Entry<'_>) -> PutEventsRequestEntry {
        PutEventsRequestEntry::builder()
            .event_bus_name(&self.bus)
            .source(SOURCE)
            .detail_type(event.detail_type)
            .detail(event.detail)
            .time(DateTime::from_millis(event.occurred_at.as_millisecond()))
            .build()
    }
}

/// Why an entry did not go out. A call that succeeds may still refuse entries, one by one.
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
