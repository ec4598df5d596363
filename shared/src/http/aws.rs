//! The same client, as the AWS SDKs want it.

use std::time::Duration;

use aws_smithy_runtime_api::{
    client::{
        http::{
            HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpClient,
            SharedHttpConnector,
        },
        orchestrator::{HttpRequest, HttpResponse},
        result::ConnectorError,
        runtime_components::RuntimeComponents,
    },
    shared::IntoShared,
};
use aws_smithy_types::body::SdkBody;
use http::Request;
use hyper::body::Bytes;

use super::{CallError, Http};

/// One attempt at an AWS call. The SDK repeats it, and has a limit for all attempts together.
const AWS_TIMEOUT: Duration = Duration::from_millis(2500);
/// A page of DynamoDB is 1 MB, and somewhat more as JSON.
const MAX_AWS_BODY: usize = 16 * 1024 * 1024;

impl From<Http> for SharedHttpClient {
    fn from(http: Http) -> Self {
        http.into_shared()
    }
}

impl HttpClient for Http {
    fn http_connector(&self, _: &HttpConnectorSettings, _: &RuntimeComponents) -> SharedHttpConnector {
        SharedHttpConnector::new(self.clone())
    }
}

impl HttpConnector for Http {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let http = self.clone();
        HttpConnectorFuture::new(async move {
            let user = |what: &'static str| ConnectorError::user(what.into());
            let request = request.try_into_http1x().map_err(|error| ConnectorError::user(error.into()))?;
            let (parts, body) = request.into_parts();
            let body = body.bytes().ok_or_else(|| user("streaming bodies are not sent"))?;
            let request = Request::from_parts(parts, Bytes::copy_from_slice(body));
            let answer =
                Http::call(&http, request, AWS_TIMEOUT, MAX_AWS_BODY).await.map_err(connector_error)?;
            HttpResponse::try_from(answer.map(SdkBody::from))
                .map_err(|error| ConnectorError::other(error.into(), None))
        })
    }
}

fn connector_error(error: CallError) -> ConnectorError {
    match error {
        CallError::TimedOut => ConnectorError::timeout(error.into()),
        _ => ConnectorError::io(error.into()),
    }
}
