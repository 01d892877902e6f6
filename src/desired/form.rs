//! The content of a path: a chart, a kustomization, or manifests.

use std::sync::Arc;

use sha2::{Digest as _, Sha256};

use super::DesiredError;
use crate::content::{ContentKey, IGNORE_FILE, Listing, Name, ObjectId, SourceFile, Tree, within};
use crate::intent::RenderIntent;
use crate::render::{self, IgnoreBudget, Ignores, RenderError};

/// The names of a kustomization file.
const KUSTOMIZATIONS: [&str; 3] = ["kustomization.yaml", "kustomization.yml", "Kustomization"];

/// The file that makes a folder a chart.
const CHART: &str = "Chart.yaml";

/// What is at a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// Files of manifests, some folders of which may be kustomizations.
    Manifests,
    Kustomization,
    Chart,
    /// What a renderer of the team's own reads.
    Own,
}

impl Form {
    /// What is at the path of `intent`, which may be one file of manifests. A folder with both files is a chart. A file
    /// that a spec leaves out is none of them.
    pub(super) fn of(tree: &dyn Tree, intent: &RenderIntent) -> Result<Self, DesiredError> {
        let path = &intent.path;
        if intent.renderer.is_some() {
            return Ok(Self::Own);
        }
        if intent.helm.chart.is_some() {
            return Ok(Self::Chart);
        }
        if tree.entry(path)?.file.is_some() {
            return Ok(Self::Manifests);
        }
        let names = tree.names(path)?;
        let mut ignores = Ignores::of_files(&[])?;
        add_fields(&mut ignores, intent)?;
        let has = |wanted: &str| {
            let is = |name: &Name| !name.is_folder && name.name == wanted;
            names.iter().any(is) && !ignores.names(&within(path, wanted))
        };
        Ok(if has(CHART) {
            Self::Chart
        } else if KUSTOMIZATIONS.iter().any(|name| has(name)) {
            Self::Kustomization
        } else {
            Self::Manifests
        })
    }
}

/// What a path of manifests holds.
#[derive(Default)]
pub(super) struct Selected {
    /// The manifests, without those below a kustomization.
    pub(super) files: Vec<SourceFile>,
    /// The folders that kustomize builds, as Flux does.
    pub(super) kustomizations: Vec<String>,
    /// Equal keys are the same manifests in the same places.
    pub(super) key: Option<ContentKey>,
}

impl Selected {
    /// What a listing of the path of `intent` holds, without what ignore files and specs leave out.
    pub(super) fn of(
        tree: &dyn Tree,
        listing: &Listing,
        intent: &RenderIntent,
    ) -> Result<Self, DesiredError> {
        let ignores = ignores(tree, listing, intent)?;
        let mut files = render::select(&listing.files, &intent.path, &ignores);
        let kustomizations = kustomizations(listing, &ignores, intent);
        files.retain(|file| {
            !kustomizations
                .iter()
                .any(|folder| is_below(&file.path, folder))
        });
        let key = Some(key(&files, &kustomizations));
        Ok(Self {
            files,
            kustomizations,
            key,
        })
    }
}

/// Identifies the content of a selection, but for what kustomizations read.
fn key(files: &[SourceFile], kustomizations: &[String]) -> ContentKey {
    let mut hash = Sha256::new();
    for file in files {
        hash.update(file.path.as_bytes());
        hash.update([0]);
        hash.update(file.blob.0.as_bytes());
    }
    for folder in kustomizations {
        hash.update(folder.as_bytes());
        hash.update([0, 0]);
    }
    ContentKey(ObjectId::new(&hash.finalize()))
}

/// Refuses a listing that lacks files.
pub(super) fn complete(listing: Listing) -> Result<Listing, DesiredError> {
    match listing.submodules.first() {
        Some(submodule) => Err(DesiredError::Submodule(submodule.clone())),
        None => Ok(listing),
    }
}

/// The ignore files in a listing and above it, and what the specs leave out.
fn ignores(
    tree: &dyn Tree,
    listing: &Listing,
    intent: &RenderIntent,
) -> Result<Ignores, RenderError> {
    let mut files = Vec::new();
    let mut budget = IgnoreBudget::default();
    for file in listing.above.iter().chain(&listing.files) {
        if let Some(folder) = file.path.strip_suffix(IGNORE_FILE)
            && (folder.is_empty() || folder.ends_with('/'))
        {
            let folder = folder.trim_end_matches('/').to_owned();
            let text = tree.read(file.blob);
            let text = text.map_err(|source| RenderError::Read {
                file: file.path.clone(),
                source,
            })?;
            budget.charge(&file.path, &text)?;
            files.push((folder, text));
        }
    }
    for (field, _, patterns) in fields(intent) {
        budget.charge(field, patterns.as_bytes())?;
    }
    let mut ignores = Ignores::of_files(&files)?;
    add_fields(&mut ignores, intent)?;
    Ok(ignores)
}

/// The fields that leave files out, with the folder to which their patterns are relative. Later ones have precedence.
fn fields(intent: &RenderIntent) -> impl Iterator<Item = (&'static str, &str, &str)> {
    let all = [
        ("spec.ignore of the source", "", &*intent.source_ignore),
        ("spec.ignore", &*intent.path, &*intent.ignore),
    ];
    all.into_iter()
        .filter(|(.., patterns)| !patterns.is_empty())
}

fn add_fields(ignores: &mut Ignores, intent: &RenderIntent) -> Result<(), RenderError> {
    fields(intent)
        .try_for_each(|(field, folder, patterns)| ignores.add_field(field, folder, patterns))
}

/// The topmost folders below the path that are kustomizations.
fn kustomizations(listing: &Listing, ignores: &Ignores, intent: &RenderIntent) -> Vec<String> {
    let folder_of = |path: &Arc<str>| -> Option<String> {
        let (folder, name) = path.rsplit_once('/')?;
        let is_kept = || ignores.keep(path, &intent.path);
        (KUSTOMIZATIONS.contains(&name) && is_kept()).then(|| folder.to_owned())
    };
    let folders = listing
        .files
        .iter()
        .filter_map(|file| folder_of(&file.path));
    let mut folders: Vec<String> = folders.filter(|folder| *folder != intent.path).collect();
    folders.sort_unstable();
    folders.dedup();
    let all = folders.clone();
    folders.retain(|folder| {
        !all.iter()
            .any(|other| other != folder && is_below(folder, other))
    });
    folders
}

fn is_below(path: &str, folder: &str) -> bool {
    folder.is_empty()
        || path
            .strip_prefix(folder)
            .is_some_and(|rest| rest.starts_with('/'))
}
