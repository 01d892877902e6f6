//! A client whose writes pass the gate.

use std::task::{Context, Poll};
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use http::{Method, Request, Response};
use hyper_timeout::TimeoutConnector;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use kube::client::{Body, ConfigExt as _};
use kube::{Client, Config};
use tower::{BoxError, Service, ServiceBuilder, ServiceExt as _};

use super::gate::{Gate, Guarded, NotLeading};

/// A client for `config`. All requests except GET pass the gate and use connections of their own. A
/// dry run passes the gate too: only the method is checked, so no write can be missed.
pub(super) fn guarded(
    config: Config,
    gate: &Gate,
    margin: Duration,
) -> Result<Client, kube::Error> {
    let namespace = config.default_namespace.clone();
    let service = Fence {
        writes: writing(&config, gate, margin)?,
        // kube's own constructor. It refuses settings that our own stack does not support, such as
        // a proxy.
        reads: Client::try_from(config)?,
        gate: gate.clone(),
    };
    Ok(Client::new(service, namespace))
}

/// kube's own stack, on connections that send nothing while the gate is shut. The kernel gives up
/// on unacknowledged bytes within `margin`.
fn writing(config: &Config, gate: &Gate, margin: Duration) -> Result<Client, kube::Error> {
    let mut connector = HttpConnector::new();
    connector.enforce_http(false);
    #[cfg(target_os = "linux")]
    connector.set_tcp_user_timeout(Some(margin));
    let gate = gate.clone();
    let connector = connector.map_response(move |stream| Guarded::new(stream, gate));
    let connector = config.rustls_https_connector_with_connector(connector)?;
    let mut connector = TimeoutConnector::new(connector);
    connector.set_connect_timeout(config.connect_timeout);
    connector.set_read_timeout(config.read_timeout);
    connector.set_write_timeout(config.write_timeout);
    let http = hyper_util::client::legacy::Client::builder(TokioExecutor::new())
        .build::<_, Body>(connector);
    let service = ServiceBuilder::new()
        .layer(config.base_uri_layer())
        .option_layer(config.auth_layer()?)
        .layer(config.extra_headers_layer()?)
        .map_err(BoxError::from)
        .service(http);
    Ok(Client::new(service, config.default_namespace.clone()))
}

/// Sends reads through one client and writes through the other.
struct Fence {
    reads: Client,
    writes: Client,
    gate: Gate,
}

impl Service<Request<Body>> for Fence {
    type Response = Response<Body>;
    type Error = kube::Error;
    type Future = BoxFuture<'static, Result<Self::Response, Self::Error>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        if request.method() == Method::GET {
            let client = self.reads.clone();
            return async move { client.send(request).await }.boxed();
        }
        let (client, gate) = (self.writes.clone(), self.gate.clone());
        async move { gate.pass(client.send(request)).await }.boxed()
    }
}

impl From<NotLeading> for kube::Error {
    fn from(refused: NotLeading) -> Self {
        Self::Service(refused.into())
    }
}
