//! From an object up to the Sync that manages it: a pod belongs to a ReplicaSet, that to a Deployment, and that to a
//! Sync.

use kube::api::ObjectMeta;
use serde_json::Value;

use super::CliError;
use super::access::{Access, AccessError, Doing};
use crate::cluster::{ServedKind, Viewer};
use crate::config::KindAndName;
use crate::manifest::{GroupKind, GroupVersionKind, ObjectKey};
use crate::plan::{IDENTITY, PART_OF, SyncName, hook_owner};

/// The most owners above an object.
const HIGHEST: usize = 8;

/// An object and its owners, the object first.
pub(super) struct Lineage {
    pub(super) chain: Vec<Value>,
    /// The Sync that manages the last of them.
    pub(super) sync: Option<SyncName>,
}

/// The kind that a person names.
pub(super) fn kind(viewer: &Viewer, word: &str) -> Result<ServedKind, CliError> {
    // The word that `get` prints for it.
    let word = match word {
        "repo" => "gitrepositories.towline.dev",
        word => word,
    };
    viewer
        .named(word)
        .ok_or_else(|| CliError::UnknownKind(word.to_owned()))
}

impl Lineage {
    /// Reads an object and its owners. None where there is no such object.
    pub(super) async fn read(
        access: &Access,
        viewer: &Viewer,
        served: &ServedKind,
        name: &str,
    ) -> Result<Option<Self>, CliError> {
        let doing = Doing::on(served, "get", Some(&access.namespace)).of(name);
        let found = viewer.get(served, Some(&access.namespace), name).await;
        let Some(object) = found.map_err(|error| access.explain(error, &doing))? else {
            return Ok(None);
        };
        let mut chain = vec![object];
        loop {
            let last = &chain[chain.len() - 1];
            let sync = manager(last);
            let above = controller(last).filter(|_| sync.is_none() && chain.len() < HIGHEST);
            let Some((gvk, name)) = above else {
                return Ok(Some(Self { chain, sync }));
            };
            let kinds = &viewer.kinds;
            let served = kinds
                .get(&gvk)
                .or_else(|| kinds.preferred(&gvk.group_kind()));
            // What cannot be read ends the chain: a person may see a pod and not what made it.
            let owner = match served {
                Some(served) => viewer
                    .get(&served, Some(&access.namespace), &name)
                    .await
                    .ok(),
                None => None,
            };
            match owner.flatten() {
                Some(owner) => chain.push(owner),
                None => return Ok(Some(Self { chain, sync })),
            }
        }
    }

    /// The highest owner that is known, or the object itself.
    pub(super) fn top(&self) -> &Value {
        // A chain begins with its object.
        &self.chain[self.chain.len() - 1]
    }

    /// `Pod team-a/web-1, of ReplicaSet.apps team-a/web, of Deployment.apps team-a/web`
    pub(super) fn in_words(&self) -> String {
        let names = self.chain.iter().filter_map(key);
        names
            .map(|key| key.to_string())
            .collect::<Vec<_>>()
            .join(", of ")
    }
}

/// What names an object.
pub(super) fn key(object: &Value) -> Option<ObjectKey> {
    let gvk = GroupVersionKind::parse(object["apiVersion"].as_str()?, object["kind"].as_str()?)?;
    let metadata = &object["metadata"];
    Some(ObjectKey {
        kind: gvk.group_kind(),
        namespace: metadata["namespace"].as_str().map(Into::into),
        name: metadata["name"].as_str()?.into(),
    })
}

/// The Sync that manages an object, by its label and its identity, or whose hook made it. A copy of a managed object has
/// none.
pub(super) fn manager(object: &Value) -> Option<SyncName> {
    let member = || {
        let key = key(object)?;
        let metadata = &object["metadata"];
        let sync = SyncName::of(metadata["annotations"][IDENTITY].as_str()?, &key)?;
        (metadata["labels"][PART_OF] == *sync.applyset_id()).then_some(sync)
    };
    member().or_else(|| hook_owner(object))
}

/// The owner that controls an object, otherwise its first owner.
fn controller(object: &Value) -> Option<(GroupVersionKind, String)> {
    let meta: ObjectMeta = serde_json::from_value(object["metadata"].clone()).ok()?;
    let owners = meta.owner_references?;
    let controls = owners.iter().find(|owner| owner.controller == Some(true));
    let owner = controls.or(owners.first())?;
    let gvk = GroupVersionKind::parse(&owner.api_version, &owner.kind)?;
    Some((gvk, owner.name.clone()))
}

/// The object of an argument by its full name, for messages about an object that does not exist.
pub(super) fn wanted(served: &ServedKind, object: &KindAndName, namespace: &str) -> ObjectKey {
    let kind: GroupKind = served.group_kind();
    ObjectKey {
        kind,
        namespace: served.namespaced.then(|| namespace.into()),
        name: object.name.as_str().into(),
    }
}

/// That an object does not exist. Its key says in which namespace.
pub(super) fn absent(key: &ObjectKey) -> AccessError {
    AccessError::Missing {
        what: key.to_string(),
        place: String::new(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::plan::{HOOK, HOOK_OF};

    fn pod() -> Value {
        json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "web-1", "namespace": "a",
        "ownerReferences": [
            {"apiVersion": "v1", "kind": "Node", "name": "n", "uid": "1"},
            {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web", "uid": "2", "controller": true},
        ]}})
    }

    #[test]
    fn the_controller_is_the_owner() {
        let (gvk, name) = controller(&pod()).unwrap();
        assert_eq!((&*gvk.kind, &*name), ("ReplicaSet", "web"));
        assert_eq!(controller(&json!({"metadata": {"name": "a"}})), None);
    }

    #[test]
    fn a_copy_of_a_managed_object_has_no_sync() {
        let sync = SyncName::new("a", "shop");
        let mut map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "m", "namespace": "a"}});
        let identity = sync.identity(&key(&map).unwrap());
        map["metadata"]["annotations"] = json!({ IDENTITY: identity });
        assert_eq!(manager(&map), None, "without the label");
        map["metadata"]["labels"] = json!({ PART_OF: sync.applyset_id() });
        assert_eq!(manager(&map), Some(sync));
        map["metadata"]["name"] = "copy".into();
        assert_eq!(manager(&map), None);
    }

    #[test]
    fn the_object_of_a_hook_belongs_to_its_sync() {
        let sync = SyncName::new("a", "shop");
        let mut job = json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "j", "namespace": "b",
            "annotations": { HOOK: "a/shop pre-install 1" }}});
        assert_eq!(manager(&job), None, "without the label");
        job["metadata"]["labels"] = json!({ HOOK_OF: sync.applyset_id() });
        assert_eq!(manager(&job), Some(sync));
        job["metadata"]["annotations"][HOOK] = "a/other pre-install 1".into();
        assert_eq!(manager(&job), None, "the label is of another Sync");
    }
}
