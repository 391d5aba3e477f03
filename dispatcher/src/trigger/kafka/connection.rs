//! One connection to one broker: TCP or TLS, the login, and one request at a time.

use std::collections::HashMap;
use std::io;
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use kafka_protocol::messages::{
    ApiVersionsRequest, RequestHeader, ResponseHeader, SaslAuthenticateRequest, SaslHandshakeRequest,
};
use kafka_protocol::protocol::{Decodable, Encodable, HeaderVersion, Request, StrBytes};
use pgbatch_core::kafka_options::Mechanism;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};
use tokio_rustls::TlsConnector;
use tracing::trace;

use super::credentials::{Login, Security};
use super::error::{KafkaError, words};
use super::scram::Scram;

/// For the connection with its login, and for each answer.
const ANSWER_MAX: Duration = Duration::from_secs(10);
/// No answer is longer: a fetch returns one batch at least, whatever it asks for, and that has at most the broker's
/// `message.max.bytes`.
const FRAME_MAX: i32 = 128 << 20;
/// Who we are, to the broker.
const CLIENT: StrBytes = StrBytes::from_static_str("pgbatch");

trait Stream: AsyncRead + AsyncWrite + Unpin + Send + Sync {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send + Sync> Stream for T {}

/// A connection, logged in.
pub(super) struct Connection {
    stream: Box<dyn Stream>,
    server: String,
    last_request: i32,
    /// What the broker understands of each kind of request: from and to which version.
    versions: HashMap<i16, (i16, i16)>,
    /// The broker ends it then, as the token does.
    expires: Option<Instant>,
}

impl Connection {
    /// Connects to `host:port`.
    pub(super) async fn open(server: &str, security: &Security) -> Result<Self, KafkaError> {
        let opened = async {
            let mut connection = Self {
                stream: connect(server, security).await.map_err(|e| broken(server, e))?,
                server: server.to_owned(),
                last_request: 0,
                versions: HashMap::new(),
                expires: None,
            };
            connection.learn_versions().await?;
            if let Some(login) = &security.login {
                connection.log_in(login).await?;
            }
            Ok(connection)
        };
        timeout(ANSWER_MAX, opened)
            .await
            .unwrap_or_else(|_| Err(KafkaError::Silent { server: server.to_owned(), limit: ANSWER_MAX }))
    }

    /// How long it may be used, at most `wanted`.
    pub(super) fn lasts(&self, wanted: Duration) -> Duration {
        self.expires.map_or(wanted, |at| wanted.min(at.saturating_duration_since(Instant::now())))
    }

    /// Sends a request, in the newest version up to `newest` that both sides know, and reads its answer.
    pub(super) async fn call<R: Request>(
        &mut self,
        request: &R,
        newest: i16,
    ) -> Result<R::Response, KafkaError> {
        self.call_within(request, newest, ANSWER_MAX).await
    }

    /// The same for a request that waits.
    pub(super) async fn call_within<R: Request>(
        &mut self,
        request: &R,
        newest: i16,
        limit: Duration,
    ) -> Result<R::Response, KafkaError> {
        let version = self.version::<R>(newest)?;
        timeout(limit, self.exchange(request, version))
            .await
            .unwrap_or_else(|_| Err(KafkaError::Silent { server: self.server.clone(), limit }))
    }

    fn version<R: Request>(&self, newest: i16) -> Result<i16, KafkaError> {
        let known = self.versions.get(&R::KEY).copied();
        let (from, to) = known.unwrap_or((0, -1));
        let version = to.min(newest);
        if version < from || version < R::VERSIONS.min {
            return Err(self.nonsense(format!("it is too old, or too new, for request {}", R::KEY)));
        }
        Ok(version)
    }

    async fn learn_versions(&mut self) -> Result<(), KafkaError> {
        let request = ApiVersionsRequest::default()
            .with_client_software_name(CLIENT)
            .with_client_software_version(StrBytes::from_static_str(env!("CARGO_PKG_VERSION")));
        let answer = self.exchange(&request, 3).await?;
        self.versions = answer.api_keys.iter().map(|k| (k.api_key, (k.min_version, k.max_version))).collect();
        Ok(())
    }

    async fn log_in(&mut self, login: &Login) -> Result<(), KafkaError> {
        let mechanism = StrBytes::from_static_str(login.mechanism.name());
        let answer = self.exchange(&SaslHandshakeRequest::default().with_mechanism(mechanism), 1).await?;
        if answer.error_code != 0 {
            let offers: Vec<&str> = answer.mechanisms.iter().map(StrBytes::as_str).collect();
            return Err(self.refused(format!(
                "it does not offer {}, but {}",
                login.mechanism.name(),
                offers.join(", ")
            )));
        }
        let (username, password) = (&login.username, &login.password);
        match login.mechanism {
            Mechanism::Plain => {
                self.authenticate(format!("\0{username}\0{password}").into_bytes()).await?;
            }
            Mechanism::OauthBearer => {
                self.authenticate(format!("n,,\x01auth=Bearer {password}\x01\x01").into_bytes()).await?;
            }
            Mechanism::ScramSha256 | Mechanism::ScramSha512 => {
                let mut scram =
                    Scram::new(login.mechanism, username, password).map_err(|e| self.nonsense(e))?;
                let answer = self.authenticate(scram.first()).await?;
                let proof = scram.proof(&answer).map_err(|e| self.nonsense(e))?;
                let answer = self.authenticate(proof).await?;
                if !scram.is_of_the_broker(&answer) {
                    return Err(self.refused("it does not know the password itself".to_owned()));
                }
            }
        }
        Ok(())
    }

    async fn authenticate(&mut self, message: Vec<u8>) -> Result<Bytes, KafkaError> {
        let request = SaslAuthenticateRequest::default().with_auth_bytes(message.into());
        let answer = self.exchange(&request, 1).await?;
        if answer.error_code != 0 {
            let said = answer.error_message.map_or_else(|| words(answer.error_code), |m| m.to_string());
            return Err(self.refused(said));
        }
        if let Ok(lifetime @ 1..) = u64::try_from(answer.session_lifetime_ms) {
            // A little earlier: a request that is under way at the end is lost.
            self.expires = Some(Instant::now() + Duration::from_millis(lifetime - lifetime / 10));
        }
        Ok(answer.auth_bytes)
    }

    async fn exchange<R: Request>(&mut self, request: &R, version: i16) -> Result<R::Response, KafkaError> {
        self.last_request = self.last_request.wrapping_add(1);
        let frame = frame(request, version, self.last_request).map_err(|e| self.nonsense(e.to_string()))?;
        trace!(broker = self.server, api = R::KEY, version, "asking");
        let mut answer = self.transfer(&frame).await.map_err(|e| broken(&self.server, e))?;
        let header = ResponseHeader::decode(&mut answer, R::Response::header_version(version))
            .map_err(|e| self.nonsense(e.to_string()))?;
        if header.correlation_id != self.last_request {
            return Err(self.nonsense("the answer to another request".to_owned()));
        }
        R::Response::decode(&mut answer, version).map_err(|e| self.nonsense(e.to_string()))
    }

    async fn transfer(&mut self, frame: &[u8]) -> io::Result<Bytes> {
        self.stream.write_all(frame).await?;
        self.stream.flush().await?;
        let length = self.stream.read_i32().await?;
        let length = usize::try_from(length)
            .ok()
            .filter(|_| length <= FRAME_MAX)
            .ok_or_else(|| io::Error::other("it does not speak Kafka's protocol; is it a TLS listener?"))?;
        let mut answer = vec![0; length];
        self.stream.read_exact(&mut answer).await?;
        Ok(answer.into())
    }

    fn nonsense(&self, words: String) -> KafkaError {
        KafkaError::Answer { server: self.server.clone(), words }
    }

    fn refused(&self, words: String) -> KafkaError {
        KafkaError::Login { server: self.server.clone(), words }
    }
}

fn broken(server: &str, source: io::Error) -> KafkaError {
    let source = match source.kind() {
        io::ErrorKind::UnexpectedEof => io::Error::new(source.kind(), "it closed the connection"),
        _ => source,
    };
    KafkaError::Connection { server: server.to_owned(), source }
}

fn frame<R: Request>(request: &R, version: i16, number: i32) -> Result<BytesMut, Box<dyn std::error::Error>> {
    let mut frame = BytesMut::with_capacity(256);
    frame.put_i32(0);
    RequestHeader::default()
        .with_request_api_key(R::KEY)
        .with_request_api_version(version)
        .with_correlation_id(number)
        .with_client_id(Some(CLIENT))
        .encode(&mut frame, R::header_version(version))?;
    request.encode(&mut frame, version)?;
    let length = i32::try_from(frame.len() - 4)?;
    frame[..4].copy_from_slice(&length.to_be_bytes());
    Ok(frame)
}

async fn connect(server: &str, security: &Security) -> io::Result<Box<dyn Stream>> {
    let (host, port) = server.rsplit_once(':').unwrap_or((server, ""));
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let port = port.parse().map_err(|_| io::Error::other("its port is no number"))?;
    let tcp = TcpStream::connect((host, port)).await?;
    tcp.set_nodelay(true)?;
    // A broker that is gone without a word must be noticed inside a long poll.
    set_keepalive(&tcp)?;
    let Some(tls) = &security.tls else { return Ok(Box::new(tcp)) };
    let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
    Ok(Box::new(TlsConnector::from(tls.clone()).connect(name, tcp).await?))
}

/// After 15 s of silence, three probes 5 s apart.
#[expect(unsafe_code, reason = "std has no keepalive")]
fn set_keepalive(tcp: &TcpStream) -> io::Result<()> {
    use std::os::fd::AsRawFd;
    const OPTIONS: [(i32, i32, libc::c_int); 4] = [
        (libc::SOL_SOCKET, libc::SO_KEEPALIVE, 1),
        (libc::IPPROTO_TCP, libc::TCP_KEEPIDLE, 15),
        (libc::IPPROTO_TCP, libc::TCP_KEEPINTVL, 5),
        (libc::IPPROTO_TCP, libc::TCP_KEEPCNT, 3),
    ];
    for (level, option, value) in OPTIONS {
        let length = libc::socklen_t::try_from(size_of_val(&value)).map_err(io::Error::other)?;
        // SAFETY: an open socket, and a value of that length that outlives the call.
        let set =
            unsafe { libc::setsockopt(tcp.as_raw_fd(), level, option, (&raw const value).cast(), length) };
        if set != 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}
