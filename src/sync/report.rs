//! What a round found out, what was reported before it, and what is to be reported.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::ObjectReference;

use super::audit::Action;
use super::delivery::Delivery;
use super::figures::Figures;
use super::newest::{AttemptedChart, FetchedChart, Newest, both};
use super::timers::{Due, Now, Timers, count};
use super::verdict::Facts;
use crate::api::{
    self, ConditionType, FetchedBase, FinishedRun, HeldPrune, PinStatus, Reason, SyncStatus, Time,
};
use crate::fleet::FetchTimes;
use crate::manifest::ObjectKey;
use crate::notify::Notice;
use crate::plan::{Release, Relinquished};
use crate::trace::Way;

/// The number of objects that a history entry or a notice names.
pub(super) const NAMED: usize = 5;

/// What one round did to the cluster.
#[derive(Clone, Debug, Default)]
pub(super) struct Round {
    /// Objects that were created or changed because of Git, or deleted because they left Git.
    pub(super) changes: Vec<(Action, ObjectKey)>,
    /// Drifted objects that were corrected, and who had changed them.
    pub(super) healed: Vec<(ObjectKey, Option<Box<str>>)>,
    /// Fields that are left to other controllers from now on.
    pub(super) left: Vec<(ObjectKey, Relinquished)>,
    /// Objects that a webhook or a policy of the cluster changes, and what people are told of it.
    pub(super) rewritten: Vec<(ObjectKey, String)>,
    /// Jobs that are gone, and that nobody saw go.
    pub(super) vanished: Vec<ObjectKey>,
    /// Objects that left Git and stay, and why.
    pub(super) released: Vec<(ObjectKey, Release)>,
    /// Whether the round worked on objects.
    pub(super) worked: bool,
    /// Corrections that were delayed because an object keeps being changed.
    pub(super) delayed: usize,
}

/// The kind of report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// Applies are running. A later report has the result.
    Busy,
    /// The round has ended.
    Done,
    /// Nothing was done: the Sync is suspended or is being deleted.
    Held,
}

/// A revision, in the form of the status.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Live {
    pub(super) revision: String,
    /// The revision of the chart, if that has a source of its own.
    pub(super) chart: Option<String>,
    /// Of the commit that came last: that of the Sync's source, or that of its chart's.
    pub(super) author: String,
    /// The first line of the commit's message.
    pub(super) subject: String,
    /// The commit that the message says it reverts.
    pub(super) reverts: Option<String>,
    pub(super) committed: Time,
    pub(super) observed: Time,
    /// The poll that found it.
    pub(super) fetch: Option<FetchTimes>,
}

impl Live {
    pub(super) fn of(seen: &Newest) -> Self {
        let own = (&seen.snapshot, seen.at, seen.fetch);
        let chart = seen
            .chart
            .as_ref()
            .map(|chart| (&chart.seen.snapshot, chart.seen.at, chart.seen.fetch));
        let (snapshot, at, fetch) = chart.filter(|chart| chart.1 > own.1).unwrap_or(own);
        Self {
            revision: seen.revision(),
            chart: seen.chart.as_ref().map(FetchedChart::revision),
            author: snapshot.author.clone(),
            subject: snapshot.subject.clone(),
            reverts: snapshot.reverts.clone(),
            committed: Time(snapshot.committed_at),
            observed: Time(at),
            fetch,
        }
    }
}

/// What renderers say of a revision although they succeeded.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Said {
    pub(super) warnings: Vec<String>,
    pub(super) notes: Option<String>,
    /// What it is made of beside its own files; none while no revision is live.
    pub(super) bases: Option<Vec<FetchedBase>>,
}

/// Everything that a round found out.
#[derive(Clone, Debug)]
pub(super) struct Observed {
    pub(super) phase: Phase,
    pub(super) now: Now,
    pub(super) due: Due,
    pub(super) about: Arc<ObjectReference>,
    /// The generation that was acted on.
    pub(super) generation: Option<i64>,
    /// `towline.dev/requested-at` that was acted on.
    pub(super) handled: Option<String>,
    /// The newest revision for which the gate was open.
    pub(super) attempted: Option<String>,
    /// That of the source of the chart, if that is another one.
    pub(super) attempted_chart: Option<AttemptedChart>,
    /// The kinds that the Sync's annotation names.
    pub(super) kinds: Vec<String>,
    /// The target's revision.
    pub(super) live: Option<Live>,
    /// The revision that was tried last.
    pub(super) tried: Option<Live>,
    /// What the renderers say of the target.
    pub(super) said: Said,
    /// The pin that holds the Sync at an earlier revision.
    pub(super) pin: Option<PinStatus>,
    /// Who ended the last one.
    pub(super) unpinned_by: Option<String>,
    /// `overdue` and `busy` are set here. Their input values are ignored.
    pub(super) facts: Facts,
    /// Whether everything in Git has been applied.
    pub(super) applied: bool,
    /// Whether something can only be fixed by another try.
    pub(super) needs_retry: bool,
    /// The pause before that try.
    pub(super) pause: Duration,
    pub(super) timers: Timers,
    /// `spec.timeout`.
    pub(super) timeout: Duration,
    /// How long desired and observed may differ before this is reported.
    pub(super) diff_after: Duration,
    /// How long after it went live a change may fail.
    pub(super) failure_window: Duration,
    /// What was made to run once and has.
    pub(super) finished: Vec<FinishedRun>,
    /// The Jobs that were made.
    pub(super) made_jobs: Vec<String>,
    /// Why pruning is held back.
    pub(super) brake: Option<Reason>,
    /// The deletion that needs an approval, or that was approved and is under way.
    pub(super) held: Option<HeldPrune>,
    /// Objects that left Git and stay without marks, as the status tells them.
    pub(super) left_behind: Vec<String>,
    /// The number of objects that the Sync has.
    pub(super) owned: usize,
    /// When the newest of them was created, as far as that is known.
    pub(super) newest: Option<Timestamp>,
    /// Objects that keep being changed.
    pub(super) contested: usize,
    /// Drifted objects that were not counted before.
    pub(super) newly_drifted: usize,
    pub(super) round: Round,
}

/// The result of an assessment.
#[derive(Debug)]
pub(super) struct Assessment {
    /// The new state of the report, which includes the status.
    pub(super) report: ReportState,
    pub(super) notices: Vec<Notice>,
    pub(super) figures: Figures,
    /// What traces tell of revisions whose way has ended.
    pub(super) ways: Vec<Way>,
    pub(super) timers: Timers,
    /// Whether the pause between tries starts again at its shortest.
    pub(super) settled: bool,
}

/// Whether the target's content has been reported.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Content {
    /// This revision was fully applied before the operator started.
    Restored(String),
    /// The content is new. Its result is still to be reported.
    New,
    /// The result of this content was reported.
    Told,
}

/// Everything that was reported so far, so that nothing is reported twice.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct ReportState {
    pub(super) status: SyncStatus,
    /// The Sync is ready at its current generation.
    pub(super) ready: bool,
    /// The reason of the condition `Ready`.
    pub(super) reason: Reason,
    pub(super) content: Content,
    /// Whether objects have been unhealthy for longer than `spec.timeout`.
    pub(super) overdue: bool,
    /// Whether a difference between desired and observed was reported.
    pub(super) diff: bool,
    /// The last reported warning.
    pub(super) warned: Option<String>,
    pub(super) brake: Option<Reason>,
    pub(super) tally: Tally,
    /// Which commit brought the content.
    pub(super) delivery: Delivery,
    /// What identifies the target's objects.
    pub(super) digest: Option<String>,
    /// Whether objects had failed before the target had this content.
    pub(super) unhealthy_before: bool,
}

/// The changes by the target's content so far.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Tally {
    pub(super) created: usize,
    pub(super) changed: usize,
    pub(super) pruned: usize,
    /// The first changed objects.
    pub(super) named: Vec<String>,
}

impl Tally {
    /// The number of changes.
    pub(super) fn total(&self) -> u32 {
        count(self.created + self.changed + self.pruned)
    }

    pub(super) fn add(&mut self, changes: &[(Action, ObjectKey)]) {
        for (action, key) in changes {
            *match action {
                Action::Created => &mut self.created,
                Action::Pruned => &mut self.pruned,
                _ => &mut self.changed,
            } += 1;
            if self.named.len() < NAMED {
                self.named.push(format!("{action} {key}"));
            }
        }
    }
}

impl ReportState {
    /// The state after a restart: everything in the status counts as reported.
    pub(super) fn restored(status: SyncStatus, ready: bool) -> Self {
        let condition = api::ready(&status.conditions);
        let warned = condition.filter(|condition| condition.status == "False");
        Self {
            ready,
            reason: Reason::Progressing,
            content: match &status.last_applied_revision {
                Some(revision) => Content::Restored(both(revision, applied_chart(&status))),
                None => Content::Told,
            },
            overdue: false,
            diff: false,
            warned: warned.map(|condition| condition.message.clone()),
            brake: None,
            tally: Tally::default(),
            delivery: Delivery::restored(&status),
            digest: None,
            unhealthy_before: false,
            status,
        }
    }

    /// The target has new content. After a restart, a target with the applied content is not new.
    /// The revisions are that of the Sync's source and that of the chart's, if it has one of its own.
    pub(super) fn retargeted(&mut self, revisions: (&str, Option<&str>), digest: String) {
        self.digest = Some(digest.clone());
        let was_live = self.delivery.read(revisions.0, digest);
        let revision = &*both(revisions.0, revisions.1);
        if was_live && matches!(self.content, Content::Restored(_)) {
            // Another revision, with the content that was live before the restart.
            if !self.is_restored(revision) {
                self.content = Content::Told;
            }
        } else if !self.is_restored(revision) {
            self.content = Content::New;
            self.tally = Tally::default();
            self.overdue = false;
            self.unhealthy_before = self.status.conditions.iter().any(|condition| {
                condition.type_ == ConditionType::Healthy.as_str()
                    && condition.reason == Reason::HealthFailed.as_str()
            });
            // The times of the last content do not apply to this one.
            self.status.times = None;
        }
    }

    /// Whether this revision was fully applied before the operator started.
    pub(super) fn is_restored(&self, revision: &str) -> bool {
        matches!(&self.content, Content::Restored(restored) if restored == revision)
    }
}

/// The revision of the chart that was applied last, if it has a source of its own.
pub(super) fn applied_chart(status: &SyncStatus) -> Option<&str> {
    status.chart.as_ref()?.last_applied_revision.as_deref()
}
