//! Fetches from a real smart HTTP server.

mod credentials;
mod disk;
mod failures;
mod measure;
mod modules;
mod paths;
mod proxies;
mod references;
mod ssh;

use std::sync::Arc;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::testing::{Behaviour, Entry, Remote, commit};
use super::*;
use crate::content::Listing;
use crate::source::Error;

const FILE: Entry<'static> = Entry::File(b"a: 1\n");

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

/// The repositories' folders, and the generations in each.
fn generations(cache: &TempDir) -> Vec<String> {
    let mut names = Vec::new();
    for repository in std::fs::read_dir(cache.path()).unwrap() {
        for entry in std::fs::read_dir(repository.unwrap().path()).unwrap() {
            names.push(entry.unwrap().file_name().into_string().unwrap());
        }
    }
    names.sort();
    names
}
