//! The only I/O on managed objects: discovery, watches, apply, prune.

mod acting;
mod admission;
mod apply;
mod beforehand;
mod beheld;
mod clock;
mod contents;
mod definition;
mod discovery;
mod inventory;
mod kinds;
mod last_read;
mod listing;
mod lookup;
mod namespaces;
mod null;
mod own_kinds;
mod pages;
mod receive;
mod refused;
mod resume;
mod rights;
mod running;
mod served;
mod touches;
mod vain;
mod viewer;
mod watch;
mod write;

use std::sync::Arc;
use std::time::Duration;

pub use acting::Acting;
pub use apply::Compared;
pub use clock::{ServerClock, date_of};
pub use contents::may_hold;
pub use discovery::Unkept;
pub use inventory::{Inventory, Mailbox};
pub use kinds::Kinds;
use kube::Client;
pub use listing::watched;
pub use lookup::{LookupScope, Lookups};
pub use namespaces::{Arrivals, Namespaces};
use own_kinds::OwnKinds;
pub use refused::{Causes, WriteError};
pub use running::{Running, RunningGuard};
pub use served::ServedKind;
use tokio::sync::OnceCell;
pub use touches::Touched;
use touches::Touches;
pub use viewer::{Rehearsed, Viewer};
pub(crate) use write::METADATA;
pub use write::Once;

use crate::metrics::Metrics;
use crate::plan::{Appliers, Key, Observed, SyncName};

/// The result of an apply.
pub struct Applied {
    /// The server's answer, with the health that is known so far.
    pub answer: Observed,
    /// Whether the apply created the object.
    pub created: bool,
    /// Whether no newer state is known.
    pub current: bool,
    /// The fields that a webhook or a policy of the cluster has changed.
    pub rewritten: Vec<String>,
}

/// The clients of a cluster, which `leader` makes.
#[derive(Clone)]
pub struct Clients {
    /// For requests that are answered soon.
    pub requests: Client,
    /// For watches, whose answers may take minutes.
    pub watches: Client,
    /// The API server's clock, by the answers to `requests`.
    pub clock: ServerClock,
}

/// For which Sync requests on managed objects are made, and whose rights are used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Actor {
    sync: SyncName,
    /// A ServiceAccount, by impersonation. The API server adds the groups of ServiceAccounts itself. None: towline, with
    /// all of its rights.
    account: Option<Arc<str>>,
}

impl Actor {
    /// towline itself.
    pub fn operator(sync: &SyncName) -> Self {
        Self {
            sync: sync.clone(),
            account: None,
        }
    }

    /// The ServiceAccount `name` of the Sync's namespace.
    pub fn account(sync: &SyncName, name: &str) -> Self {
        let account = format!("system:serviceaccount:{}:{name}", sync.namespace);
        Self {
            sync: sync.clone(),
            account: Some(account.into()),
        }
    }

    /// Whether towline's own rights are used.
    pub fn is_operator(&self) -> bool {
        self.account.is_none()
    }

    /// Its name, for people.
    pub fn name(&self) -> &str {
        self.account.as_deref().unwrap_or("towline")
    }

    /// The name to impersonate, if there is one.
    fn impersonated(&self) -> Option<&str> {
        self.account.as_deref()
    }
}

/// A cluster with managed objects. Kinds, inventory and watches belong to the cluster. [`Cluster::as_`]
/// gives the access of one actor.
pub struct Cluster {
    /// The kinds that are served.
    pub kinds: Kinds,
    /// The managed objects.
    pub inventory: Inventory,
    /// The applies under way.
    pub running_applies: Running,
    /// The existing namespaces, for drivers that wait for one.
    pub namespaces: Namespaces,
    clients: Clients,
    version: OnceCell<String>,
    /// Whether objects are managed in one namespace only.
    in_one_namespace: bool,
    watches: watch::Watches,
    requests: write::Requests,
    own_kinds: Arc<OwnKinds>,
    /// Field managers that apply whole manifests.
    pub appliers: Appliers,
    admission: admission::Admission,
    /// Changes of what charts have looked up.
    touches: Touches,
}

/// The settings of a managed cluster.
#[derive(Clone, Debug)]
pub struct ClusterSettings {
    /// Proves which objects are managed.
    pub key: Key,
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
    /// As [`Applying::Whole`], but what other appliers of whole manifests declared stays theirs.
    Merged,
    /// As [`Applying::Whole`], but refused where another field manager has another value.
    Unforced,
}

impl Cluster {
    /// A cluster with these clients.
    pub fn new(clients: Clients, settings: ClusterSettings, metrics: Metrics) -> Self {
        let ClusterSettings {
            key,
            namespace,
            appliers,
            show_values,
        } = settings;
        let inventory = Inventory::new(key);
        let watching = clients.watches.clone();
        let may_ask = namespace.is_none().then(|| clients.requests.clone());
        Self {
            kinds: Kinds::default(),
            in_one_namespace: namespace.is_some(),
            namespaces: match namespace {
                Some(_) => Namespaces::unwatched(),
                None => Namespaces::new(watching.clone()),
            },
            watches: watch::Watches::new(watching, inventory.clone(), namespace, appliers.clone()),
            inventory,
            requests: write::Requests::new(metrics, show_values, clients.clock.clone()),
            running_applies: Running::default(),
            version: OnceCell::new(),
            own_kinds: Arc::new(OwnKinds::new(clients.requests.clone())),
            admission: admission::Admission::new(may_ask),
            touches: Touches::new(clients.watches.clone()),
            clients,
            appliers,
        }
    }

    /// The cluster with the rights of an actor.
    pub fn as_<'a>(&'a self, actor: &'a Actor) -> Acting<'a> {
        Acting {
            cluster: self,
            actor,
        }
    }

    /// Reads and dry runs with the rights of an actor.
    pub fn viewer(&self, actor: &Actor) -> Viewer {
        Viewer::acting(self.clients.requests.clone(), actor, self.kinds.clone())
    }

    /// Waits until no object that somebody makes with the name of one of these could carry its proof, which names the second
    /// of its creation. That is at most a few seconds after the youngest was created.
    pub async fn outlive<'a>(&self, objects: impl Iterator<Item = &'a Observed>) {
        let until = objects.filter_map(|observed| observed.proof?.fits_others_until());
        if let Some(until) = until.max() {
            self.clients.clock.passed(until).await;
        }
    }

    /// The current second by the API server's clock, as far as it is known.
    pub fn second(&self) -> i64 {
        self.clients.clock.now()
    }

    /// Takes note that an object was created in this second, by the API server's clock, which is the current one.
    pub fn learn_second(&self, created: i64) {
        self.clients.clock.learn(created);
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

    /// Watches which kinds are served, and keeps the watches of objects to what is served, for as long as it is
    /// polled. An account that may not watch the definitions learns of a change from a watch that fails.
    pub async fn follow(&self) {
        let kinds = self
            .kinds
            .clone()
            .follow(self.clients.watches.clone(), self.in_one_namespace);
        let retire = async {
            let mut changed = self.kinds.changed();
            while changed.changed().await.is_ok() {
                self.watches.keep_to(&self.kinds);
            }
        };
        let ask = async {
            loop {
                self.watches.unknown().await;
                // The watch fails again, and asks again.
                let _ = self.kinds.discover(&self.clients.watches).await;
            }
        };
        tokio::join!(kinds, retire, ask);
    }
}
