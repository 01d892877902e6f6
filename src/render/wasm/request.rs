//! What renderers are asked: `renderers/kustomize`, `renderers/helm`, and those that a team adds.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::intent::Overrides;

/// `kustomize build` of a folder.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Kustomization {
    /// The folder, from the root of the tree.
    pub path: String,
    /// Takes the place of the kustomization in the folder, which need not have one.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub kustomization: String,
    /// On top of it.
    pub overrides: Overrides,
    /// Whether documents say which file they are from.
    pub provenance: bool,
}

/// `helm template` of a chart.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Chart {
    /// The chart's folder, or its archive, from the root of the tree.
    pub path: String,
    /// What templates see of the release.
    pub release: Release,
    /// Later ones win.
    pub values: Vec<Values>,
    /// The cluster's; empty for what Helm assumes.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub kube_version: String,
    /// The cluster's (`v1`, `apps/v1`, `apps/v1/Deployment`); empty for what Helm assumes.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub api_versions: Vec<String>,
    /// Seeds the random functions that are not for keys and passwords; those draw from the job's seed.
    pub seed: i64,
    /// Values are not held against `values.schema.json`.
    pub skip_schema_validation: bool,
    /// Notes of sub-charts too.
    pub sub_notes: bool,
}

/// `.Release` of a template.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Release {
    /// Its name.
    pub name: String,
    /// Its namespace.
    pub namespace: String,
    /// Counts from 1.
    pub revision: i64,
    /// Whether it is installed already.
    pub is_upgrade: bool,
}

/// Values of a chart, from a file or given in place.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Values {
    /// From the root of the tree; empty for values in place.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub file: String,
    /// The file may be absent.
    pub optional: bool,
    /// For messages: where values in place come from.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// YAML.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub text: String,
}

/// The rendering of a folder or a file by a renderer of the team's own.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Folder {
    /// From the root of the tree; empty for all of it.
    pub path: String,
    /// What the Sync gives it.
    pub parameters: BTreeMap<String, String>,
}
