//! The queues. A driver that is not busy has nothing to do, so the busy drivers are the queue.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;
use prometheus_client::registry::Unit;

use super::computed::gauges;

/// The work that is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Work {
    /// A Sync is reconciled.
    Reconcile,
    /// A GitRepository is fetched.
    Fetch,
}

impl Work {
    const ALL: [Self; 2] = [Self::Reconcile, Self::Fetch];

    fn kind(self) -> &'static str {
        match self {
            Self::Reconcile => "Sync",
            Self::Fetch => "GitRepository",
        }
    }
}

/// The work under way. Clones share it.
#[derive(Clone, Debug, Default)]
pub(super) struct Queues(Arc<Mutex<Running>>);

#[derive(Debug, Default)]
struct Running {
    /// Ordered by start time. The number distinguishes works that started at the same time.
    works: BTreeSet<(Work, Instant, u64)>,
    started: u64,
}

impl Queues {
    /// Counts a driver as busy until the returned value is dropped.
    pub(super) fn begin(&self, work: Work) -> AtWork {
        let mut running = self.lock();
        running.started += 1;
        let entry = (work, Instant::now(), running.started);
        running.works.insert(entry);
        drop(running);
        AtWork {
            queues: self.clone(),
            entry,
        }
    }

    /// The number of busy drivers, and how long the longest has been busy, in seconds.
    fn depth_and_age(&self, work: Work) -> (f64, f64) {
        let running = self.lock();
        let mut starts = running.works.iter().filter(|(of, ..)| *of == work);
        let oldest = starts.next();
        let age = oldest.map(|(_, since, _)| since.elapsed().as_secs_f64());
        let depth = usize::from(oldest.is_some()) + starts.count();
        (depth as f64, age.unwrap_or_default())
    }

    fn lock(&self) -> MutexGuard<'_, Running> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A busy driver.
pub struct AtWork {
    queues: Queues,
    entry: (Work, Instant, u64),
}

impl Drop for AtWork {
    fn drop(&mut self) {
        self.queues.lock().works.remove(&self.entry);
    }
}

impl Collector for Queues {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let queues = Work::ALL.map(|work| ([("kind", work.kind())], self.depth_and_age(work)));
        gauges(
            &mut encoder,
            "queue_depth",
            "Syncs being reconciled and GitRepositories being fetched",
            None,
            queues.map(|(labels, (depth, _))| (labels, depth)),
        )?;
        gauges(
            &mut encoder,
            "queue_age",
            "How long the oldest running work has taken so far",
            Some(&Unit::Seconds),
            queues.map(|(labels, (_, age))| (labels, age)),
        )
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_age_of_a_queue_is_that_of_the_oldest_work() {
        let queues = Queues::default();
        let (depth, age) = queues.depth_and_age(Work::Reconcile);
        assert_eq!((depth, age), (0.0, 0.0));
        let start = Instant::now();
        let oldest = queues.begin(Work::Reconcile);
        let begun = Instant::now();
        std::thread::sleep(Duration::from_millis(60));
        let later = Instant::now();
        let _newer = queues.begin(Work::Reconcile);
        let least = begun.elapsed().as_secs_f64();
        let (depth, age) = queues.depth_and_age(Work::Reconcile);
        assert_eq!(depth, 2.0);
        assert!(age >= least && age <= start.elapsed().as_secs_f64());
        assert_eq!(queues.depth_and_age(Work::Fetch), (0.0, 0.0));
        drop(oldest);
        let (depth, age) = queues.depth_and_age(Work::Reconcile);
        assert_eq!(depth, 1.0);
        assert!(age <= later.elapsed().as_secs_f64());
    }
}
