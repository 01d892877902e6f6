//! Applies have priority. Writes that only report (events, statuses of repositories and of Syncs that had
//! nothing to do) wait until no apply is under way: both would compete for the API server's cores, and
//! people wait for the apply.

use std::time::Duration;

use tokio::sync::watch;

/// The time that drivers need from being woken by a new revision to their first apply.
const BEGINNING: Duration = Duration::from_millis(30);

/// The longest wait. A first sync of thousands of objects must not delay statuses until it ends.
const PATIENCE: Duration = Duration::from_millis(250);

/// Counts the applies under way; clones share the count.
#[derive(Clone)]
pub struct Applies(watch::Sender<usize>);

impl Default for Applies {
    fn default() -> Self {
        Self(watch::Sender::new(0))
    }
}

impl Applies {
    /// Returns a guard that counts as an apply that is under way. Taken for an apply, and for work that most
    /// likely leads to one.
    pub fn begin(&self) -> UnderWay {
        self.0.send_modify(|count| *count += 1);
        UnderWay(self.0.clone())
    }

    /// Waits until no apply is under way, for [`PATIENCE`] at most. Gives drivers that were just woken the
    /// time to begin.
    pub async fn quiet(&self) {
        tokio::time::sleep(BEGINNING).await;
        let mut count = self.0.subscribe();
        // After the longest wait the caller goes on all the same.
        let _ = tokio::time::timeout(PATIENCE, count.wait_for(|count| *count == 0)).await;
    }
}

/// An apply that is under way, until this is dropped.
pub struct UnderWay(watch::Sender<usize>);

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.send_modify(|count| *count -= 1);
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::Instant;

    use super::*;

    #[tokio::test]
    async fn reports_wait_for_applies_but_not_without_end() {
        let applies = Applies::default();
        let started = Instant::now();
        let busy = applies.begin();
        applies.quiet().await;
        assert!(started.elapsed() >= PATIENCE);
        let telling = tokio::spawn({
            let applies = applies.clone();
            async move { applies.quiet().await }
        });
        drop(busy);
        telling.await.unwrap();
        assert_eq!(*applies.0.borrow(), 0);
    }
}
