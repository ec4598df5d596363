//! Lambda entry point of the recheck.

use lambda_runtime::{Diagnostic, Error, LambdaEvent, run, service_fn};
use serde_json::Value;
use shared::{config::Config, refresh::Tracker, runtime::runtime, telemetry};

fn main() -> Result<(), Error> {
    runtime()?.block_on(serve())
}

async fn serve() -> Result<(), Error> {
    let config = Config::from_environment()?;
    telemetry::init(config.log_level);
    let tracker = Tracker::start(&config).await?;
    run(service_fn(|event: LambdaEvent<Value>| {
        let tracker = &tracker;
        async move { recheck::handle(tracker, event.context.deadline()).await.map_err(Diagnostic::from) }
    }))
    .await
}
