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
