//! The parts that the drivers of all kinds of resource share: the operator's parts that they use,
//! the writer of status, and the supervisor. The supervisor starts a driver for every resource that
//! exists in the API server.

mod driven;
mod status;
mod supervise;

use std::time::Duration;

use kube::Client;
use tokio::sync::Semaphore;

pub use self::driven::Driven;
pub(crate) use self::status::{
    PARALLEL_STATUS_WRITES, StatusBackoff, Written, is_gone, write_status,
};
pub use self::supervise::supervise;
use crate::cluster::Cluster;
use crate::fleet::Fleet;
use crate::leader::Leadership;
use crate::metrics::Metrics;
use crate::notify::Notifier;
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
    /// The metrics for Prometheus.
    pub metrics: Metrics,
    /// How long desired and observed state may differ before an event says so.
    pub diff_after: Duration,
    /// The only namespace whose resources are driven. None means all namespaces.
    pub namespace: Option<String>,
    /// Whether this replica drives, or is a standby with filled caches.
    pub leadership: Leadership,
    /// The repositories that webhooks wake.
    pub receivers: Receivers,
    /// The published views of all sources and Syncs.
    pub fleet: Fleet,
    /// The Secrets that repositories and Syncs name.
    pub secrets: Secrets,
    /// The ConfigMaps that Syncs name.
    pub config_maps: ConfigMaps,
    /// kustomize and Helm.
    pub renderers: Renderers,
    /// Permits to write a status.
    pub(crate) statuses: Semaphore,
}
