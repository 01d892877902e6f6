//! The only I/O on managed objects: discovery, watches, apply, prune.

mod applies;
mod definition;
mod discovery;
mod inventory;
mod kinds;
mod null;
mod resume;
mod watch;
mod write;

use std::time::Duration;

pub use applies::{Applies, UnderWay};
pub use inventory::{Inventory, Mailbox};
pub use kinds::{Kinds, ServedKind};
use kube::Client;
pub use resume::resumed;
pub use write::{Compared, WriteError};

use crate::manifest::{GroupKind, ObjectKey};
use crate::metrics::Metrics;
use crate::plan::Observed;

/// What came of an apply.
pub struct Applied {
    /// What the server answered, with the health that is known by then.
    pub answer: Observed,
    /// The object came to be by it.
    pub created: bool,
    /// Nothing newer is known of it.
    pub current: bool,
}

/// The cluster as far as managed objects go.
pub struct Cluster {
    /// Which kinds are served.
    pub kinds: Kinds,
    /// What is managed.
    pub inventory: Inventory,
    /// The applies under way.
    pub applies: Applies,
    client: Client,
    watches: watch::Watches,
    writer: write::Writer,
}

impl Cluster {
    /// A cluster behind two clients: `watching` must bear answers that take minutes.
    pub fn new(
        client: Client,
        watching: Client,
        namespace: Option<String>,
        metrics: Metrics,
    ) -> Self {
        let inventory = Inventory::default();
        Self {
            kinds: Kinds::default(),
            watches: watch::Watches::new(watching, inventory.clone(), namespace),
            inventory,
            writer: write::Writer::new(client.clone(), metrics),
            applies: Applies::default(),
            client,
        }
    }

    /// Learns which kinds are served, unless it asked a moment ago.
    ///
    /// # Errors
    /// The client's error, when the server does not answer.
    pub async fn discover(&self) -> Result<(), kube::Error> {
        self.kinds.discover(&self.client).await
    }

    /// Makes sure that a kind is watched and that its objects are known.
    ///
    /// # Errors
    /// Why they are not, when the first list has not come within `patience`.
    pub async fn watched(&self, served: &ServedKind, patience: Duration) -> Result<(), String> {
        self.watches.synced(served, patience).await
    }

    /// Ends watches of kinds that are no longer served, for as long as it is polled.
    pub async fn retire_watches(&self) {
        let mut changed = self.kinds.changed();
        while changed.changed().await.is_ok() {
            self.watches
                .stop_unserved(|kind| self.kinds.preferred(kind).is_some());
        }
    }

    /// Server-side-applies one object, given whole as JSON, and records the answer.
    ///
    /// # Errors
    /// [`WriteError`], about this object only.
    pub async fn apply(
        &self,
        served: &ServedKind,
        key: &ObjectKey,
        body: &[u8],
    ) -> Result<Applied, WriteError> {
        let under_way = self.applies.begin();
        let (answer, created) = self.writer.apply(served, key, body).await?;
        drop(under_way);
        if *key.kind.kind == *"CustomResourceDefinition"
            && *key.kind.group == *"apiextensions.k8s.io"
            && let Some(kind) = definition::kind_of(body)
        {
            self.kinds.expect(kind);
        }
        let newest = self.inventory.applied(key, answer.clone());
        let current = newest
            .as_ref()
            .is_some_and(|newest| newest.version == answer.version);
        // The answer is metadata only: an object is not healthy because it was just written.
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
        self.writer.compare(served, key, body).await
    }

    /// Deletes one object by its uid. One that is gone already is fine.
    ///
    /// # Errors
    /// [`WriteError`], about this object only.
    pub async fn delete(&self, key: &ObjectKey, uid: &str) -> Result<(), WriteError> {
        match self.served(&key.kind) {
            Some(served) => self.writer.delete(&served, key, uid).await,
            // Without its definition a custom resource is gone as well.
            None => Ok(()),
        }
    }

    /// Takes towline's marks off one object. One that is gone already is fine.
    ///
    /// # Errors
    /// [`WriteError`], about this object only.
    pub async fn disown(&self, key: &ObjectKey, uid: &str) -> Result<(), WriteError> {
        match self.served(&key.kind) {
            Some(served) => self.writer.disown(&served, key, uid).await,
            None => Ok(()),
        }
    }

    fn served(&self, kind: &GroupKind) -> Option<ServedKind> {
        self.kinds.preferred(kind)
    }
}
