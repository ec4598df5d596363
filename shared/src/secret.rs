//! The vendor's key and the API tokens: two secrets, from Secrets Manager, or from the environment for local runs.

mod signing;
mod vault;

use std::fmt;

use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Deserializer, de::DeserializeOwned};
use serde_json::value::RawValue;
use subtle::ConstantTimeEq;

pub use signing::SigningKeys;
pub use vault::Vault;

use crate::aws::{Lazy, describe};

/// What a token permits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// All calls except reading card codes.
    Orders,
    /// Reading card codes.
    Cards,
}

/// A token of the HTTP API.
#[derive(Clone, Debug, Deserialize)]
pub struct ApiToken {
    token: SecretString,
    scopes: Vec<Scope>,
}

/// Identifies a vendor key without revealing it: the first 8 bytes of its SHA-256, as 16 hexadecimal digits.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Fingerprint(String);

impl Fingerprint {
    fn of(key: &SecretString) -> Self {
        let digest = ring::digest::digest(&ring::digest::SHA256, key.expose_secret().as_bytes());
        Self(digest.as_ref().iter().take(8).map(|byte| format!("{byte:02x}")).collect())
    }

    /// A fingerprint as the table stores it. Not validated.
    pub fn stored(text: &str) -> Self {
        Self(text.to_owned())
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The vendor's key, sent as `X-Access-Token`.
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
    /// The fingerprint, for logs and the table.
    pub fn fingerprint(&self) -> &Fingerprint {
        &self.fingerprint
    }
}

impl ExposeSecret<str> for VendorKey {
    fn expose_secret(&self) -> &str {
        self.secret.expose_secret()
    }
}

/// The value of a secret: a JSON object.
pub trait SecretValue: Clone + fmt::Debug + DeserializeOwned {
    /// The form of the value, for the error.
    const FORM: &'static str;

    /// The first field with a value that is not allowed, though it has the right type.
    fn wrong_field(&self) -> Option<&'static str> {
        None
    }
}

/// The secret with the vendor's key.
#[derive(Clone, Debug, Deserialize)]
pub struct VendorSecret {
    /// The vendor's key.
    #[serde(rename = "oneclickdz_api_key")]
    pub vendor_key: VendorKey,
}

impl SecretValue for VendorSecret {
    const FORM: &'static str = r#"{"oneclickdz_api_key": "…"}"#;

    fn wrong_field(&self) -> Option<&'static str> {
        self.vendor_key.expose_secret().is_empty().then_some("oneclickdz_api_key")
    }
}

/// The secret with the tokens of the HTTP API. Only `status` reads it.
#[derive(Clone, Debug, Deserialize)]
pub struct ApiTokens {
    /// An invalid entry is logged and left out; the others stay valid.
    #[serde(deserialize_with = "good_tokens")]
    api_tokens: Vec<ApiToken>,
}

impl SecretValue for ApiTokens {
    const FORM: &'static str = r#"{"api_tokens": [{"token": "…", "scopes": ["orders", "cards"]}]}"#;
}

/// The secret could not be read for 5 min, so no token is accepted.
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
            // Only the path: serde's message would repeat the value.
            Err(error) => error.path().to_string(),
        };
        tracing::error!(entry = index, wrong, "an entry of api_tokens is invalid and is left out");
        None
    };
    Ok(entries.into_iter().enumerate().filter_map(token).collect())
}

/// Where a secret is read from.
#[derive(Clone, Debug)]
pub enum SecretSource<T> {
    /// `SECRET_ID`, `TOKENS_SECRET_ID`: a secret in Secrets Manager.
    Manager {
        /// Name or ARN.
        id: String,
    },
    /// `ONECLICKDZ_API_KEY` and `API_TOKENS`: local runs only.
    Environment(T),
}

/// A secret cannot be read. Never contains it.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// Secrets Manager failed or refused, or the secret has no value yet.
    #[error("Secrets Manager could not read {id}: {why}")]
    Unavailable {
        /// Name or ARN.
        id: String,
        /// Code and message.
        why: String,
    },
    /// The secret's text is not JSON of the expected form.
    #[error("the secret {id} must be JSON such as {form}: {path} is wrong")]
    Unreadable {
        /// Name or ARN.
        id: String,
        /// The form of the value.
        form: &'static str,
        /// The field.
        path: String,
    },
}

impl VendorSecret {
    /// For local runs.
    pub fn local(vendor_key: String) -> Self {
        Self { vendor_key: SecretString::from(vendor_key).into() }
    }
}

impl ApiTokens {
    /// Tokens with all scopes, for local runs.
    pub fn local(tokens: impl IntoIterator<Item = String>) -> Self {
        let all = |token: String| ApiToken { token: token.into(), scopes: vec![Scope::Orders, Scope::Cards] };
        Self { api_tokens: tokens.into_iter().map(all).collect() }
    }

    /// The scopes of a token; `None` if no entry has it. Compares with every token, each in constant time.
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
}

async fn read<T: SecretValue>(
    source: &SecretSource<T>,
    manager: &Lazy<aws_sdk_secretsmanager::Client>,
) -> Result<T, SecretError> {
    let id = match source {
        SecretSource::Environment(value) => return Ok(value.clone()),
        SecretSource::Manager { id } => id,
    };
    let answer = manager.get().get_secret_value().secret_id(id).send().await;
    let answer =
        answer.map_err(|error| SecretError::Unavailable { id: id.clone(), why: describe(&error) })?;
    parse(id, answer.secret_string().unwrap_or_default())
}

fn parse<T: SecretValue>(id: &str, text: &str) -> Result<T, SecretError> {
    let unreadable = |path: String| SecretError::Unreadable { id: id.to_owned(), form: T::FORM, path };
    let mut json = serde_json::Deserializer::from_str(text);
    let value: T =
        serde_path_to_error::deserialize(&mut json).map_err(|error| unreadable(error.path().to_string()))?;
    match value.wrong_field() {
        Some(field) => Err(unreadable(field.to_owned())),
        None => Ok(value),
    }
}

#[cfg(test)]
mod tests;
