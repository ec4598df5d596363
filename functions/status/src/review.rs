//! `POST /orders/{product}/{id}/review`: a person acts on an order.

use aws_lambda_events::apigw::ApiGatewayV2httpRequest;
use serde_json::Value;
use shared::{
    order::{OrderKey, ReviewAct, ReviewAction},
    refresh::{ReviewError, Tracker},
};

use crate::{
    answer::Answer,
    orders::{failed, not_tracked, view},
    route::{bad, object},
};

/// The act in a body. All three members are required.
fn act(request: &ApiGatewayV2httpRequest) -> Result<ReviewAct, Answer> {
    let mut fields = object(request)?;
    let actor = text(fields.remove("actor"));
    let reason = text(fields.remove("reason"));
    let action = text(fields.remove("action")).and_then(|action| ReviewAction::parse(&action));
    let action = action.ok_or_else(|| bad("action", "recheck or close"))?;
    ReviewAct::new(actor.unwrap_or_default(), reason.unwrap_or_default(), action).map_err(|name| {
        let most = if name == "actor" { shared::order::MAX_ACTOR } else { shared::order::MAX_NOTE };
        bad(
            name,
            &format!("a text of 1 to {most} characters, one of them visible, without control characters"),
        )
    })
}

fn text(value: Option<Value>) -> Option<String> {
    match value {
        Some(Value::String(text)) => Some(text),
        _ => None,
    }
}

/// Records the act. The answer is the order after it.
pub(crate) async fn review(tracker: &Tracker, key: &OrderKey, request: &ApiGatewayV2httpRequest) -> Answer {
    let act = match act(request) {
        Ok(act) => act,
        Err(problem) => return problem,
    };
    match tracker.review(key, &act).await {
        Ok(order) => view(tracker, 200, &order).await,
        Err(ReviewError::NotTracked) => not_tracked(key),
        Err(error @ (ReviewError::NotReviewable(_) | ReviewError::Changed)) => {
            Answer::problem(409, None, error.to_string())
        }
        Err(ReviewError::Store(error)) => failed(key, &error),
    }
}
