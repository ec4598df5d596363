//! The HTTP client for the vendor and for AWS: `reqwest` with the tracker's TLS configuration. One TLS stack, one
//! connection pool.

use std::time::Duration;

use http::{HeaderValue, Request, Response, header};
use hyper::body::Bytes;
use rustls::pki_types::CertificateDer;
use tower::util::MapResponseLayer;

use connections::Connections;
pub use public::{Allowed, NotPublic};
pub use retry_after::retry_after;
pub use tls::tls;

mod aws;
mod coding;
mod connections;
mod public;
mod retry_after;
mod tls;

/// Timeout of connecting, TLS handshake included.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// The pool closes a connection that was idle for this long.
const IDLE_TIMEOUT: Duration = Duration::from_secs(60);

/// The client. Cheap to clone; clones share their connections. It does not follow redirects: neither the vendor nor
/// AWS documents one.
#[derive(Clone, Debug)]
pub struct Http {
    client: reqwest::Client,
    /// Opens a new connection for each call and keeps none.
    fresh: reqwest::Client,
    connections: Connections,
}

/// Why a call returned no response. Never contains the URL or the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// URL parsing would change the path (`.` or `..`), so the request is not sent.
    #[error("no URL can be made")]
    NoUrl,
    /// Connection refused, or TLS verification failed.
    #[error("no connection")]
    NoConnection,
    /// The call exceeded its timeout.
    #[error("no answer in time")]
    TimedOut,
    /// The connection closed before the response, or within its head.
    #[error("connection broken")]
    Broken,
    /// The connection closed within the response's body.
    #[error("answer cut off")]
    CutOff,
    /// The response's body is longer than the call allows.
    #[error("answer too long")]
    TooLong,
    /// The content coding is unknown, or the body is not valid in it. The text says which.
    #[error("answer cannot be decoded: {0}")]
    Undecodable(&'static str),
    /// The host has an address that this client may not call.
    #[error(transparent)]
    NotPublic(#[from] NotPublic),
}

impl Http {
    /// A client that trusts Mozilla's roots, which are compiled in, and `extra_roots`.
    ///
    /// # Errors
    /// If a root cannot be read, or TLS cannot be set up.
    pub fn new(extra_roots: &[CertificateDer<'static>]) -> Result<Self, rustls::Error> {
        Self::build(extra_roots, |builder| builder)
    }

    /// A client that calls `allowed` addresses only. An address in the URL itself is not looked up: the caller checks
    /// it with [`Allowed::check`].
    ///
    /// # Errors
    /// If a root cannot be read, or TLS cannot be set up.
    pub fn to_public(
        extra_roots: &[CertificateDer<'static>],
        allowed: Allowed,
    ) -> Result<Self, rustls::Error> {
        Self::build(extra_roots, |builder| builder.dns_resolver(public::Resolver(allowed)))
    }

    fn build(
        extra_roots: &[CertificateDer<'static>],
        finish: impl Fn(reqwest::ClientBuilder) -> reqwest::ClientBuilder,
    ) -> Result<Self, rustls::Error> {
        let tls = tls(extra_roots)?;
        let connections = Connections::default();
        let client = |most_idle| {
            let noted = connections.clone();
            #[allow(clippy::disallowed_methods, reason = "the one HTTP client of the functions")]
            let builder = reqwest::Client::builder()
                .tls_backend_preconfigured(tls.clone())
                .connector_layer(MapResponseLayer::new(move |made| noted.note(made)))
                .connect_timeout(CONNECT_TIMEOUT)
                .pool_idle_timeout(IDLE_TIMEOUT)
                .pool_max_idle_per_host(most_idle)
                .tcp_nodelay(true)
                .http1_only()
                // Accepts malformed headers that browsers and curl accept.
                .http1_ignore_invalid_headers_in_responses(true)
                .http1_allow_spaces_after_header_name_in_responses(true)
                .http1_allow_obsolete_multiline_headers_in_responses(true)
                .no_proxy()
                .redirect(reqwest::redirect::Policy::none())
                // No retries by reqwest, so it keeps no copy of a request. hyper-util still retries a request of
                // which nothing was sent because a pooled connection was closed.
                .retry(reqwest::retry::never().max_retries_per_request(0));
            finish(builder).build().map_err(|error| rustls::Error::General(error.to_string()))
        };
        Ok(Self { client: client(usize::MAX)?, fresh: client(0)?, connections })
    }

    /// Sends a request without a body. The response's body is at most `most` bytes, both as sent and decoded.
    /// `timeout` covers the whole call, a repeat included.
    ///
    /// The server may have closed a pooled connection meanwhile. If a reused connection breaks before a response and
    /// the method is safe, the request is sent once more, on a new connection. Nothing else is repeated: not a break
    /// of a new connection, a timeout, a refused connection, or a break within a body.
    ///
    /// Compressed bodies (gzip, deflate) are decoded although the request asks for `identity`. With an error status,
    /// a body that cannot be decoded is returned empty: the status is enough.
    ///
    /// # Errors
    /// See [`CallError`]. Any HTTP status is a response, not an error.
    pub async fn ask(
        &self,
        request: Request<()>,
        timeout: Duration,
        most: usize,
    ) -> Result<Response<Bytes>, CallError> {
        tokio::time::timeout(timeout, self.ask_without_timeout(request, most))
            .await
            .unwrap_or(Err(CallError::TimedOut))
    }

    async fn ask_without_timeout(
        &self,
        mut request: Request<()>,
        most: usize,
    ) -> Result<Response<Bytes>, CallError> {
        request.headers_mut().insert(header::ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        let request = sendable(request.map(|()| Bytes::new()))?;
        let again = request.try_clone().filter(|request| request.method().is_safe());
        let made = self.connections.made();
        let sent = match (self.client.execute(request).await, again) {
            (Err(error), Some(again)) if self.connections.broke_when_reused(&error, made) => {
                self.fresh.execute(again).await
            }
            (sent, _) => sent,
        };
        let (parts, body) = self.read_response(sent, most).await?.into_parts();
        let body = match coding::decoded(&parts.headers, body, most) {
            Err(CallError::Undecodable(_)) if !parts.status.is_success() => Bytes::new(),
            decoded => decoded?,
        };
        Ok(Response::from_parts(parts, body))
    }

    /// Posts a request once. Of the response's body, the first `most` bytes are read, as sent; a body that breaks off
    /// is no error. `timeout` covers the whole call.
    ///
    /// # Errors
    /// See [`CallError`]. Any HTTP status is a response, not an error.
    pub async fn post(
        &self,
        mut request: Request<Bytes>,
        timeout: Duration,
        most: usize,
    ) -> Result<Response<Bytes>, CallError> {
        request.headers_mut().insert(header::ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        let deadline = tokio::time::Instant::now() + timeout;
        let sent = tokio::time::timeout_at(deadline, self.client.execute(sendable(request)?)).await;
        let mut sent = sent.map_err(|_| CallError::TimedOut)?.map_err(|error| not_sent(&error))?;
        self.connections.answered(sent.extensions());
        let mut body = Vec::new();
        let reading = async {
            while let Ok(Some(chunk)) = sent.chunk().await {
                body.extend(chunk.into_iter().take(most - body.len()));
                if body.len() == most {
                    break;
                }
            }
        };
        // Without the rest of the body if it comes too late: the status is what counts.
        let _ = tokio::time::timeout_at(deadline, reading).await;
        let mut answer = Response::new(body.into());
        *answer.status_mut() = sent.status();
        *answer.headers_mut() = std::mem::take(sent.headers_mut());
        Ok(answer)
    }

    /// Sends a request once.
    async fn call(
        &self,
        request: Request<Bytes>,
        timeout: Duration,
        most: usize,
    ) -> Result<Response<Bytes>, CallError> {
        let answer = async { self.read_response(self.client.execute(sendable(request)?).await, most).await };
        tokio::time::timeout(timeout, answer).await.unwrap_or(Err(CallError::TimedOut))
    }

    async fn read_response(
        &self,
        sent: Result<reqwest::Response, reqwest::Error>,
        most: usize,
    ) -> Result<Response<Bytes>, CallError> {
        let mut sent = sent.map_err(|error| not_sent(&error))?;
        self.connections.answered(sent.extensions());
        let mut body = Vec::new();
        while let Some(chunk) = sent.chunk().await.map_err(|_| CallError::CutOff)? {
            if chunk.len() > most - body.len() {
                return Err(CallError::TooLong);
            }
            body.extend_from_slice(&chunk);
        }
        let mut answer = Response::new(body.into());
        *answer.status_mut() = sent.status();
        *answer.headers_mut() = std::mem::take(sent.headers_mut());
        Ok(answer)
    }
}

/// Why there is no response.
fn not_sent(error: &reqwest::Error) -> CallError {
    match public::refused(error) {
        Some(refused) => refused.into(),
        None if error.is_connect() => CallError::NoConnection,
        None => CallError::Broken,
    }
}

/// Converts a request for reqwest. reqwest normalises paths; a path that this would change is refused.
fn sendable(request: Request<Bytes>) -> Result<reqwest::Request, CallError> {
    let path = request.uri().path().to_owned();
    let request = reqwest::Request::try_from(request).map_err(|_| CallError::NoUrl)?;
    if request.url().path() == path { Ok(request) } else { Err(CallError::NoUrl) }
}

#[cfg(test)]
mod tests;
