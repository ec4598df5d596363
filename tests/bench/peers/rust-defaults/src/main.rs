//! Peer of the benchmark: the job of `status` in Rust with every default left on, as `cargo lambda new` starts it.
//! Left out of what `status` does: admission (the vendor's rate limit and lock-out), history, outbox, cards.

use std::env;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_config::BehaviorVersion;
use aws_sdk_dynamodb::error::SdkError;
use aws_sdk_dynamodb::operation::update_item::{UpdateItemError, UpdateItemOutput};
use aws_sdk_dynamodb::types::AttributeValue::{N, S};
use aws_sdk_eventbridge::types::PutEventsRequestEntry;
use lambda_http::{Body, Error, Request, Response, run, service_fn, tracing};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use subtle::ConstantTimeEq;

const CLAIM_MS: u64 = 5_000;

#[derive(Serialize, Deserialize)]
struct Order {
    #[serde(skip_serializing)]
    pk: String,
    #[serde(skip_serializing)]
    sk: String,
    product: String,
    id: String,
    status: String,
    phase: String,
    version: u64,
    #[serde(flatten)]
    rest: Map<String, Value>,
}

#[derive(Deserialize)]
struct VendorAnswer {
    data: VendorOrder,
}

#[derive(Deserialize)]
struct VendorOrder {
    status: String,
}

struct App {
    dynamodb: aws_sdk_dynamodb::Client,
    eventbridge: aws_sdk_eventbridge::Client,
    http: reqwest::Client,
    table: String,
    bus: String,
    vendor_url: String,
    vendor_key: String,
    token: String,
}

impl App {
    async fn new() -> Result<Self, Error> {
        let config = aws_config::load_defaults(BehaviorVersion::latest()).await;
        Ok(Self {
            dynamodb: aws_sdk_dynamodb::Client::new(&config),
            eventbridge: aws_sdk_eventbridge::Client::new(&config),
            http: reqwest::Client::builder().timeout(Duration::from_secs(8)).build()?,
            table: env::var("ORDERS_TABLE")?,
            bus: env::var("EVENT_BUS")?,
            vendor_url: env::var("ONECLICKDZ_BASE_URL")?,
            vendor_key: env::var("ONECLICKDZ_API_KEY")?,
            token: env::var("API_TOKEN")?,
        })
    }

    async fn handle(&self, request: Request) -> Result<Response<Body>, Error> {
        let authorization = request.headers().get("authorization").and_then(|value| value.to_str().ok());
        let token = authorization.and_then(|value| value.strip_prefix("Bearer ")).unwrap_or_default();
        if !bool::from(token.as_bytes().ct_eq(self.token.as_bytes())) {
            return problem(401, "Unauthorized");
        }
        let Some((product, id)) = order_of(request.uri().path()) else { return problem(404, "Not Found") };
        let Some(mut order) = self.read(product, id).await? else { return problem(404, "Not Found") };
        if order.phase == "final" || !self.claim(&mut order).await? {
            return reply(200, "application/json", &order);
        }
        match self.ask(&order).await {
            Ok(status) if status != order.status => {
                if self.commit(&mut order, status).await? && order.phase == "final" {
                    self.announce(&order).await?;
                }
            }
            Ok(_) => {}
            Err(error) => {
                tracing::warn!(%error, "the vendor did not answer");
                order.rest.insert("stale".into(), true.into());
            }
        }
        reply(200, "application/json", &order)
    }

    async fn read(&self, product: &str, id: &str) -> Result<Option<Order>, Error> {
        let get = self.dynamodb.get_item().table_name(&self.table).consistent_read(true);
        let output = get.key("pk", S(format!("{product}#{id}"))).key("sk", S("ORDER".into())).send().await?;
        Ok(output.item.map(serde_dynamo::from_item).transpose()?)
    }

    /// Takes the turn to ask the vendor. `false`: another request had it less than five seconds ago.
    async fn claim(&self, order: &mut Order) -> Result<bool, Error> {
        let now = now_ms()?;
        let update = self.dynamodb.update_item().table_name(&self.table);
        let update = update
            .key("pk", S(order.pk.clone()))
            .key("sk", S(order.sk.clone()))
            .update_expression("SET asked_at = :now")
            .condition_expression("attribute_not_exists(asked_at) OR asked_at < :before")
            .expression_attribute_values(":now", N(now.to_string()))
            .expression_attribute_values(":before", N((now - CLAIM_MS).to_string()));
        let claimed = written(update.send().await)?;
        if claimed {
            order.rest.insert("asked_at".into(), now.into());
        }
        Ok(claimed)
    }

    async fn ask(&self, order: &Order) -> Result<String, reqwest::Error> {
        let url = format!("{}/{}/check-id/{}", self.vendor_url, order.product, order.id);
        let response = self.http.get(url).header("X-Access-Token", &self.vendor_key).send().await?;
        let answer: VendorAnswer = response.error_for_status()?.json().await?;
        Ok(answer.data.status)
    }

    /// Stores the new status. `false`: somebody else changed the order since it was read.
    async fn commit(&self, order: &mut Order, status: String) -> Result<bool, Error> {
        let now = now_ms()?;
        let phase = if matches!(status.as_str(), "FULFILLED" | "REFUNDED") { "final" } else { "in_flight" };
        let update = self.dynamodb.update_item().table_name(&self.table);
        let update = update
            .key("pk", S(order.pk.clone()))
            .key("sk", S(order.sk.clone()))
            .update_expression(
                "SET #status = :status, phase = :phase, checked_at = :now, version = version + :one",
            )
            .condition_expression("version = :seen")
            .expression_attribute_names("#status", "status")
            .expression_attribute_values(":status", S(status.clone()))
            .expression_attribute_values(":phase", S(phase.into()))
            .expression_attribute_values(":now", N(now.to_string()))
            .expression_attribute_values(":one", N("1".into()))
            .expression_attribute_values(":seen", N(order.version.to_string()));
        let committed = written(update.send().await)?;
        if committed {
            order.status = status;
            order.phase = phase.into();
            order.version += 1;
            order.rest.insert("checked_at".into(), now.into());
        }
        Ok(committed)
    }

    async fn announce(&self, order: &Order) -> Result<(), Error> {
        let kind = if order.status == "FULFILLED" { "Order Fulfilled" } else { "Order Refunded" };
        let entry = PutEventsRequestEntry::builder()
            .source("peer")
            .detail_type(kind)
            .detail(serde_json::to_string(order)?)
            .event_bus_name(&self.bus)
            .build();
        let output = self.eventbridge.put_events().entries(entry).send().await?;
        if output.failed_entry_count > 0 {
            return Err(format!("event not accepted: {:?}", output.entries()).into());
        }
        Ok(())
    }
}

fn order_of(path: &str) -> Option<(&str, &str)> {
    let (product, id) = path.strip_prefix("/orders/")?.split_once('/')?;
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    (matches!(product, "mobile" | "internet") && !id.is_empty() && id.chars().all(word))
        .then_some((product, id))
}

/// Whether a conditional write went through.
fn written(result: Result<UpdateItemOutput, SdkError<UpdateItemError>>) -> Result<bool, Error> {
    match result {
        Ok(_) => Ok(true),
        Err(SdkError::ServiceError(error)) if error.err().is_conditional_check_failed_exception() => {
            Ok(false)
        }
        Err(error) => Err(error.into()),
    }
}

fn now_ms() -> Result<u64, Error> {
    Ok(u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis())?)
}

fn problem(status: u16, title: &str) -> Result<Response<Body>, Error> {
    reply(status, "application/problem+json", &json!({ "title": title, "status": status }))
}

fn reply(status: u16, content_type: &str, body: &impl Serialize) -> Result<Response<Body>, Error> {
    let response = Response::builder().status(status).header("content-type", content_type);
    Ok(response.body(serde_json::to_string(body)?.into())?)
}

#[tokio::main]
async fn main() -> Result<(), Error> {
    tracing::init_default_subscriber();
    let app = App::new().await?;
    let app = &app;
    run(service_fn(|request: Request| async move { app.handle(request).await })).await
}
