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

async fn get_within(timeout: Duration, http: &Http, to: &Uri) -> Result<Bytes, CallError> {
    let request = Request::get(to).body(Bytes::new()).unwrap();
    http.call(request, timeout, 10).await.map(Response::into_body)
}

#[tokio::test]
async fn calls_one_after_the_other_share_a_connection() {
    let (to, connections) = server(OK, true).await;
    let http = Http::new(&[]).unwrap();
    for _ in 0..3 {
        assert_eq!(get(&http, &to).await.unwrap(), "ok");
    }
    assert_eq!(connections.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn what_cannot_be_reached_is_no_connection() {
    let nobody = Uri::from_static("http://127.0.0.1:9/");
    assert_eq!(get(&Http::new(&[]).unwrap(), &nobody).await, Err(CallError::NoConnection));
}

/// The URL of a request is sent as it is, or not at all.
#[tokio::test]
async fn a_path_that_would_change_is_not_asked() {
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
        let timeout = Duration::from_millis(if expected == CallError::TimedOut { 200 } else { 30_000 });
        let got = get_within(timeout, &Http::new(&[]).unwrap(), &to).await;
        assert_eq!(got, Err(expected), "{answer:?}, kept: {keep}");
    }
}

/// A server's TLS for `localhost`, and the root that vouches for it.
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
async fn a_root_of_ones_own_is_trusted_and_only_when_named() {
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

/// What a server does with a request, or with a connection before there is one.
#[derive(Clone, Debug)]
enum Act {
    /// Answers, and keeps the connection.
    Answer(Vec<u8>),
    /// Answers when it is told to, and keeps the connection.
    AnswerWhenTold,
    /// Answers, and does this when it is told to.
    AnswerThen(Box<Act>),
    /// Answers with this and closes the connection.
    Last(&'static str),
    /// Closes with FIN.
    Close,
    /// Closes with RST.
    Reset,
    /// Says nothing more.
    Silence,
    /// Resets when it is told to.
    ResetWhenTold,
}

fn good() -> Act {
    Act::Answer(OK.into())
}

/// By number of the connection: what a server does with it at once.
type Greeting = fn(usize) -> Option<Act>;
/// By number of the connection and of the request on it: what a server does with the request.
type Script = fn(usize, usize) -> Act;

/// A server that follows a script. Connections and the requests on each are counted from 0.
struct Scripted {
    to: Uri,
    requests: Arc<AtomicUsize>,
    connections: Arc<AtomicUsize>,
    /// A word for each request that has come.
    came: mpsc::UnboundedReceiver<()>,
    told: Arc<Notify>,
}

impl Scripted {
    async fn start(script: Script) -> Self {
        Self::with_greeting(|_| None, script).await
    }

    /// `greeting` is what it does with a connection at once.
    async fn with_greeting(greeting: Greeting, script: Script) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let to = format!("http://{}/", listener.local_addr().unwrap()).parse().unwrap();
        let (came_in, came) = mpsc::unbounded_channel();
        let server =
            Self { to, requests: Arc::default(), connections: Arc::default(), came, told: Arc::default() };
        let (requests, connections, told) =
            (server.requests.clone(), server.connections.clone(), server.told.clone());
        tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let connection = connections.fetch_add(1, Ordering::SeqCst);
                let (requests, told, came_in) = (requests.clone(), told.clone(), came_in.clone());
                tokio::spawn(async move {
                    if let Some(act) = greeting(connection) {
                        return done(stream, act, &told).await.map_or((), drop);
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
                        let _ = came_in.send(());
                        let Some(kept) = done(stream, script(connection, nth), &told).await else { return };
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

/// `None`: the connection is gone.
async fn done(mut stream: TcpStream, act: Act, told: &Notify) -> Option<TcpStream> {
    match act {
        Act::Answer(answer) => {
            stream.write_all(&answer).await.ok()?;
            return Some(stream);
        }
        Act::AnswerWhenTold => {
            told.notified().await;
            stream.write_all(OK.as_bytes()).await.ok()?;
            return Some(stream);
        }
        Act::AnswerThen(then) => {
            stream.write_all(OK.as_bytes()).await.ok()?;
            told.notified().await;
            return Box::pin(done(stream, *then, told)).await;
        }
        Act::Last(answer) => stream.write_all(answer.as_bytes()).await.ok()?,
        Act::Close => {}
        Act::Reset => stream.set_zero_linger().unwrap(),
        Act::Silence => std::future::pending().await,
        Act::ResetWhenTold => {
            told.notified().await;
            stream.set_zero_linger().unwrap();
        }
    }
    None
}

fn question(to: &Uri) -> Request<()> {
    Request::get(to).body(()).unwrap()
}

async fn ask(http: &Http, to: &Uri) -> Result<Bytes, CallError> {
    http.ask(question(to), Duration::from_secs(30), 1000).await.map(Response::into_body)
}

/// Each connection answers once: whoever asks on it again finds it reset, or closed.
#[tokio::test]
async fn a_server_that_breaks_every_reused_connection_loses_no_call() {
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

/// Many calls at once leave connections in the pool, some of which were never asked anything; then all of them die.
#[tokio::test]
async fn calls_at_once_are_answered_too() {
    let server = Scripted::start(|_, nth| if nth == 0 { good() } else { Act::Reset }).await;
    let http = Http::new(&[]).unwrap();
    for _ in 0..20 {
        let before = server.requests();
        let answers = futures_util::future::join_all((0..8).map(|_| ask(&http, &server.to))).await;
        assert!(answers.iter().all(|answer| answer.as_ref().is_ok_and(|body| body == "ok")), "{answers:?}");
        assert!(server.requests() - before <= 16);
        // One by one: what a question is asked on again is not the next dead connection of the pool.
        assert_eq!(ask(&http, &server.to).await.unwrap(), "ok");
    }
}

#[tokio::test]
async fn it_is_asked_again_on_a_connection_that_is_new() {
    let mut server = Scripted::start(|connection, nth| match (connection, nth) {
        (0, 0) => Act::AnswerWhenTold,
        (1 | 2, 0) => good(),
        _ => Act::Reset,
    })
    .await;
    let http = Http::new(&[]).unwrap();
    // Two calls at once leave two connections in the pool.
    let (first, second) = tokio::join!(ask(&http, &server.to), async {
        server.came.recv().await.unwrap();
        let second = ask(&http, &server.to).await;
        server.told.notify_one();
        second
    });
    assert_eq!((first.unwrap(), second.unwrap()), (Bytes::from("ok"), Bytes::from("ok")));
    assert_eq!((server.requests(), server.connections()), (2, 2));
    assert_eq!(ask(&http, &server.to).await.unwrap(), "ok");
    assert_eq!((server.requests(), server.connections()), (4, 3));
}

/// Connections that end in each way while the pool keeps them.
#[tokio::test]
async fn a_kept_connection_that_is_gone_costs_no_call() {
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
        // How much the client has noticed before it asks is chance; more or less turns make it differ.
        for turns in 0..20 {
            let server = Scripted::start(script).await;
            let http = Http::new(&[]).unwrap();
            assert_eq!(ask(&http, &server.to).await.unwrap(), "ok");
            server.told.notify_one();
            for _ in 0..turns {
                tokio::task::yield_now().await;
            }
            let answer = ask(&http, &server.to).await;
            // The word that nobody asked for may be taken for the answer, by HTTP's own rules.
            let good = |body: &Bytes| body == "ok" || (row == 2 && body.is_empty());
            assert!(answer.as_ref().is_ok_and(good), "row {row}, {turns} turns: {answer:?}");
            assert!(server.requests() <= 3 && server.connections() <= 2, "row {row}, {turns} turns");
        }
    }
}

/// Two calls wait for connections of their own. The second takes the connection that the first has used, and its own goes to the pool
/// unused. For the second call the one is not new any more; for later calls the other is not new either.
#[tokio::test]
async fn a_connection_is_new_for_one_call() {
    let (acceptor, own) = localhost();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let to: Uri = format!("https://localhost:{}/", listener.local_addr().unwrap().port()).parse().unwrap();
    let requests = Arc::new(Mutex::new(Vec::new()));
    let (told, ready) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (seen, tell, is_ready) = (requests.clone(), told.clone(), ready.clone());
    tokio::spawn(async move {
        for number in 0.. {
            let (stream, _) = listener.accept().await.unwrap();
            let (acceptor, seen, told, ready) = (acceptor.clone(), seen.clone(), told.clone(), ready.clone());
            tokio::spawn(async move {
                if number == 1 {
                    told.notified().await;
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
                    seen.lock().unwrap().push(number);
                    let served = seen.lock().unwrap().iter().filter(|asked| **asked == number).count();
                    // The first connection breaks at its second request, and the second at its first.
                    if number + served == 2 && number < 2 {
                        stream.get_ref().0.set_zero_linger().unwrap();
                        return;
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
    tell.notify_one();
    is_ready.notified().await;
    // The client's side is ready before the server's; a moment, and the connection is in the pool.
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(ask(&http, &to).await.unwrap(), "ok");
    assert_eq!(*requests.lock().unwrap(), [0, 0, 2, 1, 3]);
}

#[tokio::test]
async fn what_breaks_on_a_new_connection_is_not_asked_again() {
    for way in [(|_, _| Act::Close) as Script, |_, _| Act::Reset] {
        let server = Scripted::start(way).await;
        assert_eq!(ask(&Http::new(&[]).unwrap(), &server.to).await, Err(CallError::Broken));
        assert_eq!((server.requests(), server.connections()), (1, 1));
    }
    // Not even if it was closed before anything was asked.
    for way in [(|_| Some(Act::Close)) as Greeting, |_| Some(Act::Reset)] {
        let server = Scripted::with_greeting(way, |_, _| good()).await;
        assert!(ask(&Http::new(&[]).unwrap(), &server.to).await.is_err());
        assert!(server.connections() <= 1);
    }
}

/// The second time it breaks it was a new connection.
#[tokio::test]
async fn it_is_asked_twice_at_most() {
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

/// A whole head, and the answer has begun. What cannot be parsed is an answer too.
#[tokio::test]
async fn half_an_answer_is_not_asked_for_again() {
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

/// hyper reports a connection that ends within a head as it reports one that ends before it: on a reused connection the question is
/// asked once more, on a new one it is not.
#[tokio::test]
async fn half_a_head_is_no_answer() {
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

/// The AWS SDKs repeat by themselves; and what is not a question may have been done.
#[tokio::test]
async fn nothing_else_is_repeated() {
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
async fn the_limit_of_time_holds_for_both_attempts() {
    let mut server = Scripted::start(|connection, nth| match (connection, nth) {
        (0, 0) => good(),
        (0, _) => Act::ResetWhenTold,
        _ => Act::Silence,
    })
    .await;
    let http = Http::new(&[]).unwrap();
    assert_eq!(ask(&http, &server.to).await.unwrap(), "ok");
    server.came.recv().await.unwrap();

    // The clock moves by hand only: it would move by itself if there were no blocking task.
    let (end, ended) = std::sync::mpsc::channel::<()>();
    let blocking = tokio::task::spawn_blocking(move || ended.recv());
    tokio::time::pause();
    let started = Instant::now();
    let question = question(&server.to);
    let call = tokio::spawn(async move { http.ask(question, Duration::from_secs(8), 10).await });
    server.came.recv().await.unwrap();
    tokio::time::advance(Duration::from_secs(5)).await;
    server.told.notify_one();
    server.came.recv().await.unwrap();
    assert_eq!(server.requests(), 3);
    tokio::time::advance(Duration::from_millis(2900)).await;
    assert!(!call.is_finished());
    tokio::time::advance(Duration::from_millis(200)).await;
    assert_eq!(call.await.unwrap().map(Response::into_body), Err(CallError::TimedOut));
    assert!(started.elapsed() < Duration::from_secs(9));
    drop(end);
    assert!(blocking.await.unwrap().is_err());
}

/// An answer of 200 with these lines in its head.
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
    let got = Http::new(&[]).unwrap().ask(question(&to), Duration::from_secs(30), most).await;
    assert!(server.await.unwrap().contains("accept-encoding: identity\r\n"));
    got
}

/// What browsers and curl pass over.
#[tokio::test]
async fn a_head_that_is_not_quite_right_is_read() {
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

fn spoiled(mut coded: Vec<u8>, from_end: usize) -> Vec<u8> {
    let at = coded.len() - from_end;
    coded[at] ^= 0x55;
    coded
}

fn joined(one: &[u8], other: &[u8]) -> Vec<u8> {
    [one, other].concat()
}

/// Codings, labels that are not true, and streams that are not whole.
#[tokio::test]
async fn a_body_is_decoded_though_it_was_not_asked_for() {
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
        // Without a label nothing is guessed.
        ("", gzip(JSON), Ok(gzip(JSON))),
        // Labels that are not true.
        ("Content-Encoding: gzip\r\n", JSON.to_vec(), plain()),
        ("Content-Encoding: gzip\r\n", with_mark.clone(), Ok(with_mark.clone())),
        ("Content-Encoding: gzip\r\n", b"\x1f".to_vec(), Ok(b"\x1f".to_vec())),
        ("Content-Encoding: gzip, gzip\r\n", gzip(JSON), plain()),
        ("Content-Encoding: deflate\r\n", JSON.to_vec(), plain()),
        ("Content-Encoding: br\r\n", with_mark.clone(), Ok(with_mark)),
        ("Content-Encoding: utf-8\r\n", JSON.to_vec(), plain()),
        // What cannot be decoded.
        ("Content-Encoding: zstd\r\n", zstd.clone(), Err(UNKNOWN)),
        ("Content-Encoding: br\r\n", b"\x0b\x02\x80ok\x03".to_vec(), Err(UNKNOWN)),
        ("Content-Encoding: zstd, gzip\r\n", gzip(&zstd), Err(UNKNOWN)),
        ("Content-Encoding: caf\u{e9}\r\n", zstd, Err(UNKNOWN)),
        ("Content-Encoding: gzip\r\n", b"\x1f\x8b".to_vec(), Err(GZIP)),
        ("Content-Encoding: gzip\r\n", cut(gzip(JSON), 1), Err(GZIP)),
        ("Content-Encoding: gzip\r\n", cut(gzip(JSON), 12), Err(GZIP)),
        ("Content-Encoding: gzip\r\n", spoiled(gzip(JSON), 5), Err(GZIP)),
        ("Content-Encoding: gzip\r\n", joined(&gzip(JSON), &cut(gzip(JSON), 9)), Err(GZIP)),
        ("Content-Encoding: deflate\r\n", cut(zlib(JSON), 1), Err(DEFLATE)),
        ("Content-Encoding: deflate\r\n", cut(zlib(JSON), 8), Err(DEFLATE)),
        ("Content-Encoding: deflate\r\n", spoiled(zlib(JSON), 1), Err(DEFLATE)),
        ("Content-Encoding: deflate\r\n", cut(bare(JSON), 3), Err(DEFLATE)),
        ("Content-Encoding: deflate\r\n", b"no deflate".to_vec(), Err(DEFLATE)),
    ];
    for (row, (label, body, expected)) in rows.into_iter().enumerate() {
        let got = answer_with(label.as_bytes(), &body, 1000).await;
        assert_eq!(got.map(|answer| answer.body().to_vec()), expected, "row {row}: {label:?}");
    }
}

/// The status says what is the matter, whatever became of the body.
#[tokio::test]
async fn a_refusal_that_cannot_be_decoded_is_one_without_a_body() {
    let answer = answer_of("429 Slow down", b"Content-Encoding: zstd\r\nRetry-After: 7\r\n", b"\x28\xb5", 10);
    let answer = answer.await.unwrap();
    assert_eq!((answer.status().as_u16(), answer.body().len()), (429, 0));
    assert_eq!(answer.headers().get(header::RETRY_AFTER).unwrap(), "7");
}

/// What is allowed is allowed decoded, to the byte; and what would come after it is not even read: the ends of these are spoiled.
#[tokio::test]
async fn a_bomb_is_not_inflated() {
    const MANY: usize = 20_000_000;
    let long = vec![b' '; MANY];
    let nested = gzip(&spoiled(gzip(&long), 5));
    let rows: [(&str, Vec<u8>); 5] = [
        ("gzip", spoiled(gzip(&long), 5)),
        ("gzip", joined(&gzip(&long[..600]), &spoiled(gzip(&long), 5))),
        ("gzip, gzip", nested),
        ("deflate", spoiled(zlib(&long), 1)),
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
