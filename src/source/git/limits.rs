//! The limits of one repository and of the cache.

use std::path::PathBuf;
use std::time::Duration;

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
    /// The bytes that the cache may use on its volume. None: what it has, and what is free on the
    /// volume when the cache is opened. Copies use nine tenths of that.
    pub volume_bytes: Option<u64>,
    /// The bytes that the copies of one namespace may have. None: half of what all may have.
    pub namespace_bytes: Option<u64>,
    /// The least that a server must send while towline waits for its data.
    pub floor: Floor,
    /// What a server may send.
    pub wire: WireLimits,
}

/// The least that a server must send: this many bytes in this time of waiting. Messages of a server
/// that prepares a pack count as well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Floor {
    /// Bytes in each `time`.
    pub bytes: u64,
    /// Time that is spent waiting for data.
    pub time: Duration,
}

/// The limits of what a server may send. They bound the memory that a fetch takes.
///
/// A fetch that needs more memory than the values called `small_…` waits until no other fetch does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WireLimits {
    /// The most references of one server. libgit2 keeps about 200 bytes for each.
    pub references: u64,
    /// The most bytes of their list.
    pub list_bytes: u64,
    /// The bytes of a list that needs little memory.
    pub small_list: u64,
    /// The most bytes of messages and of the negotiation.
    pub words: u64,
    /// The limits of the pack.
    pub pack: PackLimits,
}

/// The limits of a pack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PackLimits {
    /// The most objects. libgit2 keeps about 180 bytes for each.
    pub objects: u64,
    /// The objects of a pack that needs little memory.
    pub small_objects: u64,
    /// The most bytes of a commit, tree or tag.
    pub structure: u64,
    /// The most bytes of an object that is stored as a difference to another one, and of that other
    /// one. All three are in memory at a time. Other files are never in memory as a whole.
    pub delta: u64,
    /// The same for a pack that needs little memory.
    pub small_delta: u64,
    /// The most bytes of all objects together. They bound the processor time.
    pub inflated: u64,
    /// The processor time that it may take to find the bases of objects that are stored as differences. Where each stands
    /// before its base, libgit2 looks at all of them again for every one.
    pub search: Duration,
}

impl Default for WireLimits {
    fn default() -> Self {
        Self {
            references: 200_000,
            list_bytes: 16 << 20,
            small_list: 512 << 10,
            words: 4 << 20,
            pack: PackLimits::default(),
        }
    }
}

impl Default for PackLimits {
    fn default() -> Self {
        Self {
            objects: 1_000_000,
            small_objects: 20_000,
            structure: 8 << 20,
            delta: 32 << 20,
            small_delta: 2 << 20,
            inflated: 64 << 30,
            search: Duration::from_secs(30),
        }
    }
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
            volume_bytes: None,
            namespace_bytes: None,
            floor: Floor {
                bytes: 30 << 10,
                time: Duration::from_secs(30),
            },
            wire: WireLimits::default(),
        }
    }
}
