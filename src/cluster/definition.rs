//! The part of a custom resource definition that decides which kinds are served.

use kube::api::{ApiResource, Object};
use serde::{Deserialize, Serialize};

use super::{ServedKind, null};
use crate::manifest::GroupKind;

/// A custom resource definition without its schemas.
pub(super) type Definition = Object<DefinitionSpec, DefinitionStatus>;

#[derive(Clone, Debug, Deserialize, Serialize)]
pub(super) struct DefinitionSpec {
    group: String,
    names: Names,
    #[serde(default, deserialize_with = "null::as_default")]
    scope: String,
    #[serde(default, deserialize_with = "null::as_default")]
    versions: Vec<Version>,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
struct Names {
    kind: String,
    plural: String,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
struct Version {
    name: String,
    #[serde(default, deserialize_with = "null::as_default")]
    served: bool,
    #[serde(default, deserialize_with = "null::as_default")]
    storage: bool,
}

#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub(super) struct DefinitionStatus {
    /// Null in the first event of a new definition.
    #[serde(default, deserialize_with = "null::as_default")]
    conditions: Vec<Condition>,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
struct Condition {
    #[serde(default, deserialize_with = "null::as_default", rename = "type")]
    kind: String,
    #[serde(default, deserialize_with = "null::as_default")]
    status: String,
}

/// The state of a definition's kind.
#[derive(Debug, PartialEq)]
pub(super) enum Stage {
    /// The definition is new: the API server does not serve its kind yet.
    Coming,
    /// The served versions, the storage version first.
    Served(Vec<ServedKind>),
    /// The definition is being deleted, or has no served version.
    NotServed,
}

/// The information that a definition gives.
pub(super) trait Defines {
    fn group_kind(&self) -> GroupKind;
    fn stage(&self) -> Stage;
}

impl Defines for Definition {
    fn group_kind(&self) -> GroupKind {
        GroupKind::new(self.spec.group.as_str(), self.spec.names.kind.as_str())
    }

    fn stage(&self) -> Stage {
        if self.metadata.deletion_timestamp.is_some() {
            return Stage::NotServed;
        }
        let conditions = self.status.iter().flat_map(|status| &status.conditions);
        let established = conditions
            .into_iter()
            .any(|condition| condition.kind == "Established" && condition.status == "True");
        // The API server never withdraws `Established`.
        if !established {
            return Stage::Coming;
        }
        let DefinitionSpec {
            group,
            names,
            scope,
            versions,
        } = &self.spec;
        let mut versions: Vec<&Version> = versions.iter().filter(|v| v.served).collect();
        if versions.is_empty() {
            return Stage::NotServed;
        }
        versions.sort_by_key(|version| !version.storage);
        let served = versions.into_iter().map(|version| {
            let gvk = kube::core::GroupVersionKind::gvk(group, &version.name, &names.kind);
            ServedKind {
                resource: ApiResource::from_gvk_with_plural(&gvk, &names.plural),
                namespaced: scope == "Namespaced",
            }
        });
        Stage::Served(served.collect())
    }
}

/// The kind that a definition defines. `body` is the whole definition as JSON.
pub(super) fn kind_of(body: &[u8]) -> Option<GroupKind> {
    let definition: Definition = serde_json::from_slice(body).ok()?;
    Some(definition.group_kind())
}

/// The kind of definitions.
pub(super) fn kind() -> GroupKind {
    GroupKind::new("apiextensions.k8s.io", "CustomResourceDefinition")
}

/// Whether objects of this kind are definitions.
pub(super) fn is_one(kind: &GroupKind) -> bool {
    (&*kind.group, &*kind.kind) == ("apiextensions.k8s.io", "CustomResourceDefinition")
}
