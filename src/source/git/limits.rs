//! What a repository may cost.

use std::path::PathBuf;

/// Where the cache is, and its bounds.
#[derive(Clone, Debug)]
pub struct CacheSettings {
    /// The cache's folder; created if it is missing, and owned by one process at a time.
    pub folder: PathBuf,
    /// Most bytes received in one fetch.
    pub max_fetch_bytes: u64,
    /// Most bytes of one file that is read.
    pub max_file_bytes: u64,
    /// Most entries (files, folders, links) that one listing may walk.
    pub max_files: usize,
    /// Most downloads at a time; each holds an index of what it receives in memory.
    pub max_downloads: usize,
    /// Most connections at a time, downloads among them. Higher than `max_downloads`, so that
    /// servers which never answer do not keep others from being polled.
    pub max_connections: usize,
    /// Packs in a repository's folder above which it is fetched anew; every fetch adds one.
    pub max_packs: usize,
    /// Bytes in a repository's folder above which it is fetched anew: the folder never holds more
    /// than these and one fetch, and for the time of being replaced, one fetch more.
    pub max_folder_bytes: u64,
}

impl CacheSettings {
    /// The defaults, in `folder`.
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self {
            folder: folder.into(),
            max_fetch_bytes: 1 << 30,
            max_file_bytes: 16 << 20,
            max_files: 100_000,
            max_downloads: 8,
            max_connections: 64,
            max_packs: 64,
            max_folder_bytes: 2 << 30,
        }
    }
}
