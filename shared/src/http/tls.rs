//! The TLS of every client.

use std::sync::Arc;

use rustls::{CipherSuite, pki_types::CertificateDer};

/// ring (docs/decisions/2026-11-22-one-http-client.md has the figures), and no roots but Mozilla's and `extra_roots`.
///
/// # Errors
/// If a root cannot be read, or TLS cannot be set up.
pub fn tls(extra_roots: &[CertificateDer<'static>]) -> Result<rustls::ClientConfig, rustls::Error> {
    let mut roots = rustls::RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
    for root in extra_roots {
        roots.add(root.clone())?;
    }
    let mut provider = rustls::crypto::ring::default_provider();
    // SHA-256 costs a handshake half of what SHA-384 does, and AES of 128 bits is as good as that of 256 for years to come.
    provider.cipher_suites.sort_by_key(|suite| suite.suite() != CipherSuite::TLS13_AES_128_GCM_SHA256);
    Ok(rustls::ClientConfig::builder_with_provider(Arc::new(provider))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth())
}
