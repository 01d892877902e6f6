//! Towline as a user runs it: its definitions are installed, and an operator and a Git server run.
//!
//! All tests of the binary share one world. Each test works in its own namespace and repository. A test
//! that stops the operator starts its own [`World`].

use std::time::Duration;

use k8s_openapi::api::core::v1::{ConfigMap, Event};
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::{Api, Client};
use serde_json::{Value, json};
use tokio::sync::OnceCell;
use towline::api::{GitRepository, Sync};

pub mod election;
pub mod life;
pub mod login;
pub mod policy;
pub mod verdict;

pub use towline_testing::manifest::config_map;
pub use towline_testing::wait::PATIENCE;

use towline_testing::control_plane::{ControlPlane, Options};
use towline_testing::definitions::define;
use towline_testing::git::GitServer;
use towline_testing::kubectl::try_kubectl;
use towline_testing::operator::{Operator, OperatorOptions};
use towline_testing::renderers;
use towline_testing::repo::Repo;
use towline_testing::shared::shared;
use towline_testing::wait::{eventually, within};

/// A control plane with towline on it.
pub struct World {
    pub cp: Plane,
    pub git: GitServer,
    pub operator: Operator,
}

/// A control plane: the shared one, or one that belongs to this test.
pub enum Plane {
    Shared(&'static ControlPlane),
    Own(Box<ControlPlane>),
}

impl std::ops::Deref for Plane {
    type Target = ControlPlane;

    fn deref(&self) -> &ControlPlane {
        match self {
            Self::Shared(shared) => shared,
            Self::Own(own) => own,
        }
    }
}

static WORLD: OnceCell<World> = OnceCell::const_new();

/// The world that tests share.
pub async fn world() -> &'static World {
    WORLD
        .get_or_init(async || {
            let renderers = tokio::task::spawn_blocking(renderers::folder).await;
            let renderers = renderers.expect("build the renderers").display();
            let args = [format!("--renderers-dir={renderers}")];
            World::on(Plane::Shared(shared().await), &[&args[0]]).await
        })
        .await
}

impl World {
    /// A world that belongs to this test. It has simulated nodes only if `options` ask for them.
    pub async fn own(options: Options, args: &[&str]) -> Self {
        let cp = ControlPlane::start(options).await;
        Self::on(Plane::Own(Box::new(cp)), args).await
    }

    /// A world that belongs to this test, with an operator of its own kind.
    pub async fn with(cp: ControlPlane, options: OperatorOptions) -> Self {
        Self::started(Plane::Own(Box::new(cp)), options).await
    }

    async fn on(cp: Plane, args: &[&str]) -> Self {
        let mut options = OperatorOptions::new(&cp);
        options
            .args
            .extend(args.iter().map(|arg| (*arg).to_owned()));
        Self::started(cp, options).await
    }

    async fn started(cp: Plane, options: OperatorOptions) -> Self {
        define(&cp).await.unwrap();
        let operator = Operator::start(options).await;
        Self {
            cp,
            git: GitServer::start(),
            operator,
        }
    }

    /// Makes a namespace and a repository for one test.
    pub async fn case(&self, name: &str) -> Case<'_> {
        let namespace = self.cp.namespace(name).await;
        Case {
            world: self,
            repo: self.git.repo(&namespace),
            client: self.cp.client().await,
            namespace,
        }
    }
}

/// The part of a world that belongs to one test.
pub struct Case<'a> {
    pub world: &'a World,
    pub namespace: String,
    pub repo: Repo,
    pub client: Client,
}

impl Case<'_> {
    /// Makes the GitRepository `repo` of this case's repository. Its interval is long, so that it fetches
    /// only when a test calls [`Case::announce`].
    pub async fn repository(&self, spec: Value) {
        self.repository_named("repo", spec).await;
    }

    /// Makes a GitRepository of this case's repository.
    pub async fn repository_named(&self, name: &str, spec: Value) {
        let mut full = json!({"url": self.repo.url(), "interval": "1h", "ref": {"branch": "main"}});
        merge(&mut full, spec);
        let object = json!({
            "apiVersion": "towline.dev/v1alpha1", "kind": "GitRepository",
            "metadata": {"name": name, "namespace": self.namespace}, "spec": full,
        });
        let object: GitRepository = serde_json::from_value(object).unwrap();
        self.api()
            .create(&PostParams::default(), &object)
            .await
            .unwrap();
    }

    /// Makes a Sync of the GitRepository `repo`.
    pub async fn sync(&self, name: &str, spec: Value) {
        let mut full = json!({"sourceRef": {"name": "repo"}, "prune": true});
        merge(&mut full, spec);
        let object = json!({
            "apiVersion": "towline.dev/v1alpha1", "kind": "Sync",
            "metadata": {"name": name, "namespace": self.namespace}, "spec": full,
        });
        let object: Sync = serde_json::from_value(object).unwrap();
        self.api()
            .create(&PostParams::default(), &object)
            .await
            .unwrap();
    }

    /// Makes an object in this case's namespace.
    pub async fn make<K>(&self, object: Value)
    where
        K: kube::Resource<Scope = kube::core::NamespaceResourceScope>
            + Clone
            + serde::Serialize
            + serde::de::DeserializeOwned
            + std::fmt::Debug,
        K::DynamicType: Default,
    {
        let object: K = serde_json::from_value(object).unwrap();
        self.api()
            .create(&PostParams::default(), &object)
            .await
            .unwrap();
    }

    /// Commits files (`None` deletes a file) and requests a fetch. Returns the commit.
    pub async fn push(&self, files: &[(&str, Option<&str>)], message: &str) -> String {
        let commit = self.repo.commit(files, message);
        self.announce().await;
        commit
    }

    /// Requests a fetch.
    pub async fn announce(&self) {
        let now = jiff::Timestamp::now().to_string();
        self.patch::<GitRepository>(
            "repo",
            json!({"metadata": {"annotations": {
                "towline.dev/requested-at": now
            }}}),
        )
        .await;
    }

    /// A typed API in this case's namespace.
    pub fn api<K>(&self) -> Api<K>
    where
        K: kube::Resource<Scope = kube::core::NamespaceResourceScope>,
        K::DynamicType: Default,
    {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// Applies a merge patch as a person.
    pub async fn patch<K>(&self, name: &str, patch: Value) -> K
    where
        K: kube::Resource<Scope = kube::core::NamespaceResourceScope>
            + Clone
            + serde::de::DeserializeOwned
            + std::fmt::Debug,
        K::DynamicType: Default,
    {
        let client = self
            .world
            .cp
            .client_for(towline_testing::kubeconfig::User::Person)
            .await;
        let api: Api<K> = Api::namespaced(client, &self.namespace);
        let params = PatchParams {
            field_manager: Some("person".to_owned()),
            ..PatchParams::default()
        };
        api.patch(name, &params, &Patch::Merge(patch))
            .await
            .unwrap()
    }

    /// Deletes an object as a person.
    pub async fn delete<K>(&self, name: &str)
    where
        K: kube::Resource<Scope = kube::core::NamespaceResourceScope>
            + Clone
            + serde::de::DeserializeOwned
            + std::fmt::Debug,
        K::DynamicType: Default,
    {
        self.api::<K>()
            .delete(name, &DeleteParams::default())
            .await
            .unwrap();
    }

    /// Waits until a Sync is ready at a commit.
    pub async fn synced(&self, name: &str, commit: &str) -> Sync {
        let what = format!("Sync {name} ready at {commit}");
        self.until(name, &what, |sync| {
            condition(sync, "Ready").0 == "True" && applied(sync).ends_with(commit)
        })
        .await
    }

    /// Waits until the condition `Ready` of a Sync has a status and reason. Returns its message.
    pub async fn ready_becomes(&self, name: &str, status: &str, reason: &str) -> String {
        let what = format!("Sync {name}: Ready={status} {reason}");
        let sync = self
            .until(name, &what, |sync| {
                let (is, why, _) = condition(sync, "Ready");
                (is.as_str(), why.as_str()) == (status, reason)
            })
            .await;
        condition(&sync, "Ready").2
    }

    /// Waits until `is` holds for a Sync.
    pub async fn until(&self, name: &str, what: &str, is: impl Fn(&Sync) -> bool) -> Sync {
        self.until_in(PATIENCE, name, what, is).await
    }

    /// The same for what takes towline more time by its own pauses.
    pub async fn until_in(
        &self,
        patience: Duration,
        name: &str,
        what: &str,
        is: impl Fn(&Sync) -> bool,
    ) -> Sync {
        let api: Api<Sync> = self.api();
        let seen = within(patience, async || match api.get(name).await {
            Ok(sync) if is(&sync) => Ok(sync),
            other => Err(other.map(|sync| sync.status)),
        });
        match seen.await {
            Ok(sync) => sync,
            Err(last) => panic!(
                "not within {patience:?}: {what}; last seen: {last}\nbeside it:\n{}",
                self.workloads().await
            ),
        }
    }

    /// The workloads that a Sync may wait for, for messages of failed tests.
    async fn workloads(&self) -> String {
        let kinds = "deployments,replicasets,pods,nodes,events";
        let get = [
            "get",
            kinds,
            "--namespace",
            &self.namespace,
            "--output=yaml",
        ];
        let there = try_kubectl(&self.world.cp.kubeconfig_path(), &get).await;
        there.unwrap_or_else(|error| error)
    }

    /// A ConfigMap's data. None if the ConfigMap does not exist.
    pub async fn data(&self, name: &str) -> Option<Value> {
        let map: Option<ConfigMap> = self.api().get_opt(name).await.unwrap();
        map.map(|map| serde_json::to_value(map.data).unwrap())
    }

    /// Waits until a ConfigMap has a value under `key`. With `None`, waits until the ConfigMap is gone.
    pub async fn has(&self, name: &str, key: &str, value: Option<&str>) {
        eventually(
            &format!("ConfigMap {name} with {key}={value:?}"),
            PATIENCE,
            async || {
                let data = self.data(name).await;
                let found = data.as_ref().and_then(|data| data[key].as_str());
                match found == value && (value.is_some() || data.is_none()) {
                    true => Ok(()),
                    false => Err(format!("{data:?}")),
                }
            },
        )
        .await;
    }

    /// The notes of this namespace's events with `reason`.
    pub async fn events(&self, reason: &str) -> Vec<String> {
        let events: Api<Event> = self.api();
        let all = events.list(&ListParams::default()).await.unwrap();
        let told = all
            .items
            .into_iter()
            .filter(|event| event.reason.as_deref() == Some(reason));
        told.filter_map(|event| event.message).collect()
    }
}

/// Status, reason and message of a condition. Empty if the condition is absent.
pub fn condition(sync: &Sync, kind: &str) -> (String, String, String) {
    let conditions = sync.status.iter().flat_map(|status| &status.conditions);
    conditions
        .filter(|condition| condition.type_ == kind)
        .map(|c| (c.status.clone(), c.reason.clone(), c.message.clone()))
        .next()
        .unwrap_or_default()
}

/// The revision that a Sync has applied. Empty if there is none.
pub fn applied(sync: &Sync) -> &str {
    let status = sync.status.as_ref();
    status
        .and_then(|status| status.last_applied_revision.as_deref())
        .unwrap_or_default()
}

fn merge(into: &mut Value, from: Value) {
    if let (Value::Object(into), Value::Object(from)) = (into, from) {
        into.extend(from);
    }
}
