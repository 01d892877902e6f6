//! The tree of a revision in an object database, including its submodules.

use std::cell::RefCell;
use std::collections::HashMap;

use git2::{Oid, Repository, Tree};

use super::entry::{kind_of, object_id};
use super::modules::Modules;
use crate::content::{BlobId, ObjectId};
use crate::source::error::Error;
use crate::source::path::{Children, EntryKind, MAX_TARGET, Nodes};

/// A revision's tree, open for reading.
pub(super) struct View<'r> {
    repository: &'r Repository,
    modules: &'r Modules,
    root: Oid,
    /// The folders that paths went through. libgit2 keeps none that is large (libgit2.rs), so it would inflate and check
    /// them for every path.
    passed: RefCell<Passed<'r>>,
}

/// Folders, and how many entries they have together.
#[derive(Default)]
struct Passed<'r> {
    trees: HashMap<Oid, Tree<'r>>,
    entries: usize,
}

/// The most entries of the folders that are kept. A path through many large folders must not keep
/// all of them in memory.
const MAX_PASSED: usize = 200_000;

impl<'r> View<'r> {
    pub(super) fn new(repository: &'r Repository, root: Oid, modules: &'r Modules) -> Self {
        Self {
            repository,
            modules,
            root,
            passed: RefCell::default(),
        }
    }

    /// The id of `.gitmodules`, if submodules are fetched.
    pub(super) fn modules_file(&self) -> Option<ObjectId> {
        self.modules.file().map(object_id)
    }

    /// A fetched submodule is a folder like any other.
    fn entry(&self, id: Oid, mode: i32) -> (Oid, EntryKind) {
        match kind_of(mode) {
            EntryKind::Submodule => match self.modules.tree(id) {
                Some(tree) => (tree, EntryKind::Folder),
                None => (id, EntryKind::Submodule),
            },
            kind => (id, kind),
        }
    }

    /// Reads the folder `id`, which a path goes through.
    fn pass(&self, id: Oid) -> Result<Tree<'r>, git2::Error> {
        if let Some(tree) = self.passed.borrow().trees.get(&id) {
            return Ok(tree.clone());
        }
        let tree = self.repository.find_tree(id)?;
        let mut passed = self.passed.borrow_mut();
        if passed.entries + tree.len() > MAX_PASSED {
            *passed = Passed::default();
        }
        passed.entries += tree.len();
        passed.trees.insert(id, tree.clone());
        Ok(tree)
    }

    fn link(&self, id: Oid) -> Result<String, git2::Error> {
        let odb = self.repository.odb()?;
        if odb.read_header(id)?.0 > MAX_TARGET {
            return Ok(String::new());
        }
        let target = odb.read(id)?;
        Ok(String::from_utf8_lossy(target.data()).into_owned())
    }
}

impl Nodes for View<'_> {
    type Id = Oid;

    fn root(&self) -> Oid {
        self.root
    }

    fn child(&self, folder: &Oid, name: &str) -> Result<Option<(Oid, EntryKind)>, Error> {
        let folder = self.pass(*folder);
        let folder = folder.map_err(|error| Error::from_database(&error))?;
        let entry = folder.get_name_bytes(name.as_bytes());
        Ok(entry.map(|entry| self.entry(entry.id(), entry.filemode_raw())))
    }

    fn children(&self, folder: &Oid, most: usize) -> Result<Option<Children<Oid>>, Error> {
        let tree = self.repository.find_tree(*folder);
        let tree = tree.map_err(|error| Error::from_database(&error))?;
        if tree.len() > most {
            return Ok(None);
        }
        let entries = tree.iter().map(|entry| {
            let name = String::from_utf8_lossy(entry.name_bytes()).into_owned();
            let (id, kind) = self.entry(entry.id(), entry.filemode_raw());
            (name, id, kind)
        });
        Ok(Some(entries.collect()))
    }

    fn link_target(&self, link: &Oid) -> Result<String, Error> {
        self.link(*link)
            .map_err(|error| Error::from_database(&error))
    }

    /// Does not read the blob: of ten thousand files, only the changed ones are read.
    fn blob(&self, file: &Oid) -> Result<BlobId, Error> {
        Ok(BlobId(object_id(*file)))
    }
}
