//! The events that wake a Sync's driver: from its object, its source, its dependencies, and its objects
//! in the cluster.

use std::collections::HashSet;
use std::sync::Arc;

use kube::{Resource as _, ResourceExt as _};
use tokio::sync::watch;
use tokio::time::Instant;

use super::bases::RemoteBases;
use super::gate::{ChartSource, Surroundings};
use super::inputs::InputReader;
use super::lookups::LookedUp;
use super::marks::Marks;
use super::newest::{FetchedChart, Newest};
use super::pinned::PinnedRevisions;
use crate::api::{FINALIZER, Reason, Sync};
use crate::cluster::{Arrivals, Cluster, Mailbox};
use crate::driver::Context;
use crate::fleet::{SourceName, SourceView, Subscription, SyncObject, SyncView};
use crate::intent::SyncIntent;
use crate::plan::SyncName;

/// A source by its name.
type Followed = (String, Subscription<SourceName, SourceView>);

/// Subscribes to the source `wanted` in a namespace, unless it is followed already.
fn follow(followed: &mut Option<Followed>, context: &Context, namespace: &str, wanted: &str) {
    let is_followed = |(name, _): &Followed| name == wanted;
    if !followed.as_ref().is_some_and(is_followed) {
        let name = SourceName::new(namespace, wanted);
        *followed = Some((wanted.to_owned(), context.fleet.sources.subscribe(&name)));
    }
}

/// Subscribes to these Syncs.
fn follow_syncs(
    followed: &mut Vec<(SyncName, Subscription<SyncName, SyncView>)>,
    context: &Context,
    wanted: Vec<SyncName>,
) {
    if !followed.iter().map(|(name, _)| name).eq(&wanted) {
        let syncs = &context.fleet.syncs;
        let subscribed = wanted.into_iter().map(|name| {
            let subscription = syncs.subscribe(&name);
            (name, subscription)
        });
        *followed = subscribed.collect();
    }
}

/// Waits for a change of one of these Syncs.
async fn any_changed(followed: &mut [(SyncName, Subscription<SyncName, SyncView>)]) {
    let changes = followed
        .iter_mut()
        .map(|(_, standing)| Box::pin(standing.changed()));
    let changes: Vec<_> = changes.collect();
    match changes.is_empty() {
        true => std::future::pending().await,
        false => drop(futures::future::select_all(changes).await),
    }
}

/// Waits for a change of a source, if there is one to follow.
async fn changed(followed: &mut Option<Followed>) {
    match followed {
        Some((_, state)) => state.changed().await,
        None => std::future::pending().await,
    }
}

/// The events that a driver listens to.
pub(super) struct Inbox {
    /// Objects of the cluster that changed.
    pub(super) mailbox: Arc<Mailbox>,
    object: watch::Receiver<Arc<Sync>>,
    source: Option<Followed>,
    /// The source of the chart, if it is another one.
    chart: Option<Followed>,
    dependencies: Vec<(SyncName, Subscription<SyncName, SyncView>)>,
    /// The Syncs that have not said what they want, while that holds up a prune.
    awaited: Vec<(SyncName, Subscription<SyncName, SyncView>)>,
    /// The child that is waited for, while one is not at the commit of this Sync.
    child: Vec<(SyncName, Subscription<SyncName, SyncView>)>,
    kinds: watch::Receiver<u64>,
    released: watch::Receiver<u64>,
    /// Events that ended a wait and that no work has taken into account yet. A Sync that is suspended or being deleted
    /// does not work, and must not be woken by the same event again and again.
    pending: Pending,
    /// The ConfigMaps and Secrets that are inputs of the render.
    pub(super) inputs: InputReader,
    /// What charts have looked up in the cluster.
    pub(super) lookups: LookedUp,
    /// The remote bases of kustomizations.
    pub(super) bases: RemoteBases,
    /// The revisions that the Sync is pinned to.
    pub(super) pinned: PinnedRevisions,
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

/// What changed since the last work.
#[derive(Clone, Copy, Debug, Default)]
struct Pending {
    kinds: bool,
    released: bool,
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
        let status = object.borrow().status.clone();
        let bases = RemoteBases::told(&status.unwrap_or_default().remote_bases);
        Self {
            mailbox: context.cluster.inventory.join(name, &uid),
            object,
            source: None,
            chart: None,
            dependencies: Vec::new(),
            awaited: Vec::new(),
            child: Vec::new(),
            kinds: context.cluster.kinds.changed(),
            released: context.cluster.inventory.released(),
            pending: Pending::default(),
            inputs: InputReader::default(),
            lookups: LookedUp::default(),
            bases,
            pinned: PinnedRevisions::default(),
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

    /// Whether the Sync is being deleted.
    pub(super) fn is_deleting(&self) -> bool {
        self.object.borrow().meta().deletion_timestamp.is_some()
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
        follow(&mut self.source, context, &name.namespace, &intent.source);
        match &intent.render.helm.chart {
            Some(chart) => follow(&mut self.chart, context, &name.namespace, &chart.source),
            None => self.chart = None,
        }
        let wanted = intent.depends_on.iter();
        let wanted = wanted
            .map(|dependency| SyncName::new(&name.namespace, dependency))
            .collect();
        follow_syncs(&mut self.dependencies, context, wanted);
    }

    /// Wakes the driver when one of these Syncs changes.
    pub(super) fn await_syncs(&mut self, context: &Context, syncs: Vec<SyncName>) {
        follow_syncs(&mut self.awaited, context, syncs);
    }

    /// Wakes the driver when this Sync changes, in the place of the one before.
    pub(super) fn await_child(&mut self, context: &Context, child: Option<SyncName>) {
        follow_syncs(&mut self.child, context, child.into_iter().collect());
    }

    /// The gate's inputs and the newest revision. Marks them as seen.
    pub(super) fn surroundings(
        &mut self,
        context: &Context,
        name: &SyncName,
        intent: &SyncIntent,
        has_status: bool,
    ) -> (Surroundings, Option<Newest>) {
        let source = match &mut self.source {
            Some((_, state)) => state.borrow_and_update().clone(),
            None => SourceView::default(),
        };
        let chart = self.chart.as_mut().map(|(name, state)| {
            let view = state.borrow_and_update();
            ChartSource {
                name: name.clone(),
                has_revision: view.latest.is_some(),
                problem: view.problem.clone(),
            }
        });
        let newest = self.newest();
        let dependencies = self.dependencies.iter_mut();
        let around = Surroundings {
            suspended: intent.suspended.is_some(),
            pinned: intent.pin.is_some(),
            invalid: intent.invalid.clone(),
            has_status,
            source: intent.source.clone(),
            revision: source
                .latest
                .as_ref()
                .map(|seen| seen.snapshot.revision.to_string()),
            problem: source.problem,
            chart,
            circle: context.fleet.circle(name),
            dependencies: dependencies
                .map(|(name, state)| (name.clone(), state.borrow_and_update().clone()))
                .collect(),
        };
        (around, newest)
    }

    /// The `towline.dev/requested-at` that the sources have answered; none while nothing is known of one of them.
    pub(super) fn source_request(&self) -> Option<Option<String>> {
        self.source.as_ref()?;
        let mut requests = Vec::new();
        for (_, state) in self.sources() {
            let view = state.borrow();
            if view.is_unknown() {
                return None;
            }
            requests.extend(view.requested_at.clone());
        }
        Some((!requests.is_empty()).then(|| requests.join(" ")))
    }

    fn sources(&self) -> impl Iterator<Item = &Followed> {
        self.source.iter().chain(&self.chart)
    }

    /// The Syncs that this one depends on.
    pub(super) fn depends_on(&self) -> Vec<SyncName> {
        let dependencies = self.dependencies.iter();
        dependencies.map(|(name, _)| name.clone()).collect()
    }

    /// The newest revisions of the sources. They may have been seen before. None while one of them has none.
    pub(super) fn newest(&self) -> Option<Newest> {
        let latest = |(_, state): &Followed| state.borrow().latest.clone();
        let source = self.source.as_ref()?;
        let own = latest(source)?;
        let chart = match &self.chart {
            Some(followed) => Some(FetchedChart {
                source: followed.0.clone(),
                seen: latest(followed)?,
            }),
            None => None,
        };
        Some(Newest::new(&source.0, own, chart))
    }

    /// The source that has no revision, where one has none.
    pub(super) fn awaited_source<'i>(&self, intent: &'i SyncIntent) -> &'i str {
        let chart = intent.render.helm.chart.as_ref();
        match (self.newest_revision(), chart) {
            (Some(_), Some(chart)) => &chart.source,
            _ => &intent.source,
        }
    }

    /// Whether a source does not exist.
    pub(super) fn has_no_source(&self) -> bool {
        self.sources().any(|(_, state)| {
            let view = state.borrow();
            let problem = view.problem.as_ref().map(|(reason, _)| *reason);
            view.latest.is_none() && problem == Some(Reason::SourceNotReady)
        })
    }

    /// The newest revision of the Sync's own source.
    pub(super) fn newest_revision(&self) -> Option<String> {
        let (_, state) = self.source.as_ref()?;
        let view = state.borrow();
        Some(view.latest.as_ref()?.snapshot.revision.to_string())
    }

    /// Whether a newer spec or revision makes the current work pointless.
    pub(super) fn superseded(&self) -> bool {
        let mut sources = self.sources();
        self.object.has_changed().unwrap_or(true) || sources.any(|(_, state)| state.has_changed())
    }

    /// A check of [`Self::superseded`] that can be called later.
    pub(super) fn superseded_later(&self) -> impl Fn() -> bool + Send + use<> {
        let sources: Vec<_> = self.sources().map(|(_, state)| state.clone()).collect();
        let object = self.object.clone();
        move || {
            object.has_changed().unwrap_or(true)
                || sources.iter().any(|source| source.has_changed())
        }
    }

    /// Whether a kind came or went since the last call.
    pub(super) fn kinds_changed(&mut self) -> bool {
        let changed = self.kinds.has_changed().unwrap_or(false);
        self.kinds.mark_unchanged();
        std::mem::take(&mut self.pending.kinds) || changed
    }

    /// Whether other Syncs released objects since the last call.
    pub(super) fn released(&mut self) -> bool {
        let released = self.released.has_changed().unwrap_or(false);
        self.released.mark_unchanged();
        std::mem::take(&mut self.pending.released) || released
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
            chart,
            dependencies,
            awaited,
            child,
            kinds,
            released,
            pending,
            inputs,
            lookups,
            bases,
            pinned,
            arrivals,
        } = self;
        let arrival = async {
            match arrivals {
                Some(arrivals) => arrivals.created(&waits_for.namespaces).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            changed = object.changed() => if changed.is_err() { return Woken::Gone },
            () = changed(source) => return Woken::BySource,
            () = changed(chart) => return Woken::BySource,
            () = arrival => return Woken::ByNamespace,
            () = mailbox.changed() => (),
            () = inputs.changed() => (),
            () = lookups.changed() => (),
            () = bases.arrival() => (),
            () = pinned.arrival() => (),
            () = any_changed(dependencies), if waits_for.dependencies => (),
            () = any_changed(awaited) => (),
            () = any_changed(child) => (),
            _ = kinds.changed(), if waits_for.kinds => pending.kinds = true,
            _ = released.changed(), if waits_for.objects => pending.released = true,
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
