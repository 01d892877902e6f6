//! Starts a driver for every resource, notifies the driver of changes, and ends it when the
//! resource is gone.
//!
//! A standby does the same, but its drivers wait until it leads. Until then, all resources are
//! watched and their caches filled. Each driver then begins with the current state of its resource.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures::{FutureExt as _, Stream, StreamExt as _};
use jiff::Timestamp;
use kube::core::DeserializeGuard;
use kube::core::error_boundary::InvalidObject;
use kube::runtime::watcher;
use kube::{Api, Client, Resource, ResourceExt as _};
use serde::Serialize;
use tokio::sync::watch;
use tokio::task::AbortHandle;

use super::Context;
use super::driven::Driven;
use super::status::{StatusOf, write_status};
use crate::allowance::{Allowance, HeldBytes};
use crate::api::{
    Condition, ConditionType, REQUESTED_AT, REQUESTS, Reason, Status, Time, Verdict,
    set_conditions, summary,
};
use crate::cluster::watched;
use crate::server::Readiness;

/// The annotation of `kubectl apply`, which repeats the whole spec.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// The pause before a panicked driver is restarted.
const AFTER_PANIC: Duration = Duration::from_secs(10);

/// Watches one kind of resource and keeps a driver for each.
pub async fn supervise<K: Driven>(context: Arc<Context>, client: Client, readiness: &Readiness) {
    let api: Api<DeserializeGuard<K>> = match &context.namespace {
        Some(namespace) => Api::namespaced(client, namespace),
        None => Api::all(client),
    };
    let mut supervisor = Supervisor::<K> {
        context,
        drivers: HashMap::new(),
        refused: HashMap::new(),
        listing: None,
        large: Allowance::new(LARGE, LARGE_OF_NAMESPACE),
        held: HashMap::new(),
    };
    let events = watched(K::kind(&()), api, watcher::Config::default());
    supervisor.follow(events, readiness).await;
}

struct Supervisor<K> {
    context: Arc<Context>,
    drivers: HashMap<(String, String), Handle<K>>,
    /// Resources that cannot be read.
    refused: HashMap<(String, String), Refused>,
    /// The resources of the current list so far. Drivers start when the list is complete, so that
    /// each driver knows all other resources.
    listing: Option<Listing<K>>,
    /// What large resources may take of memory.
    large: Allowance,
    held: HashMap<(String, String), HeldBytes>,
}

/// From how many bytes of memory on a resource is large. Ordinary ones take a fourth of it.
const FROM: usize = 64 << 10;

/// How many bytes of memory all large resources of a kind may take, and those of one namespace. A driver keeps its
/// resource, in which values of charts may be: 1 MB of `{"a":1}` takes a hundred.
const LARGE: usize = 192 << 20;
const LARGE_OF_NAMESPACE: usize = 96 << 20;

/// Resources by namespace and name. None for a resource that cannot be read. Ordered, so that the
/// same resources have metric series after each start.
type Listing<K> = BTreeMap<(String, String), Option<Arc<K>>>;

/// A resource that cannot be read.
struct Refused {
    generation: Option<i64>,
    error: String,
    /// Whether its status says so.
    reported: bool,
}

struct Handle<K> {
    object: watch::Sender<Arc<K>>,
    task: AbortHandle,
}

impl<K> Drop for Handle<K> {
    fn drop(&mut self) {
        self.task.abort();
    }
}

type WatchEvent<K> = watcher::Result<watcher::Event<DeserializeGuard<K>>>;

impl<K: Driven> Supervisor<K> {
    async fn follow(&mut self, events: impl Stream<Item = WatchEvent<K>>, readiness: &Readiness) {
        let mut events = std::pin::pin!(events);
        let leadership = self.context.leadership.clone();
        let mut is_standby = !leadership.leads();
        loop {
            let event = tokio::select! {
                event = events.next() => event,
                () = leadership.begun(), if is_standby => {
                    is_standby = false;
                    self.report_refused().await;
                    continue;
                }
            };
            let Some(event) = event else { return };
            match event {
                Ok(watcher::Event::Init) => self.listing = Some(BTreeMap::new()),
                Ok(watcher::Event::InitApply(guarded) | watcher::Event::Apply(guarded)) => {
                    match guarded.0 {
                        Ok(object) => self.meet(object).await,
                        Err(invalid) => self.refuse(invalid).await,
                    }
                }
                Ok(watcher::Event::InitDone) => {
                    self.listed();
                    readiness.set(K::kind(&()).as_ref());
                }
                Ok(watcher::Event::Delete(guarded)) => {
                    let meta = guarded.meta();
                    let name = meta.name.clone().unwrap_or_default();
                    self.end(&(meta.namespace.clone().unwrap_or_default(), name));
                    self.tidy();
                }
                // The watch logs the error and continues.
                Err(_) => (),
            }
        }
    }

    /// Takes an object without what no driver reads, if there is room for it.
    async fn meet(&mut self, mut object: K) {
        let meta = object.meta_mut();
        // The larger part of a Sync.
        meta.managed_fields = None;
        if let Some(annotations) = &mut meta.annotations {
            annotations.remove(LAST_APPLIED);
        }
        let key = (object.namespace().unwrap_or_default(), object.name_any());
        self.held.remove(&key);
        let bytes = memory(&object);
        if bytes < FROM {
            return self.upsert(object);
        }
        match self.large.hold(&key.0.as_str().into(), bytes) {
            Some(held) => {
                self.held.insert(key, held);
                self.upsert(object);
            }
            None => {
                let error = format!(
                    "it would take about {} MiB of memory, and all large ones of namespace {} may take {} together: move \
                     values into files of the repository. Or make room by deleting or shrinking another large one; then any \
                     change of this one, such as another value of its annotation {REQUESTED_AT}, makes towline read it again",
                    bytes.div_ceil(1 << 20),
                    key.0,
                    LARGE_OF_NAMESPACE >> 20,
                );
                let metadata = object.meta().clone();
                self.refuse(InvalidObject { error, metadata }).await;
            }
        }
    }

    fn upsert(&mut self, object: K) {
        let key = (object.namespace().unwrap_or_default(), object.name_any());
        match &mut self.listing {
            Some(listing) => drop(listing.insert(key, Some(Arc::new(object)))),
            None => {
                object.announce(&self.context);
                self.start(key, Arc::new(object));
            }
        }
    }

    fn listed(&mut self) {
        let listing = self.listing.take().unwrap_or_default();
        let named: HashSet<&(String, String)> = listing.keys().collect();
        let gone: Vec<_> = self
            .drivers
            .keys()
            .chain(self.refused.keys())
            .filter(|key| !named.contains(key))
            .cloned()
            .collect();
        for key in gone {
            self.end(&key);
        }
        for object in listing.values().flatten() {
            object.announce(&self.context);
        }
        K::all_announced(&self.context);
        for (key, object) in listing {
            if let Some(object) = object {
                self.start(key, object);
            }
        }
        self.tidy();
    }

    /// Notifies the driver of a resource, or starts one.
    fn start(&mut self, key: (String, String), object: Arc<K>) {
        self.refused.remove(&key);
        if let Some(handle) = self.drivers.get(&key) {
            if handle.object.borrow().meta().uid == object.meta().uid {
                // On a standby, the cached data follows the leader's status.
                let is_standby = !self.context.leadership.leads();
                handle.object.send_if_modified(|known| {
                    let (was, is) = (known.meta(), object.meta());
                    let news = is_standby || concerns_driver(was, is) || K::lost_marks(was, is);
                    *known = object;
                    news
                });
                return;
            }
            self.end(&key);
            object.announce(&self.context);
        }
        let (sender, receiver) = watch::channel(object);
        let task = tokio::spawn(keep_driving(Arc::clone(&self.context), receiver)).abort_handle();
        self.drivers.insert(
            key,
            Handle {
                object: sender,
                task,
            },
        );
        self.context
            .metrics
            .driven(K::kind(&()).as_ref(), self.drivers.len());
    }

    fn end(&mut self, key: &(String, String)) {
        let was_refused = self.refused.remove(key).is_some();
        if self.stop(key) || was_refused {
            K::forget(&self.context, &key.0, &key.1);
        }
    }

    /// Ends the driver of a resource. The resource keeps its claimed objects.
    fn stop(&mut self, key: &(String, String)) -> bool {
        self.held.remove(key);
        let ran = self.drivers.remove(key).is_some();
        self.context
            .metrics
            .driven(K::kind(&()).as_ref(), self.drivers.len());
        ran
    }

    fn tidy(&self) {
        if !self.refused.is_empty() {
            return; // it is not known what these need
        }
        let left = self
            .drivers
            .values()
            .map(|handle| Arc::clone(&handle.object.borrow()));
        K::tidy(&self.context, left.collect());
    }

    /// Writes on the status of a resource why it cannot be read, once. Other resources continue,
    /// and its applied objects stay.
    async fn refuse(&mut self, invalid: InvalidObject) {
        let uid = invalid.metadata.uid.unwrap_or_default();
        let namespace = invalid.metadata.namespace.unwrap_or_default();
        let name = invalid.metadata.name.unwrap_or_default();
        let key = (namespace.clone(), name.clone());
        // Otherwise the driver would continue with the old spec, and write a status about it.
        self.stop(&key);
        K::reserve(&self.context, &namespace, &name, &uid);
        if let Some(listing) = &mut self.listing {
            listing.insert(key.clone(), None);
        }
        let generation = invalid.metadata.generation;
        if let Some(known) = self.refused.get(&key)
            && known.reported
            && known.generation == generation
        {
            return; // this is about the status that was written then
        }
        tracing::warn!(kind = %K::kind(&()), namespace, name, error = invalid.error, "invalid spec");
        let mut refused = Refused {
            generation,
            error: invalid.error,
            reported: false,
        };
        if self.context.leadership.leads() {
            self.tell(&key, &mut refused).await;
        }
        self.refused.insert(key, refused);
    }

    /// Writes the status of every resource that cannot be read. A standby could not write it.
    async fn report_refused(&mut self) {
        for (key, mut refused) in std::mem::take(&mut self.refused) {
            self.tell(&key, &mut refused).await;
            self.refused.insert(key, refused);
        }
    }

    async fn tell(&self, (namespace, name): &(String, String), refused: &mut Refused) {
        let generation = refused.generation;
        let message = format!("the spec cannot be read: {}", refused.error);
        let line = summary(&message);
        let verdict = Verdict::new(ConditionType::Ready, false, Reason::InvalidSpec, message);
        let now = Time(Timestamp::now());
        let status = UnreadStatus {
            observed_generation: generation,
            summary: line,
            conditions: set_conditions(&[], vec![verdict], generation, &now),
        };
        let of = StatusOf {
            namespace,
            name,
            // Only some fields are written.
            version: None,
        };
        match write_status::<K>(&self.context, of, &status).await {
            Ok(_) => refused.reported = true,
            Err(error) => {
                let error = crate::chain(&error);
                tracing::warn!(
                    namespace,
                    name,
                    error,
                    "writing the status of an invalid resource"
                );
            }
        }
    }
}

/// The status of a resource that cannot be read. Its other fields stay as they are.
#[derive(Clone, Serialize)]
#[serde(rename_all = "camelCase")]
struct UnreadStatus {
    observed_generation: Option<i64>,
    summary: String,
    conditions: Vec<Condition>,
}

impl Status for UnreadStatus {
    /// Conditions are short, so they need no shortening.
    fn fit(&self) -> Self {
        self.clone()
    }

    fn outline(&self, _why: &str) -> Self {
        self.clone()
    }
}

/// About how many bytes of memory an object takes: its text, and a node for each map and each value.
fn memory(object: &impl Serialize) -> usize {
    const MAP: usize = 656;
    const VALUE: usize = 64;
    // What was read as JSON can be written as such.
    let text = serde_json::to_vec(object).unwrap_or_default();
    let nodes = text.iter().map(|byte| match byte {
        b'{' => MAP,
        b',' | b'[' => VALUE,
        _ => 0,
    });
    text.len() + nodes.sum::<usize>()
}

/// Whether a driver must react to a change. It must not react to the status and marks that it
/// writes itself.
fn concerns_driver(known: &kube::api::ObjectMeta, new: &kube::api::ObjectMeta) -> bool {
    let requested = |meta: &kube::api::ObjectMeta| {
        let all = meta.annotations.as_ref();
        REQUESTS.map(|name| all.and_then(|all| all.get(name).cloned()))
    };
    known.generation != new.generation
        || known.deletion_timestamp != new.deletion_timestamp
        || requested(known) != requested(new)
}

/// Runs a driver, and restarts it when it panics; other drivers are unaffected.
async fn keep_driving<K: Driven>(context: Arc<Context>, object: watch::Receiver<Arc<K>>) {
    // In boxes: a future that is moved takes its room twice.
    let standby = Box::pin(K::standby(Arc::clone(&context), object.clone()));
    tokio::select! {
        biased;
        () = context.leadership.begun() => (),
        // The driver fills the rest.
        _ = AssertUnwindSafe(standby).catch_unwind() => context.leadership.begun().await,
    }
    loop {
        let drive = Box::pin(K::drive(Arc::clone(&context), object.clone()));
        if AssertUnwindSafe(drive).catch_unwind().await.is_ok() {
            return;
        }
        let known = object.borrow().meta().clone();
        tracing::error!(
            kind = %K::kind(&()), namespace = known.namespace, name = known.name,
            "the driver panicked; restarting it"
        );
        tokio::time::sleep(AFTER_PANIC).await;
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_people_ask_for_by_annotations_concerns_a_driver() {
        use crate::api::{
            APPROVE_PRUNE, DELETION_POLICY, PIN, PIN_HOLD, PINNED_AWAY, REQUESTED_AT, UNPINNED_BY,
        };
        let with = |name: &str| kube::api::ObjectMeta {
            annotations: Some([(name.to_owned(), "x".to_owned())].into()),
            ..Default::default()
        };
        for (name, concerns) in [
            (REQUESTED_AT, true),
            (APPROVE_PRUNE, true),
            (DELETION_POLICY, true),
            (PIN, true),
            (PINNED_AWAY, true),
            (PIN_HOLD, true),
            (UNPINNED_BY, false),
            ("example.com/other", false),
        ] {
            let (none, one) = (kube::api::ObjectMeta::default(), with(name));
            assert_eq!(concerns_driver(&none, &one), concerns, "{name}");
            assert_eq!(concerns_driver(&one, &none), concerns, "{name}");
        }
    }

    #[test]
    fn small_maps_weigh_more_than_their_text() {
        let many = json!({"values": vec![json!({"a": 1}); 100_000]});
        assert!(memory(&many) > 60 << 20);
        let long = json!({"values": "x".repeat(1 << 20)});
        assert!(memory(&long) < 2 << 20);
        let ordinary = json!({"spec": {"path": "a", "values": vec![json!({"name": "a"}); 50]}});
        assert!(memory(&ordinary) < FROM);
    }
}
