//! A deployed stack, from its `stack.env`.

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
use serde_json::Value;
use shared::{
    aws::{AwsEnvironment, describe, sdk_config},
    clock::Clock,
    http::Http,
};

use crate::{Bus, Sandbox, TestOrder, loopback};

/// A busy machine gets so many times as long as a quiet one.
const PATIENCE: u32 = 2;

/// Asks until `check` answers something; `limit`: as long as that may take on a quiet machine. `what` says in the panic what
/// was waited for.
pub async fn wait_until<T, F: Future<Output = Option<T>>>(
    what: &str,
    limit: Duration,
    mut check: impl FnMut() -> F,
) -> T {
    let (start, limit) = (Instant::now(), limit * PATIENCE);
    loop {
        if let Some(found) = check().await {
            return found;
        }
        assert!(start.elapsed() < limit, "waited {limit:?} for {what}");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// Panics unless something was created or deleted, now or before: the SDK's client repeats a request whose answer comes late, and a
/// busy local AWS then answers the repeat with `already`, the code of an error.
pub(crate) fn done<T, E: ProvideErrorMetadata, R>(answer: Result<T, SdkError<E, R>>, already: &str) {
    if let Err(error) = answer {
        assert_eq!(error.code(), Some(already), "{}", describe(&error));
    }
}

/// A setting of the tests' own, from the environment: which stacks there are, which seed to replay.
pub fn setting(name: &str) -> Option<String> {
    #[allow(clippy::disallowed_methods, reason = "settings of the tests, not of the functions")]
    std::env::var(name).ok()
}

/// One deployed stack with everything to talk to it.
#[derive(Debug)]
pub struct Stack {
    env: HashMap<String, String>,
    http: reqwest::Client,
    aws_http: Http,
    /// The vendor's stand-in.
    pub sandbox: Sandbox,
    /// What was heard on its bus.
    pub bus: &'static Bus,
}

impl Stack {
    /// EXPRESS, default poll retry schedules, parked orders rechecked after seconds.
    pub fn express() -> Self {
        static BUS: OnceLock<Bus> = OnceLock::new();
        Self::open("E2E_EXPRESS", &BUS)
    }

    /// EXPRESS, with a poll deadline of 12 s.
    pub fn fast() -> Self {
        static BUS: OnceLock<Bus> = OnceLock::new();
        Self::open("E2E_FAST", &BUS)
    }

    /// STANDARD, with a poll deadline of 30 s.
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
        let bus = bus
            .get_or_init(|| Bus::listen(environment(&env), env["EVENTS_QUEUE_URL"].clone(), &env["LOG_DIR"]));
        Self { env, http, aws_http: Http::new(&[]).unwrap(), sandbox, bus }
    }

    /// A setting of `stack.env`.
    pub fn env(&self, name: &str) -> &str {
        self.env.get(name).map_or_else(|| panic!("{name} is not in stack.env"), String::as_str)
    }

    /// What a process needs to work on this stack's table beside its functions: all of their settings, since one that waits
    /// or asks otherwise than they do moves other tests' orders; and credentials.
    pub fn function_environment(&self) -> Vec<(String, String)> {
        let settings: HashMap<String, String> =
            serde_json::from_str(self.env("FUNCTION_SETTINGS")).expect("FUNCTION_SETTINGS is JSON");
        settings.into_iter().chain(self.aws_environment()).collect()
    }

    /// The way to the local AWS, and nothing that says how to treat an order.
    pub(crate) fn aws_environment(&self) -> impl Iterator<Item = (String, String)> {
        let names = ["AWS_ENDPOINT_URL", "AWS_REGION", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"];
        names.into_iter().map(|name| (name.to_owned(), self.env(name).to_owned()))
    }

    /// What the template gave a deployed function as its environment; `function`: the name of its setting.
    pub async fn deployed_environment(&self, function: &str) -> HashMap<String, String> {
        let client = aws_sdk_lambda::Client::new(&self.config());
        let asked = client.get_function_configuration().function_name(self.env(function));
        asked.send().await.unwrap().environment.unwrap().variables.unwrap()
    }

    /// Secrets Manager.
    pub fn secrets_manager(&self) -> aws_sdk_secretsmanager::Client {
        aws_sdk_secretsmanager::Client::new(&self.config())
    }

    /// Creates a secret if it is not there.
    pub async fn create_secret(&self, name: &str, text: &str) {
        let secret = self.secrets_manager().create_secret().name(name).secret_string(text);
        done(secret.send().await, "ResourceExistsException");
    }

    /// Gives a secret another value.
    pub async fn put_secret(&self, name: &str, text: &str) {
        self.secrets_manager().put_secret_value().secret_id(name).secret_string(text).send().await.unwrap();
    }

    /// Deletes a secret if it is there.
    pub async fn delete_secret(&self, name: &str) {
        let secret = self.secrets_manager().delete_secret().secret_id(name);
        let deleted = secret.force_delete_without_recovery(true).send().await;
        done(deleted, "ResourceNotFoundException");
    }

    /// What the tests ask for themselves gets a minute, where production gives up after 5 s.
    fn config(&self) -> aws_types::SdkConfig {
        let timeouts = TimeoutConfig::builder().operation_timeout(Duration::from_secs(60)).build();
        let retries = RetryConfig::standard().with_max_attempts(20).with_max_backoff(Duration::from_secs(1));
        let config = sdk_config(&environment(&self.env), self.aws_http.clone()).into_builder();
        config.timeout_config(timeouts).retry_config(retries).build()
    }

    /// DynamoDB.
    pub fn dynamodb(&self) -> aws_sdk_dynamodb::Client {
        aws_sdk_dynamodb::Client::new(&self.config())
    }

    /// EventBridge.
    pub fn events(&self) -> aws_sdk_eventbridge::Client {
        aws_sdk_eventbridge::Client::new(&self.config())
    }

    /// Step Functions.
    pub fn sfn(&self) -> aws_sdk_sfn::Client {
        aws_sdk_sfn::Client::new(&self.config())
    }

    /// SQS.
    pub fn sqs(&self) -> aws_sdk_sqs::Client {
        aws_sdk_sqs::Client::new(&self.config())
    }

    /// Puts somebody else's event on the bus.
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

    /// An order of this stack.
    pub fn order(&self, product: &'static str, id: &str) -> TestOrder<'_> {
        TestOrder { stack: self, product, id: id.to_owned() }
    }

    /// Calls a deployed function and waits for its answer.
    pub async fn invoke(&self, function: &str, payload: &Value) -> Value {
        let client = aws_sdk_lambda::Client::new(&self.config());
        let name = self.env(function);
        let answer =
            client.invoke().function_name(name).payload(Blob::new(payload.to_string())).send().await.unwrap();
        serde_json::from_slice(answer.payload.unwrap().as_ref()).unwrap()
    }

    /// A request to the deployed API, with the token; answers status, content type and text.
    pub async fn request(&self, method: &str, path: &str, body: Option<&str>) -> (u16, String, String) {
        self.request_as(Some(self.env("API_TOKEN")), method, path, body).await
    }

    /// The same with another token, or none.
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

    /// The same, with the whole answer.
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

    /// All that the functions have logged so far.
    pub fn logs(&self) -> String {
        let files = std::fs::read_dir(self.env("LOG_DIR")).unwrap().map(|entry| entry.unwrap().path());
        let logs = files.filter(|path| path.extension().is_some_and(|kind| kind == "log"));
        logs.map(|path| String::from_utf8_lossy(&std::fs::read(path).unwrap()).into_owned()).collect()
    }

    /// Some messages now in a queue, given by the name of its setting; they stay there.
    pub async fn messages(&self, queue: &str) -> Vec<Value> {
        self.receive(queue, 1).await
    }

    /// All messages now in a queue; nobody sees them for the next two minutes.
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

    /// Sets attributes of an order's item behind the tracker's back.
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

    /// In how many whole minutes somebody must see to an order; `None`: nobody has to.
    pub async fn due_in_minutes(&self, product: &str, id: &str) -> Option<i64> {
        let due_at = self.item(product, id).await.get("due_at")?.as_n().unwrap().parse::<i64>().unwrap();
        Some((due_at - Clock::System.now().as_millisecond()) / 60_000)
    }

    /// An order's item as it is stored.
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
