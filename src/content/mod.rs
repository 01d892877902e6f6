//! The files that a source publishes: one revision, with ids for content. Pure.
//!
//! A Git commit is a [`Tree`], and a folder on disk is another. Readers of desired state use this
//! trait, and do not depend on the kind of source.

mod id;
mod joined;
mod read;
#[cfg(test)]
pub(crate) mod testing;

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

pub use id::{BlobId, ContentKey, ObjectId, TreeId};
pub use joined::Joined;
pub use read::{ReadError, ReadFault};

/// The file with patterns, in gitignore's syntax, for files of its folder that are not manifests.
pub const IGNORE_FILE: &str = ".towlineignore";

/// The path of `path` in `folder`. The root is empty, whether it is the one or the other.
#[must_use]
pub fn within(folder: &str, path: &str) -> String {
    match (folder, path) {
        ("", only) | (only, "") => only.to_owned(),
        (folder, path) => format!("{folder}/{path}"),
    }
}

/// A file of a revision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceFile {
    /// Its path from the root of the tree, `/`-separated.
    pub path: Arc<str>,
    /// Its content's id.
    pub blob: BlobId,
}

/// The files below a path.
#[derive(Clone, Debug)]
pub struct Listing {
    /// Two listings of one path with equal keys have the same files with the same content.
    pub key: ContentKey,
    /// All regular files, sorted by path. A file behind a symbolic link has the path by which it was
    /// reached.
    pub files: Vec<SourceFile>,
    /// The ignore files of the folders around the path, from the root on.
    pub above: Vec<SourceFile>,
    /// No symbolic link was followed. Then an equal [`Tree::identity`] means an equal listing.
    pub self_contained: bool,
    /// Folders that are other repositories and were not fetched; their files are not listed.
    pub submodules: Vec<String>,
}

/// A revision, and the name by which it was asked for.
///
/// Displayed as in Flux: `main@sha1:<40 hexadecimal digits>`, `v1.0@sha1:…`, or `sha1:…` for a
/// revision that was asked for by its id.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Revision {
    /// The branch, the tag, or the full name of the ref.
    pub name: Option<Arc<str>>,
    /// The commit, or a digest of the content if the source has no commits.
    pub commit: ObjectId,
}

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(name) = &self.name {
            write!(f, "{name}@")?;
        }
        write!(f, "{}:{}", self.commit.algorithm(), self.commit)
    }
}

/// What is at a path.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PathEntry {
    /// Its path with all symbolic links resolved, `/`-separated; empty for the root.
    pub real: String,
    /// The file's content; `None` for a folder.
    pub file: Option<BlobId>,
}

/// A name in a folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Name {
    /// The name.
    pub name: String,
    /// Whether it is a folder, or a symbolic link to one.
    pub is_folder: bool,
}

/// The files of one revision. Methods may block, and read only local storage.
///
/// Paths are relative to the root of the tree. An empty path is the root.
pub trait Tree: Send + Sync + fmt::Debug {
    /// The identity of the folder or file at `path`. Two revisions have equal identities only if
    /// everything below the path is equal, including the ignore files of the parent folders. The
    /// identity does not cover the targets of symbolic links that leave the folder;
    /// [`Listing::self_contained`] says whether there are such links.
    ///
    /// # Errors
    ///
    /// [`ReadFault::PathNotFound`] if there is nothing at `path`. Otherwise, why it cannot be read.
    fn identity(&self, path: &str) -> Result<TreeId, ReadError>;

    /// The [`Tree::identity`], if it is known without blocking.
    fn known_identity(&self, path: &str) -> Option<TreeId>;

    /// All regular files below `path`, or the file at `path`. Follows symbolic links inside the
    /// tree.
    ///
    /// # Errors
    ///
    /// As [`Tree::identity`], and [`ReadFault::TooLarge`] if there are too many files.
    fn list(&self, path: &str) -> Result<Listing, ReadError>;

    /// The content of a file.
    ///
    /// # Errors
    ///
    /// [`ReadFault::TooLarge`] above the limit for one file. [`ReadFault::Damaged`] if local
    /// storage has lost the content.
    fn read(&self, blob: BlobId) -> Result<Vec<u8>, ReadError>;

    /// What is at `path`, symbolic links inside the tree followed.
    ///
    /// # Errors
    /// As [`Tree::identity`]; [`ReadFault::PathNotFound`] also where a part of the path is a file.
    fn entry(&self, path: &str) -> Result<PathEntry, ReadError>;

    /// The names in the folder at `path`, sorted by their bytes. A symbolic link that leads nowhere, or
    /// out of the tree, is named as a file.
    ///
    /// # Errors
    /// As [`Tree::identity`]; [`ReadFault::Unusable`] where there is a file at `path`.
    fn names(&self, path: &str) -> Result<Vec<Name>, ReadError>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn revisions_are_shown_as_flux_shows_them() {
        let commit = ObjectId::new(&[0xab; 20]);
        let named = Revision {
            name: Some("main".into()),
            commit,
        };
        assert_eq!(named.to_string(), format!("main@sha1:{}", "ab".repeat(20)));
        let commit = ObjectId::new(&[0xcd; 32]);
        let bare = Revision { name: None, commit };
        assert_eq!(bare.to_string(), format!("sha256:{}", "cd".repeat(32)));
    }
}
