//! What the status remembers for the driver after a restart, and the form that it has there.

use std::collections::{BTreeMap, BTreeSet};

use super::State;
use crate::api::{FinishedRun, HeldPrune, PruneStatus, SyncStatus};
use crate::manifest::{Digest, ObjectKey};
use crate::plan::PrunePlan;
use crate::sync::memory::{Memory, PruneHold};
use crate::sync::runs::Runs;
use crate::sync::timers::count;

/// Runs, and objects without marks, that the status remembers, so that its size has a bound.
const FINISHED: usize = 300;
const LEFT_BEHIND: usize = 50;

/// The memory that a status has kept.
pub(super) fn memory(status: &SyncStatus) -> Memory {
    let strays = status.prune.as_ref().map(strays).unwrap_or_default();
    Memory {
        finished: restored(&status.finished),
        warned_before: status.warnings.iter().cloned().collect(),
        runs: Runs::restored(&status.made_jobs),
        held: status.prune.as_ref().and_then(held),
        // It is not known whether they are still there.
        lost: strays.iter().map(|key| (key.clone(), None)).collect(),
        strays,
        ..Memory::default()
    }
}

impl State {
    /// What was made to run once and has, as the status tells it.
    pub(in crate::sync) fn finished(&self) -> Vec<FinishedRun> {
        let finished = self.memory.finished.iter().take(FINISHED);
        finished
            .map(|(key, digest)| FinishedRun {
                object: key.to_string(),
                digest: digest.to_string(),
            })
            .collect()
    }

    /// The objects that left Git and stay without marks, as the status tells them.
    pub(in crate::sync) fn left_behind(&self) -> Vec<String> {
        let strays = self.memory.strays.iter().take(LEFT_BEHIND);
        strays.map(ToString::to_string).collect()
    }
}

/// The deletion that needed an approval before the operator started.
fn held(status: &PruneStatus) -> Option<PruneHold> {
    let HeldPrune {
        digest,
        deletes,
        of,
        kinds,
        because,
        keeps,
    } = status.held.clone()?;
    Some(PruneHold {
        plan: PrunePlan {
            digest,
            deletes: usize::try_from(deletes).ok()?,
            of: usize::try_from(of).ok()?,
            kinds,
            because,
            keeps,
        },
        approved: false,
        generation: None,
    })
}

/// The form of a deletion in the status.
pub(in crate::sync) fn told(plan: &PrunePlan) -> HeldPrune {
    let PrunePlan {
        digest,
        deletes,
        of,
        kinds,
        because,
        keeps,
    } = plan.clone();
    HeldPrune {
        digest,
        deletes: count(deletes),
        of: count(of),
        kinds,
        because,
        keeps,
    }
}

fn restored(finished: &[FinishedRun]) -> BTreeMap<ObjectKey, Digest> {
    let runs = finished.iter();
    runs.filter_map(|run| Some((ObjectKey::parse(&run.object)?, run.digest.parse().ok()?)))
        .collect()
}

fn strays(prune: &PruneStatus) -> BTreeSet<ObjectKey> {
    let left_behind = prune.left_behind.iter().take(LEFT_BEHIND);
    let keys = left_behind.filter_map(|text| ObjectKey::parse(text));
    keys.collect()
}
