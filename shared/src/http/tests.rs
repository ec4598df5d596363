use std::{
    io::Write,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use flate2::{
    Compression,
    write::{DeflateEncoder, GzEncoder, ZlibEncoder},
};
use http::Uri;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::{Notify, mpsc},
    time::Instant,
};
use tokio_rustls::TlsAcceptor;

use super::*;

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

/// A server that answers each request with `answer`, then keeps or closes the connection. Returns its address and the
/// number of connections.
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

async fn get_within(timeout: Duration, http: &Http, to: &Uri) -> Result<Bytes, CallError> {
    let request = Request::get(to).body(Bytes::new()).unwrap();
    http.call(request, timeout, 10).await.map(Response::into_body)
}

#[tokio::test]
async fn sequential_calls_share_a_connection() {
    let (to, connections) = server(OK, true).await;
    let http = Http::new(&[]).unwrap();
    for _ in 0..3 {
        assert_eq!(get(&http, &to).await.unwrap(), "ok");
    }
    assert_eq!(connections.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_refused_connection_is_no_connection() {
    let closed_port = Uri::from_static("http://127.0.0.1:9/");
    assert_eq!(get(&Http::new(&[]).unwrap(), &closed_port).await, Err(CallError::NoConnection));
}

/// A request's path is sent unchanged or not at all.
#[tokio::test]
async fn a_path_that_url_parsing_would_change_is_not_sent() {
    let (to, connections) = server(OK, true).await;
    let http = Http::new(&[]).unwrap();
    for path in ["v3/..", "v3/.", "v3/../v4", "v3/%2e%2E", "v3/a\"b"] {
        let changed = format!("{to}{path}").parse().unwrap();
        assert_eq!(get(&http, &changed).await, Err(CallError::NoUrl), "{path}");
        assert_eq!(ask(&http, &changed).await, Err(CallError::NoUrl), "{path}");
    }
    assert_eq!(connections.load(Ordering::SeqCst), 0);
    for path in ["v3/...", "v3/.a", "v3/a%20b%2Fc%2B%D8%B4", "v3/?page=1&a=%2e", "v3/it's(1)*!,;:@"] {
        let same = format!("{to}{path}").parse().unwrap();
        assert_eq!(ask(&http, &same).await.unwrap(), "ok", "{path}");
    }
}

/// Each failure has its error, and no error contains the URL.
#[tokio::test]
async fn each_failure_has_its_error() {
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
        let timeout = Duration::from_millis(if expected == CallError::TimedOut { 200 } else { 30_000 });
        let got = get_within(timeout, &Http::new(&[]).unwrap(), &to).await;
        assert_eq!(got, Err(expected), "{answer:?}, kept: {keep}");
    }
}

/// TLS of a server for `localhost`, and the root certificate for it.
fn localhost() -> (TlsAcceptor, CertificateDer<'static>) {
    let own = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let own_key = rustls::pki_types::PrivateKeyDer::try_from(own.signing_key.serialize_der()).unwrap();
    let tls = rustls::ServerConfig::builder_with_provider(rustls::crypto::ring::default_provider().into())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![own.cert.der().clone()], own_key)
        .unwrap();
    (TlsAcceptor::from(Arc::new(tls)), own.cert.der().clone())
}

#[tokio::test]
async fn an_extra_root_is_trusted_only_when_given() {
    let (acceptor, own) = localhost();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let to: Uri = format!("https://localhost:{}/", listener.local_addr().unwrap().port()).parse().unwrap();
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
    assert_eq!(get(&Http::new(&[own]).unwrap(), &to).await.unwrap(), "ok");
}

/// What a scripted server does with a request, or with a new connection.
#[derive(Clone, Debug)]
enum Act {
    /// Answers and keeps the connection.
    Answer(Vec<u8>),
    /// Answers on a signal and keeps the connection.
    AnswerOnSignal,
    /// Answers, then does this on a signal.
    AnswerThen(Box<Act>),
    /// Answers with this text and closes the connection.
    Last(&'static str),
    /// Closes with FIN.
    Close,
    /// Closes with RST.
    Reset,
    /// Sends nothing more.
    Silence,
    /// Closes with RST on a signal.
    ResetOnSignal,
}

fn good() -> Act {
    Act::Answer(OK.into())
}

/// By connection number: what the server does when it accepts the connection.
type Greeting = fn(usize) -> Option<Act>;
/// By connection number and request number: what the server does with the request.
type Script = fn(usize, usize) -> Act;

/// A server that follows a script. Connections, and requests on each, are numbered from 0.
struct Scripted {
    to: Uri,
    requests: Arc<AtomicUsize>,
    connections: Arc<AtomicUsize>,
    /// One message per request received.
    received: mpsc::UnboundedReceiver<()>,
    signal: Arc<Notify>,
}

impl Scripted {
    async fn start(script: Script) -> Self {
        Self::with_greeting(|_| None, script).await
    }

    /// `greeting`: what the server does when it accepts a connection.
    async fn with_greeting(greeting: Greeting, script: Script) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let to = format!("http://{}/", listener.local_addr().unwrap()).parse().unwrap();
        let (received_sender, received) = mpsc::unbounded_channel();
        let server = Self {
            to,
            requests: Arc::default(),
            connections: Arc::default(),
            received,
            signal: Arc::default(),
        };
        let (requests, connections, signal) =
            (server.requests.clone(), server.connections.clone(), server.signal.clone());
        tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let connection = connections.fetch_add(1, Ordering::SeqCst);
                let (requests, signal, received_sender) =
                    (requests.clone(), signal.clone(), received_sender.clone());
                tokio::spawn(async move {
                    if let Some(act) = greeting(connection) {
                        return perform(stream, act, &signal).await.map_or((), drop);
                    }
                    for nth in 0.. {
                        let mut asked = Vec::new();
                        while !asked.ends_with(b"\r\n\r\n") {
                            if stream.read_buf(&mut asked).await.is_ok_and(|read| read > 0) {
                                continue;
                            }
                            return;
                        }
                        requests.fetch_add(1, Ordering::SeqCst);
                        let _ = received_sender.send(());
                        let Some(kept) = perform(stream, script(connection, nth), &signal).await else {
                            return;
                        };
                        stream = kept;
                    }
                });
            }
        });
        server
    }

    fn requests(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }

    fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

/// Carries out `act`. `None`: the connection is closed.
async fn perform(mut stream: TcpStream, act: Act, signal: &Notify) -> Option<TcpStream> {
    match act {
        Act::Answer(answer) => {
            stream.write_all(&answer).await.ok()?;
            return Some(stream);
        }
        Act::AnswerOnSignal => {
            signal.notified().await;
            stream.write_all(OK.as_bytes()).await.ok()?;
            return Some(stream);
        }
        Act::AnswerThen(then) => {
            stream.write_all(OK.as_bytes()).await.ok()?;
            signal.notified().await;
            return Box::pin(perform(stream, *then, signal)).await;
        }
        Act::Last(answer) => stream.write_all(answer.as_bytes()).await.ok()?,
        Act::Close => {}
        Act::Reset => stream.set_zero_linger().unwrap(),
        Act::Silence => std::future::pending().await,
        Act::ResetOnSignal => {
            signal.notified().await;
            stream.set_zero_linger().unwrap();
        }
    }
    None
}

fn get_request(to: &Uri) -> Request<()> {
    Request::get(to).body(()).unwrap()
}

async fn ask(http: &Http, to: &Uri) -> Result<Bytes, CallError> {
    http.ask(get_request(to), Duration::from_secs(30), 1000).await.map(Response::into_body)
}

/// Each connection answers once; a second request on it meets a reset or a close.
#[tokio::test]
async fn a_break_of_a_reused_connection_loses_no_call() {
    let ways: [Script; 2] = [
        |_, nth| if nth == 0 { good() } else { Act::Reset },
        |_, nth| if nth == 0 { good() } else { Act::Close },
    ];
    for way in ways {
        let server = Scripted::start(way).await;
        let http = Http::new(&[]).unwrap();
        let mut repeated = 0;
        for _ in 0..20 {
            let before = server.requests();
            assert_eq!(ask(&http, &server.to).await.unwrap(), "ok");
            let asked = server.requests() - before;
            assert!((1..=2).contains(&asked), "asked {asked} times");
            repeated += asked - 1;
        }
        assert!(repeated > 0, "no connection was reused");
    }
}

/// Concurrent calls leave connections in the pool, some of them never used; then all of them break.
#[tokio::test]
async fn concurrent_calls_are_answered_after_breaks() {
    let server = Scripted::start(|_, nth| if nth == 0 { good() } else { Act::Reset }).await;
    let http = Http::new(&[]).unwrap();
    for _ in 0..20 {
        let before = server.requests();
        let answers = futures_util::future::join_all((0..8).map(|_| ask(&http, &server.to))).await;
        assert!(answers.iter().all(|answer| answer.as_ref().is_ok_and(|body| body == "ok")), "{answers:?}");
        assert!(server.requests() - before <= 16);
        // A single call: its repeat must not use the next broken connection of the pool.
        assert_eq!(ask(&http, &server.to).await.unwrap(), "ok");
    }
}

#[tokio::test]
async fn a_request_is_repeated_on_a_new_connection() {
    let mut server = Scripted::start(|connection, nth| match (connection, nth) {
        (0, 0) => Act::AnswerOnSignal,
        (1 | 2, 0) => good(),
        _ => Act::Reset,
    })
    .await;
    let http = Http::new(&[]).unwrap();
    // Two concurrent calls leave two connections in the pool.
    let (first, second) = tokio::join!(ask(&http, &server.to), async {
        server.received.recv().await.unwrap();
        let second = ask(&http, &server.to).await;
        server.signal.notify_one();
        second
    });
    assert_eq!((first.unwrap(), second.unwrap()), (Bytes::from("ok"), Bytes::from("ok")));
    assert_eq!((server.requests(), server.connections()), (2, 2));
    assert_eq!(ask(&http, &server.to).await.unwrap(), "ok");
    assert_eq!((server.requests(), server.connections()), (4, 3));
}

/// Pooled connections that close in each possible way.
#[tokio::test]
async fn a_closed_pooled_connection_loses_no_call() {
    const LATE: &str = "HTTP/1.1 408 Late\r\ncontent-length: 0\r\n\r\n";
    fn then(act: Act) -> Act {
        Act::AnswerThen(Box::new(act))
    }
    let rows: [Script; 5] = [
        |connection, _| if connection == 0 { then(Act::Close) } else { good() },
        |connection, _| if connection == 0 { then(Act::Reset) } else { good() },
        |connection, _| if connection == 0 { then(Act::Last(LATE)) } else { good() },
        |connection, nth| if (connection, nth) == (0, 1) { Act::Close } else { good() },
        |connection, nth| if (connection, nth) == (0, 1) { Act::Reset } else { good() },
    ];
    for (row, script) in rows.into_iter().enumerate() {
        // It is a race how much of the close the client has processed before the call; the number of turns varies it.
        for turns in 0..20 {
            let server = Scripted::start(script).await;
            let http = Http::new(&[]).unwrap();
            assert_eq!(ask(&http, &server.to).await.unwrap(), "ok");
            server.signal.notify_one();
            for _ in 0..turns {
                tokio::task::yield_now().await;
            }
            let answer = ask(&http, &server.to).await;
            // The unrequested 408 may be taken for the answer, by HTTP's rules.
            let good = |body: &Bytes| body == "ok" || (row == 2 && body.is_empty());
            assert!(answer.as_ref().is_ok_and(good), "row {row}, {turns} turns: {answer:?}");
            assert!(server.requests() <= 3 && server.connections() <= 2, "row {row}, {turns} turns");
        }
    }
}

/// Two calls each open a connection. The second call takes the connection that the first has used, and its own goes
/// to the pool unused. For the second call the first connection is no longer new; for later calls the unused one is
/// not new either.
#[tokio::test]
async fn a_connection_is_new_for_one_call_only() {
    let (acceptor, own) = localhost();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let to: Uri = format!("https://localhost:{}/", listener.local_addr().unwrap().port()).parse().unwrap();
    let requests = Arc::new(Mutex::new(Vec::new()));
    let (signal, ready) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    // The first answer waits for the second connection: else the repeated call could be the second to connect.
    let both_connected = Arc::new(Notify::new());
    let (request_log, release, is_ready) = (requests.clone(), signal.clone(), ready.clone());
    tokio::spawn(async move {
        for number in 0.. {
            let (stream, _) = listener.accept().await.unwrap();
            let (acceptor, request_log, signal, ready) =
                (acceptor.clone(), request_log.clone(), signal.clone(), ready.clone());
            let both_connected = both_connected.clone();
            tokio::spawn(async move {
                if number == 1 {
                    both_connected.notify_one();
                    signal.notified().await;
                }
                let mut stream = acceptor.accept(stream).await.unwrap();
                if number == 1 {
                    ready.notify_one();
                }
                let mut asked = Vec::new();
                while stream.read_buf(&mut asked).await.is_ok_and(|read| read > 0) {
                    if !asked.ends_with(b"\r\n\r\n") {
                        continue;
                    }
                    asked.clear();
                    request_log.lock().unwrap().push(number);
                    let served = request_log.lock().unwrap().iter().filter(|asked| **asked == number).count();
                    // The first connection breaks at its second request, and the second at its first.
                    if number + served == 2 && number < 2 {
                        stream.get_ref().0.set_zero_linger().unwrap();
                        return;
                    }
                    if number == 0 {
                        both_connected.notified().await;
                    }
                    stream.write_all(OK.as_bytes()).await.unwrap();
                }
            });
        }
    });
    let http = Http::new(&[own]).unwrap();
    let (first, second) = tokio::join!(ask(&http, &to), ask(&http, &to));
    assert_eq!((first.unwrap(), second.unwrap()), (Bytes::from("ok"), Bytes::from("ok")));
    assert_eq!(*requests.lock().unwrap(), [0, 0, 2]);
    release.notify_one();
    is_ready.notified().await;
    // Until the second connection is in the pool, the third one answers.
    for _ in 0..10_000 {
        assert_eq!(ask(&http, &to).await.unwrap(), "ok");
        if requests.lock().unwrap().contains(&1) {
            break;
        }
    }
    let requests: Vec<_> =
        requests.lock().unwrap().iter().copied().skip_while(|number| *number != 1).collect();
    assert_eq!(requests, [1, 3]);
}

#[tokio::test]
async fn a_break_of_a_new_connection_is_not_repeated() {
    for way in [(|_, _| Act::Close) as Script, |_, _| Act::Reset] {
        let server = Scripted::start(way).await;
        assert_eq!(ask(&Http::new(&[]).unwrap(), &server.to).await, Err(CallError::Broken));
        assert_eq!((server.requests(), server.connections()), (1, 1));
    }
    // Also if it was closed before a request was sent.
    for way in [(|_| Some(Act::Close)) as Greeting, |_| Some(Act::Reset)] {
        let server = Scripted::with_greeting(way, |_, _| good()).await;
        assert!(ask(&Http::new(&[]).unwrap(), &server.to).await.is_err());
        assert!(server.connections() <= 1);
    }
}

/// The repeat uses a new connection, so its break is not repeated.
#[tokio::test]
async fn a_request_is_sent_at_most_twice() {
    let server = Scripted::start(|connection, nth| match (connection, nth) {
        (0, 0) => good(),
        _ => Act::Reset,
    })
    .await;
    let http = Http::new(&[]).unwrap();
    assert_eq!(ask(&http, &server.to).await.unwrap(), "ok");
    assert_eq!(ask(&http, &server.to).await, Err(CallError::Broken));
    assert_eq!((server.requests(), server.connections()), (3, 2));
}

/// After a complete head the answer has begun. An answer that cannot be parsed is an answer too.
#[tokio::test]
async fn a_truncated_answer_is_not_repeated() {
    let rows: [(Script, CallError); 3] = [
        (
            |_, nth| {
                if nth == 0 { good() } else { Act::Last("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n") }
            },
            CallError::CutOff,
        ),
        (
            |_, nth| {
                if nth == 0 { good() } else { Act::Last("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf") }
            },
            CallError::CutOff,
        ),
        (|_, nth| if nth == 0 { good() } else { Act::Last("no HTTP at all\r\n\r\n") }, CallError::Broken),
    ];
    for (script, expected) in rows {
        let server = Scripted::start(script).await;
        let http = Http::new(&[]).unwrap();
        assert_eq!(ask(&http, &server.to).await.unwrap(), "ok");
        assert_eq!(ask(&http, &server.to).await, Err(expected));
        assert_eq!((server.requests(), server.connections()), (2, 1), "{expected}");
    }
}

/// hyper reports a close within a head like a close before it: a request on a reused connection is repeated, on a new
/// one it is not.
#[tokio::test]
async fn a_truncated_head_counts_as_no_answer() {
    const HALF: [Act; 2] = [Act::Last("H"), Act::Last("HTTP/1.1 200 OK\r\ncontent-le")];
    let rows: [(Script, Script); 2] = [
        (
            |_, _| HALF[0].clone(),
            |connection, nth| if (connection, nth) == (0, 1) { HALF[0].clone() } else { good() },
        ),
        (
            |_, _| HALF[1].clone(),
            |connection, nth| if (connection, nth) == (0, 1) { HALF[1].clone() } else { good() },
        ),
    ];
    for (always, once_reused) in rows {
        let server = Scripted::start(always).await;
        assert_eq!(ask(&Http::new(&[]).unwrap(), &server.to).await, Err(CallError::Broken));
        assert_eq!((server.requests(), server.connections()), (1, 1));

        let server = Scripted::start(once_reused).await;
        let http = Http::new(&[]).unwrap();
        assert_eq!(ask(&http, &server.to).await.unwrap(), "ok");
        assert_eq!(ask(&http, &server.to).await.unwrap(), "ok");
        assert_eq!((server.requests(), server.connections()), (3, 2));
    }
}

/// AWS calls are retried by the SDKs, and an unsafe method may have taken effect.
#[tokio::test]
async fn aws_calls_and_unsafe_methods_are_not_repeated() {
    let script = |_, nth| if nth == 0 { good() } else { Act::Reset };
    let server = Scripted::start(script).await;
    let http = Http::new(&[]).unwrap();
    assert_eq!(get(&http, &server.to).await.unwrap(), "ok");
    assert_eq!(get(&http, &server.to).await, Err(CallError::Broken));
    assert_eq!(server.requests(), 2);

    assert_eq!(ask(&http, &server.to).await.unwrap(), "ok");
    let order = Request::post(&server.to).body(()).unwrap();
    assert_eq!(
        http.ask(order, Duration::from_secs(30), 10).await.map(Response::into_body),
        Err(CallError::Broken)
    );
    assert_eq!(server.requests(), 4);
}

#[tokio::test]
async fn one_timeout_covers_both_attempts() {
    let mut server = Scripted::start(|connection, nth| match (connection, nth) {
        (0, 0) => good(),
        (0, _) => Act::ResetOnSignal,
        _ => Act::Silence,
    })
    .await;
    let http = Http::new(&[]).unwrap();
    assert_eq!(ask(&http, &server.to).await.unwrap(), "ok");
    server.received.recv().await.unwrap();

    // Without a blocking task, tokio's paused clock would advance by itself.
    let (end, ended) = std::sync::mpsc::channel::<()>();
    let blocking = tokio::task::spawn_blocking(move || ended.recv());
    tokio::time::pause();
    let started = Instant::now();
    let request = get_request(&server.to);
    let call = tokio::spawn(async move { http.ask(request, Duration::from_secs(8), 10).await });
    server.received.recv().await.unwrap();
    tokio::time::advance(Duration::from_secs(5)).await;
    server.signal.notify_one();
    server.received.recv().await.unwrap();
    assert_eq!(server.requests(), 3);
    tokio::time::advance(Duration::from_millis(2900)).await;
    assert!(!call.is_finished());
    tokio::time::advance(Duration::from_millis(200)).await;
    assert_eq!(call.await.unwrap().map(Response::into_body), Err(CallError::TimedOut));
    assert!(started.elapsed() < Duration::from_secs(9));
    drop(end);
    assert!(blocking.await.unwrap().is_err());
}

/// The client's result for a 200 with these header lines.
async fn answer_with(lines: &[u8], body: &[u8], most: usize) -> Result<Response<Bytes>, CallError> {
    answer_of("200 OK", lines, body, most).await
}

async fn answer_of(
    status: &str,
    lines: &[u8],
    body: &[u8],
    most: usize,
) -> Result<Response<Bytes>, CallError> {
    let mut answer = format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\n", body.len()).into_bytes();
    answer.extend_from_slice(lines);
    answer.extend_from_slice(b"\r\n");
    answer.extend_from_slice(body);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let to = format!("http://{}/", listener.local_addr().unwrap()).parse().unwrap();
    let server = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut asked = Vec::new();
        while !asked.ends_with(b"\r\n\r\n") {
            assert!(stream.read_buf(&mut asked).await.unwrap() > 0);
        }
        stream.write_all(&answer).await.unwrap();
        String::from_utf8(asked).unwrap()
    });
    let got = Http::new(&[]).unwrap().ask(get_request(&to), Duration::from_secs(30), most).await;
    assert!(server.await.unwrap().contains("accept-encoding: identity\r\n"));
    got
}

/// Malformed headers that browsers and curl accept.
#[tokio::test]
async fn malformed_headers_are_accepted() {
    let rows: [&[u8]; 12] = [
        b"Set-Cookie: a=b\x01c\r\n",
        b"X-Powered-By : PHP\r\n",
        b"X-Powered-By\t: PHP\r\n",
        b"X-Long: a\r\n  folded\r\n\tline\r\n",
        b"X-Long:\r\n folded at once\r\n",
        b"X Name: with a space\r\n",
        b": no name\r\n",
        b"no colon at all\r\n",
        b"X-Latin: caf\xe9\r\n",
        b"X-Utf-8: \xd8\xb4\xd9\x83\r\n",
        b"X-N\xc3\xa4me: odd\r\n",
        b"X-Del: a\x7fb\r\n",
    ];
    for row in rows {
        let shown = row.escape_ascii().to_string();
        let mut lines = row.to_vec();
        lines.extend_from_slice(b"Retry-After: 7\r\n");
        let answer = answer_with(&lines, b"ok", 10).await.unwrap_or_else(|error| panic!("{shown}: {error}"));
        assert_eq!(answer.body(), "ok", "{shown}");
        assert_eq!(answer.headers().get(header::RETRY_AFTER).unwrap(), "7", "{shown}");
    }
}

type Decoded = Result<Vec<u8>, CallError>;

const JSON: &[u8] = br#"{"success":true}"#;

fn gzip(body: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(body).unwrap();
    encoder.finish().unwrap()
}

fn zlib(body: &[u8]) -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(body).unwrap();
    encoder.finish().unwrap()
}

fn bare(body: &[u8]) -> Vec<u8> {
    let mut encoder = DeflateEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(body).unwrap();
    encoder.finish().unwrap()
}

fn cut(mut coded: Vec<u8>, by: usize) -> Vec<u8> {
    coded.truncate(coded.len() - by);
    coded
}

fn corrupted(mut coded: Vec<u8>, from_end: usize) -> Vec<u8> {
    let at = coded.len() - from_end;
    coded[at] ^= 0x55;
    coded
}

fn joined(one: &[u8], other: &[u8]) -> Vec<u8> {
    [one, other].concat()
}

/// Codings, wrong labels, and truncated or corrupt streams.
#[tokio::test]
async fn an_unrequested_content_coding_is_decoded() {
    const UNKNOWN: CallError = CallError::Undecodable("unknown content coding");
    const GZIP: CallError = CallError::Undecodable("broken gzip");
    const DEFLATE: CallError = CallError::Undecodable("broken deflate");
    let plain = || Ok(JSON.to_vec());
    let zstd = b"\x28\xb5\x2f\xfd\x04\x00".to_vec();
    let with_mark = joined("\u{feff} ".as_bytes(), JSON);
    let rows: Vec<(&str, Vec<u8>, Decoded)> = vec![
        ("", JSON.to_vec(), plain()),
        ("Content-Encoding:\r\n", JSON.to_vec(), plain()),
        ("Content-Encoding: identity\r\n", JSON.to_vec(), plain()),
        ("Content-Encoding: gzip\r\n", gzip(JSON), plain()),
        ("Content-Encoding:  GZip \r\n", gzip(JSON), plain()),
        ("Content-Encoding: x-gzip\r\n", gzip(JSON), plain()),
        ("Content-Encoding: deflate\r\n", zlib(JSON), plain()),
        ("Content-Encoding: deflate\r\n", bare(JSON), plain()),
        ("Content-Encoding: deflate, gzip\r\n", gzip(&zlib(JSON)), plain()),
        ("Content-Encoding: deflate\r\nContent-Encoding: gzip\r\n", gzip(&bare(JSON)), plain()),
        ("Content-Encoding: gzip, identity,\r\n", gzip(JSON), plain()),
        ("Content-Encoding: gzip\r\n", joined(&gzip(&JSON[..7]), &gzip(&JSON[7..])), plain()),
        ("Content-Encoding: gzip\r\n", joined(&gzip(JSON), b"\0\0\0"), plain()),
        ("Content-Encoding: gzip\r\n", gzip(b""), Ok(Vec::new())),
        ("Content-Encoding: gzip\r\n", Vec::new(), Ok(Vec::new())),
        ("Content-Encoding: zstd\r\n", Vec::new(), Ok(Vec::new())),
        // Without a label, nothing is decoded.
        ("", gzip(JSON), Ok(gzip(JSON))),
        // Wrong labels.
        ("Content-Encoding: gzip\r\n", JSON.to_vec(), plain()),
        ("Content-Encoding: gzip\r\n", with_mark.clone(), Ok(with_mark.clone())),
        ("Content-Encoding: gzip\r\n", b"\x1f".to_vec(), Ok(b"\x1f".to_vec())),
        ("Content-Encoding: gzip, gzip\r\n", gzip(JSON), plain()),
        ("Content-Encoding: deflate\r\n", JSON.to_vec(), plain()),
        ("Content-Encoding: br\r\n", with_mark.clone(), Ok(with_mark)),
        ("Content-Encoding: utf-8\r\n", JSON.to_vec(), plain()),
        // Bodies that cannot be decoded.
        ("Content-Encoding: zstd\r\n", zstd.clone(), Err(UNKNOWN)),
        ("Content-Encoding: br\r\n", b"\x0b\x02\x80ok\x03".to_vec(), Err(UNKNOWN)),
        ("Content-Encoding: zstd, gzip\r\n", gzip(&zstd), Err(UNKNOWN)),
        ("Content-Encoding: caf\u{e9}\r\n", zstd, Err(UNKNOWN)),
        ("Content-Encoding: gzip\r\n", b"\x1f\x8b".to_vec(), Err(GZIP)),
        ("Content-Encoding: gzip\r\n", cut(gzip(JSON), 1), Err(GZIP)),
        ("Content-Encoding: gzip\r\n", cut(gzip(JSON), 12), Err(GZIP)),
        ("Content-Encoding: gzip\r\n", corrupted(gzip(JSON), 5), Err(GZIP)),
        ("Content-Encoding: gzip\r\n", joined(&gzip(JSON), &cut(gzip(JSON), 9)), Err(GZIP)),
        ("Content-Encoding: deflate\r\n", cut(zlib(JSON), 1), Err(DEFLATE)),
        ("Content-Encoding: deflate\r\n", cut(zlib(JSON), 8), Err(DEFLATE)),
        ("Content-Encoding: deflate\r\n", corrupted(zlib(JSON), 1), Err(DEFLATE)),
        ("Content-Encoding: deflate\r\n", cut(bare(JSON), 3), Err(DEFLATE)),
        ("Content-Encoding: deflate\r\n", b"no deflate".to_vec(), Err(DEFLATE)),
    ];
    for (row, (label, body, expected)) in rows.into_iter().enumerate() {
        let got = answer_with(label.as_bytes(), &body, 1000).await;
        assert_eq!(got.map(|answer| answer.body().to_vec()), expected, "row {row}: {label:?}");
    }
}

/// With an error status, an undecodable body is returned empty.
#[tokio::test]
async fn an_undecodable_error_response_has_an_empty_body() {
    let answer = answer_of("429 Slow down", b"Content-Encoding: zstd\r\nRetry-After: 7\r\n", b"\x28\xb5", 10);
    let answer = answer.await.unwrap();
    assert_eq!((answer.status().as_u16(), answer.body().len()), (429, 0));
    assert_eq!(answer.headers().get(header::RETRY_AFTER).unwrap(), "7");
}

/// The limit applies to the decoded body, to the byte. Nothing beyond it is decoded: the ends of these bodies are
/// corrupt.
#[tokio::test]
async fn decoding_stops_at_the_limit() {
    const MANY: usize = 20_000_000;
    let long = vec![b' '; MANY];
    let nested = gzip(&corrupted(gzip(&long), 5));
    let rows: [(&str, Vec<u8>); 5] = [
        ("gzip", corrupted(gzip(&long), 5)),
        ("gzip", joined(&gzip(&long[..600]), &corrupted(gzip(&long), 5))),
        ("gzip, gzip", nested),
        ("deflate", corrupted(zlib(&long), 1)),
        ("deflate", cut(bare(&long), 3)),
    ];
    for (coding, bomb) in rows {
        let most = bomb.len();
        assert!(most < MANY / 500);
        let label = format!("Content-Encoding: {coding}\r\n");
        let got = answer_with(label.as_bytes(), &bomb, most).await.map(|answer| answer.body().len());
        assert_eq!(got, Err(CallError::TooLong), "{coding}");
    }
    for (coding, code) in [("gzip", gzip as fn(&[u8]) -> Vec<u8>), ("deflate", zlib), ("deflate", bare)] {
        let label = format!("Content-Encoding: {coding}\r\n");
        for (length, expected) in [(1000, Ok(1000)), (1001, Err(CallError::TooLong))] {
            let body = code(&long[..length]);
            let got = answer_with(label.as_bytes(), &body, 1000).await.map(|answer| answer.body().len());
            assert_eq!(got, expected, "{coding}");
        }
    }
}
