//! A commit of a repository. It stays readable while the snapshot is held.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use git2::{Oid, Repository};
use jiff::Timestamp;

use super::entry::object_id;
use super::generation::Generation;
use super::limits::CacheSettings;
use super::modules::Modules;
use super::resolve::ResolvedRef;
use super::view::View;
use crate::content::{
    BlobId, IGNORE_FILE, Listing, Name, ObjectId, PathEntry, ReadError, Revision, SourceFile, Tree,
    TreeId,
};
use crate::source::error::{Error, Reported};
use crate::source::listing;
use crate::source::path::{self, TreePath};
use crate::text::{printable, start};
use crate::verify::{CommitObject, TagObject};

/// The most parents of a commit that are kept. A merge has two.
const MOST_PARENTS: usize = 8;

/// The longest author and subject, in bytes.
const MAX_AUTHOR: usize = 100;
const MAX_SUBJECT: usize = 200;

/// A complete commit on disk. Its methods block, and read only the object database.
///
/// If a method returns [`Error::Corrupt`], the next fetch replaces the copy on disk and returns a
/// new snapshot of the same revision. [`Snapshot::until_damaged`] ends when such a fetch is needed.
#[derive(Debug)]
pub struct Snapshot {
    /// The revision of this commit.
    pub revision: Revision,
    /// The commits that this one was made on, also those that were not fetched.
    pub parents: Vec<String>,
    /// The commit time, by the committer's clock.
    pub committed_at: Timestamp,
    /// The author's name, without the address: one line of limited length.
    pub author: String,
    /// The first line of the message, with limited length.
    pub subject: String,
    /// The commit that the message says it reverts, in git's own words.
    pub reverts: Option<String>,
    /// The annotated tag that the reference named.
    tag: Option<Tag>,
    root: Oid,
    /// The submodules. None if they are not fetched.
    modules: Option<Modules>,
    max_file_bytes: u64,
    max_files: usize,
    generation: Arc<Generation>,
    /// The content ids of the paths that were asked for. A monorepo has one for each of its Syncs.
    trees: Mutex<HashMap<String, TreeId>>,
}

/// An annotated tag, by its name without `refs/tags/`.
#[derive(Clone, Debug, PartialEq)]
struct Tag {
    name: String,
    id: Oid,
}

impl Snapshot {
    /// Reads the commit of `target`. `modules` are its submodules, if they are fetched.
    pub(super) fn open(
        generation: Arc<Generation>,
        target: &ResolvedRef,
        modules: Option<Modules>,
        settings: &CacheSettings,
    ) -> Result<Self, Error> {
        let repository = generation.handle()?;
        let commit = repository
            .find_commit(target.commit)
            .map_err(|error| generation.damage(Error::from_database(&error)))?;
        let (committed_at, root) = (commit.time().seconds(), commit.tree_id());
        let parents = parents(commit.raw_header_bytes());
        let author = one_line(commit.author().name_bytes(), MAX_AUTHOR);
        let subject = one_line(commit.message_bytes(), MAX_SUBJECT);
        let reverts = reverted(commit.message_bytes());
        drop(commit);
        drop(repository);
        Ok(Self {
            revision: Revision {
                name: target.name.as_deref().map(Arc::from),
                commit: object_id(target.commit),
            },
            parents,
            committed_at: date(committed_at),
            author,
            subject,
            reverts,
            tag: Tag::of(target),
            root,
            modules,
            max_file_bytes: settings.max_file_bytes,
            max_files: settings.max_files,
            generation,
            trees: Mutex::default(),
        })
    }

    /// A commit of the clone on disk with this root, by any name that `git rev-parse` takes. Its submodules are not
    /// read.
    ///
    /// # Errors
    ///
    /// [`Error::Clone`] and [`Error::NotInClone`].
    pub fn of_clone(root: &Path, revision: &str, settings: &CacheSettings) -> Result<Self, Error> {
        let path = root.display().to_string();
        let repository = Repository::open(root).map_err(|error| Error::Clone {
            path: path.clone(),
            source: Reported::new(error.message()),
        })?;
        let found = repository.revparse_single(revision);
        let commit = found.and_then(|object| object.peel_to_commit());
        let commit = commit.map_err(|error| Error::NotInClone {
            path,
            revision: revision.to_owned(),
            source: Reported::new(error.message()),
        })?;
        let target = ResolvedRef {
            source: commit.id().to_string(),
            name: None,
            commit: commit.id(),
            tag: None,
        };
        // The objects of a worktree are in the folder that all worktrees share.
        let generation = Generation::borrow(repository.commondir().to_owned());
        Self::open(Arc::new(generation), &target, None, settings)
    }

    /// The same commit under another name, such as the branch that it was on.
    #[must_use]
    pub fn named(&self, name: Option<&str>) -> Self {
        Self {
            revision: Revision {
                name: name.map(Arc::from),
                commit: self.revision.commit,
            },
            parents: self.parents.clone(),
            committed_at: self.committed_at,
            author: self.author.clone(),
            subject: self.subject.clone(),
            reverts: self.reverts.clone(),
            tag: self.tag.clone(),
            root: self.root,
            modules: self.modules.clone(),
            max_file_bytes: self.max_file_bytes,
            max_files: self.max_files,
            generation: Arc::clone(&self.generation),
            trees: Mutex::default(),
        }
    }

    /// Computes the ids of all paths that `before` was asked for. Then [`Self::known_tree_id`] can
    /// answer all followers at once. Reads each shared folder once.
    pub(super) fn prefetch_tree_ids(self, before: &Self) -> Self {
        let paths: Vec<String> = before.trees().keys().cloned().collect();
        // Ignores an error: the caller that asks for the path gets it.
        let _ = self.read_with(|repository| {
            let unread = Modules::default();
            let view = self.view(repository, &unread);
            for path in paths {
                if let Ok(tree) = self.identify(&view, &path) {
                    self.trees().insert(path, tree);
                }
            }
            Ok(())
        });
        self
    }

    /// The content id of the folder or the file at `path`. Two revisions have equal ids only if
    /// everything below the path is equal, including submodules and the `.towlineignore` files of
    /// the parent folders. The id does not cover the targets of symbolic links that leave the
    /// folder; [`Listing::self_contained`] says whether there are such links. Takes microseconds.
    ///
    /// `path` is relative to the repository's root. An empty path or `.` is the root.
    pub fn tree_id(&self, path: &str) -> Result<TreeId, Error> {
        if let Some(known) = self.known_tree_id(path) {
            return Ok(known);
        }
        let tree = self.read_with(|repository| {
            let unread = Modules::default();
            self.identify(&self.view(repository, &unread), path)
        })?;
        self.trees().insert(path.to_owned(), tree);
        Ok(tree)
    }

    fn identify(&self, view: &View<'_>, path: &str) -> Result<TreeId, Error> {
        let path = TreePath::parse(path)?;
        let found = path::find(view, &path, &self.revision)?;
        let above = path::above(view, &path, IGNORE_FILE, &self.revision)?;
        let tree = object_id(found.id);
        Ok(TreeId(listing::identify(tree, &above, view.modules_file())))
    }

    /// The [`Self::tree_id`] of a path that was asked for before, of this snapshot or of the
    /// previous one. Does not block.
    pub fn known_tree_id(&self, path: &str) -> Option<TreeId> {
        self.trees().get(path).copied()
    }

    /// All regular files below `path`, or the file at `path`. Follows symbolic links inside the
    /// repository.
    pub fn listing(&self, path: &str) -> Result<Listing, Error> {
        let path = TreePath::parse(path)?;
        self.read_with(|repository| {
            let unread = Modules::default();
            let view = self.view(repository, &unread);
            listing::list(&view, &path, &self.revision, self.max_files, |found| {
                Ok(object_id(found.id))
            })
        })
    }

    fn view<'r>(&'r self, repository: &'r git2::Repository, unread: &'r Modules) -> View<'r> {
        let modules = self.modules.as_ref().unwrap_or(unread);
        View::new(repository, self.root, modules)
    }

    /// The content of `file`.
    pub fn read(&self, file: &SourceFile) -> Result<Vec<u8>, Error> {
        self.read_object(file.blob.0, || file.path.to_string())
    }

    /// The stored bytes of the commit, with its signature.
    pub fn commit_object(&self) -> Result<CommitObject, Error> {
        let id = self.revision.commit;
        Ok(CommitObject {
            id: id.to_string(),
            raw: self.read_object(id, || format!("commit {id}"))?,
        })
    }

    /// The stored bytes of the annotated tag that the reference named. None for a lightweight tag
    /// and for other references.
    pub fn tag_object(&self) -> Result<Option<TagObject>, Error> {
        let Some(tag) = &self.tag else {
            return Ok(None);
        };
        let raw = self.read_object(object_id(tag.id), || format!("tag {}", tag.name))?;
        Ok(Some(TagObject {
            name: tag.name.clone(),
            raw,
        }))
    }

    /// The content of a blob. Errors do not have its path; the caller adds the path.
    pub fn read_blob(&self, blob: BlobId) -> Result<Vec<u8>, Error> {
        self.read_object(blob.0, || "the file".to_owned())
    }

    /// Whether a read found damaged or missing objects.
    pub fn is_damaged(&self) -> bool {
        self.generation.is_damaged()
    }

    /// Waits until a read finds damaged or missing objects in the folder of this snapshot. The read
    /// may come from another snapshot of the same folder.
    pub async fn until_damaged(&self) {
        self.generation.until_damaged().await;
    }

    fn read_object(&self, id: ObjectId, name: impl Fn() -> String) -> Result<Vec<u8>, Error> {
        let limit = self.max_file_bytes;
        self.read_with(|repository| {
            let database = |error: git2::Error| Error::from_database(&error);
            let id = Oid::from_bytes(id.as_bytes()).map_err(database)?;
            let odb = repository.odb().map_err(database)?;
            // Reads the header first, because a small pack may hold a very large file.
            let size = odb.read_header(id).map_err(database)?.0 as u64;
            if size > limit {
                return Err(Error::FileTooLarge {
                    file: name(),
                    size,
                    limit,
                });
            }
            Ok(odb.read(id).map_err(database)?.data().to_vec())
        })
    }

    fn read_with<T>(
        &self,
        read: impl FnOnce(&git2::Repository) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let repository = self.generation.handle()?;
        read(&repository).map_err(|error| self.generation.damage(error))
    }

    fn trees(&self) -> std::sync::MutexGuard<'_, HashMap<String, TreeId>> {
        self.trees.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether this is the commit of `target` in `generation`.
    pub(super) fn is(&self, generation: &Arc<Generation>, target: &ResolvedRef) -> bool {
        Arc::ptr_eq(&self.generation, generation)
            && self.revision.name.as_deref() == target.name.as_deref()
            && self.revision.commit == object_id(target.commit)
            && self.tag == Tag::of(target)
    }

    /// The submodules, if they are fetched.
    pub(super) fn modules(&self) -> Option<&Modules> {
        self.modules.as_ref()
    }

    /// Whether the snapshot was asked for by the commit id `id`, lies in `folder`, and is not
    /// damaged.
    pub(super) fn is_commit(&self, id: &str, folder: &Path) -> bool {
        self.revision.name.is_none()
            && self.revision.commit.to_string() == id
            && self.generation.is_in(folder)
            && !self.generation.is_damaged()
    }
}

/// The parents that a commit names. libgit2 itself says that one without its history has none.
fn parents(header: &[u8]) -> Vec<String> {
    let lines = header.split(|byte| *byte == b'\n').skip(1);
    lines
        .map_while(|line| line.strip_prefix(b"parent "))
        .take(MOST_PARENTS)
        .map(|id| String::from_utf8_lossy(id).into_owned())
        .collect()
}

impl Tree for Snapshot {
    fn identity(&self, path: &str) -> Result<TreeId, ReadError> {
        Ok(self.tree_id(path)?)
    }

    fn known_identity(&self, path: &str) -> Option<TreeId> {
        self.known_tree_id(path)
    }

    fn list(&self, path: &str) -> Result<Listing, ReadError> {
        Ok(self.listing(path)?)
    }

    fn read(&self, blob: BlobId) -> Result<Vec<u8>, ReadError> {
        Ok(self.read_blob(blob)?)
    }

    fn entry(&self, path: &str) -> Result<PathEntry, ReadError> {
        let path = TreePath::parse(path)?;
        Ok(self.read_with(|repository| {
            let unread = Modules::default();
            path::entry(&self.view(repository, &unread), &path, &self.revision)
        })?)
    }

    fn names(&self, path: &str) -> Result<Vec<Name>, ReadError> {
        let path = TreePath::parse(path)?;
        Ok(self.read_with(|repository| {
            let unread = Modules::default();
            let view = self.view(repository, &unread);
            path::names(&view, &path, &self.revision, self.max_files)
        })?)
    }
}

impl Tag {
    fn of(target: &ResolvedRef) -> Option<Self> {
        let name = target.source.strip_prefix("refs/tags/")?.to_owned();
        target.tag.map(|id| Self { name, id })
    }
}

/// The date of a commit. The author may set any number, so this returns the nearest date that the
/// API server takes (years 1 to 9999, RFC 3339).
fn date(seconds: i64) -> Timestamp {
    /// 0001-01-01T00:00:00Z.
    const FIRST: i64 = -62_135_596_800;
    let seconds = seconds.clamp(FIRST, Timestamp::MAX.as_second());
    Timestamp::from_second(seconds).unwrap_or_default()
}

/// The first line of `text`, without control characters, and no longer than `max` bytes.
fn one_line(text: &[u8], max: usize) -> String {
    let text = String::from_utf8_lossy(text);
    let line = text.trim_start().lines().next().unwrap_or_default();
    start(&printable(line.trim_end()), max).to_owned()
}

/// The commit that a message says it reverts, in the words of `git revert`.
fn reverted(message: &[u8]) -> Option<String> {
    let mut lines = message.split(|byte| *byte == b'\n');
    let rest = lines.find_map(|line| line.strip_prefix(b"This reverts commit "))?;
    let id = std::str::from_utf8(rest.get(..40)?).ok()?;
    let is_id = id
        .bytes()
        .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    is_id.then(|| id.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_date_is_one_that_a_status_may_hold() {
        for (seconds, shown) in [
            (0, "1970-01-01T00:00:00Z"),
            (-62_135_596_800, "0001-01-01T00:00:00Z"),
            (-62_135_596_801, "0001-01-01T00:00:00Z"),
            (i64::MIN, "0001-01-01T00:00:00Z"),
            (253_402_300_800, "9999-12-30T22:00:00Z"),
            (i64::MAX, "9999-12-30T22:00:00Z"),
        ] {
            assert_eq!(date(seconds).to_string(), shown);
        }
    }

    #[test]
    fn text_from_a_commit_is_one_short_clean_line() {
        for (text, max, line) in [
            (&b"subject\n\nbody"[..], 20, "subject"),
            (b"\n\n subject \r\nbody", 20, "subject"),
            (b"a\x1b[31mb\x00", 20, "a[31mb"),
            ("éé".as_bytes(), 3, "é"),
            (b"\xff", 20, "\u{fffd}"),
            (b"", 20, ""),
        ] {
            assert_eq!(one_line(text, max), line);
        }
    }

    #[test]
    fn a_revert_names_its_commit_in_gits_own_words() {
        let id = "0123456789abcdef0123456789abcdef01234567";
        for (message, found) in [
            (format!("Revert \"a\"\n\nThis reverts commit {id}.\n"), true),
            (
                format!("This reverts commit {id}, reversing\nchanges made to x.\n"),
                true,
            ),
            (format!("x\n\nThis reverts commit {id}\r\n"), true),
            (format!("x\n\n> This reverts commit {id}.\n"), false),
            (
                format!("This reverts commit {}.\n", id.to_uppercase()),
                false,
            ),
            ("This reverts commit 0123456.\n".to_owned(), false),
            (String::new(), false),
        ] {
            let reverts = reverted(message.as_bytes());
            assert_eq!(reverts.as_deref(), found.then_some(id), "{message}");
        }
    }
}
