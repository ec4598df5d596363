//! The one HTTP client: for the vendor and for AWS. One TLS stack, one pool of connections, and connections that can be made
//! before they are needed.

use std::{
    collections::HashMap,
    error::Error as _,
    fmt,
    future::Future,
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
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
use http::{Extensions, HeaderValue, Request, Response, Uri, header, uri::Authority};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::{Bytes, Incoming};
use hyper_rustls::HttpsConnector;
use hyper_util::{
    client::legacy::{self, Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioIo, TokioTimer},
};
use rustls::{CipherSuite, pki_types::CertificateDer};
use tokio::time::{Instant, timeout};
use tower_service::Service;

use connection::{Life, Watched};

mod coding;
mod connection;

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
    /// Makes a connection for each call, and keeps none.
    fresh: Client<Connector, Full<Bytes>>,
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
    /// It came in a content coding that is not known, or not in the one that it names. Says which trouble it is.
    #[error("answer cannot be decoded: {0}")]
    Undecodable(&'static str),
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
        let connector = Connector {
            https: HttpsConnector::from((tcp, tls)),
            ahead: Arc::default(),
            made: Arc::default(),
        };
        let mut builder = Client::builder(TokioExecutor::new());
        // What browsers and curl read, we read. hyper's own repeats stay on: they are of requests of which nothing was sent, on a
        // connection of the pool that turned out closed.
        builder
            .http1_ignore_invalid_headers_in_responses(true)
            .http1_allow_spaces_after_header_name_in_responses(true)
            .http1_allow_obsolete_multiline_headers_in_responses(true)
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE_TIMEOUT);
        let client = builder.build(connector.clone());
        let fresh =
            builder.pool_max_idle_per_host(0).build(Connector { ahead: Arc::default(), ..connector.clone() });
        Ok(Self { client, fresh, connector })
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

    /// One question without a body: an answer of at most `most` bytes, on the way and decoded, within `patience`, which holds for all of
    /// this together.
    ///
    /// A connection that was there before may have been given up by the other side meanwhile. If it breaks before a byte of the answer
    /// has come, and the method is a safe one, the question is asked once more, on a new connection. Nothing else is repeated: no break
    /// of a new connection, no timeout, no refusal to connect, no break after the answer began.
    ///
    /// Bodies that are compressed (gzip, deflate) are decoded, though none is asked for. One that cannot be decoded is left out of an
    /// answer whose status is no success: the status says enough.
    ///
    /// # Errors
    /// See [`CallError`]; any HTTP status is an answer.
    pub async fn ask(
        &self,
        request: Request<()>,
        patience: Duration,
        most: usize,
    ) -> Result<Response<Bytes>, CallError> {
        timeout(patience, self.asked(request, most)).await.unwrap_or(Err(CallError::TimedOut))
    }

    async fn asked(&self, mut request: Request<()>, most: usize) -> Result<Response<Bytes>, CallError> {
        request.headers_mut().insert(header::ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        let request = request.map(|()| Full::default());
        let before = self.connector.state(request.uri());
        let sent = match self.client.request(request.clone()).await {
            Err(error) if request.method().is_safe() && before.had_connection_of(&error) => {
                self.fresh.request(request).await
            }
            sent => sent,
        };
        let (parts, body) = whole(sent, most).await?.into_parts();
        let body = match coding::decoded(&parts.headers, body, most) {
            Err(CallError::Undecodable(_)) if !parts.status.is_success() => Bytes::new(),
            decoded => decoded?,
        };
        Ok(Response::from_parts(parts, body))
    }

    async fn answer(&self, request: Request<Bytes>, most: usize) -> Result<Response<Bytes>, CallError> {
        whole(self.client.request(request.map(Full::new)).await, most).await
    }
}

async fn whole(
    sent: Result<Response<Incoming>, legacy::Error>,
    most: usize,
) -> Result<Response<Bytes>, CallError> {
    let (parts, body) = sent
        .map_err(|error| if error.is_connect() { CallError::NoConnection } else { CallError::Broken })?
        .into_parts();
    let body = Limited::new(body, most).collect().await.map_err(|error| {
        if error.is::<LengthLimitError>() { CallError::TooLong } else { CallError::CutOff }
    })?;
    Ok(Response::from_parts(parts, body.to_bytes()))
}

impl fmt::Debug for Http {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Http").finish_non_exhaustive()
    }
}

type Connection = TokioIo<Watched>;
type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Takes the connection that was made ahead, or makes one.
#[derive(Clone)]
struct Connector {
    https: HttpsConnector<HttpConnector>,
    ahead: Arc<Mutex<HashMap<Authority, (Connection, Instant)>>>,
    /// How many connections were made.
    made: Arc<AtomicU64>,
}

/// Which connections there were when a call began.
struct Before {
    made: u64,
    /// One that was made ahead waits for a call to there.
    ahead: bool,
}

impl Before {
    /// The call broke, before its answer began, on a connection that was there before it.
    fn had_connection_of(&self, error: &legacy::Error) -> bool {
        let Some(connected) = error.connect_info() else {
            // hyper had not taken the connection yet, so nothing was sent on it.
            return self.ahead && !error.is_connect();
        };
        // Of such a request nothing was sent: what has come on its connection was no answer to it. Servers that close an idle connection
        // with a `408` do that.
        let unsent = error
            .source()
            .and_then(|source| source.downcast_ref::<hyper::Error>())
            .is_some_and(hyper::Error::is_canceled);
        let mut extras = Extensions::new();
        connected.get_extras(&mut extras);
        extras
            .get::<Life>()
            .is_some_and(|life| life.was_there_before(self.made) && (unsent || !life.has_answered()))
    }
}

impl Connector {
    async fn connect(&self, to: Uri) -> Result<Connection, BoxError> {
        let mut https = self.https.clone();
        let connection = timeout(CONNECT_TIMEOUT, async move {
            std::future::poll_fn(|context| https.poll_ready(context)).await?;
            https.call(to).await
        })
        .await??;
        let number = self.made.fetch_add(1, Ordering::Relaxed);
        Ok(TokioIo::new(Watched::new(connection, number)))
    }

    fn state(&self, to: &Uri) -> Before {
        let ahead = to.authority().is_some_and(|authority| self.ahead().contains_key(authority));
        Before { made: self.made.load(Ordering::Relaxed), ahead }
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
