//! The client of the API server, on connections that notice a silent peer.
//!
//! kube's own client sets no TCP option, and nothing is ever sent on an open watch: when a node, a NAT or a load
//! balancer on the way forgets the connection, only the end of the watch's own time (5 minutes) shows it. The kernel
//! probes instead, at the price of an empty packet and of no request. Connections are HTTP/1.1 (kube's TLS offers no
//! other protocol), so each watch has one of its own, and no stream waits for another's.

use hyper_timeout::TimeoutConnector;
use hyper_util::client::legacy::Client as Hyper;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use kube::client::{Body, ConfigExt};
use kube::{Client, Config};
use tower::util::option_layer;
use tower::{BoxError, Layer, ServiceExt};

use crate::store::silence;

/// A client of `cluster` as kube makes it, but without its own retries and traces, and with connections that end some
/// 12 s after the peer fell silent: see [`silence`].
///
/// # Errors
/// The configuration cannot be used: a certificate, a plugin, or a proxy.
pub(super) fn client(cluster: Config) -> Result<Client, kube::Error> {
    if cluster.proxy_url.is_some() {
        // kube says better what it does not support, and otherwise knows how.
        return Client::try_from(cluster);
    }
    let mut tcp = HttpConnector::new();
    tcp.enforce_http(false);
    tcp.set_keepalive(Some(silence::KEEPALIVE_IDLE));
    tcp.set_keepalive_interval(Some(silence::KEEPALIVE_INTERVAL));
    tcp.set_keepalive_retries(Some(silence::KEEPALIVE_PROBES));
    tcp.set_tcp_user_timeout(Some(silence::UNACKNOWLEDGED_MAX));
    // The limit is for TCP and TLS together.
    let mut connector = TimeoutConnector::new(cluster.rustls_https_connector_with_connector(tcp)?);
    connector.set_connect_timeout(cluster.connect_timeout);
    connector.set_read_timeout(cluster.read_timeout);
    connector.set_write_timeout(cluster.write_timeout);
    let http: Hyper<_, Body> = Hyper::builder(TokioExecutor::new()).build(connector);

    let service = http.map_err(BoxError::from);
    let service = cluster.extra_headers_layer()?.layer(service);
    let service = option_layer(cluster.auth_layer()?).layer(service);
    let service = cluster.base_uri_layer().layer(service);
    Ok(Client::new(service, cluster.default_namespace))
}
