//! A tree for kustomize in which the charts of kustomizations are rendered already, and remote bases are paths.
//!
//! kustomize reads a kustomization without its `helmCharts`. In their place it has a component that is in no repository:
//! what Helm made of the charts. Components come right after generators, and for kustomize charts are generators. Charts
//! that are not rendered yet are noted; kustomize runs again when they are.

use std::cell::OnceCell;
use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::{Kustomization, Reads, RenderFailure};
use crate::content::{BlobId, Listing, Name, ObjectId, PathEntry, ReadError, Tree, TreeId, within};
use crate::render::bases::{Bases, Local, WantedBase, localised, plugin_file};
use crate::render::inflate::{Asking, Inflation, Passed, asking};
use crate::render::instructions::{self, Form, Instructions};
use crate::render::patches::{Layer, Patches};
use crate::render::remote::RemoteBase;

/// The most charts of one build.
pub(super) const MAX_CHARTS: usize = 200;

/// The names of a kustomization.
const NAMES: [&str; 3] = ["kustomization.yaml", "kustomization.yml", "Kustomization"];

/// Every field that asks for charts begins so, but for `helmGlobals`, which asks for none by itself.
const MARK: &[u8] = b"helmChart";

/// The folder with what Helm made. Messages show it before the template.
const FOLDER: &str = "(helmCharts)";

/// The folder of the component.
const COMPONENT: &str = "(component of helmCharts)";

/// By this annotation kustomize knows what Helm made: it leaves the namespace of such objects alone, and takes the
/// annotation off at the end.
const MADE_BY_HELM: &str = "internal.config.kubernetes.io/helm-generated";

/// Where charts are rendered: in the folder of a kustomization, for a namespace that one above it may give.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Site {
    folder: String,
    namespace: Option<String>,
}

/// A document that Helm made: its template, and its text.
pub(super) type Made = (String, Vec<u8>);

/// Charts that are to be rendered.
#[derive(Debug)]
pub(super) struct Wanted {
    pub(super) site: Site,
    /// The kustomization.
    pub(super) file: String,
    pub(super) charts: Vec<Inflation>,
}

impl Wanted {
    /// The namespace of a release, where one is given.
    pub(super) fn namespace(&self, chart: &Inflation) -> Option<String> {
        chart
            .namespace
            .clone()
            .or_else(|| self.site.namespace.clone())
    }
}

/// Another tree, with rendered charts.
#[derive(Debug)]
pub(super) struct Inflated {
    tree: Arc<dyn Tree>,
    bases: Bases,
    state: Mutex<RunState>,
}

/// A kustomization that was read, with its folder.
#[derive(Debug)]
struct Visited {
    file: String,
    folder: String,
    text: Arc<[u8]>,
    /// What it passes on to those below, once that was asked.
    passed: OnceCell<Passed>,
}

impl Visited {
    fn passed(&self) -> &Passed {
        let passed = || Passed::of(&self.folder, &self.text);
        self.passed.get_or_init(passed)
    }
}

#[derive(Debug, Default)]
struct RunState {
    /// What was looked at in the tree.
    reads: Reads,
    /// The kustomizations of the last run.
    last: Vec<Visited>,
    /// The kustomizations with their folders, in the order in which they were read: parents before what is below.
    visited: Vec<Visited>,
    /// Files that were read already, and those that are in no repository.
    contents: HashMap<BlobId, Arc<[u8]>>,
    /// Paths that are in no repository; none for a folder.
    made: HashMap<String, Option<BlobId>>,
    inflated: HashMap<Site, Vec<Made>>,
    wanted: Vec<Wanted>,
    /// The files with instructions that kustomizations name.
    instructions: Instructions,
    /// Those that were counted: what kustomize reads in their place.
    counted: HashMap<(BlobId, Form), BlobId>,
    /// Remote bases that kustomizations name and have.
    used: BTreeSet<RemoteBase>,
    /// Those that are not fetched.
    wanted_bases: Vec<WantedBase>,
    problem: Option<RenderFailure>,
}

impl Inflated {
    /// `tree` has the remote bases that are fetched.
    pub(super) fn new(tree: Arc<dyn Tree>, bases: Bases) -> Self {
        Self {
            tree,
            bases,
            state: Mutex::default(),
        }
    }

    /// The charts that kustomize asked for since the last call, and that are not rendered. What it made without them is
    /// of no use.
    ///
    /// # Errors
    /// What is wrong with how a kustomization asks, or which remote bases are not fetched.
    pub(super) fn wanted(&self) -> Result<Vec<Wanted>, RenderFailure> {
        let state = &mut *self.state();
        state.last = std::mem::take(&mut state.visited);
        let wanted = std::mem::take(&mut state.wanted);
        let bases = std::mem::take(&mut state.wanted_bases);
        match state.problem.take() {
            Some(problem) => Err(problem),
            None if !bases.is_empty() => Err(RenderFailure::Bases(bases)),
            None => Ok(wanted),
        }
    }

    /// The remote bases that kustomizations name.
    pub(super) fn bases(&self) -> Vec<RemoteBase> {
        self.state().used.iter().cloned().collect()
    }

    /// The patches of the kustomizations of the last run, and of the request.
    pub(super) fn patches(&self, request: &Kustomization) -> Patches {
        let Kustomization {
            path,
            kustomization,
            overrides,
            ..
        } = request;
        let given = (!kustomization.is_empty()).then(|| Layer {
            file: within(path, NAMES[0]),
            folder: path.clone(),
            text: kustomization.as_bytes().into(),
        });
        let last = std::mem::take(&mut self.state().last);
        let read = last.into_iter().map(|visited| Layer {
            file: visited.file,
            folder: visited.folder,
            text: visited.text,
        });
        let content = |path: &str| {
            let file = self.tree.entry(path).ok()?.file?;
            self.tree.read(file).ok()
        };
        Patches::of(given.into_iter().chain(read), path, overrides, content)
    }

    /// Takes what Helm made of the charts of a site.
    pub(super) fn fill(&self, site: Site, made: Vec<Made>) {
        self.state().inflated.insert(site, made);
    }

    /// What is at a path, for others that read for the same render.
    pub(super) fn look(&self, path: &str) -> Result<PathEntry, ReadError> {
        self.state().reads.record(&*self.tree, path)
    }

    /// Adds what another render for the same output looked at.
    pub(super) fn add(&self, reads: &Reads) {
        self.state().reads.extend(reads);
    }

    /// The bytes of all paths that were looked at.
    pub(super) fn bytes_of_reads(&self) -> usize {
        self.state().reads.bytes()
    }

    /// Everything that was looked at in the tree.
    pub(super) fn reads(&self) -> Reads {
        self.state().reads.clone()
    }

    fn state(&self) -> MutexGuard<'_, RunState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks at a file that is no kustomization, before kustomize reads it. Returns what kustomize reads in its place.
    fn checked(&self, path: &str, entry: PathEntry) -> PathEntry {
        let Some(blob) = entry.file else {
            return entry;
        };
        let read = || self.tree.read(blob).ok();
        if let Some(error) = plugin_file(&entry.real, &self.bases, read) {
            self.state().refuse(&error);
        }
        let (form, known) = {
            let state = self.state();
            let Some(form) = state.instructions.get(path).copied() else {
                return entry;
            };
            (form, state.counted.get(&(blob, form)).copied())
        };
        let file = known.or_else(|| {
            let counted = instructions::count(path, &read()?, form);
            let state = &mut *self.state();
            let file = match counted {
                Ok(()) => blob,
                Err(error) => state.exceed(&error),
            };
            state.counted.insert((blob, form), file);
            Some(file)
        });
        PathEntry {
            file: file.or(entry.file),
            ..entry
        }
    }

    /// The kustomization that kustomize reads at `path`, in place of the one in the tree.
    fn kustomization(&self, path: &str, blob: BlobId) -> BlobId {
        let known = self.state().contents.get(&blob).cloned();
        let read = || self.tree.read(blob).ok().map(Arc::from);
        let Some(text) = known.or_else(read) else {
            // kustomize gets the error when it reads the file.
            return blob;
        };
        let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
        // kustomize resolves links in the folder's path, but not when it looks for the file.
        let real = self.tree.entry(folder);
        let real = real.map_or_else(|_| folder.to_owned(), |entry| entry.real);
        let state = &mut *self.state();
        state.contents.insert(blob, Arc::clone(&text));
        let (blob, text) = match localised(path, &real, &text, &self.bases) {
            Ok(None) => (blob, text),
            Ok(Some(local)) => (state.localise(&local), local.text.into()),
            Err(error) if error.is_too_large => return state.exceed(&error),
            Err(error) => {
                state.refuse(&error);
                return blob;
            }
        };
        let asks = text.windows(MARK.len()).any(|part| part == MARK);
        let asked = match asks {
            true => asking(path, &real, &text),
            false => Ok(None),
        };
        instructions::note(&mut state.instructions, &real, &text);
        let above = state.visited.len();
        state.visited.push(Visited {
            file: path.to_owned(),
            folder: real.clone(),
            text,
            passed: OnceCell::new(),
        });
        match asked {
            Ok(None) => blob,
            // Those that wait are too many already.
            Ok(Some(asking)) if state.wanted.len() > MAX_CHARTS => {
                state.hold(asking.with_component(None))
            }
            Ok(Some(asking)) => {
                let site = Site {
                    namespace: state.namespace_above(&real, above),
                    folder: real.clone(),
                };
                let folders = BTreeSet::from([folder.to_owned(), real]);
                state.answer(path, site, asking, folders)
            }
            Err(error) => {
                state.refuse(&error);
                blob
            }
        }
    }
}

impl RunState {
    /// Keeps why a kustomization is refused.
    fn refuse(&mut self, error: &impl std::error::Error) {
        self.problem.get_or_insert(RenderFailure::Refused {
            renderer: "kustomize".to_owned(),
            message: error.to_string(),
        });
    }

    /// Keeps that a file is too large. Returns what kustomize reads in its place: nothing.
    fn exceed(&mut self, error: &impl std::error::Error) -> BlobId {
        self.problem.get_or_insert(RenderFailure::TooLarge {
            renderer: "kustomize".to_owned(),
            message: error.to_string(),
        });
        self.hold(Vec::new())
    }

    /// Takes a kustomization with paths in place of URLs.
    fn localise(&mut self, local: &Local) -> BlobId {
        self.used.extend(local.used.iter().cloned());
        for wanted in &local.wanted {
            let mut known = self.wanted_bases.iter();
            if !known.any(|known| known.base == wanted.base) {
                self.wanted_bases.push(wanted.clone());
            }
        }
        self.hold(local.text.clone())
    }

    /// The kustomization without charts, with the component of those that are rendered.
    fn answer(
        &mut self,
        file: &str,
        site: Site,
        asking: Asking,
        folders: BTreeSet<String>,
    ) -> BlobId {
        let Some(made) = self.inflated.get(&site).cloned() else {
            let text = asking.with_component(None);
            if !self.wanted.iter().any(|wanted| wanted.site == site) {
                self.wanted.push(Wanted {
                    site,
                    file: file.to_owned(),
                    charts: asking.charts,
                });
            }
            return self.hold(text);
        };
        let named = |name: &str| match &site.namespace {
            // One kustomization may be a part of several, for a namespace each.
            Some(namespace) => format!("{name} for {namespace}"),
            None => name.to_owned(),
        };
        let (component, charts) = (named(COMPONENT), named(FOLDER));
        for folder in folders {
            let at = |name: &str| within(&folder, name);
            self.folder(
                &at(&component),
                &json!({
                    "apiVersion": "kustomize.config.k8s.io/v1alpha1",
                    "kind": "Component",
                    "resources": [format!("../{charts}")],
                }),
            );
            let names = unique(&made);
            self.folder(&at(&charts), &of_helm(&names));
            for (name, (_, text)) in names.iter().zip(&made) {
                let blob = self.hold(text.clone());
                self.made
                    .insert(format!("{}/{name}", at(&charts)), Some(blob));
            }
        }
        self.hold(asking.with_component(Some(&component)))
    }

    /// Makes a folder with a kustomization.
    fn folder(&mut self, path: &str, kustomization: &Value) {
        let blob = self.hold(kustomization.to_string().into_bytes());
        self.made.insert(path.to_owned(), None);
        self.made.insert(format!("{path}/{}", NAMES[0]), Some(blob));
    }

    /// Keeps the content of a file that is in no repository.
    fn hold(&mut self, text: Vec<u8>) -> BlobId {
        let blob = BlobId(ObjectId::new(&Sha256::digest(&text)));
        self.contents.insert(blob, text.into());
        blob
    }

    /// The namespace that the nearest kustomization above `folder` gives, of those that name it. kustomize reads depth
    /// first, so that is the last one that was read. Only the first `until` are looked at.
    fn namespace_above(&self, folder: &str, mut until: usize) -> Option<String> {
        let mut folder = folder;
        loop {
            let above = self.visited[..until].iter();
            let at = above
                .rev()
                .position(|it| it.passed().below.contains(folder))?;
            until -= at + 1;
            let parent = &self.visited[until];
            if parent.passed().namespace.is_some() {
                return parent.passed().namespace.clone();
            }
            folder = &parent.folder;
        }
    }
}

/// The kustomization of what Helm made.
fn of_helm(names: &[String]) -> Value {
    let annotations = json!({
        "apiVersion": "builtin",
        "kind": "AnnotationsTransformer",
        "metadata": {"name": "made-by-helm"},
        "annotations": {MADE_BY_HELM: "true"},
        "fieldSpecs": [{"path": "metadata/annotations", "create": true}],
    });
    json!({
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "resources": names,
        "transformers": [annotations.to_string()],
    })
}

/// A name for each document. A template may make several.
fn unique(made: &[Made]) -> Vec<String> {
    let mut seen = HashMap::<&str, usize>::new();
    let names = made.iter().map(|(template, _)| {
        let count = seen.entry(template).or_default();
        *count += 1;
        match *count {
            1 => template.clone(),
            count => format!("{template} ({count})"),
        }
    });
    names.collect()
}

impl Tree for Inflated {
    fn identity(&self, path: &str) -> Result<TreeId, ReadError> {
        self.tree.identity(path)
    }

    fn known_identity(&self, path: &str) -> Option<TreeId> {
        self.tree.known_identity(path)
    }

    fn list(&self, path: &str) -> Result<Listing, ReadError> {
        self.tree.list(path)
    }

    fn read(&self, blob: BlobId) -> Result<Vec<u8>, ReadError> {
        let known = self.state().contents.get(&blob).cloned();
        known.map_or_else(|| self.tree.read(blob), |text| Ok(text.to_vec()))
    }

    fn entry(&self, path: &str) -> Result<PathEntry, ReadError> {
        if let Some(file) = self.state().made.get(path) {
            return Ok(PathEntry {
                real: path.to_owned(),
                file: *file,
            });
        }
        let entry = self.look(path)?;
        let name = path.rsplit('/').next().unwrap_or_default();
        let file = entry.file.filter(|_| NAMES.contains(&name));
        Ok(match file {
            Some(blob) => PathEntry {
                file: Some(self.kustomization(path, blob)),
                ..entry
            },
            None => self.checked(path, entry),
        })
    }

    fn names(&self, path: &str) -> Result<Vec<Name>, ReadError> {
        self.state().reads.record_names(&*self.tree, path)
    }
}
