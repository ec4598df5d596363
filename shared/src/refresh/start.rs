//! Builds the clients of a function from its settings.

use tokio::time::timeout;

use super::{Lists, Tracker};
use crate::{
    aws::{Lazy, Service, of_service, sdk_config},
    capability::Links,
    cards::CardSafe,
    clock::Clock,
    config::Config,
    http::Http,
    permits::Permits,
    publish::Publisher,
    secret::{SecretError, Vault},
    store::Store,
    vendor::Vendor,
};

/// Why a function could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// TLS cannot be set up.
    #[error("TLS cannot be set up")]
    Tls(#[from] rustls::Error),
    /// A secret cannot be read.
    #[error(transparent)]
    Secrets(#[from] SecretError),
}

impl Tracker {
    /// Builds all clients, reads the vendor's key, and reads the key's state once. That opens the connection to the table
    /// during init, which has a whole CPU; a small function's first call has a few percent of one.
    ///
    /// # Errors
    /// If TLS cannot be set up or the secret cannot be read.
    pub async fn start(config: &Config) -> Result<Self, StartError> {
        let tracker = Self::open(config).await?;
        tracker.connect(config).await;
        Ok(tracker)
    }

    /// Reads the key's state once. If this fails or times out, the first call reads it again.
    pub async fn connect(&self, config: &Config) {
        let _ = timeout(config.connect_ahead_timeout, self.usage()).await;
    }

    /// Builds all clients, and reads the vendor's key.
    ///
    /// # Errors
    /// If TLS cannot be set up or the secret cannot be read.
    pub async fn open(config: &Config) -> Result<Self, StartError> {
        let http = Http::new(&config.extra_roots)?;
        let aws = sdk_config(&config.aws, http.clone());
        let of = |service| of_service(&config.aws, &aws, service);
        let (manager, kms, events) =
            (of(Service::SecretsManager), of(Service::Kms), of(Service::EventBridge));
        let clock = Clock::System;
        let manager = Lazy::new(move || aws_sdk_secretsmanager::Client::new(&manager));
        let links = Links::new(&config.tracking_page, manager.clone());
        let vault = Vault::open(config.vendor_secret.clone(), manager, clock.now()).await?;
        let store =
            Store::new(aws_sdk_dynamodb::Client::new(&of(Service::DynamoDb)), config.orders_table.clone());
        let kms = Lazy::new(move || aws_sdk_kms::Client::new(&kms));
        let events = Lazy::new(move || aws_sdk_eventbridge::Client::new(&events));
        Ok(Self {
            permits: Permits::new(store.clone(), clock.clone(), config.budget),
            store,
            vault,
            vendor: Vendor::new(http, config.base_url.clone()),
            cards: CardSafe::new(kms, config.card_key_id.clone()),
            publisher: Publisher::new(events, config.event_bus.clone()),
            clock,
            schedule: config.schedule.clone(),
            lists: config.list_checks.then(Lists::default),
            links,
            has_webhooks: config.webhooks.url.is_some(),
            redact_after: config.redact_after,
        })
    }

    /// The same tracker with another clock, for tests.
    #[must_use]
    pub fn with_clock(self, clock: Clock) -> Self {
        Self { permits: self.permits.with_clock(clock.clone()), clock, ..self }
    }
}
