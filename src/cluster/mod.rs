//! The only I/O on managed objects: discovery, watches, apply, prune.

mod definition;
mod discovery;
mod inventory;
mod kinds;
mod mend;
mod namespaces;
mod null;
mod resume;
mod running;
mod served;
mod watch;
mod write;

use std::time::Duration;

pub use inventory::{Inventory, Mailbox};
pub use kinds::Kinds;
use kube::Client;
pub use mend::Compared;
pub use namespaces::{Arrivals, Namespaces};
pub use resume::resumed;
pub use running::{RunningApplies, RunningApply};
pub use served::ServedKind;
use tokio::sync::OnceCell;
pub use write::{Causes, WriteError};

use crate::manifest::ObjectKey;
use crate::metrics::Metrics;
use crate::plan::{Appliers, Observed};

/// The result of an apply.
pub struct Applied {
    /// The server's answer, with the health that is known so far.
    pub answer: Observed,
    /// Whether the apply created the object.
    pub created: bool,
    /// Whether no newer state is known.
    pub current: bool,
}

/// The clients of a cluster, which `leader` makes.
#[derive(Clone)]
pub struct Clients {
    /// For requests that are answered soon.
    pub requests: Client,
    /// For watches, whose answers may take minutes.
    pub watches: Client,
}

/// The account whose rights are used for requests on managed objects.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub enum Actor {
    /// towline itself, with all of its rights.
    #[default]
    Operator,
}

/// A cluster with managed objects. Kinds, inventory and watches belong to the cluster. [`Cluster::as_`]
/// gives the access of one actor.
pub struct Cluster {
    /// The kinds that are served.
    pub kinds: Kinds,
    /// The managed objects.
    pub inventory: Inventory,
    /// The applies under way.
    pub running_applies: RunningApplies,
    /// The existing namespaces, for drivers that wait for one.
    pub namespaces: Namespaces,
    clients: Clients,
    version: OnceCell<String>,
    /// Whether objects are managed in one namespace only.
    in_one_namespace: bool,
    watches: watch::Watches,
    requests: write::Requests,
    appliers: Appliers,
}

/// The settings of a managed cluster.
#[derive(Clone, Debug, Default)]
pub struct ClusterSettings {
    /// The only namespace in which objects are managed. None: all namespaces.
    pub namespace: Option<String>,
    /// Field managers that apply whole manifests.
    pub appliers: Appliers,
    /// Whether messages of refusals may repeat values of the request.
    pub show_values: bool,
}

/// How an object is applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Applying {
    /// Makes the object equal Git. If a field that another applier or nobody declared prevents that,
    /// removes the field.
    Whole,
    /// Writes the values that Git declares, and removes no other value.
    Declared,
}

impl Cluster {
    /// A cluster with these clients.
    pub fn new(clients: Clients, settings: ClusterSettings, metrics: Metrics) -> Self {
        let ClusterSettings {
            namespace,
            appliers,
            show_values,
        } = settings;
        let inventory = Inventory::default();
        let watching = clients.watches.clone();
        Self {
            kinds: Kinds::default(),
            in_one_namespace: namespace.is_some(),
            namespaces: match namespace {
                Some(_) => Namespaces::unwatched(),
                None => Namespaces::new(watching.clone()),
            },
            watches: watch::Watches::new(watching, inventory.clone(), namespace, appliers.clone()),
            inventory,
            requests: write::Requests::new(metrics, show_values),
            running_applies: RunningApplies::default(),
            version: OnceCell::new(),
            clients,
            appliers,
        }
    }

    /// The cluster with the rights of an actor.
    pub fn as_(&self, actor: &Actor) -> Acting<'_> {
        let client = match actor {
            Actor::Operator => &self.clients.requests,
        };
        Acting {
            cluster: self,
            client,
        }
    }

    /// Reads which kinds are served, unless they were read a moment ago.
    ///
    /// # Errors
    /// The client's error, when the server does not answer.
    pub async fn discover(&self) -> Result<(), kube::Error> {
        self.kinds.discover(&self.clients.requests).await
    }

    /// The version of the API server in the form that charts compare: `v1.36.3`. None if the server does
    /// not answer.
    pub async fn version(&self) -> Option<&str> {
        let ask = || async {
            let answer = self.clients.requests.apiserver_version().await;
            answer.map(|version| version.git_version)
        };
        self.version
            .get_or_try_init(ask)
            .await
            .ok()
            .map(String::as_str)
    }

    /// Watches a kind, and waits until its objects are known.
    ///
    /// # Errors
    /// The reason, if the first list has not come within `patience`.
    pub async fn watched(&self, served: &ServedKind, patience: Duration) -> Result<(), String> {
        self.watches.synced(served, patience).await
    }

    /// Watches which kinds are served, and stops the watches of kinds that are no longer served, for as
    /// long as it is polled.
    pub async fn follow(&self) {
        let kinds = self
            .kinds
            .clone()
            .follow(self.clients.watches.clone(), self.in_one_namespace);
        let retire = async {
            let mut changed = self.kinds.changed();
            while changed.changed().await.is_ok() {
                self.watches
                    .stop_unserved(|kind| self.kinds.preferred(kind).is_some());
            }
        };
        tokio::join!(kinds, retire);
    }
}

/// A cluster with the rights of one actor. Cheap to make.
pub struct Acting<'a> {
    cluster: &'a Cluster,
    client: &'a Client,
}

impl Acting<'_> {
    /// Applies one object with server-side apply, and records the answer. `body` is the whole object as
    /// JSON.
    ///
    /// # Errors
    /// [`WriteError`], about this object only.
    pub async fn apply(
        &self,
        served: &ServedKind,
        key: &ObjectKey,
        body: &[u8],
        applying: Applying,
    ) -> Result<Applied, WriteError> {
        let Cluster {
            kinds,
            inventory,
            running_applies,
            ..
        } = self.cluster;
        let under_way = running_applies.begin();
        let known = inventory.get(key);
        let wanted = self.wanted(served, key, body, known.as_ref());
        let (answer, created) = match applying {
            Applying::Declared => self.writer().apply_once(&wanted).await?,
            Applying::Whole => {
                let is_served = |gvk: &_| kinds.get(gvk).is_some();
                self.writer().apply_mended(&wanted, is_served).await?
            }
        };
        drop(under_way);
        if definition::is_one(&key.kind)
            && let Some(kind) = definition::kind_of(body)
        {
            kinds.expect(kind);
        }
        let newest = inventory.applied(key, answer.clone());
        let current = newest
            .as_ref()
            .is_some_and(|newest| newest.version == answer.version);
        // The answer has only metadata. A write alone does not make an object healthy.
        let health = newest.map_or(answer.health.clone(), |newest| newest.health);
        Ok(Applied {
            answer: Observed { health, ..answer },
            created,
            current,
        })
    }

    /// Whether applying `body` would change any value of the live object.
    ///
    /// # Errors
    /// [`WriteError`], about this object only.
    pub async fn compare(
        &self,
        served: &ServedKind,
        key: &ObjectKey,
        body: &[u8],
    ) -> Result<Compared, WriteError> {
        let known = self.cluster.inventory.get(key);
        let wanted = self.wanted(served, key, body, known.as_ref());
        self.writer().compare(&wanted).await
    }

    /// Reads one object whole; none where there is none.
    ///
    /// # Errors
    /// [`WriteError`], about this object only.
    pub async fn live(
        &self,
        served: &ServedKind,
        key: &ObjectKey,
    ) -> Result<Option<serde_json::Value>, WriteError> {
        self.writer().whole(served, key).await
    }

    /// Deletes one object with this uid. Succeeds if it is gone already.
    ///
    /// # Errors
    /// [`WriteError`], about this object only.
    pub async fn delete(&self, key: &ObjectKey, uid: &str) -> Result<(), WriteError> {
        match self.cluster.kinds.preferred(&key.kind) {
            Some(served) => self.writer().delete(&served, key, uid).await,
            // If its definition is gone, a custom resource is gone too.
            None => Ok(()),
        }
    }

    /// Removes towline's label and annotations from one object. Succeeds if it is gone already.
    ///
    /// # Errors
    /// [`WriteError`], about this object only.
    pub async fn disown(&self, key: &ObjectKey, uid: &str) -> Result<(), WriteError> {
        match self.cluster.kinds.preferred(&key.kind) {
            Some(served) => self.writer().disown(&served, key, uid).await,
            None => Ok(()),
        }
    }

    fn wanted<'a>(
        &'a self,
        served: &'a ServedKind,
        key: &'a ObjectKey,
        body: &'a [u8],
        known: Option<&'a Observed>,
    ) -> mend::Wanted<'a> {
        mend::Wanted {
            served,
            key,
            body,
            known,
            appliers: &self.cluster.appliers,
        }
    }

    fn writer(&self) -> write::Writer<'_> {
        write::Writer::new(self.client, &self.cluster.requests)
    }
}
