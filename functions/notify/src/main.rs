//! Lambda entry point of the webhooks.

use std::convert::Infallible;

use aws_lambda_events::sqs::SqsEvent;
use lambda_runtime::{Error, LambdaEvent, run, service_fn};
use notify::Notifier;
use shared::{config::Config, runtime::runtime, telemetry};

fn main() -> Result<(), Error> {
    runtime()?.block_on(serve())
}

async fn serve() -> Result<(), Error> {
    let config = Config::from_environment()?;
    telemetry::init(config.log_level);
    let notifier = Notifier::start(&config).await?;
    run(service_fn(|event: LambdaEvent<SqsEvent>| {
        let notifier = &notifier;
        async move { Ok::<_, Infallible>(notify::handle(notifier, event.payload).await) }
    }))
    .await
}
