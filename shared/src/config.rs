//! Settings: read once, at start, from the environment. An error names every setting that is wrong, its value and what is allowed.

mod page;
mod resources;
mod settings;
mod value;
mod webhooks;

use std::{collections::HashMap, fmt, time::Duration};

use http::Uri;
use rustls::pki_types::{CertificateDer, pem::PemObject};

use crate::{
    aws::{AwsEnvironment, Service},
    http::Allowed,
    order::Schedule,
    rate_limiter::Budget,
    secret::{ApiTokens, SecretSource, VendorSecret},
};

pub use page::{Colour, InvalidColour, Shop, TrackingPage};
pub use settings::{Group, SETTINGS, Setting};
use value::{Value, Values};
pub use webhooks::{WebhookUrl, Webhooks};

/// Settings of the functions. What each does, its default and what is allowed: [`SETTINGS`] and `docs/configuration.md`.
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
    /// `SECRET_ID`, or `ONECLICKDZ_API_KEY`.
    pub vendor_secret: SecretSource<VendorSecret>,
    /// `TOKENS_SECRET_ID`, or `API_TOKENS`; `None` if neither is set, as in all functions but `status`.
    pub api_tokens: Option<SecretSource<ApiTokens>>,
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
    /// `WEBHOOK_URL` and what belongs to it.
    pub webhooks: Webhooks,
    /// `TRACKING_PAGE` and what belongs to it.
    pub tracking_page: TrackingPage,
    /// `REDACT_AFTER`; `None`: personal data is kept.
    pub redact_after: Option<Duration>,
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
        Self::read(std::env::vars())?.with_a_deadline_within_the_execution()
    }

    /// Refuses a poll deadline that an execution of the state machine does not reach. Not a part of [`Config::read`]: tests with a moved clock
    /// poll for longer, without an execution.
    fn with_a_deadline_within_the_execution(self) -> Result<Self, ConfigError> {
        let (found, longest) = (self.schedule.poll_deadline, value::MAX_POLL_DEADLINE);
        if found <= longest {
            return Ok(self);
        }
        let (found, longest) = (found.as_secs(), longest.as_secs());
        let problem = format!("POLL_DEADLINE is {found} s; it must be a duration from 1ms to {longest}s");
        Err(ConfigError { problems: vec![problem] })
    }

    /// From any names and values, so that tests set no environment. An empty value counts as missing.
    ///
    /// # Errors
    /// All settings that are missing or cannot be read, by name.
    pub fn read(variables: impl IntoIterator<Item = (String, String)>) -> Result<Self, ConfigError> {
        let variables = variables.into_iter().filter(|(_, value)| !value.trim().is_empty()).collect();
        let mut reader = Reader { variables, problems: Vec::new() };
        let config = reader.config();
        match config {
            Some(config) if reader.problems.is_empty() => Ok(config),
            _ => Err(ConfigError { problems: reader.problems }),
        }
    }
}

fn api_tokens(values: &Values) -> Option<SecretSource<ApiTokens>> {
    match (values.tokens_secret_id.as_str(), values.api_tokens.as_str()) {
        ("", "") => None,
        ("", tokens) => {
            let tokens = tokens.split(',').map(str::trim).filter(|token| !token.is_empty());
            Some(SecretSource::Environment(ApiTokens::local(tokens.map(str::to_owned))))
        }
        (id, _) => Some(SecretSource::Manager { id: id.to_owned() }),
    }
}

/// Reads the environment and notes every problem, so that all of them are reported at once.
struct Reader {
    variables: HashMap<String, String>,
    problems: Vec<String>,
}

impl Reader {
    /// `None` only after a problem was noted. Everything is read before the first `?`, so that all problems are noted.
    fn config(&mut self) -> Option<Config> {
        let values = self.values();
        let vendor_secret = self.vendor_secret(&values);
        let api_tokens = api_tokens(&values);
        let budget = self.budget(&values);
        let aws = self.aws();
        let extra_roots = self.extra_roots(&values.extra_ca_certs);
        let webhooks = self.webhooks(&values);
        let tracking_page = TrackingPage::of(&values);
        let list_recheck_interval = values.list_checks.then_some(values.list_recheck_interval);
        Some(Config {
            orders_table: values.orders_table,
            event_bus: values.event_bus,
            card_key_id: values.card_key_id,
            base_url: values.base_url,
            vendor_secret: vendor_secret?,
            api_tokens,
            schedule: Schedule { list_recheck_interval, ..values.schedule },
            budget: budget?,
            list_checks: values.list_checks,
            aws: aws?,
            extra_roots,
            connect_ahead_timeout: values.connect_ahead_timeout,
            webhooks: webhooks?,
            tracking_page,
            redact_after: values.redact_after,
            log_level: values.log_level,
        })
    }

    /// The defaults, and over them what the environment sets.
    fn values(&mut self) -> Values {
        let mut values = Values::default();
        for setting in SETTINGS.iter().flat_map(|group| group.settings) {
            let name = setting.name;
            match self.optional(name) {
                None if setting.is_required() => self.problems.push(format!("{name} is missing")),
                None => {}
                // This prints no secret: any text is allowed for one, so reading it never fails.
                Some(text) if setting.value.read(&text, &mut values).is_none() => {
                    // A URL can hold a password, or be the key in the wrong place.
                    let is_url = matches!(setting.value, Value::Url(_));
                    let found = if is_url { "not allowed".to_owned() } else { format!("{text:?}") };
                    self.problems.push(format!("{name} is {found}; it must be {}", setting.allowed()));
                }
                Some(_) => {}
            }
        }
        values
    }

    fn budget(&mut self, values: &Values) -> Option<Budget> {
        match Budget::new(values.calls_per_minute, values.calls_burst) {
            Ok(budget) => Some(budget),
            Err(error) => self.problem(format!("VENDOR_CALLS_BURST is {}; it {error}", values.calls_burst)),
        }
    }

    /// The URL is not in the error: its path may contain a password.
    fn webhooks(&mut self, values: &Values) -> Option<Webhooks> {
        let is_local = self.optional("AWS_ENDPOINT_URL").is_some();
        let allowed = if is_local { Allowed::PublicAndLoopback } else { Allowed::Public };
        let webhooks = Webhooks::of(values, allowed);
        if webhooks.is_none() {
            self.problems.push(format!(
                "WEBHOOK_URL is not allowed; it must be {allowed}, without a user and a password"
            ));
        }
        webhooks
    }

    fn extra_roots(&mut self, path: &str) -> Vec<CertificateDer<'static>> {
        if path.is_empty() {
            return Vec::new();
        }
        let read = CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
        match read {
            Ok(roots) if !roots.is_empty() => return roots,
            Ok(_) => {
                self.problems.push(format!("EXTRA_CA_CERTS is {path:?}; the file has no certificate in PEM"))
            }
            Err(error) => {
                self.problems.push(format!("EXTRA_CA_CERTS is {path:?}; the file cannot be read: {error}"))
            }
        }
        Vec::new()
    }

    fn vendor_secret(&mut self, values: &Values) -> Option<SecretSource<VendorSecret>> {
        match (values.secret_id.as_str(), values.api_key.as_str()) {
            ("", "") => self
                .problem("SECRET_ID is missing (a local run may set ONECLICKDZ_API_KEY instead)".to_owned()),
            ("", key) => Some(SecretSource::Environment(VendorSecret::local(key.to_owned()))),
            (id, _) => Some(SecretSource::Manager { id: id.to_owned() }),
        }
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

    fn required(&mut self, name: &str) -> Option<String> {
        match self.optional(name) {
            Some(value) => Some(value),
            None => self.problem(format!("{name} is missing")),
        }
    }

    fn optional(&self, name: &str) -> Option<String> {
        self.variables.get(name).map(|value| value.trim().to_owned())
    }

    fn problem<T>(&mut self, text: String) -> Option<T> {
        self.problems.push(text);
        None
    }
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
    fn a_setting_that_is_not_set_has_the_default_of_the_table() {
        let settings = SETTINGS.iter().flat_map(|group| group.settings);
        let defaults: Vec<_> =
            settings.filter_map(|setting| Some((setting.name, setting.default()?))).collect();
        assert!(defaults.len() > 20, "{defaults:?}");
        let defaults: Vec<_> = defaults.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let config = read(&[]).unwrap();
        assert_eq!(format!("{:?}", read(&defaults).unwrap()), format!("{config:?}"));
        let hourly = Some(Duration::from_secs(3600));
        assert_eq!(config.schedule, Schedule { list_recheck_interval: hourly, ..Schedule::default() });
        assert_eq!(config.budget, Budget::default());
        assert!(config.list_checks);
        assert!(!format!("{config:?}").contains("swordfish"));
    }

    #[test]
    fn without_list_checks_no_order_is_due_for_one() {
        let config = read(&[("LIST_CHECKS", "off")]).unwrap();
        assert_eq!((config.schedule, config.list_checks), (Schedule::default(), false));
    }

    #[test]
    fn each_setting_is_read_into_a_field_of_its_own() {
        let settings = SETTINGS.iter().flat_map(|group| group.settings);
        let mut names = Vec::new();
        for setting in settings {
            let other = [
                "https://other.example/v1",
                "on",
                "off",
                "77",
                "77s,78s",
                "77s",
                "77days",
                "warn",
                "#123456",
                "text",
            ];
            let mut values = Values::default();
            let text = other.into_iter().find(|text| {
                setting.value.read(text, &mut values).is_some() && setting.default().as_deref() != Some(*text)
            });
            let all = SETTINGS.iter().flat_map(|group| group.settings);
            let changed = all.filter(|one| {
                Some(one.value.write(&mut values)).filter(|text| !text.is_empty()) != one.default()
            });
            assert_eq!(changed.map(|one| one.name).collect::<Vec<_>>(), [setting.name], "{text:?}");
            names.push(setting.name);
        }
        names.sort_unstable();
        assert!(names.windows(2).all(|pair| pair[0] != pair[1]), "{names:?}");
    }

    #[test]
    fn an_error_names_every_wrong_setting_its_value_and_what_is_allowed() {
        let wrong = [
            ("RECHECK_QUEUED", "24h,soon", "one or more durations from 1ms to 366days"),
            ("POLL_DEADLINE", "0s", "a duration from 1ms to 290s"),
            ("VENDOR_CALLS_PER_MINUTE", "many", "a whole number, at least 2"),
            ("VENDOR_CALLS_BURST", "0", "a whole number from 1 to 10000"),
            ("LIST_CHECKS", "maybe", "on or off"),
            ("LIST_RECHECK_INTERVAL", "0", "a duration from 1ms to 366days"),
            ("REVIEW_FAILURES", "0", "a whole number, at least 1"),
            ("OVERDUE_DELAYED", "-1h", "a duration from 1ms to 366days"),
            ("REDACT_AFTER", "1h", "off, or a duration from 7days to 366days"),
            ("RUST_LOG", "debug", "error, warn or info"),
        ];
        let changes = wrong.map(|(name, value, _)| (name, value));
        let more = [
            ("ORDERS_TABLE", " "),
            ("SECRET_ID", ""),
            ("ONECLICKDZ_BASE_URL", "http://me:key-7@example.com"),
        ];
        let error = read(&[&changes[..], &more].concat()).unwrap_err();
        assert!(error.contains("ONECLICKDZ_BASE_URL is not allowed; it must be an https URL"), "{error}");
        assert!(!error.contains("key-7"), "{error}");
        for (name, value, allowed) in wrong {
            let expected = format!("{name} is {value:?}; it must be {allowed}");
            assert!(error.contains(&expected), "{expected}: {error}");
        }
        for missing in ["ORDERS_TABLE is missing", "SECRET_ID is missing"] {
            assert!(error.contains(missing), "{missing}: {error}");
        }
    }

    #[test]
    fn a_deployed_function_refuses_a_deadline_that_its_execution_does_not_reach() {
        let of = |text: &str| {
            let all = NEEDED.iter().copied().chain([("POLL_DEADLINE", text)]);
            let all = all.map(|(name, value)| (name.to_owned(), value.to_owned()));
            Config::read(all).unwrap().with_a_deadline_within_the_execution()
        };
        assert!(of("290s").is_ok());
        let error = of("291s").unwrap_err().to_string();
        assert!(error.contains("POLL_DEADLINE is 291 s; it must be a duration from 1ms to 290s"), "{error}");
    }

    #[test]
    fn what_only_a_file_or_another_setting_shows_is_an_error_too() {
        let wrong = [("EXTRA_CA_CERTS", "/nowhere.pem"), ("VENDOR_CALLS_BURST", "60")];
        let error = read(&wrong).unwrap_err();
        assert!(error.contains("EXTRA_CA_CERTS is \"/nowhere.pem\"; the file cannot be read"), "{error}");
        assert!(error.contains("VENDOR_CALLS_BURST is 60; it must be"), "{error}");
        assert!(error.contains("less than VENDOR_CALLS_PER_MINUTE (60)"), "{error}");
    }

    #[test]
    fn the_vendor_is_reached_by_https_or_on_loopback() {
        for good in
            ["https://x.example/v3", "http://127.0.0.1:9/v3", "http://[::1]:9", "http://localhost:1/v3/"]
        {
            assert!(read(&[("ONECLICKDZ_BASE_URL", good)]).is_ok(), "{good}");
        }
        for bad in [
            "http://x.example",
            "https://x.example/v3?a=b",
            "http://127.0.0.1.example.com",
            "ftp://localhost",
            "nowhere",
        ] {
            assert!(read(&[("ONECLICKDZ_BASE_URL", bad)]).is_err(), "{bad}");
        }
    }
}
