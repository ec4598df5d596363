//! What the functions talk to, behind TLS: always the same answer to the same question, at once. They evaluate no condition and
//! keep nothing, so that each call finds the same and does the same work.

mod aws;
mod tls;
mod vendor;

use std::{collections::BTreeMap, io, path::Path};

pub use tls::{Authority, Kind, TlsError};

/// Of an order that is final: nobody is asked.
pub const FINAL_ORDER: &str = "bench-final";
/// Of an order in flight that the vendor shows as fulfilled, each time anew.
pub const ASKED_ORDER: &str = "bench-asked";
/// What the requests bring.
pub const TOKEN: &str = "bench-token-0123456789";
/// What the functions bring to the vendor.
const VENDOR_KEY: &str = "bench-vendor-key-0123456789";
/// The table of our functions.
const TABLE: &str = "bench-orders";
/// The table of the peers, whose records are smaller.
pub const PEERS_TABLE: &str = "bench-peers";

/// The stand-ins, listening on loopback until the process ends.
#[derive(Debug)]
pub struct StandIns {
    environment: BTreeMap<String, String>,
}

impl StandIns {
    /// Starts them, and writes the certificates that have to be trusted into `folder`.
    ///
    /// # Errors
    /// If a certificate cannot be made or a port cannot be had.
    pub async fn start(folder: &Path) -> Result<Self, TlsError> {
        let (amazon, other) = (Authority::make(Kind::Rsa)?, Authority::make(Kind::Ecdsa)?);
        let roots = amazon.pem() + &other.pem();
        let own = folder.join("ca.pem");
        std::fs::write(&own, &roots)?;
        // Python's libraries take one file instead of their own roots: they get the system's and this one.
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
        Ok(Self { environment })
    }

    /// The environment that all programs get.
    pub fn environment(&self) -> &BTreeMap<String, String> {
        &self.environment
    }
}

/// What our functions need besides; `patience` is `CONNECT_AHEAD_TIMEOUT`. `GLIBC_TUNABLES` is the template's.
pub fn our_settings(timeout: &str) -> BTreeMap<String, String> {
    let all = [
        ("CONNECT_AHEAD_TIMEOUT", timeout),
        ("GLIBC_TUNABLES", "glibc.malloc.tcache_count=200"),
        ("ORDERS_TABLE", TABLE),
        ("CARD_KEY_ID", "bench-card-key"),
        ("SECRET_ID", "bench-secret"),
        // Each measured call asks the vendor: the rate is not what this is about.
        ("VENDOR_CALLS_PER_MINUTE", "600000"),
        ("VENDOR_CALLS_BURST", "10000"),
    ];
    all.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

/// What the peers need besides: their secrets are in their environment, which is less work.
pub fn peers_settings() -> BTreeMap<String, String> {
    let all = [("ORDERS_TABLE", PEERS_TABLE), ("ONECLICKDZ_API_KEY", VENDOR_KEY), ("API_TOKEN", TOKEN)];
    all.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

fn system_roots() -> io::Result<String> {
    // Debian's place, and Amazon Linux's.
    let places = ["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt"];
    let found = places.iter().map(Path::new).find(|path| path.is_file());
    let Some(found) = found else {
        return Err(io::Error::other(format!("no system certificates in any of {places:?}")));
    };
    std::fs::read_to_string(found)
}
