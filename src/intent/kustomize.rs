//! Changes on top of a kustomization.

use serde::Serialize;

/// `spec.kustomize` of a Sync, with Flux's names and meanings.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Overrides {
    /// The namespace of all objects that have one.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub namespace: String,
    /// Before every name.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name_prefix: String,
    /// After every name.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name_suffix: String,
    /// After those of the file.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub patches: Vec<Patch>,
    /// Paths relative to the folder.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub components: Vec<String>,
    /// A component that is not there is left out.
    pub ignore_missing_components: bool,
    /// Fields that are set replace those of the same image in the file.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub images: Vec<Image>,
    /// Replace those of the same name in the file.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub replicas: Vec<Replica>,
}

/// A patch in place.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Patch {
    /// A strategic merge patch, or a JSON patch.
    pub patch: String,
    /// What it is for; a strategic merge patch may name that itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<Selector>,
}

/// Which objects a patch is for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[allow(missing_docs, reason = "kustomize's own names")]
pub struct Selector {
    #[serde(skip_serializing_if = "String::is_empty")]
    pub group: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub version: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub kind: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub namespace: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub annotation_selector: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub label_selector: String,
}

/// Another name, tag or digest for an image.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[allow(missing_docs, reason = "kustomize's own names")]
pub struct Image {
    pub name: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub new_name: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub new_tag: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub digest: String,
}

/// How many of a workload.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[allow(missing_docs, reason = "kustomize's own names")]
pub struct Replica {
    pub name: String,
    pub count: i64,
}
