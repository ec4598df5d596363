//! The HTTP API.

mod answer;
mod deliveries;
mod feed;
mod lists;
mod orders;
mod resync;
mod review;
mod route;

use aws_lambda_events::apigw::{ApiGatewayV2httpRequest, ApiGatewayV2httpResponse};
use jiff::Timestamp;
use shared::{
    config::Config,
    order::{OrderKey, Ref},
    refresh::{Counters, Tracker},
    secret::{ApiTokens, Scope, TokensUnknown, Vault},
    telemetry::Summary,
};

use answer::Answer;
use route::Call;

/// Why the function could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// See [`shared::refresh::StartError`].
    #[error(transparent)]
    Tracker(#[from] shared::refresh::StartError),
    /// No secret with tokens is named.
    #[error("settings: TOKENS_SECRET_ID is missing (a local run may set API_TOKENS instead)")]
    NoTokens,
}

/// Builds all clients, and reads the vendor's key and the tokens.
///
/// # Errors
/// See [`StartError`].
pub async fn start(config: &Config) -> Result<(Tracker, Vault<ApiTokens>), StartError> {
    let source = config.api_tokens.clone().ok_or(StartError::NoTokens)?;
    let tracker = Tracker::open(config).await?;
    let (tokens, ()) =
        tokio::join!(tracker.vault.beside(source, tracker.clock.now()), tracker.connect(config));
    let tokens = tokens.map_err(shared::refresh::StartError::from)?;
    Ok((tracker, tokens))
}

/// Answers one request. Every answer is JSON, and every error a problem (RFC 9457).
pub async fn handle(
    tracker: &Tracker,
    tokens: &Vault<ApiTokens>,
    request: ApiGatewayV2httpRequest,
) -> ApiGatewayV2httpResponse {
    let call = route::parse(&request);
    // The path of an unknown call may hold anything, so it is not logged.
    let summary = Summary::new("status")
        .with("method", request.request_context.http.method.as_str())
        .with("call", call.as_ref().ok().map(Call::name))
        .with("order", call.as_ref().ok().and_then(Call::order).map(ToString::to_string));
    let answer = answer(tracker, tokens, &request, call).await;
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
        Call::Deliveries(_) | Call::Resend(_) | Call::List(_) => Ok((None, None)),
        Call::Review(key) => Ok((Some(key), None)),
        Call::StartResync => {
            route::object(request).map_err(refused)?;
            Ok((None, None))
        }
        Call::Resyncs(_) | Call::Resync(_) | Call::Unregistered(..) | Call::StopResync(_) => Ok((None, None)),
        Call::Lookup(_) => Ok((None, Some(route::reference(request).map_err(refused)?))),
    }
}

async fn answer(
    tracker: &Tracker,
    tokens: &Vault<ApiTokens>,
    request: &ApiGatewayV2httpRequest,
    call: Result<Call, Answer>,
) -> Answer {
    if matches!(call, Ok(Call::Health)) {
        return Answer::ok(&serde_json::json!({"ok": true}));
    }
    let call = match authorised(tracker, tokens, request, call).await {
        Ok(call) => call,
        Err(problem) => return problem,
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
        Call::List(query) => lists::list(tracker, query).await,
        Call::Review(key) => review::review(tracker, &key, request).await,
        Call::StartResync => resync::start(tracker, request).await,
        Call::Resyncs(list) => resync::list(tracker, &list).await,
        Call::Resync(id) => resync::show(tracker, &id).await,
        Call::Unregistered(id, list) => resync::unregistered(tracker, &id, &list).await,
        Call::StopResync(id) => resync::stop(tracker, &id).await,
        Call::Lookup(product) => match route::reference(request) {
            Ok(reference) => orders::find(tracker, product, &reference).await,
            Err(problem) => problem,
        },
    }
}

/// The call, if it is valid and its token has the scope for it. Without a known token, nothing is said about the call.
async fn authorised(
    tracker: &Tracker,
    tokens: &Vault<ApiTokens>,
    request: &ApiGatewayV2httpRequest,
    call: Result<Call, Answer>,
) -> Result<Call, Answer> {
    let Some(token) = bearer(request) else { return Err(Answer::unauthorized()) };
    let needed = if matches!(call, Ok(Call::Card(_))) { Scope::Cards } else { Scope::Orders };
    match (scopes(tokens, token, needed, tracker.clock.now()).await, call) {
        (Err(TokensUnknown), _) => Err(Answer::tokens_unknown()),
        (Ok(None), _) => Err(Answer::unauthorized()),
        (_, Err(problem)) => Err(problem),
        (Ok(Some(scopes)), Ok(_)) if !scopes.contains(&needed) => {
            Err(Answer::problem(403, None, format!("this token lacks the scope {}", scope_name(needed))))
        }
        (Ok(Some(_)), Ok(call)) => Ok(call),
    }
}

/// The scopes of a token; `None`: unknown token. If the token is unknown or lacks the scope, the secret is read again at limited intervals,
/// since it may have changed.
async fn scopes(
    tokens: &Vault<ApiTokens>,
    token: &str,
    needed: Scope,
    now: Timestamp,
) -> Result<Option<Vec<Scope>>, TokensUnknown> {
    let known = tokens.tokens(now).await?;
    if let Some(scopes) = known.scopes_of(token).filter(|scopes| scopes.contains(&needed)) {
        return Ok(Some(scopes.to_vec()));
    }
    Ok(tokens.read_again(now).await.scopes_of(token).map(<[Scope]>::to_vec))
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
