//! The TLS configuration of every client.

use std::sync::Arc;

use rustls::{CipherSuite, pki_types::CertificateDer};

/// TLS by ring (figures: docs/decisions/2026-11-22-one-http-client.md). Trusts Mozilla's roots and `extra_roots`,
/// nothing else.
///
/// # Errors
/// If a root cannot be read, or TLS cannot be set up.
pub fn tls(extra_roots: &[CertificateDer<'static>]) -> Result<rustls::ClientConfig, rustls::Error> {
    let mut roots = rustls::RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
    for root in extra_roots {
        roots.add(root.clone())?;
    }
    let mut provider = rustls::crypto::ring::default_provider();
    // The suite with SHA-256 comes first: in a handshake it costs half of what SHA-384 costs, and AES-128 is strong
    // enough.
    provider.cipher_suites.sort_by_key(|suite| suite.suite() != CipherSuite::TLS13_AES_128_GCM_SHA256);
    Ok(rustls::ClientConfig::builder_with_provider(Arc::new(provider))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth())
}
