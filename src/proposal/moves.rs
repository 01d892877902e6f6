//! Which objects of a request leave one Sync for another, and which of them several Syncs come to want. Pure.

use std::collections::{HashMap, HashSet};

use super::delta::Delta;
use crate::manifest::ObjectKey;
use crate::plan::SyncName;

/// What the Syncs of a request give up and come to want.
#[derive(Default)]
pub(super) struct Moves {
    given_up: HashSet<(ObjectKey, SyncName)>,
    /// With the first Sync that wants it.
    wanted: HashMap<ObjectKey, SyncName>,
}

impl Moves {
    /// Takes note of what differs for a Sync. The first one counts where two want the same.
    pub(super) fn note(&mut self, sync: &SyncName, delta: &Delta) {
        let gone = delta.gone.iter();
        self.given_up
            .extend(gone.map(|key| (key.clone(), sync.clone())));
        for key in delta.changed.values() {
            self.wanted
                .entry(key.clone())
                .or_insert_with(|| sync.clone());
        }
    }

    /// Whether the request takes an object away from a Sync.
    pub(super) fn is_given_up(&self, key: &ObjectKey, by: &SyncName) -> bool {
        self.given_up.contains(&(key.clone(), by.clone()))
    }

    /// Another Sync that comes to want an object, or wants it changed.
    pub(super) fn taker(&self, key: &ObjectKey, of: &SyncName) -> Option<&SyncName> {
        self.wanted.get(key).filter(|taker| *taker != of)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_moves_is_given_up_by_one_and_wanted_by_another() {
        let key = |name: &str| ObjectKey::parse(&format!("ConfigMap a/{name}")).unwrap();
        let sync = |name: &str| SyncName::new("a", name);
        let delta = |changed: &[&str], gone: &[&str]| Delta {
            changed: changed.iter().map(|name| key(name)).enumerate().collect(),
            gone: gone.iter().map(|name| key(name)).collect(),
            before: HashMap::new(),
        };
        let mut moves = Moves::default();
        moves.note(&sync("many"), &delta(&["both"], &["moves", "ends"]));
        moves.note(&sync("shop"), &delta(&["moves", "both"], &[]));
        assert!(moves.is_given_up(&key("moves"), &sync("many")));
        assert!(!moves.is_given_up(&key("moves"), &sync("shop")));
        assert_eq!(
            moves.taker(&key("moves"), &sync("many")),
            Some(&sync("shop"))
        );
        assert_eq!(moves.taker(&key("ends"), &sync("many")), None);
        assert_eq!(
            moves.taker(&key("both"), &sync("shop")),
            Some(&sync("many"))
        );
        assert_eq!(moves.taker(&key("both"), &sync("many")), None);
    }
}
