//! Memory that several namespaces share: how much all of them may hold, and how much one of them may.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// How many bytes may be held. Clones share the books.
#[derive(Clone, Debug)]
pub struct Allowance(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    all: usize,
    of_namespace: usize,
    /// The bytes that each namespace holds.
    books: Mutex<HashMap<Arc<str>, usize>>,
}

/// A part of an allowance, until it is dropped.
#[derive(Debug)]
pub struct HeldBytes {
    from: Allowance,
    namespace: Arc<str>,
    bytes: usize,
}

impl Allowance {
    /// An allowance of `all` bytes, of which one namespace may hold `of_namespace`.
    pub fn new(all: usize, of_namespace: usize) -> Self {
        Self(Arc::new(Shared {
            all,
            of_namespace,
            books: Mutex::default(),
        }))
    }

    /// Holds `bytes` for a namespace. None if that is more than the namespace, or all of them, may hold.
    pub fn hold(&self, namespace: &Arc<str>, bytes: usize) -> Option<HeldBytes> {
        let Shared {
            all, of_namespace, ..
        } = *self.0;
        let mut books = self.books();
        let own = books.get(namespace).copied().unwrap_or_default();
        let held: usize = books.values().sum();
        if own + bytes > of_namespace || held + bytes > all {
            return None;
        }
        books.insert(Arc::clone(namespace), own + bytes);
        Some(HeldBytes {
            from: self.clone(),
            namespace: Arc::clone(namespace),
            bytes,
        })
    }

    fn books(&self) -> MutexGuard<'_, HashMap<Arc<str>, usize>> {
        self.0.books.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for HeldBytes {
    fn drop(&mut self) {
        let mut books = self.from.books();
        let Some(held) = books.get_mut(&self.namespace) else {
            return;
        };
        *held = held.saturating_sub(self.bytes);
        if *held == 0 {
            books.remove(&self.namespace);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_namespace_holds_its_share_and_gives_it_back() {
        let allowance = Allowance::new(100, 60);
        let hold = |namespace: &str, bytes| allowance.hold(&namespace.into(), bytes);
        let one = hold("a", 60).unwrap();
        assert!(hold("a", 1).is_none(), "its own share is used up");
        let other = hold("b", 40).unwrap();
        assert!(hold("c", 1).is_none(), "all of it is used up");
        drop(one);
        let again = hold("c", 60).unwrap();
        assert!(hold("a", 1).is_none());
        drop((other, again));
        assert!(allowance.books().is_empty());
    }
}
