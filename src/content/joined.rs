//! Two trees as one: another tree stands at a folder of the first.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

use super::{BlobId, Listing, Name, Place, ReadError, SourceFile, Tree, TreeId, within};

/// A tree with another one at a folder of its root. A symbolic link leads out of neither. Files are read from the tree
/// in which they were found: an object database is never asked for what only the other one has.
#[derive(Debug)]
pub struct Joined {
    tree: Arc<dyn Tree>,
    /// The name of the folder, which hides one of the same name.
    folder: String,
    other: Arc<dyn Tree>,
    /// The files that were found in the other tree.
    others: Mutex<HashSet<BlobId>>,
}

impl Joined {
    /// `tree` with `other` at `folder`.
    #[must_use]
    pub fn new(tree: Arc<dyn Tree>, folder: &str, other: Arc<dyn Tree>) -> Self {
        Self {
            tree,
            folder: folder.to_owned(),
            other,
            others: Mutex::default(),
        }
    }

    /// The path in the other tree, if that has it.
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

    fn note(&self, blobs: impl IntoIterator<Item = BlobId>) {
        let mut others = self.others.lock().unwrap_or_else(PoisonError::into_inner);
        others.extend(blobs);
    }

    fn is_of_other(&self, blob: BlobId) -> bool {
        let others = self.others.lock().unwrap_or_else(PoisonError::into_inner);
        others.contains(&blob)
    }
}

impl Tree for Joined {
    fn identity(&self, path: &str) -> Result<TreeId, ReadError> {
        match self.inner(path) {
            Some(inner) => self.other.identity(inner),
            None => self.tree.identity(path),
        }
    }

    fn known_identity(&self, path: &str) -> Option<TreeId> {
        match self.inner(path) {
            Some(inner) => self.other.known_identity(inner),
            None => self.tree.known_identity(path),
        }
    }

    fn list(&self, path: &str) -> Result<Listing, ReadError> {
        let Some(inner) = self.inner(path) else {
            return self.tree.list(path);
        };
        let mut listing = self.other.list(inner)?;
        let move_out = |file: &mut SourceFile| file.path = self.outer(&file.path).into();
        listing.files.iter_mut().for_each(move_out);
        listing.above.iter_mut().for_each(move_out);
        self.note(listing.files.iter().map(|file| file.blob));
        self.note(listing.above.iter().map(|file| file.blob));
        Ok(listing)
    }

    fn read(&self, blob: BlobId) -> Result<Vec<u8>, ReadError> {
        match self.is_of_other(blob) {
            true => self.other.read(blob),
            false => self.tree.read(blob),
        }
    }

    fn place(&self, path: &str) -> Result<Place, ReadError> {
        let Some(inner) = self.inner(path) else {
            return self.tree.place(path);
        };
        let place = self.other.place(inner)?;
        self.note(place.file);
        Ok(Place {
            real: self.outer(&place.real),
            ..place
        })
    }

    fn names(&self, path: &str) -> Result<Vec<Name>, ReadError> {
        match self.inner(path) {
            Some(inner) => self.other.names(inner),
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
        let joined = Joined::new(own.clone(), "charts", other.clone());
        let read = |path: &str| {
            let place = joined.place(path).unwrap();
            assert_eq!(place.real, path);
            String::from_utf8(joined.read(place.file.unwrap()).unwrap()).unwrap()
        };
        assert_eq!(read("values.yaml"), "own");
        assert_eq!((own.reads(), other.reads()), (1, 0));
        assert_eq!(read("charts/a/Chart.yaml"), "other");
        assert_eq!((own.reads(), other.reads()), (1, 1));
        assert_eq!(read("both"), "same");
        assert!(joined.place("charts/x").is_err(), "it is hidden");
        let names = joined.names("charts").unwrap();
        let names: Vec<_> = names.iter().map(|name| &*name.name).collect();
        assert_eq!(names, ["a", "both"]);
        let files = joined.list("charts/a").unwrap().files;
        assert_eq!(&*files[0].path, "charts/a/Chart.yaml");
        // A name that only begins alike is not the folder.
        assert!(joined.inner("charts2/a").is_none());
    }
}
