//! Card codes: encrypted with KMS before they are stored, decrypted only for `/card`.

use aws_sdk_kms::primitives::Blob;
use secrecy::{ExposeSecret, SecretString};

use crate::{
    aws::{Lazy, describe},
    order::{OrderKey, SealedCard},
};

/// The KMS key for card codes. The encryption context is product and id, so a ciphertext cannot be decrypted for
/// another order.
#[derive(Clone, Debug)]
pub struct CardSafe {
    kms: Lazy<aws_sdk_kms::Client>,
    key_id: String,
}

/// A KMS call failed.
#[derive(Debug, thiserror::Error)]
#[error("KMS could not {what}: {why}")]
pub struct CardError {
    what: &'static str,
    why: String,
}

impl CardSafe {
    /// `key_id`: id or ARN of the key.
    pub fn new(kms: impl Into<Lazy<aws_sdk_kms::Client>>, key_id: String) -> Self {
        Self { kms: kms.into(), key_id }
    }

    /// Encrypts a card code. KMS takes at most 4 KB.
    ///
    /// # Errors
    /// If KMS fails or refuses.
    pub async fn seal(&self, order: &OrderKey, code: &SecretString) -> Result<SealedCard, CardError> {
        let code = code.expose_secret();
        let sealed = self
            .kms
            .get()
            .encrypt()
            .key_id(&self.key_id)
            .plaintext(Blob::new(code.as_bytes()))
            .encryption_context("product", order.product.as_str())
            .encryption_context("id", order.id.as_str())
            .send()
            .await
            .map_err(|error| CardError { what: "encrypt a card code", why: describe(&error) })?;
        let ciphertext = sealed
            .ciphertext_blob
            .ok_or_else(|| CardError { what: "encrypt a card code", why: "no ciphertext".to_owned() })?
            .into_inner();
        Ok(SealedCard { ciphertext, masked: SealedCard::mask(code) })
    }

    /// Decrypts a card code.
    ///
    /// # Errors
    /// If KMS fails or refuses: only the role of the function `status` may decrypt.
    pub async fn open(&self, order: &OrderKey, card: &SealedCard) -> Result<SecretString, CardError> {
        let opened = self
            .kms
            .get()
            .decrypt()
            .key_id(&self.key_id)
            .ciphertext_blob(Blob::new(card.ciphertext.clone()))
            .encryption_context("product", order.product.as_str())
            .encryption_context("id", order.id.as_str())
            .send()
            .await
            .map_err(|error| CardError { what: "decrypt a card code", why: describe(&error) })?;
        let unreadable =
            || CardError { what: "decrypt a card code", why: "the plaintext is not UTF-8".to_owned() };
        let text = String::from_utf8(opened.plaintext.ok_or_else(unreadable)?.into_inner());
        text.map(SecretString::from).map_err(|_| unreadable())
    }
}
