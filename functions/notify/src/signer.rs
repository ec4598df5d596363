//! Signs webhooks by the Standard Webhooks specification, with one secret or, during a rotation, with two.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use base64::{Engine, engine::general_purpose::STANDARD};
use jiff::Timestamp;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use shared::{
    aws::{Lazy, describe},
    time::between,
};
use standardwebhooks::Webhook;

/// The secret is read again this long after it was read: a rotation takes effect without a deployment.
const FRESH_FOR: Duration = Duration::from_secs(60);
/// Lengths of a secret in bytes, by the specification.
const LENGTHS: std::ops::RangeInclusive<usize> = 24..=64;

/// The secret in Secrets Manager.
#[derive(Deserialize)]
struct Stored {
    current: SecretString,
    #[serde(default)]
    previous: Option<SecretString>,
}

/// The secret cannot be used. Never contains it.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// Secrets Manager failed or refused.
    #[error("Secrets Manager could not read {id}: {why}")]
    Unavailable {
        /// Name or ARN.
        id: String,
        /// Code and message.
        why: String,
    },
    /// The secret's text is not as expected.
    #[error(
        "the secret {id} must be JSON such as {{\"current\": \"…\", \"previous\": \"…\"}}, each 24 to 64 bytes in base64 \
         (previous is optional): {field} is wrong"
    )]
    Unreadable {
        /// Name or ARN.
        id: String,
        /// The field.
        field: &'static str,
    },
}

/// The secrets as last read. Clones share them.
#[derive(Clone)]
pub(crate) struct Signer {
    id: String,
    manager: Lazy<aws_sdk_secretsmanager::Client>,
    held: Arc<Mutex<Held>>,
}

struct Held {
    /// The current secret, then the previous one if there is one.
    keys: Arc<Vec<Webhook>>,
    read_at: Timestamp,
}

impl Signer {
    /// Reads the secret.
    ///
    /// # Errors
    /// If Secrets Manager fails, or the secret has another form.
    pub(crate) async fn open(
        id: String,
        manager: Lazy<aws_sdk_secretsmanager::Client>,
        now: Timestamp,
    ) -> Result<Self, SecretError> {
        let keys = Arc::new(read(&id, &manager).await?);
        Ok(Self { id, manager, held: Arc::new(Mutex::new(Held { keys, read_at: now })) })
    }

    /// Reads the secret again if it was read more than 60 s ago. If that fails, the old one stays.
    pub(crate) async fn refresh(&self, now: Timestamp) {
        {
            let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
            if between(held.read_at, now) < FRESH_FOR {
                return;
            }
            held.read_at = now;
        }
        match read(&self.id, &self.manager).await {
            Ok(keys) => self.held.lock().unwrap_or_else(PoisonError::into_inner).keys = Arc::new(keys),
            Err(error) => tracing::error!(%error, "the secret of the webhooks could not be read again"),
        }
    }

    /// The header `webhook-signature`: one signature for each secret, with a space between them.
    pub(crate) fn sign(&self, id: &str, timestamp: i64, body: &str) -> String {
        let keys = self.held.lock().unwrap_or_else(PoisonError::into_inner).keys.clone();
        // Signing fails for a body that is not UTF-8 only, and this one is text.
        let signatures = keys.iter().filter_map(|key| key.sign(id, timestamp, body.as_bytes()).ok());
        signatures.collect::<Vec<_>>().join(" ")
    }
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Signer")
    }
}

async fn read(id: &str, manager: &Lazy<aws_sdk_secretsmanager::Client>) -> Result<Vec<Webhook>, SecretError> {
    let answer = manager.get().get_secret_value().secret_id(id).send().await;
    let answer =
        answer.map_err(|error| SecretError::Unavailable { id: id.to_owned(), why: describe(&error) })?;
    parse(answer.secret_string().unwrap_or_default())
        .map_err(|field| SecretError::Unreadable { id: id.to_owned(), field })
}

/// The keys in the secret's text, or the field that is wrong.
fn parse(text: &str) -> Result<Vec<Webhook>, &'static str> {
    let stored: Stored = serde_json::from_str(text).map_err(|_| "the JSON")?;
    let current = key(&stored.current).ok_or("current")?;
    let previous = stored.previous.filter(|previous| !previous.expose_secret().is_empty());
    let previous = previous.map(|previous| key(&previous).ok_or("previous")).transpose()?;
    Ok(std::iter::once(current).chain(previous).collect())
}

/// A key; `None` if the text is not 24 to 64 bytes in base64, with or without the prefix `whsec_`.
fn key(secret: &SecretString) -> Option<Webhook> {
    let text = secret.expose_secret();
    let bytes = STANDARD.decode(text.strip_prefix("whsec_").unwrap_or(text)).ok()?;
    if LENGTHS.contains(&bytes.len()) { Webhook::from_bytes(bytes).ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CURRENT: &str = "C2FVsBQIhrscChlQIMV+b5sSYspob7oD";

    fn signer(text: &str) -> Result<Signer, &'static str> {
        let held = Held { keys: Arc::new(parse(text)?), read_at: Timestamp::UNIX_EPOCH };
        let manager = Lazy::new(|| unreachable!("no secret is read"));
        Ok(Signer { id: String::new(), manager, held: Arc::new(Mutex::new(held)) })
    }

    #[test]
    fn signatures_are_those_of_the_specification() {
        let sign = |text: &str| {
            let body = r#"{"email":"test@example.com","username":"test_user"}"#;
            signer(text).unwrap().sign("msg_27UH4WbU6Z5A5EzD8u03UvzRbpk", 1_649_367_553, body)
        };
        let expected = "v1,tZ1I4/hDygAJgO5TYxiSd6Sd0kDW6hPenDe+bTa3Kkw=";
        let one = format!(r#"{{"current": "{CURRENT}"}}"#);
        assert_eq!(sign(&one), expected);
        assert_eq!(sign(&format!(r#"{{"current": "whsec_{CURRENT}", "previous": ""}}"#)), expected);
        let two = format!(r#"{{"current": "{}", "previous": "{CURRENT}"}}"#, STANDARD.encode([7; 32]));
        let (first, second) = sign(&two).split_once(' ').map(|(a, b)| (a.to_owned(), b.to_owned())).unwrap();
        assert_eq!((second.as_str(), first.len()), (expected, expected.len()));
        assert_ne!(first, expected);
    }

    #[test]
    fn a_secret_of_another_form_is_refused_by_the_name_of_its_field() {
        let short = STANDARD.encode([7; 23]);
        let long = STANDARD.encode([7; 65]);
        let cases = [
            ("", "the JSON"),
            ("{}", "the JSON"),
            (r#"{"current": ""}"#, "current"),
            (r#"{"current": "whsec_"}"#, "current"),
            (r#"{"current": "not base64!"}"#, "current"),
            (&format!(r#"{{"current": "{short}"}}"#), "current"),
            (&format!(r#"{{"current": "{long}"}}"#), "current"),
            (&format!(r#"{{"current": "{CURRENT}", "previous": "{short}"}}"#), "previous"),
        ];
        for (text, field) in cases {
            assert_eq!(signer(text).err(), Some(field), "{text}");
        }
    }
}
