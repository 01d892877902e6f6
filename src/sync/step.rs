//! One wake-up of a Sync's driver.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;
use std::time::Duration;

use futures::{StreamExt as _, stream};
use kube::ResourceExt as _;
use tokio::time::Instant;

use super::Driver;
use super::apply::{self, Done, Job, Stopped, Task};
use super::audit::{self, Action};
use super::memory::{Fight, Memory, Trouble};
use super::report::Round;
use super::target::{self, Loaded, Objects, Target, TargetError};
use super::verdict::Blocked;
use super::wake::Due;
use crate::api::{Mode, REQUESTED_AT, Reason, Sync, SyncSettings};
use crate::cluster::{Applied, ServedKind, UnderWay, WriteError};
use crate::desired::Item;
use crate::fleet::FetchedRevision;
use crate::intent::RenderIntent;
use crate::manifest::{GroupKind, ObjectKey};
use crate::plan::{Cause, Judgement, Record, judge};

/// How long a kind's first list may take before its objects count as failed.
const PATIENCE: Duration = Duration::from_secs(10);

/// First lists at once.
const LISTS: usize = 4;

impl Driver {
    /// `gave_way`: a quiet moment was waited for already.
    pub(super) async fn step(&mut self, object: &Sync, due: Due, gave_way: bool) {
        let started = Instant::now();
        let figures = &self.context.metrics.figures().syncs;
        let at_work = figures.at_work(&self.name.namespace, &self.name.name);
        self.wake.follow(&self.context, &self.name, &object.spec);
        self.note_requests(object, due);
        if object.spec.settings.suspend {
            self.blocked = None;
            self.report.ready = false;
            self.write(object).await;
            return;
        }
        if self.wake.source_is_unknown() && !self.status.conditions.is_empty() {
            // The operator has just started: what the status says stays true until more is known.
            return;
        }
        let mut round = Round::default();
        if let Err(stopped) = self.reconcile(object, &mut round).await {
            // What is left undone is judged again: at once, for what superseded the work also wakes
            // the driver, or when the API server may be back.
            self.full = true;
            if stopped == Stopped::Unavailable {
                self.retry_later();
            }
        }
        self.assess(object, &round, due);
        if !round.worked && !gave_way {
            self.context.cluster.applies.quiet().await;
        }
        self.write(object).await;
        drop(at_work);
        let outcome = self.report.reason();
        self.context.metrics.sync(outcome, started.elapsed());
    }

    /// What a person asked for since the last wake-up: a new spec, or a reconcile now.
    fn note_requests(&mut self, object: &Sync, due: Due) {
        let requested = object.annotations().get(REQUESTED_AT).cloned();
        let new_spec = self.generation != object.metadata.generation;
        let asked = requested.is_some() && requested != self.handled;
        if new_spec || asked {
            self.backoff.reset();
            self.report.ready = false;
        }
        if new_spec {
            let interval: Duration = object.spec.settings.interval.into();
            self.timers.verify = self.timers.verify.min(Instant::now() + interval);
        }
        if asked || due.verify {
            // Without records every object is applied again; one that is as it should be is not
            // written by the API server.
            self.memory.records.clear();
        }
        self.full |= new_spec || asked || due.verify || due.retry;
        self.generation = object.metadata.generation;
        self.handled = requested.or(self.handled.take());
    }

    async fn reconcile(&mut self, object: &Sync, round: &mut Round) -> Result<(), Stopped> {
        let _under_way = match self.gate(object) {
            Ok(seen) => self.retarget(object, &seen).await,
            Err(blocked) => {
                self.blocked = Some(blocked);
                None
            }
        };
        let Some(target) = self.target.take() else {
            return Ok(());
        };
        let done = self.converge(object, &target, round).await;
        self.target = Some(target);
        done
    }

    /// The newest revision, if source and dependencies let this Sync go on to it.
    fn gate(&mut self, object: &Sync) -> Result<FetchedRevision, Blocked> {
        let blocked = |reason, message: String, stalled| Blocked {
            reason,
            message,
            stalled,
        };
        let source = self.source();
        let Some(seen) = source.latest else {
            let (reason, message) = source.problem.unwrap_or_else(|| {
                let name = &object.spec.source_ref.name;
                let message = format!("GitRepository {name} has no revision yet");
                (Reason::SourceNotReady, message)
            });
            return Err(blocked(reason, message, false));
        };
        self.context
            .fleet
            .update_sync(&self.name, self.standing(object));
        if let Some(circle) = self.context.fleet.circle(&self.name) {
            let names: Vec<&str> = circle.iter().map(|name| &*name.name).collect();
            let message = format!("dependsOn goes in a circle: {}", names.join(" → "));
            return Err(blocked(Reason::DependencyCycle, message, true));
        }
        let revision = seen.snapshot.revision.to_string();
        for (name, standing) in &mut self.wake.dependencies {
            let standing = standing.borrow_and_update();
            let same_source = standing.source == object.spec.source_ref.name;
            let why = if !standing.exists {
                "does not exist"
            } else if !standing.ready {
                "is not ready"
            } else if same_source && standing.applied.as_deref() != Some(&revision) {
                "has not applied this revision yet"
            } else {
                continue;
            };
            let message = format!("waiting for dependency {name}, which {why}");
            return Err(blocked(Reason::DependencyNotReady, message, false));
        }
        Ok(seen)
    }

    /// Makes the newest revision the target, unless it cannot be read. What is live stays then. Whoever
    /// has to read it most likely has something to apply: that is under way until the answer is dropped.
    async fn retarget(&mut self, object: &Sync, seen: &FetchedRevision) -> Option<UnderWay> {
        let scope = RenderIntent::from(&object.spec.settings);
        let revision = seen.snapshot.revision.to_string();
        if let Some(target) = &self.target
            && target.revision == revision
            && *target.desired.intent() == scope
        {
            if Arc::ptr_eq(&target.seen.snapshot, &seen.snapshot) {
                self.blocked = None;
                return None;
            }
            // The objects of a damaged copy have moved: what could not be read can be now.
            self.full = true;
        }
        self.status.last_attempted_revision = Some(revision.clone());
        let target = self.target.as_ref();
        let is_still = target.is_some_and(|target| target.is_still(seen, &scope));
        let under_way = (!is_still).then(|| self.context.cluster.applies.begin());
        let loaded = match is_still {
            true => Ok(Loaded::Same),
            false => target::load(seen, &scope, target, &mut self.cache).await,
        };
        match loaded {
            Ok(Loaded::Same) => {
                if let Some(target) = &mut self.target {
                    target.seen = seen.clone();
                    target.revision = revision;
                }
                self.blocked = None;
            }
            Ok(Loaded::New(target)) => {
                self.target = Some(*target);
                self.objects = Objects::default();
                self.blocked = None;
                self.backoff.reset();
                self.timers.healthy_by = None;
                self.full = true;
                // A restart renders what was live before; that is no news.
                if self.settled.as_ref() != Some(&revision) {
                    self.report.new_content();
                }
            }
            Err(error) => {
                if matches!(error, TargetError::Interrupted) {
                    self.retry_later();
                }
                self.blocked = Some(Blocked {
                    reason: error.reason(),
                    message: format!("{revision} is not applied: {}", target::explain(&error)),
                    stalled: error.is_lasting(),
                });
            }
        }
        under_way
    }

    /// Makes the cluster equal the target.
    async fn converge(
        &mut self,
        object: &Sync,
        target: &Target,
        round: &mut Round,
    ) -> Result<(), Stopped> {
        let kinds_changed = self.wake.kinds_changed() && !self.objects.waiting.is_empty();
        let released = self.wake.released() && !self.objects.taken.is_empty();
        self.full |= kinds_changed || released;
        if self.full {
            self.resolve(object, target).await?;
        }
        let full = std::mem::take(&mut self.full);
        let dirty = self.mailbox().take();
        let foreign = dirty
            .iter()
            .any(|key| !self.objects.items.contains_key(key));
        let jobs = self.plan(&object.spec.settings, target, dirty, full);
        self.apply(object, target, &jobs, round).await?;
        if full || foreign {
            self.prune(&object.spec.settings, target, round).await?;
        }
        Ok(())
    }

    /// Finds out which objects the target's entries are, claims them, and makes sure that they are
    /// watched and that the parent names their kinds.
    async fn resolve(&mut self, object: &Sync, target: &Target) -> Result<(), Stopped> {
        let cluster = &self.context.cluster;
        let within = self.context.namespace.as_deref();
        let mut objects = Objects::resolve(target, &cluster.kinds, within);
        if !objects.waiting.is_empty() {
            // Custom kinds come by themselves; those of aggregated API servers do not.
            if let Err(error) = cluster.discover().await {
                tracing::debug!(sync = %self.name, %error, "discovery");
            }
            objects = Objects::resolve(target, &cluster.kinds, within);
        }
        let wanted: BTreeSet<GroupKind> = objects.kinds().into_iter().collect();
        // What is ours of kinds that left Git has to be known as well, to be pruned.
        let known = wanted.union(&self.contained).cloned().collect();
        let unlisted = self.watch(&known).await;
        // No object of a kind that cannot be listed is applied; named all the same, the kind would hold up
        // the deletion of this Sync.
        let is_listed = |kind: &&GroupKind| !unlisted.iter().any(|(other, _)| other == *kind);
        let kinds: BTreeSet<GroupKind> = wanted.iter().filter(is_listed).cloned().collect();
        if let Err(error) = self.mark(object, &kinds).await {
            let message = format!("the Sync cannot be marked as an ApplySet's parent: {error}");
            tracing::warn!(sync = %self.name, message);
            self.blocked = Some(Blocked {
                reason: Reason::ApiUnavailable,
                message,
                stalled: false,
            });
            return Err(Stopped::Unavailable);
        }
        let inventory = &self.context.cluster.inventory;
        for (key, owner) in inventory.claim(&self.name, objects.items.keys()) {
            if let Some(item) = objects.items.remove(&key) {
                objects.taken.push((key, item.index, owner));
            }
        }
        self.memory.retain(|key| objects.items.contains_key(key));
        for (kind, why) in unlisted {
            let message = format!("its kind cannot be listed: {why}");
            let trouble = Trouble {
                reason: Reason::ApiUnavailable,
                message,
            };
            let unknown: Vec<ObjectKey> = objects
                .items
                .keys()
                .filter(|key| key.kind == kind)
                .cloned()
                .collect();
            for key in unknown {
                // Without its list it is not known whose it is.
                self.memory.records.remove(&key);
                self.memory.troubles.insert(key, trouble.clone());
            }
            self.memory.unlisted.insert(kind);
        }
        self.objects = objects;
        Ok(())
    }

    /// Waits for the first lists of `kinds`; those that do not come, and why.
    async fn watch(&mut self, kinds: &BTreeSet<GroupKind>) -> Vec<(GroupKind, String)> {
        self.memory.unlisted.clear();
        let cluster = &self.context.cluster;
        let served = kinds
            .iter()
            .filter_map(|kind| cluster.kinds.preferred(kind));
        let served: Vec<ServedKind> = served.collect();
        stream::iter(served)
            .map(|served| async move {
                let answer = cluster.watched(&served, PATIENCE).await;
                Some((served.group_kind(), answer.err()?))
            })
            .buffer_unordered(LISTS)
            .filter_map(std::future::ready)
            .collect()
            .await
    }

    /// The jobs for the objects that changed, or for all.
    fn plan(
        &mut self,
        settings: &SyncSettings,
        target: &Target,
        mut dirty: HashSet<ObjectKey>,
        full: bool,
    ) -> Vec<Job> {
        let Memory {
            records,
            drifted,
            unhealthy,
            fights,
            again,
            unlisted,
            ..
        } = &mut self.memory;
        dirty.extend(again.drain());
        let inventory = &self.context.cluster.inventory;
        let settled = self.settled.as_ref() == Some(&target.revision);
        let now = Instant::now();
        let mut jobs = Vec::new();
        let mut fought = 0;
        let mut correct_at: Option<Instant> = None;
        let candidates: Box<dyn Iterator<Item = &Item> + Send> = match full {
            true => Box::new(self.objects.items.values()),
            false => Box::new(dirty.iter().filter_map(|key| self.objects.items.get(key))),
        };
        for item in candidates.filter(|item| !unlisted.contains(&item.key.kind)) {
            let key = &item.key;
            let observed = inventory.get(key);
            let (record, observed) = (records.get(key), observed.as_ref());
            let was_drifted = drifted.remove(key).is_some();
            let suspect = was_drifted && settings.mode == Mode::Report;
            match observed.map(|observed| &observed.health) {
                Some(health) if health.is_current() => drop(unhealthy.remove(key)),
                Some(health) => drop(unhealthy.insert(key.clone(), health.clone())),
                None => (),
            }
            let writer = || observed.and_then(|observed| observed.writer.clone());
            match judge(&item.digest, record, observed, settings.mode, settled) {
                Judgement::InSync if !suspect => (),
                Judgement::Apply(cause) => {
                    let wait = fights.get(key).map(Fight::next).filter(|at| *at > now);
                    match wait.filter(|_| cause.is_drift()) {
                        Some(at) => {
                            fought += usize::from(!was_drifted);
                            drifted.insert(key.clone(), (cause, writer()));
                            again.insert(key.clone());
                            correct_at = Some(correct_at.map_or(at, |first| first.min(at)));
                        }
                        None => jobs.push(Job {
                            item: item.clone(),
                            task: Task::Apply(cause),
                            before: observed.cloned(),
                        }),
                    }
                }
                Judgement::Compare | Judgement::InSync => {
                    jobs.push(Job {
                        item: item.clone(),
                        task: Task::Compare,
                        before: observed.cloned(),
                    });
                }
                Judgement::Terminating => {
                    drifted.insert(key.clone(), (Cause::Missing, writer()));
                }
            }
        }
        self.context.metrics.fought(fought);
        self.timers.correct = correct_at.or(self.timers.correct);
        apply::order(&mut jobs, target);
        jobs
    }

    async fn apply(
        &mut self,
        object: &Sync,
        target: &Target,
        jobs: &[Job],
        round: &mut Round,
    ) -> Result<(), Stopped> {
        if jobs.is_empty() {
            return Ok(());
        }
        round.worked = true;
        self.work(object, target, jobs, round).await?;
        let suspects = match object.spec.settings.mode {
            Mode::Report => self.memory.drifted.keys().cloned().collect(),
            Mode::Correct => HashSet::new(),
        };
        self.context.cluster.inventory.suspect(&self.name, suspects);
        Ok(())
    }

    /// Takes the result of one job.
    pub(super) fn settle(&mut self, target: &Target, job: &Job, done: Done, round: &mut Round) {
        let key = &job.item.key;
        let memory = &mut self.memory;
        let trouble = match done {
            Done::Applied(applied) => {
                if let Some(action) = audit::action(&self.name, job, &applied) {
                    let writer = job.before.as_ref().and_then(|was| was.writer.as_deref());
                    let writer = writer.filter(|_| action == Action::Healed);
                    let object = (key, &*applied.answer.uid);
                    audit::log(
                        &self.name,
                        action,
                        object,
                        Some(target),
                        Some(&job.item),
                        writer,
                    );
                    round.applied(job, action, &mut memory.fights);
                }
                let Applied {
                    answer, current, ..
                } = applied;
                if !answer.health.is_current() {
                    memory.unhealthy.insert(key.clone(), answer.health.clone());
                }
                memory
                    .records
                    .insert(key.clone(), Record::of(job.item.digest, &answer));
                memory.troubles.remove(key);
                if !current {
                    memory.again.insert(key.clone());
                    self.timers.correct = Some(Instant::now());
                }
                return;
            }
            Done::Differs(cause) => {
                let observed = self.context.cluster.inventory.get(key);
                let writer = observed.and_then(|observed| observed.writer);
                memory.troubles.remove(key);
                memory.drifted.insert(key.clone(), (cause, writer));
                return;
            }
            Done::Failed(error) => Trouble {
                reason: match error {
                    WriteError::NotServed => Reason::KindNotServed,
                    WriteError::Unavailable(_) => Reason::ApiUnavailable,
                    WriteError::Refused { .. }
                    | WriteError::NoNamespace { .. }
                    | WriteError::Answer(_) => Reason::ApplyFailed,
                },
                message: crate::chain(&error),
            },
            Done::Unreadable(trouble) => trouble,
        };
        memory.records.remove(key);
        memory.troubles.insert(key.clone(), trouble);
    }
}
