//! Lambda entry point of the webhooks.

use std::convert::Infallible;

use aws_lambda_events::sqs::SqsEvent;
use lambda_runtime::{Error, LambdaEvent, run, service_fn};
use notify::Notifier;
use shared::{
    config::Config,
    runtime::runtime,
    telemetry::{self, in_call},
};

fn main() -> Result<(), Error> {
    runtime()?.block_on(serve())
}

async fn serve() -> Result<(), Error> {
    let config = Config::from_environment()?;
    telemetry::init(config.log_level);
    let notifier = Notifier::start(&config).await?;
    run(service_fn(|event: LambdaEvent<SqsEvent>| {
        let (notifier, context) = (&notifier, event.context);
        async move {
            let work = notify::handle(notifier, event.payload);
            Ok::<_, Infallible>(in_call(&context.request_id, context.xray_trace_id.as_deref(), work).await)
        }
    }))
    .await
}
