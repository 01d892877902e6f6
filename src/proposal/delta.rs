//! What differs between the commits of a request. Pure.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::reach::{PerReach, Reach};
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

    /// How many objects there are of each reach.
    pub(super) fn tally(&self) -> PerReach {
        let mut tally = PerReach::default();
        for key in self.gone.iter().chain(self.changed.values()) {
            tally[Reach::of(key) as usize] += 1;
        }
        tally
    }

    /// Leaves out what there is no room for. Returns how many objects.
    pub(super) fn limit(&mut self, mut room: PerReach) -> usize {
        let before = self.changed.len() + self.gone.len();
        let mut fits = |key: &ObjectKey| {
            let room = &mut room[Reach::of(key) as usize];
            let fits = *room > 0;
            *room = room.saturating_sub(1);
            fits
        };
        self.gone.retain(&mut fits);
        self.changed.retain(|_, key| fits(key));
        before - self.changed.len() - self.gone.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_no_room_is_counted_by_its_reach() {
        let key = |text: String| ObjectKey::parse(&text).unwrap();
        let map = |number| key(format!("ConfigMap a/{number}"));
        let binding = key("ClusterRoleBinding.rbac.authorization.k8s.io z".to_owned());
        let delta = || Delta {
            changed: (0..4)
                .map(|number| (number, map(number)))
                .chain([(4, binding.clone())])
                .collect(),
            gone: vec![map(7), map(8)],
            before: HashMap::new(),
        };
        assert_eq!(delta().tally(), [1, 0, 0, 6]);
        for (room, gone, changed) in [
            ([1, 0, 0, 6], 2, &[0, 1, 2, 3, 4][..]),
            ([1, 0, 0, 3], 2, &[0, 4]),
            ([1, 0, 0, 1], 1, &[4]),
            ([0; 4], 0, &[]),
        ] {
            let mut delta = delta();
            let left = delta.limit(room);
            let kept: Vec<usize> = delta.changed.keys().copied().collect();
            assert_eq!((delta.gone.len(), &*kept), (gone, changed), "{room:?}");
            assert_eq!(left, 7 - gone - changed.len());
        }
    }
}
