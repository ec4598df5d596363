//! A deployed stack, read from its `stack.env`.

use std::{
    collections::HashMap,
    future::Future,
    sync::OnceLock,
    time::{Duration, Instant},
};

use aws_sdk_dynamodb::{
    error::{ProvideErrorMetadata, SdkError},
    types::AttributeValue,
};
use aws_sdk_lambda::primitives::Blob;
use aws_smithy_types::{retry::RetryConfig, timeout::TimeoutConfig};
use aws_types::SdkConfig;
use serde_json::Value;
use shared::{
    aws::{AwsEnvironment, describe, sdk_config},
    clock::Clock,
    http::Http,
};

use crate::{Bus, Sandbox, TestOrder, loopback};

/// Factor for all time limits, for busy machines.
const LIMIT_FACTOR: u32 = 2;

/// Calls `check` every 200 ms until it returns `Some`. Panics with `what` after `limit` times `LIMIT_FACTOR`.
pub async fn wait_until<T, F: Future<Output = Option<T>>>(
    what: &str,
    limit: Duration,
    mut check: impl FnMut() -> F,
) -> T {
    let (start, limit) = (Instant::now(), limit * LIMIT_FACTOR);
    loop {
        if let Some(found) = check().await {
            return found;
        }
        assert!(start.elapsed() < limit, "waited {limit:?} for {what}");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// SDK configuration without timeouts. A test that holds requests needs it, and on a busy machine the SDK would repeat a call
/// that is done already: the rate counts it twice, and a received message is hidden.
pub(crate) fn without_timeouts(environment: &AwsEnvironment, http: Http) -> SdkConfig {
    sdk_config(environment, http).into_builder().timeout_config(TimeoutConfig::disabled()).build()
}

/// Accepts a success, or an error with the code `already`. The SDK repeats a create or delete call whose answer is
/// late; the local AWS then answers the repeat with this error.
pub(crate) fn expect_done<T, E: ProvideErrorMetadata, R>(answer: Result<T, SdkError<E, R>>, already: &str) {
    if let Err(error) = answer {
        assert_eq!(error.code(), Some(already), "{}", describe(&error));
    }
}

/// A setting of the tests from the environment, such as `E2E_FAST` or `RACE_SEED`.
pub fn setting(name: &str) -> Option<String> {
    #[allow(clippy::disallowed_methods, reason = "test settings, not function settings")]
    std::env::var(name).ok()
}

/// A deployed stack and its clients.
#[derive(Debug)]
pub struct Stack {
    env: HashMap<String, String>,
    http: reqwest::Client,
    aws_http: Http,
    /// Its vendor sandbox.
    pub sandbox: Sandbox,
    /// The events of its bus.
    pub bus: &'static Bus,
}

impl Stack {
    /// State machine EXPRESS, default poll schedules; parked orders are rechecked after seconds.
    pub fn express() -> Self {
        static BUS: OnceLock<Bus> = OnceLock::new();
        Self::open("E2E_EXPRESS", &BUS)
    }

    /// State machine EXPRESS, poll deadline 12 s.
    pub fn fast() -> Self {
        static BUS: OnceLock<Bus> = OnceLock::new();
        Self::open("E2E_FAST", &BUS)
    }

    /// State machine STANDARD, poll deadline 30 s.
    pub fn standard() -> Self {
        static BUS: OnceLock<Bus> = OnceLock::new();
        Self::open("E2E_STANDARD", &BUS)
    }

    fn open(variable: &str, bus: &'static OnceLock<Bus>) -> Self {
        let path = setting(variable).unwrap_or_else(|| panic!("{variable} is not set: run `make test`"));
        let path =
            if path.starts_with('/') { path } else { format!("{}/../../{path}", env!("CARGO_MANIFEST_DIR")) };
        let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
        let assignment = |line: &str| {
            let (name, value) = line.split_once('=')?;
            Some((name.trim().to_owned(), value.trim().trim_matches('\'').to_owned()))
        };
        let env: HashMap<_, _> = text.lines().filter_map(assignment).collect();
        let http = loopback::client();
        let sandbox = Sandbox::new(http.clone(), &env);
        let bus =
            bus.get_or_init(|| Bus::new(environment(&env), env["EVENTS_QUEUE_URL"].clone(), &env["LOG_DIR"]));
        Self { env, http, aws_http: Http::new(&[]).unwrap(), sandbox, bus }
    }

    /// A value of `stack.env`. Panics if it is missing.
    pub fn env(&self, name: &str) -> &str {
        self.env.get(name).map_or_else(|| panic!("{name} is not in stack.env"), String::as_str)
    }

    /// Environment for a test's own process on this stack's table: credentials and all settings of the deployed
    /// functions. Other settings would change the schedule of other tests' orders.
    pub fn function_environment(&self) -> Vec<(String, String)> {
        let settings: HashMap<String, String> =
            serde_json::from_str(self.env("FUNCTION_SETTINGS")).expect("FUNCTION_SETTINGS is JSON");
        settings.into_iter().chain(self.aws_environment()).collect()
    }

    /// Region, endpoint and credentials of the local AWS; no tracker settings.
    pub(crate) fn aws_environment(&self) -> impl Iterator<Item = (String, String)> {
        let names = ["AWS_ENDPOINT_URL", "AWS_REGION", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"];
        names.into_iter().map(|name| (name.to_owned(), self.env(name).to_owned()))
    }

    /// The environment of a deployed function, as the template sets it. `function`: the function's variable in
    /// `stack.env`.
    pub async fn deployed_environment(&self, function: &str) -> HashMap<String, String> {
        let client = aws_sdk_lambda::Client::new(&self.config());
        let asked = client.get_function_configuration().function_name(self.env(function));
        asked.send().await.unwrap().environment.unwrap().variables.unwrap()
    }

    /// A Secrets Manager client.
    pub fn secrets_manager(&self) -> aws_sdk_secretsmanager::Client {
        aws_sdk_secretsmanager::Client::new(&self.config())
    }

    /// Creates a secret; succeeds if it exists.
    pub async fn create_secret(&self, name: &str, text: &str) {
        let secret = self.secrets_manager().create_secret().name(name).secret_string(text);
        expect_done(secret.send().await, "ResourceExistsException");
    }

    /// Sets a secret's value.
    pub async fn put_secret(&self, name: &str, text: &str) {
        self.secrets_manager().put_secret_value().secret_id(name).secret_string(text).send().await.unwrap();
    }

    /// Deletes a secret; succeeds if it does not exist.
    pub async fn delete_secret(&self, name: &str) {
        let secret = self.secrets_manager().delete_secret().secret_id(name);
        let deleted = secret.force_delete_without_recovery(true).send().await;
        expect_done(deleted, "ResourceNotFoundException");
    }

    /// SDK configuration with a timeout of one minute for a call, and none for an attempt, instead of production's 5 s and
    /// 2.5 s.
    fn config(&self) -> SdkConfig {
        let timeouts = TimeoutConfig::builder().operation_timeout(Duration::from_secs(60)).build();
        let retries = RetryConfig::standard().with_max_attempts(20).with_max_backoff(Duration::from_secs(1));
        let config = sdk_config(&environment(&self.env), self.aws_http.clone()).into_builder();
        config.timeout_config(timeouts).retry_config(retries).build()
    }

    /// A DynamoDB client.
    pub fn dynamodb(&self) -> aws_sdk_dynamodb::Client {
        aws_sdk_dynamodb::Client::new(&self.config())
    }

    /// An EventBridge client.
    pub fn events(&self) -> aws_sdk_eventbridge::Client {
        aws_sdk_eventbridge::Client::new(&self.config())
    }

    /// A KMS client.
    pub fn kms(&self) -> aws_sdk_kms::Client {
        aws_sdk_kms::Client::new(&self.config())
    }

    /// A Step Functions client.
    pub fn sfn(&self) -> aws_sdk_sfn::Client {
        aws_sdk_sfn::Client::new(&self.config())
    }

    /// An SQS client.
    pub fn sqs(&self) -> aws_sdk_sqs::Client {
        aws_sdk_sqs::Client::new(&self.config())
    }

    /// Puts an event on the bus whose source is not the tracker.
    pub async fn put_event(&self, detail_type: &str, detail: &Value) {
        let client = self.events();
        let entry = aws_sdk_eventbridge::types::PutEventsRequestEntry::builder()
            .event_bus_name(self.env("EVENT_BUS"))
            .source("shop.example")
            .detail_type(detail_type)
            .detail(detail.to_string())
            .build();
        let answer = client.put_events().entries(entry).send().await.unwrap();
        assert_eq!(answer.failed_entry_count, 0);
    }

    /// An order of this stack. Makes no call.
    pub fn order(&self, product: &'static str, id: &str) -> TestOrder<'_> {
        TestOrder { stack: self, product, id: id.to_owned() }
    }

    /// Invokes a deployed function and returns its answer.
    pub async fn invoke(&self, function: &str, payload: &Value) -> Value {
        let client = aws_sdk_lambda::Client::new(&self.config());
        let name = self.env(function);
        let answer =
            client.invoke().function_name(name).payload(Blob::new(payload.to_string())).send().await.unwrap();
        serde_json::from_slice(answer.payload.unwrap().as_ref()).unwrap()
    }

    /// Calls the deployed API with the token. Returns status, content type and body.
    pub async fn request(&self, method: &str, path: &str, body: Option<&str>) -> (u16, String, String) {
        self.request_as(Some(self.env("API_TOKEN")), method, path, body).await
    }

    /// Like `request`, with another token or none.
    pub async fn request_as(
        &self,
        token: Option<&str>,
        method: &str,
        path: &str,
        body: Option<&str>,
    ) -> (u16, String, String) {
        let response = self.send(token, method, path, body).await;
        let kind = response.headers().get("content-type").map(|kind| kind.to_str().unwrap().to_owned());
        (response.status().as_u16(), kind.unwrap_or_default(), response.text().await.unwrap())
    }

    /// Like `request_as`, but returns the whole response.
    pub async fn send(
        &self,
        token: Option<&str>,
        method: &str,
        path: &str,
        body: Option<&str>,
    ) -> reqwest::Response {
        let url = format!("{}{path}", self.env("API_URL"));
        let mut call = self.http.request(method.parse().unwrap(), url).timeout(Duration::from_secs(30));
        if let Some(token) = token {
            call = call.bearer_auth(token);
        }
        if let Some(body) = body {
            call = call.header("content-type", "application/json").body(body.to_owned());
        }
        call.send().await.unwrap()
    }

    /// The contents of all log files of the functions.
    pub fn logs(&self) -> String {
        let files = std::fs::read_dir(self.env("LOG_DIR")).unwrap().map(|entry| entry.unwrap().path());
        let logs = files.filter(|path| path.extension().is_some_and(|kind| kind == "log"));
        logs.map(|path| String::from_utf8_lossy(&std::fs::read(path).unwrap()).into_owned()).collect()
    }

    /// Up to ten messages of a queue, hidden for 1 s. `queue`: its variable in `stack.env`.
    pub async fn messages(&self, queue: &str) -> Vec<Value> {
        self.receive(queue, 1).await
    }

    /// All messages of a queue. They are hidden from other receivers for 120 s.
    pub async fn all_messages(&self, queue: &str) -> Vec<Value> {
        let mut all = Vec::new();
        loop {
            let some = self.receive(queue, 120).await;
            if some.is_empty() {
                return all;
            }
            all.extend(some);
        }
    }

    async fn receive(&self, queue: &str, hidden_seconds: i32) -> Vec<Value> {
        let client = self.sqs();
        let call = client.receive_message().queue_url(self.env(queue)).max_number_of_messages(10);
        let call = call.visibility_timeout(hidden_seconds);
        let found = call.send().await.unwrap().messages.unwrap_or_default();
        found.iter().filter_map(|message| serde_json::from_str(message.body()?).ok()).collect()
    }

    /// Sets an attribute of an order's item directly in DynamoDB.
    pub async fn tamper(&self, product: &str, id: &str, name: &str, value: AttributeValue) {
        self.dynamodb()
            .update_item()
            .table_name(self.env("ORDERS_TABLE"))
            .key("pk", AttributeValue::S(format!("{product}#{id}")))
            .key("sk", AttributeValue::S("ORDER".to_owned()))
            .update_expression("SET #name = :value")
            .condition_expression("attribute_exists(pk)")
            .expression_attribute_names("#name", name)
            .expression_attribute_values(":value", value)
            .send()
            .await
            .unwrap();
    }

    /// Minutes until the order is next due (status check or publishing), rounded down. `None`: never.
    pub async fn due_in_minutes(&self, product: &str, id: &str) -> Option<i64> {
        let due_at = self.item(product, id).await.get("due_at")?.as_n().unwrap().parse::<i64>().unwrap();
        Some((due_at - Clock::System.now().as_millisecond()) / 60_000)
    }

    /// An order's item in DynamoDB; empty if there is none.
    pub async fn item(&self, product: &str, id: &str) -> HashMap<String, AttributeValue> {
        let found = self
            .dynamodb()
            .get_item()
            .table_name(self.env("ORDERS_TABLE"))
            .key("pk", AttributeValue::S(format!("{product}#{id}")))
            .key("sk", AttributeValue::S("ORDER".to_owned()))
            .consistent_read(true)
            .send()
            .await
            .unwrap();
        found.item.unwrap_or_default()
    }
}

pub(crate) fn environment(env: &HashMap<String, String>) -> AwsEnvironment {
    AwsEnvironment {
        region: env["AWS_REGION"].clone(),
        access_key_id: env["AWS_ACCESS_KEY_ID"].clone(),
        secret_access_key: env["AWS_SECRET_ACCESS_KEY"].clone().into(),
        session_token: None,
        endpoint_url: Some(env["AWS_ENDPOINT_URL"].clone()),
        endpoint_urls: std::collections::BTreeMap::new(),
    }
}
