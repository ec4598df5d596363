//! A secret that signs, with the one before it during a rotation: of webhooks, and of links to the tracking page.

use base64::{Engine, engine::general_purpose::STANDARD};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;

use super::SecretValue;

/// Lengths of a key in bytes, by the Standard Webhooks specification.
const LENGTHS: std::ops::RangeInclusive<usize> = 24..=64;

/// The keys in a secret's text, each 24 to 64 bytes in base64, with or without the prefix `whsec_`.
#[derive(Clone, Debug, Deserialize)]
pub struct SigningKeys {
    current: SecretString,
    #[serde(default)]
    previous: Option<SecretString>,
}

impl SecretValue for SigningKeys {
    const FORM: &'static str =
        r#"{"current": "…", "previous": "…"}, each 24 to 64 bytes in base64 (previous is optional)"#;

    fn wrong_field(&self) -> Option<&'static str> {
        match (key(&self.current), self.stored_previous().map(key)) {
            (None, _) => Some("current"),
            (_, Some(None)) => Some("previous"),
            _ => None,
        }
    }
}

impl SigningKeys {
    /// The current key, which signs. Its bytes must not be printed.
    pub fn current(&self) -> Vec<u8> {
        key(&self.current).unwrap_or_default()
    }

    /// The key before it, which only verifies; `None`: there is none.
    pub fn previous(&self) -> Option<Vec<u8>> {
        self.stored_previous().and_then(key)
    }

    fn stored_previous(&self) -> Option<&SecretString> {
        self.previous.as_ref().filter(|previous| !previous.expose_secret().is_empty())
    }
}

/// The bytes of a key; `None` if the text has another form.
fn key(secret: &SecretString) -> Option<Vec<u8>> {
    let text = secret.expose_secret();
    let bytes = STANDARD.decode(text.strip_prefix("whsec_").unwrap_or(text)).ok()?;
    LENGTHS.contains(&bytes.len()).then_some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret::parse;

    const CURRENT: &str = "C2FVsBQIhrscChlQIMV+b5sSYspob7oD";

    #[test]
    fn keys_are_read_with_and_without_their_prefix() {
        let keys: SigningKeys =
            parse("id", &format!(r#"{{"current": "whsec_{CURRENT}", "previous": ""}}"#)).unwrap();
        assert_eq!((keys.current(), keys.previous()), (STANDARD.decode(CURRENT).unwrap(), None));
        let two = format!(r#"{{"current": "{}", "previous": "{CURRENT}"}}"#, STANDARD.encode([7; 32]));
        let keys: SigningKeys = parse("id", &two).unwrap();
        assert_eq!((keys.current(), keys.previous()), (vec![7; 32], Some(STANDARD.decode(CURRENT).unwrap())));
        assert!(!format!("{keys:?}").contains(CURRENT));
    }

    #[test]
    fn a_secret_of_another_form_is_refused_by_the_name_of_its_field() {
        let short = STANDARD.encode([7; 23]);
        let long = STANDARD.encode([7; 65]);
        let cases = [
            ("", "."),
            ("{}", "."),
            (r#"{"current": ""}"#, "current"),
            (r#"{"current": "whsec_"}"#, "current"),
            (r#"{"current": "not base64!"}"#, "current"),
            (&format!(r#"{{"current": "{short}"}}"#), "current"),
            (&format!(r#"{{"current": "{long}"}}"#), "current"),
            (&format!(r#"{{"current": "{CURRENT}", "previous": "{short}"}}"#), "previous"),
        ];
        for (text, field) in cases {
            let error = parse::<SigningKeys>("id", text).unwrap_err().to_string();
            assert!(error.ends_with(&format!(": {field} is wrong")), "{text}: {error}");
            assert!(text.len() < 20 || !error.contains(text), "{error}");
        }
    }
}
