//! One order of a deployed stack.

use std::time::Duration;

use serde_json::Value;

use crate::{BusEvent, Stack};

/// An order that exists at the sandbox and is tracked by the stack.
#[derive(Debug)]
pub struct TestOrder<'a> {
    pub(crate) stack: &'a Stack,
    pub(crate) product: &'static str,
    /// The vendor's id.
    pub id: String,
}

impl TestOrder<'_> {
    /// `{product}/{id}`.
    pub fn key(&self) -> String {
        format!("{}/{}", self.product, self.id)
    }

    /// `PUT /orders/{key}`: tracks the order. Panics unless the answer is 201.
    pub async fn track(&self) -> Value {
        let (status, _, text) = self.stack.request("PUT", &format!("/orders/{}", self.key()), None).await;
        assert_eq!(status, 201, "{text}");
        serde_json::from_str(&text).unwrap()
    }

    /// `GET /orders/{key}`: the answer's text. Panics unless the status is 200.
    pub async fn get_text(&self) -> String {
        let (status, _, text) = self.stack.request("GET", &format!("/orders/{}", self.key()), None).await;
        assert_eq!(status, 200, "{text}");
        text
    }

    /// `GET /orders/{key}`, parsed.
    pub async fn get(&self) -> Value {
        serde_json::from_str(&self.get_text().await).unwrap()
    }

    /// `GET /orders/{key}/history`: the events of all pages.
    pub async fn history(&self) -> Vec<Value> {
        let mut events = Vec::new();
        let mut after = Some(0);
        while let Some(number) = after {
            let path = format!("/orders/{}/history?after={number}", self.key());
            let (status, _, text) = self.stack.request("GET", &path, None).await;
            assert_eq!(status, 200, "{text}");
            let mut page: Value = serde_json::from_str(&text).unwrap();
            events.append(page["events"].as_array_mut().unwrap());
            after = page["next"].as_u64();
        }
        events
    }

    /// `GET /orders/{key}/card`: the HTTP status and the answer.
    pub async fn card(&self) -> (u16, Value) {
        let (status, _, text) =
            self.stack.request("GET", &format!("/orders/{}/card", self.key()), None).await;
        (status, serde_json::from_str(&text).unwrap())
    }

    /// Waits until an event of type `kind` is received from the bus. `seconds`: the limit on a quiet machine.
    pub async fn wait_for(&self, kind: &str, seconds: u64) -> BusEvent {
        self.stack.bus.wait_for(&self.key(), kind, Duration::from_secs(seconds)).await
    }

    /// Asserts that exactly these event types were published in this order, and that the history holds the same
    /// details.
    pub async fn assert_events(&self, kinds: &[&str]) {
        assert_eq!(self.stack.bus.kinds(&self.key()), kinds, "{}", self.key());
        let history = self.history().await;
        for event in self.stack.bus.events_of(&self.key()) {
            let seq = event.detail["seq"].as_u64().unwrap() as usize;
            assert_eq!(history[seq - 1], event.detail, "history and bus differ at this event");
        }
        assert_eq!(history.len(), kinds.len());
    }
}
