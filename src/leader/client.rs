//! A client whose writes pass the gate.

use std::task::{Context, Poll};
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use http::{Method, Request, Response};
use kube::client::Body;
use kube::{Client, Config};
use tower::Service;

use super::connection::{connector, direct, over};
use super::gate::{Gate, NotLeading};

/// A client for `config`. All requests except GET pass the gate and use connections of their own. A
/// dry run passes the gate too: only the method is checked, so no write can be missed.
pub(super) fn guarded(
    config: &Config,
    gate: &Gate,
    margin: Duration,
) -> Result<Client, kube::Error> {
    let namespace = config.default_namespace.clone();
    let service = Fence {
        writes: writing(config, gate, margin)?,
        reads: direct(config)?,
        gate: gate.clone(),
    };
    Ok(Client::new(service, namespace))
}

/// A client on connections that send nothing while the gate is shut. The kernel gives up on unacknowledged bytes within
/// `margin`.
fn writing(config: &Config, gate: &Gate, margin: Duration) -> Result<Client, kube::Error> {
    let mut connector = connector();
    #[cfg(target_os = "linux")]
    connector.set_tcp_user_timeout(Some(margin));
    over(config, connector, Some(gate.clone()))
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
