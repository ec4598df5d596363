//! The values of the settings: how each is read, what is allowed, and how it is written.

use std::{net::IpAddr, ops::RangeInclusive, str::FromStr, time::Duration};

use http::{Uri, uri::Scheme};

use crate::{
    order::{RetrySchedule, Schedule, parse_duration},
    rate_limiter::Budget,
};

use super::{
    page::{Colour, is_help_url, is_url_base},
    webhooks::Webhooks,
};

/// The longest poll deadline of a deployed function. An execution ends 299 s after its start (`TimeoutSeconds` in `infra/poll.asl.json`, for
/// both types), and the poll at the deadline must end before.
pub(super) const MAX_POLL_DEADLINE: Duration = Duration::from_secs(290);

/// One value for each setting. `Default` is the one place in Rust where a default is written (those of `schedule` and of the rate are the domain's).
pub(super) struct Values {
    pub(super) orders_table: String,
    pub(super) event_bus: String,
    pub(super) card_key_id: String,
    pub(super) secret_id: String,
    pub(super) tokens_secret_id: String,
    pub(super) api_key: String,
    pub(super) api_tokens: String,
    pub(super) base_url: Uri,
    pub(super) calls_per_minute: u32,
    pub(super) calls_burst: u32,
    pub(super) list_checks: bool,
    pub(super) list_recheck_interval: Duration,
    pub(super) schedule: Schedule,
    pub(super) redact_after: Option<Duration>,
    pub(super) log_level: tracing::Level,
    pub(super) extra_ca_certs: String,
    pub(super) connect_ahead_timeout: Duration,
    pub(super) webhook_url: String,
    pub(super) webhook_retry_schedule: RetrySchedule,
    pub(super) webhook_secret_id: String,
    pub(super) webhook_queue_url: String,
    pub(super) webhook_dead_letters_url: String,
    pub(super) tracking_page: bool,
    pub(super) tracking_page_shows_card: bool,
    pub(super) tracking_url_expires_after: Duration,
    pub(super) tracking_url_base: String,
    pub(super) page_secret_id: String,
    pub(super) shop_name: String,
    pub(super) shop_colour: Colour,
    pub(super) shop_help_url: String,
}

impl Default for Values {
    fn default() -> Self {
        Self {
            orders_table: String::new(),
            event_bus: String::new(),
            card_key_id: String::new(),
            secret_id: String::new(),
            tokens_secret_id: String::new(),
            api_key: String::new(),
            api_tokens: String::new(),
            base_url: Uri::from_static("https://api.oneclickdz.com/v3"),
            calls_per_minute: Budget::DEFAULT_PER_MINUTE,
            calls_burst: Budget::DEFAULT_BURST,
            list_checks: true,
            list_recheck_interval: Duration::from_secs(3600),
            schedule: Schedule::default(),
            redact_after: None,
            log_level: tracing::Level::INFO,
            extra_ca_certs: String::new(),
            connect_ahead_timeout: Duration::from_millis(300),
            webhook_url: String::new(),
            webhook_retry_schedule: Webhooks::default_retry_schedule(),
            webhook_secret_id: String::new(),
            webhook_queue_url: String::new(),
            webhook_dead_letters_url: String::new(),
            tracking_page: false,
            tracking_page_shows_card: false,
            tracking_url_expires_after: Duration::from_secs(90 * 24 * 3600),
            tracking_url_base: String::new(),
            page_secret_id: String::new(),
            shop_name: String::new(),
            shop_colour: Colour::DEFAULT,
            shop_help_url: String::new(),
        }
    }
}

type Field<T> = fn(&mut Values) -> &mut T;

/// The kind of a setting's value, and the field that holds it.
#[derive(Debug)]
pub(super) enum Value {
    /// Any text; the functions do not start without it.
    Required(Field<String>),
    /// Any text; empty by default.
    Text(Field<String>),
    /// The vendor's address.
    Url(Field<Uri>),
    /// A whole number in a range.
    Number(Field<u32>, RangeInclusive<u32>),
    /// `on` or `off`.
    Switch(Field<bool>),
    /// One duration.
    Duration(Field<Duration>),
    /// `off`, or how long personal data is kept.
    Retention(Field<Option<Duration>>),
    /// A duration; a deployed function takes at most [`MAX_POLL_DEADLINE`].
    PollDeadline(Field<Duration>),
    /// The waits of a retry schedule.
    Schedule(Field<RetrySchedule>),
    /// The address that links begin with; empty by default.
    UrlBase(Field<String>),
    /// A short text for people; empty by default.
    Name(Field<String>),
    /// A colour that can be read on white.
    Colour(Field<Colour>),
    /// Where help is found; empty by default.
    HelpUrl(Field<String>),
    /// Days, of links that expire.
    Days(Field<Duration>),
    /// What is logged.
    Level(Field<tracing::Level>),
}

impl Value {
    /// Reads `text` into its field. `None` if it is not allowed.
    pub(super) fn read(&self, text: &str, into: &mut Values) -> Option<()> {
        match self {
            Self::Required(field) | Self::Text(field) => *field(into) = text.to_owned(),
            Self::Url(field) => *field(into) = vendor_url(text)?,
            Self::Number(field, range) => {
                *field(into) = text.parse().ok().filter(|number| range.contains(number))?;
            }
            Self::Switch(field) => *field(into) = on_or_off(text)?,
            Self::Duration(field) | Self::PollDeadline(field) => *field(into) = parse_duration(text).ok()?,
            Self::Retention(field) => *field(into) = retention(text)?,
            Self::Schedule(field) => *field(into) = text.parse().ok()?,
            Self::UrlBase(field) => *field(into) = Some(text).filter(|text| is_url_base(text))?.to_owned(),
            Self::Name(field) => *field(into) = Some(text).filter(|text| is_name(text))?.to_owned(),
            Self::Colour(field) => *field(into) = text.parse().ok()?,
            Self::HelpUrl(field) => *field(into) = Some(text).filter(|text| is_help_url(text))?.to_owned(),
            Self::Days(field) => *field(into) = days(text)?,
            Self::Level(field) => *field(into) = log_level(text)?,
        }
        Some(())
    }

    /// The value in `from`, as [`Value::read`] reads it.
    pub(super) fn write(&self, from: &mut Values) -> String {
        match self {
            Self::Required(field)
            | Self::Text(field)
            | Self::UrlBase(field)
            | Self::Name(field)
            | Self::HelpUrl(field) => field(from).clone(),
            Self::Url(field) => field(from).to_string(),
            Self::Number(field, _) => field(from).to_string(),
            Self::Switch(field) => if *field(from) { "on" } else { "off" }.to_owned(),
            Self::Duration(field) | Self::PollDeadline(field) => write_duration(*field(from)),
            Self::Retention(field) => field(from).map_or_else(|| "off".to_owned(), write_duration),
            Self::Schedule(field) => write_schedule(field(from)),
            Self::Colour(field) => field(from).to_string(),
            Self::Days(field) => write_days(*field(from)),
            Self::Level(field) => field(from).as_str().to_lowercase(),
        }
    }

    /// What [`Value::read`] reads; empty if it reads any text.
    pub(super) fn allowed(&self) -> String {
        match self {
            Self::Required(_) | Self::Text(_) => String::new(),
            Self::Url(_) => "an https URL, or an http URL of loopback, without a query".to_owned(),
            Self::Number(_, range) if *range.end() == u32::MAX => {
                format!("a whole number, at least {}", range.start())
            }
            Self::Number(_, range) => format!("a whole number from {} to {}", range.start(), range.end()),
            Self::Switch(_) => "on or off".to_owned(),
            Self::Duration(_) => "a duration from 1ms to 366days, such as 500ms, 8s, 5m or 24h".to_owned(),
            Self::Retention(_) => "off, or a duration from 7days to 366days, such as 90days".to_owned(),
            Self::PollDeadline(_) => {
                format!("a duration from 1ms to {}s, such as 45s or 280s", MAX_POLL_DEADLINE.as_secs())
            }
            Self::Schedule(_) => {
                "one or more durations from 1ms to 366days with commas between them, such as 8s,3s,5m"
                    .to_owned()
            }
            Self::UrlBase(_) => "an https URL, or an http URL of loopback, without a query".to_owned(),
            Self::Name(_) => "a text of at most 60 characters, without control characters".to_owned(),
            Self::Colour(_) => "a colour such as #0b5cad, dark enough for white text on it".to_owned(),
            Self::HelpUrl(_) => "an https, mailto or tel URL".to_owned(),
            Self::Days(_) => "a number of days from 1days to 366days, such as 90days".to_owned(),
            Self::Level(_) => "error, warn or info".to_owned(),
        }
    }
}

fn on_or_off(text: &str) -> Option<bool> {
    match text {
        "on" => Some(true),
        "off" => Some(false),
        _ => None,
    }
}

/// At least a week: by default, the late checks of a refunded order have then ended.
fn retention(text: &str) -> Option<Option<Duration>> {
    const SHORTEST: Duration = Duration::from_secs(7 * 24 * 3600);
    match text {
        "off" => Some(None),
        _ => parse_duration(text).ok().filter(|time| *time >= SHORTEST).map(Some),
    }
}

/// At most 60 characters: the page prints it in a heading.
fn is_name(text: &str) -> bool {
    text.chars().count() <= 60 && !text.chars().any(char::is_control)
}

const DAY: Duration = Duration::from_secs(24 * 3600);

/// Whole days.
fn days(text: &str) -> Option<Duration> {
    parse_duration(text).ok().filter(|time| *time >= DAY && time.as_millis().is_multiple_of(DAY.as_millis()))
}

fn write_days(duration: Duration) -> String {
    format!("{}days", duration.as_secs() / DAY.as_secs())
}

/// A release build has no lines below `info`.
fn log_level(text: &str) -> Option<tracing::Level> {
    tracing::Level::from_str(text).ok().filter(|level| *level <= tracing::Level::INFO)
}

pub(super) fn vendor_url(text: &str) -> Option<Uri> {
    let url = Uri::from_str(text).ok()?;
    let scheme = url.scheme()?;
    let encrypted = *scheme == Scheme::HTTPS;
    let local = *scheme == Scheme::HTTP && is_loopback(&url);
    (url.query().is_none() && (encrypted || local)).then_some(url)
}

fn is_loopback(url: &Uri) -> bool {
    let host = url.host().unwrap_or_default();
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    host == "localhost" || address.is_ok_and(|address| address.is_loopback())
}

/// In the largest unit up to hours that needs no fraction: `280s`, `5m`, `24h`.
fn write_duration(duration: Duration) -> String {
    let units = [(3_600_000, "h"), (60_000, "m"), (1_000, "s")];
    let millis = duration.as_millis();
    let whole = units.into_iter().find(|(unit, _)| millis.is_multiple_of(*unit));
    let (unit, name) = whole.unwrap_or((1, "ms"));
    format!("{}{name}", millis / unit)
}

fn write_schedule(schedule: &RetrySchedule) -> String {
    let last = (0..).find(|attempt| schedule.is_last(*attempt)).unwrap_or_default();
    let waits = (0..=last).map(|attempt| write_duration(schedule.wait(attempt)));
    waits.collect::<Vec<_>>().join(",")
}
