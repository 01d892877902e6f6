//! The namespaces that drivers wait for. Their metadata is watched only while a driver waits.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use futures::StreamExt as _;
use k8s_openapi::api::core::v1::Namespace;
use kube::core::PartialObjectMeta;
use kube::runtime::watcher;
use kube::{Api, Client};
use tokio::sync::watch;
use tokio::task::AbortHandle;

use super::listing::watched;

/// The uids of the namespaces that exist and are not being deleted, by name.
type Present = HashMap<String, String>;

/// The namespaces of a cluster. Clones share the watch.
#[derive(Clone)]
pub struct Namespaces(Option<Arc<Shared>>);

struct Shared {
    client: Client,
    present: watch::Sender<Present>,
    running: Mutex<Weak<Running>>,
}

/// The running watch. It ends when no driver waits any more.
struct Running(AbortHandle);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Namespaces {
    /// `client` must accept answers that take minutes.
    pub(super) fn new(client: Client) -> Self {
        Self(Some(Arc::new(Shared {
            client,
            present: watch::Sender::default(),
            running: Mutex::default(),
        })))
    }

    /// For an account with rights in one namespace only: watches nothing, and never reports a namespace.
    pub(super) fn unwatched() -> Self {
        Self(None)
    }

    /// Watches namespaces until the returned value is dropped.
    pub fn arrivals(&self) -> Arrivals {
        let watched = self.0.as_ref().map(|shared| Watched {
            present: shared.present.subscribe(),
            _running: shared.run(),
        });
        Arrivals {
            watched,
            told: HashSet::new(),
        }
    }
}

impl Shared {
    fn run(&self) -> Arc<Running> {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(running) = running.upgrade() {
            return running;
        }
        let api: Api<PartialObjectMeta<Namespace>> = Api::all(self.client.clone());
        // A namespace that an earlier watch saw may be gone.
        self.present.send_replace(Present::new());
        let task = tokio::spawn(follow(api, self.present.clone()));
        let started = Arc::new(Running(task.abort_handle()));
        *running = Arc::downgrade(&started);
        started
    }
}

async fn follow(api: Api<PartialObjectMeta<Namespace>>, present: watch::Sender<Present>) {
    let events = watched("Namespace", api, watcher::Config::default());
    let mut events = std::pin::pin!(events);
    let mut listed = Present::new();
    while let Some(event) = events.next().await {
        match event {
            Ok(watcher::Event::Init) => listed = Present::new(),
            Ok(watcher::Event::InitApply(namespace)) => set(&mut listed, namespace),
            Ok(watcher::Event::InitDone) => {
                present.send_replace(std::mem::take(&mut listed));
            }
            Ok(watcher::Event::Apply(namespace)) => {
                present.send_modify(|present| set(present, namespace));
            }
            Ok(watcher::Event::Delete(namespace)) => {
                let name = namespace.metadata.name.unwrap_or_default();
                present.send_modify(|present| drop(present.remove(&name)));
            }
            Err(_) => (),
        }
    }
}

fn set(present: &mut Present, namespace: PartialObjectMeta<Namespace>) {
    let meta = namespace.metadata;
    let (name, uid) = (meta.name.unwrap_or_default(), meta.uid.unwrap_or_default());
    match meta.deletion_timestamp {
        None => drop(present.insert(name, uid)),
        // Nothing can be created in a namespace that is being deleted.
        Some(_) => drop(present.remove(&name)),
    }
}

/// Waits for namespaces.
pub struct Arrivals {
    watched: Option<Watched>,
    /// Name and uid of the namespaces that were reported. Each is reported once.
    told: HashSet<(String, String)>,
}

struct Watched {
    present: watch::Receiver<Present>,
    _running: Arc<Running>,
}

impl Arrivals {
    /// Waits until one of `names` exists. It may have existed before. Each namespace is reported once, so
    /// that a driver that cannot use it does not try again without a pause. Cancel safe.
    pub async fn created(&mut self, names: &HashSet<String>) {
        let Some(watched) = &mut self.watched else {
            return std::future::pending().await;
        };
        loop {
            let arrived: Vec<(String, String)> = watched
                .present
                .borrow_and_update()
                .iter()
                .filter(|(name, _)| names.contains(*name))
                .map(|(name, uid)| (name.clone(), uid.clone()))
                .filter(|arrived| !self.told.contains(arrived))
                .collect();
            if !arrived.is_empty() {
                self.told.extend(arrived);
                return;
            }
            if watched.present.changed().await.is_err() {
                return std::future::pending().await;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;

    fn namespace(name: &str, uid: &str, going: bool) -> PartialObjectMeta<Namespace> {
        let mut meta = serde_json::json!({"name": name, "uid": uid});
        if going {
            meta["deletionTimestamp"] = "2026-01-01T00:00:00Z".into();
        }
        let object = serde_json::json!({"apiVersion": "v1", "kind": "Namespace", "metadata": meta});
        serde_json::from_value(object).unwrap()
    }

    #[tokio::test]
    async fn each_namespace_that_is_waited_for_arrives_once() {
        let sender = watch::Sender::new(Present::new());
        let mut arrivals = Arrivals {
            watched: Some(Watched {
                present: sender.subscribe(),
                _running: Arc::new(Running(tokio::spawn(async {}).abort_handle())),
            }),
            told: HashSet::new(),
        };
        let names = HashSet::from(["shop".to_owned()]);
        let put = |name: &str, uid: &str, going: bool| {
            sender.send_modify(|present| set(present, namespace(name, uid, going)));
        };
        let mut arrived = || arrivals.created(&names).now_or_never().is_some();
        assert!(!arrived());
        put("other", "1", false);
        assert!(!arrived());
        put("shop", "2", true);
        assert!(
            !arrived(),
            "a namespace that is being deleted must not be reported"
        );
        put("shop", "3", false);
        assert!(arrived());
        put("shop", "3", false);
        assert!(!arrived(), "the namespace was reported before");
        put("shop", "3", true);
        put("shop", "4", false);
        assert!(
            arrived(),
            "a new namespace of the same name must be reported"
        );
    }

    #[tokio::test]
    async fn with_rights_in_one_namespace_nothing_is_watched() {
        let mut arrivals = Namespaces::unwatched().arrivals();
        let names = HashSet::from(["shop".to_owned()]);
        assert!(arrivals.created(&names).now_or_never().is_none());
    }
}
