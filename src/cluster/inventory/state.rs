//! What the index knows, and how its maps are kept in step.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::Mailbox;
use crate::manifest::ObjectKey;
use crate::plan::{Bond, Key, Observed, Seal, SyncName};

#[derive(Default)]
pub(super) struct InventoryState {
    pub(super) objects: HashMap<ObjectKey, Observed>,
    /// Claimed objects that were deleted, with the resourceVersion of the deletion. An answer to an older
    /// apply must not add them again.
    pub(super) deleted: HashMap<ObjectKey, u64>,
    /// Claimed objects that were made to run once and have, with the digest of their manifest.
    pub(super) finished: HashMap<ObjectKey, Box<str>>,
    /// Claimed objects whose first apply got no answer: it may have made them.
    pub(super) unanswered: HashSet<ObjectKey>,
    /// Claimed objects that a new list did not have: nobody saw how they went.
    pub(super) vanished: HashSet<ObjectKey>,
    pub(super) claims: HashMap<ObjectKey, SyncName>,
    /// Objects that a Sync wants while another Sync owns them.
    pub(super) wishes: HashMap<ObjectKey, SyncName>,
    /// Objects that Syncs will want of a revision that they have not taken up.
    pub(super) reserved: HashMap<ObjectKey, HashSet<SyncName>>,
    /// The same by Sync: of thousands, few reserve anything.
    pub(super) reserves: HashMap<SyncName, HashSet<ObjectKey>>,
    pub(super) syncs: HashMap<SyncName, Member>,
}

#[derive(Default)]
pub(super) struct Member {
    pub(super) observed: HashSet<ObjectKey>,
    /// The objects that it claims, as in [`InventoryState::claims`].
    pub(super) claimed: HashSet<ObjectKey>,
    /// The uid of the Sync, while it exists.
    pub(super) uid: Option<Arc<str>>,
    /// The uid that the last Sync of this name had, if it is gone. It tells what that Sync made.
    pub(super) former: Option<Arc<str>>,
    /// Set while the Sync exists.
    pub(super) mailbox: Option<Arc<Mailbox>>,
    /// Whether the Sync has reported which objects it wants.
    pub(super) planned: bool,
    /// Objects whose every change is reported to the Sync.
    pub(super) suspects: HashSet<ObjectKey>,
}

impl InventoryState {
    /// Whether another Sync wants an object, or has claimed an object that this Sync released. Until the
    /// other Sync applies it, the object still names this Sync.
    pub(super) fn is_wanted_by_others(&self, key: &ObjectKey, sync: &SyncName) -> bool {
        let is_other = |owner: &SyncName| owner != sync;
        let mut reserved = self.reserved.get(key).into_iter().flatten();
        self.wishes.contains_key(key)
            || self.claims.get(key).is_some_and(is_other)
            || reserved.any(is_other)
    }

    pub(super) fn seal(&self, sync: &SyncName, object: &ObjectKey, key: &Key) -> Seal {
        let uid = self.syncs.get(sync).and_then(|member| member.uid.clone());
        seal_of(sync, uid.unwrap_or_default(), object, key)
    }

    /// A Sync that is not known, or gone, has nothing.
    pub(super) fn is_proven(
        &self,
        sync: &SyncName,
        object: &ObjectKey,
        observed: &Observed,
        key: &Key,
    ) -> bool {
        let member = self.syncs.get(sync);
        member.is_some_and(|member| member.uid.is_some())
            && self.seal(sync, object, key).holds(observed)
    }

    /// Whether a Sync has applied an object, also if the Sync is gone since.
    pub(super) fn was_proven(
        &self,
        sync: &SyncName,
        object: &ObjectKey,
        observed: &Observed,
        key: &Key,
    ) -> bool {
        let member = self.syncs.get(sync);
        let mut uids = member
            .into_iter()
            .flat_map(|member| member.uid.iter().chain(&member.former));
        uids.any(|uid| seal_of(sync, Arc::clone(uid), object, key).holds(observed))
    }

    /// The other Sync that owns an object, if any.
    pub(super) fn holder(
        &self,
        object: &ObjectKey,
        sync: &SyncName,
        key: &Key,
    ) -> Option<SyncName> {
        if let Some(owner) = self.claims.get(object) {
            return (owner != sync).then(|| owner.clone());
        }
        let observed = self.objects.get(object)?;
        let owner = observed.other_than(sync)?;
        // A Sync that is gone, or that does not list the object, does not want it.
        let wants = self
            .syncs
            .get(owner)
            .is_some_and(|member| member.mailbox.is_some() && !member.planned);
        let has = wants && self.is_proven(owner, object, observed, key);
        has.then(|| owner.clone())
    }

    pub(super) fn put(&mut self, key: ObjectKey, seen: Observed) {
        self.deleted.remove(&key);
        self.vanished.remove(&key);
        let owner = seen.owner.clone();
        if let Some(previous) = self.objects.insert(key.clone(), seen)
            && previous.owner != owner
        {
            self.lose(&previous.owner, &key);
        }
        self.syncs.entry(owner).or_default().observed.insert(key);
    }

    pub(super) fn remove(&mut self, key: &ObjectKey, version: u64) {
        if self.claims.contains_key(key) {
            self.deleted.insert(key.clone(), version);
        }
        if let Some(known) = self.objects.remove(key) {
            self.lose(&known.owner, key);
            self.tell(&known.owner, key);
        }
    }

    /// Removes an object from its former owner.
    pub(super) fn lose(&mut self, owner: &SyncName, key: &ObjectKey) {
        if let Some(member) = self.syncs.get_mut(owner) {
            member.observed.remove(key);
        }
        self.forget_member(owner);
    }

    /// Removes a Sync that is gone and has no object left.
    pub(super) fn forget_member(&mut self, sync: &SyncName) {
        let is_unused = |member: &Member| member.mailbox.is_none() && member.observed.is_empty();
        if self.syncs.get(sync).is_some_and(is_unused) {
            self.syncs.remove(sync);
        }
    }

    /// Replaces what a Sync will want. Returns what it wanted until now.
    pub(super) fn reserve(
        &mut self,
        sync: &SyncName,
        wanted: HashSet<ObjectKey>,
    ) -> HashSet<ObjectKey> {
        let before = self.reserves.remove(sync).unwrap_or_default();
        for key in &before {
            if let Some(syncs) = self.reserved.get_mut(key) {
                syncs.remove(sync);
                if syncs.is_empty() {
                    self.reserved.remove(key);
                }
            }
        }
        for key in &wanted {
            let syncs = self.reserved.entry(key.clone()).or_default();
            syncs.insert(sync.clone());
        }
        if !wanted.is_empty() {
            self.reserves.insert(sync.clone(), wanted);
        }
        before
    }

    /// Releases the claims of a Sync but for those to keep. Returns whether there were any.
    pub(super) fn release(&mut self, sync: &SyncName, keep: impl Fn(&ObjectKey) -> bool) -> bool {
        let Some(member) = self.syncs.get_mut(sync) else {
            return false;
        };
        let released: Vec<ObjectKey> = member.claimed.extract_if(|key| !keep(key)).collect();
        for key in &released {
            self.claims.remove(key);
            // Of objects that no Sync claims, nothing is remembered.
            self.deleted.remove(key);
            self.finished.remove(key);
            self.unanswered.remove(key);
            self.vanished.remove(key);
        }
        !released.is_empty()
    }

    /// Tells the Sync that has an object of a change.
    pub(super) fn tell_owner(&self, key: &ObjectKey) {
        if let Some(known) = self.objects.get(key) {
            self.tell(&known.owner, key);
        }
    }

    pub(super) fn tell(&self, owner: &SyncName, key: &ObjectKey) {
        if let Some(mailbox) = self
            .syncs
            .get(owner)
            .and_then(|member| member.mailbox.as_ref())
        {
            mailbox.put(key.clone());
        }
    }
}

pub(super) fn seal_of(sync: &SyncName, uid: Arc<str>, object: &ObjectKey, key: &Key) -> Seal {
    let bond = Bond {
        sync: sync.clone(),
        uid,
        object: object.clone(),
    };
    Seal::new(key.clone(), bond)
}
