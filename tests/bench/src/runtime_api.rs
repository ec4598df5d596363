//! The Lambda Runtime API (`/2018-06-01/runtime/…`) for one process and one event at a time.

use std::{sync::Arc, time::Instant};

use axum::{
    Router,
    body::Bytes,
    extract::{Path, State},
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::{get, post},
};
use tokio::{
    net::TcpListener,
    sync::{Mutex, mpsc},
    task::JoinHandle,
};

/// Deadline of an event in ms. A slow function under valgrind needs a minute.
const DEADLINE_MS: i64 = 300_000;

/// A request of the process, with its arrival time.
#[derive(Debug)]
pub enum Did {
    /// It asks for the next event: init or the last event is done.
    AskedForNext(Instant),
    /// It answered an event.
    Answered(Instant, Bytes),
    /// It reported an error.
    Failed(String),
}

/// A Runtime API on a free loopback port; stopped on drop.
#[derive(Debug)]
pub struct RuntimeApi {
    /// `host:port`, for `AWS_LAMBDA_RUNTIME_API`.
    pub address: String,
    events: mpsc::UnboundedSender<Bytes>,
    did: mpsc::UnboundedReceiver<Did>,
    server: JoinHandle<()>,
}

struct Shared {
    events: Mutex<mpsc::UnboundedReceiver<Bytes>>,
    did: mpsc::UnboundedSender<Did>,
}

impl RuntimeApi {
    /// Starts the server.
    ///
    /// # Errors
    /// If no port can be bound.
    pub async fn start() -> std::io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?.to_string();
        let (events, for_process) = mpsc::unbounded_channel();
        let (from_process, did) = mpsc::unbounded_channel();
        let shared = Arc::new(Shared { events: Mutex::new(for_process), did: from_process });
        let app = Router::new()
            .route("/2018-06-01/runtime/invocation/next", get(next))
            .route("/2018-06-01/runtime/invocation/{id}/response", post(response))
            .route("/2018-06-01/runtime/invocation/{id}/error", post(failure))
            .route("/2018-06-01/runtime/init/error", post(init_failure))
            .with_state(shared);
        let listener = axum::serve::ListenerExt::tap_io(listener, |connection| {
            // Nagle's delay would count as the function's time.
            let _ = connection.set_nodelay(true);
        });
        let server = tokio::spawn(async move {
            let _ = axum::serve(listener, app).await;
        });
        Ok(Self { address, events, did, server })
    }

    /// Queues an event for the process.
    pub fn send(&self, event: Bytes) {
        // Cannot fail: the server holds the receiver as long as `self` exists.
        let _ = self.events.send(event);
    }

    /// Waits for the next request of the process.
    pub async fn next(&mut self) -> Option<Did> {
        self.did.recv().await
    }
}

impl Drop for RuntimeApi {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn next(State(shared): State<Arc<Shared>>) -> Response {
    let _ = shared.did.send(Did::AskedForNext(Instant::now()));
    let Some(event) = shared.events.lock().await.recv().await else {
        return StatusCode::GONE.into_response();
    };
    #[allow(clippy::disallowed_methods, reason = "a deadline for a process on real time")]
    let now = jiff::Timestamp::now().as_millisecond();
    let headers = [
        ("Lambda-Runtime-Aws-Request-Id", "8476a536-e9f4-11e8-9739-2dfe598c3fcd".to_owned()),
        ("Lambda-Runtime-Deadline-Ms", (now + DEADLINE_MS).to_string()),
        ("Lambda-Runtime-Invoked-Function-Arn", "arn:aws:lambda:eu-west-3:1:function:bench".to_owned()),
        ("Lambda-Runtime-Trace-Id", "Root=1-5bef4de7-ad49b0e87f6ef6c87fc2e700;Sampled=0".to_owned()),
        ("Content-Type", "application/json".to_owned()),
    ];
    (headers, event).into_response()
}

async fn response(State(shared): State<Arc<Shared>>, Path(_): Path<String>, body: Bytes) -> StatusCode {
    let _ = shared.did.send(Did::Answered(Instant::now(), body));
    StatusCode::ACCEPTED
}

async fn failure(State(shared): State<Arc<Shared>>, Path(_): Path<String>, body: Bytes) -> StatusCode {
    failed(&shared, &body)
}

async fn init_failure(State(shared): State<Arc<Shared>>, body: Bytes) -> StatusCode {
    failed(&shared, &body)
}

fn failed(shared: &Shared, body: &[u8]) -> StatusCode {
    let _ = shared.did.send(Did::Failed(String::from_utf8_lossy(body).into_owned()));
    StatusCode::ACCEPTED
}
