//! Access control: API keys, lock-out of addresses and the rate limit.

use std::collections::{HashMap, HashSet, VecDeque};
use std::net::IpAddr;
use std::time::Duration;

use axum::http::StatusCode;
use jiff::Timestamp;

use crate::clock::{between, later};
use crate::reply::{Envelope, Reply};
use crate::settings::Settings;

const BAD_CALLS: u32 = 20;
const LOCKED_FOR: Duration = Duration::from_secs(15 * 60);
const WINDOW: Duration = Duration::from_secs(60);

#[derive(Default)]
pub(crate) struct Gate {
    revoked: HashSet<String>,
    bad_calls: HashMap<IpAddr, u32>,
    locked_until: HashMap<IpAddr, Timestamp>,
    /// Times of the calls admitted in the last 60 s, by key.
    admitted: HashMap<String, VecDeque<Timestamp>>,
}

/// Why a call is refused.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    Missing,
    Invalid,
    Blocked,
    TooMany { retry_after: u64 },
}

impl Gate {
    pub(crate) fn admit(
        &mut self,
        settings: &Settings,
        now: Timestamp,
        address: IpAddr,
        key: Option<&str>,
    ) -> Result<(), Refusal> {
        if self.locked_until.get(&address).is_some_and(|until| now < *until) {
            return Err(Refusal::Blocked);
        }
        let key = key.ok_or(Refusal::Missing)?;
        if !settings.api_keys.iter().any(|known| known == key) || self.revoked.contains(key) {
            self.count_bad_call(settings, now, address);
            return Err(Refusal::Invalid);
        }
        self.bad_calls.remove(&address);
        match settings.keys_per_minute {
            Some(limit) => self.count_call(limit, now, key),
            None => Ok(()),
        }
    }

    fn count_bad_call(&mut self, settings: &Settings, now: Timestamp, address: IpAddr) {
        let bad = self.bad_calls.entry(address).or_default();
        *bad += 1;
        if *bad >= BAD_CALLS {
            self.bad_calls.remove(&address);
            self.locked_until.insert(address, later(now, settings.scale().of(LOCKED_FOR)));
        }
    }

    fn count_call(&mut self, limit: u32, now: Timestamp, key: &str) -> Result<(), Refusal> {
        let admitted = self.admitted.entry(key.to_owned()).or_default();
        while admitted.front().is_some_and(|first| between(*first, now) >= WINDOW) {
            admitted.pop_front();
        }
        match admitted.front() {
            Some(first) if admitted.len() >= limit as usize => {
                let wait = WINDOW.saturating_sub(between(*first, now)).as_secs_f64();
                Err(Refusal::TooMany { retry_after: wait.ceil() as u64 })
            }
            _ => {
                admitted.push_back(now);
                Ok(())
            }
        }
    }

    pub(crate) fn revoke(&mut self, key: &str) {
        self.revoked.insert(key.to_owned());
    }

    pub(crate) fn restore(&mut self, key: &str) {
        self.revoked.remove(key);
    }

    pub(crate) fn unlock(&mut self) {
        self.bad_calls.clear();
        self.locked_until.clear();
    }
}

impl Refusal {
    pub(crate) fn reply(&self, envelope: Envelope) -> Reply {
        let (status, code, message, wait) = match self {
            Self::Missing => {
                (StatusCode::UNAUTHORIZED, "MISSING_ACCESS_TOKEN", "X-Access-Token header is required", None)
            }
            Self::Invalid => {
                (StatusCode::UNAUTHORIZED, "INVALID_ACCESS_TOKEN", "The access token is not valid", None)
            }
            Self::Blocked => (
                StatusCode::FORBIDDEN,
                "IP_BLOCKED",
                "Too many calls with a bad key: this address is blocked",
                None,
            ),
            Self::TooMany { retry_after } => (
                StatusCode::TOO_MANY_REQUESTS,
                "RATE_LIMIT_EXCEEDED",
                "Too many requests",
                Some(*retry_after),
            ),
        };
        envelope.failure(status, code, message).retry_after(wait)
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    fn settings(arguments: &[&str]) -> Settings {
        Settings::parse_from([&["sandbox"], arguments].concat())
    }

    fn at(milliseconds: i64) -> Timestamp {
        Timestamp::from_millisecond(milliseconds).unwrap()
    }

    #[test]
    fn twenty_bad_calls_in_a_row_lock_the_address_out_for_15_minutes() {
        let settings = settings(&["--time-scale", "0.1"]);
        let mut gate = Gate::default();
        let mut call = |ms, key| gate.admit(&settings, at(ms), HERE, Some(key));
        for _ in 0..19 {
            assert_eq!(call(0, "bad"), Err(Refusal::Invalid));
        }
        assert_eq!(call(0, "sandbox-key"), Ok(()), "19 bad calls");
        for _ in 0..20 {
            assert_eq!(call(0, "bad"), Err(Refusal::Invalid), "a good call resets the count");
        }
        assert_eq!(call(89_999, "sandbox-key"), Err(Refusal::Blocked));
        assert_eq!(call(90_000, "sandbox-key"), Ok(()));
    }

    #[test]
    fn no_60_seconds_have_more_calls_than_the_limit() {
        let settings = settings(&["--keys-per-minute", "2", "--api-key", "a", "--api-key", "b"]);
        let mut gate = Gate::default();
        let mut call = |ms, key| gate.admit(&settings, at(ms), HERE, Some(key));
        assert_eq!([call(0, "a"), call(30_000, "a")], [Ok(()), Ok(())]);
        assert_eq!(call(30_500, "a"), Err(Refusal::TooMany { retry_after: 30 }));
        assert_eq!(call(30_500, "b"), Ok(()), "each key has its own limit");
        assert_eq!(call(59_999, "a"), Err(Refusal::TooMany { retry_after: 1 }));
        assert_eq!(call(60_000, "a"), Ok(()), "refused calls are not counted");
        assert_eq!(call(60_001, "a"), Err(Refusal::TooMany { retry_after: 30 }));
    }
}
