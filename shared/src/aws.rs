//! The AWS clients' configuration, from the environment that Lambda makes.
//!
//! Without `aws-config`: a function needs neither profiles nor metadata services, and Lambda's credentials are static
//! for the life of a process.

use std::time::Duration;

use aws_credential_types::{Credentials, provider::SharedCredentialsProvider};
use aws_smithy_async::rt::sleep::{SharedAsyncSleep, TokioSleep};
use aws_smithy_runtime_api::client::{behavior_version::BehaviorVersion, result::SdkError};
use aws_smithy_types::{error::metadata::ProvideErrorMetadata, retry::RetryConfig, timeout::TimeoutConfig};
use aws_types::{SdkConfig, region::Region};
use secrecy::{ExposeSecret, SecretString};

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
    /// `AWS_ENDPOINT_URL_EVENTBRIDGE`: where events go instead (the AWS SDKs' own name for it; tests put a proxy there).
    pub events_endpoint_url: Option<String>,
}

/// One configuration for all clients: behaviour pinned, three attempts, and no call longer than 5 s.
pub fn sdk_config(environment: &AwsEnvironment, http: reqwest::Client) -> SdkConfig {
    let credentials = Credentials::new(
        &environment.access_key_id,
        environment.secret_access_key.expose_secret(),
        environment.session_token.as_ref().map(|token| token.expose_secret().to_owned()),
        None,
        "environment",
    );
    let timeouts = TimeoutConfig::builder()
        .operation_timeout(Duration::from_secs(5))
        .operation_attempt_timeout(Duration::from_millis(2500))
        .build();
    let mut config = SdkConfig::builder()
        .behavior_version(BehaviorVersion::v2026_01_12())
        .region(Region::new(environment.region.clone()))
        .credentials_provider(SharedCredentialsProvider::new(credentials))
        .http_client(crate::http::for_aws(http))
        .sleep_impl(SharedAsyncSleep::new(TokioSleep::new()))
        .retry_config(RetryConfig::standard().with_max_attempts(3))
        .timeout_config(timeouts);
    config.set_endpoint_url(environment.endpoint_url.clone());
    config.build()
}

/// The client of EventBridge.
pub fn events_client(environment: &AwsEnvironment, config: &SdkConfig) -> aws_sdk_eventbridge::Client {
    let mut own = aws_sdk_eventbridge::config::Builder::from(config);
    if let Some(url) = &environment.events_endpoint_url {
        own.set_endpoint_url(Some(url.clone()));
    }
    aws_sdk_eventbridge::Client::from_conf(own.build())
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
            events_endpoint_url: None,
        }
    }
}
