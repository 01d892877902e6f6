//! Edits of managed objects by a person, and checks of towline's reaction.

use std::fmt::Debug;

use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use kube::api::ListParams;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use towline::api::Sync;

use crate::world::{Case, PATIENCE, Plane, World, config_map};
use towline_testing::audit::{Entry, Mark};
use towline_testing::control_plane::ControlPlane;
use towline_testing::kubeconfig::User;
use towline_testing::kubectl::kubectl;
use towline_testing::repo::Repo;
use towline_testing::wait::eventually;

impl World {
    /// The control plane of a world that belongs to this test.
    pub fn control_plane_mut(&mut self) -> &mut ControlPlane {
        match &mut self.cp {
            Plane::Own(own) => own,
            Plane::Shared(_) => panic!("a test must not change the shared control plane"),
        }
    }

    /// Continues a case after [`Case::into_parts`].
    pub async fn resume(&self, (namespace, repo): (String, Repo)) -> Case<'_> {
        Case {
            world: self,
            repo,
            client: self.cp.client().await,
            namespace,
        }
    }
}

impl<'a> Case<'a> {
    /// Makes a case in the shared world and waits until its Sync `all` has applied `files`.
    pub async fn started(
        world: &'a World,
        name: &str,
        files: impl AsyncFnOnce(&str) -> Vec<(String, String)>,
        spec: Value,
    ) -> (Self, String) {
        let case = world.case(name).await;
        let files = files(&case.namespace).await;
        let files: Vec<_> = files
            .iter()
            .map(|(path, text)| (path, Some(text)))
            .collect();
        let commit = case.repo.commit(&files, "first");
        case.repository(json!({})).await;
        case.sync("all", spec).await;
        case.synced("all", &commit).await;
        (case, commit)
    }

    /// Ends the borrow of the world, so that the test can change the world. [`World::resume`] goes on.
    pub fn into_parts(self) -> (String, Repo) {
        (self.namespace, self.repo)
    }

    /// A ConfigMap's manifest in this case's namespace.
    pub fn map(&self, name: &str, value: &str) -> String {
        config_map(name, &self.namespace, value)
    }

    /// Runs kubectl in this case's namespace as a person who edits the cluster without towline's
    /// knowledge.
    pub async fn kubectl_as_person(&self, args: &[&str]) -> String {
        let kubeconfig = self.world.cp.kubeconfig_for(User::Person);
        let args = [&["--namespace", &self.namespace], args].concat();
        kubectl(&kubeconfig, &args).await
    }

    /// An object as JSON. Null if it does not exist.
    pub async fn live<K>(&self, name: &str) -> Value
    where
        K: kube::Resource<Scope = kube::core::NamespaceResourceScope>
            + Clone
            + Serialize
            + DeserializeOwned
            + Debug,
        K::DynamicType: Default,
    {
        let object = self.api::<K>().get_opt(name).await.unwrap();
        serde_json::to_value(object).unwrap()
    }

    /// Waits until an object does not exist. One that is being deleted does, as long as a finalizer holds it.
    pub async fn gone<K>(&self, name: &str)
    where
        K: kube::Resource<Scope = kube::core::NamespaceResourceScope>
            + Clone
            + Serialize
            + DeserializeOwned
            + Debug,
        K::DynamicType: Default,
    {
        eventually(&format!("{name} is gone"), PATIENCE, async || {
            let live = self.live::<K>(name).await;
            live.is_null().then_some(()).ok_or(live)
        })
        .await;
    }

    /// Waits until a field of an object has a value.
    pub async fn wait_for_field<K>(&self, name: &str, field: &str, value: Value)
    where
        K: kube::Resource<Scope = kube::core::NamespaceResourceScope>
            + Clone
            + Serialize
            + DeserializeOwned
            + Debug,
        K::DynamicType: Default,
    {
        let what = format!("{name} has {value} in {field}");
        eventually(&what, PATIENCE, async || {
            let object = self.live::<K>(name).await;
            let is = object.pointer(field).unwrap_or(&Value::Null);
            match *is == value {
                true => Ok(()),
                false => Err(object),
            }
        })
        .await;
    }

    /// The number of ConfigMaps in this namespace that have been applied with `value`, or with any value
    /// if it is none.
    pub async fn maps_with(&self, value: Option<&str>) -> usize {
        let ours = ListParams::default().labels("applyset.kubernetes.io/part-of");
        let maps: Api<ConfigMap> = self.api();
        let maps = maps.list(&ours).await.unwrap();
        let has = |map: &ConfigMap| map.data.as_ref()?.get("value").cloned();
        let counts = |map: &&ConfigMap| value.is_none() || has(map).as_deref() == value;
        maps.iter().filter(counts).count()
    }

    /// Waits until an event with `reason` contains all of `parts`.
    pub async fn wait_for_event(&self, reason: &str, parts: &[&str]) {
        let what = format!("an event {reason} with {parts:?}");
        eventually(&what, PATIENCE, async || {
            let notes = self.events(reason).await;
            let found = notes
                .iter()
                .any(|note| parts.iter().all(|part| note.contains(part)));
            found.then_some(()).ok_or(notes)
        })
        .await;
    }

    /// Towline's requests for objects of this namespace since `mark`, without its own resources, events
    /// and watches.
    pub async fn requests(&self, mark: Mark) -> Vec<Entry> {
        let mut entries = self.world.cp.audit_since(mark).await;
        entries.retain(|entry| {
            entry.user == User::Towline.name()
                && entry.namespace == self.namespace
                && entry.group != "towline.dev"
                && entry.resource != "events"
                && entry.verb != "watch"
        });
        entries
    }

    /// Requests a reconcile of a Sync, and waits until it is done.
    pub async fn reconcile(&self, sync: &str) -> Sync {
        let now = jiff::Timestamp::now().to_string();
        let asked = json!({"metadata": {"annotations": {"towline.dev/requested-at": now}}});
        self.patch::<Sync>(sync, asked).await;
        self.until(sync, "the request is handled", |sync| {
            let status = sync.status.as_ref();
            status.and_then(|status| status.last_handled_reconcile_at.as_ref()) == Some(&now)
        })
        .await
    }
}

/// A Deployment's manifest with one pod, which kwok simulates. `more` holds further lines of the pod's
/// spec.
pub fn deployment(name: &str, namespace: &str, more: &str) -> String {
    format!(
        "apiVersion: apps/v1\nkind: Deployment\nmetadata: {{name: {name}, namespace: {namespace}}}\n\
         spec:\n  replicas: 1\n  selector: {{matchLabels: {{app: {name}}}}}\n  template:\n    \
         metadata: {{labels: {{app: {name}}}}}\n    spec:\n      containers: \
         [{{name: web, image: web}}]\n{more}"
    )
}

/// Lines of a pod's spec that no node satisfies.
pub const UNSCHEDULABLE: &str = "      nodeSelector: {kubernetes.io/os: none}\n";
