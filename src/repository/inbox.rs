//! The events that wake a repository's driver.

use std::sync::Arc;

use tokio::sync::watch;
use tokio::time::Instant;

use super::Driver;
use crate::api::GitRepository;
use crate::fleet::{Fleet, SourceName, Subscription, SyncView};
use crate::plan::SyncName;

/// The events that a driver listens to, beside those of the Secrets that it reads.
pub(super) struct Inbox {
    pub(super) object: watch::Receiver<Arc<GitRepository>>,
    /// The Sync with the repository's name.
    child: Subscription<SyncName, SyncView>,
    /// Whether that Sync existed at the last check.
    saw_child: bool,
}

impl Inbox {
    pub(super) fn new(
        fleet: &Fleet,
        name: &SourceName,
        object: watch::Receiver<Arc<GitRepository>>,
    ) -> Self {
        let child = SyncName::new(&name.namespace, &name.name);
        Self {
            object,
            child: fleet.syncs.subscribe(&child),
            saw_child: false,
        }
    }

    /// Whether the child Sync exists.
    pub(super) fn child_exists(&self) -> bool {
        self.child.borrow().exists
    }
}

/// The repository was deleted.
pub(super) struct Gone;

impl Driver {
    /// Waits for the next event about this repository. Some events make the next poll due earlier.
    pub(super) async fn wait(&mut self, object: &GitRepository) -> Result<(), Gone> {
        let saw_child = self.inbox.saw_child;
        let wants_child = object.has_child();
        // A repository that is being deleted never polls; leaving the timer on would spin.
        let polls = object.metadata.deletion_timestamp.is_none();
        let latest = self.context.fleet.sources.read(&self.name).latest;
        let snapshot = latest.map(|latest| latest.snapshot);
        let poke = Arc::clone(&self.webhook.poke);
        let now = Instant::now;
        tokio::select! {
            changed = self.inbox.object.changed() => changed.map_err(|_| Gone)?,
            () = self.inbox.child.wait_for(|child| child.exists != saw_child), if wants_child => {
                self.inbox.saw_child = !saw_child;
                if saw_child {
                    self.next_poll = now(); // somebody deleted the child: it is made again
                }
            }
            // Uses a changed credential at once.
            () = self.poller.login.changed() => self.next_poll = now(),
            () = self.poller.verifier.changed() => self.next_poll = now(),
            () = self.webhook.changed() => self.next_poll = now(),
            // A read found damage, and waits for a new copy.
            due = self.repair.due(snapshot) => self.next_poll = self.next_poll.min(due),
            () = poke.notified() => self.next_poll = now(),
            () = tokio::time::sleep_until(self.next_poll), if polls => (),
        }
        Ok(())
    }
}
