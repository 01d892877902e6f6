//! Hooks of a chart, run at their moment.
//!
//! A hook is an action, and no state: its object is no member of the ApplySet, so it is neither healed nor pruned. The
//! status says which content of the chart hooks have run for, so that none runs twice for it, and a restart goes on
//! where the last process ended. A hook's object carries the mark of its run, in case that process ended before it
//! wrote the status. While a hook runs, the driver looks again after a pause, and holds no worker.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Instant;

use super::hook::{HookProgress, standing};
use crate::api::{ChartRelease, DELETION_POLICY, HookStage, RunningHook, Time};
use crate::desired::{Desired, Hook, Moment, Task};
use crate::intent::SyncIntent;
use crate::plan::{HookRun, hook_pause, hooks_at};
use crate::render::wasm::Lookup;
use crate::sync::Driver;
use crate::sync::target::{self, Loaded};
use crate::sync::timers::count;
use crate::sync::verdict::HookHold;

/// The shortest and the longest pause between two looks at a hook that runs. It grows with the time that the hook
/// takes.
const PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// The hooks of one moment.
struct Due<'d> {
    moment: Moment,
    /// In their order.
    all: Vec<&'d Hook>,
    run: HookRun,
}

impl Driver {
    /// Runs the hooks that stand before a release is applied. It may be applied if this is `Ok`.
    pub(in crate::sync) async fn hooks_before(
        &mut self,
        intent: &SyncIntent,
        revision: &str,
        desired: &Arc<Desired>,
    ) -> Result<(), HookHold> {
        let Some(release) = self.begun(revision, desired) else {
            return Ok(());
        };
        let is_first = self.state.report.status.release.is_none();
        let release = self
            .run_hooks(intent, desired, release, HookStage::BeforeApply)
            .await?;
        let applies = release.stage == HookStage::AfterApply;
        if applies && (is_first || !desired.hooks().is_empty()) {
            // A process that ends in the middle of an install must not leave an upgrade behind.
            return self.write_release().await;
        }
        Ok(())
    }

    /// Writes the status, if it has changed.
    async fn write_release(&mut self) -> Result<(), HookHold> {
        if !self.state.writing.written {
            self.write().await;
        }
        if !self.state.writing.written {
            self.state.timers.hook = Some(Instant::now() + PAUSE);
            let why = "the status, which says which hooks have run, cannot be written";
            return Err(HookHold::waits(why.to_owned()));
        }
        Ok(())
    }

    /// Runs the hooks that stand after the applies, once the target is applied in full.
    pub(super) async fn hooks_after(&mut self, intent: &SyncIntent) {
        self.state.hooks.hold = None;
        let Some(target) = &self.state.target else {
            return;
        };
        let desired = Arc::clone(&target.desired);
        let content = desired.release().map(|release| &release.content);
        let known = self.state.report.status.release.as_ref();
        let Some(release) = known.filter(|known| Some(&known.content) == content) else {
            return;
        };
        let is_due = matches!(release.stage, HookStage::AfterApply | HookStage::Test);
        if !is_due || !self.state.is_applied() {
            return;
        }
        let release = release.clone();
        self.note_behind(intent);
        let unhealthy = self.state.unhealthy(|key| self.health_counts(key));
        if intent.wait && !unhealthy.is_empty() {
            let moment = moment(release.stage, release.upgrade);
            let is_any = !hooks_at(desired.hooks(), moment).is_empty();
            let why =
                || format!("{moment} hooks begin when every object is healthy, as spec.wait says");
            self.state.hooks.hold = is_any.then(|| HookHold::waits(why()).into());
            return;
        }
        let ran = self.run_after(intent, &desired, release).await;
        self.state.hooks.hold = ran.err().map(Box::new);
    }

    async fn run_after(
        &mut self,
        intent: &SyncIntent,
        desired: &Arc<Desired>,
        mut release: ChartRelease,
    ) -> Result<(), HookHold> {
        for stage in [HookStage::AfterApply, HookStage::Test] {
            release = self.run_hooks(intent, desired, release, stage).await?;
        }
        Ok(())
    }

    /// Runs the hooks that stand before or after the deletion of a deleted Sync's objects.
    ///
    /// # Errors
    /// What is waited for.
    pub(super) async fn hooks_of_deletion(
        &mut self,
        intent: &SyncIntent,
        stage: HookStage,
    ) -> Result<(), String> {
        let known = self.state.report.status.release.clone();
        let Some(mut release) = known.filter(|known| known.on_deletion && known.stage <= stage)
        else {
            return Ok(());
        };
        if release.stage < HookStage::BeforeDelete {
            release = ChartRelease {
                stage: HookStage::BeforeDelete,
                done: 0,
                running: None,
                failures: 0,
                failure: None,
                ..release
            };
        }
        let ran = match self.last_desired(intent).await {
            Ok(Some(desired)) => {
                let ran = self.run_hooks(intent, &desired, release, stage).await;
                ran.map(drop)
            }
            Ok(None) => {
                tracing::warn!(sync = %self.name, "its source is gone, so that no hook for its deletion is known");
                Ok(())
            }
            Err(why) => Err(HookHold::waits(why)),
        };
        ran.map_err(|HookHold { message, .. }| {
            format!(
                "{message}; annotate the Sync with {DELETION_POLICY}=Orphan to let it go without its hooks"
            )
        })
    }

    /// Whether the target would be a new release, if Git asked for it again: another one was begun since. Its hooks
    /// run then, as for every new release, and its templates see another number.
    pub(in crate::sync) fn returns_to_target(&self) -> bool {
        let target = self.state.target.as_ref();
        let release = target.and_then(|target| target.desired.release());
        let known = self.state.report.status.release.as_ref();
        release.zip(known).is_some_and(|(release, known)| {
            release.content != known.content || known.stage == HookStage::BeforeApply
        })
    }

    /// How far the release is that `desired` is; none where that is no chart.
    fn begun(&self, revision: &str, desired: &Desired) -> Option<ChartRelease> {
        let release = desired.release()?;
        let known = self.state.report.status.release.as_ref();
        if let Some(known) = known.filter(|known| known.content == release.content) {
            return Some(known.clone());
        }
        let next = self.releases(revision).next;
        let is_live = known.is_none() && self.state.report.is_restored(revision);
        let mut hooks = desired.hooks().iter();
        Some(ChartRelease {
            revision: next.revision,
            upgrade: next.is_upgrade,
            content: release.content.clone(),
            stage: match is_live {
                true => HookStage::Done,
                false => HookStage::BeforeApply,
            },
            on_deletion: hooks.any(|hook| {
                let moments = [Moment::PreDelete, Moment::PostDelete];
                moments.iter().any(|moment| hook.moments.contains(moment))
            }),
            // It is that of the former content, until the new one has converged.
            record: known.and_then(|known| known.record.clone()),
            ..ChartRelease::default()
        })
    }

    /// The run that is due. Its id holds everything that tells two runs of the same hooks apart.
    fn hook_run(&self, moment: Moment, release: &ChartRelease) -> HookRun {
        let ChartRelease {
            revision,
            content,
            failures,
            ..
        } = release;
        let uid = self.inbox.uid().unwrap_or_default();
        let id = format!("{uid} {revision} {content} {failures}");
        HookRun::new(&self.context.key, &self.name, moment, &id)
    }

    /// Runs the hooks of a step one after the other, and then goes to the next step.
    async fn run_hooks(
        &mut self,
        intent: &SyncIntent,
        desired: &Arc<Desired>,
        mut release: ChartRelease,
        stage: HookStage,
    ) -> Result<ChartRelease, HookHold> {
        if release.stage != stage {
            self.keep(&release);
            return Ok(release);
        }
        let is_asked = std::mem::take(&mut self.state.hooks.run_again);
        let is_pausing = release.running.is_none() && release.done == 0 && !is_asked;
        if let Some(failure) = release.failure.clone().filter(|_| is_pausing) {
            let at = Instant::now() + hook_pause(release.failures);
            self.state.timers.hook.get_or_insert(at);
            return Err(HookHold::failed(failure));
        }
        let moment = moment(stage, release.upgrade);
        let hooks = Due {
            moment,
            all: hooks_at(desired.hooks(), moment),
            run: self.hook_run(moment, &release),
        };
        let done = position(&release);
        for (position, hook) in hooks.all.iter().enumerate().skip(done) {
            if let Err(failure) = self.look_once(intent, &hooks, hook, &mut release).await? {
                return Err(self.fail(intent, &hooks, hook, release, failure).await);
            }
            release.done = count(position + 1);
            release.running = None;
            self.keep(&release);
            // Before anything is deleted or begun that a restart could not tell from what has not run.
            self.write_release().await?;
        }
        for hook in hooks.all.iter().rev().filter(|hook| hook.delete.succeeded) {
            self.delete_run(intent, hook, &hooks.run).await;
        }
        release.stage = next(stage);
        (release.done, release.failure) = (0, None);
        self.keep(&release);
        Ok(release)
    }

    /// One look at a hook. The inner error says why it has failed.
    async fn look_once(
        &mut self,
        intent: &SyncIntent,
        hooks: &Due<'_>,
        hook: &Hook,
        release: &mut ChartRelease,
    ) -> Result<Result<(), String>, HookHold> {
        let now = Timestamp::now();
        let placed = self.place(intent, hook).await;
        let object = match &placed {
            Ok(placed) => placed.key.to_string(),
            Err(_) => hook.object.key().to_string(),
        };
        let name = format!("{} hook {object} ({})", hooks.moment, hook.file);
        let failed = |why: String| Ok(Err(format!("{name} failed: {why}")));
        let before = release.running.take();
        let mut running =
            before
                .filter(|running| running.object == object)
                .unwrap_or(RunningHook {
                    object,
                    since: Time(now),
                    made: false,
                    uid: None,
                });
        let looked = match placed {
            Ok(placed) => {
                let run = &hooks.run;
                self.look_at_hook(intent, &placed, run, &mut running).await
            }
            Err(progress) => progress,
        };
        let taken = now.duration_since(running.since.0).unsigned_abs();
        let why = match looked {
            HookProgress::Done => return Ok(Ok(())),
            HookProgress::Failed(why) => return failed(why),
            HookProgress::Waits(why) => why,
            HookProgress::Runs(key, live) => match taken > intent.timeout {
                true => {
                    let why = standing(&key.kind, &live);
                    self.in_words(intent, (hook, &key), &live, why).await
                }
                false => standing(&key.kind, &live),
            },
        };
        if taken > intent.timeout {
            let limit = intent.timeout;
            return failed(format!(
                "it has not ended within spec.timeout ({limit:?}): {why}"
            ));
        }
        release.running = Some(running);
        self.keep(release);
        self.state.timers.hook = Some(Instant::now() + (taken / 5).clamp(PAUSE, LONGEST_PAUSE));
        // Until another try has succeeded, people see why the last one failed.
        Err(match &release.failure {
            Some(failure) => HookHold::failed(failure.clone()),
            None => HookHold::waits(format!("waiting for {name}: {why}")),
        })
    }

    /// Takes note that a hook has failed. All hooks of the step run again after a pause.
    async fn fail(
        &mut self,
        intent: &SyncIntent,
        hooks: &Due<'_>,
        failed: &Hook,
        mut release: ChartRelease,
        failure: String,
    ) -> HookHold {
        let done = position(&release);
        release.failures = release.failures.saturating_add(1);
        release.failure = Some(failure.clone());
        (release.done, release.running) = (0, None);
        self.keep(&release);
        self.write().await;
        if failed.delete.failed {
            self.delete_run(intent, failed, &hooks.run).await;
        }
        let succeeded = hooks.all.iter().take(done).rev();
        for hook in succeeded.filter(|hook| hook.delete.succeeded) {
            self.delete_run(intent, hook, &hooks.run).await;
        }
        self.state.timers.hook = Some(Instant::now() + hook_pause(release.failures));
        HookHold::failed(failure)
    }

    /// What the chart of a deleted Sync says, to know its hooks; none where its source is gone.
    async fn last_desired(&mut self, intent: &SyncIntent) -> Result<Option<Arc<Desired>>, String> {
        if let Some(target) = &self.state.target {
            return Ok(Some(Arc::clone(&target.desired)));
        }
        self.inbox.follow(&self.context, &self.name, intent);
        let what = "the hooks of the chart for its deletion";
        let Some(newest) = self.inbox.newest() else {
            return match self.inbox.has_no_source() {
                true => Ok(None),
                false => Err(format!(
                    "waiting for GitRepository {} to read {what}",
                    self.inbox.awaited_source(intent)
                )),
            };
        };
        let (context, namespace) = (&self.context, &self.name.namespace);
        let looked_up = self.inbox.lookups.version();
        let inputs = &mut self.inbox.inputs;
        let inputs = inputs.read(context, namespace, &intent.inputs, looked_up);
        let unread = |why: String| format!("{what} cannot be read: {why}");
        let inputs = inputs.await.map_err(|error| unread(crate::chain(&error)))?;
        let task = Task {
            tree: newest.snapshot.clone(),
            chart: newest.chart_tree(),
            bases: self.inbox.bases.trees(&newest.access),
            intent: target::scope(intent, &newest).into_owned(),
            inputs,
            renderers: self.context.renderers.clone(),
            tenant: self.name.namespace.clone(),
            releases: self.releases(&newest.name()),
            lookup: self
                .answers(intent)
                .map(|lookups| lookups as Arc<dyn Lookup>),
            kept_for: Some(self.name.name.clone()),
        };
        let loaded = target::load(&newest, task, None, &mut self.state.cache).await;
        match loaded.map_err(|error| unread(target::explain(&error)))? {
            Loaded::New(target) => {
                let desired = Arc::clone(&target.desired);
                self.state.target = Some(*target);
                Ok(Some(desired))
            }
            Loaded::Same => Ok(None),
        }
    }

    /// Puts the release into the status, which a later step writes.
    fn keep(&mut self, release: &ChartRelease) {
        let known = &mut self.state.report.status.release;
        if known.as_ref() != Some(release) {
            *known = Some(release.clone());
            self.state.writing.written = false;
        }
    }
}

/// The hooks of the step that have run.
fn position(release: &ChartRelease) -> usize {
    usize::try_from(release.done).unwrap_or(usize::MAX)
}

fn moment(stage: HookStage, upgrade: bool) -> Moment {
    match (stage, upgrade) {
        (HookStage::BeforeApply, false) => Moment::PreInstall,
        (HookStage::BeforeApply, true) => Moment::PreUpgrade,
        (HookStage::Test, _) => Moment::Test,
        (HookStage::BeforeDelete, _) => Moment::PreDelete,
        (HookStage::AfterDelete | HookStage::Deleted, _) => Moment::PostDelete,
        (HookStage::AfterApply | HookStage::Done, false) => Moment::PostInstall,
        (HookStage::AfterApply | HookStage::Done, true) => Moment::PostUpgrade,
    }
}

fn next(stage: HookStage) -> HookStage {
    match stage {
        HookStage::BeforeApply => HookStage::AfterApply,
        HookStage::AfterApply => HookStage::Test,
        HookStage::Test | HookStage::Done => HookStage::Done,
        HookStage::BeforeDelete => HookStage::AfterDelete,
        HookStage::AfterDelete | HookStage::Deleted => HookStage::Deleted,
    }
}
