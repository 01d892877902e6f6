//! What a source publishes: files of one revision, named by their content. Pure.
//!
//! A Git commit is one [`Tree`]; a folder on disk is another. Whoever reads desired state reads it
//! through this trait, and does not know where the files come from.

mod id;
mod read;
#[cfg(test)]
pub(crate) mod testing;

use std::fmt;
use std::sync::Arc;

pub use id::{BlobId, ContentKey, ObjectId, TreeId};
pub use read::{ReadError, ReadFault};

/// The file that says, in gitignore's syntax, which files of its folder are not manifests.
pub const IGNORE_FILE: &str = ".towlineignore";

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
    /// No symbolic link was followed, so an equal [`Tree::identity`] means an equal listing.
    pub self_contained: bool,
    /// Folders that are other repositories and were not fetched; their files are not listed.
    pub submodules: Vec<String>,
}

/// Which revision, and by which name it was asked for.
///
/// Shown as Flux does: `main@sha1:<40 hexadecimal digits>`, `v1.0@sha1:…`, or `sha1:…` for a revision
/// that was asked for by its id.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Revision {
    /// The branch, the tag, or the ref by its full name.
    pub name: Option<Arc<str>>,
    /// The commit, or the digest of what has no commits.
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

/// The files of one revision. Its methods may block, and read nothing but local storage.
///
/// Paths are relative to the root of the tree, which an empty path means.
pub trait Tree: Send + Sync + fmt::Debug {
    /// The identity of the folder at `path` (of the file, where it is one): equal for two revisions only
    /// if everything below it is equal, the ignore files of the folders around it included, but for what
    /// symbolic links out of the folder point at. [`Listing::self_contained`] says whether there are any.
    ///
    /// # Errors
    /// [`ReadFault::PathNotFound`] where there is nothing at `path`; otherwise why it cannot be read.
    fn identity(&self, path: &str) -> Result<TreeId, ReadError>;

    /// [`Tree::identity`] where it is known without blocking.
    fn known_identity(&self, path: &str) -> Option<TreeId>;

    /// All regular files below `path`, with symbolic links inside the tree followed; the file itself,
    /// where `path` is one.
    ///
    /// # Errors
    /// As [`Tree::identity`], and [`ReadFault::TooLarge`] where there are too many files.
    fn list(&self, path: &str) -> Result<Listing, ReadError>;

    /// The content of a file.
    ///
    /// # Errors
    /// [`ReadFault::TooLarge`] above the limit for one file, [`ReadFault::Damaged`] where local storage
    /// no longer has what the revision names.
    fn read(&self, blob: BlobId) -> Result<Vec<u8>, ReadError>;
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
