use std::time::Instant;

use wiremock::{
    Mock, MockServer, ResponseTemplate,
    matchers::{header, method, path},
};

use secrecy::SecretString;

use super::*;
use crate::{order::Trouble, rate_limiter::Verdict};

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
        Err(VendorError::Unavailable { what, retry_after: None }) => format!("unavailable {what}"),
        Err(VendorError::Unavailable { what, retry_after: Some(wait) }) => {
            format!("unavailable {what} for {}", wait.as_secs())
        }
        Err(VendorError::Unreadable { path, what }) => format!("unreadable {path} {what}"),
    }
}

/// One row per status and code: the result for the caller.
#[tokio::test]
async fn every_answer_has_its_meaning() {
    let refusal = |code: &str| {
        format!(r#"{{"success":false,"error":{{"code":"{code}","message":"m"}},"requestId":"r"}}"#)
    };
    let gateway = r#"{"message":"Cannot GET","error":"Not Found","statusCode":404}"#.to_owned();
    let order = |data: &str| format!(r#"{{"success":true,"data":{data}}}"#);
    let rows = [
        (200, order(r#"{"_id":"6901616fe9e88196b4eb64b0","status":"HANDLING"}"#), "HANDLING"),
        (200, order(r#"{"_id":"6901616FE9E88196B4EB64B0","status":"FULFILLED"}"#), "FULFILLED"),
        (200, order(r#"{"status":"FULFILLED"}"#), "unreadable data._id missing"),
        (200, order("{}"), "unreadable data._id missing"),
        (200, order(r#"{"_id":"6901616fe9e88196b4eb64b0"}"#), "unreadable data.status missing"),
        (
            200,
            order(r#"{"_id":"anotherorder","status":"REFUNDED"}"#),
            "unreadable data._id another order's id",
        ),
        (
            200,
            order(&format!(
                r#"{{"_id":"6901616fe9e88196b4eb64b0","status":"REFUNDED","refund_message":"{}"}}"#,
                "x".repeat(200_000)
            )),
            "REFUNDED",
        ),
        (
            200,
            order(&format!(
                r#"{{"_id":"6901616fe9e88196b4eb64b0","status":"REFUNDED","unknown":"{}"}}"#,
                "x".repeat(200_000)
            )),
            "REFUNDED",
        ),
        (
            200,
            format!("\u{feff}{}", order(r#"{"_id":"6901616fe9e88196b4eb64b0","status":"FULFILLED"}"#)),
            "FULFILLED",
        ),
        (200, r#"{"success":true}"#.to_owned(), "unreadable data missing"),
        (200, refusal("NOT_FOUND"), "not found"),
        (403, refusal("INVALID_ACCESS_TOKEN"), "key refused INVALID_ACCESS_TOKEN"),
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
fn an_error_gives_a_verdict_on_the_key_and_the_order() {
    let read = |http, code: &str| {
        let body = format!(r#"{{"success":false,"error":{{"code":"{code}","message":"m"}}}}"#);
        read_answer(
            Product::Mobile,
            StatusCode::from_u16(http).unwrap(),
            Some(Duration::from_secs(7)),
            body.as_bytes(),
        )
    };
    let refused = |code: &str| Verdict::Refused(code.to_owned());
    let throttled = Verdict::Throttled(Some(Duration::from_secs(7)));
    for (http, code, verdict, trouble) in [
        (401, "INVALID_ACCESS_TOKEN", refused("INVALID_ACCESS_TOKEN"), None),
        (403, "INVALID_ACCESS_TOKEN", refused("INVALID_ACCESS_TOKEN"), None),
        (400, "ERR_AUTH", refused("ERR_AUTH"), None),
        (200, "IP_BLOCKED", refused("IP_BLOCKED"), None),
        (403, "IP_NOT_ALLOWED", refused("IP_NOT_ALLOWED"), None),
        (403, "API_DISABLED", refused("API_DISABLED"), None),
        (403, "DUPLICATED_REF", Verdict::Accepted, Some(Trouble::Rejected)),
        (400, "ERR_VALIDATION", Verdict::Accepted, Some(Trouble::Rejected)),
        (404, "NOT_FOUND", Verdict::Accepted, None),
        // An undocumented code may be about the key, or come from a gateway.
        (403, "READ_ONLY", Verdict::Silent, Some(Trouble::Rejected)),
        (403, "", Verdict::Silent, Some(Trouble::Rejected)),
        (400, "", Verdict::Silent, Some(Trouble::Rejected)),
        (200, "NEW", Verdict::Silent, Some(Trouble::Unreadable)),
        (429, "RATE_LIMIT_EXCEEDED", throttled.clone(), None),
        (200, "RATE_LIMIT_EXCEEDED", throttled.clone(), None),
        (500, "INTERNAL_ERROR", Verdict::Silent, None),
        // The vendor says how long it is unavailable.
        (503, "SERVICE_UNAVAILABLE", throttled.clone(), None),
        // The vendor's key service is unavailable: this is no refusal.
        (503, "AUTH_UNAVAILABLE", throttled, None),
    ] {
        let answer = read(http, code);
        let about_key = answer.as_ref().map_or_else(|error| error.verdict(), |_| Verdict::Accepted);
        let about_order = answer.as_ref().err().and_then(VendorError::trouble);
        assert_eq!((about_key, about_order), (verdict, trouble), "{http} {code}");
    }
}

#[tokio::test]
async fn a_lookup_by_ref_encodes_it_and_joins_on_the_id() {
    let server = MockServer::start().await;
    let vendor = Vendor::new(
        crate::http::Http::new(&[]).unwrap(),
        format!("{}/v3", server.uri()).parse::<Uri>().unwrap(),
    );
    let shows = |data: &str| {
        ResponseTemplate::new(200).set_body_string(format!(r#"{{"success":true,"data":{data}}}"#))
    };
    // Reference asked for, reference wanted, path, data shown, result.
    let rows = [
        (
            "API-+213665983439-abc",
            "API-+213665983439-abc",
            "/v3/mobile/check-ref/API-%2B213665983439-abc",
            r#"{"_id":"1","ref":"API-+213665983439-abc","status":"PENDING"}"#,
            "PENDING",
        ),
        (
            "a b/c",
            "a b/c",
            "/v3/mobile/check-ref/a%20b%2Fc",
            r#"{"_id":"1","ref":"API-+213665983439-a b/c","status":"PENDING"}"#,
            "PENDING",
        ),
        (
            "12345",
            "12345",
            "/v3/mobile/check-ref/12345",
            r#"{"_id":"1","ref":12345,"status":"PENDING"}"#,
            "PENDING",
        ),
        (
            "abc",
            "abc",
            "/v3/mobile/check-ref/abc",
            r#"{"_id":"1","status":"PENDING"}"#,
            "unreadable data.ref missing",
        ),
        (
            "abc",
            "abc",
            "/v3/mobile/check-ref/abc",
            r#"{"ref":"abc","status":"PENDING"}"#,
            "unreadable data._id missing",
        ),
        (
            "abc",
            "abc",
            "/v3/mobile/check-ref/abc",
            r#"{"_id":"1","ref":"API-+213665983439-abcd","status":"PENDING"}"#,
            "unreadable data.ref another order's ref",
        ),
        // Asked for without the prefix that the merchant gave: the order shown must have that prefix.
        (
            "abc",
            "API-+213665983439-abc",
            "/v3/mobile/check-ref/abc",
            r#"{"_id":"1","ref":"API-+213665983439-abc","status":"PENDING"}"#,
            "PENDING",
        ),
        (
            "abc",
            "API-+213665983439-abc",
            "/v3/mobile/check-ref/abc",
            r#"{"_id":"1","ref":"API-+213222222222-abc","status":"PENDING"}"#,
            "unreadable data.ref another order's ref",
        ),
    ];
    for (asked, wanted, asked_path, data, meaning) in rows {
        server.reset().await;
        Mock::given(path(asked_path)).respond_with(shows(data)).expect(1).mount(&server).await;
        let [asked, wanted] = [asked, wanted].map(|text| Ref::try_from(text.to_owned()).unwrap());
        let answer = vendor.check_ref(&the_key(), Product::Mobile, &asked, &wanted).await;
        assert_eq!(in_short(&answer), meaning, "{asked_path} {data}");
    }
}

/// A self-signed certificate.
#[tokio::test]
async fn no_key_is_sent_to_a_vendor_with_an_untrusted_certificate() {
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
    assert!(refused, "the handshake must fail before a key is sent");
}

#[tokio::test]
async fn a_429_carries_retry_after_in_seconds() {
    let server = answers(ResponseTemplate::new(429).insert_header("Retry-After", "7")).await;
    assert_eq!(in_short(&ask(&server, Product::Mobile).await), "throttled Some(7)");
}

#[tokio::test]
async fn a_check_sends_the_path_and_the_key() {
    let server = MockServer::start().await;
    let answer = include_str!("../../../../events/vendor/internet-fulfilled.json")
        .replace("6901616fe9e88196b4eb64b2", "6901616fe9e88196b4eb64b0");
    Mock::given(method("GET"))
        .and(path("/v3/internet/check-id/6901616fe9e88196b4eb64b0"))
        .and(header("X-Access-Token", "the-key"))
        .and(header("User-Agent", concat!("topup-tracker/", env!("CARGO_PKG_VERSION"))))
        .and(header("Accept-Encoding", "identity"))
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
async fn a_body_above_the_limit_is_refused() {
    let server = answers(ResponseTemplate::new(200).set_body_bytes(vec![b' '; MAX_BODY + 1])).await;
    assert_eq!(in_short(&ask(&server, Product::Mobile).await), "unreadable . longer than 1024 KiB");
}

/// With an error status, an undecodable body does not matter.
#[tokio::test]
async fn an_unrequested_content_coding_is_decoded_or_reported() {
    let order = br#"{"success":true,"data":{"_id":"6901616fe9e88196b4eb64b0","status":"FULFILLED"}}"#;
    let gzip = {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        std::io::Write::write_all(&mut encoder, order).unwrap();
        encoder.finish().unwrap()
    };
    let cut = gzip[..gzip.len() - 9].to_vec();
    let unknown = b"\x28\xb5\x2f\xfd".to_vec();
    let rows = [
        (200, "gzip", gzip, "FULFILLED"),
        (200, "gzip", cut.clone(), "unreadable . broken gzip"),
        (200, "zstd", unknown.clone(), "unreadable . unknown content coding"),
        (503, "gzip", cut, "unavailable HTTP 503 for 7"),
        (429, "zstd", unknown, "throttled Some(7)"),
    ];
    for (status, coding, body, expected) in rows {
        let answer = ResponseTemplate::new(status)
            .insert_header("Content-Encoding", coding)
            .insert_header("Retry-After", "7")
            .set_body_bytes(body);
        assert_eq!(
            in_short(&ask(&answers(answer).await, Product::Mobile).await),
            expected,
            "{status} {coding}"
        );
    }
}

#[tokio::test]
async fn a_refused_connection_is_unavailable() {
    let base = Uri::try_from("http://127.0.0.1:9/v3").unwrap();
    let vendor = Vendor::new(crate::http::Http::new(&[]).unwrap(), base);
    assert_eq!(
        in_short(&vendor.check_id(&the_key(), &key(Product::Mobile)).await),
        "unavailable no connection"
    );
}

#[tokio::test]
async fn a_call_without_a_response_times_out() {
    let server = answers(ResponseTemplate::new(200).set_delay(CALL_TIMEOUT * 4)).await;
    let start = Instant::now();
    assert_eq!(in_short(&ask(&server, Product::Mobile).await), "unavailable no answer in time");
    assert!(start.elapsed() < CALL_TIMEOUT * 3);
}
