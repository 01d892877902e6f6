//! One generation of a repository's object database: a bare repository in its own folder.
//!
//! libgit2 collects no garbage, so packs only accumulate. Therefore a store sometimes replaces the
//! whole folder. A replaced generation stays readable until its last snapshot is dropped.

use std::fs;
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use git2::{Oid, Repository, RepositoryInitOptions};
use sha2::{Digest, Sha256};
use tokio::sync::watch;

use super::limits::CacheSettings;
use super::resolve::ResolvedRef;
use crate::source::error::Error;

/// The prefix of towline's own refs. Each ref points at a complete commit.
const REFS: &str = "refs/towline/";

/// How many opened repositories are kept for the next reader. Opening one takes about 100 µs.
const POOL: usize = 4;

/// A folder with a bare repository, and a pool of opened handles.
pub(super) struct Generation {
    folder: PathBuf,
    pool: Mutex<Vec<Repository>>,
    /// The generation was replaced: its folder is removed with the last holder.
    obsolete: AtomicBool,
    /// True after a read found damage: the generation must be replaced.
    damaged: watch::Sender<bool>,
}

impl std::fmt::Debug for Generation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Generation").field(&self.folder).finish()
    }
}

impl Generation {
    /// Makes an empty repository in `folder`, which must not exist.
    pub(super) fn create(folder: &Path) -> Result<Repository, Error> {
        fs::create_dir_all(folder)
            .map_err(|error| Error::from_io("create a repository", &error))?;
        Repository::init_opts(
            folder,
            RepositoryInitOptions::new()
                .bare(true)
                .external_template(false),
        )
        .map_err(|error| Error::from_database(&error))
    }

    /// Opens the repository in `folder`, and removes the files that a killed process left there.
    pub(super) fn open(folder: PathBuf) -> Result<Self, Error> {
        remove_leftovers(&folder);
        let repository =
            Repository::open_bare(&folder).map_err(|error| Error::from_database(&error))?;
        Ok(Self::with(folder, vec![repository]))
    }

    /// A repository that somebody else made, and keeps: nothing is removed from it.
    pub(super) fn borrow(folder: PathBuf) -> Self {
        Self::with(folder, Vec::new())
    }

    fn with(folder: PathBuf, opened: Vec<Repository>) -> Self {
        Self {
            folder,
            pool: Mutex::new(opened),
            obsolete: AtomicBool::new(false),
            damaged: watch::Sender::new(false),
        }
    }

    /// An opened repository, given back to the pool when it is dropped.
    pub(super) fn handle(&self) -> Result<Handle<'_>, Error> {
        let pooled = self.pool().pop();
        let repository = match pooled {
            Some(repository) => repository,
            None => Repository::open_bare(&self.folder)
                .map_err(|error| self.damage(Error::from_database(&error)))?,
        };
        Ok(Handle {
            generation: self,
            repository: Some(repository),
        })
    }

    /// Marks the generation as damaged, if `error` says that its database is damaged.
    pub(super) fn damage(&self, error: Error) -> Error {
        if error.is_damage() {
            self.damaged.send_replace(true);
        }
        error
    }

    /// Whether `folder` is the folder of this generation.
    pub(super) fn is_in(&self, folder: &Path) -> bool {
        self.folder.starts_with(folder)
    }

    pub(super) fn is_damaged(&self) -> bool {
        *self.damaged.borrow()
    }

    /// Waits until a read finds damage.
    pub(super) async fn until_damaged(&self) {
        // This value owns the sender, so the wait cannot end with an error.
        let _ = self.damaged.subscribe().wait_for(|damaged| *damaged).await;
    }

    /// Removes the folder when the last holder of the generation is dropped.
    pub(super) fn retire(&self) {
        self.obsolete.store(true, Ordering::Relaxed);
    }

    /// Whether a fresh fetch is better than one more pack, because so much has accumulated. Each of
    /// the `in_use` revisions may add packs of its own. Without that allowance, a repository with
    /// many followed branches would be replaced at every fetch.
    pub(super) fn is_full(&self, settings: &CacheSettings, in_use: usize) -> bool {
        let (packs, bytes) = packs(&self.folder);
        packs > settings.max_packs.max(4 * in_use) || bytes > settings.max_folder_bytes
    }

    fn pool(&self) -> std::sync::MutexGuard<'_, Vec<Repository>> {
        self.pool.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Generation {
    fn drop(&mut self) {
        if *self.obsolete.get_mut() {
            self.pool().clear();
            if let Err(error) = fs::remove_dir_all(&self.folder) {
                tracing::warn!(%error, "cannot remove a replaced copy of a repository");
            }
        }
    }
}

/// A repository out of a generation's pool.
pub(super) struct Handle<'a> {
    generation: &'a Generation,
    repository: Option<Repository>,
}

impl Deref for Handle<'_> {
    type Target = Repository;

    fn deref(&self) -> &Repository {
        match &self.repository {
            Some(repository) => repository,
            None => unreachable!("the repository is only taken out on drop"),
        }
    }
}

impl Drop for Handle<'_> {
    fn drop(&mut self) {
        let mut pool = self.generation.pool();
        if pool.len() < POOL {
            pool.extend(self.repository.take());
        }
    }
}

/// Whether `target` is complete in `repository`. It is complete if one of towline's refs points at
/// the commit, and the commit and the tag can be read. The tag is checked separately because it may
/// come later than the commit.
pub(super) fn holds(repository: &Repository, target: &ResolvedRef) -> Result<bool, git2::Error> {
    let commit = target.commit;
    if let Some(tag) = target.tag
        && !repository.odb()?.exists(tag)
    {
        return Ok(false);
    }
    let readable = || repository.find_commit(commit)?.tree().map(|_| true);
    if repository.refname_to_id(&private_ref(&target.source)).ok() == Some(commit) {
        return readable();
    }
    for other in repository.references_glob(&format!("{REFS}*"))? {
        if other?.target() == Some(commit) {
            return readable();
        }
    }
    Ok(false)
}

/// Whether `commit` is complete because one of towline's refs points at it or at a descendant of it. Only for a repository
/// with the full history of its refs.
pub(super) fn reaches(repository: &Repository, commit: Oid) -> Result<bool, git2::Error> {
    if !repository.odb()?.exists(commit) {
        return Ok(false);
    }
    for tip in repository.references_glob(&format!("{REFS}*"))? {
        if let Some(tip) = tip?.target()
            && repository.graph_descendant_of(tip, commit)?
        {
            return repository.find_commit(commit)?.tree().map(|_| true);
        }
    }
    Ok(false)
}

/// Records that `commit` is complete, and that `reference` (a full name or a commit id) points at
/// it.
pub(super) fn mark(
    repository: &Repository,
    reference: &str,
    commit: Oid,
) -> Result<(), git2::Error> {
    let name = private_ref(reference);
    if repository.refname_to_id(&name).ok() != Some(commit) {
        repository.reference(&name, commit, true, "fetched")?;
    }
    Ok(())
}

/// The private ref for a reference of the remote. It is a hash, so that no two names collide or
/// nest.
pub(super) fn private_ref(reference: &str) -> String {
    format!(
        "{REFS}{}",
        hex::encode(Sha256::digest(reference.as_bytes()))
    )
}

/// The number of packs in a repository, and the bytes in their folder.
fn packs(folder: &Path) -> (usize, u64) {
    let Ok(entries) = fs::read_dir(folder.join("objects/pack")) else {
        return (0, 0);
    };
    entries.flatten().fold((0, 0), |(packs, bytes), entry| {
        let is_pack = entry.path().extension().is_some_and(|e| e == "pack");
        let size = entry.metadata().map_or(0, |metadata| metadata.len());
        (packs + usize::from(is_pack), bytes + size)
    })
}

/// Removes lock files and half-written packs. This process has just started, so they belong to no
/// running fetch.
fn remove_leftovers(folder: &Path) {
    for (part, is_leftover) in [
        ("", is_lock as fn(&Path) -> bool),
        (REFS, is_lock),
        ("objects/pack", is_half_pack),
    ] {
        let Ok(entries) = fs::read_dir(folder.join(part)) else {
            continue;
        };
        for path in entries.flatten().map(|entry| entry.path()) {
            if is_leftover(&path) {
                // If the removal fails, the fetch meets the file again and reports its cause.
                let _ = fs::remove_file(path);
            }
        }
    }
}

fn is_lock(path: &Path) -> bool {
    path.extension()
        .is_some_and(|extension| extension == "lock")
}

/// libgit2 writes `pack_git2_…` and renames it to `pack-….pack` and `pack-….idx`.
fn is_half_pack(path: &Path) -> bool {
    !path
        .extension()
        .is_some_and(|extension| extension == "pack" || extension == "idx")
}
