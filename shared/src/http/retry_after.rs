//! `Retry-After`, of the vendor and of a receiver of webhooks.

use std::time::Duration;

use http::{HeaderMap, HeaderValue, header};

use crate::clock::Clock;

/// `Retry-After` (RFC 9110, section 10.2.3): seconds, also with decimals, or a date, compared with the answer's
/// `Date`. A value beyond any duration is `Duration::MAX`; an unreadable one is `None`.
pub fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = |name| headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok()).map(str::trim);
    let wait = text(header::RETRY_AFTER)?;
    if !wait.is_empty() && wait.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.') {
        return wait
            .parse()
            .ok()
            .map(|seconds| Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX));
    }
    let until = httpdate::parse_http_date(wait).ok()?;
    let now = text(header::DATE).and_then(|date| httpdate::parse_http_date(date).ok());
    let now = now.unwrap_or_else(|| Clock::System.now().into());
    Some(until.duration_since(now).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_is_read_in_every_form() {
        let date = "Wed, 21 Oct 2026 07:28:00 GMT";
        let wait = |text: &str, date: Option<&str>| {
            let mut headers = HeaderMap::new();
            headers.insert(header::RETRY_AFTER, text.parse().unwrap());
            if let Some(date) = date {
                headers.insert(header::DATE, date.parse().unwrap());
            }
            retry_after(&headers)
        };
        let seconds = |seconds| Some(Duration::from_secs(seconds));
        for (text, expected) in [
            ("7", seconds(7)),
            (" 7 ", seconds(7)),
            ("0", seconds(0)),
            ("1.5", Some(Duration::from_millis(1500))),
            ("99999999999999999999999", Some(Duration::MAX)),
            ("Wed, 21 Oct 2026 07:29:14 GMT", seconds(74)),
            ("Wednesday, 21-Oct-26 07:29:14 GMT", seconds(74)),
            ("Wed Oct 21 07:29:14 2026", seconds(74)),
            ("Wed, 21 Oct 2026 07:00:00 GMT", seconds(0)),
            ("", None),
            ("-3", None),
            ("soon", None),
            (".", None),
            ("1.2.3", None),
            ("7s", None),
            ("inf", None),
        ] {
            assert_eq!(wait(text, Some(date)), expected, "{text:?}");
        }
        // Without `Date`, the system clock is used.
        let now: std::time::SystemTime = Clock::System.now().into();
        let soon = httpdate::fmt_http_date(now + Duration::from_secs(3600));
        assert!(wait(&soon, None).is_some_and(|wait| (3500..=3600).contains(&wait.as_secs())));
    }
}
