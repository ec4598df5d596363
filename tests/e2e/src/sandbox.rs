//! A client of the vendor sandbox.

use std::collections::HashMap;

use clap::Parser;
use jiff::Timestamp;
use serde_json::{Value, json};
use shared::clock::Clock;
use tokio::net::TcpListener;

use crate::loopback;

/// A client of a sandbox's vendor API and of its control API.
#[derive(Clone, Debug)]
pub struct Sandbox {
    http: reqwest::Client,
    url: String,
    vendor_url: String,
    key: String,
}

impl Sandbox {
    pub(crate) fn new(http: reqwest::Client, env: &HashMap<String, String>) -> Self {
        Self {
            http,
            url: env["SANDBOX_URL"].clone(),
            vendor_url: env["ONECLICKDZ_BASE_URL"].clone(),
            key: env["ONECLICKDZ_API_KEY"].clone(),
        }
    }

    /// Starts a sandbox in the test's process. Tests that change the behaviour of lists need one: it applies to all
    /// callers. Its time is `clock`'s, so an order's course depends on the test alone, however slow the machine is.
    pub async fn own(clock: Clock) -> Self {
        const KEY: &str = "own-sandbox-key";
        let settings = sandbox::Settings::parse_from(["sandbox", "--api-key", KEY]);
        let listener = TcpListener::bind(settings.listen).await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let service = sandbox::service(sandbox::Sandbox::timed_by(move || clock.now(), settings));
        tokio::spawn(async move { axum::serve(listener, service).await });
        Self { http: loopback::client(), vendor_url: format!("{url}/v3"), url, key: KEY.to_owned() }
    }

    /// The settings that make a tracker call this sandbox.
    pub fn settings(&self) -> [(&str, &str); 2] {
        [("ONECLICKDZ_BASE_URL", &self.vendor_url), ("ONECLICKDZ_API_KEY", &self.key)]
    }

    /// Sends a mobile top-up. Returns the order's id.
    pub async fn send_mobile(&self, number: &str) -> String {
        let body = json!({"plan_code": "PREPAID_DJEZZY", "MSSIDN": number, "amount": 500});
        self.send("mobile", body).await
    }

    /// Sends an internet top-up. Returns the order's id.
    pub async fn send_internet(&self, kind: &str, number: &str) -> String {
        self.send("internet", json!({"type": kind, "number": number, "value": 1000})).await
    }

    async fn send(&self, product: &str, body: Value) -> String {
        let call =
            self.http.post(format!("{}/{product}/send", self.vendor_url)).header("X-Access-Token", &self.key);
        let text =
            call.body(body.to_string()).header("content-type", "application/json").send().await.unwrap();
        let answer: Value = serde_json::from_str(&text.text().await.unwrap()).unwrap();
        answer["data"]["topupId"].as_str().unwrap_or_else(|| panic!("{answer}")).to_owned()
    }

    /// Sends a top-up. Returns the order's id, or `None` if no answer came.
    pub async fn try_send(&self, product: &str, body: Value) -> Option<String> {
        let call =
            self.http.post(format!("{}/{product}/send", self.vendor_url)).header("X-Access-Token", &self.key);
        let call = call.body(body.to_string()).header("content-type", "application/json");
        let answer: Value = serde_json::from_str(&call.send().await.ok()?.text().await.ok()?).ok()?;
        answer["data"]["topupId"].as_str().map(str::to_owned)
    }

    /// Scripts the answers to the next sends with this `ref`. The sandbox still creates the orders.
    pub async fn script_sends(&self, reference: &str, answers: Value) {
        self.control("POST", "/sends/script", Some(json!({"ref": reference, "answers": answers}))).await;
    }

    /// Creates an order with a given id and timeline.
    pub async fn make_as(&self, id: &str, product: &str, timeline: Value) {
        let order = json!({"id": id, "product": product, "timeline": timeline});
        self.control("POST", "/orders", Some(order)).await;
    }

    /// Creates an order with a given timeline. Its steps have `after_seconds`, `status` and `fields`. Returns the
    /// order's id.
    pub async fn make(&self, product: &str, timeline: Value) -> String {
        let answer =
            self.control("POST", "/orders", Some(json!({"product": product, "timeline": timeline}))).await;
        answer["id"].as_str().unwrap_or_else(|| panic!("{answer}")).to_owned()
    }

    /// Gives the order this status from now on.
    pub async fn change_status(&self, id: &str, status: &str) {
        self.control("POST", &format!("/orders/{id}/status"), Some(json!({"status": status}))).await;
    }

    /// The order's true state from the control API.
    pub async fn truth(&self, id: &str) -> Value {
        self.control("GET", &format!("/orders/{id}"), None).await
    }

    /// The card codes of all orders.
    pub async fn card_codes(&self) -> Vec<String> {
        let answer = self.control("GET", "/orders", None).await;
        let orders = answer["orders"].as_array().unwrap().iter();
        orders.filter_map(|order| order["card_code"].as_str().map(str::to_owned)).collect()
    }

    /// The vendor's answer about an order, read with a separate API call; the sandbox counts this call too.
    pub async fn check(&self, product: &str, id: &str) -> Value {
        let call = self
            .http
            .get(format!("{}/{product}/check-id/{id}", self.vendor_url))
            .header("X-Access-Token", &self.key);
        serde_json::from_str(&call.send().await.unwrap().text().await.unwrap()).unwrap()
    }

    /// The webhooks about an order that its receiver has got, in the order of their arrival.
    pub async fn webhooks(&self, order: &str) -> Vec<Value> {
        let answer = self.control("GET", &format!("/webhooks?order={order}"), None).await;
        answer["webhooks"].as_array().unwrap().clone()
    }

    /// All webhooks that its receiver has got.
    pub async fn every_webhook(&self) -> Vec<Value> {
        self.control("GET", "/webhooks", None).await["webhooks"].as_array().unwrap().clone()
    }

    /// Scripts the receiver's answers to the next webhooks about an order.
    pub async fn script_webhooks(&self, order: &str, answers: Value) {
        self.control("POST", "/webhooks/script", Some(json!({"order": order, "answers": answers}))).await;
    }

    /// Scripts the order's next answers.
    pub async fn script(&self, id: &str, answers: Value) {
        self.control("POST", &format!("/orders/{id}/script"), Some(json!({"answers": answers}))).await;
    }

    /// Removes the order's script.
    pub async fn unscript(&self, id: &str) {
        self.control("DELETE", &format!("/orders/{id}/script"), None).await;
    }

    /// The times of all check calls about the order, ascending.
    pub async fn calls(&self, id: &str) -> Vec<Timestamp> {
        let answer = self.control("GET", &format!("/calls?order={id}"), None).await;
        let at = |call: &Value| call["at"].as_str().unwrap().parse().unwrap();
        answer["calls"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|call| call["endpoint"] != "mobile/send")
            .map(at)
            .collect()
    }

    /// Calls the control API.
    pub async fn control(&self, method: &str, path: &str, body: Option<Value>) -> Value {
        let mut call = self.http.request(method.parse().unwrap(), format!("{}/_sandbox{path}", self.url));
        if let Some(body) = body {
            call = call.header("content-type", "application/json").body(body.to_string());
        }
        let response = call.send().await.unwrap();
        assert!(response.status().is_success(), "{method} {path}: {}", response.status());
        serde_json::from_str(&response.text().await.unwrap()).unwrap_or_default()
    }
}
