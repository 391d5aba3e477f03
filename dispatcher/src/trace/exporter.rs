//! Sends spans to a collector, in the background: OTLP over HTTP. What it cannot take is dropped.

use std::time::Duration;

use opentelemetry_otlp::{ExporterBuildError, Protocol, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkError;
use opentelemetry_sdk::trace::{SpanData, SpanExporter as _};
use tokio::sync::{mpsc, oneshot};
use tracing::{debug, warn};

use super::client::{Client, ClientError, REQUEST_MAX};
use crate::store::with_causes;

/// So many runs' spans wait at most.
const WAITING_MAX: usize = 1024;
/// And so many of them are one request.
const BATCH_MAX: usize = 128;
/// So long a request is tried again that a collector could not take.
const RETRIED_MAX: Duration = Duration::from_secs(10);
/// And the last of them has its time.
const EXPORT_MAX: Duration = RETRIED_MAX.saturating_add(REQUEST_MAX);
/// At the end, for what is not sent yet.
const FLUSH_MAX: Duration = Duration::from_secs(2);
/// Where a collector takes traces, below its endpoint.
const PATH: &str = "/v1/traces";

/// Why nothing can be sent.
#[derive(Debug, thiserror::Error)]
pub enum ExporterError {
    /// The endpoint is none.
    #[error("cannot send traces: {0}")]
    Endpoint(#[from] ExporterBuildError),
    /// TLS cannot be set up.
    #[error("cannot send traces: {0}")]
    Client(#[from] ClientError),
}

enum Order {
    Export(Vec<SpanData>),
    /// All that came before has been sent, or is lost.
    Tell(oneshot::Sender<()>),
}

/// Takes spans and never waits.
pub(super) struct Exporter(mpsc::Sender<Order>);

impl Exporter {
    /// `endpoint`: as OTEL_EXPORTER_OTLP_ENDPOINT has it, without the path of traces.
    pub(super) fn begin(endpoint: &str) -> Result<Self, ExporterError> {
        let endpoint = format!("{}{PATH}", endpoint.trim_end_matches('/').trim_end_matches(PATH));
        let mut exporter = opentelemetry_otlp::SpanExporter::builder()
            .with_http()
            .with_http_client(Client::new()?)
            .with_protocol(Protocol::HttpBinary)
            .with_endpoint(endpoint)
            .with_timeout(RETRIED_MAX)
            .build()?;
        // What OTEL_RESOURCE_ATTRIBUTES says is there too.
        let version = opentelemetry::KeyValue::new("service.version", env!("CARGO_PKG_VERSION"));
        exporter
            .set_resource(&Resource::builder().with_service_name("pgbatch").with_attribute(version).build());
        let (sender, orders) = mpsc::channel(WAITING_MAX);
        tokio::spawn(serve(exporter, orders));
        Ok(Self(sender))
    }

    /// Drops them where too many wait.
    pub(super) fn export(&self, spans: Vec<SpanData>) {
        if !spans.is_empty() && self.0.try_send(Order::Export(spans)).is_err() {
            debug!("too many spans wait; those of a run are dropped");
        }
    }

    pub(super) async fn flush(&self) {
        let (tell, told) = oneshot::channel();
        let flushed = async {
            if self.0.send(Order::Tell(tell)).await.is_ok() {
                // An error is an end too.
                let _ = told.await;
            }
        };
        // What is not sent by then is lost.
        let _ = tokio::time::timeout(FLUSH_MAX, flushed).await;
    }
}

async fn serve(exporter: opentelemetry_otlp::SpanExporter, mut orders: mpsc::Receiver<Order>) {
    let mut in_vain = false;
    let mut batch = Vec::with_capacity(BATCH_MAX);
    while orders.recv_many(&mut batch, BATCH_MAX).await > 0 {
        let (mut spans, mut waiting) = (Vec::new(), Vec::new());
        for order in batch.drain(..) {
            match order {
                Order::Export(more) => spans.extend(more),
                Order::Tell(tell) => waiting.push(tell),
            }
        }
        if !spans.is_empty() {
            let sent = tokio::time::timeout(EXPORT_MAX, exporter.export(spans));
            let sent = sent.await.unwrap_or(Err(OTelSdkError::Timeout(EXPORT_MAX)));
            tell(sent.as_ref().err(), &mut in_vain);
        }
        for tell in waiting {
            // Who waited may have given up.
            let _ = tell.send(());
        }
    }
}

/// Says once that it is in vain, and not each time.
fn tell(error: Option<&OTelSdkError>, in_vain: &mut bool) {
    match error {
        Some(error) if *in_vain => debug!(error = with_causes(error), "still no trace is sent"),
        Some(error) => {
            warn!(error = with_causes(error), "traces are lost, nothing else; trying on with those to come")
        }
        None => {}
    }
    *in_vain = error.is_some();
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use serde_json::json;

    use super::super::RunTrace;
    use super::*;

    fn spans() -> Vec<SpanData> {
        let run: RunTrace = serde_json::from_value(json!({
            "installation": "an-id", "run": 1, "queue": "q", "batch": 1, "namespace": null, "attempt": 1,
            "traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", "claimable_at": null,
            "claimed_at": "2026-01-01T00:00:00Z", "started_at": null, "finished_at": "2026-01-01T00:00:01Z",
            "state": "lost", "reason": null}))
        .unwrap();
        run.spans(None, "shop")
    }

    #[tokio::test]
    async fn a_collector_that_does_not_answer_holds_nobody_up() {
        // Connections are made, and nobody reads them.
        let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let exporter = Exporter::begin(&format!("http://{}", silent.local_addr().unwrap())).unwrap();
        let began = Instant::now();
        for _ in 0..2 * WAITING_MAX {
            exporter.export(spans());
        }
        assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
        assert_eq!(exporter.0.capacity(), 0, "what is more is dropped");
        exporter.flush().await;
        assert!(began.elapsed() < Duration::from_secs(10), "the end waits a moment only");
    }

    #[tokio::test]
    async fn what_is_no_url_is_said_at_once() {
        let error = Exporter::begin("not a url").err().unwrap().to_string();
        assert!(error.starts_with("cannot send traces: "), "{error}");
    }
}
