//! `helmCharts` of a kustomization: which charts kustomize would have Helm render, and with what. Fields and meaning are
//! those of kustomize's HelmChartInflationGenerator. Pure.

use std::collections::HashSet;

use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::manifest::{self, Document, YamlCause};
use crate::text::printable;

/// The folder of charts, beside the kustomization.
const CHARTS: &str = "charts";

/// The fields of a kustomization that ask for charts.
const FIELDS: [&str; 3] = ["helmCharts", "helmGlobals", "helmChartInflationGenerator"];

/// Why charts of a kustomization cannot be rendered. Each error names the file, and what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{file}: {what}")]
pub struct InflateError {
    /// The kustomization, from the root of the tree.
    pub file: String,
    /// What is wrong.
    pub what: String,
}

/// A kustomization that asks for charts.
#[derive(Clone, Debug, PartialEq)]
pub struct Asking {
    /// The charts, in their order.
    pub charts: Vec<Inflation>,
    /// The kustomization without them.
    pub rest: Map<String, Value>,
}

/// A chart, and how it is rendered. Paths are from the root of the tree.
#[derive(Clone, Debug, PartialEq)]
pub struct Inflation {
    /// Its folder.
    pub folder: String,
    /// How to get it into the repository.
    pub way_in: String,
    /// `.Release.Name`.
    pub release_name: String,
    /// `.Release.Namespace`, if the chart or its kustomization says it.
    pub namespace: Option<String>,
    /// The values file. None: the chart's own values.
    pub values_file: Option<String>,
    /// Values in place.
    pub inline: Map<String, Value>,
    /// What they are to the values file.
    pub merge: ValuesMerge,
    /// More values files, which have precedence.
    pub more_files: Vec<String>,
    /// Whether `crds/` is a part of it.
    pub crds: bool,
    /// Whether hooks are a part of it.
    pub hooks: bool,
    /// Whether hooks that are tests are.
    pub tests: bool,
    /// API versions beside those of the cluster.
    pub api_versions: Vec<String>,
    /// In place of the cluster's.
    pub kube_version: Option<String>,
}

/// What values in place are to the values file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ValuesMerge {
    /// They have precedence over it.
    #[default]
    Override,
    /// It has precedence over them.
    Merge,
    /// They take its place.
    Replace,
}

/// An entry of `helmCharts`. A field that kustomize does not know is an error, as it is there.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct ChartEntry {
    name: String,
    version: String,
    repo: String,
    release_name: String,
    namespace: String,
    additional_values_files: Vec<String>,
    values_file: String,
    values_inline: Map<String, Value>,
    values_merge: ValuesMerge,
    #[serde(rename = "includeCRDs")]
    include_crds: bool,
    skip_hooks: bool,
    api_versions: Vec<String>,
    kube_version: String,
    name_template: String,
    skip_tests: bool,
    #[serde(rename = "debug")]
    _debug: bool,
    #[serde(rename = "devel")]
    _devel: bool,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct Globals {
    chart_home: String,
    #[serde(rename = "configHome")]
    _config_home: String,
}

/// An entry of `helmChartInflationGenerator`, the deprecated form.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct OldChartEntry {
    chart_name: String,
    chart_version: String,
    chart_repo_url: String,
    chart_home: String,
    #[serde(rename = "chartRepoName")]
    _chart_repo_name: String,
    #[serde(rename = "helmBin")]
    _helm_bin: String,
    #[serde(rename = "helmHome")]
    _helm_home: String,
    values: String,
    values_local: Map<String, Value>,
    values_merge: ValuesMerge,
    release_name: String,
    #[serde(rename = "releaseNamespace")]
    _release_namespace: String,
    #[serde(rename = "extraArgs")]
    _extra_args: Vec<String>,
}

impl From<OldChartEntry> for ChartEntry {
    /// As kustomize converts it.
    fn from(old: OldChartEntry) -> Self {
        Self {
            name: old.chart_name,
            version: old.chart_version,
            repo: old.chart_repo_url,
            values_file: old.values,
            values_inline: old.values_local,
            values_merge: old.values_merge,
            release_name: old.release_name,
            ..Self::default()
        }
    }
}

/// What the kustomization `file` in `folder` asks for. None if it asks for no chart, or is nothing that kustomize could
/// read: kustomize itself says why.
///
/// # Errors
/// [`InflateError`].
pub fn asking(file: &str, folder: &str, text: &[u8]) -> Result<Option<Asking>, InflateError> {
    let Some(mut rest) = parsed(text) else {
        return Ok(None);
    };
    // It quotes what the file says.
    let fail = |what: String| InflateError {
        file: file.to_owned(),
        what: printable(&what),
    };
    let [charts, globals, old] = FIELDS.map(|field| rest.remove(field).unwrap_or_default());
    let mut entries: Vec<ChartEntry> =
        list(charts).map_err(|error| fail(format!("helmCharts: {error}")))?;
    let old: Vec<OldChartEntry> =
        list(old).map_err(|error| fail(format!("helmChartInflationGenerator: {error}")))?;
    let globals: Globals = one(globals).map_err(|error| fail(format!("helmGlobals: {error}")))?;
    let mut home = globals.chart_home;
    for old in old {
        if home.is_empty() && !old.chart_home.is_empty() {
            home.clone_from(&old.chart_home);
        }
        entries.push(old.into());
    }
    if entries.is_empty() {
        return Ok(None);
    }
    let namespace = rest.get("namespace").and_then(Value::as_str);
    let charts = entries.into_iter().map(|entry| {
        let name = entry.name.clone();
        entry
            .inflation(folder, &home, namespace)
            .map_err(|what| fail(format!("helmCharts: chart {name:?}: {what}")))
    });
    let charts = charts.collect::<Result<_, _>>()?;
    Ok(Some(Asking { charts, rest }))
}

impl ChartEntry {
    fn inflation(
        self,
        folder: &str,
        home: &str,
        namespace: Option<&str>,
    ) -> Result<Inflation, String> {
        let is_name =
            |name: &str| !name.is_empty() && !name.starts_with('-') && !name.contains('/');
        if !is_name(&self.name) {
            return Err("it needs a name, which is that of its folder".to_owned());
        }
        let home = if home.is_empty() { CHARTS } else { home };
        let home = match self.version.is_empty() || self.repo.is_empty() {
            true => home.to_owned(),
            false => format!("{home}/{}-{}", self.name, self.version),
        };
        let at = |path: &str| {
            joined(folder, path).ok_or_else(|| format!("{path:?} is not in the repository"))
        };
        let home = at(&home)?;
        let way_in = self.way_in(&home);
        let files = self.additional_values_files.iter().map(|file| at(file));
        let more_files = files.collect::<Result<_, _>>()?;
        let text = |text: String| (!text.is_empty()).then_some(text);
        Ok(Inflation {
            folder: format!("{home}/{}", self.name)
                .trim_start_matches('/')
                .to_owned(),
            way_in,
            release_name: self.release()?,
            namespace: text(self.namespace).or(namespace.map(str::to_owned)),
            values_file: text(self.values_file).map(|file| at(&file)).transpose()?,
            inline: self.values_inline,
            merge: self.values_merge,
            more_files,
            crds: self.include_crds,
            hooks: !self.skip_hooks,
            tests: !self.skip_tests,
            api_versions: self.api_versions,
            kube_version: text(self.kube_version),
        })
    }

    /// The name of the release. Without one, kustomize lets Helm draw a new one for each build; here it is the chart's.
    fn release(&self) -> Result<String, String> {
        match (self.release_name.as_str(), self.name_template.as_str()) {
            ("", "") => Ok(self.name.clone()),
            ("", template) if !template.contains("{{") => Ok(template.to_owned()),
            ("", _) => {
                Err("nameTemplate draws the name of the release: give it by releaseName".to_owned())
            }
            (name, "") if !name.starts_with('-') => Ok(name.to_owned()),
            (_, "") => Err("releaseName must not begin with '-'".to_owned()),
            _ => Err("releaseName and nameTemplate exclude each other".to_owned()),
        }
    }

    /// The command that puts the chart where kustomize looks for it.
    fn way_in(&self, home: &str) -> String {
        let Self {
            name,
            version,
            repo,
            ..
        } = self;
        // People run the command. A text that a shell would read in another way stays out of it, and so does a login.
        let is_word = |text: &str| {
            let is_plain = |c: char| c.is_ascii_alphanumeric() || "-._~:/+,=".contains(c);
            !text.starts_with('-') && text.chars().all(is_plain)
        };
        if ![name.as_str(), version, repo, home]
            .into_iter()
            .all(is_word)
        {
            return format!("put the chart into {home}/{name}");
        }
        let mut command = match repo.as_str() {
            "" => return format!("put the chart into {home}/{name}"),
            oci if oci.starts_with("oci://") => {
                format!("helm pull {}/{name}", oci.trim_end_matches('/'))
            }
            repo => format!("helm pull {name} --repo {repo}"),
        };
        if !version.is_empty() {
            command.push_str(&format!(" --version {version}"));
        }
        format!(
            "run `{command} --untar --untardir {home}` in the root of the repository and commit the result"
        )
    }
}

impl Asking {
    /// The kustomization with a component first in place of the charts. Components come after generators, as charts do.
    #[must_use]
    pub fn with_component(&self, component: Option<&str>) -> Vec<u8> {
        let mut rest = self.rest.clone();
        if let Some(component) = component {
            let components = rest.entry("components").or_insert_with(|| json!([]));
            match components {
                Value::Array(components) => components.insert(0, component.into()),
                other => *other = json!([component]),
            }
        }
        Value::Object(rest).to_string().into_bytes()
    }
}

/// What a kustomization says to those below it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Passed {
    /// The namespace of its objects.
    pub namespace: Option<String>,
    /// The folders that it names.
    pub below: HashSet<String>,
}

impl Passed {
    /// What the kustomization in `folder` passes on.
    #[must_use]
    pub fn of(folder: &str, text: &[u8]) -> Self {
        let kustomization = parsed(text).unwrap_or_default();
        let named = ["resources", "components", "bases"].map(|field| kustomization.get(field));
        let named = named
            .into_iter()
            .flatten()
            .filter_map(Value::as_array)
            .flatten();
        let namespace = kustomization.get("namespace").and_then(Value::as_str);
        Self {
            namespace: namespace.filter(|name| !name.is_empty()).map(str::to_owned),
            below: named
                .filter_map(Value::as_str)
                .filter_map(|path| joined(folder, path))
                .collect(),
        }
    }
}

/// Values in place together with those of the values file, as kustomize merges them: maps field by field, everything else
/// as a whole, and null takes a field away.
#[must_use]
pub fn merged(merge: ValuesMerge, inline: Map<String, Value>, file: Map<String, Value>) -> Value {
    match merge {
        ValuesMerge::Override => Value::Object(over(inline, file)),
        ValuesMerge::Merge => Value::Object(over(file, inline)),
        ValuesMerge::Replace => Value::Object(inline),
    }
}

fn over(upper: Map<String, Value>, mut lower: Map<String, Value>) -> Map<String, Value> {
    for (key, value) in upper {
        match (value, lower.remove(&key)) {
            (Value::Null, _) => (),
            (Value::Object(upper), Some(Value::Object(below))) => {
                lower.insert(key, Value::Object(over(upper, below)));
            }
            (value, _) => drop(lower.insert(key, value)),
        }
    }
    lower
}

/// The path of `path` as seen from `folder`. None if it leads out of the tree.
pub(super) fn joined(folder: &str, path: &str) -> Option<String> {
    let mut parts: Vec<&str> = folder.split('/').filter(|part| !part.is_empty()).collect();
    if path.starts_with('/') {
        return None;
    }
    for part in path.split('/') {
        match part {
            "" | "." => (),
            ".." => drop(parts.pop()?),
            part => parts.push(part),
        }
    }
    Some(parts.join("/"))
}

/// The only document of a kustomization. None of what is no mapping: kustomize itself says why.
pub(super) fn parsed(text: &[u8]) -> Option<Map<String, Value>> {
    fields(manifest::documents(text).ok()?)
}

/// The same, unless it takes more memory than a document may.
pub(super) fn parsed_if_small(text: &[u8]) -> Result<Option<Map<String, Value>>, TooLarge> {
    match manifest::documents(text) {
        Ok(documents) => Ok(fields(documents)),
        Err(error) if error.cause == YamlCause::TooLarge => Err(TooLarge),
        Err(_) => Ok(None),
    }
}

/// A document takes more memory than it may.
#[derive(Clone, Copy, Debug)]
pub(super) struct TooLarge;

fn fields(documents: Vec<Document>) -> Option<Map<String, Value>> {
    match documents.into_iter().next()?.value {
        Value::Object(fields) => Some(fields),
        _ => None,
    }
}

fn list<T: for<'d> Deserialize<'d>>(value: Value) -> Result<Vec<T>, serde_json::Error> {
    match value {
        Value::Null => Ok(Vec::new()),
        Value::Array(entries) => entries.into_iter().map(one).collect(),
        other => serde_json::from_value(other),
    }
}

/// A field without a value is absent, as for Go.
fn one<T: for<'d> Deserialize<'d>>(value: Value) -> Result<T, serde_json::Error> {
    let value = match value {
        Value::Null => json!({}),
        Value::Object(mut fields) => {
            fields.retain(|_, value| !value.is_null());
            Value::Object(fields)
        }
        other => other,
    };
    serde_json::from_value(value)
}

#[cfg(test)]
mod tests;
