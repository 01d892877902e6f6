//! A folder on disk as a tree of files. It reads the files as they are now, also those that a
//! version control system does not track.
//!
//! Paths and links mean the same as in a Git repository: regular files are listed, symbolic links
//! are followed inside the folder only, and `.git` is not part of the tree. Sockets, pipes and
//! devices are left out. Ids are SHA-256 over the content, so equal files have equal ids in any
//! place.

use std::collections::HashMap;
use std::fs::{self, FileType, Metadata};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use sha2::{Digest as _, Sha256};

use super::error::{Error, Reported};
use super::listing::{self, MAX_DEPTH};
use super::path::{self, Children, EntryKind, MAX_TARGET, Nodes, ResolvedPath, TreePath};
use crate::content::{
    BlobId, IGNORE_FILE, Listing, Name, ObjectId, PathEntry, ReadError, Tree, TreeId,
};

/// The folder of Git's own files.
const GIT: &str = ".git";

/// A folder on disk. A file that [`Tree::list`] has listed can be read until the file changes.
#[derive(Debug)]
pub struct Folder {
    /// Absolute, without symbolic links.
    root: PathBuf,
    /// As given, for messages.
    shown: String,
    max_file_bytes: u64,
    max_files: usize,
    /// The path of each listed file, by the id of its content.
    files: Mutex<HashMap<BlobId, PathBuf>>,
}

impl Folder {
    /// Opens the folder at `root`. It reads files of up to `max_file_bytes`, and lists up to
    /// `max_files` files and folders.
    ///
    /// # Errors
    ///
    /// [`Error::Folder`] and [`Error::NotADirectory`].
    pub fn open(root: &Path, max_file_bytes: u64, max_files: usize) -> Result<Self, Error> {
        let shown = root.display().to_string();
        let failed = |error: io::Error| Error::Folder {
            path: shown.clone(),
            source: Reported::new(&error.to_string()),
        };
        let root = fs::canonicalize(root).map_err(failed)?;
        if !fs::metadata(&root).map_err(failed)?.is_dir() {
            return Err(Error::NotADirectory { path: shown });
        }
        Ok(Self {
            root,
            shown,
            max_file_bytes,
            max_files,
            files: Mutex::default(),
        })
    }

    /// The content id of what `found` names.
    fn content(&self, found: &ResolvedPath<PathBuf>) -> Result<ObjectId, Error> {
        match found.is_folder {
            true => self.folder_content(&found.id, 0, &mut 0),
            false => Ok(self.blob(&found.id)?.0),
        }
    }

    /// The id over the names, kinds and contents of everything below a folder. A link counts with
    /// its target text.
    fn folder_content(
        &self,
        folder: &PathBuf,
        depth: usize,
        seen: &mut usize,
    ) -> Result<ObjectId, Error> {
        if depth == MAX_DEPTH {
            let (path, limit) = (self.name(folder), MAX_DEPTH);
            return Err(Error::TooDeep { path, limit });
        }
        let Some(mut children) = self.children(folder, self.max_files - *seen)? else {
            let (path, limit) = (self.name(folder), self.max_files);
            return Err(Error::TooManyFiles { path, limit });
        };
        *seen += children.len();
        children.sort_unstable_by(|one, other| one.0.cmp(&other.0));
        let mut hash = Sha256::new();
        for (name, path, kind) in children {
            let (kind, id) = match kind {
                EntryKind::Folder => (b'd', self.folder_content(&path, depth + 1, seen)?),
                EntryKind::Link => (b'l', digest(self.link_target(&path)?.as_bytes())),
                EntryKind::File | EntryKind::Submodule => (b'f', self.blob(&path)?.0),
            };
            hash.update([kind]);
            hash.update(name.as_bytes());
            hash.update([0]);
            hash.update(id.as_bytes());
        }
        Ok(ObjectId::new(&hash.finalize()))
    }

    fn identify(&self, path: &str) -> Result<TreeId, Error> {
        let path = TreePath::parse(path)?;
        let found = path::find(self, &path, &self.shown)?;
        let above = path::above(self, &path, IGNORE_FILE, &self.shown)?;
        let content = self.content(&found)?;
        Ok(TreeId(listing::identify(content, &above, None)))
    }

    fn read_blob(&self, blob: BlobId) -> Result<Vec<u8>, Error> {
        let path = self.files().get(&blob).cloned();
        let path = path.ok_or_else(|| Error::Changed {
            file: format!("blob {}", blob.0),
        })?;
        let failed = |error| self.failed(&path, &error);
        let file = fs::File::open(self.root.join(&path)).map_err(failed)?;
        let size = file.metadata().map_err(failed)?.len();
        let (file_name, limit) = (self.name(&path), self.max_file_bytes);
        let too_large = |size| Error::FileTooLarge {
            file: file_name.clone(),
            size,
            limit,
        };
        if size > limit {
            return Err(too_large(size));
        }
        let mut content = Vec::new();
        // The file may grow while it is read.
        let read = file.take(limit.saturating_add(1)).read_to_end(&mut content);
        read.map_err(failed)?;
        if content.len() as u64 > limit {
            return Err(too_large(content.len() as u64));
        }
        match BlobId(digest(&content)) == blob {
            true => Ok(content),
            false => Err(Error::Changed {
                file: self.name(&path),
            }),
        }
    }

    /// The metadata of a path below the root. None if the path does not exist.
    fn metadata(&self, path: &Path) -> Result<Option<Metadata>, Error> {
        match fs::symlink_metadata(self.root.join(path)) {
            Ok(metadata) => Ok(Some(metadata)),
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::NotFound | io::ErrorKind::InvalidFilename
                ) =>
            {
                Ok(None)
            }
            Err(error) => Err(self.failed(path, &error)),
        }
    }

    fn failed(&self, path: &Path, error: &io::Error) -> Error {
        Error::Folder {
            path: self.name(path),
            source: Reported::new(&error.to_string()),
        }
    }

    /// A path below the root, for messages.
    fn name(&self, path: &Path) -> String {
        match path.as_os_str().is_empty() {
            true => self.shown.clone(),
            false => path.display().to_string(),
        }
    }

    fn files(&self) -> MutexGuard<'_, HashMap<BlobId, PathBuf>> {
        self.files.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Ids are paths from the root, without symbolic links.
impl Nodes for Folder {
    type Id = PathBuf;

    fn root(&self) -> PathBuf {
        PathBuf::new()
    }

    fn child(&self, folder: &PathBuf, name: &str) -> Result<Option<(PathBuf, EntryKind)>, Error> {
        if name == GIT {
            return Ok(None);
        }
        let path = folder.join(name);
        let kind = self.metadata(&path)?.and_then(|it| kind_of(it.file_type()));
        Ok(kind.map(|kind| (path, kind)))
    }

    fn children(&self, folder: &PathBuf, most: usize) -> Result<Option<Children<PathBuf>>, Error> {
        let failed = |error| self.failed(folder, &error);
        let mut children = Vec::new();
        for entry in fs::read_dir(self.root.join(folder)).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let name = entry.file_name();
            let Some(kind) = kind_of(entry.file_type().map_err(failed)?).filter(|_| name != *GIT)
            else {
                continue;
            };
            if children.len() == most {
                return Ok(None);
            }
            let path = folder.join(&name);
            children.push((name.to_string_lossy().into_owned(), path, kind));
        }
        Ok(Some(children))
    }

    fn link_target(&self, link: &PathBuf) -> Result<String, Error> {
        let target = fs::read_link(self.root.join(link));
        let target = target.map_err(|error| self.failed(link, &error))?;
        let target = target.to_string_lossy().into_owned();
        Ok(match target.len() > MAX_TARGET {
            true => String::new(),
            false => target,
        })
    }

    fn blob(&self, file: &PathBuf) -> Result<BlobId, Error> {
        let hash = hash_of(&self.root.join(file)).map_err(|error| self.failed(file, &error))?;
        let blob = BlobId(hash);
        self.files().insert(blob, file.clone());
        Ok(blob)
    }
}

impl Tree for Folder {
    fn identity(&self, path: &str) -> Result<TreeId, ReadError> {
        Ok(self.identify(path)?)
    }

    /// Always none: the folder may have changed since the last listing.
    fn known_identity(&self, _path: &str) -> Option<TreeId> {
        None
    }

    fn list(&self, path: &str) -> Result<Listing, ReadError> {
        let path = TreePath::parse(path)?;
        let content = |found: &ResolvedPath<PathBuf>| self.content(found);
        Ok(listing::list(
            self,
            &path,
            &self.shown,
            self.max_files,
            content,
        )?)
    }

    fn read(&self, blob: BlobId) -> Result<Vec<u8>, ReadError> {
        Ok(self.read_blob(blob)?)
    }

    fn entry(&self, path: &str) -> Result<PathEntry, ReadError> {
        let path = TreePath::parse(path)?;
        Ok(path::entry(self, &path, &self.shown)?)
    }

    fn names(&self, path: &str) -> Result<Vec<Name>, ReadError> {
        let path = TreePath::parse(path)?;
        Ok(path::names(self, &path, &self.shown, self.max_files)?)
    }
}

/// None for a socket, a pipe or a device.
fn kind_of(kind: FileType) -> Option<EntryKind> {
    if kind.is_dir() {
        Some(EntryKind::Folder)
    } else if kind.is_symlink() {
        Some(EntryKind::Link)
    } else {
        kind.is_file().then_some(EntryKind::File)
    }
}

/// The digest of a file. Reads in parts, because the file may be larger than memory.
fn hash_of(file: &Path) -> io::Result<ObjectId> {
    let mut file = fs::File::open(file)?;
    let mut hash = Sha256::new();
    let mut part = vec![0; 64 << 10];
    loop {
        match file.read(&mut part)? {
            0 => return Ok(ObjectId::new(&hash.finalize())),
            count => hash.update(&part[..count]),
        }
    }
}

fn digest(content: &[u8]) -> ObjectId {
    ObjectId::new(&Sha256::digest(content))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
