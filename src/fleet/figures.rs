//! The parts of a view that people see but drivers do not use: the condition, and figures.

use std::time::Duration;

use jiff::Timestamp;

use crate::api::{self, Condition, ObjectCounts, Reason, Sync, SyncStatus};
use crate::intent::SyncIntent;

/// The state of the condition `Ready`.
#[derive(Clone, Debug, PartialEq)]
pub struct Ready {
    /// Whether it is true.
    pub is: bool,
    /// Its reason.
    pub reason: Reason,
    /// Since when it has not been true. None while it is true, and while the resource is suspended.
    pub not_since: Option<Timestamp>,
}

impl Default for Ready {
    fn default() -> Self {
        Self {
            is: false,
            reason: Reason::Progressing,
            not_since: None,
        }
    }
}

impl Ready {
    /// Reads a status.
    pub fn of(conditions: &[Condition]) -> Self {
        let Some(ready) = api::ready(conditions) else {
            return Self::default();
        };
        let mut current = Self {
            not_since: Some(ready.last_transition_time.0),
            ..Self::default()
        };
        let reason = Reason::named(&ready.reason).unwrap_or(Reason::Progressing);
        current.set(ready.status == "True", reason);
        current
    }

    /// Records the current state, which may be the same as before.
    pub fn set(&mut self, is: bool, reason: Reason) {
        let since = self.not_since.unwrap_or_else(Timestamp::now);
        *self = Self {
            is,
            reason,
            not_since: (!is && reason != Reason::Suspended).then_some(since),
        };
    }
}

/// The figures of a Sync.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SyncFigures {
    /// Whether the cluster equals Git.
    pub ready: Ready,
    /// Its objects.
    pub counts: ObjectCounts,
    /// Objects whose correction is delayed because they keep being changed back.
    pub contested: u32,
    /// When the live revision converged.
    pub converged_at: Option<Timestamp>,
    /// When the last revision that changed an object converged.
    pub changed_at: Option<Timestamp>,
    /// The time from commit to converged of that revision.
    pub last_change: Option<Duration>,
    /// How many revisions that changed an object have converged since this replica began to lead. A
    /// Sync's first revision does not count.
    pub changes: u32,
    /// The sum of their times from commit to converged.
    pub changing: Duration,
}

impl SyncFigures {
    /// How many objects are in each state.
    pub(super) fn states(&self) -> [(&'static str, u32); 9] {
        let ObjectCounts {
            desired,
            applied,
            drifted,
            unhealthy,
            waiting,
            failed,
            left_alone,
            unpruned,
        } = self.counts;
        [
            ("desired", desired),
            ("applied", applied),
            ("drifted", drifted),
            ("contested", self.contested),
            ("unhealthy", unhealthy),
            ("waiting", waiting),
            ("failed", failed),
            ("left_alone", left_alone),
            ("unpruned", unpruned),
        ]
    }
}

impl SyncFigures {
    /// The figures that the status of a Sync gives.
    pub(super) fn of(object: &Sync) -> Self {
        let status = object.status.clone().unwrap_or_default();
        let mut ready = Ready::of(&status.conditions);
        if SyncIntent::from(object).suspended.is_some() {
            ready.set(false, Reason::Suspended);
        }
        let mut figures = Self {
            ready,
            counts: status.objects.unwrap_or_default(),
            ..Self::default()
        };
        figures.note_times(&status);
        figures
    }

    /// Takes the times from a status.
    pub fn note_times(&mut self, status: &SyncStatus) {
        let live = status.times.as_ref();
        self.converged_at = live.and_then(|times| Some(times.converged.as_ref()?.0));
        // One that a pin brought back is no change.
        let mut revisions = status.history.iter().filter(|entry| !entry.pinned);
        let Some(last) = revisions.find(|revision| revision.converged.is_some()) else {
            return;
        };
        self.changed_at = last.converged.as_ref().map(|at| at.0);
        // A Sync's first revision may be of any age, as one that a reset of the branch brought back: how long it took says
        // nothing.
        let before = revisions.next();
        let has_age = before.is_some_and(|before| !last.is_older_than(before));
        let committed = last.committed.as_ref().filter(|_| has_age);
        self.last_change = committed
            .zip(self.changed_at)
            .map(|(committed, converged)| between(committed.0, converged));
    }

    /// Counts a revision that changed something and has converged.
    pub fn count_change(&mut self, committed: Timestamp, converged: Timestamp) {
        self.changes = self.changes.saturating_add(1);
        let took = between(committed, converged);
        self.changing = self.changing.saturating_add(took);
    }
}

/// The time between two clocks' readings. Zero if the clocks disagree.
fn between(from: Timestamp, to: Timestamp) -> Duration {
    to.duration_since(from).try_into().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::api::Time;

    /// The state after a restart. The history has these minutes of convergence, newest first. Each
    /// revision was committed a minute before.
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
        SyncFigures::of(&sync)
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
    fn a_commit_that_a_reset_brought_back_has_no_lead_time() {
        let entry = |committed: &str, converged: &str| -> crate::api::HistoryEntry {
            let entry = json!({
                "revision": "main@sha1:abc", "committed": committed, "applied": converged, "converged": converged,
                "changed": 1, "pruned": 0,
            });
            serde_json::from_value(entry).unwrap()
        };
        let before = entry("2026-01-01T00:05:00Z", "2026-01-01T00:06:00Z");
        for (committed, has) in [
            ("2025-06-01T00:00:00Z", false),
            ("2026-01-01T00:05:00Z", true),
        ] {
            let history = vec![entry(committed, "2026-01-01T00:08:00Z"), before.clone()];
            let status = SyncStatus {
                history,
                ..SyncStatus::default()
            };
            let mut figures = SyncFigures::default();
            figures.note_times(&status);
            assert_eq!(figures.last_change.is_some(), has, "{committed}");
            assert_eq!(figures.changed_at, minute(8));
        }
    }

    #[test]
    fn the_last_change_is_the_last_that_went_live() {
        let superseded = restarted(&[None, Some(8), Some(7)], false);
        assert_eq!(superseded.changed_at, minute(8));
        let first = restarted(&[Some(9)], false);
        assert_eq!((first.changed_at, first.last_change), (minute(9), None));
        assert_eq!(restarted(&[None], false).changed_at, None);
    }

    fn condition(status: &str, reason: &str, second: i64) -> Condition {
        Condition {
            type_: "Ready".to_owned(),
            status: status.to_owned(),
            reason: reason.to_owned(),
            message: String::new(),
            observed_generation: None,
            last_transition_time: Time(Timestamp::from_second(second).unwrap()),
        }
    }

    #[test]
    fn the_time_since_when_it_is_not_ready_is_kept() {
        let at = |second| Some(Timestamp::from_second(second).unwrap());
        let mut ready = Ready::of(&[condition("False", "ApplyFailed", 7)]);
        assert_eq!(
            (ready.reason, ready.not_since),
            (Reason::ApplyFailed, at(7))
        );
        ready.set(false, Reason::Progressing);
        assert_eq!(ready.not_since, at(7));
        ready.set(true, Reason::Converged);
        assert_eq!(ready.not_since, None);
        ready.set(false, Reason::DriftFound);
        assert!(ready.not_since > at(7));
        ready.set(false, Reason::Suspended);
        assert_eq!(ready.not_since, None);
        assert_eq!(
            Ready::of(&[condition("True", "Converged", 7)]).not_since,
            None
        );
        assert_eq!(Ready::of(&[]), Ready::default());
    }
}
