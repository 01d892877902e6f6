//! What a path of a repository means: which files are manifests, which objects they hold.
//!
//! Pure: the caller brings the list of files and a way to read a blob. No body outlives a render; what
//! stays is an [`Entry`] an object, and [`bodies`] reads again what is to be applied.

mod cache;
mod error;
mod select;

use std::collections::HashMap;
use std::sync::Arc;

pub use cache::Cache;
pub use error::{BlobError, BrokenFile, RenderError};
pub use select::select;

use crate::content::{BlobId, SourceFile};
use crate::manifest::{Digest, GroupVersionKind, Manifest, ObjectKey};
use cache::ParsedObject;

/// One object that Git asks for, and where it is written. Small: its texts are shared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its kind, in the version that the manifest asks for.
    pub gvk: GroupVersionKind,
    /// Its namespace: the target namespace, if one was given, otherwise the manifest's. Whether the kind
    /// is namespaced at all is not known here.
    pub namespace: Option<Arc<str>>,
    /// Its name.
    pub name: Arc<str>,
    /// What its manifest says, without the target namespace.
    pub digest: Digest,
    /// The file, from the repository's root.
    pub file: Arc<str>,
    /// The file's content.
    pub blob: BlobId,
    /// The 1-based document in the file.
    pub document: u32,
    /// The 0-based position of the object in the document; above 0 only in a `List`.
    pub item: u32,
}

impl Entry {
    /// What names the object.
    pub fn key(&self) -> ObjectKey {
        ObjectKey {
            kind: self.gvk.group_kind(),
            namespace: self.namespace.clone(),
            name: self.name.clone(),
        }
    }
}

/// What a path asks for: at least one object, each once.
#[derive(Clone, Debug)]
pub struct Rendered {
    entries: Vec<Entry>,
}

impl Rendered {
    /// The objects, in the order of the files and documents. Never empty.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }
}

/// Where and what to render.
#[derive(Clone, Copy, Debug, Default)]
pub struct Settings<'a> {
    /// The path, for messages.
    pub root: &'a str,
    /// The namespace of every object, whatever its manifest says.
    pub target_namespace: Option<&'a str>,
}

/// The objects that `files` hold, as [`select`] chose them. Only blobs that `cache` does not know are
/// read and parsed; what this render did not use leaves the cache.
///
/// # Errors
/// Every broken file up to a bound, the same object twice, no object at all, or `read`'s own error.
pub fn render<E>(
    files: &[SourceFile],
    settings: Settings<'_>,
    cache: &mut Cache,
    mut read: impl FnMut(&SourceFile) -> Result<Vec<u8>, E>,
) -> Result<Rendered, RenderError<E>> {
    cache.begin();
    let mut entries = Vec::new();
    let mut broken = error::Broken::default();
    let namespace: Option<Arc<str>> = settings.target_namespace.map(Arc::from);
    for file in files {
        let parsed = cache
            .get_or_parse(file.blob, || read(file))
            .map_err(|source| RenderError::Read {
                file: file.path.clone(),
                source,
            })?;
        match parsed {
            Ok(objects) => entries.extend(
                objects
                    .iter()
                    .map(|object| entry(file, object, namespace.as_ref())),
            ),
            Err(source) => broken.push(file, source),
        }
    }
    if let Some(error) = broken.into_error() {
        return Err(error);
    }
    cache.end();
    if entries.is_empty() {
        return Err(RenderError::Empty {
            path: settings.root.to_owned(),
        });
    }
    check_duplicates(&entries)?;
    Ok(Rendered { entries })
}

fn entry(file: &SourceFile, object: &ParsedObject, namespace: Option<&Arc<str>>) -> Entry {
    Entry {
        gvk: object.gvk.clone(),
        namespace: namespace.or(object.namespace.as_ref()).cloned(),
        name: object.name.clone(),
        digest: object.digest,
        file: file.path.clone(),
        blob: file.blob,
        document: object.document,
        item: object.item,
    }
}

fn check_duplicates<E>(entries: &[Entry]) -> Result<(), RenderError<E>> {
    type Identity<'a> = (&'a str, &'a str, Option<&'a str>, &'a str);
    let mut seen: HashMap<Identity<'_>, &Entry> = HashMap::with_capacity(entries.len());
    for entry in entries {
        let identity = (
            &*entry.gvk.group,
            &*entry.gvk.kind,
            entry.namespace.as_deref(),
            &*entry.name,
        );
        if let Some(first) = seen.insert(identity, entry) {
            return Err(RenderError::Duplicate {
                object: entry.key(),
                first: (first.file.clone(), first.document),
                second: (entry.file.clone(), entry.document),
            });
        }
    }
    Ok(())
}

/// The objects of one blob at `wanted` (document, item), in the order asked for, to apply them.
///
/// # Errors
/// What [`render`] says of the file; also a place that holds no object, which happens only if `text` is
/// not the blob that was rendered.
pub fn bodies(text: &[u8], wanted: &[(u32, u32)]) -> Result<Vec<Manifest>, BlobError> {
    let mut places: HashMap<(u32, u32), Option<Manifest>> =
        wanted.iter().map(|place| (*place, None)).collect();
    cache::each_object(text, |document, item, manifest| {
        if let Some(place) = places.get_mut(&(document, item)) {
            *place = Some(manifest);
        }
    })?;
    let mut take = |place: &(u32, u32)| {
        let missing = BlobError::NoSuchObject {
            document: place.0,
            item: place.1,
        };
        places.get_mut(place).and_then(Option::take).ok_or(missing)
    };
    wanted.iter().map(&mut take).collect()
}

#[cfg(test)]
mod tests;
