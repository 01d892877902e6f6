//! Paths in a revision, resolved as POSIX resolves them but for one thing: nothing leaves the
//! repository.

use std::cell::RefCell;
use std::collections::{HashMap, VecDeque};

use git2::{Oid, Repository, Tree};

use super::error::Error;
use super::modules::Modules;
use crate::content::{BlobId, ObjectId, Revision, SourceFile};
use crate::text::printable;

/// The most symbolic links followed for one path, as on Linux.
const MAX_LINKS: usize = 40;
/// The longest target of a symbolic link, in bytes (`PATH_MAX`).
const MAX_TARGET: usize = 4096;

/// File modes of tree entries.
const MODE_TREE: i32 = 0o040_000;
const MODE_LINK: i32 = 0o120_000;
const MODE_COMMIT: i32 = 0o160_000;

/// What a tree entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Folder,
    File,
    Link,
    Submodule,
}

impl Kind {
    pub(super) fn of(mode: i32) -> Self {
        match mode {
            MODE_TREE => Self::Folder,
            MODE_LINK => Self::Link,
            MODE_COMMIT => Self::Submodule,
            // 0644, 0755 and what old versions of Git wrote.
            _ => Self::File,
        }
    }
}

/// A path relative to the repository's root, without `.`, `..` and empty parts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct RepoPath(Vec<String>);

impl RepoPath {
    /// `apps/prod`, `./apps//prod/`; empty or `.` is the root.
    pub(super) fn parse(path: &str) -> Result<Self, Error> {
        let shown = printable(path);
        if path.starts_with('/') || path.split('/').any(|part| part == "..") || path.contains('\0')
        {
            return Err(Error::PathLeaves { path: shown });
        }
        let parts = path.split('/').filter(|part| !matches!(*part, "" | "."));
        Ok(Self(parts.map(str::to_owned).collect()))
    }

    /// With `/` between the parts; empty for the root.
    pub(super) fn joined(&self) -> String {
        self.0.join("/")
    }

    /// For messages: the root is `.`.
    fn shown(&self) -> String {
        if self.0.is_empty() {
            ".".to_owned()
        } else {
            self.joined()
        }
    }
}

/// Where paths are walked: the tree of a revision, with the submodules that belong to it.
pub(super) struct View<'r> {
    pub(super) repository: &'r Repository,
    pub(super) modules: &'r Modules,
    root: Oid,
    /// The folders that paths went through. All paths of a monorepo go through the same few, which are
    /// large: libgit2 keeps no tree of more than 4 KiB, and would inflate and check it for every path.
    passed: RefCell<HashMap<Oid, Tree<'r>>>,
}

impl<'r> View<'r> {
    pub(super) fn new(repository: &'r Repository, root: Oid, modules: &'r Modules) -> Self {
        Self {
            repository,
            modules,
            root,
            passed: RefCell::default(),
        }
    }

    /// The folder `id`, for a path that goes through it.
    fn pass(&self, id: Oid) -> Result<Tree<'r>, git2::Error> {
        if let Some(tree) = self.passed.borrow().get(&id) {
            return Ok(tree.clone());
        }
        let tree = self.repository.find_tree(id)?;
        self.passed.borrow_mut().insert(id, tree.clone());
        Ok(tree)
    }
}

/// What a path led to.
#[derive(Clone, Debug)]
pub(super) struct Found {
    pub(super) id: Oid,
    pub(super) is_folder: bool,
    /// Its path without symbolic links.
    pub(super) real: Vec<String>,
}

/// Why a path led nowhere; the caller knows what it was about.
#[derive(Debug)]
pub(super) enum Lost {
    Missing,
    /// The part that is no folder, and what it is.
    NotAFolder(String, &'static str),
    /// The link that leaves; none where the path itself does.
    Leaves(Option<String>),
    /// The link of too many.
    Loop(String),
    /// The link whose own target is missing.
    Dangles {
        link: String,
        target: String,
    },
    Database(git2::Error),
}

impl From<git2::Error> for Lost {
    fn from(error: git2::Error) -> Self {
        Self::Database(error)
    }
}

/// What is at `path`.
pub(super) fn find(view: &View<'_>, path: &RepoPath, revision: &Revision) -> Result<Found, Error> {
    resolve(view, &[], &path.joined()).map_err(|lost| match lost {
        Lost::Missing => Error::PathNotFound {
            path: path.shown(),
            revision: revision.to_string(),
        },
        Lost::NotAFolder(part, kind) => Error::NotAFolder {
            path: path.shown(),
            part,
            kind,
        },
        lost => lost.into_link_error(&path.shown(), ""),
    })
}

/// The files called `name` in the folders around `path`, from the root on, each under the name by which
/// `path` comes through its folder. Only plain files: Git follows no link for its own settings either.
pub(super) fn above(
    view: &View<'_>,
    path: &RepoPath,
    name: &str,
    revision: &Revision,
) -> Result<Vec<SourceFile>, Error> {
    let mut files = Vec::new();
    for length in 0..path.0.len() {
        let folder = RepoPath(path.0[..length].to_vec());
        let found = find(view, &folder, revision)?;
        let tree = view.pass(found.id);
        let tree = tree.map_err(|error| Error::from_database(&error))?;
        let Some(entry) = tree.get_name(name) else {
            continue;
        };
        if Kind::of(entry.filemode_raw()) == Kind::File {
            let shown = RepoPath([folder.0, vec![name.to_owned()]].concat());
            files.push(SourceFile {
                path: shown.joined().into(),
                blob: BlobId(object_id(entry.id())),
            });
        }
    }
    Ok(files)
}

impl Lost {
    /// As an error about the link at `at` that says `target`, where no other link is to blame.
    pub(super) fn into_link_error(self, at: &str, target: &str) -> Error {
        match self {
            Self::Leaves(link) => Error::LinkLeaves {
                link: link.unwrap_or_else(|| at.to_owned()),
            },
            Self::Loop(link) => Error::LinkLoop { link },
            Self::Dangles { link, target } => Error::LinkDangles { link, target },
            Self::Database(error) => Error::from_database(&error),
            Self::Missing | Self::NotAFolder(..) => Error::LinkDangles {
                link: at.to_owned(),
                target: target.to_owned(),
            },
        }
    }
}

/// A part of a path that is still to be walked, and the link that it came from.
struct Step {
    part: String,
    link: Option<usize>,
}

/// Walks `path` from the folder `start` (parts without symbolic links).
pub(super) fn resolve(view: &View<'_>, start: &[String], path: &str) -> Result<Found, Lost> {
    let mut walk = Walk {
        view,
        folders: vec![view.root],
        names: Vec::new(),
        links: Vec::new(),
        steps: VecDeque::new(),
    };
    walk.steps
        .extend(start.iter().flat_map(|name| parts(name, None)));
    walk.steps.extend(parts(path, None));
    while let Some(step) = walk.steps.pop_front() {
        if let Some(file) = walk.take(step)? {
            return Ok(file);
        }
    }
    Ok(walk.folder())
}

fn parts(path: &str, link: Option<usize>) -> impl DoubleEndedIterator<Item = Step> {
    path.split('/')
        .filter(|part| !matches!(*part, "" | "."))
        .map(move |part| Step {
            part: part.to_owned(),
            link,
        })
}

struct Walk<'v, 'r> {
    view: &'v View<'r>,
    /// The folders from the root to where we are. That which the path ends at is not read.
    folders: Vec<Oid>,
    /// Their names, the root's left out.
    names: Vec<String>,
    /// The links followed: path and target.
    links: Vec<(String, String)>,
    steps: VecDeque<Step>,
}

impl Walk<'_, '_> {
    /// Goes one part further; a file ends the walk.
    fn take(&mut self, step: Step) -> Result<Option<Found>, Lost> {
        if step.part == ".." {
            if self.names.pop().is_none() {
                return Err(Lost::Leaves(
                    self.link(step.link).map(|(link, _)| link.clone()),
                ));
            }
            self.folders.pop();
            return Ok(None);
        }
        let folder = self.view.pass(self.here())?;
        let entry = folder
            .get_name_bytes(step.part.as_bytes())
            .map(|entry| (entry.id(), Kind::of(entry.filemode_raw())));
        let Some((id, kind)) = entry else {
            return Err(self.missing(step.link));
        };
        // A submodule is a folder like any other, once it is fetched.
        let (id, kind) = match self
            .view
            .modules
            .tree(id)
            .filter(|_| kind == Kind::Submodule)
        {
            Some(tree) => (tree, Kind::Folder),
            None => (id, kind),
        };
        match kind {
            Kind::Folder => {
                self.folders.push(id);
                self.names.push(step.part);
                Ok(None)
            }
            Kind::Link => self.follow(id, &step).map(|()| None),
            Kind::File if self.steps.is_empty() => Ok(Some(self.file(id, step.part))),
            Kind::File => Err(Lost::NotAFolder(self.path_of(&step.part), "file")),
            Kind::Submodule => Err(Lost::NotAFolder(
                self.path_of(&step.part),
                "submodule, which is fetched only with spec.recurseSubmodules of the GitRepository",
            )),
        }
    }

    /// Puts what the link says in front of what is left of the path.
    fn follow(&mut self, id: Oid, step: &Step) -> Result<(), Lost> {
        let link = self.path_of(&step.part);
        if self.links.len() == MAX_LINKS {
            return Err(Lost::Loop(link));
        }
        let target = link_target(self.view.repository, id)?;
        if target.starts_with('/') || target.is_empty() {
            return Err(Lost::Leaves(Some(link)));
        }
        self.links.push((link, target.clone()));
        self.push_front(&target, Some(self.links.len() - 1));
        Ok(())
    }

    fn push_front(&mut self, path: &str, link: Option<usize>) {
        for step in parts(path, link).rev() {
            self.steps.push_front(step);
        }
    }

    /// The folder that the walk is in.
    fn here(&self) -> Oid {
        self.folders.last().copied().unwrap_or(self.view.root)
    }

    fn link(&self, link: Option<usize>) -> Option<&(String, String)> {
        self.links.get(link?)
    }

    fn missing(&self, link: Option<usize>) -> Lost {
        match self.link(link) {
            Some((link, target)) => Lost::Dangles {
                link: link.clone(),
                target: target.clone(),
            },
            None => Lost::Missing,
        }
    }

    fn path_of(&self, part: &str) -> String {
        let mut path = self.names.join("/");
        if !path.is_empty() {
            path.push('/');
        }
        path + part
    }

    fn file(&self, id: Oid, name: String) -> Found {
        let mut real = self.names.clone();
        real.push(name);
        Found {
            id,
            is_folder: false,
            real,
        }
    }

    fn folder(self) -> Found {
        Found {
            id: self.here(),
            is_folder: true,
            real: self.names,
        }
    }
}

/// What the symbolic link in the blob `id` says.
pub(super) fn link_target(repository: &Repository, id: Oid) -> Result<String, Lost> {
    let odb = repository.odb()?;
    if odb.read_header(id)?.0 > MAX_TARGET {
        return Ok(String::new());
    }
    let target = odb.read(id)?;
    Ok(String::from_utf8_lossy(target.data()).into_owned())
}

/// A Git id as the id of content that it is.
pub(super) fn object_id(id: Oid) -> ObjectId {
    ObjectId::new(id.as_bytes())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_normalised() {
        for (path, parts) in [
            ("", ""),
            (".", ""),
            ("./", ""),
            ("a//b/./c/", "a/b/c"),
            ("./a", "a"),
            ("a..b/...", "a..b/..."),
        ] {
            assert_eq!(RepoPath::parse(path).unwrap().joined(), parts);
        }
        for path in ["..", "a/..", "../a", "a/../b", "/", "/a", "a\0b"] {
            assert!(RepoPath::parse(path).is_err(), "{path:?}");
        }
    }
}
