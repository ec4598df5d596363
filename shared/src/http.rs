//! The one HTTP client: for the vendor and for AWS. One TLS stack, one pool of connections, and connections that can be made
//! before they are needed.

use std::{
    collections::HashMap,
    error::Error,
    fmt,
    future::Future,
    io::{self, Read},
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
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
use flate2::read::{DeflateDecoder, MultiGzDecoder, ZlibDecoder};
use http::{Request, Response, Uri, header, uri::Authority};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::{body::Bytes, rt};
use hyper_rustls::{HttpsConnector, MaybeHttpsStream};
use hyper_util::{
    client::legacy::{
        self, Client,
        connect::{self, HttpConnector},
    },
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
    /// The same without a pool: each call has a connection of its own.
    unpooled: Client<Connector, Full<Bytes>>,
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
    /// The same, on a connection that had served before, or was made long ahead: the other side may have closed it meanwhile.
    #[error("connection broken")]
    Stale,
    /// It broke while an answer came.
    #[error("answer cut off")]
    CutOff,
    /// The answer is longer than was allowed.
    #[error("answer too long")]
    TooLong,
    /// The answer is encoded in a way that cannot be undone.
    #[error("answer not to be decoded")]
    Undecodable,
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
        let mut builder = Client::builder(TokioExecutor::new());
        builder
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE_TIMEOUT)
            // What browsers and curl put up with: a header that is none, `Name : value`, a value that goes on in the next line.
            .http1_ignore_invalid_headers_in_responses(true)
            .http1_allow_spaces_after_header_name_in_responses(true)
            .http1_allow_obsolete_multiline_headers_in_responses(true);
        let client = builder.build(connector.clone());
        let unpooled = Connector { ahead: Arc::default(), ..connector.clone() };
        let unpooled = builder.pool_max_idle_per_host(0).build(unpooled);
        Ok(Self { client, unpooled, connector })
    }

    /// Makes a connection and keeps it for the first call that goes there. Asks nothing.
    ///
    /// # Errors
    /// If there is no connection: the call will say so itself.
    pub async fn connect_ahead(&self, to: &Uri) -> Result<(), CallError> {
        let Some(authority) = to.authority() else { return Err(CallError::NoConnection) };
        let connection = self.connector.connect(to.clone()).await.map_err(|_| CallError::NoConnection)?;
        connection.served.store(true, Ordering::Relaxed);
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
        timeout(patience, answer(&self.client, request, most)).await.unwrap_or(Err(CallError::TimedOut))
    }

    /// One question to the vendor, by GET: the answer decoded, of at most `most` bytes then, within `patience`. If a connection that had
    /// served before breaks before the answer begins, the question is asked once more on a new one: the other side closes idle
    /// connections while a function is frozen, and nothing was answered (docs/decisions/2026-11-28-reused-connections.md).
    ///
    /// # Errors
    /// See [`CallError`]; any HTTP status is an answer.
    pub async fn ask(
        &self,
        question: Request<()>,
        patience: Duration,
        most: usize,
    ) -> Result<Response<Bytes>, CallError> {
        let (parts, ()) = question.into_parts();
        let request = || Request::from_parts(parts.clone(), Bytes::new());
        let asked = async {
            match answer(&self.client, request(), most).await {
                Err(CallError::Stale) => answer(&self.unpooled, request(), most).await,
                other => other,
            }
        };
        let answer = timeout(patience, asked).await.unwrap_or(Err(CallError::TimedOut))?;
        decoded(answer, most)
    }
}

async fn answer(
    client: &Client<Connector, Full<Bytes>>,
    request: Request<Bytes>,
    most: usize,
) -> Result<Response<Bytes>, CallError> {
    let sent = client.request(request.map(Full::new)).await;
    let (mut parts, body) = sent.map_err(|error| broken(&error))?.into_parts();
    let body = Limited::new(body, most).collect().await.map_err(|error| {
        if error.is::<LengthLimitError>() { CallError::TooLong } else { CallError::CutOff }
    })?;
    if let Some(Served(served)) = parts.extensions.remove() {
        served.store(true, Ordering::Relaxed);
    }
    Ok(Response::from_parts(parts, body.to_bytes()))
}

/// What a call that brought no answer met.
fn broken(error: &legacy::Error) -> CallError {
    if error.is_connect() {
        return CallError::NoConnection;
    }
    // An answer that is no HTTP has begun.
    let is_answer = error
        .source()
        .and_then(|source| source.downcast_ref::<hyper::Error>())
        .is_some_and(|cause| cause.is_parse());
    let mut extras = http::Extensions::new();
    if let Some(connection) = error.connect_info() {
        connection.get_extras(&mut extras);
    }
    let has_served = extras.get().is_some_and(|Served(served)| served.load(Ordering::Relaxed));
    if has_served && !is_answer { CallError::Stale } else { CallError::Broken }
}

/// An answer without its `Content-Encoding` (RFC 9110, 8.4): of gzip and deflate, one of them. Nothing is asked for, so others are not
/// expected; Brotli's dictionary alone would be 2 % of a function.
fn decoded(answer: Response<Bytes>, most: usize) -> Result<Response<Bytes>, CallError> {
    let coding = answer.headers().get(header::CONTENT_ENCODING);
    let coding = coding.map_or(Ok(""), |coding| coding.to_str().map_err(|_| CallError::Undecodable))?;
    let body = answer.body().clone();
    let body = match coding.trim().to_ascii_lowercase().as_str() {
        "" | "identity" => body,
        // Some proxies decode a body and leave its label.
        "gzip" | "x-gzip" if !body.starts_with(&[0x1f, 0x8b]) => body,
        "gzip" | "x-gzip" => inflated(MultiGzDecoder::new(body.as_ref()), most)?,
        // With the frame that the RFC asks for, or as some servers send it, without.
        "deflate" if body.first().is_some_and(|first| first & 0x0f == 8) => {
            inflated(ZlibDecoder::new(body.as_ref()), most)?
        }
        "deflate" => inflated(DeflateDecoder::new(body.as_ref()), most)?,
        _ => return Err(CallError::Undecodable),
    };
    Ok(answer.map(|_| body))
}

/// At most `most` bytes of what comes out, whatever would follow.
fn inflated(decoder: impl Read, most: usize) -> Result<Bytes, CallError> {
    let mut out = Vec::new();
    let limit = u64::try_from(most).unwrap_or(u64::MAX).saturating_add(1);
    decoder.take(limit).read_to_end(&mut out).map_err(|_| CallError::Undecodable)?;
    if out.len() > most { Err(CallError::TooLong) } else { Ok(out.into()) }
}

impl fmt::Debug for Http {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Http").finish_non_exhaustive()
    }
}

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// A connection that knows whether it has served a call.
struct Connection {
    stream: MaybeHttpsStream<TokioIo<TcpStream>>,
    served: Arc<AtomicBool>,
}

/// The same knowledge, beside an answer and beside an error.
#[derive(Clone)]
struct Served(Arc<AtomicBool>);

impl connect::Connection for Connection {
    fn connected(&self) -> connect::Connected {
        self.stream.connected().extra(Served(self.served.clone()))
    }
}

impl rt::Read for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: rt::ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, into)
    }
}

impl rt::Write for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        from: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, from)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        from: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, from)
    }
}

/// Takes the connection that was made ahead, or makes one.
#[derive(Clone)]
struct Connector {
    https: HttpsConnector<HttpConnector>,
    ahead: Arc<Mutex<HashMap<Authority, (Connection, Instant)>>>,
}

impl Connector {
    async fn connect(&self, to: Uri) -> Result<Connection, BoxError> {
        let mut https = self.https.clone();
        let stream = timeout(CONNECT_TIMEOUT, async move {
            std::future::poll_fn(|context| https.poll_ready(context)).await?;
            https.call(to).await
        })
        .await??;
        Ok(Connection { stream, served: Arc::default() })
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
