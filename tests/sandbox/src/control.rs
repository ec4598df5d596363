//! The control API for tests under `/_sandbox`. It is not part of the vendor's API.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post};
use axum::{Json, Router};
use serde::{Deserialize, Serialize};

use crate::answer::{Answer, Script, Written};
use crate::calls::{Counts, Filter, Windows, count, count_windows};
use crate::clock::between;
use crate::fields::Fields;
use crate::list::{Change, Lists};
use crate::new_orders::{BODY_LIMIT_MANY, create, create_many};
use crate::numbers::{NUMBERS, Product};
use crate::order::Truth;
use crate::sandbox::Sandbox;
use crate::timeline::Step;

pub(crate) type Shared = State<Arc<Sandbox>>;

pub(crate) fn routes() -> Router<Arc<Sandbox>> {
    Router::new()
        .route("/health", get(async || Json(Fields::default().with("status", "ok"))))
        .route("/numbers", get(async || Json(NUMBERS)))
        .route("/orders", get(orders).post(create))
        .route("/orders/many", post(create_many).layer(DefaultBodyLimit::max(BODY_LIMIT_MANY)))
        .route("/orders/{id}", get(order))
        .route("/orders/{id}/status", post(change_status))
        .route("/orders/{id}/script", post(script).delete(unscript))
        .route("/sends/script", post(script_sends).delete(unscript_sends))
        .route("/lists", post(change_lists).delete(restore_lists))
        .route("/lists/script", post(script_lists).delete(unscript_lists))
        .route("/outage", post(outage).delete(end_outage))
        .route("/calls", get(calls).delete(forget_calls))
        .route("/calls/windows", get(windows))
        .route("/keys/{key}/revoke", post(revoke))
        .route("/keys/{key}/restore", post(restore))
        .route("/lockouts", delete(unlock))
}

/// An invalid control call: HTTP status and error text.
pub(crate) struct BadCall(pub(crate) StatusCode, pub(crate) String);

impl BadCall {
    fn unknown(id: &str) -> Self {
        Self(StatusCode::NOT_FOUND, format!("there is no order {id}"))
    }
}

impl IntoResponse for BadCall {
    fn into_response(self) -> Response {
        (self.0, Json(Fields::default().with("error", self.1))).into_response()
    }
}

impl From<String> for BadCall {
    fn from(complaint: String) -> Self {
        Self(StatusCode::BAD_REQUEST, complaint)
    }
}

/// Parses JSON with any content type, so that plain `curl -d` works.
pub(crate) fn parse<'a, T: Deserialize<'a>>(body: &'a Bytes) -> Result<T, BadCall> {
    serde_json::from_slice(body).map_err(|error| BadCall::from(error.to_string()))
}

#[derive(Serialize)]
struct Truths {
    orders: Vec<Truth>,
}

async fn orders(State(sandbox): Shared) -> Json<Truths> {
    let now = sandbox.now();
    Json(Truths { orders: sandbox.state().orders.values().map(|order| order.truth(now)).collect() })
}

async fn order(State(sandbox): Shared, Path(id): Path<String>) -> Result<Json<Truth>, BadCall> {
    let now = sandbox.now();
    let truth = sandbox.state().orders.get(&id).map(|order| order.truth(now));
    truth.map(Json).ok_or_else(|| BadCall::unknown(&id))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewStatus {
    status: String,
    #[serde(default)]
    fields: Fields,
}

async fn change_status(
    State(sandbox): Shared,
    Path(id): Path<String>,
    body: Bytes,
) -> Result<StatusCode, BadCall> {
    let new: NewStatus = parse(&body)?;
    let now = sandbox.now();
    let mut state = sandbox.state();
    let order = state.orders.get_mut(&id).ok_or_else(|| BadCall::unknown(&id))?;
    if order.shown(now).is_none() {
        return Err(BadCall::from(format!("the order {id} is not found yet: it has no status to change")));
    }
    order.timeline.end_with(Step::new(between(order.sent_at, now), &new.status).with(new.fields));
    Ok(StatusCode::NO_CONTENT)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewScript {
    answers: Vec<Written>,
}

async fn script(State(sandbox): Shared, Path(id): Path<String>, body: Bytes) -> Result<StatusCode, BadCall> {
    let script = Script::try_from(parse::<NewScript>(&body)?.answers)?;
    sandbox.state().scripts.insert(id, script);
    Ok(StatusCode::NO_CONTENT)
}

async fn unscript(State(sandbox): Shared, Path(id): Path<String>) -> StatusCode {
    sandbox.state().scripts.remove(&id);
    StatusCode::NO_CONTENT
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewSendScript {
    r#ref: Option<String>,
    answers: Vec<Written>,
}

async fn script_sends(State(sandbox): Shared, body: Bytes) -> Result<StatusCode, BadCall> {
    let new: NewSendScript = parse(&body)?;
    let script = Script::try_from(new.answers)?;
    sandbox.state().sends.insert(new.r#ref, script);
    Ok(StatusCode::NO_CONTENT)
}

async fn unscript_sends(State(sandbox): Shared) -> StatusCode {
    sandbox.state().sends.clear();
    StatusCode::NO_CONTENT
}

async fn change_lists(State(sandbox): Shared, body: Bytes) -> Result<StatusCode, BadCall> {
    let change: Change = parse(&body)?;
    sandbox.state().lists.change(change);
    Ok(StatusCode::NO_CONTENT)
}

async fn restore_lists(State(sandbox): Shared) -> StatusCode {
    sandbox.state().lists = Lists::default();
    StatusCode::NO_CONTENT
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewListScript {
    product: Option<Product>,
    answers: Vec<Written>,
}

async fn script_lists(State(sandbox): Shared, body: Bytes) -> Result<StatusCode, BadCall> {
    let new: NewListScript = parse(&body)?;
    let script = Script::try_from(new.answers)?;
    sandbox.state().list_scripts.insert(new.product, script);
    Ok(StatusCode::NO_CONTENT)
}

async fn unscript_lists(State(sandbox): Shared) -> StatusCode {
    sandbox.state().list_scripts.clear();
    StatusCode::NO_CONTENT
}

async fn outage(State(sandbox): Shared, body: Bytes) -> Result<StatusCode, BadCall> {
    let answer = Answer::try_from(parse::<Written>(&body)?)?;
    sandbox.state().outage = Some(answer);
    Ok(StatusCode::NO_CONTENT)
}

async fn end_outage(State(sandbox): Shared) -> StatusCode {
    sandbox.state().outage = None;
    StatusCode::NO_CONTENT
}

async fn calls(State(sandbox): Shared, Query(filter): Query<Filter>) -> Response {
    Json(count(&sandbox.state().calls, &filter)).into_response()
}

async fn windows(State(sandbox): Shared, Query(windows): Query<Windows>) -> Json<Counts> {
    Json(count_windows(&sandbox.state().calls, &windows))
}

async fn forget_calls(State(sandbox): Shared) -> StatusCode {
    sandbox.state().calls.clear();
    StatusCode::NO_CONTENT
}

async fn revoke(State(sandbox): Shared, Path(key): Path<String>) -> StatusCode {
    sandbox.change_key(&key, |sandbox| sandbox.state().gate.revoke(&key))
}

async fn restore(State(sandbox): Shared, Path(key): Path<String>) -> StatusCode {
    sandbox.change_key(&key, |sandbox| sandbox.state().gate.restore(&key))
}

async fn unlock(State(sandbox): Shared) -> StatusCode {
    sandbox.state().gate.unlock();
    StatusCode::NO_CONTENT
}

impl Sandbox {
    fn change_key(&self, key: &str, change: impl FnOnce(&Self)) -> StatusCode {
        if !self.settings.api_keys.iter().any(|known| known == key) {
            return StatusCode::NOT_FOUND;
        }
        change(self);
        StatusCode::NO_CONTENT
    }
}
