//! The HTTP servers: one for probes and metrics, one for webhooks.

mod hooks;
mod receivers;
mod relay;

#[cfg(test)]
mod tests;

use std::io::ErrorKind;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::Router;
use axum::http::{HeaderMap, HeaderName, StatusCode, header};
use axum::routing::get;
use tokio::net::TcpListener;

pub use self::hooks::{Hooks, Limits};
pub use self::receivers::{Reached, Receiver, Receivers};
use crate::metrics::Metrics;

/// The path of the endpoint for webhooks.
pub const PATH: &str = "/hook";

/// Which parts of the operator are ready. Clones share it.
#[derive(Clone, Default)]
pub struct Readiness {
    repositories: Arc<AtomicBool>,
    syncs: Arc<AtomicBool>,
}

impl Readiness {
    /// Marks a kind as ready: all of its resources are known. Only Syncs and GitRepositories count: without the
    /// definitions of the other kinds, towline still applies.
    pub fn set(&self, kind: &str) {
        let known = match kind {
            "Sync" => &self.syncs,
            "GitRepository" => &self.repositories,
            _ => return,
        };
        known.store(true, Ordering::Release);
    }

    /// Marks all kinds as ready.
    pub fn set_all(&self) {
        self.syncs.store(true, Ordering::Release);
        self.repositories.store(true, Ordering::Release);
    }

    fn is_ready(&self) -> bool {
        self.repositories.load(Ordering::Acquire) && self.syncs.load(Ordering::Acquire)
    }
}

/// The content type of OpenMetrics.
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The content type of Prometheus' text format.
const PLAIN: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Listens on an address. `[::]` also takes connections over IPv4. If the node has no IPv6, it
/// takes IPv4 only.
///
/// # Errors
///
/// The address cannot be listened on.
pub async fn listen(address: SocketAddr) -> std::io::Result<TcpListener> {
    match TcpListener::bind(address).await {
        // If the port is in use, do not fall back to IPv4: half of the clients would not reach this
        // process.
        Err(error)
            if address.ip() == Ipv6Addr::UNSPECIFIED && error.kind() != ErrorKind::AddrInUse =>
        {
            TcpListener::bind((Ipv4Addr::UNSPECIFIED, address.port())).await
        }
        bound => bound,
    }
}

/// Serves `/metrics`, `/healthz` and `/readyz` until `stop` is set.
///
/// # Errors
///
/// The address cannot be listened on.
pub async fn serve(
    address: SocketAddr,
    metrics: Metrics,
    readiness: Readiness,
    stop: impl Future<Output = ()> + Send + 'static,
) -> std::io::Result<()> {
    let listener = listen(address).await?;
    tracing::info!(address = %listener.local_addr()?, "listening");
    let app = Router::new()
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(move || async move { ready(&readiness) }))
        .route(
            "/metrics",
            get(move |headers: HeaderMap| async move { scrape(&headers, &metrics) }),
        );
    axum::serve(listener, app)
        .with_graceful_shutdown(stop)
        .await
}

/// The metrics, in OpenMetrics format if the scraper asks for it, otherwise in Prometheus text
/// format.
fn scrape(headers: &HeaderMap, metrics: &Metrics) -> ([(HeaderName, &'static str); 1], String) {
    let accepted = headers.get_all(header::ACCEPT).into_iter();
    let open = accepted
        .filter_map(|value| value.to_str().ok())
        .any(|value| value.contains("application/openmetrics-text"));
    match open {
        true => ([(header::CONTENT_TYPE, OPEN_METRICS)], metrics.encode()),
        false => ([(header::CONTENT_TYPE, PLAIN)], metrics.encode_plain()),
    }
}

fn ready(readiness: &Readiness) -> (StatusCode, &'static str) {
    if readiness.is_ready() {
        (StatusCode::OK, "ok\n")
    } else {
        (
            StatusCode::SERVICE_UNAVAILABLE,
            "waiting for the API server\n",
        )
    }
}
