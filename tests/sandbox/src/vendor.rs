//! The vendor's API.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use axum::body::{Bytes, to_bytes};
use axum::extract::{ConnectInfo, Request, State};
use axum::http::{Method, StatusCode};
use axum::response::Response;
use serde::{Deserialize, Serialize};

use crate::calls::{Call, fingerprint};
use crate::fields::Fields;
use crate::numbers::Product;
use crate::reply::{Envelope, Reply};
use crate::sandbox::{Sandbox, Sent};

const BODY_LIMIT: usize = 64 * 1024;

enum Endpoint {
    Send(Product),
    Check(Product, String),
    Validate,
    Unknown,
}

struct Incoming {
    endpoint: Endpoint,
    method: Method,
    path: String,
    key: Option<String>,
    address: IpAddr,
    body: Bytes,
}

/// Every call under `/v3`.
pub(crate) async fn handle(
    State(sandbox): State<Arc<Sandbox>>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    request: Request,
) -> Response {
    let (parts, body) = request.into_parts();
    let mut call = Incoming {
        endpoint: Endpoint::of(&parts.method, parts.uri.path()),
        key: parts.headers.get("x-access-token").and_then(|key| key.to_str().ok()).map(str::to_owned),
        method: parts.method,
        path: parts.uri.path().to_owned(),
        address: peer.ip(),
        body: Bytes::new(),
    };
    let turn = sandbox.arrived(&call);
    call.body = to_bytes(body, BODY_LIMIT).await.unwrap_or_default();
    let outage = sandbox.state().outage.clone();
    let reply = match outage {
        Some(answer) => {
            let envelope = sandbox.envelope(&call.endpoint);
            answer.play("outage", sandbox.scale(), envelope, sandbox.up(&call)).await
        }
        None => sandbox.up(&call).await,
    };
    sandbox.answered(turn, &reply);
    reply.into_response()
}

impl Endpoint {
    fn of(method: &Method, path: &str) -> Self {
        let segments: Vec<&str> = path.split('/').skip(2).collect();
        match (method, segments.as_slice()) {
            (&Method::POST, ["mobile", "send"]) => Self::Send(Product::Mobile),
            (&Method::POST, ["internet", "send"]) => Self::Send(Product::Internet),
            (&Method::GET, ["mobile", "check-id", id]) => Self::Check(Product::Mobile, (*id).to_owned()),
            (&Method::GET, ["internet", "check-id", id]) => Self::Check(Product::Internet, (*id).to_owned()),
            (&Method::GET, ["validate"]) => Self::Validate,
            _ => Self::Unknown,
        }
    }

    fn name(&self) -> &'static str {
        match self {
            Self::Send(Product::Mobile) => "mobile/send",
            Self::Send(Product::Internet) => "internet/send",
            Self::Check(Product::Mobile, _) => "mobile/check-id",
            Self::Check(Product::Internet, _) => "internet/check-id",
            Self::Validate => "validate",
            Self::Unknown => "unknown",
        }
    }

    fn product(&self) -> Option<Product> {
        match self {
            Self::Send(product) | Self::Check(product, _) => Some(*product),
            Self::Validate | Self::Unknown => None,
        }
    }

    fn order(&self) -> Option<&String> {
        match self {
            Self::Check(_, id) => Some(id),
            _ => None,
        }
    }
}

impl Sandbox {
    fn envelope(&self, endpoint: &Endpoint) -> Envelope {
        Envelope { product: endpoint.product(), now: self.now() }
    }

    /// Counts a call, before anything else is done with it.
    fn arrived(&self, incoming: &Incoming) -> u64 {
        let mut state = self.state();
        let turn = state.turn();
        if let Endpoint::Check(product, id) = &incoming.endpoint
            && let Some(order) = state.orders.get_mut(id).filter(|order| order.product == *product)
        {
            order.calls += 1;
        }
        state.calls.push(Call {
            turn,
            at: self.now(),
            endpoint: incoming.endpoint.name(),
            order: incoming.endpoint.order().cloned(),
            key: fingerprint(incoming.key.as_deref()),
            http: None,
            answered: None,
        });
        turn
    }

    fn answered(&self, turn: u64, reply: &Reply) {
        let mut state = self.state();
        // Gone if the log was emptied meanwhile.
        let Some(call) = state.calls.iter_mut().rev().find(|call| call.turn == turn) else {
            return;
        };
        call.http = Some(reply.status.as_u16());
        call.answered = Some(reply.answered.clone());
        let order = call.order.as_deref().unwrap_or("-");
        tracing::info!(
            endpoint = call.endpoint,
            order,
            key = call.key,
            http = call.http,
            answered = reply.answered
        );
    }

    /// The vendor while there is no outage.
    async fn up(&self, call: &Incoming) -> Reply {
        if let Endpoint::Unknown = call.endpoint {
            return Reply::unrouted(call.method.as_str(), &call.path);
        }
        let admitted = self.state().gate.admit(&self.settings, self.now(), call.address, call.key.as_deref());
        if let Err(refusal) = admitted {
            return refusal.reply(self.envelope(&call.endpoint));
        }
        let script = call.endpoint.order().and_then(|id| self.state().scripts.get_mut(id)?.next());
        let envelope = self.envelope(&call.endpoint);
        match script {
            Some(answer) => answer.play("script", self.scale(), envelope, async { self.truly(call) }).await,
            None => self.truly(call),
        }
    }

    fn truly(&self, call: &Incoming) -> Reply {
        let envelope = self.envelope(&call.endpoint);
        match &call.endpoint {
            Endpoint::Send(product) => self.take(*product, &call.body, envelope),
            Endpoint::Check(product, id) => self.look(*product, id, envelope),
            Endpoint::Validate => {
                let key = Fields::default().with("key", &call.key).with("type", "SANDBOX");
                envelope.success("SANDBOX", Fields::default().with("apiKey", key))
            }
            Endpoint::Unknown => Reply::unrouted(call.method.as_str(), &call.path),
        }
    }

    fn look(&self, product: Product, id: &str, envelope: Envelope) -> Reply {
        let state = self.state();
        let order = state.orders.get(id).filter(|order| order.product == product);
        match order.and_then(|order| order.shown(envelope.now)) {
            Some((status, data)) => envelope.success(status, data),
            None => envelope.not_found(),
        }
    }

    fn take(&self, product: Product, body: &[u8], envelope: Envelope) -> Reply {
        let parsed = match product {
            Product::Mobile => serde_json::from_slice(body).map(MobileSend::check),
            Product::Internet => serde_json::from_slice(body).map(InternetSend::check),
        };
        let sent = match parsed {
            Ok(Ok(sent)) => sent,
            Ok(Err((code, message))) => return envelope.failure(StatusCode::BAD_REQUEST, code, message),
            Err(_) => {
                let message = "The body is not the JSON object this call takes";
                return envelope.failure(StatusCode::BAD_REQUEST, "ERR_VALIDATION", message);
            }
        };
        match self.send(sent) {
            Some(order) => {
                let data = TopUp { topup_id: order.id, topup_ref: order.reference };
                envelope.success("sent", data)
            }
            None => envelope.failure(StatusCode::FORBIDDEN, "DUPLICATED_REF", "This ref was used before"),
        }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct TopUp {
    topup_id: String,
    topup_ref: String,
}

type Complaint = (&'static str, &'static str);

#[derive(Deserialize)]
struct MobileSend {
    plan_code: String,
    #[serde(rename = "MSSIDN")]
    number: String,
    amount: Option<f64>,
    r#ref: Option<String>,
}

impl MobileSend {
    fn check(self) -> Result<Sent, Complaint> {
        if self.plan_code.is_empty() {
            return Err(("ERR_VALIDATION", "plan_code is required"));
        }
        let shape = ["05", "06", "07"].iter().any(|prefix| self.number.starts_with(prefix));
        if !shape || self.number.len() != 10 || !digits(&self.number) {
            return Err(("ERR_PHONE", "MSSIDN must match ^0[567][0-9]{8}$"));
        }
        // A plan with a fixed price is sent without an amount.
        let amount = positive(self.amount.unwrap_or(500.0), "amount must be a positive number")?;
        let (product, reference) = (Product::Mobile, given(self.r#ref)?);
        Ok(Sent { product, number: self.number, offer: self.plan_code, amount, reference })
    }
}

#[derive(Deserialize)]
struct InternetSend {
    r#type: String,
    number: String,
    value: f64,
    r#ref: Option<String>,
}

impl InternetSend {
    fn check(self) -> Result<Sent, Complaint> {
        if self.r#type != "ADSL" && self.r#type != "4G" {
            return Err(("ERR_VALIDATION", "type must be ADSL or 4G"));
        }
        if !self.number.starts_with('0') || !(9..=10).contains(&self.number.len()) || !digits(&self.number) {
            return Err(("ERR_PHONE", "number must be 9 or 10 digits, the first of them 0"));
        }
        let amount = positive(self.value, "value must be a positive number")?;
        let (product, reference) = (Product::Internet, given(self.r#ref)?);
        Ok(Sent { product, number: self.number, offer: self.r#type, amount, reference })
    }
}

fn digits(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit())
}

fn positive(amount: f64, complaint: &'static str) -> Result<f64, Complaint> {
    if amount > 0.0 { Ok(amount) } else { Err(("ERR_VALIDATION", complaint)) }
}

fn given(reference: Option<String>) -> Result<Option<String>, Complaint> {
    match reference {
        Some(empty) if empty.is_empty() => Err(("ERR_VALIDATION", "ref must not be empty")),
        other => Ok(other),
    }
}
