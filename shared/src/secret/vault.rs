//! The secrets as last read, and the rules for reading them again.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use jiff::Timestamp;

use super::{SecretError, SecretSource, Secrets, TokensUnknown};
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

/// The secrets as last read, with the means to read them again: a changed secret takes effect without a deployment.
/// Clones share them.
#[derive(Clone, Debug)]
pub struct Vault {
    source: SecretSource,
    manager: Lazy<aws_sdk_secretsmanager::Client>,
    held: Arc<Mutex<Held>>,
}

#[derive(Debug)]
struct Held {
    secrets: Arc<Secrets>,
    /// Time of the last attempt to read.
    read_at: Timestamp,
    /// Time of the last successful read.
    known_at: Timestamp,
}

impl Vault {
    /// Reads the secrets.
    ///
    /// # Errors
    /// If Secrets Manager fails, or the secret has another form.
    pub async fn open(
        source: SecretSource,
        manager: impl Into<Lazy<aws_sdk_secretsmanager::Client>>,
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

    /// The secrets for checking a token, read again if they are older than 240 s. The vendor's key has no such limit:
    /// the vendor itself rejects an invalid one.
    ///
    /// # Errors
    /// [`TokensUnknown`] if the last successful read is 5 min old.
    pub async fn tokens(&self, now: Timestamp) -> Result<Arc<Secrets>, TokensUnknown> {
        if self.known_for(now) >= FRESH_FOR {
            self.read_unless_tried_within(RETRY_AFTER, now).await;
        }
        if self.known_for(now) < BELIEVED_FOR { Ok(self.secrets()) } else { Err(TokensUnknown) }
    }

    /// Age of the secrets. Secrets from the environment never age.
    fn known_for(&self, now: Timestamp) -> Duration {
        match self.source {
            SecretSource::Environment(_) => Duration::ZERO,
            SecretSource::Manager { .. } => now.duration_since(self.held().known_at).unsigned_abs(),
        }
    }

    /// Reads the secrets again for a refused key or an unknown token, unless they were read within the last 60 s. If
    /// reading fails, returns the old ones.
    pub async fn read_again(&self, now: Timestamp) -> Arc<Secrets> {
        self.read_unless_tried_within(READ_AGAIN_AFTER, now).await
    }

    async fn read_unless_tried_within(&self, gap: Duration, now: Timestamp) -> Arc<Secrets> {
        let is_too_soon = |held: &Held| now.duration_since(held.read_at).unsigned_abs() < gap;
        {
            let mut held = self.held();
            if is_too_soon(&held) {
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

    /// The secrets as of the last 60 s, read again if needed. `None` if reading fails: the key may have been replaced
    /// since the last read.
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
