//! A tree whose encrypted files are readable, and what it knows of them that is secret.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::Value;

use super::Inputs;
use crate::content::{BlobId, Listing, Name, PathEntry, ReadError, ReadFault, Tree, TreeId};
use crate::decrypt;
use crate::manifest;
use crate::text::Secrets;

/// Another tree, with the files that SOPS encrypted in the clear. They are decrypted when they are read,
/// and kept nowhere.
#[derive(Debug)]
pub(super) struct Decrypted {
    tree: Arc<dyn Tree>,
    inputs: Arc<Inputs>,
    /// The names of files, which decide about their form.
    names: Mutex<HashMap<BlobId, String>>,
    /// Those of the inputs, and what was decrypted.
    secrets: Secrets,
}

impl Decrypted {
    pub(super) fn new(tree: Arc<dyn Tree>, inputs: Arc<Inputs>) -> Self {
        Self {
            tree,
            secrets: inputs.secrets.fork(),
            inputs,
            names: Mutex::default(),
        }
    }

    /// Values that no text for users may show. Values that are decrypted later are added.
    pub(super) fn secrets(&self) -> Secrets {
        self.secrets.clone()
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
        // Manifests are read by their id alone. They are YAML or JSON, which SOPS treats alike.
        let name = name.as_deref().unwrap_or("manifest.yaml");
        open(name, self.tree.read(blob)?, &self.inputs, &self.secrets)
    }

    fn entry(&self, path: &str) -> Result<PathEntry, ReadError> {
        let entry = self.tree.entry(path)?;
        if let Some(blob) = entry.file {
            self.names().insert(blob, path.to_owned());
        }
        Ok(entry)
    }

    fn names(&self, path: &str) -> Result<Vec<Name>, ReadError> {
        self.tree.names(path)
    }
}

/// A decrypted file.
fn open(
    name: &str,
    content: Vec<u8>,
    inputs: &Inputs,
    secrets: &Secrets,
) -> Result<Vec<u8>, ReadError> {
    if !decrypt::is_encrypted(&content) {
        return Ok(content);
    }
    // Also where no value of it is found to be one.
    secrets.note_any();
    let opened = match &inputs.stand_ins {
        Some(stand_ins) => {
            let stand_in = |sealed: &str, kind: &str| match kind {
                "bool" => Value::Bool(false),
                "int" | "float" => stand_ins.number("sealed", sealed.as_bytes()).into(),
                _ => stand_ins.of("sealed", sealed.as_bytes()).into(),
            };
            decrypt::replace_sealed(name, &content, &stand_in)
        }
        None => decrypt::decrypt(name, &content, inputs.keys.as_ref())
            .inspect(|opened| note(opened.as_deref().unwrap_or_default(), &content, secrets)),
    };
    match opened {
        Ok(Some(opened)) => Ok(opened),
        Ok(None) => Ok(content),
        Err(error) => Err(ReadError::new(ReadFault::Encrypted, error)),
    }
}

/// Records the values that only the decrypted file shows. A value that the encrypted file shows too is not
/// a secret.
fn note(opened: &[u8], encrypted: &[u8], secrets: &Secrets) {
    let encrypted = String::from_utf8_lossy(encrypted);
    match manifest::documents(opened) {
        Ok(documents) => {
            for document in documents {
                note_value(&document.value, &encrypted, secrets);
            }
        }
        Err(_) => secrets.add_lines(&String::from_utf8_lossy(opened)),
    }
}

fn note_value(value: &Value, encrypted: &str, secrets: &Secrets) {
    match value {
        Value::Object(fields) => {
            let values = fields.values();
            values.for_each(|value| note_value(value, encrypted, secrets));
        }
        Value::Array(items) => {
            let items = items.iter();
            items.for_each(|item| note_value(item, encrypted, secrets));
        }
        Value::String(text) if encrypted.contains(text.as_str()) => (),
        // For YAML, the lines of a file that is not a document are one text.
        Value::String(text) => {
            secrets.add(text);
            secrets.add_lines(text);
        }
        other => secrets.add_all(other),
    }
}
