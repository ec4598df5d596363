//! One function for each call.

use secrecy::ExposeSecret;
use serde::Serialize;
use serde_json::{json, value::RawValue};
use shared::{
    order::{Order, OrderKey, OrderView, Outcome, Phase, Product, Ref, TrackedBy, Trigger},
    refresh::{Counters, Found, NoCall, RevealError, Tracker},
    store::{Registration, StoreError},
};

use crate::{answer::Answer, route::Page};

/// `Retry-After` for a ref that the vendor does not know yet. Our choice: the vendor documents none.
const RETRY_LOOKUP_SECONDS: u64 = 10;

/// `PUT /orders/{product}/{id}`.
pub(crate) async fn track(tracker: &Tracker, key: &OrderKey, reference: Option<Ref>) -> Answer {
    let (registration, order) = match tracker.track(key, reference.clone(), TrackedBy::Put).await {
        Ok(tracked) => tracked,
        Err(error) => return failed(key, &error),
    };
    match (&order.reference, reference) {
        (Some(stored), Some(given)) if *stored != given => Answer::problem(
            409,
            Some("ref"),
            format!("{key} is already tracked with the ref {:?}; that ref stays", stored.as_str()),
        ),
        _ => view(tracker, if registration == Registration::Tracked { 201 } else { 200 }, &order).await,
    }
}

/// `GET /orders/{product}/{id}`.
pub(crate) async fn show(tracker: &Tracker, key: &OrderKey) -> Answer {
    match tracker.refresh(key, Trigger::Status).await {
        Ok(Some(refreshed)) => {
            let answer = view(tracker, 200, &refreshed.order).await;
            answer.counted(refreshed.counters, refreshed.check.no_call_reason())
        }
        Ok(None) => not_tracked(key),
        Err(error) => failed(key, &error),
    }
}

/// `POST /orders/{product}/lookup`: for a send without an answer. Looks the order up at the vendor by the merchant's reference and tracks
/// it if it is found.
pub(crate) async fn find(tracker: &Tracker, product: Product, reference: &Ref) -> Answer {
    let (found, counters) = match tracker.find(product, reference).await {
        Ok(found) => found,
        Err(error) => {
            tracing::error!(%product, %error, "a lookup failed");
            return unavailable(&error, || format!("a record of {product} cannot be read"));
        }
    };
    let (answer, no_call_reason) = match found {
        Found::Order(registration, refreshed) => {
            let status = if registration == Registration::Tracked { 201 } else { 200 };
            (view(tracker, status, &refreshed.order).await, None)
        }
        Found::Unknown => {
            let detail = "the vendor does not know this ref (yet); the top-up may still have been sent";
            (Answer::problem(404, Some("ref"), detail.to_owned()).retry_after(RETRY_LOOKUP_SECONDS), None)
        }
        Found::Denied(denied) => {
            let wait = denied.retry_at.duration_since(tracker.clock.now()).as_secs().clamp(0, 3600) + 1;
            let problem = Answer::problem(
                503,
                None,
                format!("no call to the vendor is permitted now: {}", denied.reason),
            );
            (problem.retry_after(wait.unsigned_abs()), Some(NoCall::Denied(denied).reason()))
        }
        Found::Failed(error) => {
            let problem = Answer::problem(502, None, format!("the lookup failed: {error}"));
            (problem.retry_after(RETRY_LOOKUP_SECONDS), None)
        }
    };
    answer.counted(counters, no_call_reason)
}

/// `GET /orders/{product}/{id}/history`: a page of event details as published, ascending. `next` is the `after` of the next page, `null`
/// after the last page; a full page may be followed by an empty one.
pub(crate) async fn history(tracker: &Tracker, key: &OrderKey, page: Page) -> Answer {
    #[derive(Serialize)]
    struct History {
        events: Vec<Box<RawValue>>,
        next: Option<u32>,
    }
    let (events, next) = match tracker.store.events_page(key, page.after, page.limit).await {
        Ok(found) => found,
        Err(error) => return failed(key, &error),
    };
    if events.is_empty() {
        match tracker.store.load(key).await {
            Ok(Some(_)) => {}
            Ok(None) => return not_tracked(key),
            Err(error) => return failed(key, &error),
        }
    }
    match events.into_iter().map(|event| RawValue::from_string(event.detail)).collect() {
        Ok(events) => Answer::ok(&History { events, next }),
        Err(_) => {
            failed(key, &StoreError::Corrupt { key: key.clone(), why: "an event is not JSON".to_owned() })
        }
    }
}

/// `GET /orders/{product}/{id}/card`: each read is an event, committed before the code is returned.
pub(crate) async fn card(tracker: &Tracker, key: &OrderKey) -> Answer {
    let order = match tracker.store.load(key).await {
        Ok(Some(order)) => order,
        Ok(None) => return not_tracked(key),
        Err(error) => return failed(key, &error),
    };
    if let Some(at) = order.redacted_at {
        return Answer::problem(410, None, format!("the data of {key} was removed at {at}"));
    }
    // The card is returned only once the order is fulfilled, even if the vendor sent it earlier.
    match order.phase {
        _ if !key.product.rules().has_card => return no_card(key),
        Phase::Final { outcome: Outcome::Refunded } => return no_card(key),
        Phase::Final { outcome: Outcome::Fulfilled } => {}
        Phase::InFlight { .. } | Phase::Parked { .. } => return not_yet(key),
    }
    let (num_trans, date_traitement) = (order.facts.num_trans.clone(), order.facts.date_traitement.clone());
    match tracker.reveal_card(order).await {
        Ok(Some(code)) => Answer::ok(&json!({
            "card_code": code.expose_secret(),
            "num_trans": num_trans,
            "date_traitement": date_traitement,
        })),
        Ok(None) => not_yet(key),
        Err(RevealError::Store(error)) => failed(key, &error),
        Err(RevealError::Card(error)) => {
            tracing::error!(order = %key, %error, "a card could not be returned");
            Answer::unavailable()
        }
    }
}

/// An order with the link to its page; the link is `null` if it cannot be signed now, and absent if there is no page.
#[derive(Serialize)]
struct Linked<'a> {
    #[serde(flatten)]
    order: OrderView<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tracking_url: Option<Option<String>>,
}

pub(crate) async fn view(tracker: &Tracker, status: u16, order: &Order) -> Answer {
    let now = tracker.clock.now();
    let tracking_url = match &tracker.links {
        Some(links) => Some(links.to(&order.key, now).await),
        None => None,
    };
    let failed_links = usize::from(tracking_url == Some(None));
    let answer = Answer::json(status, &Linked { order: OrderView::of(order, now), tracking_url });
    answer.counted(Counters { failed_links, ..Counters::default() }, None)
}

fn no_card(key: &OrderKey) -> Answer {
    Answer::problem(404, None, format!("{key} has no card"))
}

fn not_yet(key: &OrderKey) -> Answer {
    Answer::problem(409, None, format!("the card of {key} is not available yet"))
}

pub(crate) fn not_tracked(key: &OrderKey) -> Answer {
    Answer::problem(404, None, format!("{key} is not tracked; PUT it first"))
}

pub(crate) fn failed(key: &OrderKey, error: &StoreError) -> Answer {
    tracing::error!(order = %key, %error, "a request failed");
    unavailable(error, || format!("the record of {key} cannot be read"))
}

pub(crate) fn unavailable(error: &StoreError, corrupt: impl FnOnce() -> String) -> Answer {
    match error {
        StoreError::Unavailable { .. } => Answer::unavailable(),
        StoreError::Corrupt { .. } => Answer::problem(500, None, corrupt()),
        StoreError::Refused { .. } => {
            Answer::problem(500, None, "the tracker's store rejects this record".to_owned())
        }
    }
}
