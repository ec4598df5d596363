//! The command line.

use std::net::SocketAddr;
use std::time::Duration;

use clap::{Parser, ValueEnum};

use crate::clock::Scale;

const AFTER_HELP: &str = "Durations are plain seconds (`90`, `0.5`) or `500ms`, `30s`, `5m`, `12h`. They are the vendor's \
times: --time-scale multiplies them too.\n\nDocumented by the vendor: the mobile numbers and their statuses. Everything about \
internet orders (their times, the special numbers) is our assumption: the vendor documents no internet sandbox. \
GET /_sandbox/numbers lists all special numbers.\n\nOn start one line of JSON goes to stdout: \
{\"listening\":\"http://127.0.0.1:PORT\"}. Logs go to stderr, without keys and card codes.";

/// A stand-in for the OneClickDz v3 API, for tests. It listens on loopback only and keeps its state in memory.
#[derive(Parser, Clone)]
#[command(name = "sandbox", after_help = AFTER_HELP)]
pub struct Settings {
    /// Loopback address and port; port 0 picks a free one
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:0", value_parser = loopback)]
    pub listen: SocketAddr,
    /// An accepted API key; may be given more than once
    #[arg(long = "api-key", value_name = "KEY", default_value = "sandbox-key")]
    pub api_keys: Vec<String>,
    /// Multiplies the vendor's delays, including `seconds` of scripted answers and the 15 min lock-out, but not the
    /// rate limit's 60 s
    #[arg(long, value_name = "FACTOR", default_value = "1.0", value_parser = scale)]
    pub time_scale: f64,
    /// Time for which 0600000003 stays UNKNOWN_ERROR
    #[arg(long, value_name = "DURATION", default_value = "120s", value_parser = duration)]
    pub uncertain_settles_after: Duration,
    /// Status of 0600000003 after that
    #[arg(long, value_name = "STATUS", default_value = "FULFILLED")]
    pub uncertain_settles_as: Outcome,
    /// Time for which the queued internet numbers stay QUEUED
    #[arg(long, value_name = "DURATION", default_value = "120s", value_parser = duration)]
    pub queued_settles_after: Duration,
    /// Time from FULFILLED until the late card is available
    #[arg(long, value_name = "DURATION", default_value = "60s", value_parser = duration)]
    pub card_late_after: Duration,
    /// Time for which the slow internet number stays HANDLING
    #[arg(long, value_name = "DURATION", default_value = "400s", value_parser = duration)]
    pub slow_after: Duration,
    /// Time after a send for which check-id, check-ref and the lists do not show its order
    #[arg(long, value_name = "DURATION", default_value = "0", value_parser = duration)]
    pub refs_visible_after: Duration,
    /// Share of check and list calls (0 to 1) that get a random fault: 429, 503, not JSON, cut off or slow, in equal
    /// parts
    #[arg(long, value_name = "FRACTION", default_value = "0", value_parser = fraction)]
    pub faults: f64,
    /// Seed of the random faults; generated and logged if not given
    #[arg(long, value_name = "N")]
    pub fault_seed: Option<u64>,
    /// Answer 429 with Retry-After to more than N calls of a key in any 60 s (real seconds); no limit if not given
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub keys_per_minute: Option<u32>,
}

impl Settings {
    pub(crate) fn scale(&self) -> Scale {
        Scale(self.time_scale)
    }
}

/// A final status.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "UPPER")]
pub enum Outcome {
    /// Delivered.
    Fulfilled,
    /// Failed; the amount was paid back.
    Refunded,
}

fn loopback(text: &str) -> Result<SocketAddr, String> {
    let address: SocketAddr =
        text.parse().map_err(|_| "must be an address with a port, such as 127.0.0.1:0".to_owned())?;
    if address.ip().is_loopback() {
        return Ok(address);
    }
    Err("the sandbox listens on loopback addresses only (127.0.0.1 or [::1]): its control API has no key"
        .to_owned())
}

fn scale(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(factor) if factor > 0.0 && factor <= 1000.0 => Ok(factor),
        _ => Err("must be above 0 and at most 1000".to_owned()),
    }
}

fn fraction(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(share) if (0.0..=1.0).contains(&share) => Ok(share),
        _ => Err("must be a number from 0 to 1".to_owned()),
    }
}

fn duration(text: &str) -> Result<Duration, String> {
    let parsed = match text.parse() {
        Ok(seconds) => Duration::try_from_secs_f64(seconds).ok(),
        Err(_) => humantime::parse_duration(text).ok(),
    };
    parsed.ok_or_else(|| "seconds (`90`, `0.5`) or `500ms`, `30s`, `5m`, `12h`".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_and_addresses() {
        assert_eq!(duration("90"), Ok(Duration::from_secs(90)));
        assert_eq!(duration("0.5"), Ok(Duration::from_millis(500)));
        assert_eq!(duration("12h"), Ok(Duration::from_secs(43_200)));
        assert!(duration("-1").is_err() && duration("soon").is_err());
        assert!(loopback("127.0.0.1:0").is_ok() && loopback("[::1]:80").is_ok());
        assert!(loopback("0.0.0.0:80").is_err_and(|said| said.contains("loopback addresses only")));
        assert!(scale("0").is_err() && scale("NaN").is_err() && scale("0.1").is_ok());
        assert!(fraction("1.1").is_err() && fraction("NaN").is_err() && fraction("0.1").is_ok());
    }
}
