//! Stand-ins for AWS and the vendor behind TLS, with constant answers and no delay. They keep no state, so that each
//! call does the same work.

mod aws;
mod tls;
mod vendor;

use std::{collections::BTreeMap, io, path::Path, time::Duration};

use serde_json::{Value, json};
use shared::{
    capability,
    clock::Clock,
    order::{OrderId, OrderKey, Product},
};

pub use tls::{Authority, Kind, TlsError};

/// A final order: no vendor call.
pub const FINAL_ORDER: &str = "bench-final";
/// An order in flight that the vendor reports as FULFILLED on each check.
pub const ASKED_ORDER: &str = "bench-asked";
/// The API token of the requests.
pub const TOKEN: &str = "bench-token-0123456789";
/// The API key for the vendor.
const VENDOR_KEY: &str = "bench-vendor-key-0123456789";
/// The key of the webhooks and of the links to the tracking page.
const SIGNING_KEY: &str = "YmVuY2gtd2ViaG9vay1zZWNyZXQtMDEyMzQ1Njc4OS4=";
/// The orders table of our functions.
const TABLE: &str = "bench-orders";
/// The orders table of the peers, whose records are smaller.
pub const PEERS_TABLE: &str = "bench-peers";

/// The running stand-ins. They listen on loopback until the process ends.
#[derive(Debug)]
pub struct StandIns {
    environment: BTreeMap<String, String>,
    webhooks: BTreeMap<String, String>,
}

impl StandIns {
    /// Starts the stand-ins and writes the certificates to trust into `folder`.
    ///
    /// # Errors
    /// If a certificate cannot be made or a port cannot be bound.
    pub async fn start(folder: &Path) -> Result<Self, TlsError> {
        let (amazon, other) = (Authority::make(Kind::Rsa)?, Authority::make(Kind::Ecdsa)?);
        let roots = amazon.pem() + &other.pem();
        let own = folder.join("ca.pem");
        std::fs::write(&own, &roots)?;
        // Python's libraries read one bundle instead of the system's roots, so it has both.
        let bundle = folder.join("bundle.pem");
        std::fs::write(&bundle, system_roots()? + &roots)?;
        let dynamodb = amazon.serve(aws::dynamodb()).await?;
        let events = amazon.serve(aws::events()).await?;
        let secrets = amazon.serve(aws::secrets()).await?;
        let vendor = other.serve(vendor::service()).await?;
        let (own, bundle) = (own.display().to_string(), bundle.display().to_string());
        let environment = [
            ("AWS_REGION", "eu-west-3"),
            ("AWS_DEFAULT_REGION", "eu-west-3"),
            ("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE"),
            ("AWS_SECRET_ACCESS_KEY", "bench-secret-access-key"),
            ("AWS_SESSION_TOKEN", "bench-session-token"),
            ("AWS_LAMBDA_FUNCTION_NAME", "bench"),
            ("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST"),
            ("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "128"),
            ("AWS_LAMBDA_LOG_GROUP_NAME", "/aws/lambda/bench"),
            ("AWS_LAMBDA_LOG_STREAM_NAME", "2026/11/22/[$LATEST]bench"),
            ("AWS_ENDPOINT_URL_DYNAMODB", &dynamodb),
            ("AWS_ENDPOINT_URL_EVENTBRIDGE", &events),
            ("AWS_ENDPOINT_URL_SECRETS_MANAGER", &secrets),
            ("ONECLICKDZ_BASE_URL", &format!("{vendor}/v3")),
            ("EVENT_BUS", "bench-bus"),
            ("STACK_NAME", "bench"),
            ("EXTRA_CA_CERTS", &own),
            ("NODE_EXTRA_CA_CERTS", &own),
            ("SSL_CERT_FILE", &bundle),
            ("AWS_CA_BUNDLE", &bundle),
            ("REQUESTS_CA_BUNDLE", &bundle),
        ];
        let environment =
            environment.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        let webhooks = webhooks(&dynamodb, &vendor);
        Ok(Self { environment, webhooks })
    }

    /// What `notify` needs besides.
    pub fn webhook_settings(&self) -> &BTreeMap<String, String> {
        &self.webhooks
    }

    /// The environment of all subjects.
    pub fn environment(&self) -> &BTreeMap<String, String> {
        &self.environment
    }
}

/// Settings of `notify`. With `AWS_ENDPOINT_URL`, the shop may be on loopback.
fn webhooks(aws: &str, shop: &str) -> BTreeMap<String, String> {
    let all = [
        ("AWS_ENDPOINT_URL", aws),
        ("WEBHOOK_URL", &format!("{shop}/webhooks")),
        ("WEBHOOK_SECRET_ID", "bench-webhooks"),
        ("WEBHOOK_QUEUE_URL", "https://localhost:9/events"),
        ("WEBHOOK_DEAD_LETTERS_URL", "https://localhost:9/letters"),
    ];
    all.map(|(name, value)| (name.to_owned(), value.to_owned())).into()
}

/// Settings of our functions. `timeout`: `CONNECT_AHEAD_TIMEOUT`. `GLIBC_TUNABLES` as in the template.
pub fn our_settings(timeout: &str) -> BTreeMap<String, String> {
    let all = [
        ("CONNECT_AHEAD_TIMEOUT", timeout),
        ("GLIBC_TUNABLES", "glibc.malloc.tcache_count=200"),
        ("ORDERS_TABLE", TABLE),
        ("CARD_KEY_ID", "bench-card-key"),
        ("SECRET_ID", "bench-secret"),
        ("TOKENS_SECRET_ID", "bench-tokens"),
        ("PAGE_SECRET_ID", "bench-page"),
        // Each measured call checks with the vendor: no rate limit.
        ("VENDOR_CALLS_PER_MINUTE", "600000"),
        ("VENDOR_CALLS_BURST", "10000"),
    ];
    all.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

/// Settings of the peers. Their secrets are in the environment, which costs them no call.
pub fn peers_settings() -> BTreeMap<String, String> {
    let all = [("ORDERS_TABLE", PEERS_TABLE), ("ONECLICKDZ_API_KEY", VENDOR_KEY), ("API_TOKEN", TOKEN)];
    all.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

/// The value of every secret: each function reads its own fields.
fn secret() -> Value {
    json!({
        "oneclickdz_api_key": VENDOR_KEY,
        "api_tokens": [{"token": TOKEN, "scopes": ["orders", "cards"]}],
        "current": SIGNING_KEY
    })
}

/// The path of an order's tracking page. Empty, and so a page that opens nothing, if it cannot be signed.
pub fn page_path(order: &str) -> String {
    let (Ok(keys), Ok(id)) = (serde_json::from_value(secret()), OrderId::try_from(order.to_owned())) else {
        return String::new();
    };
    let key = OrderKey { product: Product::Mobile, id };
    let expires_after = Duration::from_secs(24 * 3600);
    format!("/t/{}", capability::issue(&keys, &key, expires_after, Clock::System.now()))
}

fn system_roots() -> io::Result<String> {
    // Debian, Amazon Linux.
    let places = ["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt"];
    let found = places.iter().map(Path::new).find(|path| path.is_file());
    let Some(found) = found else {
        return Err(io::Error::other(format!("no system certificates in any of {places:?}")));
    };
    std::fs::read_to_string(found)
}
