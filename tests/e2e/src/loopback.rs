//! The tests' HTTP client for servers on loopback.

use std::time::Duration;

/// An HTTP client that follows no redirects. Its requests are plain HTTP; `reqwest` requires a TLS configuration all
/// the same.
pub fn client() -> reqwest::Client {
    #[allow(clippy::disallowed_methods, reason = "the tests' only HTTP client")]
    let client = reqwest::Client::builder()
        .tls_backend_preconfigured(shared::http::tls(&[]).unwrap())
        .redirect(reqwest::redirect::Policy::none())
        .connect_timeout(Duration::from_secs(3))
        .timeout(Duration::from_secs(60))
        .build();
    client.unwrap()
}
