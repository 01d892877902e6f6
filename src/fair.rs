//! Permits for work that only some may do at a time, shared fairly between namespaces.
//!
//! A free permit goes to the waiting namespace that has the fewest; of several, to the one that has waited longest. So
//! whoever has thousands waiting delays others by one work at most, and within a namespace the first is served first.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

/// A number of permits. Clones share them.
#[derive(Clone)]
pub struct Fair(Arc<Mutex<Table>>);

struct Table {
    free: usize,
    /// The most permits of one namespace, so that the slow work of one leaves some for others.
    of_namespace: usize,
    held: HashMap<Arc<str>, usize>,
    waiting: HashMap<Arc<str>, VecDeque<Waiting>>,
    /// The number of the next one that waits.
    next: u64,
}

struct Waiting {
    number: u64,
    give: oneshot::Sender<Permit>,
}

/// A permit, until it is dropped.
pub struct Permit {
    from: Fair,
    namespace: Arc<str>,
}

impl Fair {
    /// So many permits, of which one namespace may hold `of_namespace`.
    pub fn new(permits: usize, of_namespace: usize) -> Self {
        Self(Arc::new(Mutex::new(Table {
            free: permits,
            of_namespace,
            held: HashMap::new(),
            waiting: HashMap::new(),
            next: 0,
        })))
    }

    /// Waits for a permit of a namespace.
    pub async fn acquire(&self, namespace: &str) -> Permit {
        let given = {
            let mut table = self.table();
            if !table.waiting.contains_key(namespace) && table.has_room_for(namespace) {
                let namespace = table.take(namespace);
                return self.permit(namespace);
            }
            table.queue(namespace)
        };
        match given.await {
            Ok(permit) => permit,
            // The table keeps the sender of everybody who waits.
            Err(_) => std::future::pending().await,
        }
    }

    /// How many permits are free.
    pub fn free(&self) -> usize {
        self.table().free
    }

    fn permit(&self, namespace: Arc<str>) -> Permit {
        Permit {
            from: self.clone(),
            namespace,
        }
    }

    /// Gives free permits to those who wait.
    fn settle(&self, mut table: MutexGuard<'_, Table>) {
        let mut given = Vec::new();
        while let Some((namespace, give)) = table.next_waiting() {
            let namespace = table.take(&namespace);
            given.push((give, self.permit(namespace)));
        }
        // A permit that nobody takes any more is dropped, which needs the lock.
        drop(table);
        for (give, permit) in given {
            let _ = give.send(permit);
        }
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    fn held(&self, namespace: &str) -> usize {
        self.held.get(namespace).copied().unwrap_or_default()
    }

    fn has_room_for(&self, namespace: &str) -> bool {
        self.free > 0 && self.held(namespace) < self.of_namespace
    }

    fn take(&mut self, namespace: &str) -> Arc<str> {
        self.free -= 1;
        let known = self.held.get_key_value(namespace);
        let name = known.map_or_else(|| namespace.into(), |(name, _)| Arc::clone(name));
        *self.held.entry(Arc::clone(&name)).or_default() += 1;
        name
    }

    fn give_back(&mut self, namespace: &str) {
        self.free += 1;
        if let Some(held) = self.held.get_mut(namespace) {
            *held -= 1;
            if *held == 0 {
                self.held.remove(namespace);
            }
        }
    }

    fn queue(&mut self, namespace: &str) -> oneshot::Receiver<Permit> {
        let (give, given) = oneshot::channel();
        let number = self.next;
        self.next += 1;
        let queue = self.waiting.entry(namespace.into()).or_default();
        queue.push_back(Waiting { number, give });
        given
    }

    /// Who gets a free permit.
    fn next_waiting(&mut self) -> Option<(Arc<str>, oneshot::Sender<Permit>)> {
        loop {
            let next = self
                .waiting
                .iter()
                .filter(|(namespace, _)| self.has_room_for(namespace))
                .filter_map(|(namespace, queue)| {
                    let first = queue.front()?;
                    Some(((self.held(namespace), first.number), namespace))
                })
                .min();
            let namespace = Arc::clone(next?.1);
            let queue = self.waiting.get_mut(&namespace)?;
            let first = queue.pop_front();
            if queue.is_empty() {
                self.waiting.remove(&namespace);
            }
            // Who does not wait any more gets nothing.
            if let Some(Waiting { give, .. }) = first.filter(|first| !first.give.is_closed()) {
                return Some((namespace, give));
            }
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut table = self.from.table();
        table.give_back(&self.namespace);
        self.from.settle(table);
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;

    fn now(work: impl Future<Output = Permit>) -> Option<Permit> {
        work.now_or_never()
    }

    #[tokio::test]
    async fn whoever_has_fewest_is_next_however_many_others_wait() {
        let fair = Fair::new(4, 4);
        let mut held: Vec<Permit> = (0..4).filter_map(|_| now(fair.acquire("a"))).collect();
        assert_eq!((held.len(), fair.free()), (4, 0));
        let mut crowd: Vec<_> = (0..1_000).map(|_| Box::pin(fair.acquire("a"))).collect();
        for one in &mut crowd {
            assert!(one.as_mut().now_or_never().is_none());
        }
        let mut other = Box::pin(fair.acquire("b"));
        assert!(other.as_mut().now_or_never().is_none());
        held.pop();
        let other = other.as_mut().now_or_never();
        assert!(other.is_some(), "the next free permit is for b");
        held.pop();
        let first = crowd[0].as_mut().now_or_never();
        assert!(first.is_some(), "the first of a is next");
        assert!(crowd[1].as_mut().now_or_never().is_none());
        // Those who do not wait any more are passed over.
        drop(crowd.drain(1..999));
        drop(other);
        let last = crowd[1].as_mut().now_or_never();
        assert!(last.is_some());
        drop((held, first, last, crowd));
        assert_eq!(fair.free(), 4);
        assert!(fair.table().held.is_empty() && fair.table().waiting.is_empty());
    }

    #[tokio::test]
    async fn one_namespace_leaves_some_for_others() {
        let fair = Fair::new(4, 3);
        let slow: Vec<Permit> = (0..4).filter_map(|_| now(fair.acquire("a"))).collect();
        assert_eq!(slow.len(), 3);
        let mut more = Box::pin(fair.acquire("a"));
        assert!(more.as_mut().now_or_never().is_none());
        let other = now(fair.acquire("b")).unwrap();
        assert!(now(fair.acquire("b")).is_none());
        drop(other);
        assert!(more.as_mut().now_or_never().is_none(), "a has its share");
        drop(slow);
        assert!(more.as_mut().now_or_never().is_some());
    }

    /// A permit that was given to somebody who then went away is free again.
    #[tokio::test]
    async fn no_permit_is_lost() {
        let fair = Fair::new(1, 1);
        let held = now(fair.acquire("a")).unwrap();
        let mut gone = Box::pin(fair.acquire("b"));
        assert!(gone.as_mut().now_or_never().is_none());
        drop(held);
        drop(gone);
        assert_eq!(fair.free(), 1);
        assert!(now(fair.acquire("c")).is_some());
    }
}
