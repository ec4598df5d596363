//! The HTTP API.

mod answer;
mod deliveries;
mod feed;
mod orders;
mod route;

use aws_lambda_events::apigw::{ApiGatewayV2httpRequest, ApiGatewayV2httpResponse};
use shared::{
    order::{OrderKey, Ref},
    refresh::{Counters, Tracker},
    secret::{Scope, TokensUnknown},
    telemetry::Summary,
};

use answer::Answer;
use route::Call;

/// Answers one request. Every answer is JSON, and every error a problem (RFC 9457).
pub async fn handle(tracker: &Tracker, request: ApiGatewayV2httpRequest) -> ApiGatewayV2httpResponse {
    let call = route::parse(&request);
    // The path of an unknown call may hold anything, so it is not logged.
    let summary = Summary::new("status")
        .with("method", request.request_context.http.method.as_str())
        .with("call", call.as_ref().ok().map(Call::name))
        .with("order", call.as_ref().ok().and_then(Call::order).map(ToString::to_string));
    let answer = answer(tracker, &request, call).await;
    let (counters, no_call_reason) = *answer.counted;
    let summary = summary.with("http", answer.status).with("no_call_reason", no_call_reason);
    Counters { requests: 1, ..counters }.add_to(summary).log(tracker.clock.now());
    answer.into_response()
}

/// Parses a request into the key of its order (`None` for a lookup by reference) and the reference in its body. Requires no token.
///
/// # Errors
/// The problem (RFC 9457) that answers an invalid request.
pub fn parse(
    request: &ApiGatewayV2httpRequest,
) -> Result<(Option<OrderKey>, Option<Ref>), Box<ApiGatewayV2httpResponse>> {
    let refused = |problem: Answer| Box::new(problem.into_response());
    match route::parse(request).map_err(refused)? {
        Call::Health | Call::Feed(_) => Ok((None, None)),
        Call::Track(key) => Ok((Some(key), route::body(request).map_err(refused)?)),
        Call::Show(key) | Call::History(key, _) | Call::Card(key) | Call::OrderDeliveries(key, _) => {
            Ok((Some(key), None))
        }
        Call::Deliveries(_) | Call::Resend(_) => Ok((None, None)),
        Call::Lookup(_) => Ok((None, Some(route::reference(request).map_err(refused)?))),
    }
}

async fn answer(tracker: &Tracker, request: &ApiGatewayV2httpRequest, call: Result<Call, Answer>) -> Answer {
    if matches!(call, Ok(Call::Health)) {
        return Answer::ok(&serde_json::json!({"ok": true}));
    }
    let Some(token) = bearer(request) else { return Answer::unauthorized() };
    let needed = if matches!(call, Ok(Call::Card(_))) { Scope::Cards } else { Scope::Orders };
    let call = match (scopes(tracker, token, needed).await, call) {
        (Err(TokensUnknown), _) => return Answer::tokens_unknown(),
        (Ok(None), _) => return Answer::unauthorized(),
        (_, Err(problem)) => return problem,
        (Ok(Some(scopes)), Ok(_)) if !scopes.contains(&needed) => {
            return Answer::problem(403, None, format!("this token lacks the scope {}", scope_name(needed)));
        }
        (Ok(Some(_)), Ok(call)) => call,
    };
    match call {
        Call::Health => Answer::ok(&serde_json::json!({"ok": true})),
        Call::Track(key) => match route::body(request) {
            Ok(reference) => orders::track(tracker, &key, reference).await,
            Err(problem) => problem,
        },
        Call::Show(key) => orders::show(tracker, &key).await,
        Call::History(key, page) => orders::history(tracker, &key, page).await,
        Call::Card(key) => orders::card(tracker, &key).await,
        Call::OrderDeliveries(key, page) => deliveries::of_order(tracker, &key, page).await,
        Call::Deliveries(list) => deliveries::list(tracker, list).await,
        Call::Resend(event) => deliveries::resend(tracker, &event).await,
        Call::Feed(query) => feed::feed(tracker, query).await,
        Call::Lookup(product) => match route::reference(request) {
            Ok(reference) => orders::find(tracker, product, &reference).await,
            Err(problem) => problem,
        },
    }
}

/// The scopes of a token; `None`: unknown token. If the token is unknown or lacks the scope, the secret is read again at limited intervals,
/// since it may have changed.
async fn scopes(tracker: &Tracker, token: &str, needed: Scope) -> Result<Option<Vec<Scope>>, TokensUnknown> {
    let now = tracker.clock.now();
    let known = tracker.vault.tokens(now).await?;
    if let Some(scopes) = known.scopes_of(token).filter(|scopes| scopes.contains(&needed)) {
        return Ok(Some(scopes.to_vec()));
    }
    Ok(tracker.vault.read_again(now).await.scopes_of(token).map(<[Scope]>::to_vec))
}

fn bearer(request: &ApiGatewayV2httpRequest) -> Option<&str> {
    let value = request.headers.get(http::header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then_some(token.trim())
}

fn scope_name(scope: Scope) -> &'static str {
    match scope {
        Scope::Orders => "orders",
        Scope::Cards => "cards",
    }
}

#[cfg(test)]
mod tests;
