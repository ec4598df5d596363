use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};

use super::*;

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

/// Answers each request on each connection with `answer`, then keeps the connection, or closes it; counts the connections.
async fn server(answer: &'static str, keep: bool) -> (Uri, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}/", listener.local_addr().unwrap()).parse().unwrap();
    let connections = Arc::new(AtomicUsize::new(0));
    let counted = connections.clone();
    tokio::spawn(async move {
        loop {
            let (mut connection, _) = listener.accept().await.unwrap();
            counted.fetch_add(1, Ordering::SeqCst);
            tokio::spawn(async move {
                let mut asked = Vec::new();
                while connection.read_buf(&mut asked).await.is_ok_and(|read| read > 0) {
                    if asked.ends_with(b"\r\n\r\n") {
                        asked.clear();
                        connection.write_all(answer.as_bytes()).await.unwrap();
                        if !keep {
                            return;
                        }
                    }
                }
            });
        }
    });
    (address, connections)
}

async fn get(http: &Http, to: &Uri) -> Result<Bytes, CallError> {
    get_within(Duration::from_secs(30), http, to).await
}

async fn get_within(patience: Duration, http: &Http, to: &Uri) -> Result<Bytes, CallError> {
    let request = Request::get(to).body(Bytes::new()).unwrap();
    http.call(request, patience, 10).await.map(Response::into_body)
}

#[tokio::test]
async fn a_connection_made_ahead_is_the_one_that_is_used() {
    let (to, connections) = server(OK, true).await;
    let http = Http::new(&[]).unwrap();
    http.connect_ahead(&to).await.unwrap();
    for _ in 0..3 {
        assert_eq!(get(&http, &to).await.unwrap(), "ok");
    }
    assert_eq!(connections.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_connection_made_long_ago_is_not_used() {
    let (to, connections) = server(OK, true).await;
    let http = Http::new(&[]).unwrap();
    http.connect_ahead(&to).await.unwrap();
    tokio::time::pause();
    tokio::time::advance(AHEAD_FOR).await;
    tokio::time::resume();
    assert_eq!(get(&http, &to).await.unwrap(), "ok");
    assert_eq!(connections.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn what_cannot_be_reached_ahead_is_no_harm() {
    let http = Http::new(&[]).unwrap();
    let nobody = Uri::from_static("http://127.0.0.1:9/");
    assert_eq!(http.connect_ahead(&nobody).await, Err(CallError::NoConnection));
    assert_eq!(get(&http, &nobody).await, Err(CallError::NoConnection));
}

/// Each way in which there is no answer has a name, and none says where the call went.
#[tokio::test]
async fn what_goes_wrong_has_a_name() {
    let rows = [
        ("", true, CallError::TimedOut),
        ("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf", true, CallError::TimedOut),
        ("", false, CallError::Broken),
        ("no HTTP at all\r\n\r\n", false, CallError::Broken),
        ("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf", false, CallError::CutOff),
        ("HTTP/1.1 200 OK\r\ncontent-length: 11\r\n\r\n12345678901", true, CallError::TooLong),
    ];
    for (answer, keep, expected) in rows {
        let (to, _) = server(answer, keep).await;
        let patience = Duration::from_millis(if expected == CallError::TimedOut { 200 } else { 30_000 });
        let got = get_within(patience, &Http::new(&[]).unwrap(), &to).await;
        assert_eq!(got, Err(expected), "{answer:?}, kept: {keep}");
    }
}

#[tokio::test]
async fn a_root_of_ones_own_is_trusted_and_only_when_named() {
    let own = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let own_key = rustls::pki_types::PrivateKeyDer::try_from(own.signing_key.serialize_der()).unwrap();
    let tls = rustls::ServerConfig::builder_with_provider(rustls::crypto::ring::default_provider().into())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![own.cert.der().clone()], own_key)
        .unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let to: Uri = format!("https://localhost:{}/", listener.local_addr().unwrap().port()).parse().unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(tls));
    tokio::spawn(async move {
        loop {
            let (connection, _) = listener.accept().await.unwrap();
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let Ok(mut connection) = acceptor.accept(connection).await else { return };
                let mut asked = [0; 1024];
                if connection.read(&mut asked).await.is_ok() {
                    connection.write_all(OK.as_bytes()).await.unwrap();
                }
            });
        }
    });
    assert_eq!(get(&Http::new(&[]).unwrap(), &to).await, Err(CallError::NoConnection));
    assert_eq!(get(&Http::new(&[own.cert.der().clone()]).unwrap(), &to).await.unwrap(), "ok");
}

/// How a server ends a connection that has answered once.
#[derive(Clone, Copy, Debug)]
enum End {
    /// With a FIN when the next request has come.
    Fin,
    /// With a reset when the next request has come.
    Reset,
}

/// Answers the first request of each connection and ends it at the second; counts connections and requests.
async fn forgetful_server(end: End) -> (Uri, Arc<AtomicUsize>, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}/", listener.local_addr().unwrap()).parse().unwrap();
    let (connections, requests) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (counted, asked) = (connections.clone(), requests.clone());
    tokio::spawn(async move {
        loop {
            let (mut connection, _) = listener.accept().await.unwrap();
            counted.fetch_add(1, Ordering::SeqCst);
            let asked = asked.clone();
            tokio::spawn(async move {
                read_request(&mut connection).await;
                asked.fetch_add(1, Ordering::SeqCst);
                connection.write_all(OK.as_bytes()).await.unwrap();
                read_request(&mut connection).await;
                asked.fetch_add(1, Ordering::SeqCst);
                if matches!(end, End::Reset) {
                    connection.set_zero_linger().unwrap();
                }
            });
        }
    });
    (address, connections, requests)
}

async fn read_request(connection: &mut tokio::net::TcpStream) {
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") && connection.read_buf(&mut request).await.unwrap() > 0 {}
}

async fn ask(http: &Http, to: &Uri) -> Result<Bytes, CallError> {
    let question = Request::get(to).body(()).unwrap();
    http.ask(question, Duration::from_secs(30), 100).await.map(Response::into_body)
}

#[tokio::test]
async fn a_question_on_a_connection_that_was_closed_meanwhile_is_asked_once_more() {
    for end in [End::Fin, End::Reset] {
        let (to, connections, requests) = forgetful_server(end).await;
        let http = Http::new(&[]).unwrap();
        for call in 0..20 {
            assert_eq!(ask(&http, &to).await.unwrap(), "ok", "{end:?}, call {call}");
        }
        let (connections, requests) = (connections.load(Ordering::SeqCst), requests.load(Ordering::SeqCst));
        assert!(
            connections <= 20 && requests <= 40,
            "{end:?}: {connections} connections, {requests} requests"
        );
    }
}

#[tokio::test]
async fn several_stale_connections_cost_one_question_each() {
    let (to, _, _) = forgetful_server(End::Reset).await;
    let http = Http::new(&[]).unwrap();
    for _ in 0..3 {
        let all = futures_util::future::join_all((0..8).map(|_| ask(&http, &to))).await;
        assert!(all.iter().all(Result::is_ok), "{all:?}");
    }
}

/// Reads a request, says `answer`, and resets the connection; counts the requests.
async fn breaking_server(answer: &'static str) -> (Uri, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}/", listener.local_addr().unwrap()).parse().unwrap();
    let requests = Arc::new(AtomicUsize::new(0));
    let asked = requests.clone();
    tokio::spawn(async move {
        loop {
            let (mut connection, _) = listener.accept().await.unwrap();
            read_request(&mut connection).await;
            asked.fetch_add(1, Ordering::SeqCst);
            connection.write_all(answer.as_bytes()).await.unwrap();
        }
    });
    (address, requests)
}

#[tokio::test]
async fn what_breaks_on_a_fresh_connection_or_after_the_answer_began_is_not_asked_again() {
    for (answer, error) in [
        ("", CallError::Broken),
        ("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\no", CallError::CutOff),
        ("220 smtp.example\r\n\r\n", CallError::Broken),
    ] {
        let (to, requests) = breaking_server(answer).await;
        assert_eq!(ask(&Http::new(&[]).unwrap(), &to).await, Err(error), "{answer:?}");
        assert_eq!(requests.load(Ordering::SeqCst), 1, "{answer:?}");
    }
}

#[tokio::test]
async fn a_connection_made_ahead_that_was_closed_is_replaced() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let to: Uri = format!("http://{}/", listener.local_addr().unwrap()).parse().unwrap();
    tokio::spawn(async move {
        let (mut ahead, _) = listener.accept().await.unwrap();
        read_request(&mut ahead).await;
        ahead.set_zero_linger().unwrap();
        drop(ahead);
        let (mut fresh, _) = listener.accept().await.unwrap();
        read_request(&mut fresh).await;
        fresh.write_all(OK.as_bytes()).await.unwrap();
    });
    let http = Http::new(&[]).unwrap();
    http.connect_ahead(&to).await.unwrap();
    assert_eq!(ask(&http, &to).await.unwrap(), "ok");
}

#[tokio::test]
async fn aws_calls_are_left_to_the_sdk_to_repeat() {
    let (to, _, _) = forgetful_server(End::Reset).await;
    let http = Http::new(&[]).unwrap();
    assert_eq!(get(&http, &to).await.unwrap(), "ok");
    assert_eq!(get(&http, &to).await, Err(CallError::Stale));
}

#[tokio::test(start_paused = true)]
async fn both_attempts_together_have_the_time_of_one() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let to: Uri = format!("http://{}/", listener.local_addr().unwrap()).parse().unwrap();
    let server = tokio::spawn(async move {
        let (mut first, _) = listener.accept().await.unwrap();
        read_request(&mut first).await;
        first.write_all(OK.as_bytes()).await.unwrap();
        read_request(&mut first).await;
        drop(first);
        // The second connection never gets an answer.
        let (mut second, _) = listener.accept().await.unwrap();
        read_request(&mut second).await;
        std::future::pending::<()>().await;
    });
    let http = Http::new(&[]).unwrap();
    ask(&http, &to).await.unwrap();
    let began = Instant::now();
    let question = Request::get(&to).body(()).unwrap();
    let answer = http.ask(question, Duration::from_secs(8), 100).await;
    assert_eq!(answer.map(Response::into_body), Err(CallError::TimedOut));
    assert!(began.elapsed() < Duration::from_secs(9), "{:?}", began.elapsed());
    server.abort();
}

#[tokio::test]
async fn headers_that_browsers_put_up_with_are_put_up_with() {
    for headers in [
        "Set-Cookie: a=b\u{1}c",
        "X-Powered-By : PHP/8.3",
        "X-Long: one\r\n  two",
        "no header at all",
        "X-\u{e9}: caf\u{e9}",
        ": nothing",
    ] {
        let answer = format!("HTTP/1.1 200 OK\r\n{headers}\r\ncontent-length: 2\r\n\r\nok");
        let (to, _) = server(Box::leak(answer.into_boxed_str()), true).await;
        assert_eq!(ask(&Http::new(&[]).unwrap(), &to).await.unwrap(), "ok", "{headers:?}");
    }
}

fn gzip(text: &[u8]) -> Vec<u8> {
    use std::io::Write;
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(text).unwrap();
    encoder.finish().unwrap()
}

fn zlib(text: &[u8]) -> Vec<u8> {
    use std::io::Write;
    let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(text).unwrap();
    encoder.finish().unwrap()
}

fn deflate(text: &[u8]) -> Vec<u8> {
    use std::io::Write;
    let mut encoder = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(text).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn compressed_bodies_are_decoded_within_their_limit() {
    let plain: &'static [u8] = br#"{"success":true,"data":{}}"#;
    let bomb = vec![b' '; 10_000_000];
    let cut = |bytes: Vec<u8>| bytes[..bytes.len() - 9].to_vec();
    let twice = [gzip(&plain[..10]), gzip(&plain[10..])].concat();
    type Row = (&'static str, Vec<u8>, Result<&'static [u8], CallError>);
    let rows: [Row; 16] = [
        ("", plain.to_vec(), Ok(plain)),
        ("identity", plain.to_vec(), Ok(plain)),
        ("gzip", gzip(plain), Ok(plain)),
        (" GZIP ", gzip(plain), Ok(plain)),
        ("x-gzip", twice, Ok(plain)),
        ("gzip", plain.to_vec(), Ok(plain)),
        ("gzip", Vec::new(), Ok(b"")),
        ("deflate", zlib(plain), Ok(plain)),
        ("deflate", deflate(plain), Ok(plain)),
        ("gzip", cut(gzip(plain)), Err(CallError::Undecodable)),
        ("deflate", cut(zlib(plain)), Err(CallError::Undecodable)),
        ("gzip", gzip(&bomb), Err(CallError::TooLong)),
        ("deflate", zlib(&bomb), Err(CallError::TooLong)),
        ("br", plain.to_vec(), Err(CallError::Undecodable)),
        ("gzip, gzip", gzip(&gzip(plain)), Err(CallError::Undecodable)),
        ("zstd", gzip(plain), Err(CallError::Undecodable)),
    ];
    for (coding, body, expected) in rows {
        let mut answer = Response::new(Bytes::from(body));
        if !coding.is_empty() {
            answer.headers_mut().insert(header::CONTENT_ENCODING, coding.parse().unwrap());
        }
        let found = decoded(answer, 1000).map(Response::into_body);
        assert_eq!(found.as_deref(), expected.as_ref().copied(), "{coding}");
    }
}
