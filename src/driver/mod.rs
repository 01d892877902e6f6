//! What the drivers of all kinds of resource share: the parts of the operator that they use, how a status is
//! written, and the supervisor, which starts a driver for every resource that the API server says exists.

mod driven;
mod status;
mod supervise;

use std::time::Duration;

use kube::Client;
use tokio::sync::Semaphore;

pub use self::driven::Driven;
pub(crate) use self::status::{is_gone, write_status};
pub use self::supervise::supervise;
use crate::cluster::Cluster;
use crate::fleet::Fleet;
use crate::leader::Leadership;
use crate::metrics::Metrics;
use crate::notify::Notifier;
use crate::secrets::Secrets;
use crate::server::Receivers;
use crate::source::Cache;

/// What every driver shares.
pub struct Context {
    /// For towline's own resources.
    pub client: Client,
    /// For managed objects.
    pub cluster: Cluster,
    /// Fetched repositories.
    pub cache: Cache,
    /// Events.
    pub notifier: Notifier,
    /// What Prometheus scrapes.
    pub metrics: Metrics,
    /// How long desired and observed may differ before that is told.
    pub diff_after: Duration,
    /// The only namespace whose resources are driven; all where none.
    pub namespace: Option<String>,
    /// Whether this replica drives, or stands by with its caches filled.
    pub leadership: Leadership,
    /// Which repositories a webhook wakes.
    pub receivers: Receivers,
    /// What is known of every source and Sync.
    pub fleet: Fleet,
    /// The Secrets that repositories name.
    pub secrets: Secrets,
    /// Permits to write a status.
    pub(crate) statuses: Semaphore,
}

impl Context {
    /// A context of its parts.
    #[expect(
        clippy::too_many_arguments,
        reason = "each is a part of its own, and named here once"
    )]
    pub fn new(
        client: Client,
        cluster: Cluster,
        cache: Cache,
        notifier: Notifier,
        metrics: Metrics,
        diff_after: Duration,
        namespace: Option<String>,
        leadership: Leadership,
    ) -> Self {
        let secrets = Secrets::new(client.clone());
        Self {
            client,
            cluster,
            cache,
            notifier,
            metrics,
            diff_after,
            namespace,
            leadership,
            receivers: Receivers::default(),
            fleet: Fleet::default(),
            secrets,
            statuses: Semaphore::new(status::STATUSES),
        }
    }
}
