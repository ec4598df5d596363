//! Builds the clients of the function from its settings.

use shared::{
    aws::{Lazy, Service, of_service, sdk_config},
    capability::LinkKeys,
    cards::CardSafe,
    clock::Clock,
    config::Config,
    http::Http,
    order::Schedule,
    store::Store,
};

use crate::render::Look;

/// The clients and settings for serving pages.
#[derive(Clone, Debug)]
pub struct Page {
    pub(crate) store: Store,
    pub(crate) keys: LinkKeys,
    /// Decrypts cards; `None`: the settings do not allow it.
    pub(crate) cards: Option<CardSafe>,
    /// When an order is due whose card was read.
    pub(crate) schedule: Schedule,
    pub(crate) look: Look,
    pub(crate) clock: Clock,
}

/// Why the function could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// No secret is named.
    #[error("settings: PAGE_SECRET_ID is missing")]
    NoSecret,
    /// TLS cannot be set up.
    #[error("TLS cannot be set up")]
    Tls(#[from] rustls::Error),
}

impl Page {
    /// Builds all clients, and reads the secret. If that fails, the first request reads it again after a minute.
    ///
    /// # Errors
    /// See [`StartError`].
    pub async fn start(config: &Config) -> Result<Self, StartError> {
        let page = Self::with_clock(config, Clock::System)?;
        page.keys.get(page.clock.now()).await;
        Ok(page)
    }

    /// The same with another clock, and without reading the secret.
    ///
    /// # Errors
    /// See [`StartError`].
    pub fn with_clock(config: &Config, clock: Clock) -> Result<Self, StartError> {
        let settings = &config.tracking_page;
        if settings.secret_id.is_empty() {
            return Err(StartError::NoSecret);
        }
        let aws = sdk_config(&config.aws, Http::new(&config.extra_roots)?);
        let of = |service| of_service(&config.aws, &aws, service);
        let (manager, kms) = (of(Service::SecretsManager), of(Service::Kms));
        let manager = Lazy::new(move || aws_sdk_secretsmanager::Client::new(&manager));
        let cards = settings.shows_card.then(|| {
            CardSafe::new(Lazy::new(move || aws_sdk_kms::Client::new(&kms)), config.card_key_id.clone())
        });
        Ok(Self {
            store: Store::new(
                aws_sdk_dynamodb::Client::new(&of(Service::DynamoDb)),
                config.orders_table.clone(),
            ),
            keys: LinkKeys::new(settings.secret_id.clone(), manager),
            cards,
            schedule: config.schedule.clone(),
            look: Look::new(settings.shop.clone()),
            clock,
        })
    }
}
