//! The folders that a render did not leave. While each of them is as it was, so are all answers of the tree, and nobody has
//! to ask for the single paths again.

use std::collections::{BTreeSet, HashMap, HashSet};

use super::{Reads, is_answer};
use crate::content::{PathEntry, Tree, within};

/// The most folders: each is looked at in every revision.
const MOST: usize = 16;

/// The most paths that are looked at to find them, each a few times.
const MOST_PATHS: usize = 4_000;

impl Reads {
    /// The folders, of which none is in another one, that hold `path` and all that was looked at in `tree`. None where a
    /// symbolic link leads anywhere, for a folder's identity does not cover where its links lead; and where it is the root,
    /// which differs in every revision.
    pub fn folders(&self, tree: &dyn Tree, path: &str) -> Option<BTreeSet<String>> {
        if self.len() > MOST_PATHS {
            return None;
        }
        let mut finder = Finder {
            tree,
            found: BTreeSet::new(),
            names: HashMap::new(),
        };
        finder.add(plain(path)?)?;
        for (path, place) in &self.places {
            match place {
                Some(place) if place.real != **path => return None,
                Some(PathEntry { file: Some(_), .. }) => finder.add(parent(path)?)?,
                Some(PathEntry { file: None, .. }) => (),
                None => finder.add_absent(path)?,
            }
        }
        for (path, names) in &self.folders {
            match names {
                Some(_) => finder.add_listed(path)?,
                None => finder.add_absent(path)?,
            }
        }
        // Of a folder that was only found to be one, some path in it is enough.
        for (path, place) in &self.places {
            let is_folder = matches!(place, Some(PathEntry { file: None, .. }));
            if is_folder && !finder.has_within(path) {
                finder.add(path)?;
            }
        }
        Some(finder.found).filter(|found| found.len() <= MOST)
    }
}

/// Without what says nothing. None for the root.
fn plain(path: &str) -> Option<&str> {
    let path = path.strip_prefix("./").unwrap_or(path);
    let path = path.trim_end_matches('/');
    (!matches!(path, "" | ".")).then_some(path)
}

/// The folder that a path is in. None for the root.
fn parent(path: &str) -> Option<&str> {
    path.rsplit_once('/').map(|(folder, _)| folder)
}

struct Finder<'a> {
    tree: &'a dyn Tree,
    found: BTreeSet<String>,
    /// The names in the folders that were asked for something absent.
    names: HashMap<String, HashSet<String>>,
}

impl Finder<'_> {
    /// Adds a folder, in the place of those that are in it. None where it is not what its path says, or the root.
    fn add(&mut self, folder: &str) -> Option<()> {
        if folder.is_empty() {
            return None;
        }
        if !self.has(folder) {
            let there = self.tree.entry(folder).ok()?;
            if there.real != folder {
                return None;
            }
            self.found.retain(|inner| !is_in(inner, folder));
            self.found.insert(folder.to_owned());
        }
        Some(())
    }

    /// Whether one of the folders holds a path.
    fn has(&self, path: &str) -> bool {
        self.found.iter().any(|folder| is_in(path, folder))
    }

    /// Whether one of the folders is this one, or in it.
    fn has_within(&self, path: &str) -> bool {
        self.found.iter().any(|folder| is_in(folder, path))
    }

    /// A folder whose names matter, and whether each is a file or a folder.
    fn add_listed(&mut self, path: &str) -> Option<()> {
        // What is in one of the folders by its path may be elsewhere.
        if self.tree.entry(path).ok()?.real != path {
            return None;
        }
        for name in self.tree.names(path).ok()? {
            let inner = within(path, &name.name);
            if self.tree.entry(&inner).ok()?.real != inner {
                return None;
            }
        }
        self.add(path)
    }

    /// What must not appear: the last folder on its way that is there. A link or a file on the way may lead there later.
    fn add_absent(&mut self, path: &str) -> Option<()> {
        let mut inner = path;
        loop {
            let folder = parent(inner)?;
            match self.tree.entry(folder) {
                Ok(entry) if entry.file.is_none() && entry.real == folder => {
                    let name = &inner[folder.len() + 1..];
                    return match self.names(folder)?.contains(name) {
                        true => None,
                        false => self.add(folder),
                    };
                }
                Ok(_) => return None,
                Err(error) if is_answer(&error) => inner = folder,
                Err(_) => return None,
            }
        }
    }

    fn names(&mut self, folder: &str) -> Option<&HashSet<String>> {
        if !self.names.contains_key(folder) {
            let names = self.tree.names(folder).ok()?.into_iter();
            let names = names.map(|name| name.name).collect();
            self.names.insert(folder.to_owned(), names);
        }
        self.names.get(folder)
    }
}

fn is_in(path: &str, folder: &str) -> bool {
    let rest = path.strip_prefix(folder);
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
