//! References to sources.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::names::OBJECT;

/// A source of the same namespace.
#[derive(JsonSchema, Clone, Debug, Deserialize, Serialize, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct SourceRef {
    /// Its kind. Today only `GitRepository`.
    #[serde(default)]
    pub kind: SourceKind,

    /// Its name.
    #[schemars(length(min = 1, max = 253), regex(pattern = OBJECT))]
    pub name: String,
}

/// The kinds of sources.
#[derive(JsonSchema, Clone, Copy, Debug, Default, Deserialize, Serialize, PartialEq, Eq)]
pub enum SourceKind {
    /// A Git repository.
    #[default]
    GitRepository,
}

/// A chart in a GitRepository of the same namespace.
#[derive(KubeSchema, Clone, Debug, Deserialize, Serialize, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct ChartRef {
    /// The kind of the source. Today only `GitRepository`.
    #[serde(default)]
    pub kind: SourceKind,
    /// Its name.
    #[schemars(length(min = 1, max = 253), regex(pattern = OBJECT))]
    pub name: String,
    /// The chart's folder in that repository, such as `charts/podinfo`. Empty means its root.
    #[serde(default)]
    #[schemars(length(max = 1024))]
    #[x_kube(validation = Rule::new("!self.startsWith('/') && self.split('/').all(part, part != '..')").message("path must be relative and stay inside the repository"))]
    pub path: String,
}
