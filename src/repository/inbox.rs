//! The events that wake a repository's driver.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use super::Driver;
use super::assess::NextPoll;
use crate::api::GitRepository;
use crate::backoff::spread;
use crate::fleet::{Fleet, Hurries, PlansView, SourceName, Subscription, SyncView};
use crate::plan::SyncName;

/// The events that a driver listens to, beside those of the Secrets that it reads.
pub(super) struct Inbox {
    pub(super) object: watch::Receiver<Arc<GitRepository>>,
    /// The Sync with the repository's name.
    child: Subscription<SyncName, SyncView>,
    /// What became of the plans of pull requests.
    pub(super) plans: Subscription<SourceName, PlansView>,
    /// Syncs elsewhere that follow the same URL had to know what this source has.
    hurries: Subscription<SourceName, Hurries>,
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
            plans: fleet.plans.subscribe(name),
            hurries: fleet.hurries.subscribe(name),
        }
    }

    /// The child Sync. Changes until now count as seen.
    pub(super) fn child(&mut self) -> SyncView {
        self.child.borrow_and_update().clone()
    }
}

/// Waits until a running poll is of no use: its spec is no longer the object's, or the object is
/// being deleted. The object has changed then, so the driver looks at it at once.
pub(super) async fn superseded(
    mut object: watch::Receiver<Arc<GitRepository>>,
    generation: Option<i64>,
) {
    let is_other = |object: &Arc<GitRepository>| {
        let meta = &object.metadata;
        meta.generation != generation || meta.deletion_timestamp.is_some()
    };
    if object.wait_for(is_other).await.is_err() {
        // The driver ends with the object.
        std::future::pending::<()>().await;
    }
}

/// Waits until a change shows that the child is missing, or differs from the last apply. A child that is
/// created and deleted again before the driver looks counts too.
async fn child_is_lost(
    child: &mut Subscription<SyncName, SyncView>,
    is_lost: impl Fn(&SyncView) -> bool,
) {
    loop {
        child.changed().await;
        if is_lost(&child.borrow()) {
            return;
        }
    }
}

/// The repository was deleted.
pub(super) struct Gone;

/// The shortest time between two polls that other sources ask for.
const BETWEEN_HURRIES: Duration = Duration::from_secs(2);

/// Sources of one URL are asked in the same instant. Each polls at a random time of the second half of this time.
const HURRIES_WITHIN: Duration = Duration::from_secs(1);

const HOUR: Duration = Duration::from_secs(3600);

impl Driver {
    /// Waits for the next event about this repository. Some events make the next poll due earlier.
    pub(super) async fn wait(&mut self, object: &GitRepository) -> Result<(), Gone> {
        let watches_child = object.has_child() || self.child.is_held();
        // A repository that is being deleted never polls; leaving the timer on would spin.
        let polls = object.metadata.deletion_timestamp.is_none();
        let latest = self.context.fleet.sources.read(&self.name).latest;
        let snapshot = latest.map(|latest| latest.snapshot);
        let (kept, next) = (&self.child, self.child.next());
        let child = async {
            let child = &mut self.inbox.child;
            let is_lost = |view: &SyncView| kept.is_lost(view, object);
            if !is_lost(&child.borrow()) {
                child_is_lost(child, is_lost).await;
            }
            tokio::time::sleep_until(next).await;
        };
        // An hour is as good as never: the wait simply starts again.
        let write_again = self.write_again.unwrap_or_else(|| Instant::now() + HOUR);
        let poke = Arc::clone(&self.webhook.poke);
        let now = Instant::now;
        tokio::select! {
            changed = self.inbox.object.changed() => changed.map_err(|_| Gone)?,
            // Somebody deleted or changed the child. It is applied again, or its held deletion is judged again.
            () = child, if watches_child => (),
            // Uses a changed credential at once.
            () = self.poller.login.changed() => self.next_poll = now(),
            () = self.poller.verifier.changed() => self.next_poll = now(),
            () = self.webhook.changed() => self.next_poll = now(),
            // A read found damage, and waits for a new copy.
            due = self.repair.due(snapshot) => self.next_poll = self.next_poll.min(due),
            () = poke.notified() => self.next_poll = now(),
            () = self.inbox.plans.changed() => (),
            () = self.inbox.hurries.changed() => self.next_poll = self.hurried(now()),
            () = tokio::time::sleep_until(self.next_poll), if polls => (),
            () = tokio::time::sleep_until(write_again), if polls => (),
        }
        Ok(())
    }

    /// When to poll, after another source asked for it.
    fn hurried(&self, now: Instant) -> Instant {
        let between = self.context.policy.bounded(BETWEEN_HURRIES);
        let earliest = (self.last_poll + between).max(now + spread(HURRIES_WITHIN));
        hurried(self.next_poll, earliest, self.after)
    }
}

/// When to poll, after another source asked for it. `next` is when a poll is due anyway, `earliest` is when one may be, and
/// `after` is why the next poll is due.
fn hurried(next: Instant, earliest: Instant, after: NextPoll) -> Instant {
    match after {
        // Many failed logins can lock the account at the Git host.
        NextPoll::AfterBackoff => next,
        NextPoll::AfterInterval | NextPoll::AfterSuccess | NextPoll::WhenAsked => {
            next.min(earliest)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hurry_makes_a_poll_due_earlier_but_not_that_of_a_source_whose_last_poll_failed() {
        let now = Instant::now();
        let after = |seconds| now + Duration::from_secs(seconds);
        for (next, why, expected) in [
            (3600, NextPoll::AfterSuccess, 2),
            (3600, NextPoll::AfterInterval, 2),
            (300, NextPoll::WhenAsked, 2),
            (1, NextPoll::AfterSuccess, 1),
            (300, NextPoll::AfterBackoff, 300),
            (1, NextPoll::AfterBackoff, 1),
        ] {
            let due = hurried(after(next), after(2), why);
            assert_eq!(due, after(expected), "{next} {why:?}");
        }
    }
}
