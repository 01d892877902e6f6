//! The consequences of a round: status, notices, figures and timers. Pure: the current time is an input
//! too.

mod tell;
mod traces;

use std::time::Duration;

use super::audit::Action;
use super::figures::Figures;
use super::newest::AttemptedChart;
use super::outcome::{Judge, Trouble, UnderWay};
use super::report::{
    Assessment, Content, Observed, Phase, ReportState, Said, Tally, applied_chart,
};
use super::timers::{Timers, count};
use crate::api::{
    ChartRevisions, HistoryEntry, Reason, SyncStatus, SyncTimes, Time, Verdict, reason_since,
    set_conditions, short_commits,
};
use crate::metrics::Stretch;
use crate::notify::{DIFFERS, Level, Notice};
use crate::trace::Way;
pub(super) use tell::released_notice;

/// How often is looked what holds an object that is being deleted; the moment it is gone, its watch says so.
const LEAVING: Duration = Duration::from_secs(10);

/// Assesses the result of a round, given the earlier reports.
pub(super) fn assess(before: &ReportState, seen: Observed) -> Assessment {
    let mut next = Next {
        report: before.clone(),
        notices: Vec::new(),
        ways: Vec::new(),
        figures: Figures::default(),
        settled: false,
        timers: seen.timers.clone(),
        seen,
    };
    next.tell_pin();
    next.begin_times();
    next.follow();
    let begins = next.seen.phase != Phase::Held && next.report.delivery.begins();
    if begins {
        // The failure of another commit is told, although its text may be the same.
        next.report.warned = None;
    }
    match next.seen.phase {
        Phase::Busy => (),
        Phase::Done => {
            next.note_progress();
            next.keep_timers();
            next.count_round();
            next.tell_healed();
            next.tell_left();
            next.tell_rewritten();
            next.tell_vanished();
            next.tell_released();
        }
        Phase::Held => {
            next.report.ready = false;
        }
    }
    next.seen.facts.overdue = next.report.overdue;
    next.seen.facts.busy = match next.seen.phase {
        Phase::Busy => true,
        _ => next.seen.live.is_some() && !next.seen.applied,
    };
    next.tell_held();
    let ready = next.seen.facts.ready();
    next.report.reason = ready.reason;
    next.tell_suspended();
    next.end_traces(&ready);
    if next.seen.phase == Phase::Done {
        match ready.status == Some(true) {
            true => next.converged(&ready),
            false => next.differs(&ready),
        }
        next.judge_health(&ready);
    }
    if begins && ready.status != Some(true) && ready.reason.waits() {
        next.tell_begin(&ready);
    }
    next.state(&ready);
    let counts = (next.seen.facts.counts, next.seen.contested);
    next.figures.show(&ready, counts, &next.report.status);
    Assessment {
        report: next.report,
        notices: next.notices,
        figures: next.figures,
        ways: next.ways,
        timers: next.timers,
        settled: next.settled,
    }
}

/// An assessment in progress.
struct Next {
    seen: Observed,
    report: ReportState,
    notices: Vec<Notice>,
    ways: Vec<Way>,
    figures: Figures,
    timers: Timers,
    settled: bool,
}

impl Next {
    /// New content has times of its own.
    fn begin_times(&mut self) {
        let status = &mut self.report.status;
        if status.times.is_none() {
            status.times = self.seen.live.as_ref().map(SyncTimes::of);
        }
    }

    /// Takes note of how the revision of the delivery was found.
    fn follow(&mut self) {
        let is_first = self.report.status.history.is_empty();
        traces::follow(&mut self.report.delivery, &self.seen, is_first);
    }

    /// Ends the traces of revisions of which it is known by now what became of them.
    fn end_traces(&mut self, ready: &Verdict) {
        let report = &mut self.report;
        let differs_long = report.diff || self.seen.due.diff;
        let tally = &report.tally;
        let changes = [tally.created, tally.changed, tally.pruned];
        let delivery = &mut report.delivery;
        self.ways = traces::ended(delivery, &self.seen, ready, differs_long, changes);
    }

    /// Updates revisions, history and times.
    fn note_progress(&mut self) {
        self.note_revision();
        if let Some(live) = self.report.status.history.first_mut() {
            live.healed = live
                .healed
                .saturating_add(count(self.seen.round.healed.len()));
        }
    }

    fn note_revision(&mut self) {
        let (report, seen) = (&mut self.report, &self.seen);
        report.tally.add(&seen.round.changes);
        let Some(live) = &seen.live else { return };
        let status = &mut report.status;
        let is_new = status.last_applied_revision.as_ref() != Some(&live.revision)
            || applied_chart(status) != live.chart.as_deref();
        if !seen.applied {
            if seen.phase == Phase::Done && report.content == Content::New {
                HistoryEntry::note_unfinished(
                    &mut status.unfinished,
                    live,
                    &report.tally,
                    seen.now.time,
                );
            }
            return;
        }
        status.unfinished.retain(|entry| !entry.is_of(live));
        if let Content::Restored(_) = report.content {
            report.content = Content::Told;
        }
        self.settled = true;
        let now = Time(seen.now.time);
        // The applied revision may be the target again: with other content, since the spec changed, or after another
        // revision was not applied to its end.
        let is_timed = status
            .times
            .as_ref()
            .is_some_and(|times| times.applied.is_some());
        if is_new || !is_timed {
            status.times = Some(SyncTimes {
                applied: Some(now.clone()),
                ..SyncTimes::of(live)
            });
        }
        if !is_new {
            // What came after the revision had been applied, such as a deletion that was approved.
            if let Some(entry) = status.history.first_mut() {
                entry.add(&seen.round.changes);
                // With another spec, the revision asks for other objects.
                if report.digest.is_some() {
                    entry.digest.clone_from(&report.digest);
                }
            }
            return;
        }
        if report.content == Content::New {
            status.last_changed_revision = Some(live.revision.clone());
            let entry = HistoryEntry {
                pinned: seen.pin.is_some(),
                digest: report.digest.clone(),
                unhealthy_before: report.unhealthy_before,
                ..HistoryEntry::of(live, &report.tally, &now)
            };
            status.history.insert(0, entry);
            HistoryEntry::trim(&mut status.history);
            judge(status, &mut self.figures, seen).entered(live.reverts.as_deref());
            // The first revision of a Sync may be old, so the time since its commit has no meaning. One that a pin
            // brought back is no change.
            if status.history.len() > 1 && seen.pin.is_none() {
                let (committed, observed) = (live.committed.0, live.observed.0);
                if !HistoryEntry::came_back(&status.history) {
                    self.figures
                        .stretch(Stretch::CommitToObserved, committed, observed);
                }
                self.figures
                    .stretch(Stretch::ObservedToApplied, observed, now.0);
            }
        }
        status.last_applied_revision = Some(live.revision.clone());
        status.chart = live.chart.clone().map(|revision| ChartRevisions {
            last_applied_revision: Some(revision),
            ..ChartRevisions::default()
        });
    }

    /// Whether the last change is well, or has failed.
    fn judge_health(&mut self, ready: &Verdict) {
        let (seen, report) = (&self.seen, &mut self.report);
        let Some(live) = seen.live.as_ref() else {
            return;
        };
        let status = &mut report.status;
        let is_applied = status.last_applied_revision.as_ref() == Some(&live.revision)
            && applied_chart(status) == live.chart.as_deref();
        let last = status.history.first();
        let is_last = last.is_some_and(|last| last.digest == report.digest);
        let under_way = UnderWay {
            revision: &live.revision,
            digest: report.digest.as_deref(),
            observed: live.observed.0,
            unhealthy_before: report.unhealthy_before,
        };
        let under_way = Some(&under_way).filter(|_| !is_applied && !is_last);
        let is_ready = ready.status == Some(true);
        let trouble = match seen.facts.healthy().reason {
            Reason::HealthFailed => Some(Trouble::UNHEALTHY),
            _ if seen.facts.blocked.is_none() => Trouble::of(ready.reason),
            _ => None,
        };
        let is_healthy = seen.facts.unhealthy.is_empty();
        let is_pinned = seen.pin.is_some();
        let mut judge = judge(status, &mut self.figures, seen);
        match trouble {
            Some(trouble) if !is_pinned => judge.troubled(trouble, under_way, seen.timeout),
            _ if is_ready && is_healthy => judge.well(),
            _ => (),
        }
    }

    /// Sets the timers of the next round.
    fn keep_timers(&mut self) {
        let (seen, timers) = (&self.seen, &mut self.timers);
        if !seen.applied && timers.retry.is_none() && seen.needs_retry {
            timers.retry = Some(seen.now.at + seen.pause);
        }
        self.report.overdue |= seen.due.healthy;
        let is_leaving = !seen.facts.leaving.is_empty();
        if is_leaving && timers.retry.is_none() {
            timers.retry = Some(seen.now.at + LEAVING);
        }
        if seen.facts.unhealthy.is_empty() && !is_leaving {
            timers.healthy_by = None;
            self.report.overdue = false;
        } else if timers.healthy_by.is_none() && !self.report.overdue {
            timers.healthy_by = Some(seen.now.at + seen.timeout);
        }
    }

    fn count_round(&mut self) {
        let seen = &self.seen;
        let changes = seen.round.changes.iter();
        self.figures.pruned = changes
            .filter(|(action, _)| *action == Action::Pruned)
            .count();
        self.figures.corrected = seen.round.healed.len();
        self.figures.delayed = seen.round.delayed;
        self.figures.drifted = seen.newly_drifted;
        if seen.brake != self.report.brake {
            self.figures.braked = seen.brake;
        }
        self.report.brake = seen.brake;
    }

    /// The cluster equals Git and, where asked for, is healthy.
    fn converged(&mut self, ready: &Verdict) {
        self.timers.diff = None;
        let now = self.seen.now.time;
        let report = &mut self.report;
        report.ready = true;
        if let Some(times) = &mut report.status.times {
            times.converged.get_or_insert(Time(now));
        }
        let news = std::mem::replace(&mut report.content, Content::Told) == Content::New;
        let warned = report.warned.take().is_some();
        let differed = std::mem::take(&mut report.diff);
        let is_delivered = report.delivery.under_way().is_some();
        if news || warned || differed || is_delivered {
            let Tally {
                created,
                changed,
                pruned,
                named,
            } = std::mem::take(&mut report.tally);
            let author = self.seen.live.as_ref().map(|live| &live.author);
            let by = author.map(|author| format!(" by {author}"));
            let message = format!(
                "{}{}; {created} created, {changed} changed, {pruned} pruned",
                ready.message,
                by.unwrap_or_default()
            );
            self.tell(Level::Normal, Reason::Converged, message, named);
            if let Some(notice) = self.notices.last_mut() {
                notice.replaces = self.report.delivery.replaced().cloned();
            }
        }
        self.report.delivery.arrives(now);
        self.change_converged();
    }

    /// The last revision that changed something has converged.
    fn change_converged(&mut self) {
        let history = &mut self.report.status.history;
        let is_first = history.len() == 1;
        let came_back = HistoryEntry::came_back(history);
        let Some(change) = history.first_mut() else {
            return;
        };
        // A history entry from an older towline may not have the time of the commit.
        let Some(committed) = change
            .committed
            .as_ref()
            .filter(|_| change.converged.is_none())
        else {
            return;
        };
        let (committed, applied, now) = (committed.0, change.applied.0, self.seen.now.time);
        change.converged = Some(Time(now));
        let is_pinned = change.pinned;
        judge(&mut self.report.status, &mut self.figures, &self.seen).converged();
        if !is_first && !is_pinned {
            self.figures
                .stretch(Stretch::AppliedToConverged, applied, now);
        }
        if !is_first && !is_pinned && !came_back {
            self.figures
                .stretch(Stretch::CommitToConverged, committed, now);
            self.figures.changed = Some((committed, now));
        }
    }

    /// The Sync is not ready: desired and observed differ, or what is applied is not healthy.
    fn differs(&mut self, ready: &Verdict) {
        self.report.ready = false;
        if self.seen.facts.equals_git() {
            // A rollout that takes long is no difference. It has `spec.timeout` and a reason of its own.
            self.timers.diff = None;
        } else if self.seen.due.diff {
            let message = format!("{DIFFERS}{}", ready.message);
            self.tell_problem(Reason::Diff, message);
            self.report.diff = true;
        } else if !self.report.diff && self.timers.diff.is_none() {
            self.timers.diff = Some(self.seen.now.at + self.seen.diff_after);
        }
        // A held deletion has a notice of its own.
        let is_told = ready.reason.waits() || ready.reason == Reason::PruneHeld;
        if !is_told && self.report.warned.as_ref() != Some(&ready.message) {
            let message = ready.message.clone();
            self.tell_problem(ready.reason, message);
            self.report.warned = Some(ready.message.clone());
        }
    }

    /// Writes the status.
    fn state(&mut self, ready: &Verdict) {
        let (seen, status) = (&self.seen, &mut self.report.status);
        let now = Time(seen.now.time);
        let verdicts = seen.facts.verdicts(ready);
        let conditions = set_conditions(&status.conditions, verdicts, seen.generation, &now);
        let before = (&*status.conditions, status.reason_since.as_ref());
        status.reason_since = reason_since(before, &conditions, &now);
        status.conditions = conditions;
        status.summary = Some(seen.facts.summary(ready));
        status.observed_generation = seen.generation;
        status.last_attempted_revision = seen.attempted.clone();
        status.content = self.report.delivery.status();
        let applied = applied_chart(status).map(str::to_owned);
        let attempted = seen.attempted_chart.clone();
        status.chart = attempted.map(|AttemptedChart { source, revision }| ChartRevisions {
            source,
            last_attempted_revision: Some(revision),
            last_applied_revision: applied,
        });
        status.kinds = seen.kinds.clone();
        let applied = status.last_applied_revision.as_deref();
        status.short_revision = applied.map(short_commits);
        status.failures = seen.facts.failures();
        let Said {
            warnings,
            notes,
            bases,
        } = seen.said.clone();
        (status.warnings, status.notes) = (warnings, notes);
        if let Some(bases) = bases {
            status.remote_bases = bases;
        }
        status.finished = seen.finished.clone();
        status.made_jobs.clone_from(&seen.made_jobs);
        let mut prune = status.prune.take().unwrap_or_default();
        prune.held.clone_from(&seen.held);
        prune.left_behind.clone_from(&seen.left_behind);
        if seen.phase == Phase::Done && seen.applied && seen.held.is_none() {
            prune.objects = Some(count(seen.owned));
            prune.newest = seen.newest.map(Time).or(prune.newest);
        }
        status.prune = Some(prune);
        status.objects = seen.live.as_ref().map(|_| seen.facts.counts);
        if seen.phase != Phase::Busy {
            status.last_handled_reconcile_at = seen.handled.clone();
        }
    }
}

/// Judges the changes of a status in this round.
fn judge<'a>(status: &'a mut SyncStatus, figures: &'a mut Figures, seen: &Observed) -> Judge<'a> {
    Judge {
        status,
        outcomes: &mut figures.outcomes,
        now: seen.now.time,
        window: seen.failure_window,
    }
}

#[cfg(test)]
mod tests;
