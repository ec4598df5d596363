//! The calls, one function each.

use secrecy::ExposeSecret;
use serde::Serialize;
use serde_json::{json, value::RawValue};
use shared::{
    order::{Order, OrderKey, OrderView, Outcome, Phase, Product, Ref, TrackedBy, Trigger},
    refresh::{Look, RevealError, Tracker},
    store::{Registration, StoreError},
};

use crate::answer::Answer;

/// `PUT /orders/{product}/{id}`.
pub(crate) async fn track(tracker: &Tracker, key: &OrderKey, reference: Option<Ref>) -> Answer {
    match tracker.track(key, reference, TrackedBy::Put).await {
        Ok((Registration::Tracked, order)) => view(tracker, 201, &order),
        Ok((Registration::AlreadyTracked, order)) => view(tracker, 200, &order),
        Err(error) => failed(key, &error),
    }
}

/// `GET /orders/{product}/{id}`.
pub(crate) async fn show(tracker: &Tracker, key: &OrderKey) -> Answer {
    match tracker.refresh(key, Trigger::Status).await {
        Ok(Some(refreshed)) => {
            let looked = !matches!(refreshed.look, Look::NotMade);
            view(tracker, 200, &refreshed.order).looked(looked)
        }
        Ok(None) => not_tracked(key),
        Err(error) => failed(key, &error),
    }
}

/// `GET /orders/{product}/{id}/history`: the details as they were or will be announced, ascending.
pub(crate) async fn history(tracker: &Tracker, key: &OrderKey) -> Answer {
    #[derive(Serialize)]
    struct History {
        events: Vec<Box<RawValue>>,
    }
    let events = match tracker.store.events_after(key, 0).await {
        Ok(events) if events.is_empty() => return not_tracked(key),
        Ok(events) => events,
        Err(error) => return failed(key, &error),
    };
    match events.into_iter().map(|event| RawValue::from_string(event.detail)).collect() {
        Ok(events) => Answer::ok(&History { events }),
        Err(_) => {
            failed(key, &StoreError::Corrupt { key: key.clone(), why: "an event is not JSON".to_owned() })
        }
    }
}

/// `GET /orders/{product}/{id}/card`: each reading is an event, recorded before the code is shown.
pub(crate) async fn card(tracker: &Tracker, key: &OrderKey) -> Answer {
    let order = match tracker.store.load(key).await {
        Ok(Some(order)) => order,
        Ok(None) => return not_tracked(key),
        Err(error) => return failed(key, &error),
    };
    // Whatever the vendor may have shown before: a card is delivered once the order is fulfilled, and only then.
    match (key.product, order.phase) {
        (Product::Mobile, _) | (_, Phase::Final { outcome: Outcome::Refunded }) => {
            return Answer::problem(404, None, format!("{key} has no card to come"));
        }
        (_, Phase::Final { outcome: Outcome::Fulfilled }) => {}
        (_, Phase::InFlight { .. } | Phase::Parked { .. }) => return not_yet(key),
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
            tracing::error!(order = %key, %error, "a card could not be shown");
            Answer::unavailable()
        }
    }
}

fn view(tracker: &Tracker, status: u16, order: &Order) -> Answer {
    Answer::json(status, &OrderView::of(order, tracker.clock.now()))
}

fn not_yet(key: &OrderKey) -> Answer {
    Answer::problem(409, None, format!("the card of {key} has not come yet"))
}

fn not_tracked(key: &OrderKey) -> Answer {
    Answer::problem(404, None, format!("{key} is not tracked; PUT it first"))
}

fn failed(key: &OrderKey, error: &StoreError) -> Answer {
    tracing::error!(order = %key, %error, "a request failed");
    match error {
        StoreError::Unavailable { .. } => Answer::unavailable(),
        StoreError::Corrupt { .. } => {
            Answer::problem(500, None, format!("the record of {key} cannot be read"))
        }
    }
}
