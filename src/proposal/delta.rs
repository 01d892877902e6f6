//! What differs between the commits of a request. Pure.

use std::collections::{BTreeMap, HashMap, HashSet};

use crate::desired::{Desired, Item, Resolved};
use crate::manifest::{Digest, GroupKind, ObjectKey};

/// What differs between both commits.
pub(super) struct Delta {
    /// Desired objects of the head, by their index, each with its key.
    pub(super) changed: BTreeMap<usize, ObjectKey>,
    /// Objects of the base that the head does not have.
    pub(super) gone: Vec<ObjectKey>,
    /// The index in the base of what both have.
    pub(super) before: HashMap<ObjectKey, usize>,
}

impl Delta {
    pub(super) fn of(
        (base, before): (Option<&Desired>, &Resolved),
        (head, after): (&Desired, &Resolved),
    ) -> Self {
        let is_same = |was: &Item, is: &Item| was.digest == is.digest && was.modes == is.modes;
        let mut changed: BTreeMap<usize, ObjectKey> = after
            .items
            .iter()
            .filter(|(key, is)| before.items.get(*key).is_none_or(|was| !is_same(was, is)))
            .map(|(key, item)| (item.index, key.clone()))
            .collect();
        // Objects that the cluster does not know a place for, by what they say.
        let unplaced =
            |desired: Option<&Desired>, resolved: &Resolved| -> Vec<(usize, ObjectKey, Digest)> {
                let waiting = resolved.waiting.values().flatten().copied();
                let misplaced = resolved.misplaced.iter().map(|(index, _)| *index);
                waiting
                    .chain(misplaced)
                    .filter_map(|index| {
                        let object = desired?.objects().get(index)?;
                        Some((index, object.key(), object.digest))
                    })
                    .collect()
            };
        let known: HashSet<(ObjectKey, Digest)> = unplaced(base, before)
            .into_iter()
            .map(|(_, key, digest)| (key, digest))
            .collect();
        for (index, key, digest) in unplaced(Some(head), after) {
            if !known.contains(&(key.clone(), digest)) {
                changed.insert(index, key);
            }
        }
        let is_waiting = |kind: &GroupKind| after.waiting.contains_key(kind);
        let mut gone: Vec<ObjectKey> = before
            .items
            .keys()
            .filter(|key| !after.items.contains_key(*key) && !is_waiting(&key.kind))
            .cloned()
            .collect();
        gone.sort_unstable();
        let before = before.items.iter();
        Self {
            changed,
            gone,
            before: before
                .map(|(key, item)| (key.clone(), item.index))
                .collect(),
        }
    }

    /// Leaves out what there is no room for. Returns how many objects.
    pub(super) fn limit(&mut self, room: &mut usize) -> usize {
        let all = self.changed.len() + self.gone.len();
        self.gone.truncate(*room);
        *room -= self.gone.len();
        let kept = std::mem::take(&mut self.changed).into_iter().take(*room);
        self.changed = kept.collect();
        *room -= self.changed.len();
        all - self.changed.len() - self.gone.len()
    }
}
