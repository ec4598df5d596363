//! The vendor's API under `/v3`.

use std::future::ready;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use axum::body::{Bytes, to_bytes};
use axum::extract::{ConnectInfo, Request, State};
use axum::http::{Method, StatusCode, Uri};
use axum::response::Response;
use percent_encoding::percent_decode_str;
use serde::{Deserialize, Serialize};

use crate::answer::{Answer, Script};
use crate::calls::{Call, Kind, fingerprint};
use crate::clock::Scale;
use crate::faults::Fault;
use crate::fields::Fields;
use crate::numbers::Product;
use crate::reply::{Envelope, Reply};
use crate::sandbox::{Sandbox, Sent};

const BODY_LIMIT: usize = 64 * 1024;

enum Endpoint {
    Send(Product),
    Check(Product, Name),
    List(Product),
    Validate,
    Unknown,
}

/// How a check call names its order.
enum Name {
    Id(String),
    Ref(String),
}

struct Incoming {
    endpoint: Endpoint,
    /// The order's id, from the path or looked up by `ref`; `None`: no such order.
    order: Option<String>,
    method: Method,
    uri: Uri,
    key: Option<String>,
    address: IpAddr,
    body: Bytes,
}

/// Handles every call under `/v3`.
pub(crate) async fn handle(
    State(sandbox): State<Arc<Sandbox>>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    request: Request,
) -> Response {
    let (parts, body) = request.into_parts();
    let endpoint = Endpoint::of(&parts.method, parts.uri.path());
    let mut call = Incoming {
        order: sandbox.order_of(&endpoint),
        endpoint,
        key: parts.headers.get("x-access-token").and_then(|key| key.to_str().ok()).map(str::to_owned),
        method: parts.method,
        uri: parts.uri,
        address: peer.ip(),
        body: Bytes::new(),
    };
    let turn = sandbox.arrived(&call);
    call.body = to_bytes(body, BODY_LIMIT).await.unwrap_or_default();
    let outage = sandbox.state().outage.clone();
    let reply = match outage {
        Some(answer) => sandbox.down(answer, &call).await,
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
            (&Method::GET, ["mobile", "list"]) => Self::List(Product::Mobile),
            (&Method::GET, ["internet", "list"]) => Self::List(Product::Internet),
            (&Method::GET, ["mobile", check, name]) => Self::check(Product::Mobile, check, name),
            (&Method::GET, ["internet", check, name]) => Self::check(Product::Internet, check, name),
            (&Method::GET, ["validate"]) => Self::Validate,
            _ => Self::Unknown,
        }
    }

    fn check(product: Product, check: &str, name: &str) -> Self {
        match check {
            "check-id" => Self::Check(product, Name::Id(name.to_owned())),
            // A plus sign in a path is a plus sign, not a space.
            "check-ref" => {
                Self::Check(product, Name::Ref(percent_decode_str(name).decode_utf8_lossy().into_owned()))
            }
            _ => Self::Unknown,
        }
    }

    fn name(&self) -> &'static str {
        match self {
            Self::Send(Product::Mobile) => "mobile/send",
            Self::Send(Product::Internet) => "internet/send",
            Self::Check(Product::Mobile, Name::Id(_)) => "mobile/check-id",
            Self::Check(Product::Internet, Name::Id(_)) => "internet/check-id",
            Self::Check(Product::Mobile, Name::Ref(_)) => "mobile/check-ref",
            Self::Check(Product::Internet, Name::Ref(_)) => "internet/check-ref",
            Self::List(Product::Mobile) => "mobile/list",
            Self::List(Product::Internet) => "internet/list",
            Self::Validate => "validate",
            Self::Unknown => "unknown",
        }
    }

    fn kind(&self) -> Kind {
        match self {
            Self::Send(_) => Kind::Send,
            Self::Check(..) => Kind::Check,
            Self::List(_) => Kind::List,
            Self::Validate => Kind::Validate,
            Self::Unknown => Kind::Unknown,
        }
    }

    fn product(&self) -> Option<Product> {
        match self {
            Self::Send(product) | Self::Check(product, _) | Self::List(product) => Some(*product),
            Self::Validate | Self::Unknown => None,
        }
    }
}

impl Sandbox {
    fn order_of(&self, endpoint: &Endpoint) -> Option<String> {
        match endpoint {
            Endpoint::Check(_, Name::Id(id)) => Some(id.clone()),
            Endpoint::Check(product, Name::Ref(reference)) => {
                self.state().by_ref(*product, reference).cloned()
            }
            _ => None,
        }
    }

    fn envelope(&self, endpoint: &Endpoint) -> Envelope {
        Envelope { product: endpoint.product(), now: self.now() }
    }

    /// Logs and counts a call on arrival, before it is handled. Returns the call's number.
    fn arrived(&self, incoming: &Incoming) -> u64 {
        let mut state = self.state();
        let turn = state.turn();
        if let Endpoint::Check(product, _) = &incoming.endpoint
            && let Some(id) = &incoming.order
            && let Some(order) = state.orders.get_mut(id).filter(|order| order.product == *product)
        {
            order.calls += 1;
        }
        state.calls.push(Call {
            turn,
            at: self.now(),
            endpoint: incoming.endpoint.name(),
            kind: incoming.endpoint.kind(),
            order: incoming.order.clone(),
            key: fingerprint(incoming.key.as_deref()),
            http: None,
            answered: None,
            rows: None,
        });
        turn
    }

    fn answered(&self, turn: u64, reply: &Reply) {
        let mut state = self.state();
        // Not found if the log was cleared meanwhile.
        let Some(call) = state.calls.iter_mut().rev().find(|call| call.turn == turn) else {
            return;
        };
        call.http = Some(reply.status.as_u16());
        call.answered = Some(reply.answered.clone());
        call.rows = reply.rows;
        let order = call.order.as_deref().unwrap_or("-");
        tracing::info!(
            endpoint = call.endpoint,
            order,
            key = call.key,
            http = call.http,
            answered = reply.answered,
            rows = call.rows
        );
    }

    /// The answer during an outage.
    async fn down(&self, outage: Answer, call: &Incoming) -> Reply {
        let envelope = self.envelope(&call.endpoint);
        if let (Answer::Slow(_), Endpoint::Send(_)) = (&outage, &call.endpoint) {
            // The order is taken before the delay, so that it exists even if the caller times out.
            let taken = self.up(call).await;
            return outage.play("outage", self.scale(), envelope, ready(taken)).await;
        }
        outage.play("outage", self.scale(), envelope, self.up(call)).await
    }

    /// The answer without an outage.
    async fn up(&self, call: &Incoming) -> Reply {
        if let Endpoint::Unknown = call.endpoint {
            return Reply::unrouted(call.method.as_str(), call.uri.path());
        }
        let admitted = self.state().gate.admit(&self.settings, self.now(), call.address, call.key.as_deref());
        if let Err(refusal) = admitted {
            return refusal.reply(self.envelope(&call.endpoint));
        }
        let envelope = self.envelope(&call.endpoint);
        if let Endpoint::Send(_) = call.endpoint {
            return self.send(call, envelope).await;
        }
        match self.scripted(call) {
            Some(answer) => answer.play("script", self.scale(), envelope, async { self.normal(call) }).await,
            None => self.normal_or_fault(call, envelope).await,
        }
    }

    fn scripted(&self, call: &Incoming) -> Option<Answer> {
        let mut state = self.state();
        let Endpoint::List(product) = call.endpoint else {
            return state.scripts.get_mut(call.order.as_ref()?)?.next();
        };
        let by_product = state.list_scripts.get_mut(&Some(product)).and_then(Script::next);
        by_product.or_else(|| state.list_scripts.get_mut(&None)?.next())
    }

    /// The normal answer, or a random fault.
    async fn normal_or_fault(&self, call: &Incoming, envelope: Envelope) -> Reply {
        let reply = self.normal(call);
        let (Endpoint::Check(..) | Endpoint::List(_)) = call.endpoint else {
            return reply;
        };
        let fault = self.state().chance.next();
        match fault {
            Some(Fault { kind, answer }) => {
                let mut reply = answer.play("fault", Scale::REAL, envelope, ready(reply)).await;
                reply.answered = format!("fault:{kind}");
                reply
            }
            None => reply,
        }
    }

    /// Takes the order before a scripted answer is played: the order exists even if its answer never arrives.
    async fn send(&self, call: &Incoming, envelope: Envelope) -> Reply {
        let reply = self.normal(call);
        let reference = serde_json::from_slice::<Named>(&call.body).ok().and_then(|named| named.r#ref);
        let script = || {
            let mut state = self.state();
            let by_ref = state.sends.get_mut(&reference).and_then(Script::next);
            by_ref.or_else(|| state.sends.get_mut(&None)?.next())
        };
        let script = if reply.status.is_success() { script() } else { None };
        match script {
            Some(answer) => answer.play("script", self.scale(), envelope, ready(reply)).await,
            None => reply,
        }
    }

    fn normal(&self, call: &Incoming) -> Reply {
        let envelope = self.envelope(&call.endpoint);
        match &call.endpoint {
            Endpoint::Send(product) => self.take(*product, &call.body, envelope),
            Endpoint::Check(product, _) => self.check(*product, call.order.as_deref(), envelope),
            Endpoint::List(product) => self.list(*product, &call.uri, envelope),
            Endpoint::Validate => {
                let key = Fields::default().with("key", &call.key).with("type", "SANDBOX");
                envelope.success("SANDBOX", Fields::default().with("apiKey", key))
            }
            Endpoint::Unknown => Reply::unrouted(call.method.as_str(), call.uri.path()),
        }
    }

    fn check(&self, product: Product, id: Option<&str>, envelope: Envelope) -> Reply {
        let state = self.state();
        let order = id.and_then(|id| state.orders.get(id)).filter(|order| order.product == product);
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
        match self.accept(sent) {
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

/// The caller's `ref` of a send.
#[derive(Deserialize)]
struct Named {
    r#ref: Option<String>,
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
        // A plan with a fixed price is sent without `amount`.
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
