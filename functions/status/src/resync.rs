//! Calls about resyncs: starting, reading and stopping jobs. The walk itself is made by the recheck.

use aws_lambda_events::apigw::ApiGatewayV2httpRequest;
use jiff::Timestamp;
use serde::Serialize;
use serde_json::{Map, Value};
use shared::{
    order::{Amount, OrderId, Product},
    refresh::Tracker,
    resync::MAX_WINDOW,
    store::{JobCursor, ResyncJob, UnregisteredOrder},
    time::between,
};

use crate::{
    answer::Answer,
    deliveries::store_failed,
    route::{self, MAX_LIMIT, bad, limit, parameters},
};

/// A body, for problems.
const SAMPLE: &str = r#"{"product": "mobile", "from": "2026-11-01T00:00:00Z", "to": "2026-11-02T00:00:00Z"}"#;

/// A page of the jobs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct JobList {
    /// The page starts after this place; `None`: at the newest job.
    pub(crate) cursor: Option<JobCursor>,
    /// Maximum number of jobs, 1 to 100.
    pub(crate) limit: u32,
}

impl JobList {
    /// Parses a query. Other parameters are ignored; of a repeated one, the last counts.
    pub(crate) fn parse(query: &str) -> Result<Self, Answer> {
        let mut list = Self { cursor: None, limit: MAX_LIMIT };
        for (name, value) in parameters(query) {
            match name {
                "cursor" => list.cursor = Some(JobCursor::read(&value).ok_or_else(|| wrong_cursor(name))?),
                "limit" => list.limit = limit(&value)?,
                _ => {}
            }
        }
        Ok(list)
    }
}

/// A page of the orders that a job found and nobody had registered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct UnregisteredList {
    /// The page starts after this order; `None`: at the first.
    pub(crate) cursor: Option<OrderId>,
    /// Maximum number of orders, 1 to 100.
    pub(crate) limit: u32,
}

impl UnregisteredList {
    /// Parses a query. Other parameters are ignored; of a repeated one, the last counts.
    pub(crate) fn parse(query: &str) -> Result<Self, Answer> {
        let mut list = Self { cursor: None, limit: MAX_LIMIT };
        for (name, value) in parameters(query) {
            match name {
                "cursor" => list.cursor = Some(value.parse().map_err(|_| wrong_cursor(name))?),
                "limit" => list.limit = limit(&value)?,
                _ => {}
            }
        }
        Ok(list)
    }
}

fn wrong_cursor(name: &str) -> Answer {
    bad(name, "`next` of the page before")
}

/// A job as the API shows it.
#[derive(Serialize)]
struct JobView<'a> {
    id: &'a str,
    product: Product,
    from: Timestamp,
    to: Timestamp,
    track: bool,
    state: &'a str,
    why: Option<&'a str>,
    position: Timestamp,
    calls: u64,
    checked: u64,
    skipped: u64,
    changed: u64,
    unregistered: u64,
    started_at: Timestamp,
    updated_at: Timestamp,
    ended_at: Option<Timestamp>,
}

impl<'a> From<&'a ResyncJob> for JobView<'a> {
    fn from(job: &'a ResyncJob) -> Self {
        Self {
            id: &job.id,
            product: job.product,
            from: job.from,
            to: job.to,
            track: job.track,
            state: job.state.as_str(),
            why: job.why.as_deref(),
            position: job.position.min(job.to),
            calls: job.calls,
            checked: job.checked,
            skipped: job.skipped,
            changed: job.changed,
            unregistered: job.unregistered,
            started_at: job.started_at,
            updated_at: job.updated_at,
            ended_at: job.ended_at,
        }
    }
}

#[derive(Serialize)]
struct Jobs<'a> {
    resyncs: Vec<JobView<'a>>,
    next: Option<String>,
}

#[derive(Serialize)]
struct OrderRow {
    product: Product,
    id: OrderId,
    status: Option<String>,
    topup_amount: Option<Amount>,
    created_at: Option<String>,
    tracked: bool,
}

#[derive(Serialize)]
struct Unregistered {
    orders: Vec<OrderRow>,
    next: Option<OrderId>,
}

/// The body of `POST /resync`.
struct Start {
    product: Product,
    from: Timestamp,
    to: Timestamp,
    track: bool,
}

impl Start {
    fn read(request: &ApiGatewayV2httpRequest, now: Timestamp) -> Result<Self, Answer> {
        let fields = route::object(request)?;
        if fields.is_empty() {
            return Err(Answer::problem(400, Some("body"), format!("the body is empty: send {SAMPLE}")));
        }
        let product = fields.get("product").and_then(Value::as_str).and_then(|text| text.parse().ok());
        let product = product.ok_or_else(|| bad("product", "mobile or internet"))?;
        let (from, to) = (moment(&fields, "from")?, moment(&fields, "to")?);
        let track = match fields.get("track") {
            None | Some(Value::Null) => false,
            Some(Value::Bool(track)) => *track,
            Some(_) => return Err(bad("track", "true or false")),
        };
        if from >= to {
            return Err(bad("from", "before to"));
        }
        if to > now {
            return Err(bad("to", "in the past"));
        }
        if between(from, to) > MAX_WINDOW {
            return Err(bad("to", "at most 31 days after from"));
        }
        Ok(Self { product, from, to, track })
    }
}

/// A time of the body, in whole milliseconds.
fn moment(fields: &Map<String, Value>, name: &str) -> Result<Timestamp, Answer> {
    let time = fields.get(name).and_then(Value::as_str).and_then(|text| text.parse::<Timestamp>().ok());
    let time = time.and_then(|time| Timestamp::from_millisecond(time.as_millisecond()).ok());
    time.filter(|time| time.as_millisecond() >= 0)
        .ok_or_else(|| bad(name, "a time as in RFC 3339, such as 2026-11-01T00:00:00Z"))
}

/// `POST /resync`.
pub(crate) async fn start(tracker: &Tracker, request: &ApiGatewayV2httpRequest) -> Answer {
    let now = tracker.clock.now();
    let Start { product, from, to, track } = match Start::read(request, now) {
        Ok(start) => start,
        Err(problem) => return problem,
    };
    match tracker.store.start_resync(ResyncJob::new(product, from, to, track, now)).await {
        Ok((job, is_new)) => {
            tracing::info!(job = %job.id, is_new, track = job.track, "a resync was requested");
            Answer::json(202, &JobView::from(&job))
        }
        Err(error) => store_failed(&error),
    }
}

/// `GET /resync`: a page of the jobs, newest first.
pub(crate) async fn list(tracker: &Tracker, list: &JobList) -> Answer {
    match tracker.store.resyncs(list.cursor.as_ref(), list.limit).await {
        Ok((jobs, next)) => Answer::ok(&Jobs {
            resyncs: jobs.iter().map(JobView::from).collect(),
            next: next.map(|next| next.write()),
        }),
        Err(error) => store_failed(&error),
    }
}

/// `GET /resync/{id}`.
pub(crate) async fn show(tracker: &Tracker, id: &str) -> Answer {
    match tracker.store.resync(id).await {
        Ok(Some(job)) => Answer::ok(&JobView::from(&job)),
        Ok(None) => unknown(id),
        Err(error) => store_failed(&error),
    }
}

/// `GET /resync/{id}/unregistered`: a page of the orders that the job found and nobody had registered, by id.
pub(crate) async fn unregistered(tracker: &Tracker, id: &str, list: &UnregisteredList) -> Answer {
    let job = match tracker.store.resync(id).await {
        Ok(Some(job)) => job,
        Ok(None) => return unknown(id),
        Err(error) => return store_failed(&error),
    };
    let row = |(order, tracked)| {
        let UnregisteredOrder { id, status, amount, created_at } = order;
        let topup_amount = amount.and_then(|amount| Amount::parse(&amount));
        OrderRow { product: job.product, id, status, topup_amount, created_at, tracked }
    };
    match tracker.store.unregistered(&job, list.cursor.as_ref(), list.limit).await {
        Ok((orders, next)) => {
            Answer::ok(&Unregistered { orders: orders.into_iter().map(row).collect(), next })
        }
        Err(error) => store_failed(&error),
    }
}

/// `POST /resync/{id}/stop`: stops a running job. An ended job stays as it is.
pub(crate) async fn stop(tracker: &Tracker, id: &str) -> Answer {
    match tracker.store.stop_resync(id, tracker.clock.now()).await {
        Ok(Some((job, was_running))) => {
            tracing::info!(job = %job.id, was_running, "a resync was told to stop");
            Answer::ok(&JobView::from(&job))
        }
        Ok(None) => unknown(id),
        Err(error) => store_failed(&error),
    }
}

pub(crate) fn unknown(id: &str) -> Answer {
    Answer::problem(404, Some("id"), format!("there is no resync {id:?}"))
}
