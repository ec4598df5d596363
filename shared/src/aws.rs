//! The AWS clients' configuration, from the environment that Lambda makes.
//!
//! Without `aws-config`: a function needs neither profiles nor metadata services, and Lambda's credentials are static
//! for the life of a process.

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

/// What the environment says about AWS.
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
    /// `AWS_ENDPOINT_URL`: the local AWS.
    pub endpoint_url: Option<String>,
    /// Where single services are instead (the AWS SDKs' own names for it): see [`Service::endpoint_setting`].
    pub endpoint_urls: BTreeMap<Service, String>,
}

/// A service that we call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Service {
    /// The table.
    DynamoDb,
    /// The bus.
    EventBridge,
    /// Card codes.
    Kms,
    /// The vendor's key and the tokens.
    SecretsManager,
}

impl Service {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::DynamoDb, Self::EventBridge, Self::Kms, Self::SecretsManager];

    /// `AWS_ENDPOINT_URL_…`, as the AWS SDKs spell it.
    pub fn endpoint_setting(self) -> &'static str {
        match self {
            Self::DynamoDb => "AWS_ENDPOINT_URL_DYNAMODB",
            Self::EventBridge => "AWS_ENDPOINT_URL_EVENTBRIDGE",
            Self::Kms => "AWS_ENDPOINT_URL_KMS",
            Self::SecretsManager => "AWS_ENDPOINT_URL_SECRETS_MANAGER",
        }
    }
}

/// One configuration for all clients: behaviour pinned, three attempts, and no call longer than 5 s.
pub fn sdk_config(environment: &AwsEnvironment, http: Http) -> SdkConfig {
    let credentials = Credentials::new(
        &environment.access_key_id,
        environment.secret_access_key.expose_secret(),
        environment.session_token.as_ref().map(|token| token.expose_secret().to_owned()),
        None,
        "environment",
    );
    // The limit of one attempt is the HTTP client's own.
    let timeouts = TimeoutConfig::builder().operation_timeout(Duration::from_secs(5)).build();
    let mut config = SdkConfig::builder()
        .behavior_version(BehaviorVersion::v2026_01_12())
        .region(Region::new(environment.region.clone()))
        .credentials_provider(SharedCredentialsProvider::new(credentials))
        .http_client(http)
        .sleep_impl(SharedAsyncSleep::new(TokioSleep::new()))
        .retry_config(RetryConfig::standard().with_max_attempts(3))
        .timeout_config(timeouts)
        // For the life of a process: nothing to keep, and nothing to refresh.
        .identity_cache(IdentityCache::no_cache())
        // No answer is a stream: the timeouts see to it.
        .stalled_stream_protection(StalledStreamProtectionConfig::disabled());
    config.set_endpoint_url(environment.endpoint_url.clone());
    config.build()
}

/// The same for one service, which may be elsewhere.
pub fn of_service(environment: &AwsEnvironment, config: &SdkConfig, service: Service) -> SdkConfig {
    let config = config.clone();
    match environment.endpoint_urls.get(&service) {
        Some(url) => config.into_builder().endpoint_url(url).build(),
        None => config,
    }
}

/// A client that is made when it is first needed: each costs half a million instructions of a start.
pub struct Lazy<C>(Arc<LazyLock<C, Make<C>>>);

type Make<C> = Box<dyn FnOnce() -> C + Send>;

impl<C> Lazy<C> {
    /// Made by `make`.
    pub fn new(make: impl FnOnce() -> C + Send + 'static) -> Self {
        Self(Arc::new(LazyLock::new(Box::new(make))))
    }

    /// The client.
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

/// An AWS error in one line: its code and message, or what broke on the way. Never the request.
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
    /// Any credentials, at this endpoint.
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
