//! The content of a path: a chart, a kustomization, or manifests.

use std::sync::Arc;

use super::DesiredError;
use crate::content::{ContentKey, IGNORE_FILE, Listing, ReadError, SourceFile, Tree, TreeId};
use crate::intent::RenderIntent;
use crate::render::{self, RenderError};

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
}

impl Form {
    /// The content of `path`, which may be one file of manifests. A folder with both files is a chart.
    pub(super) fn of(tree: &dyn Tree, path: &str) -> Result<Self, ReadError> {
        if tree.place(path)?.file.is_some() {
            return Ok(Self::Manifests);
        }
        let names = tree.names(path)?;
        let has = |wanted: &str| {
            names
                .iter()
                .any(|name| !name.is_folder && name.name == wanted)
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
    /// The identity of the listing.
    pub(super) key: Option<ContentKey>,
    /// The folder's identity, if nothing outside of the folder matters.
    pub(super) folder: Option<TreeId>,
}

impl Selected {
    /// Lists the path of `intent`, without what ignore files and the intent itself leave out.
    pub(super) fn read(tree: &dyn Tree, intent: &RenderIntent) -> Result<Self, DesiredError> {
        let listing = complete(tree.list(&intent.path)?)?;
        let folder = match listing.self_contained {
            true => Some(tree.identity(&intent.path)?),
            false => None,
        };
        let ignores = ignores(tree, &listing, intent)?;
        let mut files = render::select(&listing.files, &intent.path, &ignores)?;
        let kustomizations = kustomizations(&listing, &files, intent);
        files.retain(|file| {
            !kustomizations
                .iter()
                .any(|folder| is_below(&file.path, folder))
        });
        Ok(Self {
            files,
            kustomizations,
            key: Some(listing.key),
            folder,
        })
    }
}

/// Refuses a listing that lacks files.
fn complete(listing: Listing) -> Result<Listing, DesiredError> {
    match listing.submodules.first() {
        Some(submodule) => Err(DesiredError::Submodule(submodule.clone())),
        None => Ok(listing),
    }
}

/// The ignore files in a listing and above it, and what the intent leaves out.
fn ignores(
    tree: &dyn Tree,
    listing: &Listing,
    intent: &RenderIntent,
) -> Result<Vec<(String, Vec<u8>)>, RenderError> {
    let mut ignores = Vec::new();
    let mut budget = render::IgnoreBudget::default();
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
            ignores.push((folder, text));
        }
    }
    if !intent.ignore.is_empty() {
        budget.charge("", intent.ignore.as_bytes())?;
        ignores.push((intent.path.clone(), intent.ignore.clone().into_bytes()));
    }
    Ok(ignores)
}

/// The topmost folders below the path that are kustomizations.
fn kustomizations(listing: &Listing, chosen: &[SourceFile], intent: &RenderIntent) -> Vec<String> {
    let folder_of = |path: &Arc<str>, names: &[&str]| -> Option<String> {
        let (folder, name) = path.rsplit_once('/')?;
        names.contains(&name).then(|| folder.to_owned())
    };
    // One name has no ending that manifests have, so that it is not among the chosen files.
    let named = chosen
        .iter()
        .filter_map(|file| folder_of(&file.path, &KUSTOMIZATIONS));
    let unnamed = listing.files.iter();
    let unnamed = unnamed.filter_map(|file| folder_of(&file.path, &KUSTOMIZATIONS[2..]));
    let mut folders: Vec<String> = named
        .chain(unnamed)
        .filter(|folder| *folder != intent.path)
        .collect();
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
