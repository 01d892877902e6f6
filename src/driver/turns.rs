//! Turns of drivers: how many work at once, shared fairly between namespaces.
//!
//! A commit may wake thousands of drivers. If all of them worked at once, each would hold a thread, bodies of
//! objects and a connection, and none would be done earlier.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::timeout;

use crate::fair::{Permit, Permits};
use crate::plan::SyncName;

/// The number of drivers that work at once, and of those of one namespace. They can use all requests that are sent at
/// once.
const AT_ONCE: u32 = 64;
const AT_ONCE_OF_NAMESPACE: u32 = 52;

/// How long a driver keeps its turn. One that takes longer goes on without it: it most likely renders, or waits for
/// a slow API server, and must delay nobody else.
const LONGEST: Duration = Duration::from_secs(2);

/// Turns to work.
pub(crate) struct Turns {
    permits: Arc<Permits>,
    longest: Duration,
}

/// A driver's turn, until it ends.
pub(crate) struct Turn(Mutex<Option<Permit>>);

impl Default for Turns {
    fn default() -> Self {
        Self::new(AT_ONCE, AT_ONCE_OF_NAMESPACE, LONGEST)
    }
}

impl Turns {
    fn new(at_once: u32, of_namespace: u32, longest: Duration) -> Self {
        Self {
            permits: Permits::new(at_once, of_namespace),
            longest,
        }
    }

    /// Waits for a turn of a namespace, and works. The turn ends with the work, or before it. `work` makes a future in a
    /// box, so that a driver that waits holds no memory for it.
    pub(crate) async fn take<F: Future + Unpin>(
        &self,
        sync: &SyncName,
        work: impl FnOnce(Arc<Turn>) -> F,
    ) -> F::Output {
        let permit = self.permits.take(&sync.namespace, &sync.name).await;
        let turn = Arc::new(Turn(Mutex::new(Some(permit))));
        let mut work = work(Arc::clone(&turn));
        let done = timeout(self.longest, &mut work).await;
        turn.end();
        match done {
            Ok(done) => done,
            Err(_) => work.await,
        }
    }
}

impl Turn {
    /// Ends the turn early, so that others can work. To be called before a wait for what others do.
    pub(crate) fn end(&self) {
        let permit = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        drop(permit);
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::Semaphore;
    use tokio::time::{Instant, sleep};

    use super::*;

    const FEW: usize = 3;

    fn new(longest: Duration) -> Turns {
        Turns::new(FEW as u32, FEW as u32, longest)
    }

    fn sync() -> SyncName {
        SyncName::new("team", "shop")
    }

    #[tokio::test]
    async fn many_take_turns_and_slow_ones_hold_nobody_up_for_long() {
        let longest = Duration::from_millis(400);
        let turns = Arc::new(new(longest));
        let started = Instant::now();
        let work = |takes: Duration| {
            let turns = Arc::clone(&turns);
            tokio::spawn(async move {
                turns.take(&sync(), |_| Box::pin(sleep(takes))).await;
                started.elapsed()
            })
        };
        let slow: Vec<_> = (0..FEW).map(|_| work(longest * 20)).collect();
        tokio::task::yield_now().await;
        let quick: Vec<_> = (0..2 * FEW).map(|_| work(longest / 4)).collect();
        let mut ends = Vec::new();
        for one in quick {
            ends.push(one.await.unwrap());
        }
        assert!(ends[0] >= longest, "the slow ones had their turns");
        assert!(ends[FEW] >= longest + longest / 2, "{ends:?}");
        assert!(ends[2 * FEW - 1] < longest * 10, "{ends:?}");
        assert_eq!(turns.permits.free(), FEW as u32);
        slow.into_iter().for_each(|slow| slow.abort());
    }

    #[tokio::test]
    async fn whoever_waits_for_others_lets_them_work() {
        let turns = Arc::new(new(Duration::from_secs(60)));
        let others = Arc::new(Semaphore::new(0));
        let all = (0..=FEW).map(|number| {
            let (turns, others) = (Arc::clone(&turns), Arc::clone(&others));
            tokio::spawn(async move {
                let work = |turn: Arc<Turn>| {
                    Box::pin(async move {
                        match number == FEW {
                            true => others.add_permits(FEW),
                            false => {
                                turn.end();
                                others.acquire().await.unwrap().forget();
                            }
                        }
                    })
                };
                turns.take(&sync(), work).await;
            })
        });
        let all = futures::future::join_all(all.collect::<Vec<_>>());
        timeout(Duration::from_secs(20), all).await.unwrap();
        assert_eq!(turns.permits.free(), FEW as u32);
    }
}
