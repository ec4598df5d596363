//! Peer of the benchmark: the smallest function on `lambda_runtime`, written as its README shows. It does none of the work of
//! `status` (no database, no vendor, no events, no admission, history, outbox or cards): it is the floor, not a competitor.

use lambda_runtime::{Error, LambdaEvent, service_fn};
use serde_json::{Value, json};

#[tokio::main]
async fn main() -> Result<(), Error> {
    lambda_runtime::run(service_fn(hello)).await
}

async fn hello(_event: LambdaEvent<Value>) -> Result<Value, Error> {
    Ok(json!({ "message": "hello" }))
}
