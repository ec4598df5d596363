//! `GET /orders`: lists of orders for the operator.

use std::time::Duration;

use serde::Serialize;
use shared::{
    order::{OrderView, ParkedAs, Product, Ref, parse_duration},
    refresh::Tracker,
    store::{InPhase, OrderCursor, OrderList},
    time::earlier,
};

use crate::{
    answer::Answer,
    orders::unavailable,
    route::{MAX_LIMIT, bad, limit, parameters},
};

/// Which orders to list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct OrderQuery {
    pub(crate) list: OrderList,
    /// Only orders whose status or phase did not change for so long: 1 ms to 366 days. Only with a phase.
    pub(crate) older_than: Option<Duration>,
    pub(crate) product: Option<Product>,
    /// The page starts after this place; `None`: at the first order.
    pub(crate) cursor: Option<OrderCursor>,
    /// Maximum number of orders, 1 to 100.
    pub(crate) limit: u32,
}

/// The parameters as they came, each checked alone.
#[derive(Default)]
struct Given {
    phase: Option<&'static str>,
    parked_as: Option<ParkedAs>,
    reference: Option<Ref>,
    review: Option<()>,
    older_than: Option<Duration>,
    product: Option<Product>,
    cursor: Option<String>,
    limit: Option<u32>,
}

impl Given {
    fn read(query: &str) -> Result<Self, Answer> {
        let mut given = Self::default();
        for (name, value) in parameters(query) {
            match name {
                "phase" => given.phase = Some(phase(&value)?),
                "parked_as" => given.parked_as = Some(parked_as(&value)?),
                "ref" => {
                    let reference = Ref::try_from(value);
                    given.reference =
                        Some(reference.map_err(|error| Answer::problem(400, Some(name), error.to_string()))?);
                }
                "review" if value == "open" => given.review = Some(()),
                "review" => return Err(bad(name, "open")),
                "older_than" => {
                    let duration = parse_duration(&value).ok();
                    given.older_than = Some(
                        duration.ok_or_else(|| bad(name, "a duration from 1ms to 366days, such as 24h"))?,
                    );
                }
                "product" => {
                    let product = value.parse().ok();
                    given.product = Some(product.ok_or_else(|| bad(name, "mobile or internet"))?);
                }
                "cursor" => given.cursor = Some(value),
                "limit" => given.limit = Some(limit(&value)?),
                _ => {}
            }
        }
        Ok(given)
    }

    /// The one list that is asked for. `parked_as` alone means the parked orders.
    fn list(&mut self) -> Result<OrderList, Answer> {
        let parked_as = self.parked_as;
        let phase = self.phase.or(parked_as.map(|_| "parked"));
        let named = [
            ("phase", phase.is_some()),
            ("ref", self.reference.is_some()),
            ("review", self.review.is_some()),
        ];
        let mut named = named.into_iter().filter_map(|(name, is_given)| is_given.then_some(name));
        let first = named.next().ok_or_else(|| {
            Answer::problem(400, Some("phase"), "say which orders: phase, ref or review=open".to_owned())
        })?;
        if let Some(other) = named.next() {
            let detail = format!(
                "{other} cannot be given with {}",
                if self.phase.is_none() && first == "phase" { "parked_as" } else { first }
            );
            return Err(Answer::problem(400, Some(other), detail));
        }
        let Some(phase) = phase else {
            if self.older_than.is_some() {
                let detail = format!("older_than needs phase; it cannot be given with {first}");
                return Err(Answer::problem(400, Some("older_than"), detail));
            }
            return Ok(self.reference.take().map_or(OrderList::OpenReview, OrderList::Ref));
        };
        if parked_as.is_some() && phase != "parked" {
            let detail = "parked_as needs phase=parked".to_owned();
            return Err(Answer::problem(400, Some("parked_as"), detail));
        }
        Ok(OrderList::Phase(InPhase { phase, parked_as, until: None }))
    }
}

impl OrderQuery {
    /// Parses a query. Other parameters are ignored; of a repeated one, the last counts.
    pub(crate) fn parse(query: &str) -> Result<Self, Answer> {
        let mut given = Given::read(query)?;
        let list = given.list()?;
        let read = |text: String| {
            OrderCursor::read(&text, &list)
                .ok_or_else(|| bad("cursor", "`next` of the page before, of the same list"))
        };
        let cursor = given.cursor.map(read).transpose()?;
        let Given { older_than, product, .. } = given;
        Ok(Self { list, older_than, product, cursor, limit: given.limit.unwrap_or(MAX_LIMIT) })
    }
}

fn phase(text: &str) -> Result<&'static str, Answer> {
    let known = ["in_flight", "parked", "final"].into_iter().find(|known| *known == text);
    known.ok_or_else(|| bad("phase", "in_flight, parked or final"))
}

fn parked_as(text: &str) -> Result<ParkedAs, Answer> {
    let all = [ParkedAs::Queued, ParkedAs::Uncertain, ParkedAs::Delayed, ParkedAs::NotFound];
    let known = all.into_iter().find(|known| known.as_str() == text);
    known.ok_or_else(|| bad("parked_as", "queued, uncertain, delayed or not_found"))
}

/// A page of a list. `next` is the `cursor` of the next page.
#[derive(Serialize)]
struct Orders<'a> {
    orders: Vec<OrderView<'a>>,
    next: Option<String>,
}

/// `GET /orders`: a page of the orders that are asked for, as they are stored. No order is checked for it.
pub(crate) async fn list(tracker: &Tracker, query: OrderQuery) -> Answer {
    let now = tracker.clock.now();
    let OrderQuery { mut list, older_than, product, cursor, limit } = query;
    if let OrderList::Phase(in_phase) = &mut list {
        in_phase.until = older_than.map(|older_than| earlier(now, older_than));
    }
    match tracker.store.orders_page(&list, product, cursor, limit).await {
        Ok((orders, next)) => {
            let orders = orders.iter().map(|order| OrderView::of(order, now)).collect();
            Answer::ok(&Orders { orders, next: next.map(|next| next.write()) })
        }
        Err(error) => {
            tracing::error!(%error, "orders could not be listed");
            unavailable(&error, || "a record cannot be read".to_owned())
        }
    }
}
