//! From a URL to a connection.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use percent_encoding::percent_decode_str;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio_postgres::config::{Host, SslMode};
use tokio_postgres::{AsyncMessage, Client, Config, Connection, NoTls, Socket};
use tokio_postgres_rustls::MakeRustlsConnect;
use tracing::debug;

use super::silence;
use super::tls::{self, TlsFiles};

/// For each host of the URL.
const CONNECT_MAX: Duration = Duration::from_secs(10);

/// A connection URL or `key=value` string, or `@FILE` with one in it, whose password never shows.
///
/// Understood beyond what tokio-postgres reads: `sslmode=verify-full` and `verify-ca` (both mean `require`: the
/// certificate and the name are always verified), `sslrootcert`, `sslcert` and `sslkey` (PEM files), and the password of
/// `PGPASSWORD`. Files are read again for each connection, so what is changed in them holds from the next one on.
#[derive(Clone)]
pub struct DatabaseUrl {
    config: Config,
    tls: TlsFiles,
    /// What it was read from.
    file: Option<PathBuf>,
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The text is no connection URL.
    #[error("the database URL cannot be read: {0}")]
    Parse(String),
    /// The file with the text cannot be read.
    #[error("the database URL cannot be read from {}: {source}", path.display())]
    ReadFile {
        /// The file.
        path: PathBuf,
        /// What happened.
        source: std::io::Error,
    },
    /// A certificate file cannot be used.
    #[error("the TLS settings cannot be used: {0}")]
    Tls(#[from] tls::TlsError),
    /// The server did not answer, or refused.
    #[error("cannot connect to {target}: {}", with_causes(source))]
    Connect {
        /// Hosts, port and database.
        target: String,
        /// What happened.
        source: tokio_postgres::Error,
    },
}

/// An error and what caused it, in one line: tokio-postgres keeps the server's words in the cause.
pub(crate) fn with_causes(error: &dyn std::error::Error) -> String {
    let mut words = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !words.contains(&more) {
            words = format!("{words}: {more}");
        }
        cause = error.source();
    }
    words
}

impl FromStr for DatabaseUrl {
    type Err = ConnectError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let Some(path) = text.strip_prefix('@') else { return Self::parse(text) };
        let path = PathBuf::from(path);
        match std::fs::read_to_string(&path) {
            Ok(text) => Ok(Self { file: Some(path), ..Self::parse(text.trim())? }),
            Err(source) => Err(ConnectError::ReadFile { path, source }),
        }
    }
}

impl DatabaseUrl {
    fn parse(text: &str) -> Result<Self, ConnectError> {
        let (plain, tls) = take_tls_parameters(text).map_err(ConnectError::Parse)?;
        // The parser's own words may repeat the text, password included.
        let mut config = Config::from_str(&plain).map_err(|e| ConnectError::Parse(with_causes(&e)))?;
        if config.get_hosts().is_empty() {
            return Err(ConnectError::Parse("it names no host".into()));
        }
        if config.get_password().is_none()
            && let Ok(password) = std::env::var("PGPASSWORD")
        {
            config.password(password);
        }
        config.connect_timeout(CONNECT_MAX);
        config.keepalives_idle(silence::KEEPALIVE_IDLE);
        config.keepalives_interval(silence::KEEPALIVE_INTERVAL);
        config.keepalives_retries(silence::KEEPALIVE_PROBES);
        config.tcp_user_timeout(silence::UNACKNOWLEDGED_MAX);
        Ok(Self { config, tls, file: None })
    }

    /// As its file has it now.
    fn current(&self) -> Result<Self, ConnectError> {
        let Some(path) = &self.file else { return Ok(self.clone()) };
        let now: Self = format!("@{}", path.display()).parse()?;
        Ok(now.or_password(|_, _, _, _| self.config.get_password().map(<[u8]>::to_vec)))
    }
}

/// Takes out of the text what tokio-postgres would not know. The errors repeat nothing of it.
fn take_tls_parameters(text: &str) -> Result<(String, TlsFiles), String> {
    let mut tls = TlsFiles::default();
    if !text.starts_with("postgres://") && !text.starts_with("postgresql://") {
        let kept = keywords(text)?.into_iter().filter_map(|(key, value)| {
            let value = tls.take(&key, value)?;
            Some(format!("{key}='{}'", value.replace('\\', "\\\\").replace('\'', "\\'")))
        });
        return Ok((kept.collect::<Vec<_>>().join(" "), tls));
    }
    let Some((base, query)) = text.split_once('?') else { return Ok((text.to_owned(), tls)) };
    let kept = query.split('&').filter_map(|pair| match pair.split_once('=') {
        Some((key, value)) if TlsFiles::KEYS.contains(&key) => {
            let value = percent_decode_str(value).decode_utf8_lossy().into_owned();
            tls.take(key, value).map(|value| format!("{key}={value}"))
        }
        _ => Some(pair.to_owned()),
    });
    let kept = kept.collect::<Vec<_>>().join("&");
    Ok((format!("{base}?{kept}"), tls))
}

/// The pairs of a `key=value` text, as libpq reads them: a value may be in quotes, a backslash takes the meaning from what follows.
fn keywords(text: &str) -> Result<Vec<(String, String)>, String> {
    let mut pairs = Vec::new();
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        let (key, value) = rest.split_once('=').ok_or("a keyword has no value")?;
        let value = value.trim_start();
        let (quoted, value) = value.strip_prefix('\'').map_or((false, value), |value| (true, value));
        let (mut read, mut chars) = (String::new(), value.chars());
        loop {
            match chars.next() {
                None if quoted => return Err("a quote has no end".to_owned()),
                Some('\'') if quoted => break,
                Some(c) if !quoted && c.is_whitespace() => break,
                None => break,
                Some('\\') => read.extend(chars.next()),
                Some(c) => read.push(c),
            }
        }
        pairs.push((key.trim_end().to_owned(), read));
        rest = chars.as_str().trim_start();
    }
    Ok(pairs)
}

impl DatabaseUrl {
    /// Hosts, port and database: enough to know which server is meant, and nothing secret.
    #[must_use]
    pub fn target(&self) -> String {
        let mut ports = self.config.get_ports().iter().copied().cycle();
        let hosts: Vec<String> = self
            .config
            .get_hosts()
            .iter()
            .map(|host| (host, ports.next().unwrap_or(5432)))
            .map(|(host, port)| match host {
                Host::Tcp(name) => format!("{name}:{port}"),
                Host::Unix(path) => format!("{}:{port}", path.display()),
            })
            .collect();
        format!("{}/{}", hosts.join(","), self.config.get_dbname().unwrap_or_default())
    }
}

impl DatabaseUrl {
    /// Where it has no password, takes the one that `find` has for its host, port, database and user.
    pub(crate) fn or_password(
        mut self,
        find: impl FnOnce(&Host, u16, Option<&str>, Option<&str>) -> Option<Vec<u8>>,
    ) -> Self {
        if self.config.get_password().is_none()
            && let [host, ..] = self.config.get_hosts()
        {
            let port = self.config.get_ports().first().copied().unwrap_or(5432);
            if let Some(password) = find(host, port, self.config.get_dbname(), self.config.get_user()) {
                self.config.password(password);
            }
        }
        self
    }
}

impl DatabaseUrl {
    fn is_plain(&self) -> bool {
        let only_unix = self.config.get_hosts().iter().all(|h| matches!(h, Host::Unix(_)));
        only_unix || self.config.get_ssl_mode() == SslMode::Disable
    }

    /// What cancelling a statement of such a connection needs.
    ///
    /// # Errors
    /// The root certificates cannot be used.
    pub fn cancel_tls(&self) -> Result<CancelTls, ConnectError> {
        Ok(match self.is_plain() {
            true => CancelTls::Plain(NoTls),
            false => CancelTls::Verified(tls::connector(&self.tls)?),
        })
    }
}

/// The second connection that carries a cancel request is as safe as the first.
pub enum CancelTls {
    /// A unix socket, or `sslmode=disable`.
    Plain(NoTls),
    /// TLS.
    Verified(MakeRustlsConnect),
}

impl fmt::Debug for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DatabaseUrl({})", self.target())
    }
}

/// Connects; the returned task drives the connection and ends with it. Each NOTIFY rings `doorbell`.
///
/// # Errors
/// A file that cannot be read, no server, no permission, or a certificate that does not verify.
pub async fn connect(
    url: &DatabaseUrl,
    application_name: &str,
    doorbell: Arc<Notify>,
) -> Result<(Client, JoinHandle<()>), ConnectError> {
    let url = &url.current()?;
    let mut config = url.config.clone();
    config.application_name(application_name);
    let failed = |source| ConnectError::Connect { target: url.target(), source };
    if url.is_plain() {
        let (client, connection) = config.connect(NoTls).await.map_err(failed)?;
        return Ok((client, drive(connection, doorbell)));
    }
    let (client, connection) = config.connect(tls::connector(&url.tls)?).await.map_err(failed)?;
    Ok((client, drive(connection, doorbell)))
}

fn drive<S>(mut connection: Connection<Socket, S>, doorbell: Arc<Notify>) -> JoinHandle<()>
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
{
    tokio::spawn(async move {
        loop {
            match std::future::poll_fn(|context| connection.poll_message(context)).await {
                Some(Ok(AsyncMessage::Notification(_))) => doorbell.notify_one(),
                Some(Ok(AsyncMessage::Notice(notice))) => debug!(message = notice.message(), "notice"),
                Some(Ok(_)) => {}
                Some(Err(error)) => {
                    debug!(error = with_causes(&error), "the connection broke");
                    return;
                }
                None => return,
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use tokio_postgres::config::TargetSessionAttrs;

    use super::*;

    #[test]
    fn the_password_never_shows() {
        let url: DatabaseUrl = "postgres://app:hunter2@db.example:5433/shop".parse().unwrap();
        assert_eq!(format!("{url:?}"), "DatabaseUrl(db.example:5433/shop)");
        let error = "postgres://app:hunter2@db:notaport/x".parse::<DatabaseUrl>().unwrap_err().to_string();
        assert!(!error.contains("hunter2"), "{error}");
    }

    #[test]
    fn verify_full_and_a_root_certificate_are_understood() {
        let url: DatabaseUrl =
            "postgres://a@db/x?sslmode=verify-full&sslrootcert=/etc/ca.pem&options=-csearch_path%3Dpublic"
                .parse()
                .unwrap();
        assert_eq!(url.config.get_ssl_mode(), SslMode::Require);
        assert_eq!(url.tls.roots, Some(PathBuf::from("/etc/ca.pem")));
        assert_eq!(url.config.get_options(), Some("-csearch_path=public"));
    }

    #[test]
    fn files_are_named_in_a_url_and_in_keywords_alike() {
        let expected = TlsFiles {
            roots: Some("/etc/my ca.pem".into()),
            certificate: Some("/c.pem".into()),
            key: Some("/it's.key".into()),
        };
        let url = "postgres://a@db/x?sslrootcert=/etc/my%20ca.pem&sslmode=verify-full&sslcert=/c.pem&sslkey=/it's.key";
        let words = "host=db user = a dbname='x y' sslrootcert='/etc/my ca.pem' sslmode=verify-full sslcert=/c.pem sslkey='/it\\'s.key'";
        for (text, database) in [(url, "x"), (words, "x y")] {
            let read: DatabaseUrl = text.parse().unwrap();
            assert_eq!((&read.tls, read.config.get_ssl_mode()), (&expected, SslMode::Require), "{text}");
            assert_eq!((read.config.get_user(), read.config.get_dbname()), (Some("a"), Some(database)));
        }
        let system: DatabaseUrl = "postgres://a@db/x?sslmode=verify-full&sslrootcert=system".parse().unwrap();
        assert_eq!(system.tls, TlsFiles::default());
        for wrong in ["host=db password='hunter2", "host=db hunter2"] {
            let error = wrong.parse::<DatabaseUrl>().unwrap_err().to_string();
            assert!(!error.contains("hunter2"), "{error}");
        }
    }

    #[test]
    fn a_file_has_the_last_word() {
        let file = std::env::temp_dir().join(format!("pgbatch-url-{}", std::process::id()));
        std::fs::write(&file, "postgres://app:old@one/shop\n").unwrap();
        let url: DatabaseUrl = format!("@{}", file.display()).parse().unwrap();
        std::fs::write(&file, "postgres://app:new@two/shop\n").unwrap();
        let now = url.current().unwrap();
        assert_eq!((url.target(), now.target()), ("one:5432/shop".to_owned(), "two:5432/shop".to_owned()));
        assert_eq!(now.config.get_password(), Some(&b"new"[..]));
        std::fs::remove_file(&file).unwrap();
        let error = url.current().unwrap_err().to_string();
        assert!(error.contains(&file.display().to_string()), "{error}");
    }

    #[test]
    fn several_hosts_of_which_the_one_that_writes_is_taken() {
        let url: DatabaseUrl =
            "postgres://app@one:5433,two:5434/shop?target_session_attrs=read-write".parse().unwrap();
        assert_eq!(url.target(), "one:5433,two:5434/shop");
        assert_eq!(url.config.get_target_session_attrs(), TargetSessionAttrs::ReadWrite);
        let one_port: DatabaseUrl = "host=one,two port=6432 dbname=shop".parse().unwrap();
        assert_eq!(one_port.target(), "one:6432,two:6432/shop");
    }

    #[test]
    fn a_url_without_a_host_is_refused() {
        assert!("dbname=x".parse::<DatabaseUrl>().is_err());
    }
}
