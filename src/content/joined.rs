//! Several trees as one: other trees stand at folders of the first.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{BlobId, Listing, Name, PathEntry, ReadError, SourceFile, Tree, TreeId, within};

/// A tree with others at folders of it. A symbolic link leads out of none. Files are read from the tree in which they were
/// found: an object database is never asked for what only another one has.
#[derive(Debug)]
pub struct Joined {
    tree: Arc<dyn Tree>,
    others: Vec<Mount>,
    /// The files that were found in the other trees, and in which one.
    found: Mutex<HashMap<BlobId, usize>>,
}

/// Another tree, and where it is.
#[derive(Debug)]
struct Mount {
    /// The folder, which hides one of the same name.
    folder: String,
    tree: Arc<dyn Tree>,
}

impl Joined {
    /// `tree` with each of `others` at its folder. No folder is in another one.
    #[must_use]
    pub fn new(
        tree: Arc<dyn Tree>,
        others: impl IntoIterator<Item = (String, Arc<dyn Tree>)>,
    ) -> Self {
        let others = others.into_iter();
        Self {
            tree,
            others: others
                .map(|(folder, tree)| Mount { folder, tree })
                .collect(),
            found: Mutex::default(),
        }
    }

    /// The other tree that has a path, and the path in it.
    fn inner<'p>(&self, path: &'p str) -> Option<(usize, &'p str)> {
        let mut others = self.others.iter().enumerate();
        others.find_map(|(index, other)| Some((index, other.inner(path)?)))
    }

    fn note(&self, index: usize, blobs: impl IntoIterator<Item = BlobId>) {
        let blobs = blobs.into_iter();
        self.found().extend(blobs.map(|blob| (blob, index)));
    }

    fn found(&self) -> MutexGuard<'_, HashMap<BlobId, usize>> {
        self.found.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Mount {
    /// The path in this tree, if this has it.
    fn inner<'p>(&self, path: &'p str) -> Option<&'p str> {
        let rest = path.strip_prefix(&*self.folder)?;
        match rest.is_empty() {
            true => Some(rest),
            false => rest.strip_prefix('/'),
        }
    }

    fn outer(&self, inner: &str) -> String {
        within(&self.folder, inner)
    }
}

impl Tree for Joined {
    fn identity(&self, path: &str) -> Result<TreeId, ReadError> {
        match self.inner(path) {
            Some((index, inner)) => self.others[index].tree.identity(inner),
            None => self.tree.identity(path),
        }
    }

    fn known_identity(&self, path: &str) -> Option<TreeId> {
        match self.inner(path) {
            Some((index, inner)) => self.others[index].tree.known_identity(inner),
            None => self.tree.known_identity(path),
        }
    }

    fn list(&self, path: &str) -> Result<Listing, ReadError> {
        let Some((index, inner)) = self.inner(path) else {
            return self.tree.list(path);
        };
        let other = &self.others[index];
        let mut listing = other.tree.list(inner)?;
        let move_out = |file: &mut SourceFile| file.path = other.outer(&file.path).into();
        listing.files.iter_mut().for_each(move_out);
        listing.above.iter_mut().for_each(move_out);
        let files = listing.files.iter().chain(&listing.above);
        self.note(index, files.map(|file| file.blob));
        Ok(listing)
    }

    fn read(&self, blob: BlobId) -> Result<Vec<u8>, ReadError> {
        let index = self.found().get(&blob).copied();
        match index {
            Some(index) => self.others[index].tree.read(blob),
            None => self.tree.read(blob),
        }
    }

    fn entry(&self, path: &str) -> Result<PathEntry, ReadError> {
        let Some((index, inner)) = self.inner(path) else {
            return self.tree.entry(path);
        };
        let other = &self.others[index];
        let entry = other.tree.entry(inner)?;
        self.note(index, entry.file);
        Ok(PathEntry {
            real: other.outer(&entry.real),
            ..entry
        })
    }

    fn names(&self, path: &str) -> Result<Vec<Name>, ReadError> {
        match self.inner(path) {
            Some((index, inner)) => self.others[index].tree.names(inner),
            None => self.tree.names(path),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::Files;
    use super::*;

    #[test]
    fn each_file_comes_from_its_own_tree() {
        let own = Files::of([
            ("values.yaml", "own"),
            ("charts/x", "hidden"),
            ("both", "same"),
        ]);
        let other = Files::of([("a/Chart.yaml", "other"), ("both", "same")]);
        let third = Files::of([("both", "same"), ("c", "third")]);
        let others: [(String, Arc<dyn Tree>); 2] = [
            ("charts".to_owned(), other.clone()),
            ("more/of them".to_owned(), third),
        ];
        let joined = Joined::new(own.clone(), others);
        let read = |path: &str| {
            let entry = joined.entry(path).unwrap();
            assert_eq!(entry.real, path);
            String::from_utf8(joined.read(entry.file.unwrap()).unwrap()).unwrap()
        };
        assert_eq!(read("values.yaml"), "own");
        assert_eq!((own.reads(), other.reads()), (1, 0));
        assert_eq!(read("charts/a/Chart.yaml"), "other");
        assert_eq!((own.reads(), other.reads()), (1, 1));
        assert_eq!(read("both"), "same");
        assert_eq!(read("more/of them/c"), "third");
        assert!(joined.entry("charts/x").is_err(), "it is hidden");
        let names = joined.names("charts").unwrap();
        let names: Vec<_> = names.iter().map(|name| &*name.name).collect();
        assert_eq!(names, ["a", "both"]);
        let files = joined.list("charts/a").unwrap().files;
        assert_eq!(&*files[0].path, "charts/a/Chart.yaml");
        // A name that only begins alike is not the folder.
        assert!(joined.inner("charts2/a").is_none());
        assert!(joined.inner("more").is_none());
    }
}
