//! What becomes of the changes of a Sync: whether they go live, fail, and are made good. Pure.
//!
//! A change is a revision that changed something for the Sync: an entry of its history that is not the first, and that
//! no pin brought back. The rules, and why:
//!
//! - **A change fails within a set time after it went live** (`--failure-window`). What breaks later has another cause
//!   more often than not.
//! - **It was reverted, if a later revision asks for the objects of an earlier one**, or if the commit says in git's own
//!   words which commit it reverts. Both are known without another read: objects have digests, and the commit's message
//!   is read with its author. A revision that itself goes back is not counted as failed when the change comes again.
//! - **It was pinned away, if a person pins the Sync to a revision before it.**
//! - **It is unhealthy, if the condition `Healthy` says `HealthFailed`**, with or without `wait`, and did not say so
//!   before the change.
//! - **It failed, if its objects cannot be applied within `spec.timeout`**, what left Git stays for longer than that, or
//!   a hook after the applies fails. What cannot be read, rendered, verified or tried out is no change: it reached no
//!   object.
//! - **A change that a later one replaced before it converged is not counted**, unless it had failed.
//!
//! All of it is written in the status, so that a restart or another leader goes on where this one was. An outcome is
//! counted only after its status is written: one may be lost with a process, none is counted twice.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use crate::api::{
    ChangeFailure, ConditionType, FailedChange, HistoryEntry, PinStatus, Reason, SyncStatus, Time,
};
use crate::fleet::Outcome;

/// A problem of what is live, or is being applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Trouble {
    pub(super) cause: ChangeFailure,
    /// Whether it counts only once it has lasted for `spec.timeout`.
    pub(super) may_pass: bool,
}

impl Trouble {
    /// The problem of which the condition `Ready` tells, where the newest revision is used.
    pub(super) fn of(ready: Reason) -> Option<Self> {
        let may_pass = match ready {
            Reason::HookFailed | Reason::PruneFailed => false,
            Reason::ApplyFailed | Reason::OwnershipConflict => true,
            _ => return None,
        };
        Some(Self {
            cause: ChangeFailure::Failed,
            may_pass,
        })
    }

    pub(super) const UNHEALTHY: Self = Self {
        cause: ChangeFailure::Unhealthy,
        may_pass: false,
    };
}

/// A revision that is being applied, and has no entry in the history yet.
pub(super) struct UnderWay<'a> {
    pub(super) revision: &'a str,
    pub(super) digest: Option<&'a str>,
    /// When towline first saw it.
    pub(super) observed: Timestamp,
    /// Whether objects had failed before it.
    pub(super) unhealthy_before: bool,
}

/// Judges the changes of a status at one moment.
pub(super) struct Judge<'a> {
    /// The status of the round before, with the history of this one.
    pub(super) status: &'a mut SyncStatus,
    pub(super) outcomes: &'a mut Vec<Outcome>,
    pub(super) now: Timestamp,
    /// The set time within which a change may fail.
    pub(super) window: Duration,
}

impl Judge<'_> {
    /// The first entry of the history is new. It may take back those before it. `reverts`: the commit that it reverts by
    /// its own words.
    pub(super) fn entered(&mut self, reverts: Option<&str>) {
        self.take_over();
        let history = &self.status.history;
        let Some(new) = history.first().filter(|new| !new.pinned) else {
            return;
        };
        let earlier = history.iter().skip(2);
        let same = |entry: &HistoryEntry| new.digest.is_some() && entry.digest == new.digest;
        let back_to = earlier.clone().position(same).map(|index| index + 2);
        let is_named = |entry: &HistoryEntry| {
            let chart = entry.chart_revision.as_deref();
            let commits = [Some(&*entry.revision), chart].into_iter().flatten();
            reverts.is_some_and(|commit| commits.clone().any(|one| one.ends_with(commit)))
        };
        let reverted = (1..history.len().saturating_sub(1)).filter(|&index| {
            let is_between = back_to.is_some_and(|end| index < end);
            // What was replaced before it converged is not to blame.
            let was_live = index == 1 || history[index].converged.is_some();
            (is_between || is_named(&history[index])) && was_live && !self.goes_back(index)
        });
        for index in reverted.collect::<Vec<_>>() {
            let since = self.status.history[index].applied.0;
            self.fail(index, ChangeFailure::Reverted, since, self.now);
        }
    }

    /// A person pins the Sync to an earlier revision.
    pub(super) fn pinned(&mut self, pin: &PinStatus) {
        let is_it = |entry: &HistoryEntry| {
            !entry.pinned
                && entry.revision == pin.revision
                && entry.chart_revision == pin.chart_revision
        };
        let Some(back_to) = self.status.history.iter().position(is_it) else {
            return;
        };
        for index in 0..back_to {
            if index > 0 && self.status.history[index].converged.is_none() {
                continue;
            }
            let since = self.status.history[index].applied.0;
            self.fail(index, ChangeFailure::PinnedAway, since, self.now);
        }
    }

    /// The last change has converged for the first time.
    pub(super) fn converged(&mut self) {
        let history = &self.status.history;
        let is_first = history.len() == 1;
        let counts = |change: &&HistoryEntry| !is_first && !change.pinned;
        if history
            .first()
            .filter(counts)
            .is_some_and(|change| change.failed.is_none())
        {
            self.outcomes.push(Outcome::Converged);
        }
    }

    /// Something is wrong with what is live, or with what is being applied. `timeout`: `spec.timeout`.
    pub(super) fn troubled(
        &mut self,
        trouble: Trouble,
        under_way: Option<&UnderWay<'_>>,
        timeout: Duration,
    ) {
        let kind = match trouble.cause {
            ChangeFailure::Unhealthy => ConditionType::Healthy,
            _ => ConditionType::Ready,
        };
        let conditions = self.status.conditions.iter();
        let mut conditions = conditions.filter(|one| one.status == "False");
        let since = conditions.find(|one| one.type_ == kind.as_str());
        let since = since.map_or(self.now, |one| one.last_transition_time.0);
        let Some(last) = self.status.history.first() else {
            return;
        };
        let (begin, unhealthy_before) = match under_way {
            Some(under_way) => (under_way.observed, under_way.unhealthy_before),
            None => (last.applied.0, last.unhealthy_before),
        };
        let since = since.max(begin);
        let passes = trouble.may_pass && is_within(since, self.now, timeout);
        if passes || (trouble.cause == ChangeFailure::Unhealthy && unhealthy_before) {
            return;
        }
        match under_way {
            Some(under_way) => self.fail_early(under_way, trouble.cause, since),
            None if self.status.history.len() > 1 => self.fail(0, trouble.cause, since, since),
            None => (),
        }
    }

    /// The Sync is converged, and every object is healthy.
    pub(super) fn well(&mut self) {
        if let Some(failed) = self.status.failed_change.take() {
            let took = self.now.duration_since(failed.since.0);
            let took = took.try_into().unwrap_or_default();
            self.outcomes.push(Outcome::Restored { took });
        }
        if let Some(last) = self.status.history.first_mut() {
            last.unhealthy_before = false;
        }
    }

    /// A change that failed before all of it was applied stays failed now that it is.
    fn take_over(&mut self) {
        let (failed, history) = (&self.status.failed_change, &mut self.status.history);
        if let (Some(failed), Some(new)) = (failed, history.first_mut())
            && failed.digest.is_some()
            && failed.digest == new.digest
        {
            new.failed = Some(failed.cause.clone());
        }
    }

    /// A change has failed, `at` a time that decides whether that was soon enough.
    fn fail(&mut self, index: usize, cause: ChangeFailure, since: Timestamp, at: Timestamp) {
        let change = &mut self.status.history[index];
        let went_live = change.converged.as_ref().unwrap_or(&change.applied).0;
        let is_late = !is_within(went_live, at, self.window);
        if change.pinned || change.failed.is_some() || is_late {
            return;
        }
        change.failed = Some(cause.as_str().to_owned());
        let converged = change.converged.is_some();
        let revision = change.revision.clone();
        self.outcomes.push(Outcome::Failed { cause, converged });
        self.begin_outage(&revision, cause, since);
    }

    /// A change has failed before all of it was applied.
    fn fail_early(&mut self, change: &UnderWay<'_>, cause: ChangeFailure, since: Timestamp) {
        let known = self.status.failed_change.as_ref();
        let known = known.and_then(|failed| failed.digest.as_deref());
        if change.digest.is_none() || known == change.digest {
            return;
        }
        let converged = false;
        self.outcomes.push(Outcome::Failed { cause, converged });
        self.begin_outage(change.revision, cause, since);
        if let Some(failed) = &mut self.status.failed_change {
            failed.digest = change.digest.map(str::to_owned);
        }
    }

    fn begin_outage(&mut self, revision: &str, cause: ChangeFailure, since: Timestamp) {
        let outage = self
            .status
            .failed_change
            .get_or_insert_with(|| FailedChange {
                revision: revision.to_owned(),
                cause: cause.as_str().to_owned(),
                since: Time(since),
                digest: None,
            });
        // The earliest of several that are taken back at once.
        outage.since = Time(outage.since.0.min(since));
    }

    /// Whether an entry itself has the objects of an earlier one.
    fn goes_back(&self, index: usize) -> bool {
        let history = &self.status.history;
        let digest = &history[index].digest;
        let mut earlier = history.iter().skip(index + 1);
        digest.is_some() && earlier.any(|entry| entry.digest == *digest)
    }
}

/// Whether `until` is at most `time` after `from`.
fn is_within(from: Timestamp, until: Timestamp, time: Duration) -> bool {
    let time = SignedDuration::try_from(time).unwrap_or(SignedDuration::MAX);
    until.duration_since(from) <= time
}

#[cfg(test)]
mod tests;
