//! Tells when objects change that charts have looked up: a watch of the metadata of a kind, in one namespace or in all, for
//! as long as somebody waits for one of its objects. Nothing of the objects is kept.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use futures::StreamExt as _;
use kube::api::{DynamicObject, PartialObjectMeta};
use kube::runtime::watcher::{self, Event};
use kube::{Api, Client, ResourceExt as _};
use tokio::sync::watch;
use tokio::task::AbortHandle;

use super::{ServedKind, watched};

/// The watches that run. Clones share them.
#[derive(Clone)]
pub(super) struct Touches {
    client: Client,
    running: Arc<Mutex<HashMap<WatchKey, Weak<Follow>>>>,
}

/// What a watch is of: kind by plural and group, and a namespace; none: all of them.
type WatchKey = (String, Option<String>);

/// One watch. It ends with its last subscription.
struct Follow {
    names: Arc<Names>,
    task: AbortHandle,
}

impl Drop for Follow {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A subscription to one object, or to all of a kind in a namespace.
pub struct Touched {
    changes: watch::Receiver<u64>,
    /// Keeps the watch.
    _follow: Option<Arc<Follow>>,
}

impl Touched {
    /// Changes with the kinds that are served, for an object of a kind that is not.
    pub(super) fn by_kinds(changes: watch::Receiver<u64>) -> Self {
        Self {
            changes,
            _follow: None,
        }
    }

    /// Waits for the next change.
    pub async fn changed(&mut self) {
        if self.changes.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

/// The objects that have subscribers, by name. The empty name is every object.
#[derive(Default)]
struct Names(Mutex<HashMap<String, watch::Sender<u64>>>);

impl Names {
    fn lock(&self) -> MutexGuard<'_, HashMap<String, watch::Sender<u64>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn subscribe(&self, name: &str) -> watch::Receiver<u64> {
        let mut names = self.lock();
        names.retain(|_, changes| changes.receiver_count() > 0);
        let changes = names.entry(name.to_owned());
        changes.or_insert_with(|| watch::Sender::new(0)).subscribe()
    }

    fn touch(&self, name: &str) {
        let names = self.lock();
        let touched = [name, ""].into_iter().filter_map(|name| names.get(name));
        touched.for_each(|changes| changes.send_modify(|count| *count += 1));
    }

    fn touch_all(&self) {
        let names = self.lock();
        let all = names.values();
        all.for_each(|changes| changes.send_modify(|count| *count += 1));
    }
}

impl Touches {
    pub(super) fn new(client: Client) -> Self {
        Self {
            client,
            running: Arc::default(),
        }
    }

    /// Subscribes to an object, or with an empty name to all of the kind. What changed before the watch has begun counts
    /// as a change.
    pub(super) fn subscribe(
        &self,
        served: &ServedKind,
        namespace: Option<&str>,
        name: &str,
    ) -> Touched {
        let namespace = namespace.filter(|_| served.namespaced).map(str::to_owned);
        let key = (served.definition(), namespace);
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        running.retain(|_, follow| follow.strong_count() > 0);
        let known = running.get(&key).and_then(Weak::upgrade);
        let follow = known.unwrap_or_else(|| {
            let follow = Arc::new(self.follow(served, key.1.as_deref()));
            running.insert(key, Arc::downgrade(&follow));
            follow
        });
        Touched {
            changes: follow.names.subscribe(name),
            _follow: Some(follow),
        }
    }

    fn follow(&self, served: &ServedKind, namespace: Option<&str>) -> Follow {
        let (client, resource) = (self.client.clone(), &served.resource);
        let api: Api<PartialObjectMeta<DynamicObject>> = match namespace {
            Some(namespace) => Api::namespaced_with(client, namespace, resource),
            None => Api::all_with(client, resource),
        };
        let what = format!("{} that charts look up", served.group_kind());
        let events = watched(what, api, watcher::Config::default());
        let names = Arc::<Names>::default();
        let told = Arc::clone(&names);
        let task = tokio::spawn(async move {
            let mut events = std::pin::pin!(events);
            while let Some(event) = events.next().await {
                match event {
                    Ok(Event::Apply(object) | Event::Delete(object)) => {
                        told.touch(&object.name_any());
                    }
                    // What happened before, or during an interruption, is not known.
                    Ok(Event::InitDone) => told.touch_all(),
                    Ok(Event::Init | Event::InitApply(_)) | Err(_) => (),
                }
            }
        });
        Follow {
            names,
            task: task.abort_handle(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_wakes_who_waits_for_that_object_or_for_all() {
        let names = Names::default();
        let mut one = names.subscribe("one");
        let (mut two, mut all) = (names.subscribe("two"), names.subscribe(""));
        let mut woken = || {
            [&mut one, &mut two, &mut all].map(|changes| {
                let has_changed = changes.has_changed().unwrap();
                changes.mark_unchanged();
                has_changed
            })
        };
        names.touch("one");
        assert_eq!(woken(), [true, false, true]);
        names.touch("other");
        assert_eq!(woken(), [false, false, true]);
        names.touch_all();
        assert_eq!(woken(), [true, true, true]);
        drop((one, two));
        let _three = names.subscribe("three");
        assert_eq!(names.lock().len(), 2, "who has gone is forgotten");
    }
}
