//! Calls of the HTTP API.

use std::{error::Error, io, net::IpAddr, sync::Arc, time::Duration};

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::{
    Client, Method, StatusCode, Url,
    header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue, RETRY_AFTER},
};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::value::RawValue;

use crate::{
    args::web_url,
    output::{clean, text},
};

/// Longer than the API takes: API Gateway ends a call after 30 s.
const TIMEOUT: Duration = Duration::from_secs(35);

/// Why a command did not succeed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// Wrong usage, or a missing or wrong setting. The text names it.
    #[error("{0}")]
    Usage(String),
    /// The API refused the call. The text is the `detail` of its problem.
    #[error("{detail} (HTTP {}{})", status.as_u16(), retry_after.map(|seconds| format!("; try again in {seconds} s")).unwrap_or_default())]
    Refused { status: StatusCode, detail: String, retry_after: Option<u64> },
    #[error("no answer from {url}: {cause}")]
    NoAnswer { url: Url, cause: String },
    #[error("the API's answer cannot be read: {0}")]
    Unreadable(#[from] serde_json::Error),
    #[error("{0}")]
    Failed(String),
    #[error("the output cannot be written: {0}")]
    Output(#[from] io::Error),
}

impl Failure {
    /// After how many seconds the same call can succeed. `None`: it cannot.
    pub(crate) fn passes_in(&self) -> Option<u64> {
        match self {
            Self::NoAnswer { .. } => Some(2),
            Self::Refused { status, retry_after, .. }
                if status.is_server_error() || *status == StatusCode::TOO_MANY_REQUESTS =>
            {
                Some(retry_after.unwrap_or(2))
            }
            _ => None,
        }
    }
}

/// A setting of the environment; an empty one counts as missing.
#[allow(clippy::disallowed_methods, reason = "the one place of the command line that reads settings")]
pub(crate) fn setting(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// An HTTP client with the TLS configuration of `shared::http`. It follows no redirects. It uses the proxy of the
/// environment, but not for `url` on this machine.
///
/// # Errors
/// If TLS cannot be set up.
pub(crate) fn client(url: &Url, timeout: Duration) -> Result<Client, Failure> {
    let roots = rustls::RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
    let tls = rustls::ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| Failure::Failed(error.to_string()))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    #[allow(clippy::disallowed_methods, reason = "the one HTTP client of the command line")]
    let builder = Client::builder();
    let builder = if is_local(url) { builder.no_proxy() } else { builder };
    builder
        .tls_backend_preconfigured(tls)
        .redirect(reqwest::redirect::Policy::none())
        .connect_timeout(Duration::from_secs(3))
        .timeout(timeout)
        .user_agent(concat!("tracker/", env!("CARGO_PKG_VERSION")))
        .build()
        .map_err(|error| Failure::Failed(cause(&error)))
}

/// Why a call got no response, without the URL.
pub(crate) fn cause(error: &reqwest::Error) -> String {
    if error.is_timeout() {
        return "no answer in time".to_owned();
    }
    let mut cause: &dyn Error = error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    cause.to_string()
}

/// Whether the URL leads to this machine: a name such as `127.example.com` does not.
fn is_local(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    host == "localhost" || address.is_ok_and(|address| address.is_loopback())
}

/// One page of a list.
#[derive(Deserialize)]
pub(crate) struct Page {
    /// Events, deliveries, resyncs or orders, as the API wrote them.
    #[serde(alias = "deliveries", alias = "resyncs", alias = "orders")]
    pub(crate) events: Vec<Box<RawValue>>,
    /// Where the next page begins; `null` on the last page.
    pub(crate) next: Option<Box<RawValue>>,
}

/// The API at one address, with one token.
#[derive(Debug)]
pub(crate) struct Api {
    client: Client,
    base: Url,
    /// Sensitive: it is never printed.
    authorization: HeaderValue,
    /// The variable that holds the token.
    token_from: &'static str,
}

impl Api {
    /// The API that `url` and the environment name.
    ///
    /// # Errors
    /// [`Failure::Usage`] names the setting that is missing or wrong.
    pub(crate) fn open(url: Option<Url>) -> Result<Self, Failure> {
        let named = ["TRACKER_URL", "API_URL"].into_iter().find_map(|name| Some((name, setting(name)?)));
        let base = match (url, named) {
            (Some(url), _) => url,
            (None, Some((name, text))) => {
                web_url(&text).map_err(|wrong| Failure::Usage(format!("{name} is wrong: {wrong}")))?
            }
            (None, None) => {
                let missing =
                    "set TRACKER_URL to the address of the API (output ApiUrl of the stack), or give --url";
                return Err(Failure::Usage(missing.to_owned()));
            }
        };
        if base.scheme() != "https" && !is_local(&base) {
            let open = "the API's address must begin with https://, or the token could be read on the way";
            return Err(Failure::Usage(open.to_owned()));
        }
        let (token_from, token) = ["TRACKER_TOKEN", "API_TOKEN"]
            .into_iter()
            .find_map(|name| Some((name, setting(name)?)))
            .ok_or_else(|| Failure::Usage("set TRACKER_TOKEN to a token of the API".to_owned()))?;
        let mut authorization = HeaderValue::from_str(&format!("Bearer {token}"))
            .map_err(|_| Failure::Usage(format!("{token_from} has characters that no token has")))?;
        authorization.set_sensitive(true);
        Ok(Self { client: client(&base, TIMEOUT)?, base, authorization, token_from })
    }

    /// Calls the API. Returns the body of a 2xx answer.
    ///
    /// # Errors
    /// [`Failure::NoAnswer`], and [`Failure::Refused`] for any other status.
    pub(crate) async fn call(
        &self,
        method: Method,
        path: &[&str],
        query: &[(&str, &str)],
        body: Option<serde_json::Value>,
    ) -> Result<String, Failure> {
        let mut url = self.base.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(path);
        }
        let encoded =
            |(name, value): &(&str, &str)| format!("{name}={}", utf8_percent_encode(value, NON_ALPHANUMERIC));
        let query: Vec<_> = query.iter().map(encoded).collect();
        url.set_query(Some(query.join("&")).filter(|query| !query.is_empty()).as_deref());
        let mut request = self.client.request(method, url).header(AUTHORIZATION, self.authorization.clone());
        if let Some(body) = body {
            request = request.header(CONTENT_TYPE, "application/json").body(body.to_string());
        }
        let no_answer =
            |error: reqwest::Error| Failure::NoAnswer { url: self.base.clone(), cause: cause(&error) };
        let answer = request.send().await.map_err(no_answer)?;
        let status = answer.status();
        let retry_after =
            answer.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
        let body = answer.text().await.map_err(no_answer)?;
        if status.is_success() {
            return Ok(body);
        }
        Err(Failure::Refused { status, detail: self.detail(status, &body), retry_after })
    }

    /// `GET`, read as `T`.
    pub(crate) async fn get<T: DeserializeOwned>(
        &self,
        path: &[&str],
        query: &[(&str, &str)],
    ) -> Result<T, Failure> {
        Ok(serde_json::from_str(&self.call(Method::GET, path, query, None).await?)?)
    }

    /// Reads a list to its end. `from` is the parameter that takes `next` of the page before.
    pub(crate) async fn each(
        &self,
        path: &[&str],
        query: &[(&str, &str)],
        from: &str,
        mut show: impl FnMut(&RawValue) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let mut page: Page = self.get(path, query).await?;
        loop {
            page.events.iter().try_for_each(|one| show(one))?;
            let Some(next) = page.next.as_deref().and_then(text) else { return Ok(()) };
            page = self.get(path, &[query, &[(from, &next)]].concat()).await?;
        }
    }

    /// What the API says about a refused call.
    fn detail(&self, status: StatusCode, body: &str) -> String {
        /// `application/problem+json`, or the `message` of API Gateway itself.
        #[derive(Deserialize)]
        struct Problem {
            #[serde(alias = "message")]
            detail: String,
        }
        let reason = status.canonical_reason().unwrap_or("refused").to_owned();
        let detail = serde_json::from_str(body).map_or(reason, |problem: Problem| clean(&problem.detail));
        match status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                format!("{detail}; the token is that of {}", self.token_from)
            }
            _ => detail,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_addresses_of_this_machine_are_local() {
        for (url, expected) in [
            ("http://localhost:1/", true),
            ("http://127.0.0.1:1/", true),
            ("http://127.9.9.9/", true),
            ("http://[::1]:1/", true),
            ("http://127.example.com/", false),
            ("http://127.0.0.1.example.com/", false),
            ("http://localhost.example.com/", false),
            ("http://shop.localhost/", false),
            ("http://10.0.0.1/", false),
        ] {
            assert_eq!(is_local(&Url::parse(url).unwrap()), expected, "{url}");
        }
    }
}
