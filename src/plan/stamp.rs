//! The object in the form that is sent: the manifest, its namespace, and the owner's label and annotations.

use serde_json::{Map, Value};

use super::implied::declare_implied;
use super::{DIGEST, IDENTITY, PART_OF, PROOF, Seal};
use crate::manifest::{Digest, Manifest, ObjectKey, without_nulls};

/// Groups whose kinds are Kubernetes' own Go types, in which null is never a value. `kubectl apply` leaves null
/// out, but server-side apply would write an empty text. Groups with a kind that holds any JSON are not listed.
const TYPED: [&str; 14] = [
    "",
    "apps",
    "batch",
    "autoscaling",
    "policy",
    "networking.k8s.io",
    "rbac.authorization.k8s.io",
    "storage.k8s.io",
    "apiregistration.k8s.io",
    "scheduling.k8s.io",
    "coordination.k8s.io",
    "discovery.k8s.io",
    "node.k8s.io",
    "flowcontrol.apiserver.k8s.io",
];

/// The manifest that the Sync of `seal` applies to the object of `seal`, as JSON. With `version`, the apply is
/// conditional on the live object's resourceVersion.
pub fn stamped(manifest: Manifest, seal: &Seal, digest: &Digest, version: Option<&str>) -> Vec<u8> {
    let (key, owner) = (seal.object(), seal.sync());
    let mut body = placed(manifest.body, key);
    declare_implied(&mut body);
    if let Some(metadata) = object_at(&mut body, "metadata") {
        if let Some(version) = version {
            metadata.insert("resourceVersion".into(), version.into());
        }
        if let Some(labels) = entry(metadata, "labels") {
            labels.insert(PART_OF.into(), owner.applyset_id().into());
        }
        if let Some(annotations) = entry(metadata, "annotations") {
            annotations.insert(IDENTITY.into(), owner.identity(key).into());
            annotations.insert(PROOF.into(), seal.text().into());
            annotations.insert(DIGEST.into(), digest.to_string().into());
        }
    }
    body.to_string().into_bytes()
}

/// Whether null and an object without fields are the same in a kind: it is one of Kubernetes' own.
pub fn is_typed(key: &ObjectKey) -> bool {
    TYPED.contains(&&*key.kind.group)
}

/// A manifest as the object of `key`: with its namespace, and without what is null by mistake.
pub fn placed(mut body: Value, key: &ObjectKey) -> Value {
    if is_typed(key) {
        without_nulls(&mut body);
    } else if let Some(metadata) = body.get_mut("metadata") {
        without_nulls(metadata);
    }
    if let Some(metadata) = object_at(&mut body, "metadata") {
        match &key.namespace {
            Some(namespace) => metadata.insert("namespace".into(), (**namespace).into()),
            None => metadata.remove("namespace"),
        };
    }
    body
}

/// A body with the proof of another seal.
pub fn reproved(body: &[u8], seal: &Seal) -> Vec<u8> {
    let Ok(mut body) = serde_json::from_slice::<Value>(body) else {
        return body.to_vec();
    };
    if let Some(metadata) = object_at(&mut body, "metadata")
        && let Some(annotations) = entry(metadata, "annotations")
    {
        annotations.insert(PROOF.into(), seal.text().into());
    }
    body.to_string().into_bytes()
}

fn object_at<'a>(value: &'a mut Value, field: &str) -> Option<&'a mut Map<String, Value>> {
    entry(value.as_object_mut()?, field)
}

/// The object in `field`. Creates it if it is absent. The parser of manifests has refused other types.
fn entry<'a>(map: &'a mut Map<String, Value>, field: &str) -> Option<&'a mut Map<String, Value>> {
    let value = map.entry(field).or_insert(Value::Null);
    if value.is_null() {
        *value = Value::Object(Map::new());
    }
    value.as_object_mut()
}
