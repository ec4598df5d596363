//! The HTTP API: what became of an order?

mod answer;
mod orders;
mod route;

use aws_lambda_events::apigw::{ApiGatewayV2httpRequest, ApiGatewayV2httpResponse};
use shared::{
    order::{OrderKey, Ref},
    refresh::Tracker,
    secret::Scope,
    telemetry::Summary,
};

use answer::Answer;
use route::Call;

/// Answers one request. Whatever the request is, the answer is JSON, and an error is a problem of RFC 9457.
pub async fn handle(tracker: &Tracker, request: ApiGatewayV2httpRequest) -> ApiGatewayV2httpResponse {
    let method = request.request_context.http.method.clone();
    let path = request.raw_path.clone().unwrap_or_default();
    let answer = answer(tracker, &request, method.as_str(), &path).await;
    let called = route::parse(method.as_str(), &path).ok();
    let summary = Summary::new("status")
        .with("method", method.as_str())
        // A path can hold anything: what is no call of ours is not repeated in the log.
        .with("call", called.as_ref().map(Call::name))
        .with("order", called.as_ref().and_then(Call::order).map(ToString::to_string))
        .with("http", answer.status)
        .count("requests", 1)
        .count("looks", usize::from(answer.met.looked))
        .count("not_admitted", usize::from(answer.met.not_admitted));
    answer.met.news.add_to(summary).log(tracker.clock.now());
    answer.into_response()
}

/// The order that a request is about (none where it is looked up by its reference), with the reference that it brings; else
/// the problem that answers it. Asks for no token.
///
/// # Errors
/// A problem of RFC 9457.
pub fn parse(
    request: &ApiGatewayV2httpRequest,
) -> Result<(Option<OrderKey>, Option<Ref>), Box<ApiGatewayV2httpResponse>> {
    let method = &request.request_context.http.method;
    let path = request.raw_path.as_deref().unwrap_or_default();
    let refused = |problem: Answer| Box::new(problem.into_response());
    match route::parse(method.as_str(), path).map_err(refused)? {
        Call::Track(key) => Ok((Some(key), route::body(request).map_err(refused)?)),
        Call::Show(key) | Call::History(key) | Call::Card(key) => Ok((Some(key), None)),
        Call::Find(_, reference) => Ok((None, Some(reference))),
    }
}

async fn answer(tracker: &Tracker, request: &ApiGatewayV2httpRequest, method: &str, path: &str) -> Answer {
    if path == "/health" && method == "GET" {
        return Answer::ok(&serde_json::json!({"ok": true}));
    }
    let Some(token) = bearer(request) else { return Answer::unauthorized() };
    let call = route::parse(method, path);
    let needed = if matches!(call, Ok(Call::Card(_))) { Scope::Cards } else { Scope::Orders };
    let scopes = scopes(tracker, token, needed).await;
    let call = match (scopes, call) {
        (None, _) => return Answer::unauthorized(),
        (_, Err(problem)) => return problem,
        (Some(scopes), Ok(_)) if !scopes.contains(&needed) => {
            return Answer::problem(
                403,
                None,
                format!("this token has not the scope {}", scope_name(needed)),
            );
        }
        (_, Ok(call)) => call,
    };
    match call {
        Call::Track(key) => match route::body(request) {
            Ok(reference) => orders::track(tracker, &key, reference).await,
            Err(problem) => problem,
        },
        Call::Show(key) => orders::show(tracker, &key).await,
        Call::History(key) => orders::history(tracker, &key).await,
        Call::Card(key) => orders::card(tracker, &key).await,
        Call::Find(product, reference) => orders::find(tracker, product, &reference).await,
    }
}

/// The scopes of a token. One that nobody knows, or that is not good for this, may have been changed: the secret is read again,
/// now and then.
async fn scopes(tracker: &Tracker, token: &str, needed: Scope) -> Option<Vec<Scope>> {
    let now = tracker.clock.now();
    let known = tracker.vault.recent(now).await;
    if let Some(scopes) = known.scopes_of(token).filter(|scopes| scopes.contains(&needed)) {
        return Some(scopes.to_vec());
    }
    tracker.vault.read_again(now).await.scopes_of(token).map(<[Scope]>::to_vec)
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
