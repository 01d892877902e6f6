//! Where repository drivers leave snapshots and Sync drivers wait for them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use tokio::sync::watch;

use crate::api::Reason;
use crate::source::Snapshot;

/// What is known of a repository; nothing yet by default.
#[derive(Clone, Default)]
pub(crate) struct SourceState {
    /// The newest snapshot, and when it was first seen. It stays when a later fetch fails.
    pub(crate) latest: Option<Seen>,
    /// Why there is none, or why the last fetch failed.
    pub(crate) problem: Option<(Reason, String)>,
}

impl SourceState {
    /// Whether it is too early to say anything: the first fetch is under way.
    pub(crate) fn is_unknown(&self) -> bool {
        self.latest.is_none() && self.problem.is_none()
    }
}

/// A snapshot, and when it was first seen.
#[derive(Clone)]
pub(crate) struct Seen {
    pub(crate) snapshot: Arc<Snapshot>,
    pub(crate) at: Timestamp,
}

/// The states of all repositories, by namespace and name.
#[derive(Default)]
pub(crate) struct Sources(Mutex<Table>);

#[derive(Default)]
struct Table {
    states: HashMap<(String, String), Entry>,
    /// All repositories that exist are known.
    complete: bool,
}

#[derive(Default)]
struct Entry {
    state: watch::Sender<SourceState>,
    exists: bool,
}

impl Sources {
    /// The state of a repository, which need not exist.
    pub(crate) fn subscribe(&self, namespace: &str, name: &str) -> watch::Receiver<SourceState> {
        let mut table = self.lock();
        let complete = table.complete;
        let entry = table.entry(namespace, name);
        if complete && !entry.exists {
            entry.state.send_replace(missing(namespace, name));
        }
        entry.state.subscribe()
    }

    /// Where a repository's driver publishes.
    pub(crate) fn sender(&self, namespace: &str, name: &str) -> watch::Sender<SourceState> {
        self.lock().entry(namespace, name).state.clone()
    }

    /// Makes a repository known.
    pub(crate) fn add(&self, namespace: &str, name: &str) {
        let mut table = self.lock();
        let entry = table.entry(namespace, name);
        if !std::mem::replace(&mut entry.exists, true) {
            entry.state.send_replace(SourceState::default());
        }
    }

    /// All repositories that exist have been added: the others do not exist.
    pub(crate) fn complete(&self) {
        let mut table = self.lock();
        table.complete = true;
        for ((namespace, name), entry) in &table.states {
            if !entry.exists {
                entry.state.send_replace(missing(namespace, name));
            }
        }
    }

    /// Forgets a repository that was deleted. What Syncs have applied of it stays.
    pub(crate) fn remove(&self, namespace: &str, name: &str) {
        let mut table = self.lock();
        let entry = table.entry(namespace, name);
        entry.exists = false;
        entry.state.send_replace(missing(namespace, name));
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    fn entry(&mut self, namespace: &str, name: &str) -> &mut Entry {
        let key = (namespace.to_owned(), name.to_owned());
        self.states.entry(key).or_default()
    }
}

fn missing(namespace: &str, name: &str) -> SourceState {
    SourceState {
        latest: None,
        problem: Some((
            Reason::SourceNotReady,
            format!("GitRepository {namespace}/{name} does not exist"),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_said_of_a_repository_before_all_are_known() {
        let sources = Sources::default();
        let early = sources.subscribe("ns", "absent");
        assert!(early.borrow().is_unknown());
        sources.add("ns", "present");
        sources.complete();
        assert!(early.borrow().problem.is_some());
        assert!(sources.subscribe("ns", "present").borrow().is_unknown());
        assert!(sources.subscribe("ns", "late").borrow().problem.is_some());
        sources.add("ns", "absent");
        assert!(early.borrow().is_unknown());
        sources.remove("ns", "absent");
        assert!(early.borrow().problem.is_some());
    }
}
