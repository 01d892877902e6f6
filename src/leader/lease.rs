//! Takes, renews and releases the Lease.

use std::collections::BTreeMap;
use std::hash::{BuildHasher as _, RandomState};
use std::net::SocketAddr;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::api::{ObjectMeta, PostParams};
use kube::{Api, Client, Config, ResourceExt as _};
use tokio::time::{sleep, timeout};

use super::Leadership;
use super::client::guarded;
use super::clock::Moment;
use super::connection;
use super::election::{Candidate, LeaseRecord, LostLease, Next, Terms};
use super::gate::Gate;
use crate::metrics::Metrics;

/// The annotation with the leader's address for webhooks: `IP:port`.
pub const WEBHOOK_ADDRESS: &str = "towline.dev/webhook-address";

/// The label of the Lease, whatever its name is.
pub const LEASE_LABEL: (&str, &str) = ("app.kubernetes.io/managed-by", "towline");

/// How long running writes have to end before the lease is released, and how long the release may
/// take. The chart's `terminationGracePeriodSeconds` is long enough for both.
const DRAIN: Duration = Duration::from_secs(5);

/// How a replica takes part in the election.
#[derive(Clone, Debug)]
pub struct ElectionSettings {
    /// The Lease's name.
    pub name: String,
    /// Its namespace.
    pub namespace: String,
    /// How long the lease is valid after each renewal.
    pub duration: Duration,
    /// The address at which other replicas reach this one's webhook port.
    pub advertise: Option<SocketAddr>,
}

/// Takes part in the election.
pub struct Elector {
    api: Api<Lease>,
    name: String,
    identity: String,
    terms: Terms,
    advertise: Option<SocketAddr>,
    candidate: Candidate,
    gate: Gate,
    leadership: Leadership,
    metrics: Metrics,
    /// The Lease in the server's last answer.
    lease: Option<Lease>,
    /// The Lease may have changed since then.
    stale: bool,
    /// The leader that the log named last.
    logged_leader: Option<String>,
    /// The log has a warning that the API server does not return or accept the Lease.
    warned: bool,
}

impl Elector {
    /// A standby. [`Self::run`] starts its part in the election.
    ///
    /// # Errors
    ///
    /// The client cannot be made from the configuration.
    pub fn new(
        config: Config,
        settings: ElectionSettings,
        metrics: Metrics,
    ) -> Result<Self, kube::Error> {
        let ElectionSettings {
            name,
            namespace,
            duration,
            advertise,
        } = settings;
        let (terms, identity) = (Terms::new(duration), identity());
        tracing::info!(lease = %format!("{namespace}/{name}"), identity, "role by");
        metrics.leads(false);
        Ok(Self {
            // Uses connections of its own, so that no renewal waits for another request.
            api: Api::namespaced(connection::for_lease(config, &metrics)?, &namespace),
            candidate: Candidate::new(identity.clone(), format!("{namespace}/{name}"), terms),
            name,
            identity,
            terms,
            advertise,
            gate: Gate::shut(),
            leadership: Leadership::standby(),
            metrics,
            lease: None,
            stale: true,
            logged_leader: None,
            warned: false,
        })
    }

    /// Whether this replica leads.
    pub fn leadership(&self) -> Leadership {
        self.leadership.clone()
    }

    /// A client whose writes are refused unless this replica holds the lease.
    ///
    /// # Errors
    ///
    /// The client cannot be made from the configuration.
    pub(super) fn fenced(&self, config: &Config) -> Result<Client, kube::Error> {
        guarded(config, &self.gate, self.terms.margin())
    }

    /// Takes the lease when it is free, and renews it until it is lost. When this returns, the gate
    /// is shut.
    pub async fn run(&mut self) -> LostLease {
        loop {
            if self.stale {
                self.look().await;
            }
            match self.candidate.next(Moment::now()) {
                Next::StandBy => self.stand_by(),
                // The server did not answer, so it is not known whether a lease exists.
                Next::Take if self.stale => (),
                Next::Take | Next::Renew => self.write().await,
                Next::Stop(lost) => {
                    self.gate.close();
                    self.leadership.stand_by(None);
                    self.metrics.leads(false);
                    return lost;
                }
            }
            let pause = match self.stale {
                true => self.terms.look,
                false => self.terms.renewal,
            };
            sleep(pause).await;
        }
    }

    /// Reads the Lease from the server.
    async fn look(&mut self) {
        match timeout(self.terms.patience(), self.api.get_opt(&self.name)).await {
            Ok(Ok(lease)) => {
                let record = lease.as_ref().map(|lease| self.record(lease));
                self.candidate.observe(record, Moment::now());
                self.lease = lease;
                self.stale = false;
                self.warned &= self.candidate.leads();
            }
            Ok(Err(error)) => self.warn("reading the lease", Some(&error)),
            Err(_) => self.warn("reading the lease", None),
        }
    }

    /// Logs a failure once, and then not again until a success. Failures repeat about every second.
    fn warn(&mut self, what: &str, error: Option<&kube::Error>) {
        let cause = error.map_or_else(|| "no answer".to_owned(), |error| crate::chain(error));
        if std::mem::replace(&mut self.warned, true) {
            tracing::debug!("{what}: {cause}");
        } else {
            tracing::warn!("{what}: {cause}; trying again");
        }
    }

    /// Publishes the leader's address for webhooks, and reads the lease again later.
    fn stand_by(&mut self) {
        self.stale = true;
        let address = self.lease.as_ref().and_then(|lease| {
            let address = lease.annotations().get(WEBHOOK_ADDRESS)?;
            address.parse().ok()
        });
        self.leadership.stand_by(address);
        let holder = self.candidate.holder().map(str::to_owned);
        if holder != self.logged_leader {
            tracing::info!(leader = holder.as_deref(), "another replica leads");
            self.logged_leader = holder;
        }
    }

    /// Takes or renews the lease, if it has not changed since it was read.
    async fn write(&mut self) {
        let sent = Moment::now();
        let takes = !self.candidate.leads();
        let body = self.mine(takes);
        let params = PostParams::default();
        let patience = match self.candidate.may_write_until() {
            Some(until) => self.terms.patience().min(sent.until(until)),
            None => self.terms.patience(),
        };
        let answer = timeout(patience, async {
            match &self.lease {
                Some(_) => self.api.replace(&self.name, &params, &body).await,
                None => self.api.create(&params, &body).await,
            }
        });
        // Whatever the answer is, the known Lease may be out of date.
        self.stale = true;
        match answer.await {
            Ok(Ok(lease)) => {
                self.candidate.renewed(self.record(&lease), sent);
                self.lease = Some(lease);
                self.stale = false;
                self.warned = false;
                if let Some(until) = self.candidate.may_write_until() {
                    self.gate.open_until(until);
                }
                if takes {
                    tracing::info!(identity = self.identity, "this replica leads");
                    self.metrics.leads(true);
                    self.leadership.lead();
                }
            }
            // Another replica was faster, or the lease is gone.
            Ok(Err(kube::Error::Api(status))) if matches!(status.code, 404 | 409) => (),
            Ok(Err(error)) => self.warn("writing the lease", Some(&error)),
            Err(_) => self.warn("writing the lease", None),
        }
    }

    /// The new Lease. Fields that others wrote stay.
    fn mine(&self, takes: bool) -> Lease {
        let mut lease = self.lease.clone().unwrap_or_else(|| Lease {
            metadata: ObjectMeta {
                name: Some(self.name.clone()),
                ..ObjectMeta::default()
            },
            spec: None,
        });
        let now = MicroTime(Timestamp::now());
        let before = lease.spec.take().unwrap_or_default();
        let transitions = before.lease_transitions.unwrap_or_default();
        let handed_on = i32::from(takes && self.lease.is_some());
        let annotations = lease.metadata.annotations.get_or_insert_default();
        note_address(annotations, self.advertise);
        let labels = lease.metadata.labels.get_or_insert_default();
        let (label, value) = LEASE_LABEL;
        labels.insert(label.to_owned(), value.to_owned());
        lease.spec = Some(LeaseSpec {
            holder_identity: Some(self.identity.clone()),
            lease_duration_seconds: Some(whole_seconds(self.terms.lease)),
            acquire_time: match takes {
                true => Some(now.clone()),
                false => before.acquire_time,
            },
            renew_time: Some(now),
            lease_transitions: Some(transitions.saturating_add(handed_on)),
            ..before
        });
        lease
    }

    fn record(&self, lease: &Lease) -> LeaseRecord {
        let spec = lease.spec.clone().unwrap_or_default();
        let seconds = spec.lease_duration_seconds.unwrap_or_default();
        LeaseRecord {
            holder: spec.holder_identity.filter(|holder| !holder.is_empty()),
            renewed: spec.renew_time.map(|time| time.0),
            lease: match u64::try_from(seconds) {
                Ok(seconds @ 1..) => Duration::from_secs(seconds),
                _ => self.terms.lease,
            },
        }
    }

    /// Releases the lease, so that another replica need not wait until it runs out. First blocks
    /// new writes and waits for the answers to running writes. The drivers may be dropped
    /// afterwards. If the wait takes too long, the lease is not released and runs out.
    pub async fn resign(&mut self) {
        if !self.candidate.leads() {
            return;
        }
        let drained = timeout(DRAIN, self.gate.drain()).await;
        self.gate.close();
        self.leadership.stand_by(None);
        self.metrics.leads(false);
        if drained.is_err() {
            tracing::warn!("writes are still running: the lease is not released and will run out");
            return;
        }
        match timeout(self.terms.patience().min(DRAIN), self.release()).await {
            Ok(Ok(())) => tracing::info!("the lease is released"),
            Ok(Err(error)) => tracing::warn!(%error, "releasing the lease"),
            Err(_) => tracing::warn!("releasing the lease: no answer"),
        }
    }

    async fn release(&self) -> Result<(), kube::Error> {
        // A renewal may have been cut off, so the known Lease may be out of date.
        let Some(mut lease) = self.api.get_opt(&self.name).await? else {
            return Ok(());
        };
        let spec = lease.spec.get_or_insert_default();
        if spec.holder_identity.as_ref() != Some(&self.identity) {
            return Ok(());
        }
        spec.holder_identity = None;
        spec.renew_time = Some(MicroTime(Timestamp::now()));
        let annotations = lease.metadata.annotations.get_or_insert_default();
        note_address(annotations, None);
        let params = PostParams::default();
        self.api.replace(&self.name, &params, &lease).await?;
        Ok(())
    }
}

fn note_address(annotations: &mut BTreeMap<String, String>, address: Option<SocketAddr>) {
    match address {
        Some(address) => annotations.insert(WEBHOOK_ADDRESS.to_owned(), address.to_string()),
        None => annotations.remove(WEBHOOK_ADDRESS),
    };
}

/// Rounds up, because the other replicas wait for this time.
fn whole_seconds(duration: Duration) -> i32 {
    i32::try_from(duration.as_millis().div_ceil(1000)).unwrap_or(i32::MAX)
}

/// The host name, which is the pod's name, and a part that is different at every start. A container
/// that is started again is another replica than the killed one.
fn identity() -> String {
    let system = rustix::system::uname();
    let host = system.nodename().to_string_lossy().into_owned();
    // The standard library seeds a new RandomState from the system.
    let unique = RandomState::new().hash_one(std::process::id());
    format!("{host}_{unique:016x}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_start_is_another_replica() {
        assert_ne!(identity(), identity());
    }

    #[test]
    fn others_wait_at_least_as_long_as_the_lease_counts() {
        for (millis, seconds) in [(1000, 1), (1001, 2), (2500, 3), (15_000, 15)] {
            assert_eq!(whole_seconds(Duration::from_millis(millis)), seconds);
        }
    }
}
