//! A collector of traces: OTLP over HTTP, as much of it as a test needs.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

/// A collector that keeps what it is told.
#[derive(Debug, Clone)]
pub struct Collector {
    address: SocketAddr,
    requests: Arc<Mutex<Vec<ExportTraceServiceRequest>>>,
}

impl Collector {
    /// Listens on a port of its own.
    ///
    /// # Errors
    /// It cannot listen.
    pub async fn start() -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let collector = Self { address: listener.local_addr()?, requests: Arc::default() };
        let heard = collector.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let heard = heard.clone();
                tokio::spawn(async move { heard.serve(stream).await });
            }
        });
        Ok(collector)
    }

    /// Where it is.
    #[must_use]
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// All spans so far.
    #[must_use]
    pub fn spans(&self) -> Vec<Span> {
        let requests = self.requests.lock().unwrap_or_else(PoisonError::into_inner);
        let resources = requests.iter().flat_map(|request| &request.resource_spans);
        resources.flat_map(|r| &r.scope_spans).flat_map(|scope| scope.spans.clone()).collect()
    }

    /// Which services have sent them.
    #[must_use]
    pub fn services(&self) -> Vec<String> {
        let requests = self.requests.lock().unwrap_or_else(PoisonError::into_inner);
        let resources = requests.iter().flat_map(|r| &r.resource_spans).filter_map(|r| r.resource.as_ref());
        resources.filter_map(|resource| attribute(&resource.attributes, "service.name")).collect()
    }

    /// Connections are kept open, as by a real one.
    async fn serve(&self, stream: TcpStream) -> io::Result<()> {
        let mut stream = BufReader::new(stream);
        loop {
            let (mut head, mut line) = (String::new(), String::new());
            while stream.read_line(&mut line).await? > 2 {
                head.push_str(&line.to_lowercase());
                line.clear();
            }
            let Some(length) = head.lines().find_map(|line| line.strip_prefix("content-length: ")) else {
                return Ok(());
            };
            assert!(head.starts_with("post /v1/traces http/1.1"), "{head}");
            let mut body = vec![0; length.trim().parse().map_err(io::Error::other)?];
            stream.read_exact(&mut body).await?;
            let request = ExportTraceServiceRequest::decode(body.as_slice()).map_err(io::Error::other)?;
            self.requests.lock().unwrap_or_else(PoisonError::into_inner).push(request);
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await?;
        }
    }
}

/// An attribute as text.
#[must_use]
pub fn attribute(attributes: &[KeyValue], key: &str) -> Option<String> {
    let found = attributes.iter().find(|attribute| attribute.key == key)?;
    match &found.value {
        Some(AnyValue { value: Some(Value::StringValue(text)) }) => Some(text.clone()),
        Some(AnyValue { value: Some(Value::IntValue(number)) }) => Some(number.to_string()),
        _ => None,
    }
}
