//! A receiver of webhooks: keeps what arrives and answers 204, or what a test scripts for an order. Not part of the
//! vendor's API.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::{Json, Router, routing};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::answer::{Answer, Script, Written};
use crate::clock::text;
use crate::control::{BadCall, Shared, parse};
use crate::reply::{Envelope, Reply};
use crate::sandbox::Sandbox;

/// A webhook that has arrived.
#[derive(Clone, Serialize)]
pub(crate) struct Received {
    at: String,
    /// The order of the event; `None`: it is about no order.
    order: Option<String>,
    id: String,
    timestamp: String,
    signature: String,
    /// The body as it came.
    body: String,
    /// The status that it was answered with; `None`: it was not answered yet.
    answered: Option<u16>,
}

pub(crate) fn routes() -> Router<Arc<Sandbox>> {
    Router::new().route("/webhooks", routing::get(list)).route("/webhooks/script", routing::post(script))
}

/// Takes a webhook: `POST /receiver`.
pub(crate) async fn receive(State(sandbox): Shared, headers: HeaderMap, body: Bytes) -> Response {
    let header =
        |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned();
    let event: Value = serde_json::from_slice(&body).unwrap_or_default();
    let order = event.pointer("/detail/order/id").and_then(Value::as_str).map(str::to_owned);
    let (index, scripted) = {
        let mut state = sandbox.state();
        let scripted = order.as_ref().and_then(|order| state.webhook_scripts.get_mut(order)?.next());
        state.webhooks.push(Received {
            at: text(sandbox.now()),
            order,
            id: header("webhook-id"),
            timestamp: header("webhook-timestamp"),
            signature: header("webhook-signature"),
            body: String::from_utf8_lossy(&body).into_owned(),
            answered: None,
        });
        (state.webhooks.len() - 1, scripted.unwrap_or(Answer::Normal))
    };
    let taken = async {
        Reply::new(StatusCode::NO_CONTENT, HeaderValue::from_static("text/plain"), "taken", String::new())
    };
    let envelope = Envelope { product: None, now: sandbox.now() };
    let reply = scripted.play("webhook", sandbox.scale(), envelope, taken).await;
    if let Some(received) = sandbox.state().webhooks.get_mut(index) {
        received.answered = Some(reply.status.as_u16());
    }
    reply.into_response()
}

#[derive(Deserialize)]
struct Which {
    order: Option<String>,
}

#[derive(Serialize)]
struct List {
    webhooks: Vec<Received>,
}

async fn list(State(sandbox): Shared, Query(which): Query<Which>) -> Json<List> {
    let state = sandbox.state();
    let wanted = |received: &&Received| which.order.is_none() || received.order == which.order;
    Json(List { webhooks: state.webhooks.iter().filter(wanted).cloned().collect() })
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewScript {
    order: String,
    answers: Vec<Written>,
}

async fn script(State(sandbox): Shared, body: Bytes) -> Result<impl IntoResponse, BadCall> {
    let new: NewScript = parse(&body)?;
    let script = Script::try_from(new.answers)?;
    sandbox.state().webhook_scripts.insert(new.order, script);
    Ok(StatusCode::NO_CONTENT)
}
