//! What metrics say of a Sync, beyond its status.

use std::time::Duration;

use jiff::Timestamp;

use super::Driver;
use super::verdict::Facts;
use crate::api::{Mode, Reason, Sync, SyncSettings, SyncStatus, Time};
use crate::metrics::{Ready, Stretch, SyncFigures};

/// The figures of a Sync whose driver has not begun yet, as its status tells them.
pub(crate) fn figures(object: &Sync) -> SyncFigures {
    let status = object.status.clone().unwrap_or_default();
    let mut ready = Ready::of(&status.conditions);
    if object.spec.settings.suspend {
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

impl Driver {
    /// A revision that changes something has been applied.
    pub(super) fn change_applied(&self) {
        let times = self.status.times.as_ref();
        let times = times.filter(|_| self.status.history.len() > 1);
        if let Some(times) = times
            && let (Some(committed), Some(observed), Some(applied)) =
                (&times.committed, &times.observed, &times.applied)
        {
            let metrics = &self.context.metrics;
            metrics.stretch(Stretch::CommitToObserved, committed.0, observed.0);
            metrics.stretch(Stretch::ObservedToApplied, observed.0, applied.0);
        }
    }

    /// The cluster equals Git, and so has the last revision that changed something converged.
    pub(super) fn change_converged(&mut self) {
        let is_first = self.status.history.len() == 1;
        let Some(change) = self.status.history.first_mut() else {
            return;
        };
        // An entry of an older towline does not say when it was committed.
        let Some(committed) = change
            .committed
            .as_ref()
            .filter(|_| change.converged.is_none())
        else {
            return;
        };
        let (committed, applied, now) = (committed.0, change.applied.0, Timestamp::now());
        change.converged = Some(Time(now));
        if is_first {
            return;
        }
        let metrics = &self.context.metrics;
        metrics.stretch(Stretch::AppliedToConverged, applied, now);
        metrics.stretch(Stretch::CommitToConverged, committed, now);
        let rows = &metrics.figures().syncs;
        rows.set(&self.name.namespace, &self.name.name, |row| {
            row.changes = row.changes.saturating_add(1);
            row.changing = row.changing.saturating_add(between(committed, now));
        });
    }

    /// Leaves this Sync's figures for the next scrape.
    pub(super) fn leave_figures(&self, facts: &Facts) {
        let drifted = self.memory.drifted.keys();
        let contested = match facts.mode {
            Mode::Correct => drifted
                .filter(|key| self.memory.again.contains(*key))
                .count(),
            Mode::Report => 0,
        };
        let ready = facts.ready();
        let rows = &self.context.metrics.figures().syncs;
        rows.set(&self.name.namespace, &self.name.name, |row| {
            row.ready.turns(ready.status == Some(true), ready.reason);
            row.counts = facts.counts;
            row.contested = contested.try_into().unwrap_or(u32::MAX);
            note_times(row, &self.status);
        });
    }

    /// Counts when pruning comes to be held back: by a revision that cannot be rendered, or by objects
    /// that fail while others have left Git.
    pub(super) fn count_brake(&mut self, settings: &SyncSettings) {
        let brake = self.held_back().filter(|_| settings.prune);
        if let Some(reason) = brake.filter(|_| brake != self.brake) {
            self.context.metrics.braked(reason);
        }
        self.brake = brake;
    }

    fn held_back(&self) -> Option<Reason> {
        if let Some(blocked) = &self.blocked {
            let unrendered = matches!(
                blocked.reason,
                Reason::EmptyRender
                    | Reason::PathNotFound
                    | Reason::InvalidManifest
                    | Reason::TooLarge
            );
            return unrendered.then_some(blocked.reason);
        }
        if self.memory.surplus == 0 {
            return None;
        }
        let failed = self.memory.troubles.values().next();
        if let Some(trouble) = failed {
            Some(trouble.reason)
        } else if !self.objects.taken.is_empty() {
            Some(Reason::OwnershipConflict)
        } else if !self.objects.misplaced.is_empty() {
            Some(Reason::InvalidManifest)
        } else if !self.objects.waiting.is_empty() {
            Some(Reason::KindNotServed)
        } else {
            (!self.memory.unlisted.is_empty()).then_some(Reason::ApiUnavailable)
        }
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
