//! What the dispatcher shows over HTTP. Nothing here writes. Nothing but the dashboard asks PostgreSQL, and nothing the API
//! server; for a scrape, the loop does where something has changed.

pub mod dashboard;
mod health;
mod scrape;

use std::io;
use std::net::SocketAddr;

use axum::Router;
use axum::routing::get;
use tokio::net::TcpListener;
use tracing::{error, info};

use dashboard::Dashboard;

pub use health::Health;

/// Serves the pages at `address` until the process ends.
///
/// # Errors
/// The address cannot be listened at: it is taken, or not this host's.
pub async fn listen(address: SocketAddr, health: Health, dashboard: Option<Dashboard>) -> io::Result<()> {
    let listener = TcpListener::bind(address).await?;
    info!(address = %listener.local_addr()?, dashboard = dashboard.is_some(), "serving /healthz, /readyz and /metrics");
    tokio::spawn(async move {
        if let Err(error) = axum::serve(listener, pages(health, dashboard)).await {
            error!(%error, "the pages are no longer served");
        }
    });
    Ok(())
}

fn pages(health: Health, dashboard: Option<Dashboard>) -> Router {
    let probes = Router::new()
        .route("/healthz", get(health::healthz))
        .route("/readyz", get(health::readyz))
        .route("/metrics", get(scrape::metrics))
        .with_state(health);
    match dashboard {
        Some(dashboard) => probes.merge(dashboard.pages()),
        None => probes,
    }
}
