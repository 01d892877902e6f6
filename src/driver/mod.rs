//! The parts that the drivers of all kinds of resource share: the operator's parts that they use,
//! the writer of status, and the supervisor. The supervisor starts a driver for every resource that
//! exists in the API server.

mod driven;
mod loss;
mod refetch;
mod status;
mod supervise;
mod turns;
mod verifier;

use std::time::Duration;

use kube::Client;

pub use self::driven::Driven;
pub(crate) use self::loss::{Unknown as UnknownLoss, contained_kinds, may_have_objects};
pub(crate) use self::refetch::{RefetchError, needs_tag, refetched};
pub(crate) use self::status::{
    StatusBackoff, StatusError, StatusOf, StatusRefusal, StatusWrites, Written, is_gone,
    write_status,
};
pub use self::supervise::supervise;
pub(crate) use self::turns::{Turn, Turns};
pub(crate) use self::verifier::{Error as VerifyError, Verifier};
use crate::allowance::Allowance;
use crate::cluster::{Actor, Cluster};
use crate::desired::Limit;
use crate::fleet::Fleet;
use crate::intent::SyncIntent;
use crate::leader::Leadership;
use crate::metrics::Metrics;
use crate::notify::Notifier;
use crate::outbox::Outbox;
use crate::plan::{Key, SyncName};
use crate::render::wasm::Renderers;
use crate::secrets::{ConfigMaps, Secrets};
use crate::server::Receivers;
use crate::source::Cache;

/// The parts that all drivers share.
pub struct Context {
    /// For towline's own resources.
    pub client: Client,
    /// For managed objects.
    pub cluster: Cluster,
    /// The cache of fetched repositories.
    pub cache: Cache,
    /// Events.
    pub notifier: Notifier,
    /// Messages of alerts.
    pub outbox: Outbox,
    /// The metrics for Prometheus.
    pub metrics: Metrics,
    /// How long desired and observed state may differ before an event says so.
    pub diff_after: Duration,
    /// How long after it went live a change may fail.
    pub failure_window: Duration,
    /// The only namespace whose resources are driven. None means all namespaces.
    pub namespace: Option<String>,
    /// Whether this replica drives, or is a standby with filled caches.
    pub leadership: Leadership,
    /// The repositories that webhooks wake.
    pub receivers: Receivers,
    /// What the operator's arguments say about every resource.
    pub policy: Policy,
    /// The published views of all sources and Syncs.
    pub fleet: Fleet,
    /// The Secrets that repositories and Syncs name.
    pub secrets: Secrets,
    /// The ConfigMaps that Syncs name.
    pub config_maps: ConfigMaps,
    /// What the values of these may take of memory.
    pub inputs: Allowance,
    /// kustomize and Helm.
    pub renderers: Renderers,
    /// The operator's key.
    pub key: Key,
    /// Turns of the drivers of Syncs to work.
    pub(crate) turns: Turns,
    /// The statuses that are being written.
    pub(crate) statuses: StatusWrites,
}

impl Context {
    /// The only namespace in which a Sync may manage objects, if there is one.
    pub fn limit<'a>(&'a self, sync: &'a SyncName, intent: &SyncIntent) -> Option<Limit<'a>> {
        let keeps = self.policy.no_cross_namespace;
        match &self.namespace {
            Some(namespace) => Some(Limit::Operator(namespace)),
            None if keeps && self.policy.actor(sync, intent).is_operator() => {
                Some(Limit::Sync(&sync.namespace))
            }
            None => None,
        }
    }
}

/// The name of a cluster that nobody named.
pub const UNNAMED: &str = "default";

/// What the operator's arguments say about every resource.
#[derive(Clone, Debug, Default)]
pub struct Policy {
    /// The ServiceAccount, in a Sync's own namespace, that acts for a Sync that names none.
    pub default_service_account: Option<String>,
    /// A Sync for which no ServiceAccount acts manages only objects of its own namespace.
    pub no_cross_namespace: bool,
    /// What tells this cluster from others, in messages and in the statuses of commits.
    pub cluster_name: Option<String>,
    /// Where towline's documentation is published. It ends with `/`.
    pub docs_url: Option<String>,
    /// The shortest time between two polls or verifications.
    pub min_interval: Duration,
}

impl Policy {
    /// An interval, or the shortest that is allowed.
    pub fn bounded(&self, interval: Duration) -> Duration {
        interval.max(self.min_interval)
    }

    /// What tells this cluster from others.
    pub fn cluster(&self) -> &str {
        self.cluster_name.as_deref().unwrap_or(UNNAMED)
    }

    /// By whose rights the objects of a Sync are read and written.
    pub fn actor(&self, sync: &SyncName, intent: &SyncIntent) -> Actor {
        let default = self.default_service_account.as_ref();
        match intent.service_account.as_ref().or(default) {
            Some(name) => Actor::account(sync, name),
            None => Actor::operator(sync),
        }
    }
}
