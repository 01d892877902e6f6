//! One copy of a repository in the cache: its folder, and its current generation.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};
use std::time::Instant;

use git2::{Oid, Repository};

use super::auth::{Credentials, Proxy};
use super::generation::{self, Generation};
use super::limits::CacheSettings;
use super::modules::{self, Modules, Owner};
use super::pull::{Order, pull};
use super::reference::Reference;
use super::request::FetchRequest;
use super::resolve::ResolvedRef;
use super::snapshot::Snapshot;
use super::ticket::{NoTurn, Ticket};
use super::transport::{Agents, ExchangeOptions};
use crate::source::error::Error;
use crate::text::redact_url;

/// The suffix of a generation's folder while it is being filled.
const UNFINISHED: &str = "tmp";

/// The state of one repository. Only one fetch at a time may use it.
#[derive(Debug)]
pub(super) struct Store {
    folder: PathBuf,
    /// The number of the newest generation.
    newest: u64,
    current: Option<Arc<Generation>>,
    /// Replaced generations, which snapshots may still read.
    replaced: Vec<Weak<Generation>>,
    recent: Vec<Recent>,
}

/// The answer of a finished fetch. Callers that asked before its connection was made may share it.
#[derive(Debug)]
struct Recent {
    url: String,
    reference: Reference,
    credentials: Credentials,
    proxy: Option<Proxy>,
    recurses: bool,
    connected_at: Instant,
    snapshot: Weak<Snapshot>,
}

impl Store {
    /// The repository in `folder`. The folder need not exist.
    pub(super) fn new(folder: PathBuf) -> Self {
        Self {
            folder,
            newest: 0,
            current: None,
            replaced: Vec::new(),
            recent: Vec::new(),
        }
    }

    /// Whether no snapshot reads from it.
    pub(super) fn is_unused(&self) -> bool {
        let mut replaced = self.replaced.iter();
        let current = self.current.as_ref();
        current.is_none_or(|current| Arc::strong_count(current) == 1)
            && replaced.all(|generation| generation.strong_count() == 0)
    }

    /// The number of commits that snapshots read, submodules included.
    fn in_use(&self) -> usize {
        let held = self.recent.iter();
        held.filter_map(|recent| recent.snapshot.upgrade())
            .map(|snapshot| 1 + snapshot.modules().map_or(0, Modules::len))
            .sum()
    }

    /// The answer to a request that was made at `asked_at`, if another fetch with the same
    /// parameters has connected since then.
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

    /// Brings the store up to date with the remote. Blocks. Waits for a turn before a download.
    pub(super) fn update(
        &mut self,
        request: &FetchRequest,
        settings: &CacheSettings,
        agents: &Agents,
        ticket: &Arc<Ticket>,
    ) -> Result<Arc<Snapshot>, Error> {
        let slot = || {
            ticket.download().map_err(|problem| match problem {
                NoTurn::Late => request.late(),
                NoTurn::Stopped(reason) => request.stopped(reason),
            })
        };
        let order = Order {
            exchange: ExchangeOptions {
                url: &request.url,
                agents,
                credentials: &request.credentials,
                proxy: request.proxy.as_ref(),
                ticket,
                timeout: request.timeout,
                max_bytes: settings.max_fetch_bytes,
                floor: settings.floor,
                wire: settings.wire,
            },
            reference: &request.reference,
            full_history: request.full_history,
        };
        let connected_at = Instant::now();
        let (generation, target) = self.synchronise(order, settings, &slot)?;
        let same = request.known.as_ref();
        let same = same.filter(|known| known.is(&generation, &target));
        let modules = match (request.recurse_submodules, same) {
            (false, _) => None,
            // The caller has the submodules and has proven its access, so no server is asked.
            (true, Some(known)) if request.proven && known.modules().is_some() => {
                known.modules().cloned()
            }
            (true, _) => Some(descend(&generation, order, &target, &slot)?),
        };
        let snapshot = match same {
            Some(known) if known.modules() == modules.as_ref() => Arc::clone(known),
            _ => {
                let opened = Snapshot::open(generation, &target, modules, settings)?;
                Arc::new(match &request.known {
                    Some(known) => opened.prefetch_tree_ids(known),
                    None => opened,
                })
            }
        };
        self.recent
            .retain(|recent| !recent.is_for(request) && recent.snapshot.strong_count() > 0);
        self.recent.push(Recent {
            url: request.url.clone(),
            reference: request.reference.clone(),
            credentials: request.credentials.clone(),
            proxy: request.proxy.clone(),
            recurses: request.recurse_submodules,
            connected_at,
            snapshot: Arc::downgrade(&snapshot),
        });
        Ok(snapshot)
    }

    /// Returns the generation with the wanted commit. Makes one connection, or two if the copy on
    /// disk had to be replaced.
    fn synchronise<S>(
        &mut self,
        order: Order<'_>,
        settings: &CacheSettings,
        slot: &impl Fn() -> Result<S, Error>,
    ) -> Result<(Arc<Generation>, ResolvedRef), Error> {
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
            Ok(Extended::Full) => match self.replace(order, slot) {
                // There is no room for a second copy, but maybe for one more pack.
                Err(error @ Error::NoRoom { .. }) => {
                    match extend(&current, order, |_| false, slot)? {
                        Extended::Complete(target) => Ok((current, target)),
                        Extended::Full => Err(error),
                    }
                }
                replaced => replaced,
            },
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

    /// Fetches into a new generation, and makes it the current one once it is complete.
    fn replace<S>(
        &mut self,
        order: Order<'_>,
        slot: &impl Fn() -> Result<S, Error>,
    ) -> Result<(Arc<Generation>, ResolvedRef), Error> {
        let number = self.newest + 1;
        let unfinished = self.folder.join(format!("{number}.{UNFINISHED}"));
        // An earlier attempt may have left the folder.
        let _ = fs::remove_dir_all(&unfinished);
        let filled =
            Generation::create(&unfinished).and_then(|repository| fill(&repository, order, slot));
        let target = match filled {
            Ok(target) => target,
            Err(error) => {
                let _ = fs::remove_dir_all(&unfinished);
                return Err(match error {
                    // The folder was empty before, so the transfer is broken and not the cache.
                    Error::Corrupt { source } => Error::Unreachable {
                        url: redact_url(order.exchange.url),
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
            self.replaced.retain(|old| old.strong_count() > 0);
            self.replaced.push(Arc::downgrade(&old));
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
            && self.proxy == request.proxy
            && self.recurses == request.recurse_submodules
    }
}

enum Extended {
    /// The generation has the commit.
    Complete(ResolvedRef),
    /// The generation does not have the commit, and is too full to add it.
    Full,
}

/// Fetches the missing commit into an existing generation.
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
            let database = |error: git2::Error| Error::from_database(&error);
            // A commit that was asked for by its id may be an ancestor of what is there.
            let is_ancestor = || match order.reference {
                Reference::Commit(_) if order.full_history => {
                    generation::reaches(&repository, target.commit)
                }
                _ => Ok(false),
            };
            let complete = generation::holds(&repository, target).map_err(database)?
                || is_ancestor().map_err(database)?;
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
) -> Result<ResolvedRef, Error> {
    let target = pull(repository, order, |_| Ok(false), slot)?;
    mark(repository, &target)?;
    Ok(target)
}

/// Fetches the missing submodules of `target`. Connects for the others as well, because only their
/// servers know who may read them.
fn descend<S>(
    generation: &Generation,
    order: Order<'_>,
    target: &ResolvedRef,
    slot: &impl Fn() -> Result<S, Error>,
) -> Result<Modules, Error> {
    let repository = generation.handle()?;
    let damage = |error| generation.damage(error);
    let root = tree_of(&repository, target.commit).map_err(damage)?;
    let mut found = Modules::of(&repository, root).map_err(damage)?;
    let mut owners = vec![Owner {
        tree: root,
        url: order.exchange.url.to_owned(),
        path: String::new(),
        depth: 0,
    }];
    while let Some(owner) = owners.pop() {
        let named = modules::named(&repository, &owner, repository.path()).map_err(damage)?;
        for module in named {
            let path = module.path;
            if found.tree(module.commit).is_some() {
                continue;
            }
            if owner.depth == modules::MAX_DEPTH || found.len() == modules::MAX_COUNT {
                let problem = "there are more than 100, or they nest more than 5 deep";
                return Err(Error::Submodule { path, problem });
            }
            let order = Order {
                exchange: ExchangeOptions {
                    url: &module.url,
                    ..order.exchange
                },
                ..order
            };
            let tree = match fetch_module(&repository, order, module.commit, slot) {
                Ok(tree) => tree,
                Err(source) => {
                    let source = Box::new(damage(source));
                    return Err(Error::InSubmodule { path, source });
                }
            };
            found.add(module.commit, tree);
            owners.push(Owner {
                tree,
                url: module.url,
                path,
                depth: owner.depth + 1,
            });
        }
    }
    Ok(found)
}

/// Returns the tree of a submodule's commit, after one connection to its repository.
fn fetch_module<S>(
    repository: &Repository,
    order: Order<'_>,
    commit: Oid,
    slot: &impl Fn() -> Result<S, Error>,
) -> Result<Oid, Error> {
    let id = commit.to_string();
    let reference = Reference::Commit(id.clone());
    let order = Order {
        reference: &reference,
        ..order
    };
    let database = |error: git2::Error| Error::from_database(&error);
    // Stored under the commit's id, because both repositories may have a branch of the same name.
    let pinned = ResolvedRef {
        source: id.clone(),
        name: None,
        commit,
        tag: None,
    };
    let has = |_: &ResolvedRef| generation::holds(repository, &pinned).map_err(database);
    pull(repository, order, has, slot)?;
    generation::mark(repository, &id, commit).map_err(database)?;
    tree_of(repository, commit)
}

fn tree_of(repository: &Repository, commit: Oid) -> Result<Oid, Error> {
    let commit = repository.find_commit(commit);
    let tree = commit.map(|commit| commit.tree_id());
    tree.map_err(|error| Error::from_database(&error))
}

fn mark(repository: &Repository, target: &ResolvedRef) -> Result<(), Error> {
    generation::mark(repository, &target.source, target.commit)
        .map_err(|error| Error::from_database(&error))
}

/// The number of a finished generation's folder.
fn number_of(folder: &Path) -> Option<u64> {
    folder.file_name()?.to_str()?.parse().ok()
}
