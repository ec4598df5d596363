//! A secret as last read, and the rules for reading it again.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use jiff::Timestamp;

use super::{ApiTokens, SecretError, SecretSource, SecretValue, TokensUnknown, VendorSecret, read};
use crate::aws::Lazy;

/// Minimum interval between reads because of an unknown token or a refused key.
const READ_AGAIN_AFTER: Duration = Duration::from_secs(60);

/// Tokens of a secret that was read longer ago than this are not accepted. So a removed token works for at most this
/// long.
const BELIEVED_FOR: Duration = Duration::from_secs(300);

/// Tokens older than this are read again. The margin to `BELIEVED_FOR` bridges an outage of Secrets Manager of up to
/// 60 s.
const FRESH_FOR: Duration = Duration::from_secs(240);

/// Minimum interval between reads while the tokens are older than `FRESH_FOR`.
const RETRY_AFTER: Duration = Duration::from_secs(10);

/// A secret as last read, with the means to read it again: a changed secret takes effect without a deployment. Clones
/// share it.
#[derive(Clone, Debug)]
pub struct Vault<T> {
    source: SecretSource<T>,
    manager: Lazy<aws_sdk_secretsmanager::Client>,
    held: Arc<Mutex<Held<T>>>,
}

#[derive(Debug)]
struct Held<T> {
    value: Arc<T>,
    /// Time of the last attempt to read.
    read_at: Timestamp,
    /// Time of the last successful read.
    known_at: Timestamp,
}

impl<T: SecretValue> Vault<T> {
    /// Reads the secret.
    ///
    /// # Errors
    /// If Secrets Manager fails, or the secret has another form.
    pub async fn open(
        source: SecretSource<T>,
        manager: impl Into<Lazy<aws_sdk_secretsmanager::Client>>,
        now: Timestamp,
    ) -> Result<Self, SecretError> {
        let manager = manager.into();
        let value = Arc::new(read(&source, &manager).await?);
        Ok(Self { source, manager, held: Arc::new(Mutex::new(Held { value, read_at: now, known_at: now })) })
    }

    /// Reads another secret, with the same client.
    ///
    /// # Errors
    /// If Secrets Manager fails, or the secret has another form.
    pub async fn beside<U: SecretValue>(
        &self,
        source: SecretSource<U>,
        now: Timestamp,
    ) -> Result<Vault<U>, SecretError> {
        Vault::open(source, self.manager.clone(), now).await
    }

    /// The secret as last read.
    pub fn secrets(&self) -> Arc<T> {
        self.held().value.clone()
    }

    /// Age of the secret. One from the environment never ages.
    fn known_for(&self, now: Timestamp) -> Duration {
        match self.source {
            SecretSource::Environment(_) => Duration::ZERO,
            SecretSource::Manager { .. } => now.duration_since(self.held().known_at).unsigned_abs(),
        }
    }

    /// Reads the secret again for a refused key or an unknown token, unless it was read within the last 60 s. If
    /// reading fails, returns the old one.
    pub async fn read_again(&self, now: Timestamp) -> Arc<T> {
        self.read_unless_tried_within(READ_AGAIN_AFTER, now).await
    }

    async fn read_unless_tried_within(&self, gap: Duration, now: Timestamp) -> Arc<T> {
        let is_too_soon = |held: &Held<T>| now.duration_since(held.read_at).unsigned_abs() < gap;
        {
            let mut held = self.held();
            if is_too_soon(&held) {
                return held.value.clone();
            }
            held.read_at = now;
        }
        match read(&self.source, &self.manager).await {
            Ok(value) => {
                let value = Arc::new(value);
                let mut held = self.held();
                (held.value, held.known_at) = (value.clone(), now);
                value
            }
            Err(error) => {
                tracing::error!(%error, "the secrets could not be read again");
                self.secrets()
            }
        }
    }

    fn held(&self) -> MutexGuard<'_, Held<T>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Vault<VendorSecret> {
    /// The secret as of the last 60 s, read again if needed. `None` if reading fails: the key may have been replaced
    /// since the last read.
    pub async fn of_this_minute(&self, now: Timestamp) -> Option<Arc<VendorSecret>> {
        self.read_again(now).await;
        let held = self.held();
        let is_recent = now.duration_since(held.known_at).unsigned_abs() < READ_AGAIN_AFTER;
        is_recent.then(|| held.value.clone())
    }
}

impl Vault<ApiTokens> {
    /// The tokens, read again if they are older than 240 s. The vendor's key has no such limit: the vendor itself rejects
    /// an invalid one.
    ///
    /// # Errors
    /// [`TokensUnknown`] if the last successful read is 5 min old.
    pub async fn tokens(&self, now: Timestamp) -> Result<Arc<ApiTokens>, TokensUnknown> {
        if self.known_for(now) >= FRESH_FOR {
            self.read_unless_tried_within(RETRY_AFTER, now).await;
        }
        if self.known_for(now) < BELIEVED_FOR { Ok(self.secrets()) } else { Err(TokensUnknown) }
    }
}
