//! The managed objects and their owners, as watches report them. The cluster is the inventory, and this
//! is its index.
//!
//! One lock, held only for map operations. Watches and answers to our own applies both write here. The
//! higher resourceVersion wins, so that a watch that lags behind our own write changes nothing.

mod state;

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, watch};

use crate::health::{self, Exposed, Health};
use crate::manifest::{GroupKind, ObjectKey};
use crate::plan::{Key, Observed, Seal, SyncName};
use state::InventoryState;

/// The index of managed objects. Clones share it.
#[derive(Clone)]
pub struct Inventory {
    key: Key,
    state: Arc<Mutex<InventoryState>>,
    released: watch::Sender<u64>,
}

/// Tells a Sync's driver which of its objects changed.
#[derive(Default)]
pub struct Mailbox {
    dirty: Mutex<HashSet<ObjectKey>>,
    notify: Notify,
}

impl Mailbox {
    fn put(&self, key: ObjectKey) {
        lock(&self.dirty).insert(key);
        self.notify.notify_one();
    }

    /// Waits until something changed. Cancel safe.
    pub async fn changed(&self) {
        self.notify.notified().await;
    }

    /// Takes what has changed since the last call.
    pub fn take(&self) -> HashSet<ObjectKey> {
        std::mem::take(&mut *lock(&self.dirty))
    }
}

impl Inventory {
    /// An empty index. `key` proves which objects are managed.
    pub fn new(key: Key) -> Self {
        Self {
            key,
            state: Arc::default(),
            released: watch::Sender::new(0),
        }
    }

    /// Registers a Sync with this uid, so that other Syncs cannot take its objects. Returns its mailbox.
    pub fn join(&self, sync: &SyncName, uid: &str) -> Arc<Mailbox> {
        let mut state = lock(&self.state);
        let member = state.syncs.entry(sync.clone()).or_default();
        member.uid = Some(uid.into());
        member.mailbox.get_or_insert_default().clone()
    }

    /// Removes a Sync that is gone, and releases the objects that it claimed.
    pub fn leave(&self, sync: &SyncName) {
        let mut state = lock(&self.state);
        state.release(sync, |_| false);
        if let Some(member) = state.syncs.get_mut(sync) {
            member.mailbox = None;
            if let Some(uid) = member.uid.take() {
                member.former = Some(uid);
            }
            member.planned = false;
            member.suspects = HashSet::new();
        }
        state.wishes.retain(|_, wisher| wisher != sync);
        for key in state.reserve(sync, HashSet::new()) {
            state.tell_owner(&key);
        }
        state.forget_member(sync);
        self.tell_released();
    }

    /// Claims `wanted` for a Sync, and releases its other claims. Returns the objects that another Sync
    /// owns, with the owner.
    pub fn claim<'a>(
        &self,
        sync: &SyncName,
        wanted: impl Iterator<Item = &'a ObjectKey>,
    ) -> Vec<(ObjectKey, SyncName)> {
        let mut state = lock(&self.state);
        let mut mine = HashSet::new();
        let mut refused = Vec::new();
        state.wishes.retain(|_, wisher| wisher != sync);
        for key in wanted {
            match state.holder(key, sync, &self.key) {
                Some(holder) => {
                    state.wishes.insert(key.clone(), sync.clone());
                    refused.push((key.clone(), holder));
                }
                None => {
                    mine.insert(key.clone());
                }
            }
        }
        let released = state.release(sync, |key| mine.contains(key));
        let mut first = false;
        // A removed Sync claims nothing: its driver may end later.
        let member = state.syncs.get_mut(sync);
        if let Some(member) = member.filter(|member| member.mailbox.is_some()) {
            first = !std::mem::replace(&mut member.planned, true);
            member.claimed.clone_from(&mine);
            let claims = mine.into_iter().map(|key| (key, sync.clone()));
            state.claims.extend(claims);
        }
        if released || first {
            self.tell_released();
        }
        refused
    }

    /// The other Sync that has an object.
    pub fn holder(&self, sync: &SyncName, key: &ObjectKey) -> Option<SyncName> {
        lock(&self.state).holder(key, sync, &self.key)
    }

    /// Records that a Sync will want exactly these objects, until it says otherwise. The Sync that has one of them now does
    /// not prune it.
    pub fn reserve(&self, sync: &SyncName, wanted: &HashSet<ObjectKey>) {
        let mut state = lock(&self.state);
        let dropped = state.reserve(sync, wanted.clone());
        for key in dropped.iter().filter(|key| !wanted.contains(key)) {
            state.tell_owner(key);
        }
    }

    /// Whether a Sync will want an object of a revision that it has not taken up.
    pub fn will_want(&self, sync: &SyncName, key: &ObjectKey) -> bool {
        let state = lock(&self.state);
        let reserves = state.reserves.get(sync);
        reserves.is_some_and(|reserves| reserves.contains(key))
    }

    /// The objects of a Sync that it does not claim, and that another one will want of a revision which that one has not
    /// taken up.
    pub fn reserved(&self, sync: &SyncName) -> Vec<(ObjectKey, SyncName)> {
        let state = lock(&self.state);
        let Some(member) = state.syncs.get(sync) else {
            return Vec::new();
        };
        let unclaimed = member.observed.difference(&member.claimed);
        let reserved = unclaimed.filter_map(|key| {
            let mut others = state.reserved.get(key)?.iter();
            let other = others.find(|other| *other != sync)?;
            (!state.claims.contains_key(key)).then(|| (key.clone(), other.clone()))
        });
        reserved.collect()
    }

    /// Claims those of these objects that a Sync has, if it has claimed nothing since the start. What else it has is free for
    /// the Syncs that want it.
    pub fn keep_at_first(&self, sync: &SyncName, wanted: &HashSet<ObjectKey>) {
        let mut state = lock(&self.state);
        let member = state.syncs.get(sync);
        if member.is_none_or(|member| member.mailbox.is_none() || member.planned) {
            return;
        }
        let has = |key: &&ObjectKey| {
            let known = state.objects.get(*key);
            let known = known.filter(|known| known.owner == *sync);
            known.is_some_and(|known| state.is_proven(sync, key, known, &self.key))
                && !state.claims.contains_key(*key)
        };
        let kept: HashSet<ObjectKey> = wanted.iter().filter(has).cloned().collect();
        let claims = kept.iter().map(|key| (key.clone(), sync.clone()));
        state.claims.extend(claims);
        if let Some(member) = state.syncs.get_mut(sync) {
            member.planned = true;
            member.claimed = kept;
        }
        self.tell_released();
    }

    /// Frees what a Sync has claimed and no longer wants for other Syncs.
    pub fn release(&self, sync: &SyncName, wanted: &HashSet<ObjectKey>) {
        if lock(&self.state).release(sync, |key| wanted.contains(key)) {
            self.tell_released();
        }
    }

    /// Changes when objects were released that another Sync may wait for.
    pub fn released(&self) -> watch::Receiver<u64> {
        self.released.subscribe()
    }

    /// The known state of an object.
    pub fn get(&self, key: &ObjectKey) -> Option<Observed> {
        lock(&self.state).objects.get(key).cloned()
    }

    /// The second in which the newest of these objects was created, by the API server's clock.
    pub fn newest<'a>(&self, keys: impl Iterator<Item = &'a ObjectKey>) -> Option<i64> {
        let state = lock(&self.state);
        let known = keys.filter_map(|key| state.objects.get(key));
        known.map(|known| known.created).max()
    }

    /// The digest of the manifest of which a claimed object has finished its run, if it has; it may be gone since.
    pub fn finished(&self, key: &ObjectKey) -> Option<Box<str>> {
        lock(&self.state).finished.get(key).cloned()
    }

    /// Whether a claimed object is gone, and no watch saw it go: it may have finished its run before.
    pub fn has_vanished(&self, key: &ObjectKey) -> bool {
        lock(&self.state).vanished.contains(key)
    }

    /// The objects whose identity names this Sync, and that no other Sync wants or has claimed.
    pub fn owned(&self, sync: &SyncName) -> Vec<(ObjectKey, Observed)> {
        let state = lock(&self.state);
        let Some(member) = state.syncs.get(sync) else {
            return Vec::new();
        };
        member
            .observed
            .iter()
            .filter(|key| !state.is_wanted_by_others(key, sync))
            .filter_map(|key| Some((key.clone(), state.objects.get(key)?.clone())))
            .collect()
    }

    /// Whether this Sync may delete an object: it still owns the object, and no other Sync wants it.
    pub fn is_owned(&self, key: &ObjectKey, sync: &SyncName) -> bool {
        let state = lock(&self.state);
        let is_named = |known: &Observed| known.owner == *sync;
        state.objects.get(key).is_some_and(is_named) && !state.is_wanted_by_others(key, sync)
    }

    /// The seal with which a Sync applies an object, by what is known of the object.
    pub fn seal(&self, sync: &SyncName, key: &ObjectKey) -> Seal {
        let state = lock(&self.state);
        let seal = state.seal(sync, key, &self.key);
        match state.objects.get(key) {
            // Another Sync's marks that are not proven are no sign that towline ever made the object. That Sync may be
            // gone: a Sync that is renamed is deleted before the new one has applied its objects.
            Some(known)
                if known.owner != *sync
                    && !state.was_proven(&known.owner, key, known, &self.key) =>
            {
                seal.for_adopted(known)
            }
            Some(known) => seal.for_object(known),
            None => seal,
        }
    }

    /// Where the objects of a Sync can be reached. Others can make objects that name the Sync, so only those count that
    /// it claims, and whose proof is right.
    pub fn exposed(&self, sync: &SyncName) -> Vec<Arc<Exposed>> {
        let state = lock(&self.state);
        let Some(member) = state.syncs.get(sync) else {
            return Vec::new();
        };
        let theirs = member.claimed.iter().filter_map(|key| {
            let known = state.objects.get(key)?;
            let exposed = known.exposed.as_ref().filter(|_| !known.deleting)?;
            let is_theirs = known.owner == *sync && state.is_proven(sync, key, known, &self.key);
            is_theirs.then(|| Arc::clone(exposed))
        });
        theirs.collect()
    }

    /// Whether an object's proof says that this Sync has applied it. Without one its marks may be anybody's.
    pub fn is_proven(&self, sync: &SyncName, key: &ObjectKey, observed: &Observed) -> bool {
        lock(&self.state).is_proven(sync, key, observed, &self.key)
    }

    /// Reports every change of `suspects` to the Sync, even if our own `managedFields` entry stays the
    /// same. The entry does not change when a person undoes a drift by hand.
    pub fn suspect(&self, sync: &SyncName, suspects: HashSet<ObjectKey>) {
        if let Some(member) = lock(&self.state).syncs.get_mut(sync) {
            member.suspects = suspects;
        }
    }

    /// Takes note that an apply got no answer.
    pub(super) fn unanswered(&self, key: &ObjectKey) {
        let mut state = lock(&self.state);
        if state.claims.contains_key(key) {
            state.unanswered.insert(key.clone());
        }
    }

    /// Whether the last apply of an object got no answer. Asked once.
    pub(super) fn take_unanswered(&self, key: &ObjectKey) -> bool {
        lock(&self.state).unanswered.remove(key)
    }

    /// Records the answer to our own apply. Returns the newest known state, which may come from a watch.
    /// None if the object was deleted since.
    pub fn applied(&self, key: &ObjectKey, answer: Observed) -> Option<Observed> {
        let mut state = lock(&self.state);
        if state
            .deleted
            .get(key)
            .is_some_and(|version| *version > answer.version)
        {
            return None;
        }
        let known = state.objects.get(key);
        let same = known.filter(|known| known.uid == answer.uid);
        // The answer has no body.
        let answer = Observed {
            finished: same.is_some_and(|known| known.finished),
            exposed: same.and_then(|known| known.exposed.clone()),
            ..answer
        };
        match known {
            Some(known) if known.version > answer.version => return Some(known.clone()),
            // Nothing was written, so the health from the watch is still right.
            Some(known) if known.version == answer.version => {
                let health = known.health.clone();
                state.put(key.clone(), Observed { health, ..answer });
            }
            _ => {
                let health = unseen(&key.kind);
                state.put(key.clone(), Observed { health, ..answer });
            }
        }
        state.objects.get(key).cloned()
    }

    /// Records an object that a watch reported. `seen` is none if the object is gone or is not managed.
    pub(super) fn watched(&self, key: &ObjectKey, version: u64, seen: Option<Observed>) {
        let mut state = lock(&self.state);
        if let Some(seen) = seen.as_ref().filter(|seen| seen.finished)
            && let Some(digest) = &seen.digest
            && state.claims.contains_key(key)
        {
            state.finished.insert(key.clone(), digest.clone());
        }
        let known = state.objects.get(key);
        if known.is_some_and(|known| known.version > version) {
            return;
        }
        match seen {
            Some(seen) => {
                let seen = match known {
                    Some(known) => seen.since(known),
                    None => seen,
                };
                let suspect = state
                    .syncs
                    .get(&seen.owner)
                    .is_some_and(|member| member.suspects.contains(key));
                let told = suspect || known.is_none_or(|known| differs(known, &seen));
                let previous = known.map(|known| known.owner.clone());
                let owner = seen.owner.clone();
                state.put(key.clone(), seen);
                if told {
                    state.tell(&owner, key);
                    if let Some(previous) = previous.filter(|previous| *previous != owner) {
                        state.tell(&previous, key);
                    }
                }
            }
            None => state.remove(key, version),
        }
    }

    /// Lets the next event of an object count, also with a lower version than the known one.
    pub(super) fn accept_older(&self, key: &ObjectKey) {
        if let Some(known) = lock(&self.state).objects.get_mut(key) {
            known.version = 0;
        }
    }

    /// The known objects of a kind and their versions. A full list that starts now must confirm them.
    pub(super) fn known(&self, kind: &GroupKind) -> HashMap<ObjectKey, u64> {
        lock(&self.state)
            .objects
            .iter()
            .filter(|(key, _)| key.kind == *kind)
            .map(|(key, known)| (key.clone(), known.version))
            .collect()
    }

    /// Ends a full list: removes the objects that were known at its start, and that it did not name and
    /// nobody wrote since.
    pub(super) fn unconfirmed(&self, gone: HashMap<ObjectKey, u64>) {
        let mut state = lock(&self.state);
        for (key, version) in gone {
            if state
                .objects
                .get(&key)
                .is_some_and(|known| known.version == version)
            {
                state.remove(&key, version);
                if state.claims.contains_key(&key) {
                    state.vanished.insert(key);
                }
            }
        }
    }

    fn tell_released(&self) {
        self.released.send_modify(|count| *count += 1);
    }
}

/// Whether the driver needs to know of a change. A status write of a healthy object, for example, changes
/// nothing for it.
fn differs(known: &Observed, seen: &Observed) -> bool {
    known.entry != seen.entry
        || known.modes != seen.modes
        || known.shared != seen.shared
        || known.uid != seen.uid
        || known.deleting != seen.deleting
        || known.held_by != seen.held_by
        || known.health != seen.health
        || known.owner != seen.owner
}

/// The health of an object that was just written, until its watch reports it. The answer to a write has
/// only metadata.
fn unseen(kind: &GroupKind) -> Health {
    match health::needs_body(kind) {
        true => Health::InProgress("applied; its status has not been seen yet".to_owned()),
        false => Health::Current,
    }
}

/// Ignores poisoning: every operation leaves the index consistent, even if a thread panics.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
