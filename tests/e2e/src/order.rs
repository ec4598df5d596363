//! One order, followed through a stack.

use std::time::Duration;

use serde_json::Value;

use crate::{Heard, Stack};

/// An order at the vendor's stand-in, and at the tracker under test.
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

    /// `PUT`: tracks it.
    pub async fn track(&self) -> Value {
        let (status, _, text) = self.stack.request("PUT", &format!("/orders/{}", self.key()), None).await;
        assert_eq!(status, 201, "{text}");
        serde_json::from_str(&text).unwrap()
    }

    /// `GET`: the order, as JSON text.
    pub async fn get_text(&self) -> String {
        let (status, _, text) = self.stack.request("GET", &format!("/orders/{}", self.key()), None).await;
        assert_eq!(status, 200, "{text}");
        text
    }

    /// `GET`: the order.
    pub async fn get(&self) -> Value {
        serde_json::from_str(&self.get_text().await).unwrap()
    }

    /// `GET …/history`: the events, of all pages.
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

    /// `GET …/card`: status and answer.
    pub async fn card(&self) -> (u16, Value) {
        let (status, _, text) =
            self.stack.request("GET", &format!("/orders/{}/card", self.key()), None).await;
        (status, serde_json::from_str(&text).unwrap())
    }

    /// Waits until it was published so.
    pub async fn wait_for(&self, kind: &str, seconds: u64) -> Heard {
        self.stack.bus.wait_for(&self.key(), kind, Duration::from_secs(seconds)).await
    }

    /// Asserts that exactly these events were published, by number, each under one id, and that the history holds them
    /// to the letter.
    pub async fn assert_events(&self, kinds: &[&str]) {
        assert_eq!(self.stack.bus.kinds(&self.key()), kinds, "{}", self.key());
        let history = self.history().await;
        for heard in self.stack.bus.events_of(&self.key()) {
            let seq = heard.detail["seq"].as_u64().unwrap() as usize;
            assert_eq!(history[seq - 1], heard.detail, "history and bus differ");
        }
        assert_eq!(history.len(), kinds.len());
    }
}
