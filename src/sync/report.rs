//! From what a driver knows to status, events and the board.

use std::collections::{HashMap, HashSet};

use jiff::Timestamp;
use tokio::time::Instant;

use super::Driver;
use super::apply::Job;
use super::audit::Action;
use super::memory::Fight;
use super::target::Target;
use super::verdict::{Drift, Facts, Problem};
use super::wake::Due;
use crate::api::{
    HistoryEntry, ObjectCounts, Reason, Sync, SyncStatus, SyncTimes, Time, set_conditions,
};
use crate::controller::patch::write_status;
use crate::fleet::SyncView;
use crate::manifest::ObjectKey;
use crate::notify::Level;
use crate::plan::SyncName;
use crate::text::listing;

/// Revisions in `status.history`.
const HISTORY: usize = 10;

/// Objects that each of them names.
const NAMED: usize = 5;

/// What one wake-up did.
#[derive(Default)]
pub(super) struct Round {
    /// Objects that were created or changed because Git says so, or deleted because they left it.
    pub(super) changes: Vec<(Action, ObjectKey)>,
    /// Drifted objects that were put right, and who had changed them.
    pub(super) healed: Vec<(ObjectKey, Option<Box<str>>)>,
    /// Objects were worked on.
    pub(super) worked: bool,
}

impl Round {
    /// Counts an apply.
    pub(super) fn applied(
        &mut self,
        job: &Job,
        action: Action,
        fights: &mut HashMap<ObjectKey, Fight>,
    ) {
        let key = &job.item.key;
        if action == Action::Healed {
            let fight = Fight::again(fights.get(key), Instant::now());
            fights.insert(key.clone(), fight);
            let before = job.before.as_ref();
            let writer = before.and_then(|before| before.writer.clone());
            self.healed.push((key.clone(), writer));
        } else {
            self.changes.push((action, key.clone()));
        }
    }
}

/// What a target's content has changed so far.
#[derive(Default)]
struct Tally {
    created: usize,
    changed: usize,
    pruned: usize,
    /// The first of them.
    named: Vec<String>,
}

impl Tally {
    fn add(&mut self, changes: &[(Action, ObjectKey)]) {
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

/// What was told last, so that nothing is told twice.
pub(super) struct Told {
    /// Applies are under way.
    pub(super) busy: bool,
    /// Objects have been unhealthy for longer than `spec.timeout`.
    pub(super) overdue: bool,
    /// The Sync is ready at its current generation.
    pub(super) ready: bool,
    reason: Reason,
    /// The target's content was announced as converged.
    pub(super) announced: bool,
    /// Desired and observed were announced to differ.
    diff: bool,
    /// The last warning.
    warned: Option<String>,
    tally: Tally,
}

impl Told {
    pub(super) fn from(status: &SyncStatus, ready: bool) -> Self {
        let condition = status
            .conditions
            .iter()
            .find(|condition| condition.type_ == "Ready");
        let warned = condition.filter(|condition| condition.status == "False");
        Self {
            busy: false,
            overdue: false,
            ready,
            reason: Reason::Progressing,
            announced: true,
            diff: false,
            // A restart finds the same again; that is no news.
            warned: warned.map(|condition| condition.message.clone()),
            tally: Tally::default(),
        }
    }

    /// The target has content that was never live: what comes of it is news.
    pub(super) fn new_content(&mut self) {
        self.announced = false;
        self.tally = Tally::default();
        self.overdue = false;
    }

    /// The reason of the condition `Ready`.
    pub(super) fn reason(&self) -> Reason {
        self.reason
    }
}

impl Driver {
    /// What other Syncs may know of this one.
    pub(super) fn standing(&self, object: &Sync) -> SyncView {
        let dependencies = self.wake.dependencies.iter();
        SyncView {
            exists: true,
            ready: self.report.ready,
            source: object.spec.source_ref.name.clone(),
            applied: self.status.last_applied_revision.clone(),
            depends_on: dependencies.map(|(name, _)| name.clone()).collect(),
        }
    }

    /// Moves revisions, times and timers on after a round, and tells what it did.
    pub(super) fn assess(&mut self, object: &Sync, round: &Round, due: Due) {
        self.report.tally.add(&round.changes);
        let now = Instant::now();
        if self.is_applied() {
            self.backoff.reset();
            self.settled = None;
            self.note_applied();
        } else if self.timers.retry.is_none()
            // Not every kind announces itself: not that of an aggregated API server, and none to an
            // account that may not watch definitions.
            && (self.has_trouble() || !self.objects.waiting.is_empty())
        {
            self.retry_later();
        }
        self.report.overdue |= due.healthy;
        if self.memory.unhealthy.is_empty() {
            self.timers.healthy_by = None;
            self.report.overdue = false;
        } else if self.timers.healthy_by.is_none() && !self.report.overdue {
            let timeout: std::time::Duration = object.spec.settings.timeout.into();
            self.timers.healthy_by = Some(now + timeout);
        }
        if let Some(live) = self.status.history.first_mut() {
            live.healed = live.healed.saturating_add(count(round.healed.len()));
        }
        self.count_brake(&object.spec.settings);
        self.tell_round(object, round);
        self.tell_standing(object, due);
    }

    fn note_applied(&mut self) {
        let Some(target) = &self.target else { return };
        let status = &mut self.status;
        if status.last_applied_revision.as_ref() == Some(&target.revision) {
            return;
        }
        let now = Time(Timestamp::now());
        let changed = !self.report.announced;
        if changed {
            status.last_changed_revision = Some(target.revision.clone());
            let Tally {
                created,
                changed,
                pruned,
                named,
            } = &self.report.tally;
            status.history.insert(
                0,
                HistoryEntry {
                    revision: target.revision.clone(),
                    author: target.seen.snapshot.author.clone(),
                    committed: Some(Time(target.seen.snapshot.committed_at)),
                    applied: now.clone(),
                    converged: None,
                    created: count(*created),
                    changed: count(*changed),
                    pruned: count(*pruned),
                    healed: 0,
                    objects: named.clone(),
                },
            );
            status.history.truncate(HISTORY);
        }
        status.last_applied_revision = Some(target.revision.clone());
        status.times = Some(SyncTimes {
            committed: Some(Time(target.seen.snapshot.committed_at)),
            observed: Some(Time(target.seen.at)),
            applied: Some(now),
            converged: None,
        });
        if changed {
            self.change_applied();
        }
    }

    /// Metrics and events: what this round did.
    fn tell_round(&mut self, object: &Sync, round: &Round) {
        let metrics = &self.context.metrics;
        let drifted: HashSet<&ObjectKey> = self.memory.drifted.keys().collect();
        let healed = round.healed.iter().map(|(key, _)| key);
        let met: HashSet<&ObjectKey> = healed.chain(drifted.iter().copied()).collect();
        let counted = |key: &&ObjectKey| self.memory.counted.contains(*key);
        metrics.drifted(met.into_iter().filter(|key| !counted(key)).count());
        self.memory.counted = drifted.into_iter().cloned().collect();
        let pruned = round.changes.iter();
        metrics.pruned(
            pruned
                .filter(|(action, _)| *action == Action::Pruned)
                .count(),
        );
        metrics.corrected(round.healed.len());
        if !round.healed.is_empty() {
            let named = round
                .healed
                .iter()
                .take(5)
                .map(|(key, writer)| match writer {
                    Some(writer) => format!("{key} (changed by {writer})"),
                    None => key.to_string(),
                });
            let note = format!("healed {}", listing(named, round.healed.len()));
            let notifier = &self.context.notifier;
            notifier.tell(object, Level::Normal, Reason::DriftCorrected, &note);
        }
    }

    /// Events about where the Sync stands: converged, diff, and what a person has to know.
    fn tell_standing(&mut self, object: &Sync, due: Due) {
        let facts = self.facts(object, self.target.as_ref());
        let ready = facts.ready();
        let notifier = &self.context.notifier;
        self.report.ready = facts.is_converged();
        self.report.reason = ready.reason;
        if facts.is_converged() {
            self.timers.diff = None;
            if let Some(times) = &mut self.status.times {
                times
                    .converged
                    .get_or_insert_with(|| Time(Timestamp::now()));
            }
            let news = !std::mem::replace(&mut self.report.announced, true);
            let warned = self.report.warned.take().is_some();
            let differed = std::mem::take(&mut self.report.diff);
            if news || warned || differed {
                let Tally {
                    created,
                    changed,
                    pruned,
                    ..
                } = std::mem::take(&mut self.report.tally);
                let author = self
                    .target
                    .as_ref()
                    .map(|target| &target.seen.snapshot.author);
                let by = author.map(|author| format!(" by {author}"));
                let note = format!(
                    "{}{}; {created} created, {changed} changed, {pruned} pruned",
                    ready.message,
                    by.unwrap_or_default()
                );
                notifier.tell(object, Level::Normal, Reason::Converged, &note);
            }
            self.change_converged();
            return;
        }
        if due.diff {
            let note = format!("Git and the cluster differ: {}", ready.message);
            notifier.tell(object, Level::Warning, Reason::Diff, &note);
            self.report.diff = true;
        } else if !self.report.diff && self.timers.diff.is_none() {
            self.timers.diff = Some(Instant::now() + self.context.diff_after);
        }
        let waits = matches!(
            ready.reason,
            Reason::Progressing
                | Reason::HealthPending
                | Reason::DependencyNotReady
                | Reason::SourceNotReady
                // Most often its definition is in the same commit.
                | Reason::KindNotServed
        );
        if !waits && self.report.warned.as_ref() != Some(&ready.message) {
            notifier.tell(object, Level::Warning, ready.reason, &ready.message);
            self.report.warned = Some(ready.message);
        }
    }

    /// Writes the status, if it says something else than the one that was written last.
    pub(super) async fn write(&mut self, object: &Sync) {
        let target = self.target.take();
        self.write_with(object, target.as_ref()).await;
        self.target = target;
    }

    /// As [`Self::write`], while the target is in use.
    pub(super) async fn write_with(&mut self, object: &Sync, target: Option<&Target>) {
        self.context
            .fleet
            .update_sync(&self.name, self.standing(object));
        let facts = self.facts(object, target);
        self.leave_figures(&facts);
        let generation = object.metadata.generation;
        let now = Time(Timestamp::now());
        self.status.conditions =
            set_conditions(&self.status.conditions, facts.verdicts(), generation, &now);
        self.status.observed_generation = generation;
        self.status.failures = facts.failures();
        self.status.objects = target.map(|_| facts.counts);
        if !self.report.busy {
            self.status.last_handled_reconcile_at = self.handled.clone();
        }
        if self.written.as_ref() == Some(&self.status) {
            return;
        }
        let SyncName { namespace, name } = &self.name;
        match write_status::<Sync>(&self.context, namespace, name, &self.status).await {
            Ok(()) => self.written = Some(self.status.clone()),
            Err(error) => {
                tracing::warn!(sync = %self.name, %error, "writing the status of a Sync");
                self.retry_later();
            }
        }
    }

    fn facts(&self, object: &Sync, target: Option<&Target>) -> Facts {
        let settings = &object.spec.settings;
        let memory = &self.memory;
        let drifts = memory.drifted.iter().map(|(key, (cause, writer))| Drift {
            key: key.clone(),
            cause: *cause,
            writer: writer.clone(),
        });
        let problems = target
            .map(|target| self.problems(target))
            .unwrap_or_default();
        Facts {
            suspended: settings.suspend,
            blocked: self.blocked.clone(),
            revision: target.map(|target| target.revision.clone()),
            counts: target.map(|target| self.counts(target)).unwrap_or_default(),
            busy: self.report.busy || (target.is_some() && !self.is_applied()),
            problems,
            drifts: drifts.collect(),
            mode: settings.mode,
            unhealthy: memory.unhealthy.clone().into_iter().collect(),
            wait: settings.wait,
            overdue: self.report.overdue,
        }
    }

    fn counts(&self, target: &Target) -> ObjectCounts {
        let memory = &self.memory;
        let drifted = memory
            .drifted
            .keys()
            .filter(|key| memory.records.contains_key(*key));
        ObjectCounts {
            desired: count(target.desired.objects().len()),
            applied: count(memory.records.len() - drifted.count()),
            drifted: count(memory.drifted.len()),
            unhealthy: count(memory.unhealthy.len()),
            waiting: count(self.objects.waiting.values().map(Vec::len).sum()),
            failed: count(
                memory.troubles.len() + self.objects.misplaced.len() + self.objects.taken.len(),
            ),
            unpruned: count(memory.surplus + memory.unpruned.len()),
        }
    }

    fn problems(&self, target: &Target) -> Vec<Problem> {
        let desired = target.desired.objects();
        let at = |index: usize| target.place(index);
        let misplaced = self.objects.misplaced.iter().map(|(index, why)| Problem {
            object: desired[*index].key().to_string(),
            place: at(*index),
            reason: Reason::InvalidManifest,
            message: why.to_string(),
        });
        let taken = self
            .objects
            .taken
            .iter()
            .map(|(key, index, owner)| Problem {
                object: key.to_string(),
                place: at(*index),
                reason: Reason::OwnershipConflict,
                message: format!("it belongs to Sync {owner}; remove it from one of the two"),
            });
        let troubles = self.memory.troubles.iter().map(|(key, trouble)| Problem {
            object: key.to_string(),
            place: self.objects.items.get(key).and_then(|item| at(item.index)),
            reason: trouble.reason,
            message: trouble.message.clone(),
        });
        let unpruned = self.memory.unpruned.iter().map(|(key, trouble)| Problem {
            object: key.to_string(),
            place: None,
            reason: trouble.reason,
            message: format!("it has left Git and cannot be deleted: {}", trouble.message),
        });
        let kinds = &self.context.cluster.kinds;
        let waiting = self.objects.waiting.iter();
        let waiting = waiting.filter_map(|(kind, indexes)| {
            let object = &desired[*indexes.first()?];
            // Progress: a definition is yet to be applied, was just made, or was served a moment ago.
            if self.report.busy || kinds.is_coming(kind) || kinds.get(&object.gvk).is_some() {
                return None;
            }
            let kind = object.gvk.group_kind();
            let version = object.gvk.api_version();
            Some(Problem {
                object: object.key().to_string(),
                place: at(*indexes.first()?),
                reason: Reason::KindNotServed,
                message: format!(
                    "the API server does not serve {version} {}: {} until it does",
                    kind.kind,
                    match indexes.len() {
                        1 => format!("1 object of {kind} waits"),
                        many => format!("{many} objects of {kind} wait"),
                    }
                ),
            })
        });
        misplaced
            .chain(taken)
            .chain(troubles)
            .chain(unpruned)
            .chain(waiting)
            .collect()
    }

    /// Whether everything that Git asks for has been applied.
    fn is_applied(&self) -> bool {
        let memory = &self.memory;
        let unknown = memory
            .drifted
            .keys()
            .filter(|key| !memory.records.contains_key(*key));
        !self.full
            && !self.has_trouble()
            && self.objects.waiting.is_empty()
            && memory.records.len() + unknown.count() == self.objects.items.len()
    }

    fn has_trouble(&self) -> bool {
        !self.memory.troubles.is_empty()
            || !self.memory.unpruned.is_empty()
            || !self.objects.misplaced.is_empty()
            || !self.objects.taken.is_empty()
    }
}

fn count(number: usize) -> u32 {
    number.try_into().unwrap_or(u32::MAX)
}
