//! Carries out an assessment: metrics, timers, the published view, the status, and notices.

use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::ObjectReference;

use super::Driver;
use super::assess::assess;
use super::memory::rewritten_warning;
use super::newest::Newest;
use super::pin;
use super::report::{Assessment, Live, Observed, Phase, Round, Said};
use super::state::{State, told};
use super::target::{Target, sync_of};
use super::timers::{Due, Now};
use super::verdict::{Facts, held_message};
use super::work::stray_warning;
use crate::api::{Reason, Sync};
use crate::driver::{StatusOf, Written, write_status};
use crate::fleet::{SourceName, SyncView};
use crate::intent::SyncIntent;
use crate::manifest::ObjectKey;
use crate::notify::{Level, Notice};
use crate::plan::SyncName;
use crate::trace::{About, trace};

impl Driver {
    /// Assesses the round and publishes the result. After a round that applied nothing, waits until other
    /// Syncs have applied. With `gave_way`, it has waited already.
    pub(super) async fn report(
        &mut self,
        intent: &SyncIntent,
        phase: Phase,
        round: Round,
        due: Due,
    ) {
        let waits = phase == Phase::Done && !round.worked && !self.gave_way;
        self.note_behind(intent);
        self.find_causes(intent, phase, due).await;
        // Before the assessment, so that of two Syncs that contain each other one sees the other's wait.
        let fleet = &self.context.fleet;
        fleet.update_sync(&self.name, |view| self.show(intent, view));
        let observed = self.observe(intent, phase, round, due);
        let assessment = assess(&self.state.report, observed);
        let (is_news, notices) = self.take(intent, assessment);
        if waits && is_news {
            self.context.cluster.running_applies.wait_until_idle().await;
        }
        if is_news {
            self.write().await;
        }
        // After the status: whoever hears of it finds it there, and so does an operator that is started anew.
        for notice in notices {
            self.context.notifier.tell(notice);
        }
        self.tell_traces(intent);
    }

    /// The revision that was tried last: it may have been refused, or wait for hooks, while the target is another one.
    pub(super) fn tried(&self) -> Option<Newest> {
        let attempted = self.state.requests.attempted.as_ref();
        let is_tried = |newest: &Newest| Some(&newest.revision()) == attempted;
        let target = self.state.target.as_ref();
        let held = self.state.pin.as_ref().and_then(|pin| pin.held.clone());
        held.or_else(|| self.inbox.newest())
            .filter(is_tried)
            .or_else(|| target.map(|target| target.seen.clone()))
    }

    /// The results of this round, as values.
    pub(super) fn observe(
        &self,
        intent: &SyncIntent,
        phase: Phase,
        round: Round,
        due: Due,
    ) -> Observed {
        let state = &self.state;
        let target = state.target.as_ref();
        let unhealthy = state.unhealthy(|key| self.health_counts(key));
        let suspended = intent.suspended.clone().filter(|_| !intent.deleting);
        let drifted = state.memory.drifted.keys();
        let healed = round.healed.iter().map(|(key, _)| key);
        let met: std::collections::HashSet<_> = healed.chain(drifted).collect();
        let is_new = |key: &&_| !state.memory.counted.contains(*key);
        let held = state.memory.held.as_ref();
        Observed {
            phase,
            now: Now::read(),
            due,
            about: std::sync::Arc::clone(&self.about),
            generation: intent.generation,
            handled: state.requests.handled.clone(),
            attempted: state.requests.attempted.clone(),
            attempted_chart: state.requests.attempted_chart.clone(),
            kinds: state
                .parent
                .contained
                .iter()
                .map(ToString::to_string)
                .collect(),
            live: target.map(|target| Live::of(&target.seen)),
            tried: self.tried().as_ref().map(Live::of),
            said: target
                .map(|target| Said::of(target, state, self.inbox.lookups.warning()))
                .unwrap_or_default(),
            pin: state.pin.as_ref().map(|pin| pin.status.clone()),
            unpinned_by: intent.unpinned_by.clone(),
            facts: Facts {
                suspended,
                pinned: intent.pin.as_ref().map(pin::in_words),
                blocked: state.blocked.clone(),
                revision: target.map(|target| target.seen.name()),
                untended: state
                    .live_before()
                    .map(|revision| (revision, self.why_untended())),
                counts: state.counts(unhealthy.total),
                busy: false,
                problems: state.problems(
                    |gvk| {
                        // A definition is still to be applied, was just created, or was served a moment ago.
                        let kinds = &self.context.cluster.kinds;
                        phase == Phase::Busy
                            || kinds.is_coming(&gvk.group_kind())
                            || kinds.get(gvk).is_some()
                    },
                    |gvk| self.context.cluster.kinds.unkept(&gvk.group_kind()),
                    |gvk| self.context.cluster.kinds.instead_of(gvk),
                ),
                held: held
                    .filter(|held| held.waits_for_other_than(intent.approved_prune.as_deref()))
                    .map(|held| {
                        held_message(&self.name, &held.plan, intent.approved_prune.as_deref())
                    }),
                leaving: state.memory.leaving.clone(),
                drifts: state.drifts(),
                mode: intent.mode,
                unhealthy,
                wait: intent.wait,
                hook_hold: state.hooks.hold.clone(),
                overdue: false,
            },
            applied: state.is_applied(),
            needs_retry: state.needs_retry(),
            pause: state.backoff.next(),
            timers: state.timers.clone(),
            timeout: intent.timeout,
            diff_after: self.context.diff_after,
            failure_window: self.context.failure_window,
            finished: state.finished(),
            made_jobs: state.memory.runs.told(),
            brake: state.brake().filter(|_| intent.prune),
            held: held.map(|held| told(&held.plan)),
            left_behind: state.left_behind(),
            owned: state.objects.items.len() + state.memory.surplus,
            newest: state.memory.newest,
            contested: state.contested(intent.mode),
            newly_drifted: met.into_iter().filter(is_new).count(),
            round,
        }
    }

    /// Why what was live before the start is not the target, where that is known.
    fn why_untended(&self) -> Option<String> {
        let unfetched = || "no revision can be fetched".to_owned();
        let has_none = self.inbox.newest().is_none();
        let why = self.state.why_unresumed();
        why.or_else(|| has_none.then(unfetched))
    }

    /// Whether the Sync may wait for an object's health. Not for its own, nor for that of a Sync which
    /// waits for this one: neither would ever be ready.
    pub(super) fn health_counts(&self, key: &ObjectKey) -> bool {
        let Some(sync) = sync_of(key) else {
            return true;
        };
        sync != self.name && !self.context.fleet.waits(&sync, &self.name)
    }

    /// Stores the assessment. Returns whether the status in the API server must change, and what is to be told.
    fn take(&mut self, intent: &SyncIntent, assessment: Assessment) -> (bool, Vec<Notice>) {
        let Assessment {
            report,
            notices,
            mut figures,
            ways,
            timers,
            settled,
        } = assessment;
        let state = &mut self.state;
        if settled {
            state.backoff.reset();
        } else if state.timers.retry.is_none() && timers.retry.is_some() {
            state.backoff.advance();
        }
        let is_news = !state.writing.written || state.report.status != report.status;
        (state.report, state.timers, state.writing.written) = (report, timers, !is_news);
        state.memory.counted = state.memory.drifted.keys().cloned().collect();
        figures.count(&self.context.metrics);
        state.writing.outcomes.append(&mut figures.outcomes);
        state.writing.ways.extend(ways);
        let surplus = state.writing.ways.len().saturating_sub(WAYS);
        state.writing.ways.drain(..surplus);
        self.context.fleet.update_sync(&self.name, |view| {
            self.show(intent, view);
            figures.publish(&mut view.figures);
        });
        (is_news, notices)
    }

    /// The published view of this Sync.
    pub(super) fn show(&self, intent: &SyncIntent, view: &mut SyncView) {
        view.ready = self.state.report.ready;
        view.source.clone_from(&intent.source);
        let applied = &self.state.report.status.last_applied_revision;
        view.applied.clone_from(applied);
        view.depends_on = self.inbox.depends_on();
        view.waits_for = match intent.wait {
            true => self.state.objects.syncs.clone(),
            false => Vec::new(),
        };
        view.object = self.inbox.sync_object();
        view.pinned = intent.pin.is_some();
        (view.planned, view.unread) = match intent.deleting {
            // One that asks for nothing holds nobody up.
            true => (self.inbox.newest_revision(), None),
            false => self.told_by(view),
        };
    }

    /// The revision for which it has said what it wants, and the one for which it has said that it does not know, unless that
    /// was by another spec than the published one.
    pub(super) fn told_by(&self, view: &SyncView) -> (Option<String>, Option<String>) {
        let state = &self.state;
        match state.requests.generation == view.object.generation {
            true => (state.ahead.planned.clone(), state.ahead.unread.clone()),
            false => (None, None),
        }
    }

    /// Writes the status, unless that failed a moment ago.
    pub(super) async fn write(&mut self) {
        let now = Now::read();
        if self.state.timers.status.is_some_and(|at| at > now.at) {
            return; // it failed a moment ago
        }
        let SyncName { namespace, name } = &self.name;
        let status = &self.state.report.status;
        let state = &self.state;
        let known = [
            self.inbox.version(),
            state.parent.version,
            state.writing.version,
        ];
        let of = StatusOf {
            namespace,
            name,
            version: known.into_iter().max().filter(|version| *version > 0),
        };
        let written = write_status::<Sync>(&self.context, of, status).await;
        let state = &mut self.state;
        if let Some(message) = state.writing.refusal.note(&written) {
            let attempted = state.requests.attempted.as_deref();
            let notice = status_refused(&self.about, attempted, message, now.time);
            self.context.notifier.tell(notice);
        }
        match written {
            Ok(written) => {
                state.writing.written = true;
                if let Written::Whole(Some(version)) = written {
                    state.writing.version = version;
                }
                state.timers.status = None;
                state.writing.backoff.reset();
                self.count_outcomes();
            }
            Err(error) => {
                state.timers.status = Some(now.at + state.writing.backoff.pause(&error));
                let error = crate::chain(&error);
                tracing::warn!(sync = %self.name, error, "writing the status of a Sync");
            }
        }
    }

    /// Counts what the status says by now, so that another leader does not count it again.
    fn count_outcomes(&mut self) {
        for outcome in self.state.writing.outcomes.drain(..) {
            let deliveries = &self.context.fleet.deliveries;
            deliveries.count(&self.name.namespace, outcome);
        }
    }

    /// Tells traces what the status says by now, so that another leader does not tell it again.
    fn tell_traces(&mut self, intent: &SyncIntent) {
        let state = &mut self.state;
        if state.writing.ways.is_empty() || !state.writing.written {
            return;
        }
        let context = &self.context;
        let source = SourceName::new(&self.name.namespace, &intent.source);
        let view = context.fleet.sources.read(&source);
        let about = About {
            namespace: &self.name.namespace,
            name: &self.name.name,
            uid: self.about.uid.as_deref().unwrap_or_default(),
            repository: &intent.source,
            url: &view.url,
        };
        for way in state.writing.ways.drain(..) {
            context.outbox.traces.tell(&trace(&about, &way));
        }
    }
}

/// The notice of a status that the API server refused.
pub(super) fn status_refused(
    about: &Arc<ObjectReference>,
    attempted: Option<&str>,
    message: String,
    at: Timestamp,
) -> Notice {
    Notice {
        about: Arc::clone(about),
        revision: attempted.map(str::to_owned),
        reason: Reason::StatusRefused,
        level: Level::Warning,
        delivers: None,
        replaces: None,
        change: None,
        objects: Vec::new(),
        message,
        at,
    }
}

/// The most traces that wait for a status to be written.
const WAYS: usize = 16;

/// The most warnings in a status.
const MAX_WARNINGS: usize = 20;

impl Said {
    fn of(target: &Target, state: &State, lookups: Option<String>) -> Self {
        let record = state.release.record.warning.iter().cloned();
        let warnings = target.desired.warnings().map(str::to_owned);
        // Git does not say so, so that people should know.
        let paused = state
            .memory
            .left_alone
            .iter()
            .filter(|(_, is_live)| **is_live);
        let paused = paused.map(|(key, _)| {
            format!(
                "{key} is left as it is: the live object has an annotation that says so (reconcile: disabled, or ssa: \
                 Ignore); remove it, and the object is made equal to Git again"
            )
        });
        let strays = state.memory.strays.iter().map(stray_warning);
        let awaiting = state.memory.awaiting.iter().cloned();
        let rewritten = state.memory.rewritten.iter();
        let rewritten = rewritten.map(|(key, fields)| rewritten_warning(key, fields));
        Self {
            warnings: record
                .chain(state.pin.as_ref().and_then(|pin| pin.warning()))
                .chain(lookups)
                .chain(awaiting)
                .chain(warnings)
                .chain(paused)
                .chain(strays)
                .chain(rewritten)
                .take(MAX_WARNINGS)
                .collect(),
            notes: target.desired.notes().map(str::to_owned),
            bases: Some(target.bases.clone()),
        }
    }
}
