//! The HTTP client of the exporter: the one that the program has for Kubernetes, with the authorities that it trusts for PostgreSQL.

use std::pin::Pin;
use std::time::Duration;

use axum::body::{Body, to_bytes};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client as Hyper;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use opentelemetry_http::{Bytes, HttpClient, HttpError, Request, Response};

use crate::store::{TlsError, trusting_the_system};

/// A collector that takes longer to answer does not.
pub(super) const REQUEST_MAX: Duration = Duration::from_secs(5);
/// And it answers in a few bytes.
const ANSWER_MAX: usize = 64 * 1024;

/// TLS cannot be set up.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct ClientError(#[from] TlsError);

#[derive(Debug)]
pub(super) struct Client(Hyper<HttpsConnector<HttpConnector>, Body>);

impl Client {
    pub(super) fn new() -> Result<Self, ClientError> {
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(trusting_the_system()?)
            .https_or_http()
            .enable_http1()
            .wrap_connector(tcp);
        Ok(Self(Hyper::builder(TokioExecutor::new()).build(connector)))
    }
}

type Answer<'a> = Pin<Box<dyn Future<Output = Result<Response<Bytes>, HttpError>> + Send + 'a>>;

impl HttpClient for Client {
    // As the macro of that crate makes it of an `async fn`.
    fn send_bytes<'life0, 'async_trait>(&'life0 self, request: Request<Bytes>) -> Answer<'async_trait>
    where
        'life0: 'async_trait,
        Self: 'async_trait,
    {
        let answer = async move {
            let (head, body) = self.0.request(request.map(Body::from)).await?.into_parts();
            Ok(Response::from_parts(head, to_bytes(Body::new(body), ANSWER_MAX).await?))
        };
        Box::pin(async move { tokio::time::timeout(REQUEST_MAX, answer).await? })
    }
}
