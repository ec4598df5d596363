//! The vendor: every order is FULFILLED. And the shop, which takes every webhook.

use axum::{
    Json, Router,
    extract::Path,
    http::{HeaderMap, StatusCode},
    routing::{get, post},
};
use serde_json::{Value, json};

use super::VENDOR_KEY;

pub(super) fn service() -> Router {
    Router::new()
        .route("/v3/{product}/check-id/{id}", get(check_id))
        .route("/webhooks", post(async || StatusCode::NO_CONTENT))
}

async fn check_id(Path((_, id)): Path<(String, String)>, headers: HeaderMap) -> (StatusCode, Json<Value>) {
    if headers.get("X-Access-Token").is_none_or(|key| key != VENDOR_KEY) {
        return (
            StatusCode::UNAUTHORIZED,
            Json(json!({"success": false, "error": {"code": "INVALID_TOKEN"}})),
        );
    }
    let shown = json!({
        "success": true,
        "data": {
            "_id": id, "ref": "order-1", "status": "FULFILLED", "plan_code": "PREPAID_DJEZZY", "MSSIDN": "0778037340",
            "topup_amount": 500, "created_at": "2026-11-22T09:00:00.000Z"
        },
        "meta": {"timestamp": "2026-11-22T09:00:10.000Z"},
        "requestId": "req_1732300000_bench"
    });
    (StatusCode::OK, Json(shown))
}
