//! A test certificate authority, and TLS servers with its certificates.

use std::{io, net::SocketAddr, sync::Arc};

use axum::Router;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose,
};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        self, ServerConfig,
        crypto::ring::default_provider,
        pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer},
    },
    server::TlsStream,
};

/// A stand-in could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A certificate could not be made.
    #[error("cannot make a certificate")]
    Certificate(#[from] rcgen::Error),
    /// The TLS configuration was rejected.
    #[error("cannot set up TLS")]
    Tls(#[from] rustls::Error),
    /// A port could not be bound or a file not be used.
    #[error("cannot set up a stand-in")]
    Io(#[from] io::Error),
}

/// A test key. Generating one takes a debug build 30 s.
const RSA_2048: &str = include_str!("rsa-2048.pem");

/// Kinds of signatures. Verification of one costs a client several times as much as of the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// RSA 2048 through an intermediate authority, as AWS uses.
    Rsa,
    /// ECDSA P-256 directly from the root, as many other servers use.
    Ecdsa,
}

/// Signs the stand-ins' certificates.
#[derive(Debug)]
pub struct Authority {
    kind: Kind,
    root: CertifiedIssuer<'static, KeyPair>,
    /// The intermediate authority; `None`: the root signs.
    intermediate: Option<CertifiedIssuer<'static, KeyPair>>,
}

impl Authority {
    /// Creates a new authority.
    ///
    /// # Errors
    /// If the keys cannot be made.
    pub fn make(kind: Kind) -> Result<Self, TlsError> {
        let params = |name: &str| {
            let mut params = CertificateParams::default();
            params.distinguished_name.push(rcgen::DnType::CommonName, name);
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
            params
        };
        let root = CertifiedIssuer::self_signed(params(&format!("bench root {kind:?}")), key(kind)?)?;
        let intermediate = match kind {
            Kind::Rsa => {
                let mut below = params("bench intermediate");
                below.use_authority_key_identifier_extension = true;
                Some(CertifiedIssuer::signed_by(below, key(kind)?, &root)?)
            }
            Kind::Ecdsa => None,
        };
        Ok(Self { kind, root, intermediate })
    }

    /// The root certificate in PEM.
    pub fn pem(&self) -> String {
        self.root.pem()
    }

    /// Serves on a free loopback port until the process ends. Returns the base URL.
    ///
    /// # Errors
    /// If the certificate cannot be made or the port cannot be bound.
    pub async fn serve(&self, service: Router) -> Result<String, TlsError> {
        let own_key = key(self.kind)?;
        let mut params = CertificateParams::new(vec!["localhost".to_owned()])?;
        params.distinguished_name.push(rcgen::DnType::CommonName, "localhost");
        params.use_authority_key_identifier_extension = true;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let issuer = self.intermediate.as_ref().unwrap_or(&self.root);
        let mut chain = vec![params.signed_by(&own_key, issuer)?.der().clone()];
        chain.extend(self.intermediate.as_ref().map(|between| between.der().clone()));
        let own_key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(own_key.serialize_der()));
        let config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(chain, own_key)?;
        let tcp = TcpListener::bind("127.0.0.1:0").await?;
        let port = tcp.local_addr()?.port();
        let listener = Listener { tcp, acceptor: TlsAcceptor::from(Arc::new(config)) };
        tokio::spawn(async move {
            let _ = axum::serve(listener, service).await;
        });
        Ok(format!("https://localhost:{port}"))
    }
}

fn key(kind: Kind) -> Result<KeyPair, rcgen::Error> {
    match kind {
        Kind::Rsa => KeyPair::from_pem(RSA_2048),
        Kind::Ecdsa => KeyPair::generate(),
    }
}

struct Listener {
    tcp: TcpListener,
    acceptor: TlsAcceptor,
}

impl axum::serve::Listener for Listener {
    type Io = TlsStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        loop {
            let Ok((connection, address)) = self.tcp.accept().await else { continue };
            // Nagle's delay would count as the function's time.
            let _ = connection.set_nodelay(true);
            if let Ok(connection) = self.acceptor.accept(connection).await {
                return (connection, address);
            }
        }
    }

    fn local_addr(&self) -> io::Result<Self::Addr> {
        self.tcp.local_addr()
    }
}
