//! A kind as the API server serves it.

use kube::api::ApiResource;

use crate::manifest::GroupKind;
/// A kind that the API server serves.
#[derive(Clone, Debug, PartialEq)]
pub struct ServedKind {
    /// Group, version, kind and plural.
    pub resource: ApiResource,
    /// Whether its objects live in namespaces.
    pub namespaced: bool,
}

impl ServedKind {
    /// Its group and kind.
    pub fn group_kind(&self) -> GroupKind {
        GroupKind::new(self.resource.group.as_str(), self.resource.kind.as_str())
    }

    /// The name of its CustomResourceDefinition, if it has one.
    pub fn definition(&self) -> String {
        format!("{}.{}", self.resource.plural, self.resource.group)
    }
}
