//! The owner of an object: the ApplySet label (KEP-3659) and the identity annotation.
//!
//! The label selects members. But people and controllers copy labels: a Service's labels go to its
//! EndpointSlices. So the annotation names the object itself beside its owner, and a copy can be
//! recognised.

use std::fmt;
use std::sync::Arc;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use sha2::{Digest as _, Sha256};

use crate::manifest::{GroupKind, ObjectKey};

/// Label of every member of an ApplySet; its value is the parent's id (KEP-3659).
pub const PART_OF: &str = "applyset.kubernetes.io/part-of";
/// Label of an ApplySet's parent; its value is its id (KEP-3659).
pub const PARENT_ID: &str = "applyset.kubernetes.io/id";
/// Annotation of an ApplySet's parent: the tool that manages it (KEP-3659).
pub const TOOLING: &str = "applyset.kubernetes.io/tooling";
/// Annotation of an ApplySet's parent: the kinds of its members, sorted (KEP-3659).
pub const CONTAINS: &str = "applyset.kubernetes.io/contains-group-kinds";
/// Annotation of every managed object: `<ns>/<sync>:<group>/<Kind>:<ns>/<name>`.
pub const IDENTITY: &str = "towline.dev/identity";
/// Annotation of every managed object: the proof that towline wrote label and identity.
pub const PROOF: &str = "towline.dev/proof";
/// Annotation of every managed object: the digest of the manifest that was applied.
pub const DIGEST: &str = "towline.dev/digest";
/// Annotation of a managed object: the fields that Git declares and that are left to others, as JSON.
pub const LEFT: &str = "towline.dev/left-to-others";

/// The namespace and name of a Sync.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SyncName {
    /// Its namespace.
    pub namespace: Arc<str>,
    /// Its name.
    pub name: Arc<str>,
}

impl SyncName {
    /// The name from its parts.
    pub fn new(namespace: &str, name: &str) -> Self {
        Self {
            namespace: namespace.into(),
            name: name.into(),
        }
    }

    /// The id of the ApplySet whose parent this Sync is, by KEP-3659's recipe:
    /// `applyset-<base64url(sha256(<name>.<namespace>.<kind>.<group>))>-v1`.
    pub fn applyset_id(&self) -> String {
        let parent = format!(
            "{}.{}.Sync.{}",
            self.name,
            self.namespace,
            crate::api::GROUP
        );
        let hash = Sha256::digest(parent.as_bytes());
        format!("applyset-{}-v1", BASE64_URL_SAFE_NO_PAD.encode(hash))
    }

    /// The identity annotation of `object`, owned by this Sync.
    pub fn identity(&self, object: &ObjectKey) -> String {
        format!("{self}:{}", subject(object))
    }

    /// The owner that `identity` names, if it is the identity of `object` and not a copy from another
    /// object.
    pub fn of(identity: &str, object: &ObjectKey) -> Option<Self> {
        let (owner, rest) = identity.split_once(':')?;
        let (namespace, name) = owner.split_once('/')?;
        (rest == subject(object)).then(|| Self::new(namespace, name))
    }
}

/// Why an object is refused that another Sync has.
pub fn belongs_to(owner: &SyncName) -> String {
    format!("it belongs to Sync {owner}; remove it from one of the two")
}

impl fmt::Display for SyncName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// `<group>/<Kind>:<ns>/<name>`. Names of RBAC objects may contain a colon, so the text is compared and
/// never split.
fn subject(object: &ObjectKey) -> String {
    let GroupKind { group, kind } = &object.kind;
    let namespace = object.namespace.as_deref().unwrap_or_default();
    format!("{group}/{kind}:{namespace}/{}", object.name)
}

/// The value of the parent's `contains-group-kinds` for `kinds` (KEP-3659: `Kind.group`, sorted,
/// separated by commas).
pub fn contains<'a>(kinds: impl Iterator<Item = &'a GroupKind>) -> String {
    let names: std::collections::BTreeSet<String> = kinds.map(ToString::to_string).collect();
    names.into_iter().collect::<Vec<_>>().join(",")
}

/// The kinds that a parent's `contains-group-kinds` names.
pub fn contained(value: &str) -> impl Iterator<Item = GroupKind> {
    value
        .split(',')
        .map(str::trim)
        .filter(|name| !name.is_empty())
        .map(|name| {
            let (kind, group) = name.split_once('.').unwrap_or((name, ""));
            GroupKind::new(group, kind)
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(group: &str, kind: &str, namespace: Option<&str>, name: &str) -> ObjectKey {
        ObjectKey {
            kind: GroupKind::new(group, kind),
            namespace: namespace.map(Into::into),
            name: name.into(),
        }
    }

    #[test]
    fn the_id_fits_a_label_and_differs_by_sync() {
        let id = SyncName::new("team-a", "shop").applyset_id();
        assert!(id.len() <= 63 && id.starts_with("applyset-") && id.ends_with("-v1"));
        assert_ne!(id, SyncName::new("team", "a-shop").applyset_id());
    }

    #[test]
    fn an_identity_names_its_owner_and_reveals_a_copy() {
        let owner = SyncName::new("team-a", "shop");
        let object = key("apps", "Deployment", Some("prod"), "web");
        let identity = owner.identity(&object);
        assert_eq!(identity, "team-a/shop:apps/Deployment:prod/web");
        assert_eq!(SyncName::of(&identity, &object), Some(owner.clone()));
        for other in [
            key("apps", "Deployment", Some("prod"), "web-copy"),
            key("apps", "Deployment", Some("other"), "web"),
            key("discovery.k8s.io", "EndpointSlice", Some("prod"), "web"),
        ] {
            assert_eq!(SyncName::of(&identity, &other), None);
        }
        let colon = key(
            "rbac.authorization.k8s.io",
            "ClusterRole",
            None,
            "system:a:b",
        );
        assert_eq!(SyncName::of(&owner.identity(&colon), &colon), Some(owner));
    }

    #[test]
    fn contained_kinds_read_back_as_they_were_written() {
        let kinds = [
            GroupKind::new("apps", "Deployment"),
            GroupKind::new("", "ConfigMap"),
            GroupKind::new("networking.k8s.io", "Ingress"),
        ];
        let value = contains(kinds.iter());
        assert_eq!(value, "ConfigMap,Deployment.apps,Ingress.networking.k8s.io");
        assert_eq!(contained(&value).count(), 3);
        assert!(contained(&value).all(|kind| kinds.contains(&kind)));
        assert_eq!(contained("").count(), 0);
    }
}
