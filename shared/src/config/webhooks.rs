//! The settings of webhooks.

use std::fmt;

use reqwest::Url;

use super::{ConfigError, value::Values};
use crate::{http::Allowed, order::RetrySchedule};

/// The address that events are sent to. Never printed: its path or query may contain a password of the shop.
#[derive(Clone, PartialEq, Eq)]
pub struct WebhookUrl(Url);

/// Settings of webhooks. Without a URL there are none.
#[derive(Clone, Debug)]
pub struct Webhooks {
    /// `WEBHOOK_URL`.
    pub url: Option<WebhookUrl>,
    /// Which addresses may be called: loopback on a local stack only.
    pub allowed: Allowed,
    /// `WEBHOOK_RETRY_SCHEDULE`.
    pub retry_schedule: RetrySchedule,
    /// `WEBHOOK_SECRET_ID`.
    pub secret_id: String,
    /// `WEBHOOK_QUEUE_URL`.
    pub queue_url: String,
    /// `WEBHOOK_DEAD_LETTERS_URL`.
    pub dead_letters_url: String,
}

impl Webhooks {
    /// The settings of webhooks in `values`. `None` if the URL is not allowed.
    pub(super) fn of(values: &Values, allowed: Allowed) -> Option<Self> {
        let url = match values.webhook_url.as_str() {
            "" => None,
            text => Some(WebhookUrl::parse(text, allowed)?),
        };
        Some(Self {
            url,
            allowed,
            retry_schedule: values.webhook_retry_schedule.clone(),
            secret_id: values.webhook_secret_id.clone(),
            queue_url: values.webhook_queue_url.clone(),
            dead_letters_url: values.webhook_dead_letters_url.clone(),
        })
    }

    /// The URL, if all settings that `notify` needs are set.
    ///
    /// # Errors
    /// The settings that are missing, by name.
    pub fn required(&self) -> Result<&WebhookUrl, ConfigError> {
        let needed = [
            ("WEBHOOK_SECRET_ID", &self.secret_id),
            ("WEBHOOK_QUEUE_URL", &self.queue_url),
            ("WEBHOOK_DEAD_LETTERS_URL", &self.dead_letters_url),
        ];
        let empty = needed.into_iter().filter(|(_, value)| value.is_empty()).map(|(name, _)| name);
        let no_url = self.url.is_none().then_some("WEBHOOK_URL");
        let problems: Vec<String> =
            no_url.into_iter().chain(empty).map(|name| format!("{name} is missing")).collect();
        self.url.as_ref().filter(|_| problems.is_empty()).ok_or(ConfigError { problems })
    }

    /// The default of `WEBHOOK_RETRY_SCHEDULE`: the first waits that the Standard Webhooks specification advises, then 10 h
    /// once more. SQS cannot hide a message for the longer ones.
    pub(super) fn default_retry_schedule() -> RetrySchedule {
        let hours = |hours: u64| std::time::Duration::from_secs(hours * 3600);
        let seconds = std::time::Duration::from_secs;
        RetrySchedule::new(
            seconds(5),
            [seconds(300), seconds(1800), hours(2), hours(5), hours(10), hours(10)],
        )
    }
}

impl WebhookUrl {
    /// An https URL of a public host, or a URL of loopback where that is allowed. `None`: another one.
    fn parse(text: &str, allowed: Allowed) -> Option<Self> {
        let url = Url::parse(text).ok()?;
        let has_password = !url.username().is_empty() || url.password().is_some();
        let host = url.host_str()?.trim_start_matches('[').trim_end_matches(']');
        let address = match host {
            "localhost" => Some(std::net::IpAddr::from([127, 0, 0, 1])),
            host => host.parse().ok(),
        };
        let is_loopback = address.is_some_and(|address| address.is_loopback());
        let is_allowed = address.is_none_or(|address| allowed.check(address).is_ok());
        let is_web = url.scheme() == "https" || (url.scheme() == "http" && is_loopback);
        (is_web && is_allowed && !has_password).then_some(Self(url))
    }

    /// The URL, for the request.
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }
}

impl fmt::Debug for WebhookUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WebhookUrl")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_webhook_goes_to_a_public_host_by_https() {
        let good = ["https://shop.example/hook", "https://shop.example:8443/a?token=1", "https://1.1.1.1/"];
        let local = ["http://127.0.0.1:8000/hook", "http://localhost:8000/hook", "https://[::1]/hook"];
        let bad = [
            "http://shop.example/hook",
            "https://me:secret@shop.example/",
            "https://me@shop.example/",
            "shop.example",
            "ftp://shop.example/",
            "https://10.0.0.1/",
            "https://169.254.169.254/latest/meta-data",
            "https://0x7f.1.1/x",
            "http://2130706433.example/",
            "https://[fd00:ec2::254]/",
            "http://169.254.169.254/",
            "http://10.0.0.1/",
            "https://",
        ];
        let parse = WebhookUrl::parse;
        for text in good {
            assert!(parse(text, Allowed::Public).is_some(), "{text}");
        }
        for text in local {
            assert!(parse(text, Allowed::Public).is_none(), "{text}");
            assert!(parse(text, Allowed::PublicAndLoopback).is_some(), "{text}");
        }
        for text in bad {
            assert!(parse(text, Allowed::Public).is_none(), "{text}");
        }
        // Forms of 127.0.0.1 that a URL parser understands.
        for text in
            ["https://2130706433/", "https://0x7f000001/", "https://127.1/", "https://[::ffff:127.0.0.1]/"]
        {
            assert!(parse(text, Allowed::Public).is_none(), "{text}");
        }
        let url = parse("https://shop.example/hook?token=1", Allowed::Public).unwrap();
        assert!(!format!("{url:?}").contains("token"));
    }
}
