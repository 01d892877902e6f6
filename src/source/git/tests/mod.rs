//! Fetches from a real smart HTTP server.

mod credentials;
mod disk;
mod excess;
mod failures;
mod local;
mod measure;
mod modules;
mod paths;
mod proxies;
mod references;
mod sharing;
mod ssh;

use std::sync::Arc;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::testing::{Behaviour, NewEntry, Remote, commit};
use super::*;
use crate::content::Listing;
use crate::source::Error;

const FILE: NewEntry<'static> = NewEntry::File(b"a: 1\n");

fn branch(name: &str) -> Reference {
    Reference::Branch(name.to_owned())
}

fn cache() -> (TempDir, Cache) {
    let folder = TempDir::new().unwrap();
    let cache = Cache::open(CacheSettings::new(folder.path())).unwrap();
    (folder, cache)
}

async fn fetch(cache: &Cache, request: FetchRequest) -> Arc<Snapshot> {
    Arc::clone(cache.fetch(request).await.unwrap().snapshot())
}

fn paths(listing: &Listing) -> Vec<&str> {
    listing.files.iter().map(|file| &*file.path).collect()
}

/// Waits until something is so.
async fn until(what: &str, is: impl Fn() -> bool) {
    let look = async || is().then_some(());
    towline_testing::wait::eventually(what, Duration::from_secs(20), look).await;
}

/// The folders of all copies.
fn copies(cache: &TempDir) -> Vec<std::path::PathBuf> {
    let entries = |folder: &std::path::Path| {
        let entries = std::fs::read_dir(folder).unwrap();
        entries
            .map(|entry| entry.unwrap().path())
            .collect::<Vec<_>>()
    };
    let namespaces = entries(cache.path());
    namespaces.iter().flat_map(|path| entries(path)).collect()
}

/// The generations of all copies.
fn generations(cache: &TempDir) -> Vec<String> {
    let mut names = Vec::new();
    for copy in copies(cache) {
        for entry in std::fs::read_dir(copy).unwrap() {
            names.push(entry.unwrap().file_name().into_string().unwrap());
        }
    }
    names.sort();
    names
}
