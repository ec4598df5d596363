//! Lambda entry point of the tracking page.

use std::convert::Infallible;

use aws_lambda_events::apigw::ApiGatewayV2httpRequest;
use lambda_runtime::{Error, LambdaEvent, run, service_fn};
use page::Page;
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
    let page = Page::start(&config).await?;
    run(service_fn(|event: LambdaEvent<ApiGatewayV2httpRequest>| {
        let (page, context) = (&page, event.context);
        async move {
            let work = page::handle(page, event.payload);
            Ok::<_, Infallible>(in_call(&context.request_id, context.xray_trace_id.as_deref(), work).await)
        }
    }))
    .await
}
