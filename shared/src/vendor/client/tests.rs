use std::time::Instant;

use wiremock::{
    Mock, MockServer, ResponseTemplate,
    matchers::{header, method, path},
};

use super::*;
use crate::admission::Verdict;

fn key(product: Product) -> OrderKey {
    OrderKey { product, id: "6901616fe9e88196b4eb64b0".parse().unwrap() }
}

fn the_key() -> VendorKey {
    SecretString::from("the-key".to_owned()).into()
}

async fn ask(server: &MockServer, product: Product) -> Result<Answer, VendorError> {
    let base = format!("{}/v3", server.uri()).parse::<Uri>().unwrap();
    let vendor = Vendor::new(crate::http::Http::new(&[]).unwrap(), base);
    vendor.check_id(&the_key(), &key(product)).await
}

async fn answers(answer: ResponseTemplate) -> MockServer {
    let server = MockServer::start().await;
    Mock::given(method("GET")).respond_with(answer).mount(&server).await;
    server
}

fn in_short(result: &Result<Answer, VendorError>) -> String {
    match result {
        Ok(Answer { order: Some(order), .. }) => {
            order.facts.status.as_ref().map_or("no status", |status| status.as_str()).to_owned()
        }
        Ok(Answer { order: None, .. }) => "not found".to_owned(),
        Err(VendorError::Throttled { retry_after }) => {
            format!("throttled {:?}", retry_after.map(|d| d.as_secs()))
        }
        Err(VendorError::KeyRefused { code }) => format!("key refused {code}"),
        Err(VendorError::Rejected { http, code }) => format!("rejected {http} {code}"),
        Err(VendorError::Unavailable { what }) => format!("unavailable {what}"),
        Err(VendorError::Unreadable { path, what }) => format!("unreadable {path} {what}"),
    }
}

/// One row per status and code: what the caller can do about it.
#[tokio::test]
async fn every_answer_has_its_meaning() {
    let refusal = |code: &str| {
        format!(r#"{{"success":false,"error":{{"code":"{code}","message":"m"}},"requestId":"r"}}"#)
    };
    let gateway = r#"{"message":"Cannot GET","error":"Not Found","statusCode":404}"#.to_owned();
    let order = |data: &str| format!(r#"{{"success":true,"data":{data}}}"#);
    let rows = [
        (200, order(r#"{"_id":"6901616fe9e88196b4eb64b0","status":"HANDLING"}"#), "HANDLING"),
        (200, order(r#"{"status":"FULFILLED"}"#), "FULFILLED"),
        (200, order(r#"{"_id":"6901616fe9e88196b4eb64b0"}"#), "no status"),
        (
            200,
            order(r#"{"_id":"anotherorder","status":"REFUNDED"}"#),
            "unreadable data._id another order's id",
        ),
        (
            200,
            order(&format!(r#"{{"status":"{}"}}"#, "X".repeat(201))),
            "unreadable data.status longer than any status",
        ),
        (
            200,
            order(&format!(r#"{{"status":"REFUNDED","refund_message":"{}"}}"#, "x".repeat(MOST_KEPT))),
            "unreadable data longer than can be kept",
        ),
        (
            200,
            order(&format!(r#"{{"status":"REFUNDED","unknown":"{}"}}"#, "x".repeat(MOST_KEPT))),
            "REFUNDED",
        ),
        (200, r#"{"success":true}"#.to_owned(), "unreadable data missing"),
        (200, refusal("NOT_FOUND"), "unreadable success false, with HTTP 200"),
        (200, "<html>".to_owned(), "unreadable . not JSON"),
        (200, String::new(), "unreadable . cut off"),
        (400, refusal("ERR_VALIDATION"), "rejected 400 ERR_VALIDATION"),
        (401, refusal("INVALID_ACCESS_TOKEN"), "key refused INVALID_ACCESS_TOKEN"),
        (401, "no".to_owned(), "key refused "),
        (403, refusal("IP_BLOCKED"), "key refused IP_BLOCKED"),
        (403, refusal("IP_NOT_ALLOWED"), "key refused IP_NOT_ALLOWED"),
        (403, refusal("API_DISABLED"), "key refused API_DISABLED"),
        (403, refusal("NO_BALANCE"), "rejected 403 NO_BALANCE"),
        (403, "<html>".to_owned(), "rejected 403 "),
        (404, refusal("NOT_FOUND"), "not found"),
        (404, gateway, "unavailable HTTP 404"),
        (429, refusal("RATE_LIMIT_EXCEEDED"), "throttled None"),
        (500, refusal("INTERNAL_ERROR"), "unavailable HTTP 500 INTERNAL_ERROR"),
        (503, refusal("AUTH_UNAVAILABLE"), "unavailable HTTP 503 AUTH_UNAVAILABLE"),
        (502, "<html>Bad Gateway</html>".to_owned(), "unavailable HTTP 502"),
        (302, String::new(), "unavailable HTTP 302"),
    ];
    for (status, body, meaning) in rows {
        let server = answers(ResponseTemplate::new(status).set_body_string(body.clone())).await;
        assert_eq!(in_short(&ask(&server, Product::Mobile).await), meaning, "{status} {body}");
    }
}

#[test]
fn what_an_answer_says_about_the_key() {
    let verdict = |status, code: &str| {
        let body = format!(r#"{{"success":false,"error":{{"code":"{code}","message":"m"}}}}"#);
        let status = StatusCode::from_u16(status).unwrap();
        classify(status, None, body.as_bytes()).map_or_else(|error| error.verdict(), |_| Verdict::Accepted)
    };
    let refused = |code: &str| Verdict::Refused(code.to_owned());
    for (status, code, expected) in [
        (401, "INVALID_ACCESS_TOKEN", refused("INVALID_ACCESS_TOKEN")),
        (401, "ERR_AUTH", refused("ERR_AUTH")),
        (403, "IP_BLOCKED", refused("IP_BLOCKED")),
        (403, "IP_NOT_ALLOWED", refused("IP_NOT_ALLOWED")),
        (403, "API_DISABLED", refused("API_DISABLED")),
        (403, "DUPLICATED_REF", Verdict::Accepted),
        (400, "ERR_VALIDATION", Verdict::Accepted),
        (404, "NOT_FOUND", Verdict::Accepted),
        (403, "", Verdict::Silent),
        (400, "", Verdict::Silent),
        (429, "RATE_LIMIT_EXCEEDED", Verdict::Throttled(None)),
        (500, "INTERNAL_ERROR", Verdict::Silent),
        (503, "SERVICE_UNAVAILABLE", Verdict::Silent),
        // Their own key service is not well: no refusal.
        (503, "AUTH_UNAVAILABLE", Verdict::Silent),
    ] {
        assert_eq!(verdict(status, code), expected, "{status} {code}");
    }
}

#[tokio::test]
async fn a_look_up_by_ref_encodes_it_and_joins_on_the_id() {
    let server = MockServer::start().await;
    let vendor = Vendor::new(
        crate::http::Http::new(&[]).unwrap(),
        format!("{}/v3", server.uri()).parse::<Uri>().unwrap(),
    );
    let shows = |data: &str| {
        ResponseTemplate::new(200).set_body_string(format!(r#"{{"success":true,"data":{data}}}"#))
    };
    let rows = [
        (
            "API-+213665983439-abc",
            "/v3/mobile/check-ref/API-%2B213665983439-abc",
            r#"{"_id":"1","ref":"API-+213665983439-abc","status":"PENDING"}"#,
            "PENDING",
        ),
        (
            "a b/c",
            "/v3/mobile/check-ref/a%20b%2Fc",
            r#"{"_id":"1","ref":"API-+213665983439-a b/c"}"#,
            "no status",
        ),
        ("abc", "/v3/mobile/check-ref/abc", r#"{"_id":"1","status":"PENDING"}"#, "PENDING"),
        ("abc", "/v3/mobile/check-ref/abc", r#"{"status":"PENDING"}"#, "unreadable data._id missing"),
        (
            "abc",
            "/v3/mobile/check-ref/abc",
            r#"{"_id":"1","ref":"API-+213665983439-abcd"}"#,
            "unreadable data.ref another order's ref",
        ),
    ];
    for (reference, asked, data, meaning) in rows {
        server.reset().await;
        Mock::given(path(asked)).respond_with(shows(data)).expect(1).mount(&server).await;
        let reference = Ref::try_from(reference.to_owned()).unwrap();
        let answer = vendor.check_ref(&the_key(), Product::Mobile, &reference).await;
        assert_eq!(in_short(&answer), meaning, "{asked} {data}");
    }
}

/// A certificate that nobody signed.
#[tokio::test]
async fn a_vendor_whose_certificate_is_not_trusted_is_not_asked() {
    let own = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let own_key = rustls::pki_types::PrivateKeyDer::try_from(own.signing_key.serialize_der()).unwrap();
    let tls = rustls::ServerConfig::builder_with_provider(rustls::crypto::ring::default_provider().into())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![own.cert.der().clone()], own_key)
        .unwrap();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base =
        Uri::try_from(format!("https://localhost:{}/v3", listener.local_addr().unwrap().port())).unwrap();
    let vendor = Vendor::new(crate::http::Http::new(&[]).unwrap(), base);
    let server = async {
        let (stream, _) = listener.accept().await.unwrap();
        tokio_rustls::TlsAcceptor::from(std::sync::Arc::new(tls)).accept(stream).await.is_err()
    };
    let (token, order) = (the_key(), key(Product::Mobile));
    let (refused, answer) = tokio::join!(server, vendor.check_id(&token, &order));
    assert_eq!(in_short(&answer), "unavailable no connection");
    assert!(refused, "the handshake must fail, and no key be sent");
}

#[tokio::test]
async fn a_pause_is_asked_for_in_seconds() {
    let server = answers(ResponseTemplate::new(429).insert_header("Retry-After", "7")).await;
    assert_eq!(in_short(&ask(&server, Product::Mobile).await), "throttled Some(7)");
}

#[tokio::test]
async fn it_asks_by_path_and_with_the_key() {
    let server = MockServer::start().await;
    let answer = include_str!("../../../../events/vendor/internet-fulfilled.json")
        .replace("6901616fe9e88196b4eb64b2", "6901616fe9e88196b4eb64b0");
    Mock::given(method("GET"))
        .and(path("/v3/internet/check-id/6901616fe9e88196b4eb64b0"))
        .and(header("X-Access-Token", "the-key"))
        .respond_with(ResponseTemplate::new(200).set_body_string(answer))
        .expect(1)
        .mount(&server)
        .await;
    let shown = ask(&server, Product::Internet).await.unwrap().order.unwrap();
    assert_eq!(shown.card_code.as_ref().map(ExposeSecret::expose_secret), Some("123456789012"));
    assert_eq!(shown.facts.num_trans.as_deref(), Some("AT-2025-12345"));
    assert!(!format!("{shown:?}").contains("123456789012"));
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let elsewhere = answers(ResponseTemplate::new(200)).await;
    let server =
        answers(ResponseTemplate::new(302).insert_header("Location", elsewhere.uri().as_str())).await;
    assert_eq!(in_short(&ask(&server, Product::Mobile).await), "unavailable HTTP 302");
    assert_eq!(elsewhere.received_requests().await.unwrap().len(), 0);
}

#[tokio::test]
async fn a_body_without_end_is_refused() {
    let server = answers(ResponseTemplate::new(200).set_body_bytes(vec![b' '; MOST_BODY + 1])).await;
    assert_eq!(in_short(&ask(&server, Product::Mobile).await), "unreadable . longer than 1024 KiB");
}

#[tokio::test]
async fn a_vendor_that_is_not_there_is_unavailable() {
    let base = Uri::try_from("http://127.0.0.1:9/v3").unwrap();
    let vendor = Vendor::new(crate::http::Http::new(&[]).unwrap(), base);
    assert_eq!(
        in_short(&vendor.check_id(&the_key(), &key(Product::Mobile)).await),
        "unavailable no connection"
    );
}

#[tokio::test]
async fn a_vendor_that_says_nothing_is_given_up() {
    let server = answers(ResponseTemplate::new(200).set_delay(CALL_TIMEOUT * 4)).await;
    let start = Instant::now();
    assert_eq!(in_short(&ask(&server, Product::Mobile).await), "unavailable no answer in time");
    assert!(start.elapsed() < CALL_TIMEOUT * 3);
}
