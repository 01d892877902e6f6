//! One repository in the cache: the folder of its URL, with its current generation.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};
use std::time::Instant;

use git2::Repository;

use super::cache::FetchRequest;
use super::credentials::Credentials;
use super::error::Error;
use super::generation::{self, Generation};
use super::http::Agents;
use super::limits::Settings;
use super::pull::{Order, Target, pull};
use super::reference::Reference;
use super::snapshot::Snapshot;
use super::url;

/// The end of a generation's name while it is being filled.
const UNFINISHED: &str = "tmp";

/// What only one fetch at a time may touch.
#[derive(Debug)]
pub(super) struct Store {
    folder: PathBuf,
    /// The number of the newest generation.
    newest: u64,
    current: Option<Arc<Generation>>,
    recent: Vec<Recent>,
}

/// An answer that callers may share who asked before its connection was made.
#[derive(Debug)]
struct Recent {
    url: String,
    reference: Reference,
    credentials: Credentials,
    connected_at: Instant,
    snapshot: Weak<Snapshot>,
}

impl Store {
    /// The repository in `folder`, which need not exist.
    pub(super) fn new(folder: PathBuf) -> Self {
        Self {
            folder,
            newest: 0,
            current: None,
            recent: Vec::new(),
        }
    }

    /// Whether nobody reads from it.
    pub(super) fn is_unused(&self) -> bool {
        self.current
            .as_ref()
            .is_none_or(|current| Arc::strong_count(current) == 1)
    }

    /// The revisions that somebody holds.
    fn in_use(&self) -> usize {
        let held = |recent: &&Recent| recent.snapshot.strong_count() > 0;
        self.recent.iter().filter(held).count()
    }

    /// The answer to a request that was made at `asked_at`, if another fetch of the same has
    /// connected since.
    pub(super) fn shared(
        &self,
        request: &FetchRequest,
        asked_at: Instant,
    ) -> Option<Arc<Snapshot>> {
        self.recent
            .iter()
            .find(|recent| recent.is_for(request) && recent.connected_at >= asked_at)?
            .snapshot
            .upgrade()
    }

    /// Brings the store up to date with the remote; blocks. `slot` is called before a download.
    pub(super) fn update<S>(
        &mut self,
        request: &FetchRequest,
        settings: &Settings,
        agents: &Agents,
        deadline: Instant,
        slot: impl Fn() -> Result<S, Error>,
    ) -> Result<Arc<Snapshot>, Error> {
        let order = Order {
            url: &request.url,
            reference: &request.reference,
            agents,
            credentials: &request.credentials,
            deadline,
            timeout: request.timeout,
            max_bytes: settings.max_fetch_bytes,
        };
        let connected_at = Instant::now();
        let (generation, target) = self.synchronise(order, settings, &slot)?;
        let open = || Snapshot::open(Arc::clone(&generation), &target, settings);
        let snapshot = match &request.known {
            Some(known) if known.is(&generation, &target) => Arc::clone(known),
            Some(known) => Arc::new(open()?.foresee(known)),
            None => Arc::new(open()?),
        };
        self.recent
            .retain(|recent| !recent.is_for(request) && recent.snapshot.strong_count() > 0);
        self.recent.push(Recent {
            url: request.url.clone(),
            reference: request.reference.clone(),
            credentials: request.credentials.clone(),
            connected_at,
            snapshot: Arc::downgrade(&snapshot),
        });
        Ok(snapshot)
    }

    /// The generation that holds the wanted commit, after one connection; two where the copy on
    /// disk had to be replaced.
    fn synchronise<S>(
        &mut self,
        order: Order<'_>,
        settings: &Settings,
        slot: &impl Fn() -> Result<S, Error>,
    ) -> Result<(Arc<Generation>, Target), Error> {
        if self.current.is_none() {
            self.current = self.find_current().map(Arc::new);
        }
        let Some(current) = self.current.clone().filter(|current| !current.is_damaged()) else {
            return self.replace(order, slot);
        };
        let in_use = self.in_use();
        let is_full = |generation: &Generation| generation.is_full(settings, in_use);
        match extend(&current, order, is_full, slot) {
            Ok(Extended::Complete(target)) => Ok((current, target)),
            Ok(Extended::Full) => self.replace(order, slot),
            Err(error) if error.is_damage() => {
                tracing::warn!(
                    error = %error,
                    "fetching into the cached copy of a repository failed; fetching it anew"
                );
                self.replace(order, slot)
            }
            Err(error) => Err(error),
        }
    }

    /// Fetches into a new generation, and puts it in the place of the current one once complete.
    fn replace<S>(
        &mut self,
        order: Order<'_>,
        slot: &impl Fn() -> Result<S, Error>,
    ) -> Result<(Arc<Generation>, Target), Error> {
        let number = self.newest + 1;
        let unfinished = self.folder.join(format!("{number}.{UNFINISHED}"));
        // Of an attempt that failed; nothing is there as a rule.
        let _ = fs::remove_dir_all(&unfinished);
        let filled =
            Generation::create(&unfinished).and_then(|repository| fill(&repository, order, slot));
        let target = match filled {
            Ok(target) => target,
            Err(error) => {
                let _ = fs::remove_dir_all(&unfinished);
                return Err(match error {
                    // Nothing was there before: it is the transfer that is broken.
                    Error::Corrupt { source } => Error::Unreachable {
                        url: url::redact(order.url),
                        source,
                    },
                    error => error,
                });
            }
        };
        let folder = self.folder.join(number.to_string());
        fs::rename(&unfinished, &folder)
            .map_err(|error| Error::from_io("put a fetched repository into place", &error))?;
        let generation = Arc::new(Generation::open(folder)?);
        self.newest = number;
        if let Some(old) = self.current.replace(Arc::clone(&generation)) {
            old.retire();
        }
        Ok((generation, target))
    }

    /// The newest finished generation on disk; all others are removed.
    fn find_current(&mut self) -> Option<Generation> {
        let mut numbers = Vec::new();
        for path in fs::read_dir(&self.folder)
            .ok()?
            .flatten()
            .map(|entry| entry.path())
        {
            match number_of(&path) {
                Some(number) => numbers.push((number, path)),
                None => drop(fs::remove_dir_all(path)),
            }
        }
        numbers.sort_unstable();
        let (newest, path) = numbers.pop()?;
        self.newest = newest;
        for (_, old) in numbers {
            drop(fs::remove_dir_all(old));
        }
        match Generation::open(path.clone()) {
            Ok(generation) => Some(generation),
            Err(error) => {
                tracing::warn!(%error, "the cached copy of a repository cannot be opened; fetching it anew");
                drop(fs::remove_dir_all(path));
                None
            }
        }
    }
}

impl Recent {
    fn is_for(&self, request: &FetchRequest) -> bool {
        self.url == request.url
            && self.reference == request.reference
            && self.credentials == request.credentials
    }
}

enum Extended {
    /// The commit is in the generation.
    Complete(Target),
    /// It is not, and too much has accumulated to add it.
    Full,
}

/// Fetches into an existing generation what it does not have yet.
fn extend<S>(
    generation: &Generation,
    order: Order<'_>,
    is_full: impl Fn(&Generation) -> bool,
    slot: &impl Fn() -> Result<S, Error>,
) -> Result<Extended, Error> {
    let repository = generation.handle()?;
    let mut full = false;
    let target = pull(
        &repository,
        order,
        |target| {
            let complete = generation::holds(&repository, &target.source, target.commit)
                .map_err(|error| Error::from_database(&error))?;
            full = !complete && is_full(generation);
            Ok(complete || full)
        },
        slot,
    )?;
    if full {
        return Ok(Extended::Full);
    }
    mark(&repository, &target)?;
    Ok(Extended::Complete(target))
}

/// Fetches into an empty repository.
fn fill<S>(
    repository: &Repository,
    order: Order<'_>,
    slot: &impl Fn() -> Result<S, Error>,
) -> Result<Target, Error> {
    let target = pull(repository, order, |_| Ok(false), slot)?;
    mark(repository, &target)?;
    Ok(target)
}

fn mark(repository: &Repository, target: &Target) -> Result<(), Error> {
    generation::mark(repository, &target.source, target.commit)
        .map_err(|error| Error::from_database(&error))
}

/// The number of a finished generation's folder.
fn number_of(folder: &Path) -> Option<u64> {
    folder.file_name()?.to_str()?.parse().ok()
}
