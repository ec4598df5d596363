//! The secrets as last read, and when they are read again.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use jiff::Timestamp;

use super::{SecretError, SecretSource, Secrets, TokensUnknown};
use crate::aws::Lazy;

/// A secret is read again at most so often, whatever tokens are presented.
const READ_AGAIN_AFTER: Duration = Duration::from_secs(60);

/// A token that was taken out of the secret is let in for so long at most: what was read longer ago says nothing about tokens.
const BELIEVED_FOR: Duration = Duration::from_secs(300);

/// Tokens that were read so long ago are read again, so that a secret that cannot be read for a minute is not felt.
const FRESH_FOR: Duration = Duration::from_secs(240);

/// While tokens are to be read again and cannot be, it is tried again so often.
const RETRY_AFTER: Duration = Duration::from_secs(10);

/// The secrets as last read, and the way to read them again: a changed secret is taken up without a deployment.
#[derive(Clone, Debug)]
pub struct Vault {
    source: SecretSource,
    manager: Lazy<aws_sdk_secretsmanager::Client>,
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

    /// The secrets for checking a token. What was taken out of them is good for five minutes at most: if they cannot be read for so long,
    /// no token is good. The vendor's key goes on being used: the vendor says whether it is good.
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

    /// Reads the secrets again, unless they were read within the last minute: for a key that is refused, or a token that is not known.
    /// Where they cannot be had, the old ones stay.
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
