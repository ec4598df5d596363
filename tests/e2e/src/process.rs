//! Tools to run a function's binary as a process of the test: a Lambda Runtime API, and a proxy that holds requests.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use axum::{
    Router,
    body::Bytes,
    extract::State,
    http::{HeaderMap, Method, StatusCode, Uri, header},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use serde_json::Value;
use tokio::net::TcpListener;

pub(crate) async fn serve(router: Router) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move { axum::serve(listener, router).await });
    address
}

/// The part of the Lambda Runtime API that a runtime uses. Serves the same event every 300 ms.
#[derive(Debug)]
pub struct RuntimeApi {
    address: String,
}

impl RuntimeApi {
    /// Starts the server on a free loopback port. It runs until the test ends.
    pub async fn start(event: Value) -> Self {
        let event = event.to_string();
        let next = move || async move {
            tokio::time::sleep(Duration::from_millis(300)).await;
            let headers = [
                ("Lambda-Runtime-Aws-Request-Id", "00000000-0000-0000-0000-000000000000"),
                ("Lambda-Runtime-Deadline-Ms", "4102444800000"),
                (
                    "Lambda-Runtime-Invoked-Function-Arn",
                    "arn:aws:lambda:us-east-1:000000000000:function:test",
                ),
                ("Content-Type", "application/json"),
            ];
            (headers, event)
        };
        let accepted = || async { StatusCode::ACCEPTED };
        let router = Router::new()
            .route("/2018-06-01/runtime/invocation/next", get(next))
            .route("/2018-06-01/runtime/invocation/{id}/response", post(accepted))
            .route("/2018-06-01/runtime/invocation/{id}/error", post(accepted))
            .route("/2018-06-01/runtime/init/error", post(accepted));
        Self { address: serve(router).await }
    }

    /// The environment variables that Lambda sets for a runtime.
    pub fn environment(&self) -> [(&'static str, String); 5] {
        [
            ("AWS_LAMBDA_RUNTIME_API", self.address.clone()),
            ("AWS_LAMBDA_FUNCTION_NAME", "test".to_owned()),
            ("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "128".to_owned()),
            ("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST".to_owned()),
            ("AWS_LAMBDA_LOG_STREAM_NAME", "test".to_owned()),
        ]
    }
}

/// A proxy that forwards requests, but holds forever those whose body contains a given text.
#[derive(Debug)]
pub struct HoldingProxy {
    address: String,
    holds: Arc<AtomicBool>,
}

#[derive(Clone)]
struct ProxyState {
    http: reqwest::Client,
    to: String,
    held_text: String,
    holds: Arc<AtomicBool>,
}

impl HoldingProxy {
    /// Starts the proxy on a free loopback port. It runs until the test ends.
    pub async fn start(to: &str, held_text: &str) -> Self {
        let holds = Arc::new(AtomicBool::new(false));
        let http = crate::loopback::client();
        let state =
            ProxyState { http, to: to.to_owned(), held_text: held_text.to_owned(), holds: holds.clone() };
        let address = serve(Router::new().fallback(pass).with_state(state)).await;
        Self { address, holds }
    }

    /// Its base URL.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Whether it has held a request.
    pub fn holds(&self) -> bool {
        self.holds.load(Ordering::SeqCst)
    }
}

async fn pass(
    State(state): State<ProxyState>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    if String::from_utf8_lossy(&body).contains(&state.held_text) {
        state.holds.store(true, Ordering::SeqCst);
        return std::future::pending().await;
    }
    let mut call = state.http.request(method, format!("{}{}", state.to, uri.path())).body(body);
    for (name, value) in headers.iter().filter(|(name, _)| **name != header::CONTENT_LENGTH) {
        call = call.header(name, value);
    }
    let answer = call.send().await.unwrap();
    let status = answer.status();
    (status, answer.bytes().await.unwrap()).into_response()
}
