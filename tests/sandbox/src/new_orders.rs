//! Orders that tests create through the control API.

use std::collections::HashSet;
use std::time::Duration;

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::StatusCode;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::control::{BadCall, Shared, parse};
use crate::fields::Fields;
use crate::numbers::Product;
use crate::order::Order;
use crate::sandbox::{Sandbox, State as Known};
use crate::timeline::Step;

/// Body limit, enough for 10,000 orders.
pub(crate) const BODY_LIMIT_MANY: usize = 8 * 1024 * 1024;

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
    sent_at: Option<Timestamp>,
    timeline: Vec<NewStep>,
}

impl NewOrder {
    /// The order; its id is empty if it is to be generated.
    fn order(self, sandbox: &Sandbox) -> Result<Order, String> {
        let steps = self.timeline.into_iter().map(NewStep::step).collect::<Result<_, _>>()?;
        let now = sandbox.now();
        let sent_at = self.sent_at.unwrap_or(now);
        if !(Timestamp::UNIX_EPOCH..=now).contains(&sent_at) {
            return Err("sent_at must be between 1970 and now".to_owned());
        }
        Ok(Order {
            id: self.id.unwrap_or_default(),
            product: self.product,
            reference: self.r#ref,
            number: self.number,
            offer: self.plan_code.or(self.r#type),
            amount: self.amount,
            sent_at,
            visible_after: Duration::ZERO,
            timeline: sandbox.timeline(steps)?,
            calls: 0,
        })
    }
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
        let after = after.map_err(|_| "after_seconds must be a number from 0".to_owned())?;
        Ok(Step::new(after, &self.status).with(self.fields))
    }
}

#[derive(Serialize)]
pub(crate) struct Created {
    id: String,
}

pub(crate) async fn create(
    State(sandbox): Shared,
    body: Bytes,
) -> Result<(StatusCode, Json<Created>), BadCall> {
    let order = parse::<NewOrder>(&body)?.order(&sandbox)?;
    let mut state = sandbox.state();
    let order = state.named(order)?;
    let id = order.id.clone();
    state.insert(order);
    Ok((StatusCode::CREATED, Json(Created { id })))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewOrders {
    orders: Vec<NewOrder>,
}

#[derive(Serialize)]
pub(crate) struct CreatedMany {
    ids: Vec<String>,
}

/// Creates all orders, or none if one is invalid.
pub(crate) async fn create_many(
    State(sandbox): Shared,
    body: Bytes,
) -> Result<(StatusCode, Json<CreatedMany>), BadCall> {
    let new = parse::<NewOrders>(&body)?.orders;
    let mut state = sandbox.state();
    let (mut orders, mut ids) = (Vec::with_capacity(new.len()), Vec::with_capacity(new.len()));
    let mut taken = HashSet::new();
    for (place, new) in new.into_iter().enumerate() {
        let wrong = |BadCall(status, complaint)| BadCall(status, format!("orders[{place}]: {complaint}"));
        let order = new.order(&sandbox).map_err(BadCall::from).and_then(|order| state.named(order));
        let order = order.map_err(wrong)?;
        if !taken.insert(order.id.clone()) {
            return Err(wrong(BadCall::twice(&order.id)));
        }
        ids.push(order.id.clone());
        orders.push(order);
    }
    orders.into_iter().for_each(|order| state.insert(order));
    Ok((StatusCode::CREATED, Json(CreatedMany { ids })))
}

impl Known {
    /// Gives the order a generated id if it has none. Fails if the id exists.
    fn named(&mut self, order: Order) -> Result<Order, BadCall> {
        let id = if order.id.is_empty() { self.new_id(order.sent_at) } else { order.id };
        if self.orders.contains_key(&id) {
            return Err(BadCall::twice(&id));
        }
        Ok(Order { id, ..order })
    }
}

impl BadCall {
    fn twice(id: &str) -> Self {
        Self(StatusCode::CONFLICT, format!("there is an order {id} already"))
    }
}
