//! Counts running work that has priority: applies before statuses, and both before events. Writes that only
//! report (events, statuses of repositories and of Syncs that had nothing to do) wait until no apply runs:
//! both need the API server's cores, and people wait for the apply.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::Notify;

/// The time that drivers need from being woken by a new revision to their first apply.
const BEGINNING: Duration = Duration::from_millis(30);

/// The longest wait. A first sync of thousands of objects must not delay statuses until it ends.
const PATIENCE: Duration = Duration::from_millis(250);

/// Counts running work of one kind. Clones share the count.
#[derive(Clone, Default)]
pub struct Running(Arc<Count>);

#[derive(Default)]
struct Count {
    under_way: AtomicUsize,
    /// The last one has ended. Thousands of Syncs may wait for it: none is woken before.
    none: Notify,
}

impl Running {
    /// Returns a guard that counts as running work. Taken for the work itself, and for what most likely
    /// leads to it.
    pub fn begin(&self) -> RunningGuard {
        self.0.under_way.fetch_add(1, Ordering::SeqCst);
        RunningGuard(Arc::clone(&self.0))
    }

    /// Waits until none runs, for [`PATIENCE`] at most. Gives drivers that were just woken the time to
    /// begin.
    pub async fn wait_until_idle(&self) {
        tokio::time::sleep(BEGINNING).await;
        self.wait_at_most(PATIENCE).await;
    }

    /// Waits until none runs, for `patience` at most.
    pub async fn wait_at_most(&self, patience: Duration) {
        // After the longest wait the caller continues although some runs.
        let _ = tokio::time::timeout(patience, self.none()).await;
    }

    async fn none(&self) {
        loop {
            let mut none = std::pin::pin!(self.0.none.notified());
            none.as_mut().enable();
            if self.0.under_way.load(Ordering::SeqCst) == 0 {
                return;
            }
            none.await;
        }
    }
}

/// Work that runs until the guard is dropped.
pub struct RunningGuard(Arc<Count>);

impl Drop for RunningGuard {
    fn drop(&mut self) {
        if self.0.under_way.fetch_sub(1, Ordering::SeqCst) == 1 {
            self.0.none.notify_waiters();
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::Instant;

    use super::*;

    #[tokio::test]
    async fn reports_wait_for_applies_but_not_without_end() {
        let applies = Running::default();
        let started = Instant::now();
        let busy = applies.begin();
        applies.wait_until_idle().await;
        assert!(started.elapsed() >= PATIENCE);
        let telling = tokio::spawn({
            let applies = applies.clone();
            async move { applies.wait_until_idle().await }
        });
        drop(busy);
        telling.await.unwrap();
        assert_eq!(applies.0.under_way.load(Ordering::SeqCst), 0);
    }
}
