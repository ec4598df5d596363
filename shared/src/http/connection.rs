//! A connection that knows what has come and gone on it: whether a call that broke may be asked again.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
};

use hyper_rustls::MaybeHttpsStream;
use hyper_util::{
    client::legacy::connect::{Connected, Connection},
    rt::TokioIo,
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};

/// What `hyper-rustls` makes.
pub(super) type Plain = MaybeHttpsStream<TokioIo<TcpStream>>;

/// What has happened on one connection. Its clones speak of the same one.
#[derive(Clone, Debug)]
pub(super) struct Life(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    number: u64,
    /// A request was sent on it before the present one.
    used: AtomicBool,
    /// Something has come since the last request was begun.
    heard: AtomicBool,
}

impl Life {
    /// Connections are numbered in the order in which they are made.
    pub(super) fn new(number: u64) -> Self {
        Self(Arc::new(Inner { number, used: AtomicBool::new(false), heard: AtomicBool::new(false) }))
    }

    /// It was there before connection `next` was made, or has carried another request since.
    pub(super) fn was_there_before(&self, next: u64) -> bool {
        self.0.number < next || self.0.used.load(Ordering::Relaxed)
    }

    /// An answer to the present request has begun: a byte of it has come.
    pub(super) fn has_answered(&self) -> bool {
        self.0.heard.load(Ordering::Relaxed)
    }

    /// HTTP/1.1 without pipelining: what is written after something was read begins another request.
    pub(super) fn asks(&self) {
        if self.0.heard.swap(false, Ordering::Relaxed) {
            self.0.used.store(true, Ordering::Relaxed);
        }
    }

    pub(super) fn hears(&self) {
        self.0.heard.store(true, Ordering::Relaxed);
    }
}

/// A connection that is watched above its TLS, where tickets and closing words of TLS are not seen.
pub(super) struct Watched {
    io: TokioIo<Plain>,
    life: Life,
}

impl Watched {
    pub(super) fn new(io: Plain, number: u64) -> Self {
        Self { io: TokioIo::new(io), life: Life::new(number) }
    }
}

impl Connection for Watched {
    fn connected(&self) -> Connected {
        Connected::new().extra(self.life.clone())
    }
}

impl AsyncRead for Watched {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = into.filled().len();
        let read = Pin::new(&mut self.io).poll_read(context, into);
        if into.filled().len() > before {
            self.life.hears();
        }
        read
    }
}

impl AsyncWrite for Watched {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.life.asks();
        Pin::new(&mut self.io).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.life.asks();
        Pin::new(&mut self.io).poll_write_vectored(context, bytes)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(context)
    }
}
