//! The tests' own HTTP client, for what they ask over loopback.

use std::time::Duration;

/// A client without TLS that follows no redirect.
pub fn client() -> reqwest::Client {
    #[allow(clippy::disallowed_methods, reason = "the one place that makes the tests' client")]
    let client = reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .connect_timeout(Duration::from_secs(3))
        .timeout(Duration::from_secs(60))
        .build();
    client.unwrap()
}
