//! What a Sync's driver remembers of its objects between two rounds.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::Duration;

use tokio::time::Instant;

use crate::api::Reason;
use crate::health::Health;
use crate::manifest::{GroupKind, ObjectKey};
use crate::plan::{AppliedRecord, ApplyCause};

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
    pub(super) records: HashMap<ObjectKey, AppliedRecord>,
    /// What could not be applied.
    pub(super) troubles: BTreeMap<ObjectKey, Trouble>,
    /// What could not be pruned.
    pub(super) unpruned: BTreeMap<ObjectKey, Trouble>,
    /// What differs from Git and is left alone, for now or by `mode: Report`, with who did it.
    pub(super) drifted: BTreeMap<ObjectKey, (ApplyCause, Option<Box<str>>)>,
    /// Those of them that the metrics have counted.
    pub(super) counted: HashSet<ObjectKey>,
    /// What is not healthy.
    pub(super) unhealthy: BTreeMap<ObjectKey, Health>,
    /// How often each object was corrected lately.
    pub(super) corrections: HashMap<ObjectKey, CorrectionBackoff>,
    /// What is looked at again in the next round, though no event names it.
    pub(super) again: HashSet<ObjectKey>,
    /// What could not be applied because its namespace does not exist.
    pub(super) homeless: HashSet<ObjectKey>,
    /// Kinds whose first list has not come, so that nothing is known of whose their objects are.
    pub(super) unlisted: HashSet<GroupKind>,
    /// How many objects are ours, left Git and are still there because `prune` is off.
    pub(super) surplus: usize,
}

impl Memory {
    /// Ends the pauses between two tries or corrections of an object.
    pub(super) fn end_pauses(&mut self) {
        self.corrections.clear();
    }

    /// Looks again at what had no namespace.
    pub(super) fn try_homeless(&mut self) {
        self.again.extend(self.homeless.iter().cloned());
    }

    /// The namespaces that objects wait for.
    pub(super) fn missing_namespaces(&self) -> HashSet<String> {
        let keys = self.homeless.iter();
        keys.filter_map(|key| Some(key.namespace.as_ref()?.to_string()))
            .collect()
    }

    /// Drops what is about objects that are no longer desired.
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

/// Corrections that are made at once; after those, pauses grow.
const FREE_ROUNDS: u32 = 4;
/// The longest pause between two corrections of one object.
const LONGEST_PAUSE: Duration = Duration::from_secs(120);
/// After this long without drift, corrections are made at once again.
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
