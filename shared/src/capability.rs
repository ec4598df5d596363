//! Capabilities: the secret part of a link to the tracking page. Each opens one order until it expires, or until its key is no longer in the
//! secret.
//!
//! `{payload}.{tag}`: the payload is `{product}/{id}/{day}` in base64url, where the capability ends with the start of that day of UTC, counted
//! from 1970. The tag is the first 16 bytes of the payload's HMAC-SHA256, in base64url.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use jiff::Timestamp;
use ring::hmac;
use subtle::ConstantTimeEq;

use crate::{
    aws::Lazy,
    config::TrackingPage,
    order::OrderKey,
    secret::{SecretSource, SigningKeys, Vault},
    time::{between, later},
};

const DAY_SECONDS: i64 = 24 * 3600;
/// The first bytes of the HMAC that a tag has: 128 bits, which nobody guesses.
const TAG_BYTES: usize = 16;
/// The longest capability, in characters: an id has at most 64.
const MAX_LENGTH: usize = 160;
/// The shortest time between two attempts to read a secret that could not be read.
const TRY_AGAIN: Duration = Duration::from_secs(60);

/// The capability for an order. Equal for all answers of a day of UTC, so that a repeated `PUT` answers the same.
pub fn issue(keys: &SigningKeys, order: &OrderKey, expires_after: Duration, now: Timestamp) -> String {
    let ends = later(now, expires_after).as_second();
    // Rounded up to the start of a day.
    let day = ends.saturating_add(DAY_SECONDS - 1).div_euclid(DAY_SECONDS);
    let payload = URL_SAFE_NO_PAD.encode(format!("{order}/{day}"));
    let tag = URL_SAFE_NO_PAD.encode(tag(&keys.current(), &payload));
    format!("{payload}.{tag}")
}

/// The order that a capability opens; `None` for anything else: made up, expired, of another key. All take the same path: two HMACs, whether or
/// not there is a previous key, and a comparison in constant time. Only what was signed is parsed.
pub fn open(keys: &SigningKeys, capability: &str, now: Timestamp) -> Option<OrderKey> {
    let text = if capability.len() <= MAX_LENGTH { capability } else { "" };
    let (payload, presented) = text.split_once('.').unwrap_or_default();
    let presented = URL_SAFE_NO_PAD.decode(presented).unwrap_or_default();
    let current = keys.current();
    let previous = keys.previous().unwrap_or_else(|| current.clone());
    let by = |key: &[u8]| tag(key, payload).as_slice().ct_eq(&presented);
    let is_signed: bool = (by(&current) | by(&previous)).into();
    if is_signed { read(payload, now) } else { None }
}

fn tag(key: &[u8], payload: &str) -> Vec<u8> {
    let whole = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), payload.as_bytes());
    whole.as_ref().iter().copied().take(TAG_BYTES).collect()
}

fn read(payload: &str, now: Timestamp) -> Option<OrderKey> {
    let text = String::from_utf8(URL_SAFE_NO_PAD.decode(payload).ok()?).ok()?;
    let mut parts = text.splitn(3, '/');
    let key = OrderKey { product: parts.next()?.parse().ok()?, id: parts.next()?.parse().ok()? };
    let day: i64 = parts.next()?.parse().ok()?;
    (now.as_second() < day.saturating_mul(DAY_SECONDS)).then_some(key)
}

/// The keys of the links, read on first use and once a minute. Clones share them.
#[derive(Clone, Debug)]
pub struct LinkKeys {
    secret_id: String,
    manager: Lazy<aws_sdk_secretsmanager::Client>,
    held: Arc<Mutex<Held>>,
}

#[derive(Debug, Default)]
struct Held {
    vault: Option<Vault<SigningKeys>>,
    /// The last attempt that failed.
    failed_at: Option<Timestamp>,
}

impl LinkKeys {
    /// Reads nothing yet. `secret_id`: name or ARN.
    pub fn new(secret_id: String, manager: Lazy<aws_sdk_secretsmanager::Client>) -> Self {
        Self { secret_id, manager, held: Arc::default() }
    }

    /// The keys as of the last minute; if reading them again fails, the old ones. `None` if they could never be read: the next attempt follows
    /// a minute after the last.
    pub async fn get(&self, now: Timestamp) -> Option<Arc<SigningKeys>> {
        let (vault, failed_at) = {
            let held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
            (held.vault.clone(), held.failed_at)
        };
        if let Some(vault) = vault {
            return Some(vault.read_again(now).await);
        }
        if failed_at.is_some_and(|failed| between(failed, now) < TRY_AGAIN) {
            return None;
        }
        let source = SecretSource::Manager { id: self.secret_id.clone() };
        let opened = Vault::open(source, self.manager.clone(), now).await;
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        match opened {
            Ok(vault) => Some(held.vault.insert(vault).secrets()),
            Err(error) => {
                tracing::error!(%error, "the secret of the tracking page cannot be read");
                held.failed_at = Some(now);
                None
            }
        }
    }
}

/// Makes the links to the tracking page.
#[derive(Clone, Debug)]
pub struct Links {
    base: String,
    expires_after: Duration,
    keys: LinkKeys,
}

impl Links {
    /// `None`: there is no tracking page, or its address or secret is not set.
    pub fn new(settings: &TrackingPage, manager: Lazy<aws_sdk_secretsmanager::Client>) -> Option<Self> {
        let TrackingPage { is_on, expires_after, url_base, secret_id, .. } = settings;
        (*is_on && !url_base.is_empty() && !secret_id.is_empty()).then(|| Self {
            base: url_base.clone(),
            expires_after: *expires_after,
            keys: LinkKeys::new(secret_id.clone(), manager),
        })
    }

    /// The link for an order; `None`: the secret cannot be read.
    pub async fn to(&self, order: &OrderKey, now: Timestamp) -> Option<String> {
        let keys = self.keys.get(now).await?;
        Some(format!("{}/t/{}", self.base, issue(&keys, order, self.expires_after, now)))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::order::Product;

    fn keys(current: u8, previous: Option<u8>) -> SigningKeys {
        use base64::engine::general_purpose::STANDARD;
        let text = |byte: u8| STANDARD.encode([byte; 32]);
        serde_json::from_value(serde_json::json!({"current": text(current), "previous": previous.map(text)}))
            .unwrap()
    }

    fn order(id: &str) -> OrderKey {
        OrderKey { product: Product::Mobile, id: id.parse().unwrap() }
    }

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    const DAYS: Duration = Duration::from_secs(90 * 24 * 3600);

    #[test]
    fn a_capability_opens_its_order_until_its_day_ends() {
        let (keys, now) = (keys(1, None), at("2026-11-28T10:00:00Z"));
        let issued = issue(&keys, &order("68f5"), DAYS, now);
        assert_eq!(issue(&keys, &order("68f5"), DAYS, at("2026-11-28T23:59:59Z")), issued, "the same day");
        assert_ne!(issue(&keys, &order("68f5"), DAYS, at("2026-11-29T00:00:01Z")), issued);
        for (moment, opens) in [
            ("2026-11-28T10:00:00Z", true),
            ("2027-02-26T23:59:59Z", true),
            ("2027-02-27T00:00:00Z", false),
            ("2030-01-01T00:00:00Z", false),
        ] {
            assert_eq!(open(&keys, &issued, at(moment)), opens.then(|| order("68f5")), "{moment}");
        }
        assert!(
            issued.len() < MAX_LENGTH && issue(&keys, &order(&"x".repeat(64)), DAYS, now).len() <= MAX_LENGTH
        );
    }

    #[test]
    fn a_rotated_key_goes_on_as_the_previous_one_and_then_opens_nothing() {
        let now = at("2026-11-28T10:00:00Z");
        let issued = issue(&keys(1, None), &order("1"), DAYS, now);
        assert_eq!(open(&keys(2, Some(1)), &issued, now), Some(order("1")));
        assert_eq!(open(&keys(2, None), &issued, now), None);
        assert_eq!(open(&keys(2, Some(3)), &issued, now), None);
        assert_ne!(issue(&keys(2, Some(1)), &order("1"), DAYS, now), issued);
    }

    #[test]
    fn what_was_not_signed_opens_nothing() {
        let (keys, now) = (keys(1, None), at("2026-11-28T10:00:00Z"));
        let issued = issue(&keys, &order("1"), DAYS, now);
        let (payload, tag) = issued.split_once('.').unwrap();
        let other = URL_SAFE_NO_PAD.encode("mobile/2/99999");
        let made_up = [
            String::new(),
            ".".to_owned(),
            payload.to_owned(),
            format!("{payload}."),
            format!(".{tag}"),
            format!("{other}.{tag}"),
            format!("{payload}.{}", &tag[..20]),
            format!("{payload}.{tag}A"),
            format!("{payload}.{tag}="),
            format!("{issued}.{tag}"),
            issued.to_uppercase(),
            "x".repeat(100_000),
            "é.ß".to_owned(),
        ];
        for text in made_up {
            assert_eq!(open(&keys, &text, now), None, "{text}");
        }
    }

    /// Secrets Manager: counts its calls, and fails while told to.
    #[derive(Clone, Default)]
    struct Manager {
        calls: Arc<Mutex<u32>>,
        fails: Arc<Mutex<bool>>,
    }

    impl wiremock::Respond for Manager {
        fn respond(&self, _: &wiremock::Request) -> wiremock::ResponseTemplate {
            *self.calls.lock().unwrap() += 1;
            let (status, body) = match *self.fails.lock().unwrap() {
                true => (400, serde_json::json!({"__type": "AccessDeniedException"})),
                false => (
                    200,
                    serde_json::json!({"SecretString": format!("{{\"current\": \"{}\"}}", "C2FV".repeat(8))}),
                ),
            };
            wiremock::ResponseTemplate::new(status).set_body_json(body)
        }
    }

    #[tokio::test]
    async fn links_need_the_page_and_its_secret_which_is_read_once_a_minute() {
        let server = wiremock::MockServer::start().await;
        let answers = Manager::default();
        *answers.fails.lock().unwrap() = true;
        let any = wiremock::Mock::given(wiremock::matchers::any());
        any.respond_with(answers.clone()).mount(&server).await;
        let aws = crate::aws::AwsEnvironment::for_tests(&server.uri());
        let config = crate::aws::sdk_config(&aws, crate::http::Http::new(&[]).unwrap());
        let manager = Lazy::new(move || aws_sdk_secretsmanager::Client::new(&config));
        let settings = |is_on: &str| {
            let texts = [
                ("TRACKING_PAGE", is_on),
                ("TRACKING_URL_BASE", "https://shop.example/"),
                ("PAGE_SECRET_ID", "page"),
                ("ORDERS_TABLE", "t"),
                ("EVENT_BUS", "b"),
                ("CARD_KEY_ID", "k"),
                ("SECRET_ID", "s"),
                ("AWS_REGION", "r"),
                ("AWS_ACCESS_KEY_ID", "i"),
                ("AWS_SECRET_ACCESS_KEY", "s"),
            ];
            let texts = texts.map(|(name, text)| (name.to_owned(), text.to_owned()));
            crate::config::Config::read(texts).unwrap().tracking_page
        };
        assert!(Links::new(&settings("off"), manager.clone()).is_none());
        let links = Links::new(&settings("on"), manager).unwrap();
        let (first, key) = (at("2026-11-28T10:00:00Z"), order("1"));
        let after = |seconds| later(first, Duration::from_secs(seconds));
        assert_eq!(links.to(&key, first).await, None);
        assert_eq!(links.to(&key, after(59)).await, None);
        assert_eq!(*answers.calls.lock().unwrap(), 1, "one attempt a minute");
        *answers.fails.lock().unwrap() = false;
        let link = links.to(&key, after(60)).await.unwrap();
        assert!(link.starts_with("https://shop.example/t/bW9iaWxl"), "{link}");
        assert_eq!(links.to(&key, after(119)).await, Some(link.clone()));
        assert_eq!(*answers.calls.lock().unwrap(), 2);
        *answers.fails.lock().unwrap() = true;
        assert_eq!(links.to(&key, after(120)).await, Some(link), "the old key stays");
        assert_eq!(*answers.calls.lock().unwrap(), 3);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        #[test]
        fn each_order_has_its_own_and_no_changed_character_opens_one(
            id in "[A-Za-z0-9_-]{1,64}", at_character in 0usize..200, by in "[A-Za-z0-9_.-]",
        ) {
            let (keys, now) = (keys(1, Some(2)), at("2026-11-28T10:00:00Z"));
            let key = order(&id);
            let issued = issue(&keys, &key, DAYS, now);
            prop_assert_eq!(open(&keys, &issued, now), Some(key));
            let at_character = at_character % issued.len();
            let mut changed = issued.clone();
            changed.replace_range(at_character..=at_character, &by);
            if changed != issued {
                prop_assert_eq!(open(&keys, &changed, now), None);
            }
        }
    }
}
