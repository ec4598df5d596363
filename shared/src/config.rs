//! Settings: read once, at start, from the environment; everything that is wrong is said at once, by name.

use std::{collections::HashMap, fmt, net::IpAddr, str::FromStr, time::Duration};

use http::{Uri, uri::Scheme};
use rustls::pki_types::{CertificateDer, pem::PemObject};

use crate::{
    aws::{AwsEnvironment, Service},
    order::{RetrySchedule, Schedule, parse_duration},
    rate_limiter::Budget,
    secret::{SecretSource, Secrets},
};

/// Settings of the functions (README, Settings).
#[derive(Clone, Debug)]
pub struct Config {
    /// `ORDERS_TABLE`.
    pub orders_table: String,
    /// `EVENT_BUS`.
    pub event_bus: String,
    /// `CARD_KEY_ID`.
    pub card_key_id: String,
    /// `ONECLICKDZ_BASE_URL`.
    pub base_url: Uri,
    /// `SECRET_ID`, or `ONECLICKDZ_API_KEY` and `API_TOKENS`.
    pub secrets: SecretSource,
    /// Retry schedules, deadline, overdue.
    pub schedule: Schedule,
    /// `VENDOR_CALLS_PER_MINUTE`, `VENDOR_CALLS_BURST`.
    pub budget: Budget,
    /// `LIST_CHECKS`: `on`, lists are used where a call with one is worth more.
    pub list_checks: bool,
    /// What Lambda says about AWS.
    pub aws: AwsEnvironment,
    /// `EXTRA_CA_CERTS`: roots that are trusted besides Mozilla's.
    pub extra_roots: Vec<CertificateDer<'static>>,
    /// `CONNECT_AHEAD_TIMEOUT`: a start waits so long for its first question to the table, which makes the connection.
    pub connect_ahead_timeout: Duration,
    /// `RUST_LOG`: error, warn or info; what says less is not in a release build.
    pub log_level: tracing::Level,
}

/// Everything that is wrong with the settings.
#[derive(Debug)]
pub struct ConfigError {
    problems: Vec<String>,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "settings: {}", self.problems.join("; "))
    }
}

impl std::error::Error for ConfigError {}

impl Config {
    /// From the process's environment.
    ///
    /// # Errors
    /// All settings that are missing or cannot be read, by name.
    pub fn from_environment() -> Result<Self, ConfigError> {
        #[allow(clippy::disallowed_methods, reason = "the one place that reads the environment")]
        Self::read(std::env::vars())
    }

    /// From any names and values, so that tests set no environment. An empty value counts as missing.
    ///
    /// # Errors
    /// All settings that are missing or cannot be read, by name.
    pub fn read(variables: impl IntoIterator<Item = (String, String)>) -> Result<Self, ConfigError> {
        let values = variables.into_iter().filter(|(_, value)| !value.trim().is_empty()).collect();
        let mut reader = Reader { values, problems: Vec::new() };
        let config = reader.config();
        match config {
            Some(config) if reader.problems.is_empty() => Ok(config),
            _ => Err(ConfigError { problems: reader.problems }),
        }
    }
}

struct Reader {
    values: HashMap<String, String>,
    problems: Vec<String>,
}

impl Reader {
    /// `None` only after a problem was noted. Every setting is read before the first `?`, so that all problems are.
    fn config(&mut self) -> Option<Config> {
        let orders_table = self.required("ORDERS_TABLE");
        let event_bus = self.required("EVENT_BUS");
        let card_key_id = self.required("CARD_KEY_ID");
        let base_url = self.base_url();
        let secrets = self.secrets();
        let list_checks = self.or_default("LIST_CHECKS", true, on_or_off);
        let schedule = self.schedule(list_checks);
        let budget = self.budget();
        let aws = self.aws();
        let extra_roots = self.extra_roots();
        let connect_ahead_timeout = self.duration("CONNECT_AHEAD_TIMEOUT", Duration::from_millis(300));
        let log_level = self.or_default("RUST_LOG", tracing::Level::INFO, tracing::Level::from_str);
        Some(Config {
            orders_table: orders_table?,
            event_bus: event_bus?,
            card_key_id: card_key_id?,
            base_url: base_url?,
            secrets: secrets?,
            schedule,
            budget,
            list_checks,
            aws: aws?,
            extra_roots,
            connect_ahead_timeout,
            log_level,
        })
    }

    fn aws(&mut self) -> Option<AwsEnvironment> {
        let region = self.required("AWS_REGION");
        let access_key_id = self.required("AWS_ACCESS_KEY_ID");
        let secret_access_key = self.required("AWS_SECRET_ACCESS_KEY");
        let of_service = |service: Service| Some((service, self.optional(service.endpoint_setting())?));
        Some(AwsEnvironment {
            region: region?,
            access_key_id: access_key_id?,
            secret_access_key: secret_access_key?.into(),
            session_token: self.optional("AWS_SESSION_TOKEN").map(Into::into),
            endpoint_url: self.optional("AWS_ENDPOINT_URL"),
            endpoint_urls: Service::ALL.into_iter().filter_map(of_service).collect(),
        })
    }

    fn schedule(&mut self, list_checks: bool) -> Schedule {
        let default = Schedule::default();
        Schedule {
            poll_mobile: self.retry_schedule("POLL_SCHEDULE_MOBILE", default.poll_mobile),
            poll_internet: self.retry_schedule("POLL_SCHEDULE_INTERNET", default.poll_internet),
            poll_deadline: self.duration("POLL_DEADLINE", default.poll_deadline),
            recheck_queued: self.retry_schedule("RECHECK_QUEUED", default.recheck_queued),
            recheck_uncertain: self.retry_schedule("RECHECK_UNCERTAIN", default.recheck_uncertain),
            recheck_delayed: self.retry_schedule("RECHECK_DELAYED", default.recheck_delayed),
            recheck_card: self.retry_schedule("RECHECK_CARD", default.recheck_card),
            recheck_not_found: self.retry_schedule("RECHECK_NOT_FOUND", default.recheck_not_found),
            not_found_grace: self.duration("NOT_FOUND_GRACE", default.not_found_grace),
            overdue_queued: self.duration("OVERDUE_QUEUED", default.overdue_queued),
            overdue_uncertain: self.duration("OVERDUE_UNCERTAIN", default.overdue_uncertain),
            overdue_delayed: self.duration("OVERDUE_DELAYED", default.overdue_delayed),
            overdue_not_found: self.duration("OVERDUE_NOT_FOUND", default.overdue_not_found),
            recheck_refunded: self.retry_schedule("RECHECK_REFUNDED", default.recheck_refunded),
            retry_after_failure: self.duration("RETRY_AFTER_FAILURE", default.retry_after_failure),
            review_failures: self.or_default("REVIEW_FAILURES", default.review_failures, at_least_one),
            review_failing_for: self.duration("REVIEW_FAILING_FOR", default.review_failing_for),
            recheck_failing: self.duration("RECHECK_FAILING", default.recheck_failing),
            list_recheck_interval: Some(self.duration("LIST_RECHECK_INTERVAL", Duration::from_secs(3600)))
                .filter(|_| list_checks),
        }
    }

    fn retry_schedule(&mut self, name: &'static str, default: RetrySchedule) -> RetrySchedule {
        self.or_default(name, default, RetrySchedule::from_str)
    }

    fn duration(&mut self, name: &'static str, default: Duration) -> Duration {
        self.or_default(name, default, parse_duration)
    }

    fn budget(&mut self) -> Budget {
        let per_minute = self.or_default("VENDOR_CALLS_PER_MINUTE", 60, u32::from_str);
        let burst = self.or_default("VENDOR_CALLS_BURST", 5, u32::from_str);
        Budget::new(per_minute, burst).unwrap_or_else(|error| {
            self.problems.push(format!("VENDOR_CALLS_BURST: {error}"));
            Budget::default()
        })
    }

    fn base_url(&mut self) -> Option<Uri> {
        let name = "ONECLICKDZ_BASE_URL";
        let text = self.optional(name).unwrap_or_else(|| "https://api.oneclickdz.com/v3".to_owned());
        match Uri::from_str(&text) {
            Ok(url) if url.query().is_some() => {
                self.problem(format!("{name} must end with the version, without a query"))
            }
            Ok(url)
                if url.scheme() == Some(&Scheme::HTTPS)
                    || (url.scheme() == Some(&Scheme::HTTP) && is_loopback(&url)) =>
            {
                Some(url)
            }
            Ok(_) => self.problem(format!("{name} must be https, or http to loopback")),
            Err(error) => self.problem(format!("{name} is no URL: {error}")),
        }
    }

    /// A file in PEM, for networks that inspect TLS, and for stand-ins.
    fn extra_roots(&mut self) -> Vec<CertificateDer<'static>> {
        let name = "EXTRA_CA_CERTS";
        let Some(path) = self.optional(name) else { return Vec::new() };
        let read = CertificateDer::pem_file_iter(&path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
        match read {
            Ok(roots) if !roots.is_empty() => return roots,
            Ok(_) => self.problems.push(format!("{name}: no certificate in {path}")),
            Err(error) => self.problems.push(format!("{name}: {path}: {error}")),
        }
        Vec::new()
    }

    fn secrets(&mut self) -> Option<SecretSource> {
        match (self.optional("SECRET_ID"), self.optional("ONECLICKDZ_API_KEY")) {
            (Some(id), _) => Some(SecretSource::Manager { id }),
            (None, Some(key)) => {
                let tokens = self.optional("API_TOKENS").unwrap_or_default();
                let tokens =
                    tokens.split(',').map(str::trim).filter(|token| !token.is_empty()).map(str::to_owned);
                Some(SecretSource::Environment(Secrets::local(key, tokens)))
            }
            (None, None) => {
                self.problem("SECRET_ID (or, for local runs, ONECLICKDZ_API_KEY) is missing".to_owned())
            }
        }
    }

    fn required(&mut self, name: &str) -> Option<String> {
        match self.optional(name) {
            Some(value) => Some(value),
            None => self.problem(format!("{name} is missing")),
        }
    }

    fn optional(&self, name: &str) -> Option<String> {
        self.values.get(name).map(|value| value.trim().to_owned())
    }

    fn or_default<T, E: fmt::Display>(
        &mut self,
        name: &str,
        default: T,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> T {
        let Some(text) = self.optional(name) else { return default };
        match parse(&text) {
            Ok(value) => value,
            Err(error) => {
                self.problems.push(format!("{name}: {error}"));
                default
            }
        }
    }

    fn problem<T>(&mut self, text: String) -> Option<T> {
        self.problems.push(text);
        None
    }
}

fn at_least_one(text: &str) -> Result<u32, &'static str> {
    text.parse().ok().filter(|count| *count > 0).ok_or("must be a whole number of at least 1")
}

fn on_or_off(text: &str) -> Result<bool, &'static str> {
    match text {
        "on" => Ok(true),
        "off" => Ok(false),
        _ => Err("must be on or off"),
    }
}

fn is_loopback(url: &Uri) -> bool {
    let host = url.host().unwrap_or_default();
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    host == "localhost" || address.is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    const NEEDED: [(&str, &str); 7] = [
        ("ORDERS_TABLE", "orders"),
        ("EVENT_BUS", "bus"),
        ("CARD_KEY_ID", "key"),
        ("SECRET_ID", "secret"),
        ("AWS_REGION", "eu-west-3"),
        ("AWS_ACCESS_KEY_ID", "id"),
        ("AWS_SECRET_ACCESS_KEY", "swordfish"),
    ];

    fn read(changes: &[(&str, &str)]) -> Result<Config, String> {
        let all: HashMap<_, _> = NEEDED.iter().chain(changes).copied().collect();
        Config::read(all.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())))
            .map_err(|error| error.to_string())
    }

    #[test]
    fn defaults_are_those_of_the_design() {
        let config = read(&[]).unwrap();
        let hourly = Some(Duration::from_secs(3600));
        assert_eq!(config.schedule, Schedule { list_recheck_interval: hourly, ..Schedule::default() });
        assert!(config.list_checks);
        let without = read(&[("LIST_CHECKS", "off")]).unwrap();
        assert_eq!((without.schedule, without.list_checks), (Schedule::default(), false));
        assert_eq!(config.budget, Budget::default());
        assert_eq!(config.base_url.to_string(), "https://api.oneclickdz.com/v3");
        assert!(!format!("{config:?}").contains("swordfish"));
    }

    #[test]
    fn everything_that_is_wrong_is_said_at_once() {
        let wrong = [
            ("ORDERS_TABLE", " "),
            ("SECRET_ID", ""),
            ("RECHECK_QUEUED", "24h,soon"),
            ("POLL_DEADLINE", "0s"),
            ("VENDOR_CALLS_PER_MINUTE", "many"),
            ("VENDOR_CALLS_BURST", "60"),
            ("LIST_CHECKS", "maybe"),
            ("LIST_RECHECK_INTERVAL", "0"),
            ("REVIEW_FAILURES", "0"),
            ("REVIEW_FAILING_FOR", "a while"),
            ("RECHECK_FAILING", "1"),
            ("OVERDUE_DELAYED", "-1h"),
            ("OVERDUE_NOT_FOUND", "never"),
            ("ONECLICKDZ_BASE_URL", "http://example.com"),
            ("RUST_LOG", "loud"),
            ("EXTRA_CA_CERTS", "/nowhere.pem"),
            ("CONNECT_AHEAD_TIMEOUT", "never"),
        ];
        let error = read(&wrong).unwrap_err();
        for (name, _) in wrong {
            assert!(error.contains(name), "{name}: {error}");
        }
    }

    #[test]
    fn the_vendor_is_reached_by_https_or_on_loopback() {
        for good in
            ["https://x.example/v3", "http://127.0.0.1:9/v3", "http://[::1]:9", "http://localhost:1/v3/"]
        {
            assert!(read(&[("ONECLICKDZ_BASE_URL", good)]).is_ok(), "{good}");
        }
        for bad in ["http://x.example", "http://127.0.0.1.example.com", "ftp://localhost", "nowhere"] {
            assert!(read(&[("ONECLICKDZ_BASE_URL", bad)]).is_err(), "{bad}");
        }
    }
}
