//! The only I/O on managed objects: discovery, watches, apply, prune.

mod admission;
mod apply;
mod beforehand;
mod clock;
mod contents;
mod definition;
mod discovery;
mod inventory;
mod kinds;
mod listing;
mod lookup;
mod namespaces;
mod null;
mod own_kinds;
mod refused;
mod resume;
mod rights;
mod running;
mod served;
mod touches;
mod viewer;
mod watch;
mod write;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

pub use apply::Compared;
pub use clock::{ServerClock, date_of};
pub use contents::may_hold;
pub use inventory::{Inventory, Mailbox};
pub use kinds::Kinds;
use kube::Client;
use kube::api::ObjectMeta;
pub use listing::watched;
pub use lookup::{LookupScope, Lookups};
pub use namespaces::{Arrivals, Namespaces};
use own_kinds::OwnKinds;
pub use refused::{Causes, WriteError};
pub use running::{Running, RunningGuard};
use serde_json::Value;
pub use served::ServedKind;
use tokio::sync::OnceCell;
pub use touches::Touched;
use touches::Touches;
pub use viewer::{Rehearsed, Viewer};
pub(crate) use write::METADATA;
use write::Made;
pub use write::Once;

use crate::health::Health;
use crate::manifest::{GroupKind, ObjectKey};
use crate::metrics::Metrics;
use crate::plan::{
    Appliers, HelmRecord, Key, Observed, Seal, SyncName, breaks_transition_rule, reproved,
};

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
    own_kinds: OwnKinds,
    appliers: Appliers,
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
            own_kinds: OwnKinds::new(clients.requests.clone()),
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

    /// Waits until none of these objects' proofs would fit another object that is created under the same name:
    /// at most a few seconds after the youngest was created.
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

/// A cluster with the rights of one actor. Cheap to make.
pub struct Acting<'a> {
    cluster: &'a Cluster,
    actor: &'a Actor,
}

impl Acting<'_> {
    /// Applies one object with server-side apply, and records the answer. `body` is the object as JSON, without what
    /// is in `once`.
    ///
    /// # Errors
    /// [`WriteError`], about this object only.
    pub async fn apply(
        &self,
        served: &ServedKind,
        seal: &Seal,
        body: &[u8],
        once: Option<Once<'_>>,
        applying: Applying,
    ) -> Result<Applied, WriteError> {
        let key = seal.object();
        self.permit(served, key).await?;
        let Cluster {
            kinds,
            inventory,
            running_applies,
            ..
        } = self.cluster;
        let under_way = running_applies.begin();
        let known = match inventory.get(key) {
            None if inventory.take_unanswered(key) => self.made_before(served, seal).await?,
            known => known,
        };
        // It has become known since the body was made.
        let known_now = known.as_ref().filter(|_| seal.is_new()).map(|known| {
            let seal = seal.clone().for_object(known);
            let body = reproved(body, &seal);
            (seal, body)
        });
        let (seal, body) = match &known_now {
            Some((seal, body)) => (seal, &**body),
            None => (seal, body),
        };
        let rewritten = Mutex::default();
        let may_be_changed = self.cluster.admission.may_change(kinds, served).await;
        let wanted = write::Wanted {
            rewritten: may_be_changed.then_some(&rewritten),
            force: applying != Applying::Unforced,
            merges: applying == Applying::Merged,
            once,
            ..self.wanted(served, seal, body, known.as_ref())
        };
        let applied = match applying {
            Applying::Declared => self.writer().apply_once(&wanted).await,
            Applying::Whole | Applying::Merged | Applying::Unforced => {
                let is_served = |gvk: &_| kinds.get(gvk).is_some();
                match self.writer().apply_until_accepted(&wanted, is_served).await {
                    Ok(applied) => self.writer().without_remains(&wanted, applied).await,
                    Err(error) => Err(error),
                }
            }
        };
        let (answer, made) = applied.inspect_err(|error| {
            if known.is_none() && error.may_have_written() {
                inventory.unanswered(key);
            }
        })?;
        let created = made == Made::New;
        let answer = self.proven(&wanted, answer, made).await?;
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
            rewritten: rewritten
                .into_inner()
                .unwrap_or_else(PoisonError::into_inner),
        })
    }

    /// What an apply without an answer has made, if it has.
    async fn made_before(
        &self,
        served: &ServedKind,
        seal: &Seal,
    ) -> Result<Option<Observed>, WriteError> {
        let key = seal.object();
        let live = self.metadata(served, key).await?;
        let observed = live.and_then(|live| Observed::read(key, &live, Health::Current));
        Ok(observed.filter(|observed| seal.holds(observed)))
    }

    /// The answer to an apply, after another apply where the proof that was sent does not fit the object.
    async fn proven(
        &self,
        wanted: &write::Wanted<'_>,
        answer: Observed,
        made: Made,
    ) -> Result<Observed, WriteError> {
        let seal = wanted.seal;
        let holds = seal.holds(&answer);
        // The answer to a repeated request does not tell whether the first one created the object. Its proof does.
        let existed = made == Made::Existed || made == Made::Unknown && !holds;
        if existed && seal.is_new() && !seal.has_made(&answer.uid) {
            let seal = seal.clone().for_adopted(&answer);
            return self.prove(wanted, &seal, &answer).await;
        }
        if holds {
            return Ok(answer);
        }
        if made == Made::New {
            self.cluster.clients.clock.learn(answer.created);
        }
        let seal = seal.clone().for_object(&answer);
        self.prove(wanted, &seal, &answer).await
    }

    /// Applies an object again, with the proof of this seal. The first proof was that of a new object, and this
    /// one existed before, or the API server took its time.
    async fn prove(
        &self,
        wanted: &write::Wanted<'_>,
        seal: &Seal,
        answer: &Observed,
    ) -> Result<Observed, WriteError> {
        let body = reproved(wanted.body, seal);
        let wanted = write::Wanted {
            body: &body,
            seal,
            known: Some(answer),
            once: None,
            ..*wanted
        };
        let (answer, _) = self.writer().apply_once(&wanted).await?;
        Ok(answer)
    }

    /// Whether applying `body` would change any value of the live object.
    ///
    /// # Errors
    /// [`WriteError`], about this object only.
    pub async fn compare(
        &self,
        served: &ServedKind,
        seal: &Seal,
        body: &[u8],
    ) -> Result<Compared, WriteError> {
        let known = self.cluster.inventory.get(seal.object());
        let wanted = self.wanted(served, seal, body, known.as_ref());
        self.writer().compare(&wanted).await
    }

    /// The metadata of one live object; none where there is no such object.
    ///
    /// # Errors
    /// [`WriteError`], about this object only.
    pub async fn metadata(
        &self,
        served: &ServedKind,
        key: &ObjectKey,
    ) -> Result<Option<ObjectMeta>, WriteError> {
        self.writer().metadata(served, key).await
    }

    /// Reads one object whole; none where there is none.
    ///
    /// # Errors
    /// [`WriteError`], about this object only.
    pub async fn live(
        &self,
        served: &ServedKind,
        key: &ObjectKey,
    ) -> Result<Option<Value>, WriteError> {
        self.writer().whole(served, key).await
    }

    /// Creates an object that is no member of a Sync's ApplySet. Returns the object as it then is.
    ///
    /// # Errors
    /// [`WriteError`], about this object only; also where it exists already.
    pub async fn create(
        &self,
        served: &ServedKind,
        key: &ObjectKey,
        body: impl Fn() -> Vec<u8>,
    ) -> Result<Value, WriteError> {
        self.permit(served, key).await?;
        self.writer().create(served, key, body).await
    }

    /// Secrets, as the API server serves them.
    ///
    /// # Errors
    /// [`WriteError::NotServed`], as long as it is not known what is served.
    pub fn secrets(&self) -> Result<ServedKind, WriteError> {
        let kind = GroupKind::new("", "Secret");
        let served = self.cluster.kinds.preferred(&kind);
        served.ok_or(WriteError::NotServed)
    }

    /// Changes an object that is no member of a Sync's ApplySet, by a merge patch.
    ///
    /// # Errors
    /// [`WriteError`], about this object only.
    pub async fn patch(
        &self,
        served: &ServedKind,
        key: &ObjectKey,
        patch: &Value,
    ) -> Result<(), WriteError> {
        self.permit(served, key).await?;
        self.writer().patch(served, key, patch).await
    }

    /// The records that Helm reads of a release, in Secrets of its namespace.
    ///
    /// # Errors
    /// [`WriteError`].
    pub async fn helm_records(
        &self,
        namespace: &str,
        release: &str,
    ) -> Result<Vec<HelmRecord>, WriteError> {
        self.writer().helm_records(namespace, release).await
    }

    /// The live pods of a Job, newest last.
    ///
    /// # Errors
    /// [`WriteError`], about this object only.
    pub async fn pods_of(&self, job: &ObjectKey, uid: &str) -> Result<Vec<Value>, WriteError> {
        self.writer().pods_of(job, uid).await
    }

    /// Applies an object as a dry run.
    ///
    /// # Errors
    /// [`WriteError`], about this object only.
    pub async fn rehearse(
        &self,
        served: &ServedKind,
        seal: &Seal,
        body: &[u8],
    ) -> Result<(), WriteError> {
        self.writer()
            .rehearse(&self.wanted(served, seal, body, None))
            .await
    }

    /// Creates an object as a dry run, whether or not there is such an object.
    ///
    /// # Errors
    /// [`WriteError`], if the API server would not take it as a new object now; [`WriteError::is_only_allocated`] where
    /// an object holds a port or an address of it.
    pub async fn rehearse_create(
        &self,
        served: &ServedKind,
        seal: &Seal,
        body: &[u8],
    ) -> Result<(), WriteError> {
        self.writer()
            .rehearse_create(&self.wanted(served, seal, body, None))
            .await
    }

    /// Whether a change was refused that a new object would not be refused for: a field cannot be changed. Where the
    /// server's words do not say it, the rules of the kind's definition are read, with towline's own rights.
    pub async fn is_immutable(&self, served: &ServedKind, error: &WriteError) -> bool {
        if error.is_immutable() {
            return true;
        }
        let refusal = error.refusal().filter(|_| error.is_invalid());
        // The groups of Kubernetes without a dot have no definitions.
        let refusal = refusal.filter(|_| served.resource.group.contains('.'));
        let definitions = self.cluster.kinds.preferred(&definition::kind());
        let Some((refusal, definitions)) = refusal.zip(definitions) else {
            return false;
        };
        let key = ObjectKey {
            kind: definition::kind(),
            namespace: None,
            name: served.definition().into(),
        };
        let towline = Actor::operator(&self.actor.sync);
        match self.cluster.as_(&towline).live(&definitions, &key).await {
            Ok(Some(live)) => breaks_transition_rule(&refusal, &live, &served.resource.version),
            _ => false,
        }
    }

    /// Deletes one object with this uid. Succeeds if it is gone already.
    ///
    /// # Errors
    /// [`WriteError`], about this object only.
    pub async fn delete(&self, key: &ObjectKey, uid: &str) -> Result<(), WriteError> {
        match self.cluster.kinds.preferred(&key.kind) {
            Some(served) => {
                self.permit(&served, key).await?;
                self.writer().delete(&served, key, uid).await
            }
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
            Some(served) => {
                self.permit(&served, key).await?;
                self.writer().disown(&served, key, uid).await
            }
            None => Ok(()),
        }
    }

    /// Refuses towline's own kinds where only towline's own rights would let it write them.
    async fn permit(&self, served: &ServedKind, key: &ObjectKey) -> Result<(), WriteError> {
        match self.actor.is_operator() {
            false => Ok(()),
            true => self.cluster.own_kinds.permit(served, key).await,
        }
    }

    fn wanted<'a>(
        &'a self,
        served: &'a ServedKind,
        seal: &'a Seal,
        body: &'a [u8],
        known: Option<&'a Observed>,
    ) -> write::Wanted<'a> {
        write::Wanted {
            served,
            key: seal.object(),
            body,
            known,
            seal,
            appliers: &self.cluster.appliers,
            force: true,
            merges: false,
            once: None,
            rewritten: None,
        }
    }

    fn writer(&self) -> write::Writer<'_> {
        let Cluster {
            clients, requests, ..
        } = self.cluster;
        write::Writer::new(&clients.requests, requests, self.actor)
    }
}
