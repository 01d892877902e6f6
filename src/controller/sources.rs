//! Where repository drivers leave snapshots and Sync drivers wait for them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use jiff::Timestamp;
use tokio::sync::watch;

use crate::api::Reason;
use crate::source::Snapshot;

/// What is known of a repository.
#[derive(Clone, Default)]
pub(super) struct SourceState {
    /// The newest snapshot, and when it was first seen. It stays when a later fetch fails.
    pub(super) latest: Option<Seen>,
    /// Why there is none, or why the last fetch failed.
    pub(super) problem: Option<(Reason, String)>,
}

/// A snapshot, and when it was first seen.
#[derive(Clone)]
pub(super) struct Seen {
    pub(super) snapshot: Arc<Snapshot>,
    pub(super) at: Timestamp,
}

/// The states of all repositories, by namespace and name.
#[derive(Default)]
pub(super) struct Sources {
    states: Mutex<HashMap<(String, String), watch::Sender<SourceState>>>,
}

impl Sources {
    /// The state of a repository, which need not exist yet.
    pub(super) fn subscribe(&self, namespace: &str, name: &str) -> watch::Receiver<SourceState> {
        self.sender(namespace, name).subscribe()
    }

    /// Where a repository's driver publishes.
    pub(super) fn sender(&self, namespace: &str, name: &str) -> watch::Sender<SourceState> {
        let mut states = self.states.lock().unwrap_or_else(PoisonError::into_inner);
        states
            .entry((namespace.to_owned(), name.to_owned()))
            .or_insert_with(|| {
                watch::Sender::new(SourceState {
                    latest: None,
                    problem: Some(missing(namespace, name)),
                })
            })
            .clone()
    }

    /// Forgets a repository that was deleted. What Syncs have applied of it stays.
    pub(super) fn remove(&self, namespace: &str, name: &str) {
        self.sender(namespace, name).send_modify(|state| {
            *state = SourceState {
                latest: None,
                problem: Some(missing(namespace, name)),
            };
        });
    }
}

fn missing(namespace: &str, name: &str) -> (Reason, String) {
    (
        Reason::SourceNotReady,
        format!("GitRepository {namespace}/{name} does not exist"),
    )
}
