//! The budget of the cache: how many bytes all copies may have, and those of one namespace.
//!
//! The books hold the size of every copy on disk, and what running fetches have written so far. A
//! fetch that would go over the budget first has unused copies removed, and then fails.

use std::collections::HashMap;
use std::fs;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::copy_key::{self, CopyKey};

/// The share of the volume that copies may use, in percent. The rest is for the files that Git
/// writes beside packs, for what renderers made, and for a volume whose size is rounded.
const USABLE_PERCENT: u64 = 90;

/// The share of the volume that is for what renderers made, in percent, and the most of it. All outputs that are in use
/// fit into that: in memory they have 192 MiB.
const RENDERED_PERCENT: u64 = 2;
const MOST_RENDERED: u64 = 256 << 20;

/// The bytes that are for what renderers made, of a volume with `size` bytes. They are none of those that copies may use.
pub(super) fn rendered(size: u64) -> u64 {
    (size / 100 * RENDERED_PERCENT).min(MOST_RENDERED)
}

/// Which budget has no room, and its size in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Full {
    /// That of the namespace.
    Namespace(u64),
    /// That of the cache.
    Cache(u64),
}

/// The sizes of all copies, and their limits.
#[derive(Debug)]
pub(super) struct Budget {
    total: u64,
    per_namespace: u64,
    books: Mutex<Books>,
}

#[derive(Debug, Default)]
struct Books {
    /// The bytes of each copy on disk.
    copies: HashMap<CopyKey, u64>,
    /// The bytes that the running fetches of a namespace have written.
    running: HashMap<String, u64>,
}

impl Budget {
    /// The budget of a cache on a volume with `size` bytes. Without a limit for a namespace, each
    /// may use half.
    pub(super) fn new(size: u64, per_namespace: Option<u64>) -> Self {
        let total = size / 100 * USABLE_PERCENT;
        Self {
            total,
            per_namespace: per_namespace.unwrap_or(total / 2).min(total),
            books: Mutex::default(),
        }
    }

    /// Books `bytes` for a running fetch of `namespace`.
    pub(super) fn spend(&self, namespace: &str, bytes: u64) -> Result<(), Full> {
        let mut books = self.books();
        if books.of(namespace) + bytes > self.per_namespace {
            return Err(Full::Namespace(self.per_namespace));
        }
        if books.total() + bytes > self.total {
            return Err(Full::Cache(self.total));
        }
        *books.running.entry(namespace.to_owned()).or_default() += bytes;
        Ok(())
    }

    /// Ends what [`Self::spend`] booked.
    pub(super) fn refund(&self, namespace: &str, bytes: u64) {
        let mut books = self.books();
        if let Some(running) = books.running.get_mut(namespace) {
            *running = running.saturating_sub(bytes);
            if *running == 0 {
                books.running.remove(namespace);
            }
        }
    }

    /// Measures the copies in `cache`, all of them or those of one namespace.
    pub(super) fn measure(&self, cache: &Path, namespace: Option<&str>) {
        let measured = copies(cache)
            .into_iter()
            .filter(|key| namespace.is_none_or(|namespace| key.namespace == namespace))
            .map(|key| {
                let bytes = size(&key.folder(cache));
                (key, bytes)
            });
        let measured: Vec<_> = measured.collect();
        let mut books = self.books();
        let is_other = |key: &CopyKey| namespace.is_some_and(|only| key.namespace != only);
        books.copies.retain(|key, _| is_other(key));
        books.copies.extend(measured);
    }

    /// Measures one copy.
    pub(super) fn measure_copy(&self, cache: &Path, key: &CopyKey) {
        let bytes = size(&key.folder(cache));
        self.books().copies.insert(key.clone(), bytes);
    }

    /// Forgets a copy that was removed.
    pub(super) fn forget(&self, key: &CopyKey) {
        self.books().copies.remove(key);
    }

    fn books(&self) -> MutexGuard<'_, Books> {
        self.books.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Books {
    fn of(&self, namespace: &str) -> u64 {
        let copies = self.copies.iter();
        let copies = copies.filter(|(key, _)| key.namespace == namespace);
        let running = self.running.get(namespace).copied().unwrap_or(0);
        copies.map(|(_, bytes)| bytes).sum::<u64>() + running
    }

    fn total(&self) -> u64 {
        self.copies.values().chain(self.running.values()).sum()
    }
}

/// All copies on disk.
pub(super) fn copies(cache: &Path) -> Vec<CopyKey> {
    let names = |folder: &Path| {
        let entries = fs::read_dir(folder).into_iter().flatten().flatten();
        entries.filter_map(|entry| entry.file_name().into_string().ok())
    };
    let mut found = Vec::new();
    for folder in names(cache) {
        let Some(namespace) = copy_key::namespace_of(&folder) else {
            continue;
        };
        found.extend(
            names(&cache.join(&folder)).filter_map(|name| CopyKey::parse(namespace, &name)),
        );
    }
    found
}

/// The bytes of all files below a folder. A file that vanishes meanwhile does not count. What a
/// running fetch writes does not count either: the books have it already.
fn size(folder: &Path) -> u64 {
    let mut bytes = 0;
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            if entry.file_name().to_str().is_some_and(is_unfinished) {
                continue;
            }
            match entry.metadata() {
                Ok(metadata) if metadata.is_dir() => folders.push(entry.path()),
                Ok(metadata) => bytes += metadata.len(),
                Err(_) => (),
            }
        }
    }
    bytes
}

/// Whether a running fetch writes the file or the folder: a generation that is not complete, or a
/// pack that libgit2 receives.
fn is_unfinished(name: &str) -> bool {
    name.ends_with(".tmp") || name.starts_with("pack_git2_")
}

/// The bytes that a cache in `folder` may grow to: what it has, and what is free on its volume.
pub(super) fn volume(folder: &Path) -> u64 {
    let free = rustix::fs::statvfs(folder).map_or(u64::MAX / 2, |volume| {
        volume.f_bavail.saturating_mul(volume.f_frsize)
    });
    free.saturating_add(size(folder))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_namespace_cannot_take_what_others_need() {
        let budget = Budget::new(1000, None);
        budget.spend("a", 450).unwrap();
        assert_eq!(budget.spend("a", 1), Err(Full::Namespace(450)));
        budget.spend("b", 400).unwrap();
        assert_eq!(budget.spend("c", 51), Err(Full::Cache(900)));
        budget.spend("c", 50).unwrap();
        budget.refund("a", 450);
        budget.spend("c", 300).unwrap();
        // What is on disk counts like what is being written.
        let key = |namespace: &str| CopyKey {
            namespace: namespace.to_owned(),
            repository: "a".repeat(64),
            route: "b".repeat(16),
        };
        budget.books().copies.insert(key("c"), 100);
        assert_eq!(budget.spend("c", 1), Err(Full::Namespace(450)));
        budget.forget(&key("c"));
        budget.spend("c", 100).unwrap();
    }

    #[test]
    fn the_share_of_a_namespace_is_at_most_the_whole() {
        let budget = Budget::new(1000, Some(5000));
        assert_eq!(budget.spend("a", 901), Err(Full::Namespace(900)));
        budget.spend("a", 900).unwrap();
    }

    #[test]
    fn copies_on_disk_are_measured() {
        let cache = tempfile::TempDir::new().unwrap();
        let folder = format!("ns-a/{}-{}/1/objects/pack", "a".repeat(64), "b".repeat(16));
        fs::create_dir_all(cache.path().join(&folder)).unwrap();
        fs::write(cache.path().join(&folder).join("x.pack"), [0; 300]).unwrap();
        let budget = Budget::new(1000, None);
        budget.measure(cache.path(), None);
        assert_eq!(budget.spend("a", 151), Err(Full::Namespace(450)));
        budget.measure(cache.path(), Some("b"));
        budget.spend("a", 150).unwrap();
        fs::remove_dir_all(cache.path().join("ns-a")).unwrap();
        budget.measure(cache.path(), Some("a"));
        budget.spend("a", 300).unwrap();
    }
}
