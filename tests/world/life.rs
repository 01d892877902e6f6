//! What a person does to managed objects, and what towline did about it.

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
    /// The control plane of a world of the test's own.
    pub fn plane(&mut self) -> &mut ControlPlane {
        match &mut self.cp {
            Plane::Own(own) => own,
            Plane::Shared(_) => panic!("the shared control plane is everybody's"),
        }
    }

    /// Goes on with a case that was put aside by [`Case::aside`].
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
    /// A case of the shared world in which the Sync `all` has applied `files`.
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

    /// Lets go of the world, for a change of it.
    pub fn aside(self) -> (String, Repo) {
        (self.namespace, self.repo)
    }

    /// The manifest of a ConfigMap in this case's namespace.
    pub fn map(&self, name: &str, value: &str) -> String {
        config_map(name, &self.namespace, value)
    }

    /// Runs kubectl in this case's namespace as the person who edits behind the operator's back.
    pub async fn person(&self, args: &[&str]) -> String {
        let kubeconfig = self.world.cp.kubeconfig_for(User::Person);
        let args = [&["--namespace", &self.namespace], args].concat();
        kubectl(&kubeconfig, &args).await
    }

    /// An object as JSON; null where there is none.
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

    /// Waits until a field of an object has a value.
    pub async fn shows<K>(&self, name: &str, field: &str, value: Value)
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

    /// How many ConfigMaps of this namespace have an applied `value`; none: whatever it is.
    pub async fn maps_with(&self, value: Option<&str>) -> usize {
        let ours = ListParams::default().labels("applyset.kubernetes.io/part-of");
        let maps: Api<ConfigMap> = self.api();
        let maps = maps.list(&ours).await.unwrap();
        let has = |map: &ConfigMap| map.data.as_ref()?.get("value").cloned();
        let counts = |map: &&ConfigMap| value.is_none() || has(map).as_deref() == value;
        maps.iter().filter(counts).count()
    }

    /// Waits until an event with `reason` says all of `parts`.
    pub async fn told(&self, reason: &str, parts: &[&str]) {
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

    /// Towline's requests on objects of this namespace since `mark`, but for its own resources, events
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

    /// Asks for a reconcile of a Sync now, and waits until it was done.
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

/// A Deployment's manifest with one pod that kwok plays; `more` are further lines of the pod's spec.
pub fn deployment(name: &str, namespace: &str, more: &str) -> String {
    format!(
        "apiVersion: apps/v1\nkind: Deployment\nmetadata: {{name: {name}, namespace: {namespace}}}\n\
         spec:\n  replicas: 1\n  selector: {{matchLabels: {{app: {name}}}}}\n  template:\n    \
         metadata: {{labels: {{app: {name}}}}}\n    spec:\n      containers: \
         [{{name: web, image: web}}]\n{more}"
    )
}

/// A pod's spec that no node satisfies.
pub const NOWHERE: &str = "      nodeSelector: {kubernetes.io/os: none}\n";
