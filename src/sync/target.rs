//! The desired state of one Sync: a revision, rendered and resolved to objects of the cluster.

use std::collections::HashMap;
use std::sync::Arc;

use crate::api::{Reason, SyncSettings};
use crate::cluster::Kinds;
use crate::content::{ContentKey, IGNORE_FILE, TreeId};
use crate::controller::sources::Seen;
use crate::manifest::{Digest, GroupKind, ObjectKey, redact};
use crate::plan::SyncName;
use crate::render::{self, Entry, RenderError, Rendered};
use crate::source::{self, Snapshot};

/// Why a revision cannot become the target.
#[derive(Debug, thiserror::Error)]
pub(super) enum TargetError {
    /// The path cannot be read from the repository.
    #[error(transparent)]
    Source(#[from] source::Error),
    /// The manifests cannot be understood.
    #[error(transparent)]
    Render(#[from] RenderError<source::Error>),
    /// Part of the path is in another repository.
    #[error(
        "{0} is a submodule, which is not fetched: set spec.recurseSubmodules of the GitRepository \
         (and have .gitmodules name it), or keep manifests in the repository itself"
    )]
    Submodule(String),
    /// The task that reads them died.
    #[error("reading the repository was interrupted")]
    Interrupted,
}

impl TargetError {
    /// The condition's reason.
    pub(super) fn reason(&self) -> Reason {
        match self {
            Self::Source(error) | Self::Render(RenderError::Read { source: error, .. }) => {
                error.reason()
            }
            Self::Render(RenderError::Empty { .. }) => Reason::EmptyRender,
            Self::Render(_) | Self::Submodule(_) => Reason::InvalidManifest,
            Self::Interrupted => Reason::Progressing,
        }
    }

    /// Whether only a person can help.
    pub(super) fn is_lasting(&self) -> bool {
        match self {
            Self::Source(error) | Self::Render(RenderError::Read { source: error, .. }) => {
                !error.is_damage()
            }
            Self::Render(_) | Self::Submodule(_) => true,
            Self::Interrupted => false,
        }
    }
}

/// What the content of a target depends on, beside the commit.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Scope {
    pub(super) path: String,
    pub(super) namespace: Option<String>,
}

impl Scope {
    pub(super) fn of(settings: &SyncSettings) -> Self {
        Self {
            path: settings.path.clone(),
            namespace: settings.target_namespace.clone(),
        }
    }
}

/// What identifies all that a render sees.
#[derive(Clone, Copy)]
struct Content {
    key: ContentKey,
    /// The folder's tree, where nothing outside of it matters.
    tree: Option<TreeId>,
}

/// A revision, rendered.
pub(super) struct Target {
    pub(super) seen: Seen,
    pub(super) revision: String,
    pub(super) scope: Scope,
    content: Content,
    pub(super) rendered: Rendered,
}

impl Target {
    /// Whether a revision is known to have this very content: so it is for most Syncs of a monorepo, at
    /// most of its commits, and no thread is needed to know.
    pub(super) fn is_still(&self, seen: &Seen, scope: &Scope) -> bool {
        let tree = self.content.tree.filter(|_| self.scope == *scope);
        tree.is_some() && seen.snapshot.known_tree_id(&scope.path) == tree
    }
}

/// What became of a new revision.
pub(super) enum Loaded {
    /// Its content is that of the target before.
    Same,
    /// It is another content.
    New(Box<Target>),
}

/// Reads and renders `scope` of a snapshot, off the runtime's threads. Same content as `before`: nothing
/// is parsed.
pub(super) async fn load(
    seen: &Seen,
    scope: &Scope,
    before: Option<&Target>,
    cache: &mut render::Cache,
) -> Result<Loaded, TargetError> {
    let known = before
        .filter(|before| before.scope == *scope)
        .map(|before| before.content);
    let (snapshot, wanted) = (seen.snapshot.clone(), scope.clone());
    let mut taken = std::mem::take(cache);
    let work = tokio::task::spawn_blocking(move || {
        let loaded = read(&snapshot, &wanted, known.as_ref(), &mut taken);
        (loaded, taken)
    });
    let Ok((loaded, taken)) = work.await else {
        return Err(TargetError::Interrupted);
    };
    *cache = taken;
    Ok(match loaded? {
        None => Loaded::Same,
        Some((content, rendered)) => Loaded::New(Box::new(Target {
            seen: seen.clone(),
            revision: seen.snapshot.revision.to_string(),
            scope: scope.clone(),
            content,
            rendered,
        })),
    })
}

fn read(
    snapshot: &Arc<Snapshot>,
    scope: &Scope,
    known: Option<&Content>,
    cache: &mut render::Cache,
) -> Result<Option<(Content, Rendered)>, TargetError> {
    // The folder's tree id alone says whether anything in it moved, unless a link leads out of it.
    if let Some(tree) = known.and_then(|known| known.tree)
        && snapshot.tree_id(&scope.path)? == tree
    {
        return Ok(None);
    }
    let listing = snapshot.listing(&scope.path)?;
    if let Some(submodule) = listing.submodules.first() {
        return Err(TargetError::Submodule(submodule.clone()));
    }
    if known.is_some_and(|known| known.key == listing.key) {
        return Ok(None);
    }
    let mut ignores = Vec::new();
    for file in listing.above.iter().chain(&listing.files) {
        if let Some(folder) = file.path.strip_suffix(IGNORE_FILE)
            && (folder.is_empty() || folder.ends_with('/'))
        {
            let folder = folder.trim_end_matches('/').to_owned();
            ignores.push((folder, snapshot.read(file)?));
        }
    }
    let files = render::select(&listing.files, &scope.path, &ignores);
    let settings = render::Settings {
        root: &scope.path,
        target_namespace: scope.namespace.as_deref(),
    };
    let rendered = render::render(&files, settings, cache, |file| snapshot.read(file))?;
    let content = Content {
        key: listing.key,
        tree: match listing.self_contained {
            true => Some(snapshot.tree_id(&scope.path)?),
            false => None,
        },
    };
    Ok(Some((content, rendered)))
}

/// A desired object of the cluster.
#[derive(Clone)]
pub(super) struct Item {
    pub(super) key: ObjectKey,
    pub(super) digest: Digest,
    /// Its place in the rendered entries.
    pub(super) entry: usize,
}

/// The target's entries as objects of the cluster.
#[derive(Default)]
pub(super) struct Objects {
    /// What can be applied.
    pub(super) items: HashMap<ObjectKey, Item>,
    /// Entries of kinds that are not served, by kind.
    pub(super) waiting: HashMap<GroupKind, Vec<usize>>,
    /// Entries that cannot be placed, and why.
    pub(super) misplaced: Vec<(usize, String)>,
    /// Objects that another Sync has.
    pub(super) taken: Vec<(ObjectKey, usize, SyncName)>,
}

impl Objects {
    /// Finds out for every entry which object it is. `within`: the only namespace that may be
    /// managed, if there is one.
    pub(super) fn resolve(target: &Target, kinds: &Kinds, within: Option<&str>) -> Self {
        let mut objects = Self::default();
        for (index, entry) in target.rendered.entries().iter().enumerate() {
            let kind = entry.gvk.group_kind();
            let Some(served) = kinds.get(&entry.gvk) else {
                objects.waiting.entry(kind).or_default().push(index);
                continue;
            };
            let namespace = match (served.namespaced, entry.namespace.clone()) {
                (false, _) => None,
                (true, Some(namespace)) => Some(namespace),
                (true, None) => {
                    objects.misplaced.push((
                        index,
                        "it has no namespace: set metadata.namespace, or the Sync's targetNamespace"
                            .to_owned(),
                    ));
                    continue;
                }
            };
            // What is outside would be applied and never watched.
            if let Some(within) = within
                && namespace.as_deref() != Some(within)
            {
                objects.misplaced.push((
                    index,
                    format!("this towline manages only objects of namespace {within}"),
                ));
                continue;
            }
            let key = ObjectKey {
                kind,
                namespace,
                name: entry.name.clone(),
            };
            let digest = entry.digest;
            let item = Item {
                key: key.clone(),
                digest,
                entry: index,
            };
            if let Some(twin) = objects.items.insert(key, item) {
                // Only after resolving are they the same: two versions of a kind, say.
                let other = place(&target.rendered.entries()[twin.entry]);
                objects
                    .misplaced
                    .push((index, format!("the same object is in {other} as well")));
            }
        }
        objects
    }

    /// The kinds of what can be applied.
    pub(super) fn kinds(&self) -> std::collections::HashSet<GroupKind> {
        self.items.keys().map(|key| key.kind.clone()).collect()
    }
}

/// Where an entry stands, for people.
pub(super) fn place(entry: &Entry) -> String {
    format!("{} (document {})", entry.file, entry.document)
}

/// An object's name for people, before it is resolved.
pub(super) fn title(entry: &Entry) -> String {
    let kind = entry.gvk.group_kind();
    match &entry.namespace {
        Some(namespace) => format!("{kind} {namespace}/{}", entry.name),
        None => format!("{kind} {}", entry.name),
    }
}

/// A target error with its causes, for people.
pub(super) fn explain(error: &TargetError) -> String {
    redact::text(&crate::chain(error))
}
