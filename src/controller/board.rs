//! Which Syncs are ready, for those that depend on them: a change wakes exactly the ones that wait.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use crate::api::Sync;
use crate::plan::SyncName;

/// What others may know of a Sync.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Standing {
    /// The Sync exists.
    pub(crate) exists: bool,
    /// It is ready at its current generation.
    pub(crate) ready: bool,
    /// Its source.
    pub(crate) source: String,
    /// The revision that it has applied.
    pub(crate) applied: Option<String>,
    /// What it depends on itself.
    pub(crate) depends_on: Vec<SyncName>,
}

impl Standing {
    /// What a Sync's own status says.
    pub(crate) fn of(name: &SyncName, object: &Sync) -> Self {
        let status = object.status.clone().unwrap_or_default();
        let ready = status
            .conditions
            .iter()
            .any(|condition| condition.type_ == "Ready" && condition.status == "True");
        let dependencies = object.spec.settings.depends_on.iter();
        Self {
            exists: true,
            ready: ready && status.observed_generation == object.metadata.generation,
            source: object.spec.source_ref.name.clone(),
            applied: status.last_applied_revision,
            depends_on: dependencies
                .map(|dependency| SyncName::new(&name.namespace, &dependency.name))
                .collect(),
        }
    }
}

/// The standing of every Sync; clones share it.
#[derive(Clone, Default)]
pub(crate) struct Board {
    standings: Arc<Mutex<HashMap<SyncName, watch::Sender<Standing>>>>,
}

impl Board {
    /// Publishes a Sync's standing.
    pub(crate) fn publish(&self, sync: &SyncName, standing: Standing) {
        let mut rewired = false;
        self.sender(sync).send_if_modified(|known| {
            let changed = *known != standing;
            rewired = known.depends_on != standing.depends_on;
            *known = standing;
            changed
        });
        if rewired {
            self.wake_far(sync);
        }
    }

    /// Wakes all that depend on `sync` by way of others: a circle concerns everyone in it.
    fn wake_far(&self, sync: &SyncName) {
        let standings = self.lock();
        let mut seen = HashSet::from([sync.clone()]);
        let mut ends = vec![sync.clone()];
        while let Some(end) = ends.pop() {
            for (name, sender) in &*standings {
                if sender.borrow().depends_on.contains(&end) && seen.insert(name.clone()) {
                    sender.send_modify(|_| ());
                    ends.push(name.clone());
                }
            }
        }
    }

    /// A Sync's standing, which need not exist yet.
    pub(crate) fn subscribe(&self, sync: &SyncName) -> watch::Receiver<Standing> {
        self.sender(sync).subscribe()
    }

    /// The circle of dependencies that `sync` is part of, if there is one.
    pub(crate) fn circle(&self, sync: &SyncName) -> Option<Vec<SyncName>> {
        let standings = self.lock();
        let depends_on = |name: &SyncName| {
            standings
                .get(name)
                .map(|sender| sender.borrow().depends_on.clone())
                .unwrap_or_default()
        };
        let mut seen = HashSet::new();
        let mut paths = vec![vec![sync.clone()]];
        while let Some(path) = paths.pop() {
            for next in path.last().map(&depends_on).unwrap_or_default() {
                let mut longer = path.clone();
                longer.push(next.clone());
                if next == *sync {
                    return Some(longer);
                }
                if seen.insert(next) {
                    paths.push(longer);
                }
            }
        }
        None
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<SyncName, watch::Sender<Standing>>> {
        self.standings
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn sender(&self, sync: &SyncName) -> watch::Sender<Standing> {
        let mut standings = self.lock();
        standings.entry(sync.clone()).or_default().clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_circle_is_found_and_named() {
        let board = Board::default();
        let name = |name: &str| SyncName::new("ns", name);
        for (from, to) in [("a", "b"), ("b", "c"), ("c", "b"), ("d", "a")] {
            let standing = Standing {
                depends_on: vec![name(to)],
                ..Standing::default()
            };
            board.publish(&name(from), standing);
        }
        assert_eq!(
            board.circle(&name("b")),
            Some(vec![name("b"), name("c"), name("b")])
        );
        assert_eq!(
            board.circle(&name("a")),
            None,
            "a leads to a circle but is not in it"
        );
        assert_eq!(board.circle(&name("x")), None);
    }

    #[test]
    fn who_closes_a_circle_wakes_everyone_in_it() {
        let board = Board::default();
        let name = |name: &str| SyncName::new("ns", name);
        let publish = |from: &str, to: &[&str]| {
            let depends_on = to.iter().map(|to| name(to)).collect();
            let standing = Standing {
                depends_on,
                ..Standing::default()
            };
            board.publish(&name(from), standing);
        };
        publish("a", &["b"]);
        publish("b", &["c"]);
        let mut heard_by_a = board.subscribe(&name("b"));
        for to in [&["a"][..], &[]] {
            publish("c", to);
            assert!(heard_by_a.has_changed().unwrap());
            heard_by_a.mark_unchanged();
        }
    }
}
