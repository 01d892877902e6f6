//! Makes the program's clients. No other module makes one, so every write passes the gate.

use std::time::Duration;

use kube::{Client, Config};

use super::Elector;
use super::connection::{SILENCE, counted, patient, unfenced};
use crate::cluster::{Clients, ServerClock};
use crate::metrics::Metrics;

/// How long the API server may be silent during a watch. The server ends a watch after 290 seconds.
const WATCH_SILENCE: Duration = Duration::from_secs(330);

/// The clients of a cluster. Their requests are counted. With several replicas, they write only
/// while this replica leads. Without an elector, this is the only replica.
///
/// # Errors
///
/// The client cannot be made from the configuration.
pub fn clients(
    config: &Config,
    elector: Option<&Elector>,
    metrics: &Metrics,
) -> Result<Clients, kube::Error> {
    let client = |silence| {
        let config = patient(config.clone(), silence);
        match elector {
            Some(elector) => Ok(counted(elector.fenced(&config)?, metrics)),
            None => unfenced(&config, metrics),
        }
    };
    let clock = ServerClock::default();
    Ok(Clients {
        requests: timed(client(SILENCE)?, &clock),
        watches: client(WATCH_SILENCE)?,
        clock,
    })
}

/// Tells the clock the date of each answer.
fn timed(client: Client, clock: &ServerClock) -> Client {
    let (namespace, clock) = (client.default_namespace().to_owned(), clock.clone());
    let transport = tower::service_fn(move |request| {
        let (client, clock) = (client.clone(), clock.clone());
        async move {
            let answer = client.send(request).await;
            answer.inspect(|answer| clock.note(answer.headers()))
        }
    });
    Client::new(transport, namespace)
}
