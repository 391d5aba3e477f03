//! TLS to PostgreSQL, and to a collector of traces: always verified.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::WantsClientCert;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, ConfigBuilder, RootCertStore};
use tokio_postgres_rustls::MakeRustlsConnect;

/// Why the TLS settings cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read as PEM.
    #[error("{what} {}: {source}", path.display())]
    ReadPem {
        /// The parameter that names it.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: rustls::pki_types::pem::Error,
    },
    /// A client certificate without its key, or the other way round.
    #[error("sslcert and sslkey go together: a client certificate, and its key")]
    HalfIdentity,
    /// A certificate, a key, or the protocol set-up, is not usable.
    #[error("the certificates: {0}")]
    Use(#[from] rustls::Error),
}

/// The PEM files that a URL names.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct TlsFiles {
    /// `sslrootcert`: whom to trust; none = the system's authorities.
    pub(super) roots: Option<PathBuf>,
    /// `sslcert`: the client's certificate.
    pub(super) certificate: Option<PathBuf>,
    /// `sslkey`: its key, not encrypted.
    pub(super) key: Option<PathBuf>,
}

impl TlsFiles {
    /// The parameters that [`TlsFiles::take`] knows.
    pub(super) const KEYS: [&str; 4] = ["sslmode", "sslrootcert", "sslcert", "sslkey"];

    /// Takes what is about files; returns what is left for tokio-postgres.
    pub(super) fn take(&mut self, key: &str, value: String) -> Option<String> {
        let file = match key {
            // As with libpq: those of the system.
            "sslrootcert" if value == "system" => return None,
            "sslrootcert" => &mut self.roots,
            "sslcert" => &mut self.certificate,
            "sslkey" => &mut self.key,
            "sslmode" if matches!(value.as_str(), "verify-full" | "verify-ca") => {
                return Some("require".to_owned());
            }
            _ => return Some(value),
        };
        *file = Some(PathBuf::from(value));
        None
    }
}

/// A connector as these files say.
///
/// # Errors
/// A file cannot be read, or holds no usable certificate or key.
pub(super) fn connector(files: &TlsFiles) -> Result<MakeRustlsConnect, TlsError> {
    let config = trusting(files.roots.as_deref())?;
    let config = match (&files.certificate, &files.key) {
        (None, None) => config.with_no_client_auth(),
        (Some(certificate), Some(path)) => {
            let unreadable = |source| TlsError::ReadPem { what: "sslkey", path: path.clone(), source };
            let key = PrivateKeyDer::from_pem_file(path).map_err(unreadable)?;
            config.with_client_auth_cert(certificates("sslcert", certificate)?, key)?
        }
        (Some(_), None) | (None, Some(_)) => return Err(TlsError::HalfIdentity),
    };
    Ok(MakeRustlsConnect::new(config))
}

/// TLS with whoever the system's authorities know, as without `sslrootcert`.
///
/// # Errors
/// The protocol cannot be set up.
pub(crate) fn trusting_the_system() -> Result<ClientConfig, TlsError> {
    Ok(trusting(None)?.with_no_client_auth())
}

fn trusting(file: Option<&Path>) -> Result<ConfigBuilder<ClientConfig, WantsClientCert>, TlsError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    Ok(config.with_root_certificates(roots(file)?))
}

fn roots(file: Option<&Path>) -> Result<RootCertStore, TlsError> {
    let mut store = RootCertStore::empty();
    match file {
        Some(path) => {
            for certificate in certificates("sslrootcert", path)? {
                store.add(certificate)?;
            }
        }
        // A broken certificate among the system's is no reason not to trust the others.
        None => {
            store.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
    }
    Ok(store)
}

fn certificates(what: &'static str, path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let unreadable = |source| TlsError::ReadPem { what, path: path.to_owned(), source };
    CertificateDer::pem_file_iter(path).map_err(unreadable)?.map(|one| one.map_err(unreadable)).collect()
}
