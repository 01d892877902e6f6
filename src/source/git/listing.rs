//! All files below a path of a revision.

use git2::{ObjectType, Oid};

use super::error::Error;
use super::path::{self, Found, Kind, RepoPath, View};
use crate::content::{BlobId, ContentKey, IGNORE_FILE, Listing, ObjectId, Revision, SourceFile};

/// The most folders inside each other.
const MAX_DEPTH: usize = 100;

/// Lists `path`.
pub(super) fn list(
    view: &View<'_>,
    path: &RepoPath,
    revision: &Revision,
    max_files: usize,
) -> Result<Listing, Error> {
    let found = path::find(view, path, revision)?;
    let above = path::above(view, path, IGNORE_FILE, revision)?;
    let mut walk = Walk {
        view,
        max_files,
        seen: 0,
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
        // Whatever is read through a submodule, its commit is in the tree.
        false => identify(found.id, &above, None)?,
        true => {
            let mut parts = [text(&above), vec![0], text(&files)].concat();
            for submodule in &submodules {
                parts.extend_from_slice(submodule.as_bytes());
                parts.push(0);
            }
            digest(&parts)?
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

struct Walk<'v, 'r> {
    view: &'v View<'r>,
    max_files: usize,
    /// Entries met.
    seen: usize,
    /// Whether a link was followed.
    followed: bool,
    /// Folders inside each other.
    depth: usize,
    /// Where we are, without symbolic links, and where we were at each link that led here. A link
    /// to one of these folders, or to one above, is a loop.
    real: Vec<String>,
    inside: Vec<Vec<String>>,
    files: Vec<SourceFile>,
    submodules: Vec<String>,
    /// The listed path, for messages.
    shown: String,
}

impl Walk<'_, '_> {
    /// Lists what a path led to, under the name `path`.
    fn enter(&mut self, found: &Found, path: &str) -> Result<(), Error> {
        if !found.is_folder {
            self.add_file(found.id, path);
            return Ok(());
        }
        let outside = std::mem::replace(&mut self.real, found.real.clone());
        self.inside.push(outside);
        self.folder(found.id, path)?;
        self.real = self.inside.pop().unwrap_or_default();
        Ok(())
    }

    fn folder(&mut self, id: Oid, path: &str) -> Result<(), Error> {
        if self.depth == MAX_DEPTH {
            return Err(Error::TooDeep {
                path: path.to_owned(),
                limit: MAX_DEPTH,
            });
        }
        let tree = self
            .view
            .repository
            .find_tree(id)
            .map_err(|error| Error::from_database(&error))?;
        self.seen += tree.len();
        if self.seen > self.max_files {
            return Err(Error::TooManyFiles {
                path: self.shown.clone(),
                limit: self.max_files,
            });
        }
        self.depth += 1;
        for entry in &tree {
            let name = String::from_utf8_lossy(entry.name_bytes()).into_owned();
            let below = if path.is_empty() {
                name.clone()
            } else {
                format!("{path}/{name}")
            };
            let folder = match Kind::of(entry.filemode_raw()) {
                Kind::File => {
                    self.add_file(entry.id(), &below);
                    None
                }
                Kind::Link => {
                    self.follow(entry.id(), &below)?;
                    None
                }
                Kind::Submodule => self.view.modules.tree(entry.id()),
                Kind::Folder => Some(entry.id()),
            };
            match folder {
                Some(id) => {
                    self.real.push(name);
                    self.folder(id, &below)?;
                    self.real.pop();
                }
                None if Kind::of(entry.filemode_raw()) == Kind::Submodule => {
                    self.submodules.push(below);
                }
                None => (),
            }
        }
        self.depth -= 1;
        Ok(())
    }

    /// Lists what the link at `path` points at as if it were there.
    fn follow(&mut self, id: Oid, path: &str) -> Result<(), Error> {
        self.followed = true;
        let target = path::link_target(self.view.repository, id)
            .map_err(|lost| lost.into_link_error(path, ""))?;
        if target.is_empty() || target.starts_with('/') {
            return Err(Error::LinkLeaves {
                link: path.to_owned(),
            });
        }
        let found = path::resolve(self.view, &self.real, &target)
            .map_err(|lost| lost.into_link_error(path, &target))?;
        if !found.is_folder {
            self.add_file(found.id, path);
            return Ok(());
        }
        let is_around = |folder: &Vec<String>| folder.starts_with(&found.real);
        if is_around(&self.real) || self.inside.iter().any(is_around) {
            return Err(Error::LinkLoop {
                link: path.to_owned(),
            });
        }
        self.enter(&found, path)
    }

    /// Without a look at the blob: of ten thousand files, those that changed are read.
    fn add_file(&mut self, id: Oid, path: &str) {
        self.files.push(SourceFile {
            path: path.into(),
            blob: BlobId(path::object_id(id)),
        });
    }
}

/// Paths and contents of files.
fn text(files: &[SourceFile]) -> Vec<u8> {
    let mut text = Vec::new();
    for file in files {
        text.extend_from_slice(file.path.as_bytes());
        text.push(0);
        text.extend_from_slice(file.blob.0.as_bytes());
    }
    text
}

/// What identifies a folder, `tree`, with all outside of it that says what it means: the ignore files
/// `above`, and the file that names submodules, where they are read.
pub(super) fn identify(
    tree: Oid,
    above: &[SourceFile],
    modules: Option<Oid>,
) -> Result<ObjectId, Error> {
    if above.is_empty() && modules.is_none() {
        return Ok(path::object_id(tree));
    }
    let modules = modules.unwrap_or(Oid::ZERO_SHA1);
    digest(&[tree.as_bytes(), modules.as_bytes(), &text(above)].concat())
}

fn digest(text: &[u8]) -> Result<ObjectId, Error> {
    Oid::hash_object(ObjectType::Blob, text)
        .map(path::object_id)
        .map_err(|error| Error::from_database(&error))
}
