//! The cache of repositories. It decides when a fetch may start.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use tokio::sync::{Mutex as AsyncMutex, OwnedMutexGuard};
use tokio::time::timeout_at;

use super::budget::{self, Budget, Full};
use super::copy_key::{self, CopyKey};
use super::libgit2;
use super::limits::CacheSettings;
use super::reference::Reference;
use super::request::{FetchRequest, Fetched};
use super::snapshot::Snapshot;
use super::stop::Stop;
use super::store::Store;
use super::ticket::Ticket;
use super::transport::Agents;
use super::turns::Turns;
use super::url;
use crate::source::error::Error;
use crate::url::RemoteUrl;

/// All repositories on disk. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Cache(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    settings: CacheSettings,
    agents: Agents,
    stores: Mutex<HashMap<CopyKey, CachedStore>>,
    budget: Budget,
    rendered_bytes: u64,
    connections: Turns,
    downloads: Turns,
    large: Turns,
}

/// A store, and when it was last asked for.
#[derive(Debug)]
struct CachedStore {
    store: Arc<AsyncMutex<Store>>,
    used: Instant,
}

impl CachedStore {
    /// Whether a fetch uses the store, or a snapshot reads from it.
    fn is_busy(&self) -> bool {
        let is_unused = || self.store.try_lock().is_ok_and(|store| store.is_unused());
        Arc::strong_count(&self.store) > 1 || !is_unused()
    }
}

impl Cache {
    /// Opens the cache's folder, and creates it if it is missing. Files that a killed process left
    /// in a repository's folder are removed when the repository is next fetched. Copies of earlier
    /// versions, which all namespaces shared, are removed now.
    pub fn open(settings: CacheSettings) -> Result<Self, Error> {
        libgit2::prepare()?;
        fs::create_dir_all(&settings.folder)
            .map_err(|error| Error::from_io("create the folder", &error))?;
        remove_shared_copies(&settings)?;
        let volume = settings.volume_bytes;
        let volume = volume.unwrap_or_else(|| budget::volume(&settings.folder));
        let budget = Budget::new(volume, settings.namespace_bytes);
        budget.measure(&settings.folder, None);
        Ok(Self(Arc::new(Inner {
            connections: Turns::new(settings.max_connections),
            downloads: Turns::new(settings.max_downloads),
            large: Turns::new(1),
            stores: Mutex::default(),
            agents: Agents::new(),
            budget,
            rendered_bytes: budget::rendered(volume),
            settings,
        })))
    }

    /// The bytes of the cache's folder that are for what renderers made.
    #[must_use]
    pub fn rendered_bytes(&self) -> u64 {
        self.0.rendered_bytes
    }

    /// Finds the wanted commit on the remote, and downloads it unless the cache has it.
    ///
    /// Makes one connection, and sends one request if nothing has changed. Makes no connection if
    /// the caller asks for a commit id that it has, and has proven its access. Requests of one
    /// namespace for the same URL wait for each other, and share an answer that is new enough for
    /// both. A fetch that gave its place to another namespace is tried again.
    ///
    /// # Errors
    ///
    /// All of [`Error`], except those about paths and files. The answer comes within `timeout`. If
    /// it is late, or if the returned future is dropped, the fetch ends within a second, and its
    /// connection is closed. Only a connection that is being made may take ten seconds.
    pub async fn fetch(&self, request: FetchRequest) -> Result<Fetched, Error> {
        let is_ssh = matches!(url::parse(&request.url)?, RemoteUrl::Ssh(_));
        request.check_credentials(is_ssh)?;
        request.reference.check()?;
        if let Some(known) = self.pinned(&request) {
            return Ok(Fetched::Unchanged(known));
        }
        let asked_at = Instant::now();
        let deadline = asked_at + request.timeout;
        let (known, late) = (request.known.clone(), request.late());
        let request = Arc::new(request);
        let work = async {
            loop {
                match self.run(&request, asked_at, deadline).await {
                    Err(error) if error.gave_way() => (),
                    other => return other,
                }
            }
        };
        let snapshot = timeout_at(deadline.into(), work)
            .await
            .unwrap_or(Err(late))?;
        Ok(match known {
            Some(known) if known.revision == snapshot.revision => Fetched::Unchanged(snapshot),
            _ => Fetched::New(snapshot),
        })
    }

    /// Removes every repository that is not in `live` (the namespace, the URL, and whether the full
    /// history is fetched), with its folder and the copy that is kept apart. Keeps a repository while a fetch of it runs or one of
    /// its snapshots is alive.
    pub async fn retain(&self, live: impl IntoIterator<Item = (&str, &str, bool)> + Send) {
        let live: HashSet<(String, String)> = live
            .into_iter()
            .flat_map(|(namespace, url, full_history)| {
                let key = url::cache_key(url, full_history);
                [url::apart(&key), key].map(|key| (namespace.to_owned(), key))
            })
            .collect();
        let is_live =
            move |key: &CopyKey| live.contains(&(key.namespace.clone(), key.repository.clone()));
        let this = self.clone();
        let swept = tokio::task::spawn_blocking(move || this.0.sweep(is_live)).await;
        if swept.is_err() {
            tracing::warn!("removing unused repositories was interrupted");
        }
    }

    /// The caller's snapshot, if the request names exactly its commit: a commit never changes.
    fn pinned(&self, request: &FetchRequest) -> Option<Arc<Snapshot>> {
        let (Reference::Commit(id), Some(known)) = (&request.reference, &request.known) else {
            return None;
        };
        let folder = request.copy_key().folder(&self.0.settings.folder);
        let is_whole = known.modules().is_some() == request.recurse_submodules;
        (request.proven && is_whole && known.is_commit(id, &folder)).then(|| Arc::clone(known))
    }

    async fn run(
        &self,
        request: &Arc<FetchRequest>,
        asked_at: Instant,
        deadline: Instant,
    ) -> Result<Arc<Snapshot>, Error> {
        let key = request.copy_key();
        let store = self.0.store(&key).lock_owned().await;
        if let Some(snapshot) = store.shared(request, asked_at) {
            return Ok(snapshot);
        }
        let stop = Stop::new();
        // Ends the thread if the caller gives up.
        let _stop = stop.on_drop();
        let namespace = &request.namespace;
        let turn = self.0.connections.take(namespace, &stop).await;
        let work = Work {
            inner: Arc::clone(&self.0),
            request: Arc::clone(request),
            key,
            store,
        };
        let done = tokio::task::spawn_blocking({
            let stop = stop.clone();
            move || work.fetch(stop, deadline)
        });
        let outcome = tokio::select! {
            done = done => done.map_err(|_| Error::Interrupted)?,
            // The thread ends soon. Its lock keeps the next try waiting until then.
            reason = stop.told() => Err(request.stopped(reason)),
        };
        drop(turn);
        outcome
    }
}

/// The work of one fetch on a blocking thread. The lock of the store moves there: if the caller
/// gives up, it is freed only when the thread ends.
struct Work {
    inner: Arc<Inner>,
    request: Arc<FetchRequest>,
    key: CopyKey,
    store: OwnedMutexGuard<Store>,
}

impl Work {
    fn fetch(mut self, stop: Stop, deadline: Instant) -> Result<Arc<Snapshot>, Error> {
        let namespace = self.request.namespace.clone();
        let spent = Arc::new(Spent {
            inner: Arc::clone(&self.inner),
            namespace: namespace.clone(),
            bytes: Mutex::default(),
        });
        let spend = {
            let spent = Arc::clone(&spent);
            Box::new(move |bytes| spent.more(bytes))
        };
        let turns = (self.inner.downloads.clone(), self.inner.large.clone());
        let ticket = Ticket::new(&namespace, stop, deadline, turns, spend);
        let Inner {
            settings, agents, ..
        } = &*self.inner;
        let snapshot = self.store.update(&self.request, settings, agents, &ticket);
        if *spent.bytes() > 0 {
            self.inner.budget.measure_copy(&settings.folder, &self.key);
        }
        snapshot
    }
}

/// The bytes that a running fetch has booked, until it ends.
struct Spent {
    inner: Arc<Inner>,
    namespace: String,
    bytes: Mutex<u64>,
}

impl Spent {
    /// Books more bytes. Makes room for them if there is none.
    fn more(&self, bytes: u64) -> Result<(), Full> {
        let Inner {
            budget, settings, ..
        } = &*self.inner;
        let spend = || budget.spend(&self.namespace, bytes);
        let spent = spend().or_else(|_| {
            // Copies that were replaced are gone when their last reader is.
            budget.measure(&settings.folder, Some(&self.namespace));
            spend()
        });
        let spent = spent.or_else(|full| self.inner.make_room(&self.namespace, full, spend));
        if spent.is_ok() {
            *self.bytes() += bytes;
        }
        spent
    }

    fn bytes(&self) -> MutexGuard<'_, u64> {
        self.bytes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Spent {
    fn drop(&mut self) {
        let bytes = *self.bytes();
        self.inner.budget.refund(&self.namespace, bytes);
    }
}

impl Inner {
    fn store(&self, key: &CopyKey) -> Arc<AsyncMutex<Store>> {
        let mut stores = self.stores();
        let cached = stores.entry(key.clone()).or_insert_with(|| CachedStore {
            store: Arc::new(AsyncMutex::new(Store::new(
                key.folder(&self.settings.folder),
            ))),
            used: Instant::now(),
        });
        cached.used = Instant::now();
        Arc::clone(&cached.store)
    }

    fn sweep(&self, is_live: impl Fn(&CopyKey) -> bool) {
        // Holds the lock throughout, so that no fetch starts in a folder that is being removed.
        let mut stores = self.stores();
        for key in budget::copies(&self.settings.folder) {
            if !is_live(&key) {
                self.remove(&mut stores, &key);
            }
        }
    }

    /// Removes unused copies, those that were not asked for the longest first, until `spend` finds
    /// room. If the budget of the namespace is full, only its own copies; otherwise also those of
    /// others.
    fn make_room(
        &self,
        namespace: &str,
        full: Full,
        spend: impl Fn() -> Result<(), Full>,
    ) -> Result<(), Full> {
        let mut stores = self.stores();
        let mut copies = budget::copies(&self.settings.folder);
        if matches!(full, Full::Namespace(_)) {
            copies.retain(|key| key.namespace == namespace);
        }
        copies.sort_by_key(|key| stores.get(key).map(|cached| cached.used));
        let mut outcome = Err(full);
        for key in copies {
            if self.remove(&mut stores, &key) {
                outcome = spend();
                if outcome.is_ok() {
                    break;
                }
            }
        }
        outcome
    }

    /// Removes a copy, unless it is in use.
    fn remove(&self, stores: &mut HashMap<CopyKey, CachedStore>, key: &CopyKey) -> bool {
        if stores.get(key).is_some_and(CachedStore::is_busy) {
            return false;
        }
        stores.remove(key);
        if let Err(error) = fs::remove_dir_all(key.folder(&self.settings.folder)) {
            tracing::warn!(%error, "cannot remove an unused repository");
            return false;
        }
        self.budget.forget(key);
        true
    }

    fn stores(&self) -> MutexGuard<'_, HashMap<CopyKey, CachedStore>> {
        self.stores.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Removes the copies of versions that kept one for each URL: nobody knows on which route they were
/// filled.
fn remove_shared_copies(settings: &CacheSettings) -> Result<(), Error> {
    let failed = |error: std::io::Error| Error::from_io("remove old copies", &error);
    for entry in fs::read_dir(&settings.folder).map_err(failed)?.flatten() {
        if entry
            .file_name()
            .to_str()
            .is_some_and(copy_key::is_shared_copy)
        {
            fs::remove_dir_all(entry.path()).map_err(failed)?;
        }
    }
    Ok(())
}
