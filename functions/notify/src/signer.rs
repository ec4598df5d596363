//! Signs webhooks by the Standard Webhooks specification, with one secret or, during a rotation, with two.

use std::fmt;

use jiff::Timestamp;
use shared::{
    aws::Lazy,
    secret::{SecretError, SecretSource, SigningKeys, Vault},
};
use standardwebhooks::Webhook;

/// The secrets as last read. Clones share them.
#[derive(Clone)]
pub(crate) struct Signer(Vault<SigningKeys>);

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
        Ok(Self(Vault::open(SecretSource::Manager { id }, manager, now).await?))
    }

    /// Reads the secret again if it was read more than 60 s ago: a rotation takes effect without a deployment. If that fails, the old one
    /// stays.
    pub(crate) async fn refresh(&self, now: Timestamp) {
        self.0.read_again(now).await;
    }

    /// The header `webhook-signature`: one signature for each secret, with a space between them.
    pub(crate) fn sign(&self, id: &str, timestamp: i64, body: &str) -> String {
        sign(&self.0.secrets(), id, timestamp, body)
    }
}

fn sign(keys: &SigningKeys, id: &str, timestamp: i64, body: &str) -> String {
    let keys = std::iter::once(keys.current()).chain(keys.previous());
    let keys = keys.filter_map(|key| Webhook::from_bytes(key).ok());
    // Signing fails for a body that is not UTF-8 only, and this one is text.
    let signatures = keys.filter_map(|key| key.sign(id, timestamp, body.as_bytes()).ok());
    signatures.collect::<Vec<_>>().join(" ")
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Signer")
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn signatures_are_those_of_the_specification() {
        const CURRENT: &str = "C2FVsBQIhrscChlQIMV+b5sSYspob7oD";
        let sign = |text: &str| {
            let body = r#"{"email":"test@example.com","username":"test_user"}"#;
            let keys = serde_json::from_str(text).unwrap();
            super::sign(&keys, "msg_27UH4WbU6Z5A5EzD8u03UvzRbpk", 1_649_367_553, body)
        };
        let expected = "v1,tZ1I4/hDygAJgO5TYxiSd6Sd0kDW6hPenDe+bTa3Kkw=";
        let one = format!(r#"{{"current": "{CURRENT}"}}"#);
        assert_eq!(sign(&one), expected);
        assert_eq!(sign(&format!(r#"{{"current": "whsec_{CURRENT}", "previous": ""}}"#)), expected);
        let other = "BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=";
        let two = sign(&format!(r#"{{"current": "{other}", "previous": "{CURRENT}"}}"#));
        let (first, second) = two.split_once(' ').unwrap();
        assert_eq!((second, first.len()), (expected, expected.len()));
        assert_ne!(first, expected);
    }
}
