//! What one fetch may use of what all fetches share: its turns, its part of the budget, and its time.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use tokio::runtime;
use tokio::time::timeout_at;

use super::budget::Full;
use super::stop::{Stop, StopReason};
use super::turns::{Turn, Turns};

/// Finds room for bytes on disk, and books them.
type Spend = dyn Fn(u64) -> Result<(), Full> + Send + Sync;

/// The ticket of one try of a fetch. What it took is given back when it is dropped.
pub(super) struct Ticket {
    pub(super) namespace: String,
    pub(super) stop: Stop,
    pub(super) deadline: Instant,
    /// For downloads.
    pub(super) downloads: Turns,
    /// For a fetch that needs much memory: one at a time.
    pub(super) large: Turns,
    pub(super) spend: Box<Spend>,
    held_large: Mutex<Option<Turn>>,
}

/// Why a turn was not given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NoTurn {
    /// The deadline has passed.
    Late,
    /// The fetch has to end.
    Stopped(StopReason),
}

impl std::fmt::Debug for Ticket {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ticket")
            .field("namespace", &self.namespace)
            .finish_non_exhaustive()
    }
}

impl Ticket {
    pub(super) fn new(
        namespace: &str,
        stop: Stop,
        deadline: Instant,
        (downloads, large): (Turns, Turns),
        spend: Box<Spend>,
    ) -> Arc<Self> {
        Arc::new(Self {
            namespace: namespace.to_owned(),
            stop,
            deadline,
            downloads,
            large,
            spend,
            held_large: Mutex::default(),
        })
    }

    /// Waits on a blocking thread until a download may start.
    pub(super) fn download(&self) -> Result<Turn, NoTurn> {
        self.wait(&self.downloads)
    }

    /// Waits on a blocking thread until the fetch may use much memory. It may until it ends.
    pub(super) fn become_large(&self) -> Result<(), NoTurn> {
        let held = || {
            self.held_large
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
        };
        if held().is_none() {
            let turn = self.wait(&self.large)?;
            *held() = Some(turn);
        }
        Ok(())
    }

    fn wait(&self, turns: &Turns) -> Result<Turn, NoTurn> {
        runtime::Handle::current().block_on(async {
            tokio::select! {
                turn = timeout_at(self.deadline.into(), turns.take(&self.namespace, &self.stop)) => {
                    turn.map_err(|_| NoTurn::Late)
                }
                reason = self.stop.told() => Err(NoTurn::Stopped(reason)),
            }
        })
    }
}
