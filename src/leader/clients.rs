//! The program's clients. Nobody else makes one: what writes passes the gate.

use std::time::Duration;

use kube::client::ClientBuilder;
use kube::{Client, Config};

use super::Elector;
use crate::cluster::Clients;
use crate::metrics::Metrics;

/// The longest silence of the API server in the middle of a request.
const SILENCE: Duration = Duration::from_secs(30);

/// The same for a watch, which the server ends after 290 seconds.
const WATCH_SILENCE: Duration = Duration::from_secs(330);

/// The clients of a cluster. Their requests are counted; among several replicas they write only while this one
/// leads. Without an elector this replica is the only one.
///
/// # Errors
/// The client's, where the configuration cannot be used.
pub fn clients(
    config: &Config,
    elector: Option<&Elector>,
    metrics: &Metrics,
) -> Result<Clients, kube::Error> {
    let client = |silence| {
        let config = patient(config.clone(), silence);
        match elector {
            Some(elector) => Ok(counted(elector.fenced(config)?, metrics)),
            None => unfenced(config, metrics),
        }
    };
    Ok(Clients {
        requests: client(SILENCE)?,
        watches: client(WATCH_SILENCE)?,
    })
}

/// A client for the lease itself.
pub(super) fn for_lease(config: Config, metrics: &Metrics) -> Result<Client, kube::Error> {
    unfenced(patient(config, SILENCE), metrics)
}

/// A client that writes whether this replica leads or not: for the lease, and for the only replica.
fn unfenced(config: Config, metrics: &Metrics) -> Result<Client, kube::Error> {
    let transport = ClientBuilder::try_from(config)?;
    Ok(transport.with_layer(&metrics.requests()).build())
}

fn counted(client: Client, metrics: &Metrics) -> Client {
    let namespace = client.default_namespace().to_owned();
    let transport = tower::service_fn(move |request| {
        let client = client.clone();
        async move { client.send(request).await }
    });
    let transport = ClientBuilder::new(transport, namespace);
    transport.with_layer(&metrics.requests()).build()
}

/// Clients try nothing again by themselves: kube's own retry covers every verb, up to 15 tries, and
/// would hide from a driver that it should turn to a newer commit.
fn patient(mut config: Config, silence: Duration) -> Config {
    config.default_retry = false;
    config.connect_timeout = Some(SILENCE);
    config.read_timeout = Some(silence);
    config.write_timeout = Some(SILENCE);
    config
}
