//! The one HTTP client: for the vendor and for AWS. One TLS stack, and one seam where tests inject faults.

use std::{sync::Arc, time::Duration};

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
    http::StatusCode,
    shared::IntoShared,
};
use aws_smithy_types::body::SdkBody;

/// The client could not be made.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// The TLS configuration is refused.
    #[error("TLS cannot be set up")]
    Tls(#[from] rustls::Error),
    /// The client is refused.
    #[error("the HTTP client cannot be set up")]
    Client(#[from] reqwest::Error),
}

/// A client with ring and Mozilla's roots compiled in (design §9 has the figures), connections kept for a minute,
/// redirects not followed: neither the vendor nor AWS documents one.
///
/// # Errors
/// If TLS cannot be set up.
pub fn client() -> Result<reqwest::Client, HttpError> {
    let roots = rustls::RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
    let tls = rustls::ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    #[allow(clippy::disallowed_methods, reason = "the one place that makes the client")]
    let client = reqwest::Client::builder()
        .tls_backend_preconfigured(tls)
        .redirect(reqwest::redirect::Policy::none())
        .connect_timeout(Duration::from_secs(3))
        .read_timeout(Duration::from_secs(6))
        .pool_idle_timeout(Duration::from_secs(60))
        .build()?;
    Ok(client)
}

/// The same client, as the AWS SDKs want it.
pub fn for_aws(client: reqwest::Client) -> SharedHttpClient {
    AwsHttp(client).into_shared()
}

#[derive(Clone, Debug)]
struct AwsHttp(reqwest::Client);

impl HttpClient for AwsHttp {
    fn http_connector(&self, _: &HttpConnectorSettings, _: &RuntimeComponents) -> SharedHttpConnector {
        SharedHttpConnector::new(self.clone())
    }
}

impl HttpConnector for AwsHttp {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let client = self.0.clone();
        HttpConnectorFuture::new(async move { send(&client, request).await })
    }
}

async fn send(client: &reqwest::Client, request: HttpRequest) -> Result<HttpResponse, ConnectorError> {
    let user = |what: &'static str| ConnectorError::user(what.into());
    let body = request.body().bytes().ok_or_else(|| user("streaming bodies are not sent"))?.to_vec();
    let method =
        reqwest::Method::from_bytes(request.method().as_bytes()).map_err(|_| user("unknown method"))?;
    let mut call = client.request(method, request.uri()).body(body);
    for (name, value) in request.headers() {
        call = call.header(name, value);
    }
    let response = call.send().await.map_err(connector_error)?;
    let status = StatusCode::try_from(response.status().as_u16()).map_err(|_| user("no HTTP status"))?;
    let headers = response.headers().clone();
    let body = response.bytes().await.map_err(connector_error)?;
    let mut answer = HttpResponse::new(status, SdkBody::from(body));
    for (name, value) in &headers {
        if let Ok(value) = value.to_str() {
            answer.headers_mut().append(name.as_str().to_owned(), value.to_owned());
        }
    }
    Ok(answer)
}

fn connector_error(error: reqwest::Error) -> ConnectorError {
    let error = error.without_url();
    if error.is_timeout() { ConnectorError::timeout(error.into()) } else { ConnectorError::io(error.into()) }
}
