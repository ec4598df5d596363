//! The programs measured: how to start them, and the events to send.

use std::{collections::BTreeMap, path::PathBuf};

use serde::Deserialize;
use serde_json::{Value, json};

use crate::stand_ins::{ASKED_ORDER, FINAL_ORDER, TOKEN, page_path};

/// A program that runs under the Runtime API.
#[derive(Clone, Debug, Deserialize)]
pub struct Subject {
    /// Name in the results.
    pub name: String,
    /// Program and arguments.
    pub command: Vec<String>,
    /// Working directory.
    pub folder: PathBuf,
    /// Events to send.
    pub job: Job,
    /// True: our function, with our settings. False: a peer.
    #[serde(default)]
    pub ours: bool,
    /// Whether to count instructions: valgrind needs compiled programs.
    #[serde(default)]
    pub counted: bool,
    /// Additional environment variables.
    #[serde(default)]
    pub environment: BTreeMap<String, String>,
}

/// What a subject does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Job {
    /// Nothing: the lower bound.
    Hello,
    /// Starts and gets no call.
    Start,
    /// Status requests through API Gateway.
    Status,
    /// Ticks of the wait loop.
    Poll,
    /// Rechecks.
    Recheck,
    /// Webhooks.
    Notify,
    /// The tracking page.
    Page,
}

/// One kind of call.
#[derive(Clone, Debug)]
pub struct Call {
    /// Name in the results.
    pub name: &'static str,
    /// The event.
    pub event: Value,
    /// Text that the answer must contain; a wrong answer is an error.
    pub answer: &'static str,
}

impl Job {
    /// The calls of this job. The first is also measured warm.
    pub fn calls(self) -> Vec<Call> {
        match self {
            Self::Start => Vec::new(),
            Self::Hello => vec![Call { name: "hello", event: json!({"name": "bench"}), answer: "ello" }],
            Self::Status => vec![
                Call { name: "final order", event: get_order(FINAL_ORDER), answer: "FULFILLED" },
                Call { name: "asks the vendor", event: get_order(ASKED_ORDER), answer: "FULFILLED" },
            ],
            Self::Page => vec![
                Call {
                    name: "order in flight",
                    event: get(&page_path(ASKED_ORDER)),
                    answer: "We have received your order",
                },
                Call {
                    name: "final order",
                    event: get(&page_path(FINAL_ORDER)),
                    answer: "Your top-up is delivered",
                },
            ],
            Self::Poll => vec![Call {
                name: "asks the vendor",
                event: json!({"product": "mobile", "id": ASKED_ORDER}),
                answer: "FULFILLED",
            }],
            Self::Notify => vec![Call {
                name: "delivers an event",
                event: serde_json::from_str(WEBHOOK).unwrap_or_default(),
                answer: "\"batchItemFailures\":[]",
            }],
            Self::Recheck => {
                vec![Call { name: "nothing is due", event: json!({}), answer: "\"remaining\":0" }]
            }
        }
    }
}

/// An event in the queue of the webhooks.
const WEBHOOK: &str = include_str!("../../../events/notify-queue.json");

/// A status request.
fn get_order(order: &str) -> Value {
    get(&format!("/orders/mobile/{order}"))
}

/// A `GET` as API Gateway gives it to a function (HTTP API, payload format 2.0).
fn get(path: &str) -> Value {
    json!({
        "version": "2.0",
        "routeKey": "$default",
        "rawPath": path,
        "rawQueryString": "",
        "headers": {
            "accept": "*/*", "accept-language": "en", "authorization": format!("Bearer {TOKEN}"),
            "content-length": "0",
            "host": "abcdefghij.execute-api.eu-west-3.amazonaws.com", "user-agent": "curl/8.5.0",
            "x-amzn-trace-id": "Root=1-68a1b2c3-1234567890abcdef12345678", "x-forwarded-for": "203.0.113.7",
            "x-forwarded-port": "443", "x-forwarded-proto": "https"
        },
        "requestContext": {
            "accountId": "123456789012", "apiId": "abcdefghij",
            "domainName": "abcdefghij.execute-api.eu-west-3.amazonaws.com", "domainPrefix": "abcdefghij",
            "http": {
                "method": "GET", "path": path, "protocol": "HTTP/1.1", "sourceIp": "203.0.113.7",
                "userAgent": "curl/8.5.0"
            },
            "requestId": "JKJaXmPLvHcESHA=", "routeKey": "$default", "stage": "$default",
            "time": "22/Nov/2026:09:00:00 +0000", "timeEpoch": 1795338000000i64
        },
        "isBase64Encoded": false
    })
}
