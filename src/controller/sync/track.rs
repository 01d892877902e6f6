//! What metrics say of a Sync, beyond its status.

use std::time::Duration;

use jiff::Timestamp;

use super::Driver;
use super::verdict::Facts;
use crate::api::{ConditionType, Mode, Reason, Sync, SyncSettings, SyncStatus, SyncTimes};
use crate::metrics::{Metrics, Stretch, SyncFigures};

/// What has to be remembered for them.
#[derive(Default)]
pub(super) struct Track {
    /// Since when the cluster has not been equal to Git.
    behind_since: Option<Timestamp>,
    /// The live revision changed something, and is not known to have converged.
    on_its_way: bool,
    /// From commit to converged, of the last revision that changed something.
    last_change: Option<Duration>,
    /// Why pruning is held back.
    brake: Option<Reason>,
}

impl Track {
    /// As the status of a Sync tells it.
    pub(super) fn from(status: &SyncStatus) -> Self {
        let ready = ConditionType::Ready.as_str();
        let behind = status.conditions.iter().find(|condition| {
            condition.type_ == ready
                && condition.status != "True"
                && condition.reason != Reason::Suspended.as_str()
        });
        let changed = status.last_applied_revision == status.last_changed_revision;
        let times = status
            .times
            .as_ref()
            .filter(|_| changed && is_measured(status));
        Self {
            behind_since: behind.map(|condition| condition.last_transition_time.0),
            last_change: times.and_then(|times| {
                let (committed, converged) = (times.committed.as_ref()?, times.converged.as_ref()?);
                converged.0.duration_since(committed.0).try_into().ok()
            }),
            ..Self::default()
        }
    }

    /// A revision that changes something has been applied.
    pub(super) fn applied(&mut self, metrics: &Metrics, status: &SyncStatus) {
        self.on_its_way = true;
        let Some((committed, observed, applied)) = known(status) else {
            return;
        };
        metrics.stretch(Stretch::CommitToObserved, committed, observed);
        metrics.stretch(Stretch::ObservedToApplied, observed, applied);
    }

    /// The cluster equals Git.
    pub(super) fn converged(&mut self, metrics: &Metrics, status: &SyncStatus) {
        if !std::mem::take(&mut self.on_its_way) {
            return;
        }
        let Some((committed, _, applied)) = known(status) else {
            return;
        };
        let now = Timestamp::now();
        metrics.stretch(Stretch::AppliedToConverged, applied, now);
        metrics.stretch(Stretch::CommitToConverged, committed, now);
        self.last_change = now.duration_since(committed).try_into().ok();
    }
}

/// A Sync's first revision may be of any age: how long it took says nothing.
fn is_measured(status: &SyncStatus) -> bool {
    status.history.len() > 1
}

/// When the live revision was committed, observed and applied, if that is to be measured.
fn known(status: &SyncStatus) -> Option<(Timestamp, Timestamp, Timestamp)> {
    let times: &SyncTimes = status.times.as_ref().filter(|_| is_measured(status))?;
    Some((
        times.committed.as_ref()?.0,
        times.observed.as_ref()?.0,
        times.applied.as_ref()?.0,
    ))
}

/// The figures of a Sync whose driver has not begun yet.
pub(in crate::controller) fn figures(object: &Sync) -> SyncFigures {
    let status = object.status.clone().unwrap_or_default();
    let conditions = status.conditions.iter();
    let ready = conditions
        .filter(|condition| condition.type_ == ConditionType::Ready.as_str())
        .any(|condition| condition.status == "True");
    let track = Track::from(&status);
    SyncFigures {
        ready,
        reason: match (object.spec.settings.suspend, ready) {
            (true, _) => Reason::Suspended,
            (_, true) => Reason::Converged,
            (_, false) => Reason::Progressing,
        },
        counts: status.objects.unwrap_or_default(),
        contested: 0,
        behind_since: track.behind_since,
        converged_at: converged_at(&status),
        last_change: track.last_change,
    }
}

fn converged_at(status: &SyncStatus) -> Option<Timestamp> {
    Some(status.times.as_ref()?.converged.as_ref()?.0)
}

impl Driver {
    /// Leaves this Sync's figures for the next scrape.
    pub(super) fn leave_figures(&mut self, facts: &Facts) {
        let ready = facts.ready();
        let is_ready = ready.status == Some(true);
        self.track.behind_since = match is_ready || facts.suspended {
            true => None,
            false => Some(self.track.behind_since.unwrap_or_else(Timestamp::now)),
        };
        let drifted = self.memory.drifted.keys();
        let contested = match facts.mode {
            Mode::Correct => drifted
                .filter(|key| self.memory.again.contains(*key))
                .count(),
            Mode::Report => 0,
        };
        let figures = SyncFigures {
            ready: is_ready,
            reason: ready.reason,
            counts: facts.counts,
            contested: contested.try_into().unwrap_or(u32::MAX),
            behind_since: self.track.behind_since,
            converged_at: converged_at(&self.status),
            last_change: self.track.last_change,
        };
        let rows = &self.context.metrics.figures().syncs;
        rows.set(&self.name.namespace, &self.name.name, |row| *row = figures);
    }

    /// Counts when pruning comes to be held back: by a revision that cannot be rendered, or by objects
    /// that fail while others have left Git.
    pub(super) fn count_brake(&mut self, settings: &SyncSettings) {
        let brake = self.brake().filter(|_| settings.prune);
        if let Some(reason) = brake.filter(|_| brake != self.track.brake) {
            self.context.metrics.braked(reason);
        }
        self.track.brake = brake;
    }

    fn brake(&self) -> Option<Reason> {
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
