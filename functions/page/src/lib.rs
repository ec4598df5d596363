//! The customer's tracking page: HTML for anyone with a link, from the table alone. It never calls the vendor.
//!
//! The path of a request: language, keys, capability, order, card if its button was pressed, page. What opens no order gets one page, whatever
//! the reason.

mod answer;
pub mod render;
mod start;
pub mod view;
pub mod words;

use aws_lambda_events::apigw::{ApiGatewayV2httpRequest, ApiGatewayV2httpResponse};
use secrecy::ExposeSecret;
use shared::{
    capability,
    cards::CardSafe,
    order::{Order, OrderKey},
    refresh::{RevealError, Revealer},
    store::StoreError,
    telemetry::Summary,
};

pub use start::{Page, StartError};

use answer::Answer;
use render::Card;
use words::Language;

/// An order with this many events shows its card no more: anyone with the link can press the button, and each time is an event.
const MAX_EVENTS: u32 = 200;

/// What a request asks for. The capability is as it came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Call<'a> {
    /// `GET /t/{capability}`.
    Page(&'a str),
    /// `POST /t/{capability}/card`.
    Card(&'a str),
    /// `GET /t/{capability}/card`: the address of a page with a code, opened again.
    Again(&'a str),
    /// Anything else. It takes the path of a capability that opens nothing.
    Other,
}

impl<'a> Call<'a> {
    fn parse(request: &'a ApiGatewayV2httpRequest) -> Self {
        let path = request.raw_path.as_deref().unwrap_or_default();
        let segments: Vec<&str> = path.split('/').skip(1).collect();
        match (request.request_context.http.method.as_str(), segments.as_slice()) {
            ("GET" | "HEAD", ["t", capability]) => Self::Page(capability),
            ("POST", ["t", capability, "card"]) => Self::Card(capability),
            ("GET" | "HEAD", ["t", capability, "card"]) => Self::Again(capability),
            _ => Self::Other,
        }
    }

    fn capability(self) -> &'a str {
        match self {
            Self::Page(capability) | Self::Card(capability) | Self::Again(capability) => capability,
            Self::Other => "",
        }
    }
}

/// Answers one request. Every answer is a page.
pub async fn handle(page: &Page, request: ApiGatewayV2httpRequest) -> ApiGatewayV2httpResponse {
    let accept = request.headers.get(http::header::ACCEPT_LANGUAGE).and_then(|value| value.to_str().ok());
    let query = request.raw_query_string.as_deref().unwrap_or_default();
    let language = Language::choose(query, accept.unwrap_or_default());
    let (order, answer) = answer(page, Call::parse(&request), language).await;
    // The path is not logged: anyone with a capability can open the page.
    Summary::new("page")
        .with("method", request.request_context.http.method.as_str())
        .with("order", order.as_ref().map(ToString::to_string))
        .with("http", answer.status())
        .log(page.clock.now());
    answer.into_response(&page.look, language)
}

/// The answer, and the order that the capability opens.
async fn answer(page: &Page, call: Call<'_>, language: Language) -> (Option<OrderKey>, Answer) {
    let now = page.clock.now();
    let Some(keys) = page.keys.get(now).await else { return (None, Answer::Unavailable) };
    let Some(key) = capability::open(&keys, call.capability(), now) else {
        return (None, Answer::OpensNothing);
    };
    let answer = match page.store.load(&key).await {
        Ok(Some(order)) => opened(page, call, language, order).await,
        Ok(None) => Answer::OpensNothing,
        Err(error) => failed(&key, &error),
    };
    (Some(key), answer)
}

async fn opened(page: &Page, call: Call<'_>, language: Language, order: Order) -> Answer {
    let capability = call.capability();
    let cards = page.cards.as_ref().filter(|_| order.seq < MAX_EVENTS);
    match (call, cards) {
        (Call::Page(_), cards) => {
            let card = if cards.is_some() { Card::Button } else { Card::Never };
            html(page, &order, language, card, capability)
        }
        (Call::Card(_), Some(cards)) if view::has_card(&order) => {
            reveal(page, cards, language, order, capability).await
        }
        // The button was pressed on a page that was open while the order changed.
        (Call::Card(_) | Call::Again(_), _) if page.cards.is_some() => to_page(capability, language),
        (Call::Card(_) | Call::Again(_) | Call::Other, _) => Answer::OpensNothing,
    }
}

fn to_page(capability: &str, language: Language) -> Answer {
    Answer::SeeOther(format!("../{capability}?lang={}", language.words().tag))
}

/// The page with the card's code. That it was read is committed before, and published by the next recheck: this function may put no events.
async fn reveal(page: &Page, cards: &CardSafe, language: Language, order: Order, capability: &str) -> Answer {
    let key = order.key.clone();
    let revealer = Revealer { store: &page.store, cards, schedule: &page.schedule, clock: &page.clock };
    match revealer.reveal(order).await {
        Ok(Some((code, order, _))) => {
            html(page, &order, language, Card::Code(code.expose_secret()), capability)
        }
        Ok(None) => to_page(capability, language),
        Err(RevealError::Store(error)) => failed(&key, &error),
        Err(RevealError::Card(error)) => {
            tracing::error!(order = %key, %error, "a card could not be shown");
            Answer::Unavailable
        }
    }
}

fn html(page: &Page, order: &Order, language: Language, card: Card<'_>, capability: &str) -> Answer {
    match render::order(&page.look, order, language, card, capability, page.clock.now()) {
        Ok(html) => Answer::Order(html),
        Err(error) => {
            tracing::error!(order = %order.key, %error, "a page could not be drawn");
            Answer::Unavailable
        }
    }
}

fn failed(key: &OrderKey, error: &StoreError) -> Answer {
    tracing::error!(order = %key, %error, "a request failed");
    Answer::Unavailable
}

#[cfg(test)]
mod tests;
