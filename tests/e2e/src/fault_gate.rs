//! Fault injection for a tracker's I/O: each request to AWS or the vendor passes a `Gate`, which can forward, hold or
//! answer it.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex},
};

use aws_smithy_runtime_api::{
    client::{
        http::{
            HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpClient,
            SharedHttpConnector,
        },
        orchestrator::{HttpRequest, HttpResponse},
        runtime_components::RuntimeComponents,
    },
    http::StatusCode,
};
use aws_smithy_types::body::SdkBody;
use futures_util::future::BoxFuture;
use serde_json::Value;

/// A request before it is sent.
#[derive(Clone, Debug)]
pub struct Request {
    /// AWS: the operation (`UpdateItem`); the vendor: `check-id`.
    pub operation: String,
    /// AWS: the body. The vendor: `{product}/{id}`.
    pub text: String,
}

/// The response to a request.
#[derive(Clone, Debug)]
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// Body.
    pub text: String,
}

/// What a gate does with a request.
#[derive(Debug)]
pub enum Passage {
    /// Sends it to AWS.
    Forward,
    /// Returns this answer without sending the request. Calls to the vendor must always be answered.
    Answered(Answer),
}

/// Called before each request is sent and again before its answer is returned. The tracker waits until the gate's
/// future completes; a gate that never completes simulates a crash at that point.
pub trait Gate: fmt::Debug + Send + Sync {
    /// Called before the request is sent.
    fn before<'a>(&'a self, request: &'a Request) -> BoxFuture<'a, Passage>;
    /// Called when the answer has arrived, before the tracker receives it.
    fn after<'a>(&'a self, request: &'a Request, answer: &'a Answer) -> BoxFuture<'a, ()>;
}

/// An event that EventBridge accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Published {
    /// `detail-type`.
    pub detail_type: String,
    /// `detail`, byte for byte as sent.
    pub detail: String,
}

impl Published {
    /// `event_id` of the detail.
    pub fn id(&self) -> String {
        let detail: Value = serde_json::from_str(&self.detail).unwrap();
        detail["event_id"].as_str().unwrap().to_owned()
    }
}

/// Events that EventBridge accepted, by order (`{product}/{id}`).
pub(crate) type PublishedEvents = Arc<Mutex<HashMap<String, Vec<Published>>>>;

/// The AWS SDKs' HTTP client behind a gate.
#[derive(Clone, Debug)]
pub(crate) struct GatedHttp {
    pub(crate) inner: SharedHttpClient,
    pub(crate) gate: Arc<dyn Gate>,
    pub(crate) published_events: PublishedEvents,
}

#[derive(Clone, Debug)]
struct GatedConnector {
    inner: SharedHttpConnector,
    gate: Arc<dyn Gate>,
    published_events: PublishedEvents,
}

impl HttpClient for GatedHttp {
    fn http_connector(
        &self,
        settings: &HttpConnectorSettings,
        components: &RuntimeComponents,
    ) -> SharedHttpConnector {
        SharedHttpConnector::new(GatedConnector {
            inner: self.inner.http_connector(settings, components),
            gate: self.gate.clone(),
            published_events: self.published_events.clone(),
        })
    }
}

impl HttpConnector for GatedConnector {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let Self { inner, gate, published_events } = self.clone();
        let target = request.headers().get("x-amz-target").unwrap_or_default();
        let request_info = Request {
            operation: target.rsplit('.').next().unwrap_or_default().to_owned(),
            text: text(request.body()),
        };
        HttpConnectorFuture::new(async move {
            let response = match gate.before(&request_info).await {
                Passage::Forward => inner.call(request).await?,
                Passage::Answered(answer) => HttpResponse::new(
                    StatusCode::try_from(answer.status).unwrap(),
                    SdkBody::from(answer.text),
                ),
            };
            let answer = Answer { status: response.status().as_u16(), text: text(response.body()) };
            if request_info.operation == "PutEvents" && answer.status == 200 {
                note_accepted(&request_info, &answer, &published_events);
            }
            gate.after(&request_info, &answer).await;
            Ok(response)
        })
    }
}

fn text(body: &SdkBody) -> String {
    String::from_utf8_lossy(body.bytes().unwrap_or_default()).into_owned()
}

/// Records the accepted entries of a `PutEvents` call; a call with status 200 may have rejected some of its entries.
fn note_accepted(request_info: &Request, answer: &Answer, published_events: &PublishedEvents) {
    let put: Value = serde_json::from_str(&request_info.text).unwrap();
    let results: Value = serde_json::from_str(&answer.text).unwrap();
    let entries = put["Entries"].as_array().unwrap().iter().zip(results["Entries"].as_array().unwrap());
    for (entry, _) in entries.filter(|(_, result)| result["EventId"].is_string()) {
        let detail_type = entry["DetailType"].as_str().unwrap().to_owned();
        let event = Published { detail_type, detail: entry["Detail"].as_str().unwrap().to_owned() };
        let id = event.id();
        let order = id.rsplit_once('#').map_or(id.as_str(), |(order, _)| order).to_owned();
        published_events.lock().unwrap().entry(order).or_default().push(event);
    }
}
