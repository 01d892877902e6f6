//! The limits of one repository and of the cache.

use std::path::PathBuf;

/// The cache's folder and its limits.
#[derive(Clone, Debug)]
pub struct CacheSettings {
    /// The cache's folder. It is created if it is missing. Only one process may use it at a time.
    pub folder: PathBuf,
    /// The most bytes that one fetch may receive.
    pub max_fetch_bytes: u64,
    /// The most bytes of one file.
    pub max_file_bytes: u64,
    /// The most entries (files, folders, links) in one listing.
    pub max_files: usize,
    /// The most downloads at a time. Each download holds an index of its pack in memory.
    pub max_downloads: usize,
    /// The most connections at a time, downloads included. This is more than `max_downloads`, so
    /// that servers that never answer do not stop the polling of other servers.
    pub max_connections: usize,
    /// If a repository's folder has more packs than this, the repository is fetched anew. Every
    /// fetch adds one pack.
    pub max_packs: usize,
    /// If a repository's folder has more bytes than this, the repository is fetched anew. So a
    /// folder holds at most this and one fetch; while it is replaced, one more fetch.
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
