//! What a Prometheus reads.

use axum::extract::State;
use axum::http::header::{CONTENT_TYPE, HeaderName};

use super::Health;
use crate::metrics;

/// The loop is asked whether it is there, as by a probe; nobody else is.
pub(super) async fn metrics(State(health): State<Health>) -> ([(HeaderName, &'static str); 1], String) {
    let silence = health.silence().await;
    ([(CONTENT_TYPE, metrics::CONTENT_TYPE)], metrics::metrics().render(silence))
}
