//! Connections to the API server: how long they wait, and that kube does not retry on its own.

use std::time::Duration;

use kube::client::ClientBuilder;
use kube::{Client, Config};

use crate::metrics::Metrics;

/// How long the API server may be silent during a request.
pub(super) const SILENCE: Duration = Duration::from_secs(30);

/// A client for the lease itself.
pub(super) fn for_lease(config: Config, metrics: &Metrics) -> Result<Client, kube::Error> {
    unfenced(patient(config, SILENCE), metrics)
}

/// A client that always writes: for the lease, and for the only replica.
pub(super) fn unfenced(config: Config, metrics: &Metrics) -> Result<Client, kube::Error> {
    let transport = ClientBuilder::try_from(config)?;
    Ok(transport.with_layer(&metrics.requests()).build())
}

/// Turns off kube's own retries. They cover every verb, with up to 15 tries, so a driver could not
/// turn to a newer commit.
pub(super) fn patient(mut config: Config, silence: Duration) -> Config {
    config.default_retry = false;
    config.connect_timeout = Some(SILENCE);
    config.read_timeout = Some(silence);
    config.write_timeout = Some(SILENCE);
    config
}
