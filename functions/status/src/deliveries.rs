//! Calls about webhooks: which event was delivered, and sending one again.

use serde::Serialize;
use serde_json::json;
use shared::{
    order::OrderKey,
    refresh::Tracker,
    store::StoreError,
    webhook::{About, Delivery, EventId},
};

use crate::{
    answer::Answer,
    orders::{failed, not_tracked, unavailable},
    route::{DeliveryList, Page},
};

#[derive(Serialize)]
struct Deliveries<Next> {
    deliveries: Vec<Delivery>,
    next: Option<Next>,
}

/// `GET /orders/{product}/{id}/deliveries`: a page of the deliveries of an order's events, ascending.
pub(crate) async fn of_order(tracker: &Tracker, key: &OrderKey, page: Page) -> Answer {
    let (deliveries, next) = match tracker.store.deliveries_of(key, page.after, page.limit).await {
        Ok(found) => found,
        Err(error) => return failed(key, &error),
    };
    if deliveries.is_empty() {
        match tracker.store.load(key).await {
            Ok(Some(_)) => {}
            Ok(None) => return not_tracked(key),
            Err(error) => return failed(key, &error),
        }
    }
    Answer::ok(&Deliveries { deliveries, next })
}

/// `GET /deliveries`: a page of the deliveries in one state, the oldest first.
pub(crate) async fn list(tracker: &Tracker, list: DeliveryList) -> Answer {
    match tracker.store.deliveries_in(list.state, list.cursor, list.limit).await {
        Ok((deliveries, next)) => Answer::ok(&Deliveries { deliveries, next: next.map(|next| next.write()) }),
        Err(error) => store_failed(&error),
    }
}

/// `POST /deliveries/{event_id}/resend`: puts the event on the bus again, for the webhooks only.
pub(crate) async fn resend(tracker: &Tracker, id: &EventId) -> Answer {
    if !tracker.has_webhooks {
        return Answer::problem(409, None, "there are no webhooks: WEBHOOK_URL is not set".to_owned());
    }
    let sent = match &id.about {
        About::Order(key) => match tracker.store.events_page(key, id.seq.saturating_sub(1), 1).await {
            Ok((events, _)) => match events.first().filter(|event| event.seq == id.seq) {
                Some(event) => tracker.publisher.resend(event.into()).await,
                None => return unknown(id),
            },
            Err(error) => return failed(key, &error),
        },
        About::VendorKey(key) => match tracker.store.vendor_event(key, id.seq).await {
            Ok(Some(event)) => tracker.publisher.resend((&event).into()).await,
            Ok(None) => return unknown(id),
            Err(error) => return store_failed(&error),
        },
    };
    match sent {
        Ok(()) => Answer::json(202, &json!({"event_id": id.to_string()})),
        Err(why) => {
            tracing::error!(event = %id, why, "an event could not be sent again");
            Answer::problem(503, None, "EventBridge does not take the event; try again".to_owned())
                .retry_after(1)
        }
    }
}

fn unknown(id: &EventId) -> Answer {
    Answer::problem(404, Some("event_id"), format!("there is no event {id}"))
}

pub(crate) fn store_failed(error: &StoreError) -> Answer {
    tracing::error!(%error, "a request failed");
    unavailable(error, || "a record cannot be read".to_owned())
}
