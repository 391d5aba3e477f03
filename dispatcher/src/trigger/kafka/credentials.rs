//! Credentials: files and environment variables of the dispatcher that a trigger names. Whoever may call `watch_kafka()` also
//! says to which servers they are sent, so not every file will do: only those below the folder of `--kafka-credentials`, and
//! variables that begin with [`PREFIX`]. And a folder with a file `bootstrap-servers` in it keeps what else is in it for the
//! servers that are listed there.
//!
//! They are read for every connection, so a changed one is used from the next login on. Those of ScaledJobs are not on disk:
//! see `granted`.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use pgbatch_core::kafka_options::{Mechanism, Options, SaslOption, TlsFiles, TlsOption};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};

use super::error::CredentialError;
use super::granted::{Granted, Read, is_granted};
use super::private_key;

/// What variables for credentials begin with.
const PREFIX: &str = "PGBATCH_KAFKA_CREDENTIAL_";
/// The file that says for which servers a folder is.
const SERVERS: &str = "bootstrap-servers";

/// Where credentials are.
#[derive(Debug, Clone, Default)]
pub struct CredentialsFolder {
    folder: Option<PathBuf>,
    /// Those of ScaledJobs.
    pub(crate) granted: Granted,
}

impl CredentialsFolder {
    /// With this folder; none = files are refused.
    #[must_use]
    pub fn new(folder: Option<PathBuf>) -> Self {
        Self { folder, granted: Granted::default() }
    }

    /// A folder below it, if it is there.
    pub(crate) fn below(&self, name: &str) -> Option<PathBuf> {
        let folder = self.folder.as_ref()?.join(name);
        folder.is_dir().then_some(folder)
    }
}

/// Which servers a trigger names, and how to get in.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Access {
    pub(super) servers: Vec<String>,
    pub(super) tls: Option<TlsOption>,
    pub(super) sasl: Option<SaslOption>,
}

/// What a connection needs, read just now.
pub(super) struct Security {
    pub(super) tls: Option<Arc<ClientConfig>>,
    pub(super) login: Option<Login>,
}

/// Who logs in.
pub(super) struct Login {
    pub(super) mechanism: Mechanism,
    /// Empty where the token says it.
    pub(super) username: String,
    /// Or the token.
    pub(super) password: String,
}

impl Access {
    pub(super) fn new(servers: &str, options: &Options) -> Self {
        let tls = options.tls.clone().filter(|tls| *tls != TlsOption::Is(false));
        Self { servers: servers.split(',').map(str::to_owned).collect(), tls, sasl: options.sasl.clone() }
    }

    /// Reads what it names.
    pub(super) async fn security(&self, folder: &CredentialsFolder) -> Result<Security, CredentialError> {
        let granted = folder.granted.read(&self.files(), &self.servers).await?;
        let reader = Reader { folder: folder.folder.as_deref(), servers: &self.servers, granted: &granted };
        let tls = match &self.tls {
            None => None,
            Some(TlsOption::Is(_)) => Some(reader.tls(None)?),
            Some(TlsOption::With(files)) => Some(reader.tls(Some(files))?),
        };
        let login = self.sasl.as_ref().map(|sasl| reader.login(sasl)).transpose()?;
        Ok(Security { tls: tls.map(Arc::new), login })
    }

    fn files(&self) -> BTreeSet<&str> {
        let tls = match &self.tls {
            Some(TlsOption::With(TlsFiles {
                ca_file,
                cert_file,
                key_file,
                key_password_file,
                key_password_env: _,
            })) => [ca_file, cert_file, key_file, key_password_file].map(Option::as_deref),
            _ => [None; 4],
        };
        let sasl = match &self.sasl {
            Some(SaslOption {
                username_file,
                password_file,
                token_file,
                mechanism: _,
                username: _,
                username_env: _,
                password_env: _,
            }) => [username_file, password_file, token_file].map(Option::as_deref),
            None => [None; 3],
        };
        tls.into_iter().chain(sasl).flatten().collect()
    }
}

struct Reader<'a> {
    folder: Option<&'a Path>,
    servers: &'a [String],
    granted: &'a Read,
}

impl Reader<'_> {
    fn tls(&self, files: Option<&TlsFiles>) -> Result<ClientConfig, CredentialError> {
        let unusable = |name: &str, words: &dyn std::fmt::Display| CredentialError::Content {
            name: name.to_owned(),
            words: words.to_string(),
        };
        let mut roots = RootCertStore::empty();
        match files.and_then(|f| f.ca_file.as_deref()) {
            Some(name) => {
                for certificate in certificates(name, &self.file(name)?)? {
                    roots.add(certificate).map_err(|e| unusable(name, &e))?;
                }
            }
            // A broken certificate among the system's is no reason not to trust the others.
            None => {
                roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            }
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|e| unusable("of the system", &e))?
            .with_root_certificates(roots);
        let Some((files, cert, key)) =
            files.and_then(|f| Some((f, f.cert_file.as_deref()?, f.key_file.as_deref()?)))
        else {
            return Ok(config.with_no_client_auth());
        };
        let certificates = certificates(cert, &self.file(cert)?)?;
        let key_of = self.private_key(files, key)?;
        config.with_client_auth_cert(certificates, key_of).map_err(|e| unusable(key, &e))
    }

    fn private_key(&self, files: &TlsFiles, name: &str) -> Result<PrivateKeyDer<'static>, CredentialError> {
        let password = self.secret(files.key_password_file.as_deref(), files.key_password_env.as_deref())?;
        private_key::read(&self.file(name)?, password.as_deref())
            .map_err(|words| CredentialError::Content { name: name.to_owned(), words })
    }

    fn login(&self, sasl: &SaslOption) -> Result<Login, CredentialError> {
        let username = match &sasl.username {
            Some(username) => Some(username.clone()),
            None => self.secret(sasl.username_file.as_deref(), sasl.username_env.as_deref())?,
        };
        let file = sasl.password_file.as_deref().or(sasl.token_file.as_deref());
        let password = self.secret(file, sasl.password_env.as_deref())?;
        Ok(Login {
            mechanism: sasl.mechanism,
            username: username.unwrap_or_default(),
            password: password.unwrap_or_default(),
        })
    }

    /// The text of a file or of a variable. An editor's newline at the end of a file is not part of it.
    fn secret(&self, file: Option<&str>, variable: Option<&str>) -> Result<Option<String>, CredentialError> {
        if let Some(name) = file {
            let text = String::from_utf8(self.file(name)?).map_err(|_| CredentialError::Content {
                name: name.to_owned(),
                words: "it is not UTF-8".to_owned(),
            })?;
            return Ok(Some(text.trim_end_matches(['\r', '\n']).to_owned()));
        }
        let Some(name) = variable else { return Ok(None) };
        let missing = || CredentialError::NoVariable(name.to_owned());
        // PostgreSQL has looked at the name; but whoever writes its tables may write anything.
        if !name.starts_with(PREFIX) {
            return Err(missing());
        }
        std::env::var(name).map(Some).map_err(|_| missing())
    }

    fn file(&self, name: &str) -> Result<Vec<u8>, CredentialError> {
        if is_granted(name) {
            return self
                .granted
                .get(name)
                .cloned()
                .ok_or_else(|| CredentialError::NotServed(name.to_owned()));
        }
        let folder = self.folder.ok_or_else(|| CredentialError::NoFolder(name.to_owned()))?;
        let unreadable = |source| CredentialError::Read { name: name.to_owned(), source };
        let folder = folder.canonicalize().map_err(unreadable)?;
        // Links are followed, as Kubernetes' mounts have some, and must not lead out.
        let path = folder.join(name).canonicalize().map_err(unreadable)?;
        if !path.starts_with(&folder) {
            return Err(CredentialError::Outside { name: name.to_owned(), folder });
        }
        // The folder that is named, and the one that a link of it leads to.
        self.check_servers(name, &folder.join(name))?;
        self.check_servers(name, &path)?;
        std::fs::read(path).map_err(unreadable)
    }

    /// Whether what is in this folder may be sent to these servers.
    fn check_servers(&self, name: &str, file: &Path) -> Result<(), CredentialError> {
        let list = match std::fs::read_to_string(file.with_file_name(SERVERS)) {
            Ok(list) => list,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            Err(source) => return Err(CredentialError::Read { name: SERVERS.to_owned(), source }),
        };
        let allowed: Vec<&str> = list.split([',', '\n', ' ', '\r']).filter(|s| !s.is_empty()).collect();
        match self.servers.iter().find(|server| !allowed.contains(&server.as_str())) {
            Some(server) => {
                Err(CredentialError::OtherServers { name: name.to_owned(), server: server.clone() })
            }
            None => Ok(()),
        }
    }
}

fn certificates(name: &str, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, CredentialError> {
    let unusable = |words: String| CredentialError::Content { name: name.to_owned(), words };
    let found: Vec<_> =
        CertificateDer::pem_slice_iter(pem).collect::<Result<_, _>>().map_err(|e| unusable(e.to_string()))?;
    if found.is_empty() {
        return Err(unusable("it has no PEM certificate".to_owned()));
    }
    Ok(found)
}

#[cfg(test)]
mod tests;
