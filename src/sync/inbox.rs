//! The events that wake a Sync's driver: from its object, its source, its dependencies, and its objects
//! in the cluster.

use std::collections::HashSet;
use std::sync::Arc;

use kube::{Resource as _, ResourceExt as _};
use tokio::sync::watch;
use tokio::time::Instant;

use super::gate::Surroundings;
use super::inputs::InputReader;
use super::marks::Marks;
use crate::api::{FINALIZER, Reason, Sync};
use crate::cluster::{Arrivals, Cluster, Mailbox};
use crate::driver::Context;
use crate::fleet::{FetchedRevision, SourceName, SourceView, Subscription, SyncObject, SyncView};
use crate::intent::SyncIntent;
use crate::plan::SyncName;

/// The events that a driver listens to.
pub(super) struct Inbox {
    /// Objects of the cluster that changed.
    pub(super) mailbox: Arc<Mailbox>,
    object: watch::Receiver<Arc<Sync>>,
    source: Option<(String, Subscription<SourceName, SourceView>)>,
    dependencies: Vec<(SyncName, Subscription<SyncName, SyncView>)>,
    kinds: watch::Receiver<u64>,
    released: watch::Receiver<u64>,
    /// The ConfigMaps and Secrets that are inputs of the render.
    pub(super) inputs: InputReader,
    /// Set while the Sync waits for a namespace.
    arrivals: Option<Box<Arrivals>>,
}

/// The events that wake the driver only in certain states.
#[derive(Clone, Debug)]
pub(super) struct WaitsFor {
    /// Whether a kind is not served yet.
    pub(super) kinds: bool,
    /// Whether another Sync owns an object.
    pub(super) objects: bool,
    /// Whether a dependency blocks the newest revision.
    pub(super) dependencies: bool,
    /// Namespaces that objects need and that do not exist.
    pub(super) namespaces: HashSet<String>,
    pub(super) deadline: Instant,
}

/// The event that ended a wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Woken {
    /// The source has published something.
    BySource,
    /// A namespace that the Sync waits for exists.
    ByNamespace,
    /// Any other event.
    Otherwise,
    /// The Sync's object is deleted.
    Gone,
}

impl Inbox {
    pub(super) fn new(
        context: &Context,
        name: &SyncName,
        object: watch::Receiver<Arc<Sync>>,
    ) -> Self {
        let uid = object.borrow().uid().unwrap_or_default();
        Self {
            mailbox: context.cluster.inventory.join(name, &uid),
            object,
            source: None,
            dependencies: Vec::new(),
            kinds: context.cluster.kinds.changed(),
            released: context.cluster.inventory.released(),
            inputs: InputReader::default(),
            arrivals: None,
        }
    }

    /// The Sync's current intent. Marks it as seen.
    pub(super) fn intent(&mut self) -> SyncIntent {
        SyncIntent::from(&**self.object.borrow_and_update())
    }

    /// The uid of the Sync as it is now.
    pub(super) fn uid(&self) -> Option<String> {
        self.object.borrow().metadata.uid.clone()
    }

    /// Which object of the API server the Sync is.
    pub(super) fn sync_object(&self) -> SyncObject {
        SyncObject::of(self.object.borrow().meta())
    }

    /// Whether the Sync has the finalizer. Without the finalizer, a deleted Sync is gone at once.
    pub(super) fn is_finalized(&self) -> bool {
        self.object
            .borrow()
            .finalizers()
            .iter()
            .any(|name| name == FINALIZER)
    }

    /// The marks of an ApplySet's parent that the Sync has.
    pub(super) fn marks(&self) -> Marks {
        Marks::of(self.object.borrow().meta())
    }

    /// The Sync's resource version.
    pub(super) fn version(&self) -> u64 {
        let version = self.object.borrow().resource_version();
        version
            .and_then(|version| version.parse().ok())
            .unwrap_or_default()
    }

    /// Subscribes to everything that the intent names.
    pub(super) fn follow(&mut self, context: &Context, name: &SyncName, intent: &SyncIntent) {
        let source = &intent.source;
        if self
            .source
            .as_ref()
            .is_none_or(|(followed, _)| followed != source)
        {
            let name = SourceName::new(&name.namespace, source);
            let state = context.fleet.sources.subscribe(&name);
            self.source = Some((source.clone(), state));
        }
        let wanted = intent.depends_on.iter();
        let wanted: Vec<SyncName> = wanted
            .map(|dependency| SyncName::new(&name.namespace, dependency))
            .collect();
        if !self.dependencies.iter().map(|(name, _)| name).eq(&wanted) {
            self.dependencies = wanted
                .into_iter()
                .map(|name| (name.clone(), context.fleet.syncs.subscribe(&name)))
                .collect();
        }
    }

    /// The gate's inputs and the newest revision. Marks them as seen.
    pub(super) fn surroundings(
        &mut self,
        context: &Context,
        name: &SyncName,
        intent: &SyncIntent,
        has_status: bool,
    ) -> (Surroundings, Option<FetchedRevision>) {
        let source = match &mut self.source {
            Some((_, state)) => state.borrow_and_update().clone(),
            None => SourceView::default(),
        };
        let dependencies = self.dependencies.iter_mut();
        let around = Surroundings {
            suspended: intent.suspend,
            invalid: intent.invalid.clone(),
            has_status,
            source: intent.source.clone(),
            revision: source
                .latest
                .as_ref()
                .map(|seen| seen.snapshot.revision.to_string()),
            problem: source.problem,
            circle: context.fleet.circle(name),
            dependencies: dependencies
                .map(|(name, state)| (name.clone(), state.borrow_and_update().clone()))
                .collect(),
        };
        (around, source.latest)
    }

    /// The `towline.dev/requested-at` that the source has answered; none while nothing is known of the
    /// source.
    pub(super) fn source_request(&self) -> Option<Option<String>> {
        let (_, state) = self.source.as_ref()?;
        let view = state.borrow();
        (!view.is_unknown()).then(|| view.requested_at.clone())
    }

    /// The Syncs that this one depends on.
    pub(super) fn depends_on(&self) -> Vec<SyncName> {
        let dependencies = self.dependencies.iter();
        dependencies.map(|(name, _)| name.clone()).collect()
    }

    /// The newest revision of the source. It may have been seen before.
    pub(super) fn newest(&self) -> Option<FetchedRevision> {
        let (_, state) = self.source.as_ref()?;
        state.borrow().latest.clone()
    }

    /// Whether the source does not exist.
    pub(super) fn has_no_source(&self) -> bool {
        let Some((_, state)) = &self.source else {
            return false;
        };
        let view = state.borrow();
        let problem = view.problem.as_ref().map(|(reason, _)| *reason);
        view.latest.is_none() && problem == Some(Reason::SourceNotReady)
    }

    /// The revision of [`Self::newest`].
    pub(super) fn newest_revision(&self) -> Option<String> {
        let newest = self.newest()?;
        Some(newest.snapshot.revision.to_string())
    }

    /// Whether a newer spec or revision makes the current work pointless.
    pub(super) fn superseded(&self) -> bool {
        let (object, source) = (&self.object, self.source.as_ref());
        object.has_changed().unwrap_or(true) || source.is_some_and(|(_, state)| state.has_changed())
    }

    /// A check of [`Self::superseded`] that can be called later.
    pub(super) fn superseded_later(&self) -> impl Fn() -> bool + Send + use<> {
        let source = self.source.as_ref().map(|(_, state)| state.clone());
        let object = self.object.clone();
        move || {
            object.has_changed().unwrap_or(true)
                || source.as_ref().is_some_and(|source| source.has_changed())
        }
    }

    /// Whether a kind came or went since the last call.
    pub(super) fn kinds_changed(&mut self) -> bool {
        let changed = self.kinds.has_changed().unwrap_or(false);
        self.kinds.mark_unchanged();
        changed
    }

    /// Whether other Syncs released objects since the last call.
    pub(super) fn released(&mut self) -> bool {
        let released = self.released.has_changed().unwrap_or(false);
        self.released.mark_unchanged();
        released
    }

    /// Waits for an event of this Sync.
    pub(super) async fn wait(&mut self, cluster: &Cluster, waits_for: WaitsFor) -> Woken {
        match waits_for.namespaces.is_empty() {
            true => self.arrivals = None,
            false => {
                let watched = || Box::new(cluster.namespaces.arrivals());
                self.arrivals.get_or_insert_with(watched);
            }
        }
        let Self {
            mailbox,
            object,
            source,
            dependencies,
            kinds,
            released,
            inputs,
            arrivals,
        } = self;
        let arrival = async {
            match arrivals {
                Some(arrivals) => arrivals.created(&waits_for.namespaces).await,
                None => std::future::pending().await,
            }
        };
        let source = async {
            match source {
                Some((_, state)) => state.changed().await,
                None => std::future::pending().await,
            }
        };
        let dependencies = dependencies
            .iter_mut()
            .map(|(_, standing)| Box::pin(standing.changed()));
        let dependencies: Vec<_> = dependencies.collect();
        let any_dependency = async {
            match dependencies.is_empty() {
                true => std::future::pending().await,
                false => drop(futures::future::select_all(dependencies).await),
            }
        };
        tokio::select! {
            changed = object.changed() => if changed.is_err() { return Woken::Gone },
            () = source => return Woken::BySource,
            () = arrival => return Woken::ByNamespace,
            () = mailbox.changed() => (),
            () = inputs.changed() => (),
            () = any_dependency, if waits_for.dependencies => (),
            _ = kinds.changed(), if waits_for.kinds => kinds.mark_changed(),
            _ = released.changed(), if waits_for.objects => released.mark_changed(),
            () = tokio::time::sleep_until(waits_for.deadline) => (),
        }
        Woken::Otherwise
    }

    /// Waits until no apply is running, unless an event of this Sync comes.
    pub(super) async fn give_way(&mut self, context: &Context) {
        tokio::select! {
            () = context.cluster.running_applies.wait_until_idle() => (),
            () = self.mailbox.changed() => (),
            // The driver checks next whether the object is gone.
            _ = self.object.changed() => (),
        }
    }
}
