//! A published table of views by key. Others read it, subscribe to a key or follow all keys.
//!
//! An entry is in memory only while it is published or has a subscriber.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use tokio::sync::{Notify, watch};

/// The key of an entry.
pub trait Key: Clone + Ord {}

impl<K: Clone + Ord> Key for K {}

/// The view that a registry publishes under a key. The default means that nothing is known yet.
pub trait View<K>: Clone + Default + PartialEq {
    /// The view of a key that is not published, when all existing keys have been published.
    fn absent(key: &K) -> Self;

    /// Whether the change from `before` to `self` wakes the subscribers of the key. Followers of
    /// the whole registry get every change.
    fn wakes(&self, before: &Self) -> bool {
        self != before
    }
}

/// The view of a registry that only reports changes; see [`Registry::touch`].
impl<K> View<K> for () {
    fn absent(_: &K) -> Self {}
}

/// Views by key. Clones share them.
pub struct Registry<K: Key, V: View<K>>(Arc<Mutex<Table<K, V>>>);

struct Table<K, V> {
    entries: BTreeMap<K, Entry<V>>,
    /// Every existing key has been published.
    complete: bool,
    feeds: Vec<Weak<Feed<K>>>,
}

struct Entry<V> {
    view: watch::Sender<V>,
    published: bool,
    subscribers: usize,
}

impl<K: Key, V: View<K>> Registry<K, V> {
    /// Publishes a view. Returns the view that was there.
    pub fn publish(&self, key: &K, view: V) -> V {
        self.publish_with(key, |_| view)
    }

    /// Publishes a view, unless the key is published already.
    pub fn add(&self, key: &K, view: impl FnOnce() -> V) {
        self.publish_with(key, |known| known.cloned().unwrap_or_else(view));
    }

    /// Publishes the view that `view` makes of the published one, if there is one. Returns the view
    /// that was there.
    pub fn publish_with(&self, key: &K, view: impl FnOnce(Option<&V>) -> V) -> V {
        let mut table = self.lock();
        let was_published = std::mem::replace(&mut table.entry(key).published, true);
        table.set(key, |known| {
            let view = view(was_published.then_some(&*known));
            std::mem::replace(known, view)
        })
    }

    /// Changes a published view. If the key was removed, does not call `change`: a driver that ends
    /// late must not publish a removed resource again.
    pub fn update<R>(&self, key: &K, change: impl FnOnce(&mut V) -> R) -> Option<R> {
        let mut table = self.lock();
        let published = table.entries.get(key).is_some_and(|entry| entry.published);
        published.then(|| table.set(key, change))
    }

    /// Removes a view. Subscribers of the key then read that it is absent. Returns whether it was published.
    pub fn remove(&self, key: &K) -> bool {
        let mut table = self.lock();
        let Some(entry) = table.entries.get_mut(key) else {
            return false;
        };
        let was_published = std::mem::replace(&mut entry.published, false);
        table.set(key, |known| *known = V::absent(key));
        table.release(key);
        was_published
    }

    /// Records that every existing key has been published. All other keys are then absent and not
    /// unknown.
    pub fn complete(&self) {
        let mut table = self.lock();
        table.complete = true;
        let open = table.entries.iter().filter(|(_, entry)| !entry.published);
        let open: Vec<K> = open.map(|(key, _)| key.clone()).collect();
        for key in open {
            table.set(&key, |known| *known = V::absent(&key));
        }
    }

    /// Wakes the subscribers of a key, though its view has not changed. Returns whether there are any.
    pub fn touch(&self, key: &K) -> bool {
        let table = self.lock();
        let Some(entry) = table.entries.get(key) else {
            return false;
        };
        entry.view.send_modify(|_| ());
        entry.subscribers > 0
    }

    /// Wakes all subscribers of all keys.
    pub fn touch_all(&self) {
        for entry in self.lock().entries.values() {
            entry.view.send_modify(|_| ());
        }
    }

    /// The view of a key.
    pub fn read(&self, key: &K) -> V {
        let table = self.lock();
        match table.entries.get(key) {
            Some(entry) => entry.view.borrow().clone(),
            None => unpublished(table.complete, key),
        }
    }

    /// Whether a key is published.
    pub fn is_published(&self, key: &K) -> bool {
        let table = self.lock();
        table.entries.get(key).is_some_and(|entry| entry.published)
    }

    /// All published views, in the order of the keys.
    pub fn views(&self) -> Vec<(K, V)> {
        self.pick(|key, view| Some((key.clone(), view.clone())))
    }

    /// What `pick` takes out of the published views, in the order of the keys. It must not use this registry.
    pub fn pick<R>(&self, mut pick: impl FnMut(&K, &V) -> Option<R>) -> Vec<R> {
        let table = self.lock();
        let published = table.entries.iter().filter(|(_, entry)| entry.published);
        published
            .filter_map(|(key, entry)| pick(key, &entry.view.borrow()))
            .collect()
    }

    /// Subscribes to a key. The key need not exist yet.
    pub fn subscribe(&self, key: &K) -> Subscription<K, V> {
        let mut table = self.lock();
        let entry = table.entry(key);
        entry.subscribers += 1;
        Subscription {
            view: entry.view.subscribe(),
            registry: self.clone(),
            key: key.clone(),
        }
    }

    /// Follows all keys. It first returns the keys that are published now, so that no change
    /// between a read and this call is missed.
    pub fn changes(&self) -> Changes<K> {
        let mut table = self.lock();
        let published = table.entries.iter().filter(|(_, entry)| entry.published);
        let feed = Arc::new(Feed {
            keys: Mutex::new(published.map(|(key, _)| key.clone()).collect()),
            filled: Notify::new(),
        });
        table.feeds.push(Arc::downgrade(&feed));
        Changes(feed)
    }

    /// How many entries are in memory.
    pub fn len(&self) -> usize {
        self.lock().entries.len()
    }

    /// Whether no entry is in memory.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn lock(&self) -> MutexGuard<'_, Table<K, V>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K: Key, V: View<K>> Clone for Registry<K, V> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<K: Key, V: View<K>> Default for Registry<K, V> {
    fn default() -> Self {
        Self(Arc::new(Mutex::new(Table {
            entries: BTreeMap::new(),
            complete: false,
            feeds: Vec::new(),
        })))
    }
}

impl<K: Key, V: View<K>> Table<K, V> {
    /// The entry of a key. Makes it if it does not exist; the caller then publishes it or
    /// subscribes to it.
    fn entry(&mut self, key: &K) -> &mut Entry<V> {
        let complete = self.complete;
        self.entries.entry(key.clone()).or_insert_with(|| Entry {
            view: watch::Sender::new(unpublished(complete, key)),
            published: false,
            subscribers: 0,
        })
    }

    /// Changes the view of an entry, and notifies its subscribers and the followers of the
    /// registry.
    fn set<R>(&mut self, key: &K, change: impl FnOnce(&mut V) -> R) -> R {
        let entry = self.entry(key);
        let before = entry.view.borrow().clone();
        let mut view = before.clone();
        let answer = change(&mut view);
        let changed = view != before;
        let wakes = view.wakes(&before);
        entry.view.send_if_modified(|known| {
            *known = view;
            wakes
        });
        if changed {
            self.feeds.retain(|feed| feed.strong_count() > 0);
            let feeds = self.feeds.iter().filter_map(Weak::upgrade);
            feeds.for_each(|feed| feed.tell(key));
        }
        answer
    }

    /// Removes an entry that is neither published nor subscribed to.
    fn release(&mut self, key: &K) {
        let unused = |entry: &Entry<V>| !entry.published && entry.subscribers == 0;
        if self.entries.get(key).is_some_and(unused) {
            self.entries.remove(key);
        }
    }
}

fn unpublished<K, V: View<K>>(complete: bool, key: &K) -> V {
    match complete {
        true => V::absent(key),
        false => V::default(),
    }
}

/// The view of one key, with its changes. The methods are those of [`watch::Receiver`].
pub struct Subscription<K: Key, V: View<K>> {
    registry: Registry<K, V>,
    key: K,
    view: watch::Receiver<V>,
}

impl<K: Key, V: View<K>> Subscription<K, V> {
    /// The key of this subscription.
    pub fn key(&self) -> &K {
        &self.key
    }

    /// The view, without marking it as seen. Do not publish while the returned value is held: that
    /// is a deadlock.
    pub fn borrow(&self) -> watch::Ref<'_, V> {
        self.view.borrow()
    }

    /// The view, which is marked as seen. Do not publish while the returned value is held: that is
    /// a deadlock.
    pub fn borrow_and_update(&mut self) -> watch::Ref<'_, V> {
        self.view.borrow_and_update()
    }

    /// Whether the view changed since it was seen.
    pub fn has_changed(&self) -> bool {
        // An error would mean that the entry is gone, but this subscription keeps it.
        self.view.has_changed().unwrap_or(false)
    }

    /// Waits until the view changes, and marks it as seen.
    pub async fn changed(&mut self) {
        if self.view.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

impl<K: Key, V: View<K>> Clone for Subscription<K, V> {
    fn clone(&self) -> Self {
        self.registry.lock().entry(&self.key).subscribers += 1;
        Self {
            registry: self.registry.clone(),
            key: self.key.clone(),
            view: self.view.clone(),
        }
    }
}

impl<K: Key, V: View<K>> Drop for Subscription<K, V> {
    fn drop(&mut self) {
        let mut table = self.registry.lock();
        if let Some(entry) = table.entries.get_mut(&self.key) {
            entry.subscribers -= 1;
        }
        table.release(&self.key);
    }
}

/// The keys whose views changed. A key that changes several times before it is read is returned
/// once, so a slow reader needs no more memory than there are keys.
pub struct Changes<K>(Arc<Feed<K>>);

struct Feed<K> {
    keys: Mutex<BTreeSet<K>>,
    filled: Notify,
}

impl<K: Key> Changes<K> {
    /// Waits for changes, and returns the keys of all of them. A read of a key then gives its
    /// current view; a removed key reads as absent.
    pub async fn next(&self) -> BTreeSet<K> {
        loop {
            let keys = std::mem::take(&mut *self.0.lock());
            if !keys.is_empty() {
                return keys;
            }
            self.0.filled.notified().await;
        }
    }
}

impl<K: Key> Feed<K> {
    fn tell(&self, key: &K) {
        self.lock().insert(key.clone());
        self.filled.notify_one();
    }
}

impl<K> Feed<K> {
    fn lock(&self) -> MutexGuard<'_, BTreeSet<K>> {
        self.keys.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;

    #[derive(Clone, Debug, Default, PartialEq)]
    enum Known {
        #[default]
        Unknown,
        Absent,
        Is {
            shown: u32,
            quietly: u32,
        },
    }

    impl View<String> for Known {
        fn absent(_: &String) -> Self {
            Self::Absent
        }

        fn wakes(&self, before: &Self) -> bool {
            match (self, before) {
                (Self::Is { shown: now, .. }, Self::Is { shown: was, .. }) => now != was,
                _ => self != before,
            }
        }
    }

    fn is(shown: u32) -> Known {
        Known::Is { shown, quietly: 0 }
    }

    fn key(name: &str) -> String {
        name.to_owned()
    }

    #[test]
    fn a_key_is_unknown_then_absent_then_there_and_absent_again() {
        let registry = Registry::<String, Known>::default();
        let mut early = registry.subscribe(&key("a"));
        assert_eq!(*early.borrow_and_update(), Known::Unknown);
        assert_eq!(registry.read(&key("never")), Known::Unknown);
        registry.complete();
        assert!(early.has_changed());
        assert_eq!(*early.borrow_and_update(), Known::Absent);
        assert_eq!(registry.read(&key("never")), Known::Absent);
        assert_eq!(*registry.subscribe(&key("late")).borrow(), Known::Absent);
        assert_eq!(registry.publish(&key("a"), is(1)), Known::Absent);
        assert_eq!(*early.borrow_and_update(), is(1));
        registry.add(&key("a"), || is(2));
        assert!(!early.has_changed(), "what is published stays");
        registry.remove(&key("a"));
        assert_eq!(*early.borrow_and_update(), Known::Absent);
        assert_eq!(registry.update(&key("a"), |_| ()), None, "it stays removed");
        assert_eq!(*early.borrow_and_update(), Known::Absent);
    }

    #[test]
    fn an_entry_without_a_view_and_subscribers_is_removed() {
        let registry = Registry::<String, Known>::default();
        let changes = registry.changes();
        for round in 0..2 {
            for number in 0..10_000 {
                registry.publish(&number.to_string(), is(round));
            }
            let followed: Vec<_> = (5_000..15_000)
                .map(|number: u32| registry.subscribe(&number.to_string()))
                .collect();
            let twice = followed.clone();
            assert_eq!(registry.len(), 15_000);
            for number in 0..10_000 {
                registry.remove(&number.to_string());
            }
            assert_eq!(registry.len(), 10_000, "these are followed still");
            drop(followed);
            assert_eq!(registry.len(), 10_000, "by another, too");
            drop(twice);
            assert!(registry.is_empty());
            registry.remove(&key("0"));
            registry.touch(&key("0"));
            assert!(registry.is_empty());
        }
        drop(changes);
        registry.publish(&key("a"), is(1));
        assert!(registry.lock().feeds.is_empty());
    }

    #[test]
    fn only_a_change_that_concerns_others_wakes_them() {
        let registry = Registry::<String, Known>::default();
        registry.publish(&key("a"), is(1));
        let followed = registry.subscribe(&key("a"));
        let quietly = |to| {
            registry.update(&key("a"), |view| {
                if let Known::Is { quietly, .. } = view {
                    *quietly = to;
                }
            })
        };
        assert_eq!(quietly(7), Some(()));
        assert!(!followed.has_changed());
        assert_eq!(
            *followed.borrow(),
            Known::Is {
                shown: 1,
                quietly: 7
            }
        );
        registry.publish(&key("a"), is(2));
        assert!(followed.has_changed());
    }

    #[test]
    fn a_touch_wakes_without_a_change() {
        let registry = Registry::<String, Known>::default();
        let mut one = registry.subscribe(&key("one"));
        let mut other = registry.subscribe(&key("other"));
        registry.touch(&key("one"));
        assert!(one.changed().now_or_never().is_some() && !other.has_changed());
        registry.touch_all();
        assert!(one.has_changed() && other.changed().now_or_never().is_some());
    }

    #[test]
    fn a_follower_of_all_keys_gets_each_changed_key_once() {
        let registry = Registry::<String, Known>::default();
        registry.publish(&key("a"), is(1));
        let changes = registry.changes();
        let next = || changes.next().now_or_never();
        assert_eq!(next(), Some([key("a")].into()), "what is there already");
        assert_eq!(next(), None);
        for round in 0..1_000 {
            registry.publish(&key("b"), is(round));
            registry.update(&key("a"), |view| {
                *view = Known::Is {
                    shown: 1,
                    quietly: round,
                };
            });
        }
        let followed = registry.subscribe(&key("c"));
        assert_eq!(next(), Some([key("a"), key("b")].into()));
        registry.remove(&key("b"));
        registry.publish(&key("a"), registry.read(&key("a")));
        assert_eq!(next(), Some([key("b")].into()));
        drop(followed);
        assert_eq!(registry.views().len(), 1);
    }
}
