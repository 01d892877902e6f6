//! All files below a path of a tree.

use std::fmt::Display;

use sha2::{Digest as _, Sha256};

use super::error::Error;
use super::path::{self, EntryKind, Nodes, ResolvedPath, TreePath};
use crate::content::{ContentKey, IGNORE_FILE, Listing, ObjectId, SourceFile, within};

/// How deep folders may nest.
pub(super) const MAX_DEPTH: usize = 100;

/// The most bytes of all paths in a listing. A path repeats the names of its folders, so few bytes in
/// Git can make very long paths.
const MAX_PATH_BYTES: usize = 32 << 20;

/// Lists `path`. `revision` is for messages.
pub(super) fn list<N: Nodes>(
    nodes: &N,
    path: &TreePath,
    revision: &dyn Display,
    max_files: usize,
    identity: impl FnOnce(&ResolvedPath<N::Id>) -> Result<ObjectId, Error>,
) -> Result<Listing, Error> {
    let found = path::find(nodes, path, revision)?;
    let above = path::above(nodes, path, IGNORE_FILE, revision)?;
    let mut walk = Walk {
        nodes,
        max_files,
        seen: 0,
        path_bytes: 0,
        followed: false,
        depth: 0,
        inside: Vec::new(),
        real: Vec::new(),
        files: Vec::new(),
        submodules: Vec::new(),
        shown: path.joined(),
    };
    walk.enter(&found, &path.joined())?;
    let Walk {
        mut files,
        mut submodules,
        followed,
        ..
    } = walk;
    files.sort_unstable_by(|a, b| a.path.cmp(&b.path));
    submodules.sort_unstable();
    let key = match followed {
        // The commit of each submodule is in the tree, so the tree's id covers its files.
        false => identify(identity(&found)?, &above, None),
        true => {
            let mut parts = [text(&above), vec![0], text(&files)].concat();
            for submodule in &submodules {
                parts.extend_from_slice(submodule.as_bytes());
                parts.push(0);
            }
            digest(&[&parts])
        }
    };
    let key = ContentKey(key);
    Ok(Listing {
        key,
        files,
        above,
        self_contained: !followed,
        submodules,
    })
}

struct Walk<'n, N: Nodes> {
    nodes: &'n N,
    max_files: usize,
    /// The number of entries so far.
    seen: usize,
    /// The bytes of all paths so far.
    path_bytes: usize,
    /// Whether a link was followed.
    followed: bool,
    /// How deep the current folder is.
    depth: usize,
    /// The path of the current folder without symbolic links. `inside` has the same for each
    /// followed link around it. A link to one of these folders, or to a folder above them, is a
    /// loop.
    real: Vec<String>,
    inside: Vec<Vec<String>>,
    files: Vec<SourceFile>,
    submodules: Vec<String>,
    /// The path that is listed, for messages.
    shown: String,
}

impl<N: Nodes> Walk<'_, N> {
    /// Lists `found` under the name `path`.
    fn enter(&mut self, found: &ResolvedPath<N::Id>, path: &str) -> Result<(), Error> {
        if !found.is_folder {
            return self.add_file(&found.id, path);
        }
        let outside = std::mem::replace(&mut self.real, found.real.clone());
        self.inside.push(outside);
        self.folder(&found.id, path)?;
        self.real = self.inside.pop().unwrap_or_default();
        Ok(())
    }

    fn folder(&mut self, id: &N::Id, path: &str) -> Result<(), Error> {
        if self.depth == MAX_DEPTH {
            return Err(Error::TooDeep {
                path: path.to_owned(),
                limit: MAX_DEPTH,
            });
        }
        let most = self.max_files - self.seen;
        let Some(children) = self.nodes.children(id, most)? else {
            return Err(Error::TooManyFiles {
                path: self.shown.clone(),
                limit: self.max_files,
            });
        };
        self.seen += children.len();
        self.depth += 1;
        for (name, id, kind) in children {
            self.path_bytes += path.len() + name.len();
            if self.path_bytes > MAX_PATH_BYTES {
                return Err(Error::PathsTooLong {
                    path: self.shown.clone(),
                    limit: MAX_PATH_BYTES,
                });
            }
            let below = within(path, &name);
            match kind {
                EntryKind::File => self.add_file(&id, &below)?,
                EntryKind::Link => self.follow(&id, &below)?,
                EntryKind::Submodule => self.submodules.push(below),
                EntryKind::Folder => {
                    self.real.push(name);
                    self.folder(&id, &below)?;
                    self.real.pop();
                }
            }
        }
        self.depth -= 1;
        Ok(())
    }

    /// Lists the target of the link at `path` as if it were at `path`.
    fn follow(&mut self, id: &N::Id, path: &str) -> Result<(), Error> {
        self.followed = true;
        let target = self.nodes.link_target(id)?;
        if target.is_empty() || target.starts_with('/') {
            return Err(Error::LinkLeaves {
                link: path.to_owned(),
            });
        }
        let found = path::resolve(self.nodes, &self.real, &target)
            .map_err(|problem| problem.into_link_error(path, &target))?;
        if !found.is_folder {
            return self.add_file(&found.id, path);
        }
        let is_around = |folder: &Vec<String>| folder.starts_with(&found.real);
        if is_around(&self.real) || self.inside.iter().any(is_around) {
            return Err(Error::LinkLoop {
                link: path.to_owned(),
            });
        }
        self.enter(&found, path)
    }

    fn add_file(&mut self, id: &N::Id, path: &str) -> Result<(), Error> {
        let blob = self.nodes.blob(id)?;
        let path = path.into();
        self.files.push(SourceFile { path, blob });
        Ok(())
    }
}

/// The paths and content ids of files, as bytes.
fn text(files: &[SourceFile]) -> Vec<u8> {
    let mut text = Vec::new();
    for file in files {
        text.extend_from_slice(file.path.as_bytes());
        text.push(0);
        text.extend_from_slice(file.blob.0.as_bytes());
    }
    text
}

/// The id of a folder with the id `tree` and everything outside it that changes its meaning: the
/// ignore files `above` it, and `.gitmodules` if submodules are fetched.
pub(super) fn identify(
    tree: ObjectId,
    above: &[SourceFile],
    modules: Option<ObjectId>,
) -> ObjectId {
    if above.is_empty() && modules.is_none() {
        return tree;
    }
    let modules = modules.unwrap_or(ObjectId::new(&[]));
    digest(&[
        tree.as_bytes(),
        &[0],
        modules.as_bytes(),
        &[0],
        &text(above),
    ])
}

fn digest(parts: &[&[u8]]) -> ObjectId {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update(part);
    }
    ObjectId::new(&hash.finalize())
}
