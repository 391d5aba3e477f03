//! The key of a client certificate.

use pkcs8::{EncryptedPrivateKeyInfoRef, SecretDocument};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};

/// Reads a PEM key; one with a password is `ENCRYPTED PRIVATE KEY`, as `openssl pkcs8 -topk8` makes it. The error is in words,
/// and has nothing of the key in it.
pub(super) fn read(pem: &[u8], password: Option<&str>) -> Result<PrivateKeyDer<'static>, String> {
    let Some(password) = password else {
        return PrivateKeyDer::from_pem_slice(pem).map_err(|error| match error {
            rustls::pki_types::pem::Error::NoItemsFound => {
                "it has no PEM key that can be read without a password".to_owned()
            }
            error => error.to_string(),
        });
    };
    let text = std::str::from_utf8(pem).map_err(|_| "it is not UTF-8")?;
    let (label, document) = SecretDocument::from_pem(text).map_err(|e| e.to_string())?;
    if label != "ENCRYPTED PRIVATE KEY" {
        return Err(format!("it is a {label}, and no ENCRYPTED PRIVATE KEY, and a password is given"));
    }
    let encrypted = EncryptedPrivateKeyInfoRef::try_from(document.as_bytes()).map_err(|e| e.to_string())?;
    let key = encrypted.decrypt(password).map_err(|_| "it cannot be decrypted with this password")?;
    Ok(PrivatePkcs8KeyDer::from(key.as_bytes().to_vec()).into())
}
