//! The cache of repositories. It decides when a fetch may start.

use std::collections::HashMap;
use std::fs;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use tokio::runtime;
use tokio::sync::{Mutex as AsyncMutex, OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout_at;

use super::libgit2;
use super::limits::CacheSettings;
use super::reference::Reference;
use super::request::{FetchRequest, Fetched};
use super::snapshot::Snapshot;
use super::store::Store;
use super::transport::Agents;
use super::url::{self, RemoteUrl};
use crate::source::error::Error;

/// All repositories on disk. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Cache(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    settings: CacheSettings,
    agents: Agents,
    stores: Mutex<HashMap<String, Arc<AsyncMutex<Store>>>>,
    connections: Arc<Semaphore>,
    downloads: Arc<Semaphore>,
}

impl Cache {
    /// Opens the cache's folder, and creates it if it is missing. Files that a killed process left
    /// in a repository's folder are removed when the repository is next fetched.
    pub fn open(settings: CacheSettings) -> Result<Self, Error> {
        libgit2::prepare()?;
        fs::create_dir_all(&settings.folder)
            .map_err(|error| Error::from_io("create the folder", &error))?;
        Ok(Self(Arc::new(Inner {
            connections: Arc::new(Semaphore::new(settings.max_connections)),
            downloads: Arc::new(Semaphore::new(settings.max_downloads)),
            stores: Mutex::default(),
            agents: Agents::new(),
            settings,
        })))
    }

    /// Finds the wanted commit on the remote, and downloads it unless the cache has it.
    ///
    /// Makes one connection, and sends one request if nothing has changed. Makes no connection if
    /// the caller asks for a commit id that it has, and has proven its access. Requests for the
    /// same URL wait for each other, and share an answer that is new enough for both.
    ///
    /// # Errors
    ///
    /// All of [`Error`], except those about paths and files. The answer comes within `timeout`. The
    /// thread that does the work may end a little later, and keeps its place among the connections
    /// until then.
    pub async fn fetch(&self, request: FetchRequest) -> Result<Fetched, Error> {
        let is_ssh = matches!(RemoteUrl::parse(&request.url)?, RemoteUrl::Ssh(_));
        request.check_credentials(is_ssh)?;
        request.reference.check()?;
        if let Some(known) = self.pinned(&request) {
            return Ok(Fetched::Unchanged(known));
        }
        let asked_at = Instant::now();
        let deadline = asked_at + request.timeout;
        let (known, late) = (request.known.clone(), request.late());
        let snapshot = timeout_at(deadline.into(), self.run(request, asked_at, deadline))
            .await
            .unwrap_or(Err(late))?;
        Ok(match known {
            Some(known) if known.revision == snapshot.revision => Fetched::Unchanged(snapshot),
            _ => Fetched::New(snapshot),
        })
    }

    /// Removes every repository that is not in `urls` (a URL, and whether its full history is
    /// fetched), with its folder. Keeps a repository while a fetch of it runs or one of its
    /// snapshots is alive.
    pub async fn retain(&self, urls: impl IntoIterator<Item = (&str, bool)> + Send) {
        let urls = urls.into_iter();
        let keys: std::collections::HashSet<String> = urls
            .map(|(url, full_history)| url::cache_key(url, full_history))
            .collect();
        let this = self.clone();
        let swept = tokio::task::spawn_blocking(move || this.sweep(&keys)).await;
        if swept.is_err() {
            tracing::warn!("removing unused repositories was interrupted");
        }
    }

    fn sweep(&self, keys: &std::collections::HashSet<String>) {
        let Ok(entries) = fs::read_dir(&self.0.settings.folder) else {
            return;
        };
        // Holds the lock throughout, so that no fetch starts in a folder that is being removed.
        let mut stores = self.stores();
        for entry in entries.flatten() {
            let Ok(key) = entry.file_name().into_string() else {
                continue;
            };
            let busy = stores.get(&key).is_some_and(|store| {
                Arc::strong_count(store) > 1
                    || !store.try_lock().is_ok_and(|store| store.is_unused())
            });
            if is_key(&key) && !keys.contains(&key) && !busy {
                stores.remove(&key);
                if let Err(error) = fs::remove_dir_all(entry.path()) {
                    tracing::warn!(%error, "cannot remove an unused repository");
                }
            }
        }
    }

    /// The caller's snapshot, if the request names exactly its commit: a commit never changes.
    fn pinned(&self, request: &FetchRequest) -> Option<Arc<Snapshot>> {
        let (Reference::Commit(id), Some(known)) = (&request.reference, &request.known) else {
            return None;
        };
        let folder = self.folder(&request.key());
        let is_whole = known.modules().is_some() == request.recurse_submodules;
        (request.proven && is_whole && known.is_commit(id, &folder)).then(|| Arc::clone(known))
    }

    async fn run(
        &self,
        request: FetchRequest,
        asked_at: Instant,
        deadline: Instant,
    ) -> Result<Arc<Snapshot>, Error> {
        let mut store = self.store(request.key()).lock_owned().await;
        if let Some(snapshot) = store.shared(&request, asked_at) {
            return Ok(snapshot);
        }
        let connection = Arc::clone(&self.0.connections)
            .acquire_owned()
            .await
            .map_err(|_| Error::Interrupted)?;
        let this = self.clone();
        // The lock and the permit move into the closure. If the caller gives up, both are freed
        // only when the thread ends.
        tokio::task::spawn_blocking(move || {
            let slot = || this.download_slot(&request, deadline);
            let snapshot = store.update(&request, &this.0.settings, &this.0.agents, deadline, slot);
            drop(connection);
            snapshot
        })
        .await
        .map_err(|_| Error::Interrupted)?
    }

    /// Waits on a blocking thread until a download may start.
    fn download_slot(
        &self,
        request: &FetchRequest,
        deadline: Instant,
    ) -> Result<OwnedSemaphorePermit, Error> {
        let wait = Arc::clone(&self.0.downloads).acquire_owned();
        runtime::Handle::current()
            .block_on(async { timeout_at(deadline.into(), wait).await })
            .map_err(|_| request.late())?
            .map_err(|_| Error::Interrupted)
    }

    fn store(&self, key: String) -> Arc<AsyncMutex<Store>> {
        let folder = self.folder(&key);
        let mut stores = self.stores();
        let store = stores
            .entry(key)
            .or_insert_with(|| Arc::new(AsyncMutex::new(Store::new(folder))));
        Arc::clone(store)
    }

    fn folder(&self, key: &str) -> PathBuf {
        self.0.settings.folder.join(key)
    }

    fn stores(&self) -> std::sync::MutexGuard<'_, HashMap<String, Arc<AsyncMutex<Store>>>> {
        self.0.stores.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether [`url::cache_key`] can have made this folder name.
fn is_key(name: &str) -> bool {
    name.len() == 64 && name.bytes().all(|b| b.is_ascii_hexdigit())
}
