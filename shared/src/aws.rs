//! The configuration of the AWS clients, from Lambda's environment.
//!
//! `aws-config` is not used: a function needs neither profiles nor metadata services, and Lambda's credentials do not
//! change during the life of a process.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, LazyLock},
    time::Duration,
};

use aws_credential_types::{Credentials, provider::SharedCredentialsProvider};
use aws_sdk_dynamodb::config::IdentityCache;
use aws_smithy_async::rt::sleep::{SharedAsyncSleep, TokioSleep};
use aws_smithy_runtime_api::client::{
    behavior_version::BehaviorVersion, result::SdkError,
    stalled_stream_protection::StalledStreamProtectionConfig,
};
use aws_smithy_types::{error::metadata::ProvideErrorMetadata, retry::RetryConfig, timeout::TimeoutConfig};
use aws_types::{SdkConfig, region::Region};
use secrecy::{ExposeSecret, SecretString};

use crate::http::Http;

/// The AWS settings of the environment.
#[derive(Clone, Debug)]
pub struct AwsEnvironment {
    /// `AWS_REGION`.
    pub region: String,
    /// `AWS_ACCESS_KEY_ID`.
    pub access_key_id: String,
    /// `AWS_SECRET_ACCESS_KEY`.
    pub secret_access_key: SecretString,
    /// `AWS_SESSION_TOKEN`.
    pub session_token: Option<SecretString>,
    /// `AWS_ENDPOINT_URL`: the local stack's endpoint.
    pub endpoint_url: Option<String>,
    /// Endpoints of single services, which override `endpoint_url`: see [`Service::endpoint_setting`].
    pub endpoint_urls: BTreeMap<Service, String>,
}

/// An AWS service that the tracker calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Service {
    /// The table.
    DynamoDb,
    /// The bus.
    EventBridge,
    /// The key that encrypts card codes.
    Kms,
    /// The vendor's key, the API tokens, and the secrets of the webhooks.
    SecretsManager,
    /// The queues of the webhooks.
    Sqs,
}

impl Service {
    /// All services.
    pub const ALL: [Self; 5] =
        [Self::DynamoDb, Self::EventBridge, Self::Kms, Self::SecretsManager, Self::Sqs];

    /// The name of the setting, as the AWS SDKs spell it.
    pub fn endpoint_setting(self) -> &'static str {
        match self {
            Self::DynamoDb => "AWS_ENDPOINT_URL_DYNAMODB",
            Self::EventBridge => "AWS_ENDPOINT_URL_EVENTBRIDGE",
            Self::Kms => "AWS_ENDPOINT_URL_KMS",
            Self::SecretsManager => "AWS_ENDPOINT_URL_SECRETS_MANAGER",
            Self::Sqs => "AWS_ENDPOINT_URL_SQS",
        }
    }
}

/// The configuration of all clients: pinned behaviour version, three attempts, at most 5 s for a call with its
/// attempts.
pub fn sdk_config(environment: &AwsEnvironment, http: Http) -> SdkConfig {
    let credentials = Credentials::new(
        &environment.access_key_id,
        environment.secret_access_key.expose_secret(),
        environment.session_token.as_ref().map(|token| token.expose_secret().to_owned()),
        None,
        "environment",
    );
    // The read timeout is that of a whole attempt: see `Http`.
    let timeouts = TimeoutConfig::builder()
        .read_timeout(Duration::from_millis(2500))
        .operation_timeout(Duration::from_secs(5))
        .build();
    let mut config = SdkConfig::builder()
        .behavior_version(BehaviorVersion::v2026_01_12())
        .region(Region::new(environment.region.clone()))
        .credentials_provider(SharedCredentialsProvider::new(credentials))
        .http_client(http)
        .sleep_impl(SharedAsyncSleep::new(TokioSleep::new()))
        .retry_config(RetryConfig::standard().with_max_attempts(3))
        .timeout_config(timeouts)
        // The credentials are static, so a cache brings nothing.
        .identity_cache(IdentityCache::no_cache())
        // No response is a stream: the timeouts are enough.
        .stalled_stream_protection(StalledStreamProtectionConfig::disabled());
    config.set_endpoint_url(environment.endpoint_url.clone());
    config.build()
}

/// `config` with the endpoint of `service`, if the environment sets one.
pub fn of_service(environment: &AwsEnvironment, config: &SdkConfig, service: Service) -> SdkConfig {
    let config = config.clone();
    match environment.endpoint_urls.get(&service) {
        Some(url) => config.into_builder().endpoint_url(url).build(),
        None => config,
    }
}

/// A client that is created on first use: creating one costs half a million instructions of a cold start.
pub struct Lazy<C>(Arc<LazyLock<C, Make<C>>>);

type Make<C> = Box<dyn FnOnce() -> C + Send>;

impl<C> Lazy<C> {
    /// A client that `make` creates on first use.
    pub fn new(make: impl FnOnce() -> C + Send + 'static) -> Self {
        Self(Arc::new(LazyLock::new(Box::new(make))))
    }

    /// The client; creates it if needed.
    pub fn get(&self) -> &C {
        &self.0
    }
}

impl<C: Send + 'static> From<C> for Lazy<C> {
    fn from(made: C) -> Self {
        Self::new(move || made)
    }
}

impl<C> Clone for Lazy<C> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<C> fmt::Debug for Lazy<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Lazy")
    }
}

/// An AWS error in one line: code and message, or the kind of transport failure. Never contains the request.
pub fn describe<E, R>(error: &SdkError<E, R>) -> String
where
    E: ProvideErrorMetadata,
{
    match error {
        SdkError::ServiceError(service) => {
            let meta = service.err().meta();
            format!("{}: {}", meta.code().unwrap_or("unnamed error"), meta.message().unwrap_or("no message"))
        }
        SdkError::TimeoutError(_) => "no answer in time".to_owned(),
        SdkError::DispatchFailure(failure) if failure.is_timeout() => "no answer in time".to_owned(),
        SdkError::DispatchFailure(_) => "no connection".to_owned(),
        SdkError::ResponseError(_) => "an answer that cannot be read".to_owned(),
        _ => "the call could not be made".to_owned(),
    }
}

#[cfg(test)]
impl AwsEnvironment {
    /// Dummy credentials and `endpoint` for all services.
    pub(crate) fn for_tests(endpoint: &str) -> Self {
        Self {
            region: "eu-west-3".to_owned(),
            access_key_id: "id".to_owned(),
            secret_access_key: "secret".to_owned().into(),
            session_token: None,
            endpoint_url: Some(endpoint.to_owned()),
            endpoint_urls: BTreeMap::new(),
        }
    }
}
