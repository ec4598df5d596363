//! Production trackers under test control: an isolated table and event bus in the local AWS, a vendor whose answers the
//! test decides, and a gate that every request passes.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use aws_sdk_dynamodb::{
    config::{
        ConfigBag, Intercept, RuntimeComponents, interceptors::BeforeSerializationInterceptorContextMut,
    },
    error::BoxError,
    operation::transact_write_items::TransactWriteItemsInput,
    types::{
        AttributeDefinition, AttributeValue, BillingMode, GlobalSecondaryIndex, KeySchemaElement, KeyType,
        Projection, ProjectionType, ScalarAttributeType, builders::ProjectionBuilder,
    },
};
use aws_types::SdkConfig;
use axum::{
    Router,
    extract::{Path, State},
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::get,
};
use shared::{
    cards::CardSafe,
    clock::Clock,
    config::Config,
    http::Http,
    order::{Event, OrderKey},
    permits::Permits,
    publish::Publisher,
    refresh::Tracker,
    store::Store,
};

use crate::{
    Sandbox, Stack,
    fault_gate::{Gate, GatedHttp, Passage, Published, PublishedEvents, Request},
    process::serve,
    stack::{expect_done, without_timeouts},
};

/// A table and an event bus beside the stack's own. The stack's recheck and rules do not process orders of this table.
#[derive(Clone, Debug)]
pub struct IsolatedTable {
    name: String,
}

impl IsolatedTable {
    /// Creates both under a new name.
    pub async fn create(stack: &Stack, purpose: &str) -> Self {
        let place = Self { name: format!("{purpose}-{}", Clock::System.now().as_millisecond()) };
        place.create_again(stack).await;
        place
    }

    /// Creates both unless they exist. Keys and indexes are those of `infra/template.yaml`.
    pub async fn create_again(&self, stack: &Stack) {
        let attribute = |name: &str, kind| {
            AttributeDefinition::builder().attribute_name(name).attribute_type(kind).build().unwrap()
        };
        let key = |name: &str, kind| {
            KeySchemaElement::builder().attribute_name(name).key_type(kind).build().unwrap()
        };
        let keys_only = || Projection::builder().projection_type(ProjectionType::KeysOnly);
        let with_filters = Projection::builder().projection_type(ProjectionType::Include);
        let with_filters = with_filters.non_key_attributes("product").non_key_attributes("parked_as");
        let index = |name: &str, hash: &str, range: &str, projection: ProjectionBuilder| {
            let index = GlobalSecondaryIndex::builder().index_name(name).projection(projection.build());
            index.key_schema(key(hash, KeyType::Hash)).key_schema(key(range, KeyType::Range)).build().unwrap()
        };
        let table = stack
            .dynamodb()
            .create_table()
            .table_name(&self.name)
            .billing_mode(BillingMode::PayPerRequest)
            .attribute_definitions(attribute("pk", ScalarAttributeType::S))
            .attribute_definitions(attribute("sk", ScalarAttributeType::S))
            .attribute_definitions(attribute("due_shard", ScalarAttributeType::S))
            .attribute_definitions(attribute("due_at", ScalarAttributeType::N))
            .attribute_definitions(attribute("feed", ScalarAttributeType::S))
            .attribute_definitions(attribute("feed_at", ScalarAttributeType::S))
            .attribute_definitions(attribute("phase", ScalarAttributeType::S))
            .attribute_definitions(attribute("changed_at", ScalarAttributeType::N))
            .key_schema(key("pk", KeyType::Hash))
            .key_schema(key("sk", KeyType::Range))
            .global_secondary_indexes(index("due", "due_shard", "due_at", keys_only()))
            .global_secondary_indexes(index("feed", "feed", "feed_at", keys_only()))
            .global_secondary_indexes(index("phases", "phase", "changed_at", with_filters));
        expect_done(table.send().await, "ResourceInUseException");
        let bus = stack.events().create_event_bus().name(&self.name);
        expect_done(bus.send().await, "ResourceAlreadyExistsException");
    }

    /// The table's name; also the bus's name.
    pub fn table(&self) -> &str {
        &self.name
    }

    /// A production tracker on this table that calls `vendor`. Schedules and limits are production's defaults,
    /// overridden by `settings`.
    pub async fn tracker(
        &self,
        stack: &Stack,
        vendor: &Sandbox,
        clock: Clock,
        settings: &[(&str, &str)],
    ) -> Tracker {
        let settings: Vec<_> = vendor.settings().iter().chain(settings).copied().collect();
        self.tracker_with(stack, clock, &settings).await
    }

    /// Like `tracker`; vendor URL and key come from `settings`.
    pub async fn tracker_with(&self, stack: &Stack, clock: Clock, settings: &[(&str, &str)]) -> Tracker {
        let mut all = self.settings(stack);
        all.extend(settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        let config = Config::read(all).unwrap();
        let aws = without_timeouts(&config.aws, Http::new(&[]).unwrap());
        let dynamodb = aws_sdk_dynamodb::Client::new(&aws);
        tracker_on(&config, &aws, dynamodb, clock).await
    }

    /// Table, bus, card key and credentials; no other tracker settings.
    fn settings(&self, stack: &Stack) -> Vec<(String, String)> {
        let own = [
            ("ORDERS_TABLE", self.name.as_str()),
            ("EVENT_BUS", &self.name),
            ("CARD_KEY_ID", stack.env("CARD_KEY_ID")),
        ];
        let own = own.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned()));
        own.chain(stack.aws_environment()).collect()
    }

    /// An order's item; empty if there is none.
    pub async fn item(&self, stack: &Stack, key: &OrderKey) -> HashMap<String, AttributeValue> {
        let read = stack.dynamodb().get_item().table_name(&self.name).consistent_read(true);
        let read = read.key("pk", AttributeValue::S(format!("{}#{}", key.product, key.id)));
        read.key("sk", AttributeValue::S("ORDER".to_owned())).send().await.unwrap().item.unwrap_or_default()
    }

    /// Sets an attribute of an order's item directly in DynamoDB.
    pub async fn set(&self, stack: &Stack, key: &OrderKey, name: &str, value: AttributeValue) {
        let write = stack.dynamodb().update_item().table_name(&self.name);
        let write = write.key("pk", AttributeValue::S(format!("{}#{}", key.product, key.id)));
        let write =
            write.key("sk", AttributeValue::S("ORDER".to_owned())).update_expression("SET #name = :value");
        let write =
            write.condition_expression("attribute_exists(pk)").expression_attribute_names("#name", name);
        write.expression_attribute_values(":value", value).send().await.unwrap();
    }

    /// Deletes both; succeeds if they do not exist.
    pub async fn delete(&self, stack: &Stack) {
        let gone = "ResourceNotFoundException";
        expect_done(stack.dynamodb().delete_table().table_name(&self.name).send().await, gone);
        expect_done(stack.events().delete_event_bus().name(&self.name).send().await, gone);
    }
}

/// Makes gated trackers for one test thread. Use it only in the tokio runtime that opened it.
#[derive(Debug)]
pub struct TestBed {
    settings: Vec<(String, String)>,
    name: String,
    http: Http,
    dynamodb: aws_sdk_dynamodb::Client,
    store: Store,
    vendor: VendorServer,
    published_events: PublishedEvents,
    tokens: OwnTokens,
}

impl TestBed {
    /// Opens a test bed on `place` with a vendor server on loopback.
    pub async fn open(stack: &Stack, place: &IsolatedTable) -> Self {
        let mut settings = place.settings(stack);
        // The test bed's vendor has no list endpoints.
        settings.push(("LIST_CHECKS".to_owned(), "off".to_owned()));
        Self {
            settings,
            name: place.name.clone(),
            http: Http::new(&[]).unwrap(),
            dynamodb: stack.dynamodb(),
            store: Store::new(stack.dynamodb(), place.name.clone()),
            vendor: VendorServer::open().await,
            published_events: PublishedEvents::default(),
            tokens: OwnTokens::default(),
        }
    }

    /// A production tracker whose requests all pass `gate`. Trackers with the same `vendor_key` share one call budget.
    /// Schedules and limits are production's defaults, overridden by `settings`.
    pub async fn tracker(
        &self,
        gate: &Arc<dyn Gate>,
        clock: Clock,
        vendor_key: &str,
        settings: &[(&str, &str)],
    ) -> Tracker {
        let mut all = self.settings.clone();
        all.push(("ONECLICKDZ_BASE_URL".to_owned(), self.vendor.url(gate.clone())));
        all.push(("ONECLICKDZ_API_KEY".to_owned(), vendor_key.to_owned()));
        all.extend(settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        let config = Config::read(all).unwrap();
        let gated = GatedHttp {
            inner: self.http.clone().into(),
            gate: gate.clone(),
            published_events: self.published_events.clone(),
        };
        let aws = without_timeouts(&config.aws, self.http.clone());
        let aws = aws.into_builder().http_client(gated).build();
        let dynamodb = aws_sdk_dynamodb::config::Builder::from(&aws).interceptor(self.tokens.clone()).build();
        tracker_on(&config, &aws, aws_sdk_dynamodb::Client::from_conf(dynamodb), clock).await
    }

    /// An order's item, read without a gate.
    pub async fn item(&self, key: &OrderKey) -> Option<HashMap<String, AttributeValue>> {
        let read = self.dynamodb.get_item().table_name(&self.name).consistent_read(true);
        let read = read.key("pk", AttributeValue::S(format!("{}#{}", key.product, key.id)));
        read.key("sk", AttributeValue::S("ORDER".to_owned())).send().await.unwrap().item
    }

    /// An order's committed events, read without a gate.
    pub async fn history(&self, key: &OrderKey) -> Vec<Event> {
        self.store.events_after(key, 0).await.unwrap()
    }

    /// Whether the due index lists the order at the `due_at` and `due_shard` of `item`.
    pub async fn is_in_due_index(&self, key: &OrderKey, item: &HashMap<String, AttributeValue>) -> bool {
        let (Some(shard), Some(due_at)) = (item.get("due_shard"), item.get("due_at")) else { return false };
        let request = self.dynamodb.query().table_name(&self.name).index_name("due");
        let request = request.key_condition_expression("due_shard = :shard AND due_at = :due");
        let request = request.expression_attribute_values(":shard", shard.clone());
        let found = request.expression_attribute_values(":due", due_at.clone()).send().await.unwrap();
        let pk = AttributeValue::S(format!("{}#{}", key.product, key.id));
        found.items().iter().any(|listed| listed.get("pk") == Some(&pk))
    }

    /// All events of the order that EventBridge accepted so far, duplicates included.
    pub fn published(&self, key: &OrderKey) -> Vec<Published> {
        self.published_events.lock().unwrap().get(&key.to_string()).cloned().unwrap_or_default()
    }
}

/// A production tracker with these AWS clients.
async fn tracker_on(
    config: &Config,
    aws: &SdkConfig,
    dynamodb: aws_sdk_dynamodb::Client,
    clock: Clock,
) -> Tracker {
    let store = Store::new(dynamodb, config.orders_table.clone());
    Tracker {
        permits: Permits::new(store.clone(), clock.clone(), config.budget),
        store,
        cards: CardSafe::new(aws_sdk_kms::Client::new(aws), config.card_key_id.clone()),
        publisher: Publisher::new(aws_sdk_eventbridge::Client::new(aws), config.event_bus.clone()),
        clock,
        ..Tracker::open(config).await.unwrap()
    }
}

/// Idempotency tokens for transactions. The SDK draws them from the thread's random generator, which tests seed; two
/// runs with one seed would then share tokens.
#[derive(Clone, Debug, Default)]
struct OwnTokens(Arc<Mutex<fastrand::Rng>>);

impl Intercept for OwnTokens {
    fn name(&self) -> &'static str {
        "OwnTokens"
    }

    fn modify_before_serialization(
        &self,
        context: &mut BeforeSerializationInterceptorContextMut<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        if let Some(input) = context.input_mut().downcast_mut::<TransactWriteItemsInput>() {
            input.client_request_token = Some(format!("{:032x}", self.0.lock().unwrap().u128(..)));
        }
        Ok(())
    }
}

/// The vendor's server. Each tracker has its own base path there, and the tracker's gate gives the answers.
#[derive(Debug)]
struct VendorServer {
    address: String,
    gates: Gates,
    next: AtomicUsize,
}

/// In a gate's answer for the vendor: placeholder for the requested id.
pub const ASKED_ID: &str = "@requested id@";

type Gates = Arc<Mutex<HashMap<usize, Arc<dyn Gate>>>>;

impl VendorServer {
    async fn open() -> Self {
        let gates = Gates::default();
        let router = Router::new()
            .route("/{tracker_number}/{product}/check-id/{id}", get(check))
            .with_state(gates.clone());
        Self { address: serve(router).await, gates, next: AtomicUsize::new(0) }
    }

    fn url(&self, gate: Arc<dyn Gate>) -> String {
        let tracker_number = self.next.fetch_add(1, Ordering::SeqCst);
        self.gates.lock().unwrap().insert(tracker_number, gate);
        format!("http://{}/{tracker_number}", self.address)
    }
}

async fn check(
    State(gates): State<Gates>,
    Path((tracker_number, product, id)): Path<(usize, String, String)>,
) -> Response {
    let gate = gates.lock().unwrap()[&tracker_number].clone();
    let request = Request { operation: "check-id".to_owned(), text: format!("{product}/{id}") };
    let Passage::Answered(answer) = gate.before(&request).await else {
        panic!("a gate must answer calls to the vendor")
    };
    gate.after(&request, &answer).await;
    (StatusCode::from_u16(answer.status).unwrap(), answer.text.replace(ASKED_ID, &id)).into_response()
}
