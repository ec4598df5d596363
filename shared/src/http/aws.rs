//! The HTTP client as the AWS SDKs' connector.

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

/// A page of DynamoDB is at most 1 MB of data; its JSON is somewhat longer.
const MAX_AWS_BODY: usize = 16 * 1024 * 1024;

impl From<Http> for SharedHttpClient {
    fn from(http: Http) -> Self {
        http.into_shared()
    }
}

/// The client with the timeout of one attempt: the SDK's `read_timeout`.
#[derive(Debug)]
struct Connector {
    http: Http,
    timeout: Option<Duration>,
}

impl HttpClient for Http {
    fn http_connector(&self, settings: &HttpConnectorSettings, _: &RuntimeComponents) -> SharedHttpConnector {
        SharedHttpConnector::new(Connector { http: self.clone(), timeout: settings.read_timeout() })
    }
}

impl HttpConnector for Connector {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let (http, timeout) = (self.http.clone(), self.timeout.unwrap_or(Duration::MAX));
        HttpConnectorFuture::new(async move {
            let user_error = |what: &'static str| ConnectorError::user(what.into());
            let request = request.try_into_http1x().map_err(|error| ConnectorError::user(error.into()))?;
            let (parts, body) = request.into_parts();
            let body = body.bytes().ok_or_else(|| user_error("streaming bodies are not supported"))?;
            let request = Request::from_parts(parts, Bytes::copy_from_slice(body));
            let answer = http.call(request, timeout, MAX_AWS_BODY).await.map_err(connector_error)?;
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
