//! A tree whose encrypted files are readable.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::Inputs;
use crate::content::{BlobId, Listing, Name, Place, ReadError, ReadFault, Tree, TreeId};
use crate::decrypt;

/// Another tree, with the files that SOPS encrypted in the clear. They are decrypted when they are read,
/// and kept nowhere.
#[derive(Debug)]
pub(super) struct Decrypted {
    tree: Arc<dyn Tree>,
    inputs: Arc<Inputs>,
    /// The names of files, which say what form they have.
    names: Mutex<HashMap<BlobId, String>>,
}

impl Decrypted {
    pub(super) fn new(tree: Arc<dyn Tree>, inputs: Arc<Inputs>) -> Self {
        Self {
            tree,
            inputs,
            names: Mutex::default(),
        }
    }

    fn names(&self) -> MutexGuard<'_, HashMap<BlobId, String>> {
        self.names.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Tree for Decrypted {
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
        let name = self.names().get(&blob).cloned();
        // Manifests are read by their id alone; they are YAML or JSON, which is one for SOPS.
        let name = name.as_deref().unwrap_or("manifest.yaml");
        open(name, self.tree.read(blob)?, &self.inputs)
    }

    fn place(&self, path: &str) -> Result<Place, ReadError> {
        let place = self.tree.place(path)?;
        if let Some(blob) = place.file {
            self.names().insert(blob, path.to_owned());
        }
        Ok(place)
    }

    fn names(&self, path: &str) -> Result<Vec<Name>, ReadError> {
        self.tree.names(path)
    }
}

/// A file in the clear.
fn open(name: &str, content: Vec<u8>, inputs: &Inputs) -> Result<Vec<u8>, ReadError> {
    if !decrypt::is_encrypted(&content) {
        return Ok(content);
    }
    match decrypt::decrypt(name, &content, inputs.keys.as_ref()) {
        Ok(Some(opened)) => Ok(opened),
        Ok(None) => Ok(content),
        Err(error) => Err(ReadError::new(ReadFault::Encrypted, error)),
    }
}
