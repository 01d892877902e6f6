//! What the status keeps of a revision: its times, and its entry in the history. Pure.

use jiff::Timestamp;

use super::audit::Action;
use super::report::{Live, Tally};
use super::timers::count;
use crate::api::{HistoryEntry, SyncTimes, Time};
use crate::manifest::ObjectKey;

/// Revisions in `status.unfinished`.
const UNFINISHED: usize = 5;

impl SyncTimes {
    /// The live revision before it is applied.
    pub(super) fn of(live: &Live) -> Self {
        Self {
            committed: Some(live.committed.clone()),
            observed: Some(live.observed.clone()),
            applied: None,
            converged: None,
        }
    }
}

impl HistoryEntry {
    /// Whether the newest revision of a history came back by a reset of the branch.
    pub(super) fn came_back(history: &[Self]) -> bool {
        matches!(history, [last, before, ..] if last.is_older_than(before))
    }

    /// Adds changes that came after the revision had been applied.
    pub(super) fn add(&mut self, changes: &[(Action, ObjectKey)]) {
        let mut tally = Tally {
            named: std::mem::take(&mut self.objects),
            ..Tally::default()
        };
        tally.add(changes);
        self.created = self.created.saturating_add(count(tally.created));
        self.changed = self.changed.saturating_add(count(tally.changed));
        self.pruned = self.pruned.saturating_add(count(tally.pruned));
        self.objects = tally.named;
    }

    /// Whether it is about this revision.
    pub(super) fn is_of(&self, live: &Live) -> bool {
        (&self.revision, &self.chart_revision) == (&live.revision, &live.chart)
    }

    /// Takes note of what a revision has changed so far that is not applied to its end. It may never be.
    pub(super) fn note_unfinished(
        unfinished: &mut Vec<Self>,
        live: &Live,
        tally: &Tally,
        now: Timestamp,
    ) {
        if tally.total() == 0 {
            return;
        }
        let known = unfinished
            .first()
            .filter(|entry| entry.is_of(live))
            .cloned();
        let entry = match known {
            // After a restart, only what was changed since is counted.
            Some(known) if known.total() >= tally.total() => return,
            Some(known) => Self::of(live, tally, &known.applied),
            None => Self::of(live, tally, &Time(now)),
        };
        unfinished.retain(|entry| !entry.is_of(live));
        unfinished.insert(0, entry);
        unfinished.truncate(UNFINISHED);
    }

    /// The number of its changes.
    fn total(&self) -> u32 {
        [self.changed, self.pruned]
            .into_iter()
            .fold(self.created, u32::saturating_add)
    }

    /// A revision that has just been applied.
    pub(super) fn of(live: &Live, tally: &Tally, now: &Time) -> Self {
        Self {
            revision: live.revision.clone(),
            chart_revision: live.chart.clone(),
            author: live.author.clone(),
            committed: Some(live.committed.clone()),
            applied: now.clone(),
            converged: None,
            pinned: false,
            digest: None,
            failed: None,
            unhealthy_before: false,
            created: count(tally.created),
            changed: count(tally.changed),
            pruned: count(tally.pruned),
            healed: 0,
            objects: tally.named.clone(),
        }
    }
}
