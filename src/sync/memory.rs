//! A Sync's driver's memory of its objects between two rounds.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::Duration;

use tokio::time::Instant;

use crate::api::Reason;
use crate::health::Health;
use crate::manifest::{GroupKind, ObjectKey};
use crate::plan::{AppliedRecord, ApplyCause};

/// The problem of one object.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Trouble {
    pub(super) reason: Reason,
    pub(super) message: String,
}

/// The known state of the objects.
#[derive(Default)]
pub(super) struct Memory {
    /// Records of applied objects.
    pub(super) records: HashMap<ObjectKey, AppliedRecord>,
    /// Objects that could not be applied.
    pub(super) troubles: BTreeMap<ObjectKey, Trouble>,
    /// Objects that could not be pruned.
    pub(super) unpruned: BTreeMap<ObjectKey, Trouble>,
    /// Objects that differ from Git and are not corrected yet, or not at all with `mode: Report`. Each
    /// with its last writer.
    pub(super) drifted: BTreeMap<ObjectKey, (ApplyCause, Option<Box<str>>)>,
    /// Drifted objects that the metrics have counted.
    pub(super) counted: HashSet<ObjectKey>,
    /// Objects that are not healthy.
    pub(super) unhealthy: BTreeMap<ObjectKey, Health>,
    /// The recent corrections of each object.
    pub(super) corrections: HashMap<ObjectKey, CorrectionBackoff>,
    /// Objects to check in the next round, even without an event.
    pub(super) again: HashSet<ObjectKey>,
    /// Objects that could not be applied because their namespace does not exist.
    pub(super) homeless: HashSet<ObjectKey>,
    /// Kinds whose first list has not come, so that the owners of their objects are unknown.
    pub(super) unlisted: HashSet<GroupKind>,
    /// The number of our objects that left Git, but exist because `prune` is off.
    pub(super) surplus: usize,
    /// How many objects carry this Sync's marks and have left Git, without the proof that towline marked them.
    pub(super) unproven: usize,
}

impl Memory {
    /// Ends the pauses between two tries or corrections of an object.
    pub(super) fn end_pauses(&mut self) {
        self.corrections.clear();
    }

    /// Tries the objects without a namespace again.
    pub(super) fn try_homeless(&mut self) {
        self.again.extend(self.homeless.iter().cloned());
    }

    /// The namespaces that objects wait for.
    pub(super) fn missing_namespaces(&self) -> HashSet<String> {
        let keys = self.homeless.iter();
        keys.filter_map(|key| Some(key.namespace.as_ref()?.to_string()))
            .collect()
    }

    /// Removes everything about objects that are no longer desired.
    pub(super) fn retain(&mut self, desired: impl Fn(&ObjectKey) -> bool) {
        self.records.retain(|key, _| desired(key));
        self.troubles.retain(|key, _| desired(key));
        self.drifted.retain(|key, _| desired(key));
        self.unhealthy.retain(|key, _| desired(key));
        self.corrections.retain(|key, _| desired(key));
        self.again.retain(|key| desired(key));
        self.homeless.retain(|key| desired(key));
    }
}

/// Slows down the correction of an object that another controller or a person keeps changing.
#[derive(Clone, Copy, Debug)]
pub(super) struct CorrectionBackoff {
    rounds: u32,
    last: Instant,
}

/// The number of corrections without a pause. Later pauses grow.
const FREE_ROUNDS: u32 = 4;
/// The longest pause between two corrections of one object.
const LONGEST_PAUSE: Duration = Duration::from_secs(120);
/// After this time without drift, corrections are made at once again.
const PEACE: Duration = Duration::from_secs(300);

impl CorrectionBackoff {
    /// Counts a correction.
    pub(super) fn again(before: Option<&Self>, now: Instant) -> Self {
        let rounds = match before {
            Some(backoff) if now.duration_since(backoff.last) < PEACE => backoff.rounds + 1,
            _ => 1,
        };
        Self { rounds, last: now }
    }

    /// The time of the next correction. The first few are made at once.
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
    async fn corrections_that_are_undone_slow_down_and_speed_up_again() {
        let start = Instant::now();
        let mut backoff = CorrectionBackoff::again(None, start);
        for _ in 0..2 {
            assert_eq!(
                backoff.next(),
                start,
                "the first corrections are made at once"
            );
            backoff = CorrectionBackoff::again(Some(&backoff), start);
        }
        for _ in 0..20 {
            backoff = CorrectionBackoff::again(Some(&backoff), start);
        }
        assert_eq!(backoff.next(), start + LONGEST_PAUSE);
        let later = CorrectionBackoff::again(Some(&backoff), start + PEACE);
        assert_eq!(later.next(), start + PEACE);
    }
}
