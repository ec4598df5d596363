//! The HTTP API: what became of an order?

mod answer;
mod orders;
mod route;

use aws_lambda_events::apigw::{ApiGatewayV2httpRequest, ApiGatewayV2httpResponse};
use shared::{
    refresh::Tracker,
    secret::{Scope, Secrets},
    telemetry::Summary,
};

use answer::Answer;
use route::{Call, Route};

/// Answers one request. Whatever the request is, the answer is JSON, and an error is a problem of RFC 9457.
pub async fn handle(
    tracker: &Tracker,
    secrets: &Secrets,
    request: ApiGatewayV2httpRequest,
) -> ApiGatewayV2httpResponse {
    let method = request.request_context.http.method.clone();
    let path = request.raw_path.clone().unwrap_or_default();
    let answer = answer(tracker, secrets, &request, method.as_str(), &path).await;
    let called = route::parse(method.as_str(), &path).ok();
    Summary::new("status")
        .with("method", method.as_str())
        // A path can hold anything: what is no call of ours is not repeated in the log.
        .with("call", called.as_ref().map(|route| format!("{:?}", route.call)))
        .with("order", called.map(|route| route.key.to_string()))
        .with("http", answer.status)
        .count("requests", 1)
        .count("looks", usize::from(answer.looked))
        .log(tracker.clock.now());
    answer.into_response()
}

async fn answer(
    tracker: &Tracker,
    secrets: &Secrets,
    request: &ApiGatewayV2httpRequest,
    method: &str,
    path: &str,
) -> Answer {
    if path == "/health" && method == "GET" {
        return Answer::ok(&serde_json::json!({"ok": true}));
    }
    let Some(scopes) = bearer(request).and_then(|token| secrets.scopes_of(token)) else {
        return Answer::unauthorized();
    };
    let route = match route::parse(method, path) {
        Ok(route) => route,
        Err(problem) => return problem,
    };
    let needed = if matches!(route.call, Call::Card) { Scope::Cards } else { Scope::Orders };
    if !scopes.contains(&needed) {
        return Answer::problem(403, None, format!("this token has not the scope {}", scope_name(needed)));
    }
    let Route { call, key } = route;
    match call {
        Call::Track => match route::body(request) {
            Ok(reference) => orders::track(tracker, &key, reference).await,
            Err(problem) => problem,
        },
        Call::Show => orders::show(tracker, &key).await,
        Call::History => orders::history(tracker, &key).await,
        Call::Card => orders::card(tracker, &key).await,
    }
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
