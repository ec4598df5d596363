use clap::Parser;
use sandbox::{Sandbox, Settings, service};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

pub(crate) const KEY: &str = "sandbox-key";

/// A running sandbox.
pub(crate) struct Vendor(std::net::SocketAddr);

pub(crate) struct Answer {
    pub(crate) http: u16,
    /// All headers in lower case.
    pub(crate) headers: String,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.body))
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
    }

    /// HTTP status, and the order's status or the error code.
    pub(crate) fn summary(&self) -> String {
        let json = self.json();
        let said = json["data"]["status"].as_str().or(json["error"]["code"].as_str());
        format!("{} {}", self.http, said.unwrap_or("?"))
    }
}

impl Vendor {
    pub(crate) async fn start(arguments: &[&str]) -> Self {
        let settings = Settings::parse_from([&["sandbox"], arguments].concat());
        let listener = TcpListener::bind(settings.listen).await.unwrap();
        let vendor = Self(listener.local_addr().unwrap());
        tokio::spawn(async { axum::serve(listener, service(Sandbox::new(settings))).await });
        vendor
    }

    /// Sends a request without reading the answer.
    pub(crate) async fn send_request(
        &self,
        method: &str,
        path: &str,
        key: Option<&str>,
        body: &str,
    ) -> TcpStream {
        let key = key.map(|key| format!("X-Access-Token: {key}\r\n")).unwrap_or_default();
        let length = body.len();
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{key}Content-Length: {length}\r\n\r\n"
        );
        let mut stream = TcpStream::connect(self.0).await.unwrap();
        stream.write_all((head + body).as_bytes()).await.unwrap();
        stream
    }

    pub(crate) async fn call(&self, method: &str, path: &str, key: Option<&str>, body: &str) -> Answer {
        let mut bytes = Vec::new();
        self.send_request(method, path, key, body).await.read_to_end(&mut bytes).await.unwrap();
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        Answer { http: head[9..12].parse().unwrap(), headers: head.to_lowercase(), body: body.to_owned() }
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.call("GET", path, Some(KEY), "").await
    }

    pub(crate) async fn post(&self, path: &str, body: &str) -> Answer {
        self.call("POST", path, Some(KEY), body).await
    }

    pub(crate) async fn delete(&self, path: &str) {
        assert_eq!(self.call("DELETE", path, None, "").await.http, 204, "DELETE {path}");
    }

    /// Posts to the control API; the answer must be a success.
    pub(crate) async fn control(&self, path: &str, body: &str) {
        let answer = self.call("POST", &format!("/_sandbox/{path}"), None, body).await;
        assert_eq!(answer.http, 204, "{path}: {}", answer.body);
    }

    pub(crate) async fn send_mobile(&self, number: &str) -> String {
        let body = format!(r#"{{"plan_code":"PREPAID_DJEZZY","MSSIDN":"{number}","amount":500}}"#);
        self.id(&self.post("/v3/mobile/send", &body).await)
    }

    pub(crate) async fn send_internet(&self, number: &str) -> String {
        let body = format!(r#"{{"type":"ADSL","number":"{number}","value":1000}}"#);
        self.id(&self.post("/v3/internet/send", &body).await)
    }

    fn id(&self, sent: &Answer) -> String {
        sent.json()["data"]["topupId"].as_str().unwrap_or_else(|| panic!("{}", sent.body)).to_owned()
    }

    /// The vendor's answer about an order.
    pub(crate) async fn check(&self, product: &str, id: &str) -> Answer {
        self.get(&format!("/v3/{product}/check-id/{id}")).await
    }

    pub(crate) async fn truth(&self, id: &str) -> Value {
        self.get(&format!("/_sandbox/orders/{id}")).await.json()
    }
}
