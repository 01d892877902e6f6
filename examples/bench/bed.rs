//! A control plane, a Git server and the operator, with the actions of a user.

use std::collections::BTreeMap;
use std::marker;
use std::path::PathBuf;
use std::time::Duration;

use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::{Api, Client};
use serde_json::{Value, json};
use towline::api::{DELETION_POLICY, GitRepository, Sync};
use towline::plan::{PART_OF, SyncName};

use crate::Options;
use crate::floor::Raw;
use crate::load::{Load, NAMESPACES};
use crate::seen;
use towline_testing::audit::Entry;
use towline_testing::control_plane::{self, Component, ControlPlane};
use towline_testing::definitions::define;
use towline_testing::git::GitServer;
use towline_testing::kubeconfig::User;
use towline_testing::kubectl::kubectl;
use towline_testing::operator::{Operator, OperatorOptions};
use towline_testing::repo::Repo;
use towline_testing::usage::processor_time;

/// The namespace of GitRepositories and Syncs.
pub const HOME: &str = "bench";

pub struct Bed {
    // Before the control plane, so that it ends first.
    pub operator: Option<Operator>,
    pub cp: ControlPlane,
    pub git: GitServer,
    pub client: Client,
    person: Client,
    pub program: Option<PathBuf>,
    operator_args: Vec<String>,
}

impl Bed {
    /// Starts without an operator, so that nothing disturbs the first floors.
    pub async fn start(options: &Options) -> Self {
        let cp = ControlPlane::start(control_plane::Options {
            audit: true,
            ..control_plane::Options::default()
        })
        .await;
        define(&cp).await.expect("the definitions");
        kubectl(&cp.kubeconfig_path(), &["create", "namespace", HOME]).await;
        Self {
            operator: None,
            git: GitServer::start(),
            client: cp.client().await,
            person: cp.client_for(User::Person).await,
            cp,
            program: options.operator.clone(),
            operator_args: options.operator_arg.clone(),
        }
    }

    pub async fn start_operator(&mut self) {
        let mut options = OperatorOptions::new(&self.cp);
        options.program = self.program.clone();
        options.args.extend(self.operator_args.iter().cloned());
        self.operator = Some(Operator::start(options).await);
    }

    /// The API server's version.
    pub async fn version(&self) -> Option<String> {
        let version = self.client.apiserver_version().await;
        version.ok().map(|version| version.git_version)
    }

    pub fn operator(&self) -> &Operator {
        self.operator.as_ref().expect("a running operator")
    }

    pub fn pid(&self) -> u32 {
        self.operator().pid()
    }

    /// The API server's processor time.
    pub fn server_time(&self) -> Duration {
        processor_time(self.cp.pids()[&Component::ApiServer])
    }

    pub async fn raw(&self, connections: usize) -> Raw {
        Raw::new(&self.cp, connections).await
    }

    pub fn syncs(&self) -> Api<Sync> {
        Api::namespaced(self.client.clone(), HOME)
    }

    pub fn repositories(&self) -> Api<GitRepository> {
        Api::namespaced(self.client.clone(), HOME)
    }

    pub fn config_maps(&self, namespace: &str) -> Api<ConfigMap> {
        Api::namespaced(self.client.clone(), namespace)
    }

    /// Creates a GitRepository. Its interval is so long that polling does not matter.
    pub async fn repository(&self, name: &str, repo: &Repo) {
        let object = json!({
            "apiVersion": "towline.dev/v1alpha1", "kind": "GitRepository",
            "metadata": {"name": name, "namespace": HOME},
            "spec": {"url": repo.url(), "interval": "1h", "ref": {"branch": "main"}},
        });
        let object = serde_json::from_value(object).expect("a GitRepository");
        self.repositories()
            .create(&PostParams::default(), &object)
            .await
            .expect("create a GitRepository");
    }

    /// Changes the spec of a GitRepository, and waits until towline has acted on it.
    pub async fn change_repository(&self, name: &str, spec: Value) {
        let api = self.repositories();
        let patch = Patch::Merge(json!({ "spec": spec }));
        let changed = api.patch(name, &PatchParams::default(), &patch).await;
        let generation = changed.expect("change a GitRepository").metadata.generation;
        let observed = seen::once(&api, name, move |repository| {
            let status = repository.status.as_ref();
            status.is_some_and(|status| status.observed_generation == generation)
        });
        observed.await.await.expect("wait for a GitRepository");
    }

    pub async fn secret(&self, name: &str, data: &Value) {
        let object = json!({"metadata": {"name": name}, "stringData": data});
        let object: Secret = serde_json::from_value(object).expect("a Secret");
        let api: Api<Secret> = Api::namespaced(self.client.clone(), HOME);
        api.create(&PostParams::default(), &object)
            .await
            .expect("create a Secret");
    }

    pub async fn sync(&self, name: &str, repository: &str, path: &str) {
        create_sync(&self.syncs(), name, repository, path).await;
    }

    /// Requests a fetch.
    pub async fn announce(&self, repository: &str) -> String {
        let now = jiff::Timestamp::now().to_string();
        let patch = json!({"metadata": {"annotations": {"towline.dev/requested-at": now}}});
        let params = PatchParams::default();
        self.repositories()
            .patch(repository, &params, &Patch::Merge(patch))
            .await
            .expect("ask for a fetch");
        now
    }

    /// Changes a ConfigMap's data as a person.
    pub async fn edit(&self, namespace: &str, name: &str, data: Value) {
        let api: Api<ConfigMap> = Api::namespaced(self.person.clone(), namespace);
        let params = PatchParams {
            field_manager: Some("kubectl-edit".to_owned()),
            ..PatchParams::default()
        };
        let patch = Patch::Merge(json!({ "data": data }));
        api.patch(name, &params, &patch)
            .await
            .expect("edit a ConfigMap");
    }

    /// Deletes a Sync, and waits until it and its objects are gone.
    pub async fn delete_sync(&self, name: &str) {
        let api = self.syncs();
        api.delete(name, &DeleteParams::default())
            .await
            .expect("delete a Sync");
        let id = SyncName::new(HOME, name).applyset_id();
        let own = ListParams::default().labels(&format!("{PART_OF}={id}"));
        let maps: Api<ConfigMap> = Api::all(self.person.clone());
        while !maps.list(&own).await.expect("list").items.is_empty() {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        // No controller removes the Namespaces here, so the deletion would wait for them without end.
        let orphan = json!({"metadata": {"annotations": {DELETION_POLICY: "Orphan"}}});
        let params = PatchParams::default();
        match api.patch(name, &params, &Patch::Merge(orphan)).await {
            Ok(_) => (),
            // An older operator that is measured beside this one does not wait for the Namespaces.
            Err(kube::Error::Api(status)) if status.code == 404 => (),
            Err(error) => panic!("annotate a Sync: {error}"),
        }
        while api.get_opt(name).await.expect("get a Sync").is_some() {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// Deletes the ConfigMaps of a load. Namespaces stay, because this control plane has no controller
    /// that removes them.
    pub async fn clear(&self, load: &Load) {
        for index in 0..NAMESPACES {
            let api = self.config_maps(&load.namespace(index));
            let deleted = api
                .delete_collection(&DeleteParams::default(), &ListParams::default())
                .await;
            deleted.expect("delete ConfigMaps");
        }
    }

    /// Waits until the Sync is ready at a commit. Returns the time when it was.
    pub async fn synced(&self, name: &str, commit: &str) -> std::time::Instant {
        let waiting = seen::once(&self.syncs(), name, ready_at(commit)).await;
        waiting.await.expect("wait for a Sync").0
    }
}

pub async fn create_sync(api: &Api<Sync>, name: &str, repository: &str, path: &str) {
    let object = json!({
        "apiVersion": "towline.dev/v1alpha1", "kind": "Sync",
        "metadata": {"name": name, "namespace": HOME},
        "spec": {"sourceRef": {"name": repository}, "path": path, "prune": true},
    });
    let object = serde_json::from_value(object).expect("a Sync");
    api.create(&PostParams::default(), &object)
        .await
        .expect("create a Sync");
}

/// Whether a Sync is ready at a commit.
pub fn ready_at(commit: &str) -> impl Fn(&Sync) -> bool + Send + marker::Sync + use<> {
    let commit = commit.to_owned();
    move |sync| {
        let Some(status) = &sync.status else {
            return false;
        };
        let applied = status.last_applied_revision.as_deref().unwrap_or_default();
        let ready = status
            .conditions
            .iter()
            .any(|condition| condition.type_ == "Ready" && condition.status == "True");
        ready && applied.ends_with(&commit)
    }
}

/// Whether a ConfigMap has this value.
pub fn has_value(value: &str) -> impl Fn(&ConfigMap) -> bool + Send + marker::Sync + use<> {
    let value = value.to_owned();
    move |map| {
        map.data
            .as_ref()
            .is_some_and(|data| data.get("value") == Some(&value))
    }
}

/// The operator's writes until its first apply was answered, with the API server's own times. Times are
/// in milliseconds since the answer to the trigger.
pub fn way(entries: &[Entry]) -> Option<Value> {
    let trigger = entries.iter().find(|entry| {
        entry.user == User::Admin.name() && entry.resource == "gitrepositories" && entry.is_write()
    })?;
    let start = trigger.completed?;
    let ours = |entry: &&Entry| entry.user == User::Towline.name() && entry.is_write();
    let apply = entries
        .iter()
        .filter(ours)
        .find(|entry| entry.resource == "configmaps")?;
    let since = |at: jiff::Timestamp| at.duration_since(start).as_secs_f64() * 1000.0;
    let before = entries
        .iter()
        .filter(ours)
        .filter(|entry| entry.received < apply.completed.unwrap_or(apply.received))
        .map(|entry| {
            json!({
                "resource": entry.resource, "received": since(entry.received),
                "answered": entry.completed.map(since),
            })
        });
    Some(json!(before.collect::<Vec<_>>()))
}

/// The operator's requests among `entries`.
pub struct Requests(Vec<Entry>);

impl Requests {
    pub fn of(entries: Vec<Entry>) -> Self {
        let ours = entries
            .into_iter()
            // A watch that ends and begins again belongs to no change.
            .filter(|entry| entry.user == User::Towline.name() && entry.verb != "watch");
        Self(ours.collect())
    }

    pub fn total(&self) -> usize {
        self.0.len()
    }

    /// The number of requests for managed objects, without towline's own resources and events.
    pub fn managed(&self) -> usize {
        let managed = |entry: &&Entry| {
            entry.group != "towline.dev" && entry.resource != "events" && !entry.resource.is_empty()
        };
        self.0.iter().filter(managed).count()
    }

    /// The number of requests by verb and resource.
    pub fn by_kind(&self) -> Value {
        let mut counts: BTreeMap<String, usize> = BTreeMap::new();
        for entry in &self.0 {
            let mut what = format!("{} {}", entry.verb, entry.resource);
            if !entry.subresource.is_empty() {
                what = format!("{what}/{}", entry.subresource);
            }
            *counts.entry(what).or_default() += 1;
        }
        json!(counts)
    }
}
