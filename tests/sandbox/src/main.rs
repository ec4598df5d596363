//! Starts the sandbox, prints its address, and ends on TERM or INT.

use std::io::{self, Write};

use clap::Parser;
use sandbox::{Sandbox, Settings, service};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

#[tokio::main(flavor = "current_thread")]
async fn main() -> io::Result<()> {
    let settings = Settings::parse();
    tracing_subscriber::fmt().with_writer(io::stderr).with_max_level(tracing::Level::INFO).init();
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let listener = TcpListener::bind(settings.listen).await?;
    let mut out = io::stdout();
    writeln!(out, r#"{{"listening":"http://{}"}}"#, listener.local_addr()?)?;
    out.flush()?;
    tokio::select! {
        served = axum::serve(listener, service(Sandbox::new(settings))) => served,
        _ = terminate.recv() => Ok(()),
        _ = interrupt.recv() => Ok(()),
    }
}
