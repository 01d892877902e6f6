//! Applies go first: what is only told about them (statuses of repositories and of Syncs that had
//! nothing to do, events) waits for a moment in which none is under way. On the API server's side the
//! two would compete for the same cores, and people wait for the apply.

use std::time::Duration;

use tokio::sync::watch;

/// The time in which the drivers that a new revision wakes begin to apply.
const BEGINNING: Duration = Duration::from_millis(30);

/// The longest wait for a quiet moment: a first sync of thousands of objects holds up no status.
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
    /// An apply, or what most likely leads to some, is under way until the answer is dropped.
    pub fn begin(&self) -> UnderWay {
        self.0.send_modify(|count| *count += 1);
        UnderWay(self.0.clone())
    }

    /// Waits until drivers that were just woken have begun, and none is applying.
    pub async fn quiet(&self) {
        tokio::time::sleep(BEGINNING).await;
        let mut count = self.0.subscribe();
        // Out of patience, it is told all the same.
        let _ = tokio::time::timeout(PATIENCE, count.wait_for(|count| *count == 0)).await;
    }
}

/// An apply that is under way.
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
    async fn telling_waits_for_applies_but_not_for_ever() {
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
