//! The control API, for tests: not the vendor's.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post};
use axum::{Json, Router};
use serde::{Deserialize, Serialize};

use crate::answer::{Answer, Script, Written};
use crate::calls::{Counts, Filter, Windows, count, count_windows};
use crate::fields::Fields;
use crate::numbers::{NUMBERS, Product};
use crate::order::{Order, Truth};
use crate::sandbox::Sandbox;
use crate::timeline::Step;

type Shared = State<Arc<Sandbox>>;

pub(crate) fn routes() -> Router<Arc<Sandbox>> {
    Router::new()
        .route("/health", get(async || Json(Fields::default().with("status", "ok"))))
        .route("/numbers", get(async || Json(NUMBERS)))
        .route("/orders", get(orders).post(create))
        .route("/orders/{id}", get(order))
        .route("/orders/{id}/script", post(script).delete(unscript))
        .route("/sends/script", post(script_sends).delete(unscript_sends))
        .route("/outage", post(outage).delete(end_outage))
        .route("/calls", get(calls).delete(forget_calls))
        .route("/calls/windows", get(windows))
        .route("/keys/{key}/revoke", post(revoke))
        .route("/keys/{key}/restore", post(restore))
        .route("/lockouts", delete(unlock))
}

/// A control call that makes no sense.
struct Wrong(StatusCode, String);

impl IntoResponse for Wrong {
    fn into_response(self) -> Response {
        (self.0, Json(Fields::default().with("error", self.1))).into_response()
    }
}

impl From<String> for Wrong {
    fn from(complaint: String) -> Self {
        Self(StatusCode::BAD_REQUEST, complaint)
    }
}

/// Parses whatever the content type says, so that plain `curl -d` works.
fn parse<'a, T: Deserialize<'a>>(body: &'a Bytes) -> Result<T, Wrong> {
    serde_json::from_slice(body).map_err(|error| Wrong::from(error.to_string()))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewOrder {
    product: Product,
    id: Option<String>,
    number: Option<String>,
    plan_code: Option<String>,
    r#type: Option<String>,
    r#ref: Option<String>,
    amount: Option<f64>,
    timeline: Vec<NewStep>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewStep {
    after_seconds: f64,
    status: String,
    #[serde(default)]
    fields: Fields,
}

impl NewStep {
    fn step(self) -> Result<Step, String> {
        let after = Duration::try_from_secs_f64(self.after_seconds);
        let after = after.map_err(|_| "after_seconds is a number from 0".to_owned())?;
        Ok(Step::new(after, &self.status).with(self.fields))
    }
}

#[derive(Serialize)]
struct Created {
    id: String,
}

async fn create(State(sandbox): Shared, body: Bytes) -> Result<(StatusCode, Json<Created>), Wrong> {
    let new: NewOrder = parse(&body)?;
    let steps = new.timeline.into_iter().map(NewStep::step).collect::<Result<_, _>>()?;
    let timeline = sandbox.timeline(steps)?;
    let sent_at = sandbox.now();
    let mut state = sandbox.state();
    let id = new.id.unwrap_or_else(|| state.new_id(sent_at));
    if state.orders.contains_key(&id) {
        return Err(Wrong(StatusCode::CONFLICT, format!("there is an order {id} already")));
    }
    let order = Order {
        id: id.clone(),
        product: new.product,
        reference: new.r#ref,
        number: new.number,
        offer: new.plan_code.or(new.r#type),
        amount: new.amount,
        sent_at,
        visible_after: Duration::ZERO,
        timeline,
        calls: 0,
    };
    state.insert(order);
    Ok((StatusCode::CREATED, Json(Created { id })))
}

#[derive(Serialize)]
struct Truths {
    orders: Vec<Truth>,
}

async fn orders(State(sandbox): Shared) -> Json<Truths> {
    let now = sandbox.now();
    Json(Truths { orders: sandbox.state().orders.values().map(|order| order.truth(now)).collect() })
}

async fn order(State(sandbox): Shared, Path(id): Path<String>) -> Result<Json<Truth>, Wrong> {
    let now = sandbox.now();
    let truth = sandbox.state().orders.get(&id).map(|order| order.truth(now));
    truth.map(Json).ok_or_else(|| Wrong(StatusCode::NOT_FOUND, format!("there is no order {id}")))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewScript {
    answers: Vec<Written>,
}

async fn script(State(sandbox): Shared, Path(id): Path<String>, body: Bytes) -> Result<StatusCode, Wrong> {
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

async fn script_sends(State(sandbox): Shared, body: Bytes) -> Result<StatusCode, Wrong> {
    let new: NewSendScript = parse(&body)?;
    let script = Script::try_from(new.answers)?;
    sandbox.state().sends.insert(new.r#ref, script);
    Ok(StatusCode::NO_CONTENT)
}

async fn unscript_sends(State(sandbox): Shared) -> StatusCode {
    sandbox.state().sends.clear();
    StatusCode::NO_CONTENT
}

async fn outage(State(sandbox): Shared, body: Bytes) -> Result<StatusCode, Wrong> {
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
