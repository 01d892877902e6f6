//! What metrics say of a Sync, beyond its status.

use std::time::Duration;

use jiff::Timestamp;

use super::timers::count;
use crate::api::{ObjectCounts, Reason, Sync, SyncStatus, Verdict};
use crate::intent::SyncIntent;
use crate::metrics::{Metrics, Ready, Stretch, SyncFigures};
use crate::plan::SyncName;

/// The figures of a Sync whose driver has not begun yet, as its status tells them.
pub(super) fn figures(object: &Sync) -> SyncFigures {
    let status = object.status.clone().unwrap_or_default();
    let mut ready = Ready::of(&status.conditions);
    if SyncIntent::from(object).suspend {
        ready.turns(false, Reason::Suspended);
    }
    let mut figures = SyncFigures {
        ready,
        counts: status.objects.unwrap_or_default(),
        ..SyncFigures::default()
    };
    note_times(&mut figures, &status);
    figures
}

fn note_times(figures: &mut SyncFigures, status: &SyncStatus) {
    let live = status.times.as_ref();
    figures.converged_at = live.and_then(|times| Some(times.converged.as_ref()?.0));
    let mut revisions = status.history.iter();
    let Some(last) = revisions.find(|revision| revision.converged.is_some()) else {
        return;
    };
    figures.changed_at = last.converged.as_ref().map(|at| at.0);
    // A Sync's first revision may be of any age: how long it took says nothing.
    let is_first = revisions.next().is_none();
    let committed = last.committed.as_ref().filter(|_| !is_first);
    figures.last_change = committed
        .zip(figures.changed_at)
        .map(|(committed, converged)| between(committed.0, converged));
}

/// Clocks that disagree make it no shorter than nothing.
fn between(from: Timestamp, to: Timestamp) -> Duration {
    to.duration_since(from).try_into().unwrap_or_default()
}

/// What metrics are told after a round.
#[derive(Debug, Default)]
pub(super) struct Figures {
    /// Drifted objects that were found.
    pub(super) drifted: usize,
    /// Drifted objects that were healed.
    pub(super) corrected: usize,
    /// Corrections that were put off.
    pub(super) put_off: usize,
    /// Objects that were pruned.
    pub(super) pruned: usize,
    /// Pruning came to be held back, for this reason.
    pub(super) braked: Option<Reason>,
    /// Stretches of a commit's way that ended.
    pub(super) stretches: Vec<(Stretch, Timestamp, Timestamp)>,
    /// A change has converged: when it was committed, and now.
    pub(super) changed: Option<(Timestamp, Timestamp)>,
    row: Row,
}

/// The Sync's own row.
#[derive(Debug, Default)]
struct Row {
    ready: bool,
    reason: Option<Reason>,
    counts: ObjectCounts,
    contested: u32,
    /// As a status tells them.
    times: SyncFigures,
}

impl Figures {
    pub(super) fn stretch(&mut self, stretch: Stretch, from: Timestamp, to: Timestamp) {
        self.stretches.push((stretch, from, to));
    }

    /// Fills in the Sync's row.
    pub(super) fn row(
        &mut self,
        ready: &Verdict,
        (counts, contested): (ObjectCounts, usize),
        status: &SyncStatus,
    ) {
        let mut times = SyncFigures::default();
        note_times(&mut times, status);
        self.row = Row {
            ready: ready.status == Some(true),
            reason: Some(ready.reason),
            counts,
            contested: count(contested),
            times,
        };
    }

    /// Tells the metrics.
    pub(super) fn leave(self, metrics: &Metrics, name: &SyncName) {
        metrics.drifted(self.drifted);
        metrics.corrected(self.corrected);
        metrics.fought(self.put_off);
        metrics.pruned(self.pruned);
        if let Some(reason) = self.braked {
            metrics.braked(reason);
        }
        for (stretch, from, to) in self.stretches {
            metrics.stretch(stretch, from, to);
        }
        let Row {
            ready,
            reason,
            counts,
            contested,
            times,
        } = self.row;
        let changed = self.changed;
        let rows = &metrics.figures().syncs;
        rows.set(&name.namespace, &name.name, |row| {
            if let Some(reason) = reason {
                row.ready.turns(ready, reason);
            }
            (row.counts, row.contested) = (counts, contested);
            row.converged_at = times.converged_at;
            if times.changed_at.is_some() {
                (row.changed_at, row.last_change) = (times.changed_at, times.last_change);
            }
            if let Some((committed, now)) = changed {
                row.changes = row.changes.saturating_add(1);
                row.changing = row.changing.saturating_add(between(committed, now));
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    /// As a restart finds it: the minutes at which its revisions had converged, newest first; each was
    /// committed a minute before.
    fn restarted(converged: &[Option<u32>], suspend: bool) -> SyncFigures {
        let at = |minute: u32| format!("2026-01-01T00:{minute:02}:00Z");
        let history = converged.iter().zip((1..10).rev()).map(|(converged, applied)| {
            json!({
                "revision": "main@sha1:abc", "committed": at(applied - 1), "applied": at(applied),
                "converged": converged.map(at), "changed": 1, "pruned": 0,
            })
        });
        let sync: Sync = serde_json::from_value(json!({
            "apiVersion": "towline.dev/v1alpha1", "kind": "Sync", "metadata": {"name": "all"},
            "spec": {"sourceRef": {"name": "repo"}, "suspend": suspend},
            "status": {
                "conditions": [{
                    "type": "Ready", "status": "False", "reason": "ApplyFailed", "message": "",
                    "lastTransitionTime": at(30),
                }],
                "objects": {"drifted": 2},
                "history": history.collect::<Vec<Value>>(),
            },
        }))
        .unwrap();
        figures(&sync)
    }

    fn minute(minute: i8) -> Option<Timestamp> {
        let at = jiff::civil::datetime(2026, 1, 1, 0, minute, 0, 0);
        Some(at.in_tz("UTC").unwrap().timestamp())
    }

    #[test]
    fn a_restart_goes_on_with_what_the_status_says() {
        let found = restarted(&[Some(20), Some(8)], false);
        assert_eq!(found.ready.reason, Reason::ApplyFailed);
        assert_eq!(found.ready.not_since, minute(30));
        assert_eq!(found.counts.drifted, 2);
        assert_eq!(found.changed_at, minute(20));
        assert_eq!(found.last_change, Some(Duration::from_secs(12 * 60)));
        let suspended = restarted(&[Some(20), Some(8)], true);
        assert_eq!(suspended.ready.not_since, None);
    }

    #[test]
    fn the_last_change_is_the_last_that_went_live() {
        let superseded = restarted(&[None, Some(8), Some(7)], false);
        assert_eq!(superseded.changed_at, minute(8));
        let first = restarted(&[Some(9)], false);
        assert_eq!((first.changed_at, first.last_change), (minute(9), None));
        assert_eq!(restarted(&[None], false).changed_at, None);
    }
}
