//! The key of a client certificate.

use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject;

/// Reads a PEM key. The error is in words, and has nothing of the key in it.
pub(super) fn read(pem: &[u8], password: Option<&str>) -> Result<PrivateKeyDer<'static>, String> {
    match password {
        None => PrivateKeyDer::from_pem_slice(pem).map_err(|e| e.to_string()),
        Some(_) => Err("a key with a password is not supported".to_owned()),
    }
}
