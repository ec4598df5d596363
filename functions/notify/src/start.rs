//! Builds the clients of the function from its settings.

use std::time::Duration;

use shared::{
    aws::{Lazy, Service, of_service, sdk_config},
    clock::Clock,
    config::{Config, ConfigError, WebhookUrl},
    http::Http,
    order::RetrySchedule,
    secret::SecretError,
    store::Store,
};

use crate::{deliver::TIMEOUT, queue::Queue, signer::Signer};

/// The clients and settings for delivering events.
#[derive(Clone, Debug)]
pub struct Notifier {
    pub(crate) store: Store,
    pub(crate) queue: Queue,
    pub(crate) signer: Signer,
    /// The client for the merchant's URL: public addresses only.
    pub(crate) http: Http,
    pub(crate) url: WebhookUrl,
    pub(crate) retry_schedule: RetrySchedule,
    /// A receiver has this long to answer.
    pub(crate) timeout: Duration,
    pub(crate) clock: Clock,
}

/// Why the function could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A setting is missing.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// TLS cannot be set up.
    #[error("TLS cannot be set up")]
    Tls(#[from] rustls::Error),
    /// The secret cannot be read.
    #[error(transparent)]
    Secret(#[from] SecretError),
}

impl Notifier {
    /// Builds all clients, and reads the secret.
    ///
    /// # Errors
    /// See [`StartError`].
    pub async fn start(config: &Config) -> Result<Self, StartError> {
        Self::with_clock(config, Clock::System).await
    }

    /// The same with another clock, for tests.
    ///
    /// # Errors
    /// See [`StartError`].
    pub async fn with_clock(config: &Config, clock: Clock) -> Result<Self, StartError> {
        let webhooks = &config.webhooks;
        let url = webhooks.required()?.clone();
        let aws = sdk_config(&config.aws, Http::new(&config.extra_roots)?);
        let of = |service| of_service(&config.aws, &aws, service);
        let (manager, sqs) = (of(Service::SecretsManager), of(Service::Sqs));
        let manager = Lazy::new(move || aws_sdk_secretsmanager::Client::new(&manager));
        let signer = Signer::open(webhooks.secret_id.clone(), manager, clock.now()).await?;
        Ok(Self {
            store: Store::new(
                aws_sdk_dynamodb::Client::new(&of(Service::DynamoDb)),
                config.orders_table.clone(),
            ),
            queue: Queue {
                client: Lazy::new(move || aws_sdk_sqs::Client::new(&sqs)),
                url: webhooks.queue_url.clone(),
                dead_letters_url: webhooks.dead_letters_url.clone(),
            },
            signer,
            http: Http::to_public(&config.extra_roots, webhooks.allowed)?,
            url,
            timeout: TIMEOUT,
            retry_schedule: webhooks.retry_schedule.clone(),
            clock,
        })
    }
}
