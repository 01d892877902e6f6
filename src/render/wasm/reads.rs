//! What a render looked at: together with its request and its module, the key of what it made.

use std::collections::BTreeMap;
use std::sync::Arc;

use sha2::{Digest as _, Sha256};

use crate::content::{BlobId, Name, Place, ReadError, ReadFault, Tree};

/// All paths that a render asked for, with the answers. What is absent is an answer too: it could appear.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reads {
    places: BTreeMap<Arc<str>, Option<Place>>,
    folders: BTreeMap<Arc<str>, Option<[u8; 32]>>,
}

impl Reads {
    /// Looks up what is at a path. Absent are also a path that leads through a file, or out of the tree.
    pub(super) fn place(
        &mut self,
        tree: &dyn Tree,
        path: &str,
    ) -> Result<Result<Place, ReadFault>, ReadError> {
        let found = usable(tree.place(path))?;
        self.places.insert(path.into(), found.clone().ok());
        Ok(found)
    }

    /// The names in a folder.
    pub(super) fn names(
        &mut self,
        tree: &dyn Tree,
        path: &str,
    ) -> Result<Result<Vec<Name>, ReadFault>, ReadError> {
        let found = usable(tree.names(path))?;
        let digest = found.as_deref().ok().map(digest);
        self.folders.insert(path.into(), digest);
        Ok(found)
    }

    /// How many paths there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.places.len() + self.folders.len()
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
            if usable(tree.place(path))?.ok() != *before {
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
        Err(error) => match error.fault() {
            fault @ (ReadFault::PathNotFound | ReadFault::InvalidPath | ReadFault::Unusable) => {
                Ok(Err(fault))
            }
            ReadFault::TooLarge
            | ReadFault::Damaged
            | ReadFault::Encrypted
            | ReadFault::Unavailable => Err(error),
        },
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
