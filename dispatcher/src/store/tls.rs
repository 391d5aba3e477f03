//! TLS to PostgreSQL: always verified.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use tokio_postgres_rustls::MakeRustlsConnect;

/// Why the TLS settings cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The file of `sslrootcert` cannot be read as PEM certificates.
    #[error("the root certificates in {}: {source}", path.display())]
    ReadRoots {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: rustls::pki_types::pem::Error,
    },
    /// A certificate, or the protocol set-up, is not usable.
    #[error("the root certificates: {0}")]
    UseRoots(#[from] rustls::Error),
}

/// A connector that trusts the certificates of `roots`, or those of the system.
///
/// # Errors
/// The file cannot be read, or holds no usable certificate.
pub(super) fn connector(roots: Option<&Path>) -> Result<MakeRustlsConnect, TlsError> {
    let mut store = RootCertStore::empty();
    match roots {
        Some(path) => {
            let unreadable = |source| TlsError::ReadRoots { path: path.to_owned(), source };
            for certificate in CertificateDer::pem_file_iter(path).map_err(unreadable)? {
                store.add(certificate.map_err(unreadable)?)?;
            }
        }
        // A broken certificate among the system's is no reason not to trust the others.
        None => {
            store.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(store)
        .with_no_client_auth();
    Ok(MakeRustlsConnect::new(config))
}
