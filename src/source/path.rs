//! Paths in a tree of files. They are resolved as POSIX does, except that no path may leave the
//! tree.

use std::collections::VecDeque;
use std::fmt::Display;

use super::error::Error;
use crate::content::{BlobId, Name, PathEntry, SourceFile};
use crate::text::{printable, visible};

/// The most symbolic links followed for one path, as on Linux.
const MAX_LINKS: usize = 40;
/// The longest target of a symbolic link, in bytes (`PATH_MAX`).
pub(super) const MAX_TARGET: usize = 4096;

/// The kind of a folder's entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum EntryKind {
    Folder,
    File,
    Link,
    /// A folder that is another repository and was not fetched.
    Submodule,
}

/// The folders, files and links that paths go through. Each has an id.
pub(super) trait Nodes {
    /// Names a folder, a file or a link.
    type Id: Clone;

    /// The root folder.
    fn root(&self) -> Self::Id;

    /// The entry `name` of `folder`, for a path that goes through it.
    fn child(&self, folder: &Self::Id, name: &str) -> Result<Option<(Self::Id, EntryKind)>, Error>;

    /// All entries of `folder`. None if there are more than `most`.
    fn children(&self, folder: &Self::Id, most: usize)
    -> Result<Option<Children<Self::Id>>, Error>;

    /// The target of a symbolic link. Empty if it is longer than [`MAX_TARGET`].
    fn link_target(&self, link: &Self::Id) -> Result<String, Error>;

    /// The content id of a file.
    fn blob(&self, file: &Self::Id) -> Result<BlobId, Error>;
}

/// The entries of a folder.
pub(super) type Children<Id> = Vec<(String, Id, EntryKind)>;

/// A path relative to the root, without `.`, `..` and empty parts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct TreePath(Vec<String>);

impl TreePath {
    /// Parses `apps/prod` or `./apps//prod/`. An empty text or `.` is the root.
    pub(super) fn parse(path: &str) -> Result<Self, Error> {
        if path.contains('\0') {
            let path = visible(path).into_owned();
            return Err(Error::PathWithNul { path });
        }
        if path.starts_with('/') || path.split('/').any(|part| part == "..") {
            let path = printable(path);
            return Err(Error::PathLeaves { path });
        }
        let parts = path.split('/').filter(|part| !matches!(*part, "" | "."));
        Ok(Self(parts.map(str::to_owned).collect()))
    }

    /// The parts with `/` between them. Empty for the root.
    pub(super) fn joined(&self) -> String {
        self.0.join("/")
    }

    /// The path for messages: the root is `.`.
    fn shown(&self) -> String {
        if self.0.is_empty() {
            ".".to_owned()
        } else {
            self.joined()
        }
    }
}

/// The end of a path.
#[derive(Clone, Debug)]
pub(super) struct ResolvedPath<Id> {
    pub(super) id: Id,
    pub(super) is_folder: bool,
    /// Its path without symbolic links.
    pub(super) real: Vec<String>,
}

/// Why a path could not be resolved. The caller adds the path to the message.
#[derive(Debug)]
pub(super) enum PathProblem {
    Missing,
    /// A part of the path is not a folder: the part, and its kind.
    NotAFolder(String, &'static str),
    /// A symbolic link leaves the tree. None if the path itself leaves it.
    Leaves(Option<String>),
    /// The link that exceeds [`MAX_LINKS`].
    Loop(String),
    /// A link whose target does not exist.
    Dangles {
        link: String,
        target: String,
    },
    /// The tree cannot be read.
    Unreadable(Error),
}

impl From<Error> for PathProblem {
    fn from(error: Error) -> Self {
        Self::Unreadable(error)
    }
}

/// Finds the entry at `path`. `revision` is for the message.
pub(super) fn find<N: Nodes>(
    nodes: &N,
    path: &TreePath,
    revision: &dyn Display,
) -> Result<ResolvedPath<N::Id>, Error> {
    resolve(nodes, &[], &path.joined()).map_err(|problem| match problem {
        PathProblem::Missing => Error::PathNotFound {
            path: path.shown(),
            revision: revision.to_string(),
        },
        PathProblem::NotAFolder(part, kind) => Error::NotAFolder {
            path: path.shown(),
            part,
            kind,
        },
        problem => problem.into_link_error(&path.shown(), ""),
    })
}

/// What is at `path`, for a caller that reads it.
pub(super) fn entry<N: Nodes>(
    nodes: &N,
    path: &TreePath,
    revision: &dyn Display,
) -> Result<PathEntry, Error> {
    let found = find(nodes, path, revision)?;
    let file = match found.is_folder {
        true => None,
        false => Some(nodes.blob(&found.id)?),
    };
    let real = found.real.join("/");
    Ok(PathEntry { real, file })
}

/// The names in the folder at `path`, of which there may be `max_files`.
pub(super) fn names<N: Nodes>(
    nodes: &N,
    path: &TreePath,
    revision: &dyn Display,
    max_files: usize,
) -> Result<Vec<Name>, Error> {
    let found = find(nodes, path, revision)?;
    if !found.is_folder {
        return Err(Error::NotAFolder {
            path: path.shown(),
            part: path.shown(),
            kind: "file",
        });
    }
    let Some(children) = nodes.children(&found.id, max_files)? else {
        return Err(Error::TooManyFiles {
            path: path.shown(),
            limit: max_files,
        });
    };
    let mut names = Vec::with_capacity(children.len());
    for (name, _, kind) in children {
        let is_folder = match kind {
            EntryKind::File => false,
            EntryKind::Folder | EntryKind::Submodule => true,
            EntryKind::Link => match resolve(nodes, &found.real, &name) {
                Ok(target) => target.is_folder,
                Err(PathProblem::Unreadable(error)) => return Err(error),
                Err(_) => false,
            },
        };
        names.push(Name { name, is_folder });
    }
    names.sort_unstable_by(|a, b| a.name.cmp(&b.name));
    Ok(names)
}

/// The files called `name` in the folders around `path`, from the root on. Each is listed under the
/// folder names that `path` uses. Only plain files count, because Git does not follow a link for
/// its own settings.
pub(super) fn above<N: Nodes>(
    nodes: &N,
    path: &TreePath,
    name: &str,
    revision: &dyn Display,
) -> Result<Vec<SourceFile>, Error> {
    let mut files = Vec::new();
    for length in 0..path.0.len() {
        let folder = TreePath(path.0[..length].to_vec());
        let found = find(nodes, &folder, revision)?;
        if let Some((id, EntryKind::File)) = nodes.child(&found.id, name)? {
            let shown = TreePath([folder.0, vec![name.to_owned()]].concat());
            files.push(SourceFile {
                path: shown.joined().into(),
                blob: nodes.blob(&id)?,
            });
        }
    }
    Ok(files)
}

impl PathProblem {
    /// Makes an error about the link at `at` with the target `target`, unless another link is at
    /// fault.
    pub(super) fn into_link_error(self, at: &str, target: &str) -> Error {
        match self {
            Self::Leaves(link) => Error::LinkLeaves {
                link: link.unwrap_or_else(|| at.to_owned()),
            },
            Self::Loop(link) => Error::LinkLoop { link },
            Self::Dangles { link, target } => Error::LinkDangles { link, target },
            Self::Unreadable(error) => error,
            Self::Missing | Self::NotAFolder(..) => Error::LinkDangles {
                link: at.to_owned(),
                target: target.to_owned(),
            },
        }
    }
}

/// A part of a path that is not walked yet, and the link that it came from.
struct PathPart {
    name: String,
    link: Option<usize>,
}

/// Walks `path` from the folder `start` (parts without symbolic links).
pub(super) fn resolve<N: Nodes>(
    nodes: &N,
    start: &[String],
    path: &str,
) -> Result<ResolvedPath<N::Id>, PathProblem> {
    let mut walk = Walk {
        nodes,
        folders: vec![nodes.root()],
        names: Vec::new(),
        links: Vec::new(),
        left: VecDeque::new(),
    };
    walk.left
        .extend(start.iter().flat_map(|name| parts(name, None)));
    walk.left.extend(parts(path, None));
    while let Some(part) = walk.left.pop_front() {
        if let Some(file) = walk.take(part)? {
            return Ok(file);
        }
    }
    Ok(walk.folder())
}

fn parts(path: &str, link: Option<usize>) -> impl DoubleEndedIterator<Item = PathPart> {
    path.split('/')
        .filter(|part| !matches!(*part, "" | "."))
        .map(move |part| PathPart {
            name: part.to_owned(),
            link,
        })
}

struct Walk<'n, N: Nodes> {
    nodes: &'n N,
    /// The folders from the root to the current one. The path's last folder is not read.
    folders: Vec<N::Id>,
    /// Their names, without the root's.
    names: Vec<String>,
    /// The followed links: path and target.
    links: Vec<(String, String)>,
    left: VecDeque<PathPart>,
}

impl<N: Nodes> Walk<'_, N> {
    /// Walks one part. A file ends the walk.
    fn take(&mut self, part: PathPart) -> Result<Option<ResolvedPath<N::Id>>, PathProblem> {
        if part.name == ".." {
            if self.names.pop().is_none() {
                return Err(PathProblem::Leaves(
                    self.link(part.link).map(|(link, _)| link.clone()),
                ));
            }
            self.folders.pop();
            return Ok(None);
        }
        let Some((id, kind)) = self.nodes.child(&self.here(), &part.name)? else {
            return Err(self.missing(part.link));
        };
        match kind {
            EntryKind::Folder => {
                self.folders.push(id);
                self.names.push(part.name);
                Ok(None)
            }
            EntryKind::Link => self.follow(&id, &part).map(|()| None),
            EntryKind::File if self.left.is_empty() => Ok(Some(self.file(id, part.name))),
            EntryKind::File => Err(PathProblem::NotAFolder(self.path_of(&part.name), "file")),
            EntryKind::Submodule => Err(PathProblem::NotAFolder(
                self.path_of(&part.name),
                "submodule, which is fetched only if spec.recurseSubmodules of the GitRepository is true",
            )),
        }
    }

    /// Puts the link's target before the rest of the path.
    fn follow(&mut self, id: &N::Id, part: &PathPart) -> Result<(), PathProblem> {
        let link = self.path_of(&part.name);
        if self.links.len() == MAX_LINKS {
            return Err(PathProblem::Loop(link));
        }
        let target = self.nodes.link_target(id)?;
        if target.starts_with('/') || target.is_empty() {
            return Err(PathProblem::Leaves(Some(link)));
        }
        self.links.push((link, target.clone()));
        self.push_front(&target, Some(self.links.len() - 1));
        Ok(())
    }

    fn push_front(&mut self, path: &str, link: Option<usize>) {
        for part in parts(path, link).rev() {
            self.left.push_front(part);
        }
    }

    /// The current folder.
    fn here(&self) -> N::Id {
        self.folders
            .last()
            .cloned()
            .unwrap_or_else(|| self.nodes.root())
    }

    fn link(&self, link: Option<usize>) -> Option<&(String, String)> {
        self.links.get(link?)
    }

    fn missing(&self, link: Option<usize>) -> PathProblem {
        match self.link(link) {
            Some((link, target)) => PathProblem::Dangles {
                link: link.clone(),
                target: target.clone(),
            },
            None => PathProblem::Missing,
        }
    }

    fn path_of(&self, part: &str) -> String {
        let mut path = self.names.join("/");
        if !path.is_empty() {
            path.push('/');
        }
        path + part
    }

    fn file(&self, id: N::Id, name: String) -> ResolvedPath<N::Id> {
        let mut real = self.names.clone();
        real.push(name);
        ResolvedPath {
            id,
            is_folder: false,
            real,
        }
    }

    fn folder(self) -> ResolvedPath<N::Id> {
        ResolvedPath {
            id: self.here(),
            is_folder: true,
            real: self.names,
        }
    }
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
            assert_eq!(TreePath::parse(path).unwrap().joined(), parts);
        }
        for path in ["..", "a/..", "../a", "a/../b", "/", "/a", "a\0b"] {
            assert!(TreePath::parse(path).is_err(), "{path:?}");
        }
    }
}
