//! What a render looked at: together with its request and its module, the key of what it made.

mod folders;

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::content::{BlobId, Name, PathEntry, ReadError, ReadFault, Tree};

/// All paths that a render asked for, with the answers. What is absent is an answer too: it could appear.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Written", into = "Written")]
pub struct Reads {
    places: BTreeMap<Arc<str>, Option<PathEntry>>,
    folders: BTreeMap<Arc<str>, Option<[u8; 32]>>,
    /// The bytes of all paths. A path repeats the names of its folders, which may be long.
    bytes: usize,
}

/// [`Reads`] as they are written to disk.
#[derive(Serialize, Deserialize)]
struct Written {
    places: Vec<(String, Option<PathEntry>)>,
    folders: Vec<(String, Option<[u8; 32]>)>,
}

impl From<Reads> for Written {
    fn from(reads: Reads) -> Self {
        let places = reads.places.into_iter();
        let folders = reads.folders.into_iter();
        Self {
            places: places
                .map(|(path, place)| (path.to_string(), place))
                .collect(),
            folders: folders
                .map(|(path, names)| (path.to_string(), names))
                .collect(),
        }
    }
}

impl From<Written> for Reads {
    fn from(written: Written) -> Self {
        let mut reads = Self::default();
        for (path, place) in written.places {
            reads.keep_place(path.into(), place);
        }
        for (path, names) in written.folders {
            reads.keep_folder(path.into(), names);
        }
        reads
    }
}

impl Reads {
    /// Looks up what is at a path. Absent are also a path that leads through a file, or out of the tree.
    pub(super) fn entry(
        &mut self,
        tree: &dyn Tree,
        path: &str,
    ) -> Result<Result<PathEntry, ReadFault>, ReadError> {
        usable(self.record(tree, path))
    }

    /// What is at a path, in the tree's own words.
    pub(super) fn record(&mut self, tree: &dyn Tree, path: &str) -> Result<PathEntry, ReadError> {
        let found = tree.entry(path);
        if let Some(answer) = answer(&found) {
            self.keep_place(path.into(), answer.cloned());
        }
        found
    }

    fn keep_place(&mut self, path: Arc<str>, place: Option<PathEntry>) {
        let bytes = path.len() + place.as_ref().map_or(0, |place| place.real.len());
        if self.places.insert(path, place).is_none() {
            self.bytes += bytes;
        }
    }

    fn keep_folder(&mut self, path: Arc<str>, names: Option<[u8; 32]>) {
        let bytes = path.len();
        if self.folders.insert(path, names).is_none() {
            self.bytes += bytes;
        }
    }

    /// The names in a folder.
    pub(super) fn names(
        &mut self,
        tree: &dyn Tree,
        path: &str,
    ) -> Result<Result<Vec<Name>, ReadFault>, ReadError> {
        usable(self.record_names(tree, path))
    }

    /// The names in a folder, in the tree's own words.
    pub(super) fn record_names(
        &mut self,
        tree: &dyn Tree,
        path: &str,
    ) -> Result<Vec<Name>, ReadError> {
        let found = tree.names(path);
        if let Some(answer) = answer(&found) {
            let digest = answer.map(|names| digest(names));
            self.keep_folder(path.into(), digest);
        }
        found
    }

    /// Adds what another render looked at in the same tree.
    pub fn extend(&mut self, other: &Self) {
        for (path, place) in &other.places {
            self.keep_place(Arc::clone(path), place.clone());
        }
        for (path, names) in &other.folders {
            self.keep_folder(Arc::clone(path), *names);
        }
    }

    /// How many paths there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.places.len() + self.folders.len()
    }

    /// The bytes of all paths.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether nothing was looked at.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The files that were found, by the path that was asked for.
    pub fn files(&self) -> impl Iterator<Item = (&str, BlobId)> {
        let places = self.places.iter();
        places.filter_map(|(path, place)| Some((&**path, place.as_ref()?.file?)))
    }

    /// Whether `tree` gives the same answers, so that the same request renders to the same documents.
    ///
    /// # Errors
    /// Where the tree cannot be read.
    pub fn unchanged_in(&self, tree: &dyn Tree) -> Result<bool, ReadError> {
        for (path, before) in &self.places {
            if usable(tree.entry(path))?.ok() != *before {
                return Ok(false);
            }
        }
        for (path, before) in &self.folders {
            if usable(tree.names(path))?.as_deref().ok().map(digest) != *before {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// The key of a render: equal keys are equal documents, whatever the revision and the path.
    #[must_use]
    pub fn key(&self, module: &[u8; 32], request: &[u8]) -> [u8; 32] {
        let mut hash = Sha256::new();
        let mut add = |bytes: &[u8]| {
            hash.update((bytes.len() as u64).to_le_bytes());
            hash.update(bytes);
        };
        add(module);
        add(request);
        for (path, place) in &self.places {
            add(path.as_bytes());
            match place {
                None => add(b"absent"),
                Some(place) => {
                    add(place.real.as_bytes());
                    add(place.file.as_ref().map_or(b"folder", id));
                }
            }
        }
        for (path, names) in &self.folders {
            add(path.as_bytes());
            add(names.as_ref().map_or(b"absent", |digest| digest));
        }
        hash.finalize().into()
    }
}

fn id(blob: &BlobId) -> &[u8] {
    blob.0.as_bytes()
}

/// Answers that are about the path itself are answers; other faults end the render.
fn usable<T>(answer: Result<T, ReadError>) -> Result<Result<T, ReadFault>, ReadError> {
    match answer {
        Ok(answer) => Ok(Ok(answer)),
        Err(error) if is_answer(&error) => Ok(Err(error.fault())),
        Err(error) => Err(error),
    }
}

/// An answer, as [`usable`]: what was found, and none for what is absent.
fn answer<T>(found: &Result<T, ReadError>) -> Option<Option<&T>> {
    match found {
        Ok(found) => Some(Some(found)),
        Err(error) => is_answer(error).then_some(None),
    }
}

fn is_answer(error: &ReadError) -> bool {
    match error.fault() {
        ReadFault::PathNotFound | ReadFault::InvalidPath | ReadFault::Unusable => true,
        ReadFault::TooLarge
        | ReadFault::Damaged
        | ReadFault::Encrypted
        | ReadFault::Unavailable => false,
    }
}

fn digest(names: &[Name]) -> [u8; 32] {
    let mut hash = Sha256::new();
    for name in names {
        hash.update(name.name.as_bytes());
        hash.update(if name.is_folder { b"/\0" } else { b"-\0" });
    }
    hash.finalize().into()
}
