//! `towline build`: the objects that a Sync would apply, from a folder on disk and without a cluster.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::scope::Scopes;
use super::terminal::Terminal;
use super::{Exit, output, report};
use crate::api::{GitRepository, Sync};
use crate::config::{BuildArgs, OutputFormat};
use crate::content::{ReadFault, Tree};
use crate::desired::{
    self, Desired, DesiredError, InputData, Inputs, InputsError, Reading, Releases, Task,
};
use crate::intent::{Keeper, RenderIntent, SyncIntent};
use crate::manifest::{Manifest, ObjectError, ObjectKey, YamlError, documents};
use crate::plan::apply_order;
use crate::preview::{describe, manifests_of};
use crate::render::wasm::{Lookup, Renderers};
use crate::render::{Cache, RemoteBase, WantedBase};
use crate::secrets::{Data, Keeping};
use crate::source::{self, CacheSettings, Folder, Snapshot};
use crate::text::redact_url;

/// Why nothing, or not everything, could be built.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// A file cannot be read.
    #[error("reading {0}")]
    Read(PathBuf, #[source] io::Error),
    /// A file is not YAML.
    #[error("{0}")]
    Yaml(PathBuf, #[source] YamlError),
    /// A file given by `--with` holds something that is not an object.
    #[error("{0}")]
    Object(PathBuf, #[source] ObjectError),
    /// A ConfigMap or a Secret has values that Kubernetes does not accept. The cause may quote a value,
    /// so it is left out.
    #[error("{0}: the values of {1} must be texts, and base64 in the data of a Secret")]
    Values(PathBuf, String),
    /// An object of a file cannot be read.
    #[error("{0}")]
    Invalid(PathBuf, #[source] serde_json::Error),
    /// The file given by `--sync` holds no Sync.
    #[error("{0} holds no Sync")]
    NoSync(PathBuf),
    /// The path asks for no object.
    #[error("the path asks for no object")]
    Nothing,
    /// The path is outside of the root.
    #[error("{0} is not in {1}: name the root of the repository by --root")]
    Outside(PathBuf, PathBuf),
    /// The root cannot be opened.
    #[error("opening the root")]
    Source(#[from] source::Error),
    /// The chart is in another repository.
    #[error(
        "spec.helm.chartRef: the chart is in GitRepository {0}: give a clone of it by --chart-root"
    )]
    NoChart(String),
    /// A remote base is given in a way that names none.
    #[error(
        "--base-root {0}: write the URL of the repository with ref= its tag or commit, and the folder of a clone of that, as \
         https://git.example/org/base.git?ref=v1=../base"
    )]
    BaseRoot(String),
    /// Remote bases are not given.
    #[error("{}", without_bases(.0))]
    NoBases(Vec<WantedBase>),
    /// ConfigMaps or Secrets are missing.
    #[error("{0}; give its manifest by --with")]
    Missing(#[source] InputsError),
    /// ConfigMaps or Secrets cannot be used.
    #[error(transparent)]
    Inputs(InputsError),
    /// The files do not say what is desired.
    #[error(transparent)]
    Desired(#[from] DesiredError),
    /// The objects cannot be written as YAML.
    #[error("writing YAML")]
    Write(#[from] serde_saphyr::ser::Error),
    /// The output is closed.
    #[error("writing the objects")]
    Output(#[source] io::Error),
    /// Some objects cannot be applied. Each was reported.
    #[error("objects that cannot be applied: {0}")]
    Failed(usize),
}

impl BuildError {
    /// What the exit code of `towline build` says of it. What the files ask for is an answer, and a wrong argument is none.
    fn exit(&self) -> Exit {
        match self {
            Self::Failed(_) | Self::Nothing | Self::Inputs(_) => Exit::Differs,
            Self::Desired(DesiredError::Tree(error))
                if error.fault() == ReadFault::PathNotFound =>
            {
                Exit::Error
            }
            Self::Desired(_) => Exit::Differs,
            Self::Read(..)
            | Self::Yaml(..)
            | Self::Object(..)
            | Self::Values(..)
            | Self::Invalid(..)
            | Self::NoSync(_)
            | Self::Outside(..)
            | Self::Source(_)
            | Self::NoChart(_)
            | Self::BaseRoot(_)
            | Self::NoBases(_)
            | Self::Missing(_)
            | Self::Write(_)
            | Self::Output(_) => Exit::Error,
        }
    }
}

/// Prints the objects of a folder on disk, in the order in which they are applied. Objects that cannot be applied are
/// reported on standard error; the others are printed all the same.
pub fn build(args: &BuildArgs) -> Exit {
    match built(args) {
        Ok(()) => Exit::Done,
        Err(error) => {
            report(&error);
            error.exit()
        }
    }
}

fn built(args: &BuildArgs) -> Result<(), BuildError> {
    let (mut sync, source_ignore) = sync(args)?;
    let namespace = sync
        .metadata
        .namespace
        .get_or_insert(args.namespace.clone());
    let namespace = namespace.clone();
    let mut intent = SyncIntent::from(&sync);
    intent.render.source_ignore = source_ignore.into();
    let root = root(args.root.as_deref(), args.path.as_deref())?;
    if let Some(path) = &args.path {
        intent.render.path = within(&root, path)?;
    }
    let inputs = inputs(args, &namespace, &intent)?;
    let files = Files {
        root: &root,
        revision: args.revision.as_deref(),
        chart_root: args.chart_root.as_deref(),
        base_roots: &args.base_root,
    };
    let (desired, tree) = rendered(
        &files,
        intent.render,
        inputs,
        &args.renderers_dir,
        &namespace,
        Releases::default(),
        None,
    )?;
    for warning in desired.warnings() {
        Terminal::note(&format!("towline: warning: {warning}"));
    }
    let (objects, failures) = objects(&desired, tree);
    print(&objects, args.output)?;
    for failure in &failures {
        Terminal::note(&format!("towline: {failure}"));
    }
    match failures.len() {
        0 => Ok(()),
        count => Err(BuildError::Failed(count)),
    }
}

/// What is rendered.
pub(super) struct Files<'a> {
    /// The root of the repository.
    pub(super) root: &'a Path,
    /// The commit that is read, in place of what is on disk.
    pub(super) revision: Option<&'a str>,
    /// The root of the chart's repository.
    pub(super) chart_root: Option<&'a Path>,
    /// Remote bases: `URL?ref=REF=FOLDER`.
    pub(super) base_roots: &'a [String],
}

impl Files<'_> {
    /// As for a repository. Nothing is written into the folder of this cache.
    fn limits() -> CacheSettings {
        CacheSettings::new("")
    }

    fn tree(&self) -> Result<Arc<dyn Tree>, source::Error> {
        match self.revision {
            Some(revision) => Ok(Arc::new(Snapshot::of_clone(
                self.root,
                revision,
                &Self::limits(),
            )?)),
            None => Self::on_disk(self.root),
        }
    }

    fn bases(&self) -> Result<BTreeMap<RemoteBase, Arc<dyn Tree>>, BuildError> {
        let mut bases = BTreeMap::new();
        for given in self.base_roots {
            let pair = given.rsplit_once('=');
            let pair = pair.and_then(|(url, folder)| Some((RemoteBase::named(url)?, folder)));
            let (base, folder) = pair.ok_or_else(|| BuildError::BaseRoot(redact_url(given)))?;
            bases.insert(base, Self::on_disk(Path::new(folder))?);
        }
        Ok(bases)
    }

    fn on_disk(root: &Path) -> Result<Arc<dyn Tree>, source::Error> {
        let limits = Self::limits();
        let folder = Folder::open(root, limits.max_file_bytes, limits.max_files)?;
        Ok(Arc::new(folder))
    }
}

/// What a folder on disk asks for, by the operator's own library. Blocks.
pub(super) fn rendered(
    files: &Files<'_>,
    intent: RenderIntent,
    inputs: Inputs,
    renderers: &Path,
    tenant: &str,
    releases: Releases,
    lookup: Option<Arc<dyn Lookup>>,
) -> Result<(Box<Desired>, Arc<dyn Tree>), BuildError> {
    let tree = files.tree()?;
    let chart = match (&intent.helm.chart, files.chart_root) {
        (None, _) => None,
        (Some(_), Some(root)) => Some(Files::on_disk(root)?),
        (Some(chart), None) => return Err(BuildError::NoChart(chart.source.clone())),
    };
    let task = Task {
        tree: tree.clone(),
        chart,
        bases: files.bases()?,
        intent,
        inputs: Arc::new(inputs),
        renderers: Renderers::at(renderers.to_owned()),
        tenant: tenant.into(),
        releases,
        lookup,
        kept_for: None,
    };
    match desired::read(&task, None, &mut Cache::default()) {
        Ok(Reading::Changed(desired)) => Ok((desired, tree)),
        Ok(Reading::Unchanged) => Err(BuildError::Nothing),
        Err(error) => Err(match error.wanted_bases() {
            Some(wanted) => BuildError::NoBases(wanted.to_vec()),
            None => error.into(),
        }),
    }
}

/// How to give remote bases.
fn without_bases(wanted: &[WantedBase]) -> String {
    let named = wanted.iter().map(|wanted| {
        let url = wanted.base.named_url();
        format!("{wanted}: clone it there and give the folder by --base-root '{url}=FOLDER'")
    });
    named.collect::<Vec<_>>().join("; ")
}

/// The objects in the order in which they are applied, and why others cannot be.
fn objects(desired: &Desired, tree: Arc<dyn Tree>) -> (Vec<Value>, Vec<String>) {
    let all: Vec<usize> = (0..desired.objects().len()).collect();
    let (mut manifests, mut failures) = manifests_of(desired, tree, &all);
    let mut scopes = Scopes::default();
    for Manifest { gvk, body, .. } in manifests.values() {
        if &*gvk.kind == "CustomResourceDefinition" {
            scopes.define(body);
        }
    }
    let is_namespaced = |gvk: &_| Some(scopes.is_namespaced(gvk));
    let resolved = desired::resolve(desired, is_namespaced, None);
    for (index, why) in &resolved.misplaced {
        failures.push(describe(desired, *index, why));
    }
    let mut items: Vec<_> = resolved.items.into_values().collect();
    apply_order(&mut items, |item| {
        let place = desired.provenance(item.index);
        let file = place.map(|place| place.file()).unwrap_or_default();
        (item.key.kind.clone(), file, item.index as u32)
    });
    let placed = items.into_iter().filter_map(|item| {
        let Manifest { body, .. } = manifests.remove(&item.index)?;
        Some(placed(body, &item.key))
    });
    (placed.collect(), failures)
}

/// An object with the namespace in which it is applied.
fn placed(mut body: Value, key: &ObjectKey) -> Value {
    if let Some(metadata) = body.get_mut("metadata").and_then(Value::as_object_mut) {
        match &key.namespace {
            Some(namespace) => metadata.insert("namespace".to_owned(), (**namespace).into()),
            None => metadata.remove("namespace"),
        };
    }
    body
}

fn print(objects: &[Value], format: OutputFormat) -> Result<(), BuildError> {
    let text = match format {
        OutputFormat::Yaml => output::yaml(objects)?,
        OutputFormat::Json => output::json(objects),
    };
    match io::stdout().lock().write_all(text.as_bytes()) {
        // The reader has enough, as `head` has.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        other => other.map_err(BuildError::Output),
    }
}

/// The root of the repository: as given, else the nearest folder with `.git`, else the path itself.
pub(super) fn root(root: Option<&Path>, path: Option<&Path>) -> Result<PathBuf, BuildError> {
    let here = Path::new(".");
    let start = match (root, path) {
        (Some(root), _) => return absolute(root),
        (None, Some(path)) => absolute(path)?,
        (None, None) => absolute(here)?,
    };
    let repository = start
        .ancestors()
        .find(|folder| folder.join(".git").exists());
    let own = match start.is_dir() {
        true => Some(start.as_path()),
        false => start.parent(),
    };
    Ok(repository.or(own).unwrap_or(here).to_owned())
}

/// The absolute path without symbolic links, as far as it is on disk: a commit may have what the disk has no longer.
fn absolute(path: &Path) -> Result<PathBuf, BuildError> {
    let failed = |error| BuildError::Read(path.to_owned(), error);
    let whole = std::path::absolute(path).map_err(failed)?;
    let there = whole.ancestors().find(|part| part.exists());
    let there = there.unwrap_or(&whole);
    let rest = whole.strip_prefix(there).unwrap_or(Path::new(""));
    Ok(match rest.as_os_str().is_empty() {
        true => fs::canonicalize(there).map_err(failed)?,
        false => fs::canonicalize(there).map_err(failed)?.join(rest),
    })
}

/// The path relative to the root, as a Sync names it.
pub(super) fn within(root: &Path, path: &Path) -> Result<String, BuildError> {
    let whole = absolute(path)?;
    let inner = whole.strip_prefix(root);
    let inner = inner.map_err(|_| BuildError::Outside(whole.clone(), root.to_owned()))?;
    Ok(inner.to_string_lossy().into_owned())
}

/// The inputs of the render, from the files given by `--with`.
fn inputs(args: &BuildArgs, namespace: &str, intent: &SyncIntent) -> Result<Inputs, BuildError> {
    let mut found = InputData::new();
    for file in &args.with {
        for manifest in manifests(file)? {
            let name = manifest.name.to_string();
            let (kind, data) = match &*manifest.gvk.kind {
                "ConfigMap" => (Keeper::ConfigMap, data::<ConfigMap>(file, manifest)?),
                "Secret" => (Keeper::Secret, data::<Secret>(file, manifest)?),
                _ => continue,
            };
            found.insert((kind, name), Arc::new(data));
        }
    }
    let gathered = Inputs::gather(namespace, &intent.inputs, &found);
    let mut inputs = gathered.map_err(|error| match error {
        InputsError::Missing { .. } => BuildError::Missing(error),
        other => BuildError::Inputs(other),
    })?;
    inputs.kube_version.clone_from(&args.kube_version);
    let mut api_versions = args.api_versions.clone();
    api_versions.sort();
    inputs.api_versions = api_versions.into();
    Ok(inputs)
}

/// The values of a ConfigMap or a Secret.
fn data<K: Keeping>(file: &Path, manifest: Manifest) -> Result<Data, BuildError> {
    let name = format!("{} {}", K::KIND, manifest.name);
    let object: Result<K, _> = serde_json::from_value(manifest.body);
    let object = object.map_err(|_| BuildError::Values(file.to_owned(), name))?;
    Ok(object.data())
}

fn values(file: &Path) -> Result<Vec<Value>, BuildError> {
    let text = fs::read(file).map_err(|error| BuildError::Read(file.to_owned(), error))?;
    let documents = documents(&text).map_err(|error| BuildError::Yaml(file.to_owned(), error))?;
    Ok(documents
        .into_iter()
        .map(|document| document.value)
        .collect())
}

fn manifests(file: &Path) -> Result<Vec<Manifest>, BuildError> {
    let mut found = Vec::new();
    for value in values(file)? {
        let manifests = Manifest::from_value(value);
        found.extend(manifests.map_err(|error| BuildError::Object(file.to_owned(), error))?);
    }
    Ok(found)
}

/// The Sync whose settings count: the first in the file given by `--sync`, on its own or as the inline
/// Sync of a GitRepository. Without a file, a Sync without settings. And what its GitRepository leaves out, where that is
/// in the file too.
fn sync(args: &BuildArgs) -> Result<(Sync, String), BuildError> {
    let Some(file) = &args.sync else {
        let plain = json!({
            "apiVersion": "towline.dev/v1alpha1", "kind": "Sync",
            "metadata": {"name": "build"}, "spec": {"sourceRef": {"name": "build"}},
        });
        return Ok((parsed(Path::new("the default Sync"), plain)?, String::new()));
    };
    let (mut found, mut repositories) = (None::<Sync>, Vec::<GitRepository>::new());
    for value in values(file)? {
        match value["kind"].as_str() {
            Some("Sync") if found.is_none() => found = Some(parsed(file, value)?),
            Some("GitRepository") => {
                let repository: GitRepository = parsed(file, value)?;
                if let Some(mut inline) = repository.child().filter(|_| found.is_none()) {
                    inline
                        .metadata
                        .namespace
                        .clone_from(&repository.metadata.namespace);
                    found = Some(inline);
                }
                repositories.push(repository);
            }
            _ => (),
        }
    }
    let sync = found.ok_or_else(|| BuildError::NoSync(file.clone()))?;
    let is_source = |repository: &GitRepository| {
        repository.metadata.name.as_ref() == Some(&sync.spec.source_ref.name)
            && repository.metadata.namespace == sync.metadata.namespace
    };
    let source = repositories.into_iter().find(is_source);
    let ignore = source.map(|source| source.spec.ignore).unwrap_or_default();
    Ok((sync, ignore))
}

fn parsed<T: DeserializeOwned>(file: &Path, value: Value) -> Result<T, BuildError> {
    serde_json::from_value(value).map_err(|error| BuildError::Invalid(file.to_owned(), error))
}
