//! Lambda entry point of the HTTP API.

use std::convert::Infallible;

use aws_lambda_events::apigw::ApiGatewayV2httpRequest;
use lambda_runtime::{Error, LambdaEvent, run, service_fn};
use shared::{config::Config, refresh::Tracker, runtime::runtime, telemetry};

fn main() -> Result<(), Error> {
    runtime()?.block_on(serve())
}

async fn serve() -> Result<(), Error> {
    let config = Config::from_environment()?;
    telemetry::init(config.log_level);
    let tracker = Tracker::start(&config).await?;
    run(service_fn(|event: LambdaEvent<ApiGatewayV2httpRequest>| {
        let tracker = &tracker;
        async move { Ok::<_, Infallible>(status::handle(tracker, event.payload).await) }
    }))
    .await
}
