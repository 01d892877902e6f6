//! The desired objects of a revision: a tree and an intent in, objects out. Pure.
//!
//! The driver of a Sync and the command line use the same library. They call [`read`] for what the files
//! say, [`resolve`] for which objects of a cluster that is, and [`Desired::each_body`] for the manifests. No
//! manifest is kept in memory: a [`DesiredObject`] is small, and its body is read again when it is applied.

mod bodies;
mod collect;
mod decrypted;
mod error;
mod form;
mod gather;
mod hooks;
mod inputs;
mod object;
mod record;
mod release;
mod rendered;
mod resolve;
mod stand_in;

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

pub use bodies::BodyError;
pub use error::DesiredError;
pub use gather::{InputData, InputsError, MOST_INPUT};
pub use hooks::{DeletePolicy, Hook, HookObject, Moment};
pub use inputs::Inputs;
pub use object::{DesiredObject, Provenance};
pub use record::{ReleaseBody, ReleaseBodyError};
pub use release::{Release, ReleaseNumber, Releases};
pub use resolve::{Item, Limit, Misplaced, Resolved, misplaced, resolve};
pub use stand_in::StandIns;

use crate::content::{BlobId, ContentKey, Joined, ReadError, Tree, TreeId};
use crate::intent::RenderIntent;
use crate::manifest::{FieldPath, ScaleTarget};
use crate::render::wasm::{Finding, Lookup, Private, Renderers, Sought};
use crate::render::{self, Bases, Cache, Changes, RemoteBase, TextId, Texts};
use crate::text::Secrets;
use collect::{check, collect, scaled, unset};
use decrypted::Decrypted;
use form::{Form, Selected};
use hooks::Hooks;
use object::Origins;
use rendered::{Means, Rendered};

/// The desired objects of a path: at least one object, each once.
#[derive(Debug)]
pub struct Desired {
    intent: RenderIntent,
    inputs: Arc<Inputs>,
    content: Content,
    /// The last folder that was found to hold this content.
    folder: Mutex<FolderIdentity>,
    rendered: Rendered,
    objects: Vec<DesiredObject>,
    origins: Origins,
    scaled: Vec<(usize, ScaleTarget)>,
    /// The variables without a value that leave objects without a namespace.
    unset: HashMap<usize, Box<str>>,
    secrets: Secrets,
    hooks: Hooks,
    /// Of a chart.
    release: Option<Release>,
}

/// What identifies everything that was read of the tree, but for what renderers looked at.
#[derive(Clone, Copy, Debug)]
struct Content {
    form: Form,
    /// Of a path of manifests: those that no ignore file leaves out.
    key: Option<ContentKey>,
    /// The folder, as it was when it was read.
    folder: FolderIdentity,
}

/// The identities of a folder with all of its files. The same folder is the same content; another one may be, as far as
/// only files differ that nobody uses.
#[derive(Clone, Copy, Debug, Default)]
struct FolderIdentity {
    /// Of a path of manifests.
    listing: Option<ContentKey>,
    /// The folder's identity, if nothing outside of the folder matters.
    tree: Option<TreeId>,
}

/// What [`read`] found.
#[derive(Debug)]
pub enum Reading {
    /// The same content as before.
    Unchanged,
    /// New content.
    Changed(Box<Desired>),
}

/// The inputs of a read.
#[derive(Clone, Debug)]
pub struct Task {
    /// The files.
    pub tree: Arc<dyn Tree>,
    /// The files of the source that the intent names for the chart.
    pub chart: Option<Arc<dyn Tree>>,
    /// The remote bases that are fetched. Those that kustomizations do not name are left alone.
    pub bases: BTreeMap<RemoteBase, Arc<dyn Tree>>,
    /// The intent.
    pub intent: RenderIntent,
    /// The inputs from the cluster.
    pub inputs: Arc<Inputs>,
    /// kustomize and Helm.
    pub renderers: Renderers,
    /// Who asks: the namespace of the Sync. Renders of several tenants take turns.
    pub tenant: Arc<str>,
    /// Which release of a chart it may be.
    pub releases: Releases,
    /// Answers `lookup` of charts; without it nothing is looked for.
    pub lookup: Option<Arc<dyn Lookup>>,
    /// The Sync, where its outputs may be kept on disk as far as nothing of them is secret.
    pub kept_for: Option<Arc<str>>,
}

/// Reads what a tree asks for: all stages but [`resolve`], which needs to know what a cluster serves.
///
/// Blocks while it reads files and renders. Nothing is rendered or parsed where the content is that of
/// `before`; only changed files are read and parsed where `cache` knows the others.
///
/// # Errors
/// [`DesiredError`].
pub fn read(
    task: &Task,
    before: Option<&Desired>,
    cache: &mut Cache,
) -> Result<Reading, DesiredError> {
    let Task { intent, inputs, .. } = task;
    let tree = task.whole_tree()?;
    let before = before.filter(|before| before.is_for(intent, inputs));
    if let Some(before) = before
        && before.folder().tree.is_some()
        && before.is_in(Some(tree.identity(&intent.path)?))
        && before.rendered.holds_in(&*tree)?
    {
        task.note_folders(before);
        return Ok(Reading::Unchanged);
    }
    // Select: find the content of the path, and the manifests.
    let (content, selected) = select(&*tree, intent, before)?;
    if let Some(before) = before
        && before.content.is_same(&content)
        && before.rendered.holds_in(&*tree)?
    {
        *before.folder() = content.folder;
        task.note_folders(before);
        return Ok(Reading::Unchanged);
    }
    // Decrypt: from here on, encrypted files are read decrypted.
    let decrypted = Decrypted::new(tree, inputs.clone());
    let secrets = decrypted.secrets();
    let made = make(task, &Arc::new(decrypted), content, selected, cache);
    // Errors of all stages are cleaned here of values of Secrets and encrypted files.
    let desired = made.map_err(|error| error.without(&secrets))?;
    task.note_folders(&desired);
    Ok(Reading::Changed(Box::new(desired)))
}

/// All stages after decryption. A chart whose content is new is a new release, which its templates may show.
fn make(
    task: &Task,
    tree: &Arc<Decrypted>,
    content: Content,
    selected: Selected,
    cache: &mut Cache,
) -> Result<Desired, DesiredError> {
    let guess = task.releases.first_guess();
    let mut desired = make_as(guess, task, tree, content, selected, cache)?;
    let Some(release) = &mut desired.release else {
        return Ok(desired);
    };
    release.number = task.releases.number_of(&release.content);
    let number = release.number;
    if number != guess && desired.rendered.shows_number() {
        return make_as(number, task, tree, content, Selected::default(), cache);
    }
    Ok(desired)
}

fn make_as(
    number: ReleaseNumber,
    task: &Task,
    tree: &Arc<Decrypted>,
    content: Content,
    mut selected: Selected,
    cache: &mut Cache,
) -> Result<Desired, DesiredError> {
    let Task { intent, inputs, .. } = task;
    let secrets = tree.secrets();
    let tree: Arc<dyn Tree> = tree.clone();
    let private = Private {
        identity: inputs.identity(),
        secrets: &secrets,
        tenant: &task.tenant,
        lookup: task.lookup.as_ref(),
        // Values of a chart may come from Secrets, or be made of them.
        kept_for: task
            .kept_for
            .as_ref()
            .filter(|_| inputs.values.is_empty() && inputs.stand_ins.is_none()),
    };
    // Render: folders become texts of documents. Plain manifests are that already.
    let bases = task.usable_bases();
    let means = Means {
        renderers: &task.renderers,
        private,
        bases: &bases,
        number,
    };
    let form = content.form;
    let (rendered, mut texts) =
        rendered::render(&tree, intent, inputs, form, &mut selected, &means)?;
    texts.extend(render::plain(selected.files));
    // Substitute and parse: texts become objects, with variables replaced.
    let source = Source {
        tree: &*tree,
        rendered: &rendered,
    };
    let changes = changes(intent, inputs);
    cache.keep_for(&changes, inputs.identity(), &rendered.found());
    let parsed = render::parse(&texts, cache, &source, &changes)?;
    let (objects, origins) = collect(&texts, &parsed, &rendered, intent, content.form);
    let scaled = scaled(&texts, &parsed, cache);
    let unset = unset(&texts, &parsed, cache);
    let (hooks, release) = match rendered.chart().filter(|_| content.form == Form::Chart) {
        Some(output) => {
            let hooks = Hooks::of(output, &changes, intent.helm.tests)?;
            let content = release::content(&objects, &hooks.all, &output.lookups);
            (hooks, Some(Release { number, content }))
        }
        None => Default::default(),
    };
    // A chart may consist of hooks.
    if objects.is_empty() && hooks.all.is_empty() {
        return Err(nothing(&tree, intent, inputs, content.form));
    }
    check(&objects, &origins)?;
    // Resolve: `resolve` matches them with objects of a cluster.
    Ok(Desired {
        intent: intent.clone(),
        inputs: inputs.clone(),
        content,
        folder: Mutex::new(content.folder),
        rendered,
        objects,
        origins,
        scaled,
        unset,
        secrets,
        hooks,
        release,
    })
}

/// No object came out.
fn nothing(
    tree: &Arc<dyn Tree>,
    intent: &RenderIntent,
    inputs: &Inputs,
    form: Form,
) -> DesiredError {
    let path = intent.path.clone();
    match form {
        Form::Manifests => DesiredError::Empty { path },
        Form::Kustomization => DesiredError::EmptyKustomization { path },
        Form::Own => DesiredError::EmptyOwn {
            path,
            name: intent
                .renderer
                .as_ref()
                .map(|own| own.name.clone())
                .unwrap_or_default(),
        },
        Form::Chart => DesiredError::EmptyChart {
            folder: rendered::chart_folder(tree, intent).unwrap_or(path),
            values: rendered::names_of_values(intent, inputs).join(", "),
        },
    }
}

impl Task {
    /// All files: those of the source, and beside them, in folders of their own, those of the source of the chart and of
    /// remote bases.
    fn whole_tree(&self) -> Result<Arc<dyn Tree>, DesiredError> {
        whole_tree(&self.tree, self.chart.as_ref(), &self.bases, &self.intent)
    }

    /// Takes note of the folders that renderers did not leave, where all of them are the source's own: those of other sources
    /// have another revision.
    fn note_folders(&self, desired: &Desired) {
        if self.chart.is_none() && desired.bases().next().is_none() {
            desired
                .rendered
                .note_folders(&*self.tree, &self.intent.path);
        }
    }

    /// What kustomizations may name by URL.
    fn usable_bases(&self) -> Bases {
        match self.intent.remote_bases {
            true => Bases {
                allowed: true,
                fetched: self.bases.keys().cloned().collect(),
            },
            false => Bases::default(),
        }
    }
}

fn whole_tree(
    tree: &Arc<dyn Tree>,
    chart: Option<&Arc<dyn Tree>>,
    bases: &BTreeMap<RemoteBase, Arc<dyn Tree>>,
    intent: &RenderIntent,
) -> Result<Arc<dyn Tree>, DesiredError> {
    let chart = match (&intent.helm.chart, chart) {
        (None, _) => None,
        (Some(chart), Some(files)) => Some((rendered::mount(&chart.source), Arc::clone(files))),
        (Some(chart), None) => return Err(DesiredError::NoChart(chart.source.clone())),
    };
    let bases = bases.iter().filter(|_| intent.remote_bases);
    let bases = bases.map(|(base, files)| (base.folder(), Arc::clone(files)));
    let others: Vec<_> = chart.into_iter().chain(bases).collect();
    let tree = Arc::clone(tree);
    Ok(match others.is_empty() {
        true => tree,
        false => Arc::new(Joined::new(tree, others)),
    })
}

impl Desired {
    /// Values of Secrets and of encrypted files, which no text for users may show.
    #[must_use]
    pub fn secrets(&self) -> &Secrets {
        &self.secrets
    }

    /// The intent.
    #[must_use]
    pub fn intent(&self) -> &RenderIntent {
        &self.intent
    }

    /// The inputs from the cluster.
    #[must_use]
    pub fn inputs(&self) -> &Inputs {
        &self.inputs
    }

    /// The objects, in the order of the files and documents. Never empty.
    #[must_use]
    pub fn objects(&self) -> &[DesiredObject] {
        &self.objects
    }

    /// Warnings of renderers that succeeded.
    pub fn warnings(&self) -> impl Iterator<Item = &str> {
        let notes = self.hooks.notes.iter().map(String::as_str);
        self.rendered.warnings().chain(notes)
    }

    /// The remote bases that kustomizations name.
    pub fn bases(&self) -> impl Iterator<Item = &RemoteBase> {
        self.rendered.bases()
    }

    /// What charts asked the cluster for, and what they found. Only the kinds that they may ask for.
    pub fn lookups(&self) -> impl Iterator<Item = &(Sought, Finding)> {
        self.rendered.lookups()
    }

    /// The hooks of a chart.
    #[must_use]
    pub fn hooks(&self) -> &[Hook] {
        &self.hooks.all
    }

    /// Which release of a chart it is; none for what is no chart.
    #[must_use]
    pub fn release(&self) -> Option<&Release> {
        self.release.as_ref()
    }

    /// Where an object comes from, by its index in [`Self::objects`]; none where there is no such object.
    #[must_use]
    pub fn provenance(&self, index: usize) -> Option<Provenance<'_>> {
        let object = self.objects.get(index)?;
        Some(self.origins.provenance(object.origin))
    }

    /// Which values of an object, by its index in [`Self::objects`], are made once and then kept from the live
    /// object. None for most.
    #[must_use]
    pub fn generated(&self, index: usize) -> &[FieldPath] {
        let Some(object) = self.objects.get(index) else {
            return &[];
        };
        let (document, item) = object.origin.place();
        match self.origins.text(object.origin) {
            Some(text) => self.rendered.generated(text, document, item),
            None => &[],
        }
    }

    /// What autoscalers scale. Each with the autoscaler's index in [`Self::objects`].
    #[must_use]
    pub fn scaled(&self) -> &[(usize, ScaleTarget)] {
        &self.scaled
    }

    /// The variable without a value that leaves an object, by its index in [`Self::objects`], without a namespace.
    fn unset_namespace(&self, index: usize) -> Option<&str> {
        self.unset.get(&index).map(|variable| &**variable)
    }

    /// What a chart tells its users (`NOTES.txt`), where it is short.
    #[must_use]
    pub fn notes(&self) -> Option<&str> {
        self.rendered.notes()
    }

    /// Whether `tree` is known to hold the same content, without blocking. This is so for most Syncs of a
    /// monorepo at most of its commits.
    #[must_use]
    pub fn is_known_in(&self, tree: &dyn Tree, intent: &RenderIntent, inputs: &Inputs) -> bool {
        // What hooks of a chart are due is asked of each revision.
        self.is_for(intent, inputs)
            && self.hooks.all.is_empty()
            && match self.content.form {
                Form::Manifests => {
                    self.is_in(tree.known_identity(&intent.path))
                        && (self.rendered.is_empty() || self.rendered.is_known_in(tree))
                }
                Form::Kustomization | Form::Chart | Form::Own => self.rendered.is_known_in(tree),
            }
    }

    /// Whether it was made for this intent and these inputs.
    #[must_use]
    pub fn is_for(&self, intent: &RenderIntent, inputs: &Inputs) -> bool {
        self.intent == *intent && *self.inputs == *inputs
    }

    /// Whether a tree whose folder has this identity holds the same manifests.
    fn is_in(&self, identity: Option<TreeId>) -> bool {
        let folder = self.folder().tree;
        folder.is_some() && folder == identity
    }

    fn folder(&self) -> MutexGuard<'_, FolderIdentity> {
        self.folder.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Content {
    fn is_same(&self, other: &Self) -> bool {
        self.form == other.form && self.key == other.key
    }
}

/// What is at the path of an intent. What renderers read is not listed: they say themselves what it was. Nothing is
/// selected where the listing is that of `before`.
fn select(
    tree: &dyn Tree,
    intent: &RenderIntent,
    before: Option<&Desired>,
) -> Result<(Content, Selected), DesiredError> {
    let form = Form::of(tree, intent)?;
    let rendered = |form| Content {
        form,
        key: None,
        folder: FolderIdentity::default(),
    };
    let listing = match form {
        Form::Manifests => form::complete(tree.list(&intent.path)?)?,
        Form::Kustomization | Form::Chart | Form::Own => {
            return Ok((rendered(form), Selected::default()));
        }
    };
    let folder = FolderIdentity {
        listing: Some(listing.key),
        tree: match listing.self_contained {
            true => Some(tree.identity(&intent.path)?),
            false => None,
        },
    };
    let same = before.filter(|before| {
        before.content.form == form && before.folder().listing == Some(listing.key)
    });
    let (key, selected) = match same {
        Some(before) if before.rendered.holds_in(tree)? => {
            (before.content.key, Selected::default())
        }
        _ => {
            let selected = Selected::of(tree, &listing, intent)?;
            (selected.key, selected)
        }
    };
    Ok((Content { form, key, folder }, selected))
}

/// The changes of each object after rendering.
fn changes<'i>(intent: &'i RenderIntent, inputs: &'i Inputs) -> Changes<'i> {
    Changes {
        variables: inputs.variables.as_ref(),
        labels: &intent.labels,
        annotations: &intent.annotations,
    }
}

/// The source of texts: rendered texts are kept, and all others are in the tree.
struct Source<'a> {
    tree: &'a dyn Tree,
    rendered: &'a Rendered,
}

impl Texts for Source<'_> {
    fn text(&self, id: TextId) -> Result<Vec<u8>, ReadError> {
        match self.rendered.text(id) {
            Some(text) => Ok(text),
            None => self.tree.read(BlobId(id.0)),
        }
    }

    fn is_rendered(&self, id: TextId) -> bool {
        self.rendered.wrote(id)
    }

    fn generated(&self, id: TextId, document: u32, item: u32) -> &[FieldPath] {
        self.rendered.generated(id, document, item)
    }
}

#[cfg(test)]
mod tests;
