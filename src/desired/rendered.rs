//! The output of renderers for the folders of a path.

use std::cell::OnceCell;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::form::{Form, Selected};
use super::object::Parts;
use super::{DesiredError, Inputs, ReleaseNumber};
use crate::content::{ReadError, Tree, TreeId, within};
use crate::intent::{Overrides, RenderIntent, RendererIntent};
use crate::manifest::{self, FieldPath};
use crate::render::wasm::{
    Chart, Cluster, Finding, Folder, Kept, Kustomization, Output, Private, Reads, Release,
    Renderers, Sought, Values,
};
use crate::render::{Bases, Outcome, ParsedObject, RemoteBase, Steps, Text, TextId};

/// The output of renderers for one path, and its identity.
#[derive(Debug, Default)]
pub(super) struct Rendered {
    outputs: Vec<Arc<Output>>,
    /// Where the documents are: output and position.
    places: HashMap<TextId, (u32, u32)>,
    /// Where the values of a chart are.
    values: Arc<[Arc<str>]>,
    folders: Mutex<Folders>,
}

/// The folders that the renderers did not leave, as they were when the outputs were last found to hold. None where that is
/// not known.
type Folders = Option<Box<[(Box<str>, TreeId)]>>;

impl Rendered {
    /// Whether the outputs hold in `tree` as well.
    pub(super) fn holds_in(&self, tree: &dyn Tree) -> Result<bool, ReadError> {
        for output in &self.outputs {
            if !output.reads.unchanged_in(tree)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Takes note of the folders in which everything is that matters, for outputs that hold in `tree`.
    pub(super) fn note_folders(&self, tree: &dyn Tree, path: &str) {
        if !self.is_empty() {
            *self.folders() = self.folders_in(tree, path);
        }
    }

    fn folders_in(&self, tree: &dyn Tree, path: &str) -> Folders {
        let mut all = Reads::default();
        for output in &self.outputs {
            all.extend(&output.reads);
        }
        let folders = all.folders(tree, path)?.into_iter();
        folders
            .map(|folder| Some((folder.as_str().into(), tree.identity(&folder).ok()?)))
            .collect()
    }

    /// Whether the outputs are known to hold in `tree`, without blocking: nothing is different in any folder that the renderers
    /// looked into.
    pub(super) fn is_known_in(&self, tree: &dyn Tree) -> bool {
        let folders = self.folders();
        let mut folders = folders.iter().flatten().peekable();
        folders.peek().is_some()
            && folders.all(|(folder, before)| tree.known_identity(folder) == Some(*before))
    }

    fn folders(&self) -> MutexGuard<'_, Folders> {
        self.folders.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.outputs.is_empty()
    }

    /// The output of a chart, which is the only one.
    pub(super) fn chart(&self) -> Option<&Output> {
        self.outputs.first().map(|output| &**output)
    }

    /// Whether a chart's documents may show the number of its release.
    pub(super) fn shows_number(&self) -> bool {
        self.chart().is_some_and(Output::shows_number)
    }

    /// Whether a renderer wrote a document. Helm gives back the files of `crds/` as they are.
    pub(super) fn wrote(&self, id: TextId) -> bool {
        self.document(id)
            .is_some_and(|document| document.about.kind != "crd")
    }

    /// A rendered document. None if it was not rendered here.
    pub(super) fn text(&self, id: TextId) -> Option<Vec<u8>> {
        self.document(id).map(Kept::text)
    }

    fn document(&self, id: TextId) -> Option<&Kept> {
        let (output, position) = *self.places.get(&id)?;
        let output = self.outputs.get(output as usize)?;
        output.documents.get(position as usize)
    }

    /// Takes an output, and says which of its documents are manifests.
    fn add(&mut self, output: Arc<Output>, fallback: &str, texts: &mut Vec<Text>) {
        let place = u32::try_from(self.outputs.len()).unwrap_or(u32::MAX);
        for (position, document) in (0..).zip(&output.documents) {
            if !matches!(document.about.kind.as_str(), "" | "manifest" | "crd") {
                continue;
            }
            let file = match document.about.file.as_str() {
                "" => fallback,
                file => file,
            };
            self.places.insert(document.id, (place, position));
            texts.push(Text {
                id: document.id,
                file: file.into(),
            });
        }
        self.outputs.push(output);
    }

    /// The generated values of an object.
    pub(super) fn generated(&self, id: TextId, document: u32, item: u32) -> &[FieldPath] {
        let place = self.places.get(&id);
        let output = place.and_then(|(output, _)| self.outputs.get(*output as usize));
        output.map_or(&[], |output| output.generated.of(id, document, item))
    }

    /// What a document is made of beside its file, by its first object. Finding its patches takes some of `steps`.
    pub(super) fn parts(&self, text: &Text, object: Option<&ParsedObject>, steps: &Steps) -> Parts {
        let place = self.places.get(&text.id);
        let output =
            place.and_then(|(output, at)| Some((self.outputs.get(*output as usize)?, *at)));
        let Some(((output, position), object)) = output.zip(object) else {
            return Parts::default();
        };
        let Some(document) = output.documents.get(position as usize) else {
            return Parts::default();
        };
        let parsed = OnceCell::new();
        let metadata = || {
            let parse = || {
                let documents = manifest::documents(&document.text()).ok()?;
                Some(documents.into_iter().next()?.value.get("metadata")?.clone())
            };
            parsed.get_or_init(parse).clone()
        };
        let object = Outcome {
            file: &text.file,
            is_generated: !document.about.generated.is_empty(),
            kind: (&object.gvk.group, &object.gvk.kind),
            name: &object.name,
            namespace: object.namespace.as_deref(),
            metadata: &metadata,
        };
        let patches = output.patches.of_object(&object, steps);
        let values = match document.about.kind.as_str() {
            "manifest" => Arc::clone(&self.values),
            _ => Arc::default(),
        };
        Parts {
            is_rendered: true,
            patches,
            values,
        }
    }

    /// What a chart tells its users.
    pub(super) fn notes(&self) -> Option<&str> {
        self.outputs
            .iter()
            .find_map(|output| output.notes.as_deref())
    }

    /// The remote bases that kustomizations name.
    pub(super) fn bases(&self) -> impl Iterator<Item = &RemoteBase> {
        self.outputs.iter().flat_map(|output| &output.bases)
    }

    /// What charts asked the cluster for.
    pub(super) fn lookups(&self) -> impl Iterator<Item = &(Sought, Finding)> {
        self.outputs.iter().flat_map(|output| &output.lookups)
    }

    /// Identifies what charts found in the cluster.
    pub(super) fn found(&self) -> Vec<u8> {
        let findings = self.lookups().map(|(_, finding)| finding);
        findings.flat_map(Finding::as_bytes).copied().collect()
    }

    /// Warnings of the renderers.
    pub(super) fn warnings(&self) -> impl Iterator<Item = &str> {
        let outputs = self.outputs.iter();
        outputs.flat_map(|output| output.warnings.iter().map(String::as_str))
    }
}

/// The renderers of a path.
pub(super) struct Means<'a> {
    pub(super) renderers: &'a Renderers,
    pub(super) private: Private<'a>,
    /// The remote bases that the tree has.
    pub(super) bases: &'a Bases,
    /// What a chart's templates see of their release.
    pub(super) number: ReleaseNumber,
}

impl Means<'_> {
    fn kustomize(
        &self,
        tree: &Arc<dyn Tree>,
        request: &Kustomization,
        cluster: Cluster<'_>,
    ) -> Result<Arc<Output>, DesiredError> {
        let renderers = self.renderers;
        Ok(renderers.kustomize(tree, request, cluster, self.bases, self.private)?)
    }
}

/// Renders what is not plain at a path. Returns the documents, which come before those of plain files.
pub(super) fn render(
    tree: &Arc<dyn Tree>,
    intent: &RenderIntent,
    inputs: &Inputs,
    form: Form,
    selected: &mut Selected,
    means: &Means<'_>,
) -> Result<(Rendered, Vec<Text>), DesiredError> {
    let mut rendered = Rendered::default();
    let mut texts = Vec::new();
    let cluster = Cluster {
        kube_version: &inputs.kube_version,
        api_versions: &inputs.api_versions,
        namespace: intent.target_namespace.as_deref(),
    };
    match form {
        Form::Chart => {
            let output = chart(tree, intent, inputs, means)?;
            rendered.values = names_of_values(intent, inputs);
            rendered.add(output, &intent.path, &mut texts);
        }
        Form::Kustomization => {
            let request = kustomization(&intent.path, overrides(intent), String::new());
            let output = means.kustomize(tree, &request, cluster)?;
            rendered.add(output, &intent.path, &mut texts);
        }
        Form::Own => {
            let RendererIntent { name, parameters } = intent.renderer.clone().unwrap_or_default();
            let request = Folder {
                path: intent.path.clone(),
                parameters,
            };
            let output = means.renderers.own(&name, tree, &request, means.private)?;
            rendered.add(output, &intent.path, &mut texts);
        }
        Form::Manifests => {
            if intent.kustomize.is_some() {
                let file = generated(intent, selected);
                let request = kustomization(&intent.path, overrides(intent), file);
                let output = means.kustomize(tree, &request, cluster)?;
                rendered.add(output, &intent.path, &mut texts);
                selected.files.clear();
                return Ok((rendered, texts));
            }
            for folder in &selected.kustomizations {
                let request = kustomization(folder, overrides(intent), String::new());
                let output = means.kustomize(tree, &request, cluster)?;
                rendered.add(output, folder, &mut texts);
            }
        }
    }
    Ok((rendered, texts))
}

/// What the Sync changes in a kustomization. kustomize is told the target namespace, so that it changes what refers to
/// an object by its namespace too: the subjects of a RoleBinding, the service of a webhook.
fn overrides(intent: &RenderIntent) -> Overrides {
    Overrides {
        namespace: intent.target_namespace.clone().unwrap_or_default(),
        ..intent.kustomize.clone().unwrap_or_default()
    }
}

fn kustomization(path: &str, overrides: Overrides, kustomization: String) -> Kustomization {
    Kustomization {
        path: path.to_owned(),
        kustomization,
        overrides,
        provenance: true,
    }
}

/// The kustomization of a path that has none, as Flux generates it: every manifest is a resource, and so is
/// every folder with a kustomization of its own.
fn generated(intent: &RenderIntent, selected: &Selected) -> String {
    let below = |path: &str| {
        let rest = path.strip_prefix(&intent.path).unwrap_or(path);
        rest.trim_start_matches('/').to_owned()
    };
    let files = selected.files.iter().map(|file| below(&file.path));
    let folders = selected.kustomizations.iter().map(|folder| below(folder));
    let mut resources: Vec<String> = files.chain(folders).collect();
    resources.sort_unstable();
    // JSON is YAML, and needs no rules about quotes.
    serde_json::json!({
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "resources": resources,
    })
    .to_string()
}

fn chart(
    tree: &Arc<dyn Tree>,
    intent: &RenderIntent,
    inputs: &Inputs,
    means: &Means<'_>,
) -> Result<Arc<Output>, DesiredError> {
    let helm = &intent.helm;
    let request = Chart {
        path: chart_folder(tree, intent)?,
        release: Release {
            name: helm.release_name.clone(),
            namespace: helm.release_namespace.clone(),
            revision: means.number.revision.into(),
            is_upgrade: means.number.is_upgrade,
        },
        values: values(intent, inputs),
        kube_version: inputs.kube_version.clone(),
        api_versions: inputs.api_versions.to_vec(),
        ..Chart::default()
    };
    Ok(means.renderers.helm(tree, &request, means.private)?)
}

/// The values that are given to the chart. Later ones win.
pub(super) fn values(intent: &RenderIntent, inputs: &Inputs) -> Vec<Values> {
    let helm = &intent.helm;
    let files = helm.values_files.iter().map(|file| Values {
        file: within(&intent.path, file),
        ..Values::default()
    });
    let given = inputs.values.iter().map(|(name, text)| Values {
        name: name.clone(),
        text: text.clone(),
        ..Values::default()
    });
    let in_place = (!helm.values.is_empty()).then(|| Values {
        name: "spec.helm.values".to_owned(),
        text: helm.values.clone(),
        ..Values::default()
    });
    files.chain(given).chain(in_place).collect()
}

/// The most places of values that an object has.
const MAX_VALUES: usize = 16;

/// Where the values that are given to the chart are: the last ones, which have precedence.
pub(super) fn names_of_values(intent: &RenderIntent, inputs: &Inputs) -> Arc<[Arc<str>]> {
    let all = values(intent, inputs).into_iter();
    let names = all.map(|values| match values.file.is_empty() {
        true => values.name,
        false => values.file,
    });
    let names: Vec<Arc<str>> = names.map(Arc::from).collect();
    names[names.len().saturating_sub(MAX_VALUES)..].into()
}

/// The folder of the chart in the tree.
pub(super) fn chart_folder(
    tree: &Arc<dyn Tree>,
    intent: &RenderIntent,
) -> Result<String, DesiredError> {
    let Some(chart) = &intent.helm.chart else {
        return Ok(intent.path.clone());
    };
    let folder = within(&mount(&chart.source), &chart.path);
    match tree.entry(&folder) {
        Ok(_) => Ok(folder),
        Err(why) => Err(DesiredError::ChartPath {
            source_name: chart.source.clone(),
            why,
        }),
    }
}

/// The folder at which a tree has the files of the chart's source. Messages show it.
pub(super) fn mount(source: &str) -> String {
    format!("GitRepository {source}")
}
