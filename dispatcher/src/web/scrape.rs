//! What a Prometheus reads.

use axum::extract::State;
use axum::http::header::{CONTENT_TYPE, HeaderName};

use super::Health;
use crate::metrics;

/// The loop is asked whether it is there, as by a probe, and to count where that is outdated; nobody else is. One that does not
/// answer has the page show what was counted last.
pub(super) async fn metrics(State(health): State<Health>) -> ([(HeaderName, &'static str); 1], String) {
    let (silence, ()) = tokio::join!(health.silence(), health.count());
    ([(CONTENT_TYPE, metrics::CONTENT_TYPE)], metrics::metrics().render(silence))
}
