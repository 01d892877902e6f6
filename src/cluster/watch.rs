//! One watch for each managed kind, filtered by the ApplySet label. Bodies are dropped at once: only the
//! inventory's values are kept.
//!
//! Kinds whose health depends on their body (Deployments, custom kinds) are watched as whole objects. All
//! other kinds, which have most objects, are watched as metadata. The design asks for metadata only
//! (section 2), but reading the health from the same watch needs no second watch.

use std::collections::HashMap;
use std::fmt::Debug;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::{Stream, StreamExt as _};
use kube::api::{ApiResource, DynamicObject, PartialObjectMeta};
use kube::core::DynamicResourceScope;
use kube::runtime::watcher;
use kube::{Api, Client, Resource};
use serde::de::DeserializeOwned;
use tokio::sync::{Notify, watch};
use tokio::task::AbortHandle;

use super::resume::is_not_served;
use super::{Inventory, Kinds, ServedKind, watched};
use crate::health::{self, Exposed, Health};
use crate::manifest::{GroupKind, ObjectKey};
use crate::plan::{Appliers, Observed, PART_OF};

/// The running watches by kind.
pub(super) struct Watches {
    client: Client,
    inventory: Inventory,
    namespace: Option<String>,
    appliers: Appliers,
    running: Mutex<HashMap<GroupKind, Running>>,
    /// Told when the API server does not know what a watch asks for.
    unknown: Arc<Notify>,
}

struct Running {
    served: ServedKind,
    state: watch::Receiver<WatchState>,
    task: AbortHandle,
}

impl Running {
    /// Whether it sees the objects of a kind.
    fn follows(&self, served: &ServedKind) -> bool {
        !self.task.is_finished() && is_watch_of(&self.served, &self.state.borrow(), served)
    }
}

/// Whether a watch of `watched` in this state is one of `served`. All versions of a kind have the same objects. Another
/// scope or plural makes it a new kind. A version that cannot be listed may be gone, so another one is tried.
fn is_watch_of(watched: &ServedKind, state: &WatchState, served: &ServedKind) -> bool {
    let (of, to) = (&watched.resource, &served.resource);
    of.plural == to.plural
        && watched.namespaced == served.namespaced
        && (of.version == to.version || !matches!(state, WatchState::Failing(_)))
}

impl Drop for Running {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The progress of a watch.
#[derive(Clone, Debug, PartialEq)]
enum WatchState {
    Listing,
    Synced,
    /// Why the list failed.
    Failing(String),
}

impl Watches {
    pub(super) fn new(
        client: Client,
        inventory: Inventory,
        namespace: Option<String>,
        appliers: Appliers,
    ) -> Self {
        Self {
            client,
            inventory,
            namespace,
            appliers,
            running: Mutex::default(),
            unknown: Arc::default(),
        }
    }

    /// Waits until the API server says to a watch that it does not serve the kind, or not in the version that is
    /// watched.
    pub(super) async fn unknown(&self) {
        self.unknown.notified().await;
    }

    /// Starts a watch of a kind unless one runs, and waits for the first list.
    ///
    /// # Errors
    /// The reason, if the list has not come within `patience`.
    pub(super) async fn synced(
        &self,
        served: &ServedKind,
        patience: Duration,
    ) -> Result<(), String> {
        let mut state = self.start(served);
        let wait = state.wait_for(|state| *state == WatchState::Synced);
        // On a timeout, or if the watch ended, the state below gives the result.
        let _ = tokio::time::timeout(patience, wait).await.is_ok();
        match &*state.borrow() {
            WatchState::Synced => Ok(()),
            WatchState::Listing => Err("the API server does not answer".to_owned()),
            WatchState::Failing(why) => Err(why.clone()),
        }
    }

    fn start(&self, served: &ServedKind) -> watch::Receiver<WatchState> {
        let kind = served.group_kind();
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(watch) = running.get(&kind)
            && watch.follows(served)
        {
            return watch.state.clone();
        }
        let watch = self.run(served);
        let state = watch.state.clone();
        running.insert(kind, watch);
        state
    }

    fn run(&self, served: &ServedKind) -> Running {
        let kind = served.group_kind();
        let (sender, state) = watch::channel(WatchState::Listing);
        let follower = Follower {
            kind: kind.clone(),
            inventory: self.inventory.clone(),
            state: sender,
            unconfirmed: HashMap::new(),
            appliers: self.appliers.clone(),
            unknown: Arc::clone(&self.unknown),
        };
        let task = if health::needs_body(&kind) {
            tokio::spawn(follower.follow(self.events::<DynamicObject>(served)))
        } else {
            tokio::spawn(follower.follow(self.events::<PartialObjectMeta<DynamicObject>>(served)))
        };
        Running {
            served: served.clone(),
            state,
            task: task.abort_handle(),
        }
    }

    /// The events of a kind. `K` decides between whole objects and metadata.
    fn events<K>(
        &self,
        served: &ServedKind,
    ) -> impl Stream<Item = watcher::Result<watcher::Event<K>>> + Send + use<K>
    where
        K: Watched
            + Clone
            + DeserializeOwned
            + Resource<DynamicType = ApiResource, Scope = DynamicResourceScope>,
    {
        let (client, resource) = (self.client.clone(), &served.resource);
        let api: Api<K> = match &self.namespace {
            Some(namespace) if served.namespaced => {
                Api::namespaced_with(client, namespace, resource)
            }
            _ => Api::all_with(client, resource),
        };
        let config = watcher::Config::default().labels(PART_OF);
        watched(served.group_kind().to_string(), api, config)
    }

    /// Stops the watch of a kind that is no longer served, so that a new watch starts when it is served
    /// again. A watch of a version that is no longer served would wait for it forever: it goes on with the version that
    /// the server prefers, and a new list finds what changed in between.
    pub(super) fn keep_to(&self, kinds: &Kinds) {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        running.retain(|kind, watch| {
            if kinds.serves(&watch.served) {
                return true;
            }
            let preferred = kinds.preferred(kind);
            match &preferred {
                Some(served) => *watch = self.run(served),
                None => self.inventory.unconfirmed(self.inventory.known(kind)),
            }
            preferred.is_some()
        });
    }
}

struct Follower {
    kind: GroupKind,
    inventory: Inventory,
    state: watch::Sender<WatchState>,
    /// Objects that the running list has not named yet.
    unconfirmed: HashMap<ObjectKey, u64>,
    appliers: Appliers,
    unknown: Arc<Notify>,
}

impl Follower {
    async fn follow<K: Watched>(
        mut self,
        events: impl Stream<Item = watcher::Result<watcher::Event<K>>> + Send,
    ) {
        let mut events = std::pin::pin!(events);
        while let Some(event) = events.next().await {
            match event {
                Ok(event) => self.take(event),
                Err(error) => self.failed(&error),
            }
        }
    }

    fn take<K: Watched>(&mut self, event: watcher::Event<K>) {
        match event {
            watcher::Event::Init => self.unconfirmed = self.inventory.known(&self.kind),
            watcher::Event::InitApply(object) => {
                let Some((key, version)) = self.read(&object) else {
                    return;
                };
                // A list is newer than all that was known when it began, unless the API server's
                // data were restored from a backup.
                let before = self.unconfirmed.remove(&key);
                if before.is_some_and(|before| before > version) {
                    self.inventory.accept_older(&key);
                }
                self.seen(&object, false);
            }
            watcher::Event::InitDone => {
                self.inventory
                    .unconfirmed(std::mem::take(&mut self.unconfirmed));
                self.state.send_replace(WatchState::Synced);
            }
            watcher::Event::Apply(object) => self.seen(&object, false),
            watcher::Event::Delete(object) => self.seen(&object, true),
        }
    }

    /// Key and resourceVersion of an object.
    fn read<K: Watched>(&self, object: &K) -> Option<(ObjectKey, u64)> {
        let meta = object.metadata();
        let key = ObjectKey {
            kind: self.kind.clone(),
            namespace: meta.namespace.as_deref().map(Into::into),
            name: meta.name.as_deref()?.into(),
        };
        let version = meta.resource_version.as_deref()?.parse().ok()?;
        Some((key, version))
    }

    fn seen<K: Watched>(&self, object: &K, deleted: bool) {
        let Some((key, version)) = self.read(object) else {
            return;
        };
        let meta = object.metadata();
        let Body {
            health,
            finished,
            exposed,
        } = object.body(&self.kind);
        let observed = || {
            let observed = Observed::read(&key, meta, health)?;
            let observed = observed.shared_with(meta, &self.appliers);
            Some(Observed {
                finished,
                exposed: exposed.map(Arc::new),
                ..observed
            })
        };
        // An object that has finished may be gone with its last event.
        if !deleted || finished {
            self.inventory.watched(&key, version, observed());
        }
        if deleted {
            self.inventory.watched(&key, version, None);
        }
    }

    fn failed(&self, error: &watcher::Error) {
        if is_not_served(error) {
            self.unknown.notify_one();
        }
        self.state.send_if_modified(|state| {
            let listing = *state != WatchState::Synced;
            if listing {
                *state = WatchState::Failing(crate::chain(error));
            }
            listing
        });
    }
}

/// What is kept of an object's body.
struct Body {
    health: Health,
    /// It was made to run once, and has.
    finished: bool,
    exposed: Option<Exposed>,
}

impl Body {
    /// An object of which no body is seen.
    const NONE: Self = Self {
        health: Health::Current,
        finished: false,
        exposed: None,
    };
}

/// An object of either kind of watch.
trait Watched: Debug + Send + 'static {
    fn metadata(&self) -> &kube::api::ObjectMeta;
    fn body(&self, kind: &GroupKind) -> Body;
}

impl Watched for PartialObjectMeta<DynamicObject> {
    fn metadata(&self) -> &kube::api::ObjectMeta {
        self.meta()
    }

    fn body(&self, _: &GroupKind) -> Body {
        Body::NONE
    }
}

impl Watched for DynamicObject {
    fn metadata(&self) -> &kube::api::ObjectMeta {
        &self.metadata
    }

    fn body(&self, kind: &GroupKind) -> Body {
        serde_json::to_value(self).map_or(Body::NONE, |body| Body {
            health: health::assess(kind, &body),
            finished: health::has_finished(kind, &body),
            exposed: health::exposed(kind, &body),
        })
    }
}

#[cfg(test)]
mod tests {
    use kube::core::GroupVersionKind;

    use super::*;

    #[test]
    fn another_version_takes_over_where_the_first_cannot_be_listed() {
        let kind = |version: &str, plural: &str, namespaced| {
            let gvk = GroupVersionKind::gvk("example.com", version, "Widget");
            let resource = ApiResource::from_gvk_with_plural(&gvk, plural);
            ServedKind {
                resource,
                namespaced,
            }
        };
        let failing = WatchState::Failing("404".to_owned());
        let watched = kind("v1", "widgets", true);
        for (state, served, same) in [
            (&WatchState::Synced, kind("v1", "widgets", true), true),
            (&WatchState::Synced, kind("v2", "widgets", true), true),
            (&WatchState::Listing, kind("v2", "widgets", true), true),
            (&failing, kind("v1", "widgets", true), true),
            (&failing, kind("v2", "widgets", true), false),
            (&WatchState::Synced, kind("v1", "widgetz", true), false),
            (&WatchState::Synced, kind("v1", "widgets", false), false),
        ] {
            let got = is_watch_of(&watched, state, &served);
            assert_eq!(got, same, "{state:?} {served:?}");
        }
    }
}
