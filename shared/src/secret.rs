//! The vendor's key and the merchants' tokens: from Secrets Manager, or, for local runs, from the environment.

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use jiff::Timestamp;
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;
use subtle::ConstantTimeEq;

use crate::aws::{Later, describe};

/// A secret is read again at most so often, whoever presents whatever.
const READ_AGAIN_AFTER: Duration = Duration::from_secs(60);

/// A token that was taken out of the secret is let in for so long at most: what was read longer ago says nothing about tokens.
const BELIEVED_FOR: Duration = Duration::from_secs(300);

/// Tokens that were read so long ago are read again, so that a secret that cannot be read for a minute is not felt.
const FRESH_FOR: Duration = Duration::from_secs(240);

/// While tokens are to be read again and cannot be, it is tried again so often.
const RETRY_AFTER: Duration = Duration::from_secs(10);

/// What a token is good for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// Everything but card codes.
    Orders,
    /// Card codes.
    Cards,
}

/// A token of the HTTP API.
#[derive(Clone, Debug, Deserialize)]
pub struct ApiToken {
    token: SecretString,
    scopes: Vec<Scope>,
}

/// Which key of the vendor's: the beginning of its SHA-256, in hexadecimal. Tells keys apart and gives none away.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Fingerprint(String);

impl Fingerprint {
    fn of(key: &SecretString) -> Self {
        let digest = ring::digest::digest(&ring::digest::SHA256, key.expose_secret().as_bytes());
        Self(digest.as_ref().iter().take(8).map(|byte| format!("{byte:02x}")).collect())
    }

    /// One that was written to the table.
    pub fn stored(text: &str) -> Self {
        Self(text.to_owned())
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The vendor's key (`X-Access-Token`).
#[derive(Clone, Debug, Deserialize)]
#[serde(from = "SecretString")]
pub struct VendorKey {
    secret: SecretString,
    fingerprint: Fingerprint,
}

impl From<SecretString> for VendorKey {
    fn from(secret: SecretString) -> Self {
        Self { fingerprint: Fingerprint::of(&secret), secret }
    }
}

impl VendorKey {
    /// Which one it is.
    pub fn fingerprint(&self) -> &Fingerprint {
        &self.fingerprint
    }
}

impl ExposeSecret<str> for VendorKey {
    fn expose_secret(&self) -> &str {
        self.secret.expose_secret()
    }
}

/// All secrets of a function.
#[derive(Clone, Debug, Deserialize)]
pub struct Secrets {
    /// The vendor's key.
    #[serde(rename = "oneclickdz_api_key")]
    pub vendor_key: VendorKey,
    /// Who may ask us. An entry that is no token is left out, and said: it costs the others nothing.
    #[serde(default, deserialize_with = "good_tokens")]
    api_tokens: Vec<ApiToken>,
}

/// The secret could not be read for so long that what is known of tokens is not believed any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("tokens cannot be checked: the secret could not be read for five minutes")]
pub struct TokensUnknown;

fn good_tokens<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<ApiToken>, D::Error> {
    let entries: Vec<Box<RawValue>> = Vec::deserialize(from)?;
    let token = |(index, entry): (usize, Box<RawValue>)| {
        let mut json = serde_json::Deserializer::from_str(entry.get());
        let read: Result<ApiToken, _> = serde_path_to_error::deserialize(&mut json);
        let wrong = match &read {
            Ok(known) if known.token.expose_secret().len() < 16 => {
                "token: fewer than 16 characters".to_owned()
            }
            Ok(_) => return read.ok(),
            // Never the library's own words: they repeat what stands there.
            Err(error) => error.path().to_string(),
        };
        tracing::error!(entry = index, wrong, "an entry of api_tokens is no token, and is left out");
        None
    };
    Ok(entries.into_iter().enumerate().filter_map(token).collect())
}

/// Where the secrets are.
#[derive(Clone, Debug)]
pub enum SecretSource {
    /// `SECRET_ID`: a secret in Secrets Manager.
    Manager {
        /// Name or ARN.
        id: String,
    },
    /// `ONECLICKDZ_API_KEY` and `API_TOKENS`: local runs only.
    Environment(Secrets),
}

/// The secrets cannot be had. Never contains one.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// Secrets Manager failed, refused, or has no value yet.
    #[error("Secrets Manager could not read {id}: {why}")]
    Unavailable {
        /// Name or ARN.
        id: String,
        /// Code and message.
        why: String,
    },
    /// The secret's text is not what it should be.
    #[error(
        "the secret {id} must be JSON such as {{\"oneclickdz_api_key\": \"…\", \
         \"api_tokens\": [{{\"token\": \"…\", \"scopes\": [\"orders\", \"cards\"]}}]}}: {path} is wrong"
    )]
    Unreadable {
        /// Name or ARN.
        id: String,
        /// The field.
        path: String,
    },
}

impl Secrets {
    /// For local runs: one vendor key, and tokens with all scopes.
    pub fn local(vendor_key: String, tokens: impl IntoIterator<Item = String>) -> Self {
        let all = |token: String| ApiToken { token: token.into(), scopes: vec![Scope::Orders, Scope::Cards] };
        Self {
            vendor_key: SecretString::from(vendor_key).into(),
            api_tokens: tokens.into_iter().map(all).collect(),
        }
    }

    /// The scopes of a token; `None` if nobody has it. Compares with every token, in constant time each.
    pub fn scopes_of(&self, presented: &str) -> Option<&[Scope]> {
        let mut found = None;
        for known in &self.api_tokens {
            let same: bool = known.token.expose_secret().as_bytes().ct_eq(presented.as_bytes()).into();
            if same && !presented.is_empty() {
                found = Some(known.scopes.as_slice());
            }
        }
        found
    }

    async fn read(
        source: &SecretSource,
        manager: &Later<aws_sdk_secretsmanager::Client>,
    ) -> Result<Self, SecretError> {
        let id = match source {
            SecretSource::Environment(secrets) => return Ok(secrets.clone()),
            SecretSource::Manager { id } => id.clone(),
        };
        let answer = manager.get().get_secret_value().secret_id(&id).send().await;
        let answer =
            answer.map_err(|error| SecretError::Unavailable { id: id.clone(), why: describe(&error) })?;
        Self::parse(&id, answer.secret_string().unwrap_or_default())
    }

    fn parse(id: &str, text: &str) -> Result<Self, SecretError> {
        let unreadable = |path: String| SecretError::Unreadable { id: id.to_owned(), path };
        let mut json = serde_json::Deserializer::from_str(text);
        let secrets: Self = serde_path_to_error::deserialize(&mut json)
            .map_err(|error| unreadable(error.path().to_string()))?;
        if secrets.vendor_key.expose_secret().is_empty() {
            return Err(unreadable("oneclickdz_api_key".to_owned()));
        }
        Ok(secrets)
    }
}

/// The secrets as last read, and the way to read them again: a changed secret is taken up without a deployment.
#[derive(Clone, Debug)]
pub struct Vault {
    source: SecretSource,
    manager: Later<aws_sdk_secretsmanager::Client>,
    held: Arc<Mutex<Held>>,
}

#[derive(Debug)]
struct Held {
    secrets: Arc<Secrets>,
    /// When reading was last tried.
    read_at: Timestamp,
    /// When it last succeeded.
    known_at: Timestamp,
}

impl Vault {
    /// Reads the secrets.
    ///
    /// # Errors
    /// If Secrets Manager fails, or the secret is not in its form.
    pub async fn open(
        source: SecretSource,
        manager: impl Into<Later<aws_sdk_secretsmanager::Client>>,
        now: Timestamp,
    ) -> Result<Self, SecretError> {
        let manager = manager.into();
        let secrets = Arc::new(Secrets::read(&source, &manager).await?);
        Ok(Self {
            source,
            manager,
            held: Arc::new(Mutex::new(Held { secrets, read_at: now, known_at: now })),
        })
    }

    /// The secrets as last read.
    pub fn secrets(&self) -> Arc<Secrets> {
        self.held().secrets.clone()
    }

    /// The secrets for checking a token. What was taken out of them is good for five minutes at most: if they cannot be read for so long,
    /// nobody's token is. The vendor's key goes on being used; it is the vendor who says whether it is good.
    ///
    /// # Errors
    /// [`TokensUnknown`].
    pub async fn tokens(&self, now: Timestamp) -> Result<Arc<Secrets>, TokensUnknown> {
        if self.known_for(now) >= FRESH_FOR {
            self.read_unless_tried_within(RETRY_AFTER, now).await;
        }
        if self.known_for(now) < BELIEVED_FOR { Ok(self.secrets()) } else { Err(TokensUnknown) }
    }

    /// How old what is held is. Secrets of the environment are never old.
    fn known_for(&self, now: Timestamp) -> Duration {
        match self.source {
            SecretSource::Environment(_) => Duration::ZERO,
            SecretSource::Manager { .. } => now.duration_since(self.held().known_at).unsigned_abs(),
        }
    }

    /// Reads the secrets again, unless somebody has within the last minute; for a key that is refused or a token that nobody
    /// knows. Where they cannot be had, the old ones stay.
    pub async fn read_again(&self, now: Timestamp) -> Arc<Secrets> {
        self.read_unless_tried_within(READ_AGAIN_AFTER, now).await
    }

    async fn read_unless_tried_within(&self, gap: Duration, now: Timestamp) -> Arc<Secrets> {
        let wait = |held: &Held| now.duration_since(held.read_at).unsigned_abs() < gap;
        {
            let mut held = self.held();
            if wait(&held) {
                return held.secrets.clone();
            }
            held.read_at = now;
        }
        match Secrets::read(&self.source, &self.manager).await {
            Ok(secrets) => {
                let secrets = Arc::new(secrets);
                let mut held = self.held();
                (held.secrets, held.known_at) = (secrets.clone(), now);
                secrets
            }
            Err(error) => {
                tracing::error!(%error, "the secrets could not be read again");
                self.secrets()
            }
        }
    }

    /// The secrets as they were within the last minute, read again if need be; `None` where they cannot be had: what is held may have
    /// been replaced since.
    pub async fn of_this_minute(&self, now: Timestamp) -> Option<Arc<Secrets>> {
        self.read_again(now).await;
        let held = self.held();
        let is_recent = now.duration_since(held.known_at).unsigned_abs() < READ_AGAIN_AFTER;
        is_recent.then(|| held.secrets.clone())
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = r#"{"oneclickdz_api_key":"vendor-key","api_tokens":[
        {"token":"orders-only-0123456789","scopes":["orders"]},
        {"token":"everything-0123456789","scopes":["orders","cards"]}]}"#;

    #[test]
    fn a_token_has_its_scopes_and_nobody_elses() {
        let secrets = Secrets::parse("s", SECRET).unwrap();
        assert_eq!(secrets.scopes_of("orders-only-0123456789"), Some([Scope::Orders].as_slice()));
        assert_eq!(
            secrets.scopes_of("everything-0123456789"),
            Some([Scope::Orders, Scope::Cards].as_slice())
        );
        for wrong in ["", "orders-only", "orders-only-01234567890", "vendor-key"] {
            assert_eq!(secrets.scopes_of(wrong), None, "{wrong:?}");
        }
    }

    #[test]
    fn secrets_do_not_print() {
        let printed = format!("{:?}", Secrets::parse("s", SECRET).unwrap());
        for secret in ["vendor-key", "orders-only", "everything"] {
            assert!(!printed.contains(secret), "{printed}");
        }
    }

    #[test]
    fn an_entry_that_is_no_token_costs_the_others_nothing() {
        for bad in [
            r#"{"token":"too-short","scopes":["orders"]}"#,
            r#"{"token":"a-token-of-all-0123456789","scopes":["all"]}"#,
            r#"{"token":"a-token-of-all-0123456789","scopes":"orders"}"#,
            r#"{"token":4711471147114711,"scopes":["orders"]}"#,
            r#"{"scopes":["orders"]}"#,
            "7",
            "null",
            "[]",
        ] {
            let text = SECRET.replacen('[', &format!("[{bad},"), 1);
            let secrets = Secrets::parse("s", &text).unwrap();
            assert_eq!(
                secrets.scopes_of("orders-only-0123456789"),
                Some([Scope::Orders].as_slice()),
                "{bad}"
            );
            assert_eq!(secrets.scopes_of("a-token-of-all-0123456789"), None, "{bad}");
            assert_eq!(secrets.api_tokens.len(), 2, "{bad}");
        }
    }

    #[test]
    fn a_secret_in_another_form_is_refused_by_field_and_without_its_text() {
        for (text, path) in [
            ("", "."),
            ("swordfish", "."),
            (r#"{"oneclickdz_api_key":7}"#, "oneclickdz_api_key"),
            (r#"{"oneclickdz_api_key":""}"#, "oneclickdz_api_key"),
            (r#"{"oneclickdz_api_key":"k","api_tokens":"swordfish"}"#, "api_tokens"),
            (r#"{"oneclickdz_api_key":"k","api_tokens":{"token":"swordfish-0123456789"}}"#, "api_tokens"),
        ] {
            let error = Secrets::parse("s", text).unwrap_err().to_string();
            assert!(error.contains(&format!(": {path}")), "{text}: {error}");
            assert!(!error.contains("swordfish"), "{error}");
        }
    }
}
