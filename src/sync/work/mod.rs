//! Makes the cluster equal the target: resolve, plan, apply, prune. All of a driver's I/O on managed
//! objects is in this folder.

mod apply;
mod awaited;
mod brake;
mod finalize;
mod hook;
mod hooks;
mod judge;
mod leaving;
mod parent;
mod prune;
mod record;
mod release;
mod replace;
mod rights;
mod room;
mod strays;
mod swap;
mod trade;
mod validate;

use std::collections::{BTreeSet, HashSet};
use std::time::Duration;

use futures::{StreamExt as _, stream};
use jiff::Timestamp;
use tokio::time::{Instant, MissedTickBehavior};

use self::apply::{Done, removes_itself, stage_of};
pub use self::brake::had;
pub use self::release::releases;
pub(super) use self::strays::stray_warning;
use super::Driver;
use super::audit::{self, Action};
use super::job::Job;
use super::memory::Trouble;
use super::report::{Content, Phase, Round};
use super::state::Look;
use super::target::Objects;
use super::timers::Due;
use super::verdict::Blocked;
use crate::api::Reason;
use crate::cluster::{ServedKind, WriteError};
use crate::desired::Limit;
use crate::driver::Turn;
use crate::intent::{Mode, SyncIntent};
use crate::manifest::{GroupKind, ObjectKey};
use crate::plan::AppliedRecord;
use crate::text::shorten;
use crate::trace::Period;

/// How long a kind's first list may take before its objects count as failed.
const PATIENCE: Duration = Duration::from_secs(10);

/// The most first lists at once.
const LISTS: usize = 4;

/// The interval of reports during a long apply. An apply of few objects is short, or waits for its turn
/// among many Syncs. A report on it would only be one more request.
const REPORTS: Duration = Duration::from_secs(5);
const FIRST_REPORT_OF_MANY: Duration = Duration::from_millis(500);
const MANY: usize = 50;

/// The longest message about one object, in bytes: ten thousand may fail at once.
const LONGEST_TROUBLE: usize = 1024;

/// Why jobs were left undone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stopped {
    /// There is a newer target or spec.
    Superseded,
    /// The API server cannot be reached.
    Unavailable,
}

impl Driver {
    /// Makes the cluster equal the target, as far as this round looks at it. Ends the turn before it waits for
    /// what other Syncs want.
    pub(super) async fn work(
        &mut self,
        intent: &SyncIntent,
        round: &mut Round,
        turn: &Turn,
    ) -> Result<(), Stopped> {
        if self.state.target.is_none() {
            return Ok(());
        }
        let kinds_changed = self.inbox.kinds_changed() && !self.state.objects.waiting.is_empty();
        let released = self.inbox.released() && !self.state.objects.taken.is_empty();
        if kinds_changed || released {
            self.state.look_at(Look::Everything);
        }
        let steps = self.state.report.delivery.steps();
        let began = steps
            .is_some_and(|steps| steps.awaits_plan())
            .then(Timestamp::now);
        if self.state.look > Look::Changed {
            self.resolve(intent).await?;
        }
        // What a Sync wants that this one makes or changes is not known before it is applied.
        let has_syncs = self.own_syncs().next().is_some();
        if !has_syncs {
            self.tell_own_plan(intent);
        }
        let look = std::mem::take(&mut self.state.look);
        let dirty = self.inbox.mailbox.take();
        let items = &self.state.objects.items;
        let left: HashSet<&ObjectKey> = dirty
            .iter()
            .filter(|key| !items.contains_key(key))
            .collect();
        let foreign = !left.is_empty();
        let room: HashSet<_> = left.iter().map(|key| key.kind.clone()).collect();
        // What was refused may have waited for an object of its kind to go.
        let refused = self.state.memory.troubles.keys();
        let refused = refused.filter(|key| room.contains(&key.kind)).cloned();
        self.state.memory.again.extend(refused.collect::<Vec<_>>());
        // What was held back may go, now that everything else is applied.
        let held_back = intent.prune && self.state.memory.surplus > 0;
        let jobs = self.plan(intent, dirty, look, round);
        if let (Some(began), Some(steps)) = (began, self.state.report.delivery.steps()) {
            let ended = Timestamp::now();
            steps.were_planned(Period { began, ended });
        }
        self.state.memory.crowded.clear();
        self.state.memory.barred.clear();
        self.apply(intent, &jobs, round).await?;
        self.claim_later(round);
        if has_syncs {
            self.tell_own_plan(intent);
        }
        turn.end();
        self.trade(intent, &jobs, round).await;
        self.make_room(intent, &jobs, round).await;
        if look > Look::Changed || foreign || held_back {
            self.prune(intent, look, round).await?;
        }
        self.find_strays(intent, look, round).await;
        self.hooks_after(intent).await;
        self.keep_record(intent).await;
        Ok(())
    }

    /// Says that all that this Sync wants is known.
    fn tell_own_plan(&mut self, intent: &SyncIntent) {
        // Of what a dependency holds up, more is known than of the target.
        if self.state.blocked.is_some() {
            return;
        }
        // What it will want of the newest one was told when that came.
        if intent.pin.is_some() {
            return;
        }
        let target = self.state.target.as_ref();
        let planned = target.map(|target| target.revision.clone());
        // It has claimed what it wants.
        self.reserve_nothing();
        self.tell_plan(planned);
    }

    /// Works on the sorted jobs stage by stage, and handles each result as it comes. Stops before the
    /// next object if there is a newer spec or revision.
    async fn apply(
        &mut self,
        intent: &SyncIntent,
        jobs: &[Job],
        round: &mut Round,
    ) -> Result<(), Stopped> {
        if jobs.is_empty() {
            return Ok(());
        }
        round.worked = true;
        let first = match jobs.len() {
            ..MANY => REPORTS,
            MANY.. => FIRST_REPORT_OF_MANY,
        };
        let mut reports = tokio::time::interval_at(Instant::now() + first, REPORTS);
        reports.set_missed_tick_behavior(MissedTickBehavior::Delay);
        // A verification of applied objects is not progress to report.
        let is_news = self.state.report.content == Content::New;
        for stage in jobs.chunk_by(|a, b| stage_of(a) == stage_of(b)) {
            let mut done = std::pin::pin!(self.results(intent, stage));
            let mut finished = 0;
            loop {
                tokio::select! {
                    next = done.next() => {
                        let Some((index, result)) = next else { break };
                        let unavailable = matches!(result, Done::Failed(WriteError::Unavailable(_)));
                        self.settle(&stage[index], result, round);
                        if unavailable && !self.is_away(&stage[index].item.key.kind).await {
                            return Err(Stopped::Unavailable);
                        }
                        finished += 1;
                    }
                    _ = reports.tick(), if is_news => {
                        // Where many Syncs report their results, progress would only hold these up.
                        if self.context.statuses.are_at_their_limit() {
                            continue;
                        }
                        let progress = Round { worked: true, ..Round::default() };
                        self.report(intent, Phase::Busy, progress, Due::default()).await;
                    }
                }
            }
            if finished < stage.len() {
                return Err(Stopped::Superseded);
            }
        }
        let suspects = match intent.mode {
            Mode::Report => self.state.memory.drifted.keys().cloned().collect(),
            Mode::Correct => HashSet::new(),
        };
        self.context.cluster.inventory.suspect(&self.name, suspects);
        Ok(())
    }

    /// The only namespace in which this Sync may manage objects, if there is one.
    pub(in crate::sync) fn limit(&self, intent: &SyncIntent) -> Option<Limit<'_>> {
        self.context.limit(&self.name, intent)
    }

    /// Matches the target with objects of the cluster, and claims them. Makes sure that their kinds are
    /// watched and named on the parent.
    async fn resolve(&mut self, intent: &SyncIntent) -> Result<(), Stopped> {
        let Some(target) = &self.state.target else {
            return Ok(());
        };
        let cluster = &self.context.cluster;
        let (within, rules) = (self.limit(intent), &intent.ignore_fields);
        let mut objects = Objects::resolve(target, &cluster.kinds, within, rules);
        if !objects.waiting.is_empty() {
            // Custom kinds are reported by a watch. Kinds of aggregated API servers are not.
            if let Err(error) = cluster.discover().await {
                tracing::debug!(sync = %self.name, %error, "discovery");
            }
            objects = Objects::resolve(target, &cluster.kinds, within, rules);
        }
        let wanted: BTreeSet<GroupKind> = objects.kinds().into_iter().collect();
        // Kinds that left Git must be known too, so that their objects can be pruned.
        let known = wanted
            .union(&self.state.parent.contained)
            .cloned()
            .collect();
        let unlisted = self.watch(&known).await;
        // Objects of a kind that cannot be listed are not applied. The parent does not name such a kind,
        // because it would block the deletion of this Sync.
        let is_listed = |kind: &&GroupKind| !unlisted.iter().any(|(other, _)| other == *kind);
        let kinds: BTreeSet<GroupKind> = wanted.iter().filter(is_listed).cloned().collect();
        if let Err(error) = self.mark(&kinds).await {
            let error = crate::chain(&error);
            let message = format!("the Sync cannot be marked as an ApplySet's parent: {error}");
            tracing::warn!(sync = %self.name, message);
            self.state.blocked = Some(Box::new(Blocked {
                reason: Reason::ApiUnavailable,
                message,
                stalled: false,
            }));
            return Err(Stopped::Unavailable);
        }
        self.claim(intent, &mut objects).await;
        self.note_lost(&objects);
        let memory = &mut self.state.memory;
        memory.retain(|key| objects.items.contains_key(key));
        memory.kept.retain(|key| !objects.items.contains_key(key));
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
                // Without the list, the owner of the object is unknown.
                self.state.memory.records.remove(&key);
                self.state.memory.troubles.insert(key, trouble.clone());
            }
            self.state.memory.unlisted.insert(kind);
        }
        self.state.objects = objects;
        Ok(())
    }

    /// Waits for the first lists of `kinds`. Returns the kinds whose list failed, with the reason.
    pub(in crate::sync) async fn watch(
        &mut self,
        kinds: &BTreeSet<GroupKind>,
    ) -> Vec<(GroupKind, String)> {
        self.state.memory.unlisted.clear();
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

    /// Whether only the aggregated API server of this kind does not answer. Objects of other kinds are not concerned.
    async fn is_away(&self, kind: &GroupKind) -> bool {
        let cluster = &self.context.cluster;
        if let Err(error) = cluster.discover().await {
            tracing::debug!(sync = %self.name, %error, "discovery");
            return false;
        }
        cluster.kinds.is_away(kind)
    }

    /// The jobs for the changed objects, or for all objects.
    fn plan(
        &mut self,
        intent: &SyncIntent,
        dirty: HashSet<ObjectKey>,
        look: Look,
        round: &mut Round,
    ) -> Vec<Job> {
        let inventory = &self.context.cluster.inventory;
        let mut jobs = self.state.plan(intent.mode, dirty, look, inventory, round);
        if self.state.ahead.gives_up {
            // What another Sync has by now is no longer this one's to correct.
            jobs.retain(|job| inventory.holder(&self.name, &job.item.key).is_none());
        }
        for job in &mut jobs {
            job.may_be_replaced = replace::may_be(intent, &job.item, job.before.as_ref());
            let refused = self.state.memory.replaced_in_vain.get(&job.item.key);
            let refused = refused.filter(|(digest, _)| *digest == job.item.digest);
            job.replaced_in_vain = refused.map(|(_, why)| why.clone());
        }
        if let Some(target) = &self.state.target {
            apply::order(&mut jobs, target);
        }
        jobs
    }

    /// Handles the result of one job, and logs it.
    fn settle(&mut self, job: &Job, done: Done, round: &mut Round) {
        let key = &job.item.key;
        match done {
            Done::Applied {
                applied,
                contest,
                left,
                replaced,
            } => {
                self.state.memory.contested(key, contest, &left, round);
                let action = match replaced {
                    true => Some(Action::Replaced),
                    false => audit::action(&self.name, job, &applied),
                };
                // What was left to another controller was not put right.
                if let Some(action) = action.filter(|_| left.is_empty()) {
                    let writer = job.before.as_ref().and_then(|was| was.writer.as_deref());
                    let target = self.state.target.as_ref();
                    let file = target.and_then(|target| target.place(job.item.index));
                    audit::log(
                        &self.name,
                        action,
                        (key, &*applied.answer.uid),
                        target.map(|target| &target.seen),
                        file.as_deref(),
                        writer.filter(|_| action == Action::Healed),
                    );
                    self.state.memory.acted(job, action, round, Instant::now());
                }
                self.state.applied(job, *applied, round, Instant::now());
            }
            Done::Ran => self.state.memory.ran(key, job.item.digest),
            Done::Present => {
                let record = AppliedRecord::left_alone(job.item.digest);
                self.state.memory.stand(key, record);
            }
            Done::Differs(cause) => {
                let observed = self.context.cluster.inventory.get(key);
                let writer = observed.and_then(|observed| observed.writer);
                self.state.memory.differs(key, cause, writer);
            }
            Done::Failed(error) => {
                self.state.memory.failed(key, Trouble::from(&error));
                if error.is_only_allocated() {
                    self.state.memory.crowded.insert(key.clone());
                }
                if let Some(refusal) = error.refusal() {
                    self.state.memory.refused.insert(key.clone(), refusal);
                }
                if let WriteError::Unmarked { made, .. } = &error {
                    let known = self.state.memory.unmarked.entry(key.clone()).or_default();
                    *known = made.clone().or(known.take());
                }
                if is_without_namespace(&error) || error.is_denied() {
                    self.state.memory.homeless.insert(key.clone());
                }
            }
            Done::Troubled(trouble) => self.state.memory.failed(key, trouble),
            Done::Barred(trouble, barred) => {
                let memory = &mut self.state.memory;
                memory.failed(key, trouble);
                memory.crowded.insert(key.clone());
                memory.refused.insert(key.clone(), barred.refusal);
                memory.barred.insert(key.clone());
            }
            Done::ReplacedInVain(trouble, why) => {
                let memory = &mut self.state.memory;
                let refused = (job.item.digest, why);
                memory.replaced_in_vain.insert(key.clone(), refused);
                memory.failed(key, trouble);
            }
        }
    }
}

/// Whether the object's namespace does not exist, or is being deleted.
fn is_without_namespace(error: &WriteError) -> bool {
    match error {
        WriteError::NoNamespace { .. } => true,
        WriteError::Refused {
            code: 403, message, ..
        } => message.contains("being terminated"),
        _ => false,
    }
}

impl From<&WriteError> for Trouble {
    fn from(error: &WriteError) -> Self {
        Self {
            reason: match error {
                WriteError::NotServed => Reason::KindNotServed,
                WriteError::Unavailable(_) => Reason::ApiUnavailable,
                WriteError::Indivisible(_) => Reason::InvalidSpec,
                WriteError::Refused { .. }
                | WriteError::NoNamespace { .. }
                | WriteError::Unmarked { .. }
                | WriteError::Answer(_) => Reason::ApplyFailed,
            },
            message: shorten(&crate::chain(error), LONGEST_TROUBLE),
        }
    }
}
