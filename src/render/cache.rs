//! What blobs hold, so that only a changed blob is read and parsed again.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use serde_json::Value;

use super::BlobError;
use crate::content::BlobId;
use crate::manifest::{self, Digest, GroupVersionKind, Manifest};

/// One object of a blob, without its body and independent of the file's path.
#[derive(Clone, Debug)]
pub(super) struct ParsedObject {
    pub(super) gvk: GroupVersionKind,
    pub(super) namespace: Option<Arc<str>>,
    pub(super) name: Arc<str>,
    pub(super) digest: Digest,
    pub(super) document: u32,
    pub(super) item: u32,
}

/// What the blobs of the last render hold; one for each Sync.
#[derive(Debug, Default)]
pub struct Cache {
    blobs: HashMap<BlobId, Arc<[ParsedObject]>>,
    used: HashSet<BlobId>,
    kinds: HashSet<GroupVersionKind>,
    namespaces: HashSet<Arc<str>>,
}

impl Cache {
    /// How many blobs are known.
    pub fn len(&self) -> usize {
        self.blobs.len()
    }

    /// Whether no blob is known.
    pub fn is_empty(&self) -> bool {
        self.blobs.is_empty()
    }

    pub(super) fn begin(&mut self) {
        self.used.clear();
    }

    /// Forgets what was not used since `begin`; after a failed render all is kept for the next one.
    pub(super) fn end(&mut self) {
        let used = std::mem::take(&mut self.used);
        self.blobs.retain(|blob, _| used.contains(blob));
        self.kinds.clear();
        self.namespaces.clear();
    }

    /// The objects of a blob. A broken blob is not kept, so that it is reported again.
    pub(super) fn get_or_parse<E>(
        &mut self,
        blob: BlobId,
        read: impl FnOnce() -> Result<Vec<u8>, E>,
    ) -> Result<Result<Arc<[ParsedObject]>, BlobError>, E> {
        self.used.insert(blob);
        if let Some(objects) = self.blobs.get(&blob) {
            return Ok(Ok(objects.clone()));
        }
        let text = read()?;
        let mut objects = Vec::new();
        let parsed = each_object(&text, |document, item, manifest| {
            let Manifest {
                gvk,
                namespace,
                name,
                body,
            } = manifest;
            objects.push(ParsedObject {
                gvk: self.kind(gvk),
                namespace: namespace.map(|namespace| self.namespace(namespace)),
                name,
                digest: Digest::of(&body),
                document,
                item,
            });
        });
        Ok(parsed.map(|()| {
            let objects: Arc<[ParsedObject]> = objects.into();
            self.blobs.insert(blob, objects.clone());
            objects
        }))
    }

    /// Kinds and namespaces are few: their texts are shared by all objects of a render.
    fn kind(&mut self, gvk: GroupVersionKind) -> GroupVersionKind {
        if let Some(known) = self.kinds.get(&gvk) {
            return known.clone();
        }
        self.kinds.insert(gvk.clone());
        gvk
    }

    fn namespace(&mut self, namespace: Arc<str>) -> Arc<str> {
        if let Some(known) = self.namespaces.get(&namespace) {
            return known.clone();
        }
        self.namespaces.insert(namespace.clone());
        namespace
    }
}

/// Calls `found` with document, item and manifest of every object of a blob.
pub(super) fn each_object(
    text: &[u8],
    mut found: impl FnMut(u32, u32, Manifest),
) -> Result<(), BlobError> {
    if is_lfs_pointer(text) {
        return Err(BlobError::LfsPointer);
    }
    for manifest::Document {
        number: document,
        value,
    } in manifest::documents(text).map_err(BlobError::Yaml)?
    {
        if is_kustomization(&value) {
            return Err(BlobError::Kustomization { document });
        }
        let objects =
            Manifest::from_value(value).map_err(|source| BlobError::Object { document, source })?;
        for (item, manifest) in (0..).zip(objects) {
            found(document, item, manifest);
        }
    }
    Ok(())
}

/// Whether a blob stands in for a file on an LFS server: its first line has the key `version`, and one
/// of the values that the specification of Git LFS knows.
fn is_lfs_pointer(text: &[u8]) -> bool {
    [
        &b"version https://git-lfs.github.com/spec/"[..],
        b"version https://hawser.github.com/spec/",
        b"version http://git-media.io/v/",
    ]
    .iter()
    .any(|start| text.starts_with(start))
}

fn is_kustomization(value: &Value) -> bool {
    let api_version = value
        .get("apiVersion")
        .and_then(Value::as_str)
        .unwrap_or_default();
    api_version.split('/').next() == Some("kustomize.config.k8s.io")
}
