//! The tests' own HTTP client, for what they ask over loopback.

use std::time::Duration;

/// A client that follows no redirect. What it asks is without TLS, but `reqwest` wants to have one.
pub fn client() -> reqwest::Client {
    #[allow(clippy::disallowed_methods, reason = "the one place that makes the tests' client")]
    let client = reqwest::Client::builder()
        .tls_backend_preconfigured(shared::http::tls(&[]).unwrap())
        .redirect(reqwest::redirect::Policy::none())
        .connect_timeout(Duration::from_secs(3))
        .timeout(Duration::from_secs(60))
        .build();
    client.unwrap()
}
