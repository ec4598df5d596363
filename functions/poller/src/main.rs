//! Lambda entry point of the poller.

use lambda_runtime::{Diagnostic, Error, LambdaEvent, run, service_fn};
use serde_json::Value;
use shared::{
    config::Config,
    refresh::Tracker,
    runtime::runtime,
    telemetry::{self, in_call},
};

fn main() -> Result<(), Error> {
    runtime()?.block_on(serve())
}

async fn serve() -> Result<(), Error> {
    let config = Config::from_environment()?;
    telemetry::init(config.log_level);
    let tracker = Tracker::start(&config).await?;
    run(service_fn(|event: LambdaEvent<Value>| {
        let (tracker, context) = (&tracker, event.context);
        async move {
            let work = poller::handle(tracker, &event.payload);
            let done = in_call(&context.request_id, context.xray_trace_id.as_deref(), work).await;
            done.map_err(Diagnostic::from)
        }
    }))
    .await
}
