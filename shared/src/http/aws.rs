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

#[cfg(test)]
mod tests {
    use aws_smithy_types::timeout::TimeoutConfig;
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::{TcpListener, TcpStream},
    };

    use super::*;
    use crate::aws::{AwsEnvironment, sdk_config};

    /// The connection of the next attempt, whose request was read.
    async fn attempt(listener: &TcpListener) -> TcpStream {
        let (mut connection, _) = listener.accept().await.unwrap();
        let mut asked = Vec::new();
        while !asked.ends_with(b"{}") {
            assert_ne!(connection.read_buf(&mut asked).await.unwrap(), 0);
        }
        connection
    }

    async fn pass(time: Duration) {
        tokio::time::pause();
        tokio::time::advance(time).await;
        tokio::time::resume();
    }

    /// The SDK repeats a write whose answer is late, even if it is done. Without a read timeout, a slow machine causes no repeat.
    #[tokio::test]
    async fn an_attempt_takes_as_long_as_the_read_timeout_allows() {
        for is_limited in [true, false] {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let endpoint = format!("http://{}", listener.local_addr().unwrap());
            let config = sdk_config(&AwsEnvironment::for_tests(&endpoint), Http::new(&[]).unwrap());
            // Production's 5 s for all attempts would end on a slow machine.
            let timeouts = match config.timeout_config() {
                Some(ours) if is_limited => {
                    ours.to_builder().operation_timeout(Duration::from_secs(60)).build()
                }
                _ => TimeoutConfig::disabled(),
            };
            let config = config.into_builder().timeout_config(timeouts).build();
            let client = aws_sdk_dynamodb::Client::new(&config);
            let mut call = tokio::spawn(async move { client.list_tables().send().await });
            let mut first = attempt(&listener).await;
            if is_limited {
                pass(Duration::from_millis(2500)).await;
                tokio::select! {
                    _ = attempt(&listener) => call.abort(),
                    ended = &mut call => panic!("no second attempt: {ended:?}"),
                }
            } else {
                pass(Duration::from_secs(3600)).await;
                first.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}").await.unwrap();
                call.await.unwrap().unwrap();
            }
        }
    }
}
