//! What metrics and the fleet report about a Sync after a round.

use jiff::Timestamp;

use super::timers::count;
use crate::api::{ObjectCounts, Reason, SyncStatus, Verdict};
use crate::fleet::{Outcome, SyncFigures};
use crate::metrics::{Metrics, Stretch};

/// What metrics and the fleet report after a round.
#[derive(Debug, Default)]
pub(super) struct Figures {
    /// Drifted objects that were found.
    pub(super) drifted: usize,
    /// Drifted objects that were healed.
    pub(super) corrected: usize,
    /// Corrections that were delayed because the object keeps being changed back.
    pub(super) delayed: usize,
    /// Objects that were pruned.
    pub(super) pruned: usize,
    /// The reason why pruning is now held back.
    pub(super) braked: Option<Reason>,
    /// Parts of a commit's way that ended in this round.
    pub(super) stretches: Vec<(Stretch, Timestamp, Timestamp)>,
    /// If a change converged: the time of its commit, and now.
    pub(super) changed: Option<(Timestamp, Timestamp)>,
    /// What became of changes. It is counted once the status is written.
    pub(super) outcomes: Vec<Outcome>,
    shown: Shown,
}

/// The published state of the Sync.
#[derive(Debug, Default)]
struct Shown {
    ready: bool,
    reason: Option<Reason>,
    counts: ObjectCounts,
    contested: u32,
    /// The status, whose times are published.
    status: SyncStatus,
}

impl Figures {
    pub(super) fn stretch(&mut self, stretch: Stretch, from: Timestamp, to: Timestamp) {
        self.stretches.push((stretch, from, to));
    }

    /// Sets the published state.
    pub(super) fn show(
        &mut self,
        ready: &Verdict,
        (counts, contested): (ObjectCounts, usize),
        status: &SyncStatus,
    ) {
        self.shown = Shown {
            ready: ready.status == Some(true),
            reason: Some(ready.reason),
            counts,
            contested: count(contested),
            status: status.clone(),
        };
    }

    /// Adds the counts to the metrics.
    pub(super) fn count(&self, metrics: &Metrics) {
        metrics.drifted(self.drifted);
        metrics.corrected(self.corrected);
        metrics.corrections_delayed(self.delayed);
        metrics.pruned(self.pruned);
        if let Some(reason) = self.braked {
            metrics.braked(reason);
        }
        for (stretch, from, to) in &self.stretches {
            metrics.stretch(*stretch, *from, *to);
        }
    }

    /// Changes the published figures.
    pub(super) fn publish(self, figures: &mut SyncFigures) {
        let Shown {
            ready,
            reason,
            counts,
            contested,
            status,
        } = self.shown;
        if let Some(reason) = reason {
            figures.ready.set(ready, reason);
        }
        (figures.counts, figures.contested) = (counts, contested);
        figures.note_times(&status);
        if let Some((committed, converged)) = self.changed {
            figures.count_change(committed, converged);
        }
    }
}
