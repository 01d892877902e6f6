//! A tree in memory, for tests.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use sha2::{Digest as _, Sha256};

use super::{
    BlobId, ContentKey, IGNORE_FILE, Listing, Name, ObjectId, PathEntry, ReadError, ReadFault,
    SourceFile, Tree, TreeId,
};

/// Files by path. Counts how often a file was read.
#[derive(Debug, Default)]
pub(crate) struct Files {
    files: BTreeMap<String, Vec<u8>>,
    reads: AtomicUsize,
}

#[derive(Debug, thiserror::Error)]
#[error("{0} is not there")]
struct Absent(String);

impl Files {
    /// A tree with these files.
    pub(crate) fn of<P: ToString, T: AsRef<[u8]>>(
        files: impl IntoIterator<Item = (P, T)>,
    ) -> Arc<Self> {
        let files = files.into_iter();
        Arc::new(Self {
            files: files
                .map(|(path, text)| (path.to_string(), text.as_ref().to_vec()))
                .collect(),
            reads: AtomicUsize::new(0),
        })
    }

    /// How often a file was read.
    pub(crate) fn reads(&self) -> usize {
        self.reads.load(Ordering::Relaxed)
    }

    fn source_file(path: &str, text: &[u8]) -> SourceFile {
        SourceFile {
            path: path.into(),
            blob: BlobId(digest(text)),
        }
    }
}

fn digest(bytes: &[u8]) -> ObjectId {
    ObjectId::new(&Sha256::digest(bytes))
}

fn is_below(path: &str, folder: &str) -> bool {
    let rest = path.strip_prefix(folder);
    folder.is_empty() || rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

impl Tree for Files {
    fn identity(&self, path: &str) -> Result<TreeId, ReadError> {
        Ok(TreeId(self.list(path)?.key.0))
    }

    fn known_identity(&self, path: &str) -> Option<TreeId> {
        self.identity(path).ok()
    }

    fn list(&self, path: &str) -> Result<Listing, ReadError> {
        let of = |(path, text): (&String, &Vec<u8>)| Self::source_file(path, text);
        let files: Vec<SourceFile> = self
            .files
            .iter()
            .filter(|(file, _)| is_below(file, path))
            .map(of)
            .collect();
        if files.is_empty() && !path.is_empty() {
            let absent = Absent(format!("path {path}"));
            return Err(ReadError::new(ReadFault::PathNotFound, absent));
        }
        let is_above = |file: &str| {
            let folder = file.strip_suffix(IGNORE_FILE).unwrap_or("-");
            let folder = folder.trim_end_matches('/');
            folder != path && is_below(path, folder)
        };
        let above: Vec<SourceFile> = self
            .files
            .iter()
            .filter(|(file, _)| is_above(file))
            .map(of)
            .collect();
        let text: String = above
            .iter()
            .chain(&files)
            .map(|file| format!("{} {:?}\n", file.path, file.blob))
            .collect();
        Ok(Listing {
            key: ContentKey(digest(text.as_bytes())),
            files,
            above,
            self_contained: true,
            submodules: Vec::new(),
        })
    }

    fn read(&self, blob: BlobId) -> Result<Vec<u8>, ReadError> {
        self.reads.fetch_add(1, Ordering::Relaxed);
        let mut texts = self.files.values();
        let text = texts.find(|text| digest(text) == blob.0).cloned();
        let absent = || ReadError::new(ReadFault::Damaged, Absent(format!("{blob:?}")));
        text.ok_or_else(absent)
    }

    fn entry(&self, path: &str) -> Result<PathEntry, ReadError> {
        let listing = self.list(path)?;
        let file = listing.files.iter().find(|file| *file.path == *path);
        Ok(PathEntry {
            real: path.to_owned(),
            file: file.map(|file| file.blob),
        })
    }

    fn names(&self, path: &str) -> Result<Vec<Name>, ReadError> {
        let listing = self.list(path)?;
        let mut names = BTreeMap::new();
        for file in &listing.files {
            let rest = file.path.strip_prefix(path).unwrap_or(&file.path);
            let rest = rest.trim_start_matches('/');
            let (name, is_folder) = match rest.split_once('/') {
                Some((folder, _)) => (folder, true),
                None => (rest, false),
            };
            names.insert(name.to_owned(), is_folder);
        }
        let names = names.into_iter();
        Ok(names
            .map(|(name, is_folder)| Name { name, is_folder })
            .collect())
    }
}
