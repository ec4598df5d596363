//! The one HTTP client: for the vendor and for AWS. One TLS stack, one pool of connections, and connections that can be made
//! before they are needed.

use std::{
    collections::HashMap,
    fmt,
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
    time::Duration,
};

use aws_smithy_runtime_api::{
    client::{
        http::{
            HttpClient, HttpConnector as AwsConnector, HttpConnectorFuture, HttpConnectorSettings,
            SharedHttpClient, SharedHttpConnector,
        },
        orchestrator::{HttpRequest, HttpResponse},
        result::ConnectorError,
        runtime_components::RuntimeComponents,
    },
    shared::IntoShared,
};
use aws_smithy_types::body::SdkBody;
use http::{Request, Response, Uri, uri::Authority};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::Bytes;
use hyper_rustls::{HttpsConnector, MaybeHttpsStream};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioIo, TokioTimer},
};
use rustls::{CipherSuite, pki_types::CertificateDer};
use tokio::{
    net::TcpStream,
    time::{Instant, timeout},
};
use tower_service::Service;

/// A connection, with its TLS.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// Connections are kept for so long.
const IDLE_TIMEOUT: Duration = Duration::from_secs(60);
/// A connection made ahead is good for so long: the other side may tire of one that says nothing.
const AHEAD_FOR: Duration = Duration::from_secs(10);
/// One attempt at an AWS call; the SDK repeats it, and has a limit for all of them together.
const AWS_TIMEOUT: Duration = Duration::from_millis(2500);
/// A page of DynamoDB is 1 MB, and somewhat more as JSON.
const MOST_OF_AWS: usize = 16 * 1024 * 1024;

/// A client, cheap to clone; clones share their connections. Redirects are not followed: neither the vendor nor AWS documents
/// one.
#[derive(Clone)]
pub struct Http {
    client: Client<Connector, Full<Bytes>>,
    connector: Connector,
}

/// A call brought no answer. Never says to where it was, or with what.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// Nobody is there, or he cannot prove who he is.
    #[error("no connection")]
    NoConnection,
    /// It took too long.
    #[error("no answer in time")]
    TimedOut,
    /// It broke before an answer began.
    #[error("connection broken")]
    Broken,
    /// It broke while an answer came.
    #[error("answer cut off")]
    CutOff,
    /// The answer is longer than was allowed.
    #[error("answer too long")]
    TooLong,
}

impl Http {
    /// A client with ring and Mozilla's roots compiled in (docs/decisions/2026-11-22-one-http-client.md has the figures), which trusts
    /// `extra_roots` too.
    ///
    /// # Errors
    /// If a root is not one, or TLS cannot be set up.
    pub fn new(extra_roots: &[CertificateDer<'static>]) -> Result<Self, rustls::Error> {
        let mut roots = rustls::RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
        for root in extra_roots {
            roots.add(root.clone())?;
        }
        let mut provider = rustls::crypto::ring::default_provider();
        // SHA-256 costs a handshake half of what SHA-384 does, and AES of 128 bits is as good as that of 256 for years to come.
        provider.cipher_suites.sort_by_key(|suite| suite.suite() != CipherSuite::TLS13_AES_128_GCM_SHA256);
        let tls = rustls::ClientConfig::builder_with_provider(Arc::new(provider))
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        let connector = Connector { https: HttpsConnector::from((tcp, tls)), ahead: Arc::default() };
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE_TIMEOUT)
            .build(connector.clone());
        Ok(Self { client, connector })
    }

    /// Makes a connection and keeps it for the first call that goes there. Asks nothing.
    ///
    /// # Errors
    /// If there is no connection: the call will say so itself.
    pub async fn connect_ahead(&self, to: &Uri) -> Result<(), CallError> {
        let Some(authority) = to.authority() else { return Err(CallError::NoConnection) };
        let connection = self.connector.connect(to.clone()).await.map_err(|_| CallError::NoConnection)?;
        self.connector.ahead().insert(authority.clone(), (connection, Instant::now()));
        Ok(())
    }

    /// One call, no repeat: an answer of at most `most` bytes within `patience`.
    ///
    /// # Errors
    /// See [`CallError`]; any HTTP status is an answer.
    pub async fn call(
        &self,
        request: Request<Bytes>,
        patience: Duration,
        most: usize,
    ) -> Result<Response<Bytes>, CallError> {
        timeout(patience, self.answer(request, most)).await.unwrap_or(Err(CallError::TimedOut))
    }

    async fn answer(&self, request: Request<Bytes>, most: usize) -> Result<Response<Bytes>, CallError> {
        let sent = self.client.request(request.map(Full::new)).await;
        let (parts, body) = sent
            .map_err(|error| if error.is_connect() { CallError::NoConnection } else { CallError::Broken })?
            .into_parts();
        let body = Limited::new(body, most).collect().await.map_err(|error| {
            if error.is::<LengthLimitError>() { CallError::TooLong } else { CallError::CutOff }
        })?;
        Ok(Response::from_parts(parts, body.to_bytes()))
    }
}

impl fmt::Debug for Http {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Http").finish_non_exhaustive()
    }
}

type Connection = MaybeHttpsStream<TokioIo<TcpStream>>;
type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Takes the connection that was made ahead, or makes one.
#[derive(Clone)]
struct Connector {
    https: HttpsConnector<HttpConnector>,
    ahead: Arc<Mutex<HashMap<Authority, (Connection, Instant)>>>,
}

impl Connector {
    async fn connect(&self, to: Uri) -> Result<Connection, BoxError> {
        let mut https = self.https.clone();
        timeout(CONNECT_TIMEOUT, async move {
            std::future::poll_fn(|context| https.poll_ready(context)).await?;
            https.call(to).await
        })
        .await?
    }

    fn ahead(&self) -> MutexGuard<'_, HashMap<Authority, (Connection, Instant)>> {
        self.ahead.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Service<Uri> for Connector {
    type Response = Connection;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Connection, BoxError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, to: Uri) -> Self::Future {
        let made = to.authority().and_then(|authority| self.ahead().remove(authority));
        let connector = self.clone();
        Box::pin(async move {
            match made {
                Some((connection, since)) if since.elapsed() < AHEAD_FOR => Ok(connection),
                _ => connector.connect(to).await,
            }
        })
    }
}

/// The same client, as the AWS SDKs want it.
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

impl AwsConnector for Http {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let http = self.clone();
        HttpConnectorFuture::new(async move {
            let user = |what: &'static str| ConnectorError::user(what.into());
            let request = request.try_into_http1x().map_err(|error| ConnectorError::user(error.into()))?;
            let (parts, body) = request.into_parts();
            let body = body.bytes().ok_or_else(|| user("streaming bodies are not sent"))?;
            let request = Request::from_parts(parts, Bytes::copy_from_slice(body));
            let answer =
                Http::call(&http, request, AWS_TIMEOUT, MOST_OF_AWS).await.map_err(connector_error)?;
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
mod tests;
