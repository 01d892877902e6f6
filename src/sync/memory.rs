//! What a Sync's driver remembers of its objects between two wake-ups.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::Duration;

use tokio::time::Instant;

use crate::api::Reason;
use crate::health::Health;
use crate::manifest::{GroupKind, ObjectKey};
use crate::plan::{Cause, Record};

/// What went wrong with one object.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Trouble {
    pub(super) reason: Reason,
    pub(super) message: String,
}

/// What is known of the objects.
#[derive(Default)]
pub(super) struct Memory {
    /// What was applied.
    pub(super) records: HashMap<ObjectKey, Record>,
    /// What could not be applied.
    pub(super) troubles: BTreeMap<ObjectKey, Trouble>,
    /// What could not be pruned.
    pub(super) unpruned: BTreeMap<ObjectKey, Trouble>,
    /// What differs from Git and is left alone, for now or by `mode: Report`, with who did it.
    pub(super) drifted: BTreeMap<ObjectKey, (Cause, Option<Box<str>>)>,
    /// Those of them that the metrics have counted.
    pub(super) counted: HashSet<ObjectKey>,
    /// What is not healthy.
    pub(super) unhealthy: BTreeMap<ObjectKey, Health>,
    /// How often each object was healed of late.
    pub(super) fights: HashMap<ObjectKey, Fight>,
    /// What has to be looked at again without anybody saying so.
    pub(super) again: HashSet<ObjectKey>,
    /// Kinds whose first list has not come, so that nothing is known of whose their objects are.
    pub(super) unlisted: HashSet<GroupKind>,
    /// How many objects are ours, left Git and are still there because `prune` is off.
    pub(super) surplus: usize,
}

impl Memory {
    /// Drops what is about objects that are no longer desired.
    pub(super) fn retain(&mut self, desired: impl Fn(&ObjectKey) -> bool) {
        self.records.retain(|key, _| desired(key));
        self.troubles.retain(|key, _| desired(key));
        self.drifted.retain(|key, _| desired(key));
        self.unhealthy.retain(|key, _| desired(key));
        self.fights.retain(|key, _| desired(key));
        self.again.retain(|key| desired(key));
    }
}

/// Another controller or person who keeps changing an object back.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fight {
    rounds: u32,
    last: Instant,
}

/// Corrections that are made at once; after those, pauses grow.
const FREE_ROUNDS: u32 = 4;
/// The longest pause between two corrections of one object.
const LONGEST_PAUSE: Duration = Duration::from_secs(120);
/// After this long without drift a fight is over.
const PEACE: Duration = Duration::from_secs(300);

impl Fight {
    /// Counts a correction.
    pub(super) fn again(before: Option<&Self>, now: Instant) -> Self {
        let rounds = match before {
            Some(fight) if now.duration_since(fight.last) < PEACE => fight.rounds + 1,
            _ => 1,
        };
        Self { rounds, last: now }
    }

    /// When the next correction may be made: at once for the first few.
    pub(super) fn next(&self) -> Instant {
        let Some(over) = self.rounds.checked_sub(FREE_ROUNDS) else {
            return self.last;
        };
        let pause = Duration::from_secs(1 << over.min(10)).min(LONGEST_PAUSE);
        self.last + pause
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_fight_is_slowed_down_and_ends() {
        let start = Instant::now();
        let mut fight = Fight::again(None, start);
        for _ in 0..2 {
            assert_eq!(
                fight.next(),
                start,
                "the first corrections are made at once"
            );
            fight = Fight::again(Some(&fight), start);
        }
        for _ in 0..20 {
            fight = Fight::again(Some(&fight), start);
        }
        assert_eq!(fight.next(), start + LONGEST_PAUSE);
        let later = Fight::again(Some(&fight), start + PEACE);
        assert_eq!(later.next(), start + PEACE);
    }
}
