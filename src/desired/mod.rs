//! What a revision asks for: a tree and an intent in, objects out. Pure.
//!
//! The driver of a Sync and the command line use the same library. They call [`read`] for what the files
//! say, [`resolve`] for which objects of a cluster that is, and [`Desired::bodies`] for the manifests. No
//! manifest is kept in memory: a [`DesiredObject`] is small, and its body is read again when it is applied.

mod bodies;
mod error;
mod object;
mod resolve;

use std::collections::HashMap;
use std::sync::Arc;

pub use bodies::{Bodies, BodyError};
pub use error::DesiredError;
pub use object::{DesiredObject, Provenance};
pub use resolve::{Item, Misplaced, Resolved, resolve};

use crate::content::{ContentKey, IGNORE_FILE, Listing, ReadError, SourceFile, Tree, TreeId};
use crate::intent::RenderIntent;
use crate::render::{self, Cache, ParsedObject, RenderError, Text};
use object::Origins;

/// What a path asks for: at least one object, each once.
#[derive(Debug)]
pub struct Desired {
    intent: RenderIntent,
    content: Content,
    objects: Vec<DesiredObject>,
    origins: Origins,
}

/// What identifies everything that a render read.
#[derive(Clone, Copy, Debug)]
struct Content {
    key: ContentKey,
    /// The folder's identity, where nothing outside of the folder matters.
    tree: Option<TreeId>,
}

/// What [`read`] found.
#[derive(Debug)]
pub enum Reading {
    /// The same content as before.
    Unchanged,
    /// Another content.
    Changed(Desired),
}

/// Reads what `tree` asks for: all stages but [`resolve`], which needs to know what a cluster serves.
///
/// Blocks while it reads files. Nothing is parsed where the content is that of `before`; only changed
/// files are read and parsed where `cache` knows the others.
///
/// # Errors
/// [`DesiredError`].
pub fn read(
    tree: &dyn Tree,
    intent: &RenderIntent,
    before: Option<&Desired>,
    cache: &mut Cache,
) -> Result<Reading, DesiredError> {
    let before = before.filter(|before| before.intent == *intent);
    if let Some(before) = before
        && before.content.tree.is_some()
        && before.is_in(Some(tree.identity(&intent.path)?))
    {
        return Ok(Reading::Unchanged);
    }
    let listing = complete(tree.list(&intent.path)?)?;
    if before.is_some_and(|before| before.content.key == listing.key) {
        return Ok(Reading::Unchanged);
    }
    let content = Content::of(tree, intent, &listing)?;
    // Select: which files are manifests.
    let files = select(tree, &listing, &intent.path)?;
    // Decrypt: encrypted files become readable here.
    // Render: files become texts of documents. Plain manifests are that already; renderers go here.
    let texts = render::plain(files);
    // Substitute: variables get their values here.
    // Parse: texts become objects.
    let parsed = render::parse(&texts, cache, &tree)?;
    let (objects, origins) = collect(&texts, &parsed, intent);
    check(&objects, &origins, intent)?;
    // Resolve: `resolve` finds out which objects of a cluster these are.
    Ok(Reading::Changed(Desired {
        intent: intent.clone(),
        content,
        objects,
        origins,
    }))
}

impl Desired {
    /// What it was made for.
    #[must_use]
    pub fn intent(&self) -> &RenderIntent {
        &self.intent
    }

    /// The objects, in the order of the files and documents. Never empty.
    #[must_use]
    pub fn objects(&self) -> &[DesiredObject] {
        &self.objects
    }

    /// Where an object comes from, by its index in [`Self::objects`]; none where there is no such object.
    #[must_use]
    pub fn provenance(&self, index: usize) -> Option<Provenance<'_>> {
        let object = self.objects.get(index)?;
        Some(self.origins.provenance(object.origin))
    }

    /// Whether `tree` is known to hold the same content, without blocking. This is so for most Syncs of a
    /// monorepo at most of its commits.
    #[must_use]
    pub fn is_known_in(&self, tree: &dyn Tree, intent: &RenderIntent) -> bool {
        self.intent == *intent && self.is_in(tree.known_identity(&intent.path))
    }

    /// Whether a tree whose folder has this identity holds the same content.
    fn is_in(&self, identity: Option<TreeId>) -> bool {
        self.content.tree.is_some() && self.content.tree == identity
    }
}

impl Content {
    fn of(tree: &dyn Tree, intent: &RenderIntent, listing: &Listing) -> Result<Self, ReadError> {
        let folder = match listing.self_contained {
            true => Some(tree.identity(&intent.path)?),
            false => None,
        };
        Ok(Self {
            key: listing.key,
            tree: folder,
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

/// The manifests of a listing, by the ignore files in it and above it.
fn select(tree: &dyn Tree, listing: &Listing, root: &str) -> Result<Vec<SourceFile>, RenderError> {
    let mut ignores = Vec::new();
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
            ignores.push((folder, text));
        }
    }
    Ok(render::select(&listing.files, root, &ignores))
}

/// The objects of all texts, with the target namespace, and where they come from.
fn collect(
    texts: &[Text],
    parsed: &[Arc<[ParsedObject]>],
    intent: &RenderIntent,
) -> (Vec<DesiredObject>, Origins) {
    let namespace: Option<Arc<str>> = intent.target_namespace.as_deref().map(Arc::from);
    let mut objects = Vec::with_capacity(parsed.iter().map(|objects| objects.len()).sum());
    let mut origins = Origins::default();
    for (text, parsed) in texts.iter().zip(parsed) {
        let place = origins.add(text.id, [text.file.clone()]);
        objects.extend(parsed.iter().map(|object| DesiredObject {
            gvk: object.gvk.clone(),
            namespace: namespace.as_ref().or(object.namespace.as_ref()).cloned(),
            name: object.name.clone(),
            digest: object.digest,
            origin: place.at(object.document, object.item),
        }));
    }
    (objects, origins)
}

/// Refuses no object at all, and the same object twice.
fn check(
    objects: &[DesiredObject],
    origins: &Origins,
    intent: &RenderIntent,
) -> Result<(), DesiredError> {
    if objects.is_empty() {
        return Err(DesiredError::Empty {
            path: intent.path.clone(),
        });
    }
    type Identity<'a> = (&'a str, &'a str, Option<&'a str>, &'a str);
    let mut seen: HashMap<Identity<'_>, &DesiredObject> = HashMap::with_capacity(objects.len());
    for object in objects {
        let identity = (
            &*object.gvk.group,
            &*object.gvk.kind,
            object.namespace.as_deref(),
            &*object.name,
        );
        if let Some(first) = seen.insert(identity, object) {
            let place = |object: &DesiredObject| origins.provenance(object.origin).in_words();
            return Err(DesiredError::Duplicate {
                object: object.key(),
                first: place(first),
                second: place(object),
            });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
