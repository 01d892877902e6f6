//! Turns: how many fetches may do something at a time, shared fairly between namespaces.
//!
//! A free turn goes to the waiting namespace that has the fewest. While nobody else waits, one
//! namespace may have them all. When a namespace waits that has at least two turns fewer than
//! another one, the newest fetch of the other one ends and gives its turn. When all have the same,
//! a fetch that has held its turn for [`TENURE`] gives way. So no number of slow servers keeps the
//! fetches of other namespaces waiting for longer than that.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::stop::{Stop, StopReason};

/// How long a fetch keeps its turn in any case, while its namespace has no more turns than others.
const TENURE: Duration = Duration::from_secs(60);

/// How often a waiting fetch looks whether a turn was held for long enough.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// A number of turns. Clones share them.
#[derive(Clone, Debug)]
pub(super) struct Turns(Arc<Mutex<Table>>);

#[derive(Debug)]
struct Table {
    total: usize,
    next: u64,
    /// In the order in which they began.
    held: Vec<HeldTurn>,
    /// In the order in which they came.
    waiting: Vec<Waiting>,
}

#[derive(Debug)]
struct HeldTurn {
    number: u64,
    namespace: String,
    stop: Stop,
    since: Instant,
}

#[derive(Debug)]
struct Waiting {
    namespace: String,
    stop: Stop,
    give: oneshot::Sender<Turn>,
}

/// A turn, until it is dropped or given to another namespace.
#[derive(Debug)]
pub(super) struct Turn {
    turns: Turns,
    number: u64,
}

impl Drop for Turn {
    fn drop(&mut self) {
        let number = self.number;
        let mut table = self.turns.table();
        table.held.retain(|held| held.number != number);
        self.turns.settle(table);
    }
}

impl Turns {
    pub(super) fn new(total: usize) -> Self {
        Self(Arc::new(Mutex::new(Table {
            total,
            next: 0,
            held: Vec::new(),
            waiting: Vec::new(),
        })))
    }

    /// Waits for a turn. `stop` ends the fetch if its turn goes to another namespace.
    pub(super) async fn take(&self, namespace: &str, stop: &Stop) -> Turn {
        let mut given = self.wait(namespace, stop);
        loop {
            match tokio::time::timeout(LOOK_AGAIN, &mut given).await {
                Ok(Ok(turn)) => return turn,
                // The table never drops the sender of a fetch that still waits.
                Ok(Err(_)) => std::future::pending().await,
                Err(_) => self.settle(self.table()),
            }
        }
    }

    fn wait(&self, namespace: &str, stop: &Stop) -> oneshot::Receiver<Turn> {
        let (give, given) = oneshot::channel();
        let mut table = self.table();
        table.waiting.push(Waiting {
            namespace: namespace.to_owned(),
            stop: stop.clone(),
            give,
        });
        self.settle(table);
        given
    }

    /// Gives turns to those who wait, as far as the rules allow.
    fn settle(&self, mut table: MutexGuard<'_, Table>) {
        let now = Instant::now();
        let mut given = Vec::new();
        loop {
            table.waiting.retain(|waiting| !waiting.give.is_closed());
            let Some(next) = table.next_waiting() else {
                break;
            };
            if table.held.len() >= table.total {
                let Some(victim) = table.victim(next, now) else {
                    break;
                };
                table.held.remove(victim).stop.tell(StopReason::GaveWay);
            }
            let waiting = table.waiting.remove(next);
            let number = table.next;
            table.next += 1;
            table.held.push(HeldTurn {
                number,
                namespace: waiting.namespace,
                stop: waiting.stop,
                since: now,
            });
            let turn = Turn {
                turns: self.clone(),
                number,
            };
            given.push((waiting.give, turn));
        }
        // A turn that nobody takes is dropped, which needs the lock.
        drop(table);
        for (give, turn) in given {
            let _ = give.send(turn);
        }
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    fn counts(&self) -> HashMap<&str, usize> {
        let mut counts = HashMap::new();
        for held in &self.held {
            *counts.entry(held.namespace.as_str()).or_default() += 1;
        }
        counts
    }

    /// Who comes next: of the namespaces with the fewest turns, the one that came first.
    fn next_waiting(&self) -> Option<usize> {
        let counts = self.counts();
        let count = |waiting: &Waiting| counts.get(&*waiting.namespace).copied().unwrap_or(0);
        let mut indexed = self.waiting.iter().enumerate();
        let (mut best, first) = indexed.next()?;
        let mut fewest = count(first);
        for (index, waiting) in indexed {
            if count(waiting) < fewest {
                (best, fewest) = (index, count(waiting));
            }
        }
        Some(best)
    }

    /// Whose turn goes to the fetch that waits at `next`.
    fn victim(&self, next: usize, now: Instant) -> Option<usize> {
        let counts = self.counts();
        let namespace = self.waiting.get(next)?.namespace.as_str();
        let own = counts.get(namespace).copied().unwrap_or(0);
        let count = |held: &HeldTurn| counts.get(&*held.namespace).copied().unwrap_or(0);
        let most = counts.values().copied().max().unwrap_or(0);
        if most > own + 1 {
            return self.held.iter().rposition(|held| count(held) == most);
        }
        let has_more = |held: &HeldTurn| held.namespace != namespace && count(held) > own;
        let is_over = |held: &HeldTurn| now.duration_since(held.since) >= TENURE;
        self.held
            .iter()
            .position(|held| has_more(held) && is_over(held))
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;

    fn now_or_never(turns: &Turns, namespace: &str, stop: &Stop) -> Option<Turn> {
        turns.take(namespace, stop).now_or_never()
    }

    #[tokio::test]
    async fn a_namespace_has_all_turns_until_another_one_waits() {
        let turns = Turns::new(4);
        let many: Vec<_> = (0..4).map(|_| Stop::new()).collect();
        let held: Vec<_> = many
            .iter()
            .map(|stop| now_or_never(&turns, "many", stop).expect("a free turn"))
            .collect();
        // A fifth of the same namespace displaces nobody.
        assert!(now_or_never(&turns, "many", &Stop::new()).is_none());
        let one = now_or_never(&turns, "one", &Stop::new()).expect("its share");
        let told = |stop: &Stop| stop.reason() == Some(StopReason::GaveWay);
        assert_eq!(many.iter().filter(|stop| told(stop)).count(), 1);
        assert!(told(&many[3]), "the newest gives way");
        let two = now_or_never(&turns, "two", &Stop::new()).expect("its share");
        assert!(told(&many[2]));
        // `many` has two of four now: nobody has to give more to those who have one.
        assert!(now_or_never(&turns, "one", &Stop::new()).is_none());
        drop((one, two, held));
        assert!(turns.table().held.is_empty());
    }

    #[tokio::test]
    async fn a_free_turn_goes_to_the_namespace_with_the_fewest() {
        let turns = Turns::new(2);
        let stop = Stop::new();
        let first = now_or_never(&turns, "a", &stop).expect("a free turn");
        let second = now_or_never(&turns, "b", &stop).expect("a free turn");
        let mut again = Box::pin(turns.take("a", &stop));
        assert!((&mut again).now_or_never().is_none());
        let mut third = Box::pin(turns.take("c", &stop));
        assert!((&mut third).now_or_never().is_none());
        drop(second);
        assert!((&mut again).now_or_never().is_none());
        let third = (&mut third).now_or_never().expect("c has none");
        drop(first);
        assert!((&mut again).now_or_never().is_some());
        drop(third);
    }

    #[tokio::test]
    async fn a_turn_that_was_held_for_long_goes_to_a_namespace_without_one() {
        let turns = Turns::new(1);
        let slow = Stop::new();
        let held = now_or_never(&turns, "slow", &slow).expect("a free turn");
        assert!(now_or_never(&turns, "other", &Stop::new()).is_none());
        if let Some(held) = turns.table().held.first_mut() {
            held.since -= TENURE;
        }
        // Not for the same namespace.
        assert!(now_or_never(&turns, "slow", &Stop::new()).is_none());
        assert!(now_or_never(&turns, "other", &Stop::new()).is_some());
        assert_eq!(slow.reason(), Some(StopReason::GaveWay));
        drop(held);
    }

    #[tokio::test]
    async fn a_fetch_that_no_longer_waits_gets_no_turn() {
        let turns = Turns::new(1);
        let held = now_or_never(&turns, "a", &Stop::new());
        assert!(now_or_never(&turns, "b", &Stop::new()).is_none());
        drop(held);
        assert!(now_or_never(&turns, "c", &Stop::new()).is_some());
        assert!(turns.table().waiting.is_empty());
    }
}
