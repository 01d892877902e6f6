//! Decides what is to be done about each object, and takes note of what was done. No I/O.

use std::collections::HashSet;
use std::sync::Arc;

use tokio::time::Instant;

use crate::cluster::{Applied, Inventory};
use crate::desired::Item;
use crate::intent::Mode;
use crate::manifest::ObjectKey;
use crate::plan::{AppliedRecord, ApplyCause, Contest, Judgement, Observed, Relinquished, judge};
use crate::sync::audit::Action;
use crate::sync::job::{Job, Task};
use crate::sync::memory::{CorrectionBackoff, Memory, Trouble};
use crate::sync::report::Round;
use crate::sync::state::{Look, State};

impl State {
    /// The jobs for the changed objects, or for all objects.
    pub(super) fn plan(
        &mut self,
        mode: Mode,
        mut dirty: HashSet<ObjectKey>,
        look: Look,
        inventory: &Inventory,
        round: &mut Round,
    ) -> Vec<Job> {
        let target = self.target.as_ref();
        let restored = target.is_some_and(|target| self.report.is_restored(&target.revision));
        let memory = &mut self.memory;
        if look == Look::Verify {
            // Without records, every object is applied again. The API server does not write an object
            // that does not change.
            memory.records.clear();
        }
        dirty.extend(memory.again.drain());
        let now = Instant::now();
        let mut jobs = Vec::new();
        let mut correct_at: Option<Instant> = None;
        let candidates: Box<dyn Iterator<Item = &Item> + Send> = match look {
            Look::Changed => Box::new(dirty.iter().filter_map(|key| self.objects.items.get(key))),
            Look::Everything | Look::Verify => Box::new(self.objects.items.values()),
        };
        for item in candidates {
            if memory.unlisted.contains(&item.key.kind) {
                continue;
            }
            let observed = inventory.get(&item.key);
            if inventory.finished(&item.key).as_deref() == Some(&*item.digest.to_string()) {
                memory.finished.insert(item.key.clone(), item.digest);
            }
            if memory.has_vanished(item, observed.as_ref(), inventory) {
                memory.ran(&item.key, item.digest);
                round.vanished.push(item.key.clone());
                continue;
            }
            match memory.judge(item, observed, mode, restored, now) {
                Next::Nothing => (),
                Next::Work(job) => jobs.push(*job),
                Next::Wait { until, again } => {
                    round.delayed += usize::from(!again);
                    correct_at = Some(correct_at.map_or(until, |first| first.min(until)));
                }
            }
        }
        if look > Look::Changed && memory.unlisted.is_empty() {
            memory.runs.all_seen();
        }
        self.timers.correct = correct_at.or(self.timers.correct);
        jobs
    }

    /// Records that an object was applied.
    pub(super) fn applied(&mut self, job: &Job, applied: Applied, round: &mut Round, now: Instant) {
        let key = &job.item.key;
        let memory = &mut self.memory;
        let Applied {
            answer,
            current,
            rewritten,
            ..
        } = applied;
        if let Some(warning) = memory.rewritten(key, rewritten) {
            round.rewritten.push((key.clone(), warning));
        }
        if !answer.health.is_current() {
            memory.unhealthy.insert(key.clone(), answer.health.clone());
        }
        let record = AppliedRecord::of(job.item.digest, &answer);
        memory.records.insert(key.clone(), record);
        memory.runs.made(key, &job.item.digest);
        memory.troubles.remove(key);
        memory.homeless.remove(key);
        if memory.finished.get(key) != Some(&job.item.digest) {
            memory.finished.remove(key);
        }
        if !current {
            memory.again.insert(key.clone());
            self.timers.correct = Some(now);
        }
    }
}

/// The next step for one object.
enum Next {
    Nothing,
    Work(Box<Job>),
    /// Correct it later, because it keeps being changed. With `again`, it was waiting before.
    Wait {
        until: Instant,
        again: bool,
    },
}

impl Memory {
    /// Whether an object that runs once was made for this manifest, and went while nobody looked. It may have finished
    /// its run. One that was seen to go before it had finished is forgotten.
    fn has_vanished(
        &mut self,
        item: &Item,
        observed: Option<&Observed>,
        inventory: &Inventory,
    ) -> bool {
        let Item { key, digest, .. } = item;
        let was_made_before = self.runs.take_before(key, digest);
        match observed {
            _ if self.finished.get(key) == Some(digest) => false,
            Some(observed) => {
                if was_made_before && !observed.deleting {
                    self.runs.made(key, digest);
                }
                false
            }
            None if was_made_before => true,
            None if inventory.has_vanished(key) => self.runs.was_made(key, digest),
            None => {
                self.runs.deleted(key);
                false
            }
        }
    }

    fn judge(
        &mut self,
        item: &Item,
        observed: Option<Observed>,
        mode: Mode,
        restored: bool,
        now: Instant,
    ) -> Next {
        let key = &item.key;
        let record = self.records.get(key);
        let was_drifted = self.drifted.remove(key).is_some();
        self.left_alone.remove(key);
        let suspect = was_drifted && mode == Mode::Report;
        match observed.as_ref().map(|observed| &observed.health) {
            Some(health) if health.is_current() => drop(self.unhealthy.remove(key)),
            Some(health) => drop(self.unhealthy.insert(key.clone(), health.clone())),
            None => (),
        }
        let is_gone = observed.as_ref().is_none_or(|observed| observed.deleting);
        if is_gone && self.finished.get(key) == Some(&item.digest) {
            self.ran(key, item.digest);
            return Next::Nothing;
        }
        let judged = judge(
            &item.digest,
            item.modes,
            record,
            observed.as_ref(),
            mode,
            restored,
        );
        let task = match judged {
            Judgement::LeftAlone => {
                self.leave(item, observed.as_ref());
                return Next::Nothing;
            }
            Judgement::InSync if !suspect => return Next::Nothing,
            Judgement::Apply(cause) => {
                let wait = self.corrections.get(key).map(CorrectionBackoff::next);
                if let Some(until) = wait.filter(|at| *at > now && cause.is_drift()) {
                    let writer = observed.and_then(|observed| observed.writer);
                    self.drifted.insert(key.clone(), (cause, writer));
                    self.again.insert(key.clone());
                    let again = was_drifted;
                    return Next::Wait { until, again };
                }
                Task::Apply(cause)
            }
            Judgement::Compare | Judgement::InSync => Task::Compare,
            Judgement::Terminating => {
                // What holds it is of more use than who wrote it last.
                let held_by = observed.and_then(|observed| observed.held_by);
                self.drifted
                    .insert(key.clone(), (ApplyCause::Leaving, held_by));
                return Next::Nothing;
            }
        };
        let cause = match task {
            Task::Apply(cause) => cause,
            Task::Compare => ApplyCause::Drifted,
        };
        Next::Work(Box::new(Job {
            item: item.clone(),
            task,
            contest: self.contest(key, observed.as_ref()),
            contested: self.is_contested(key, cause, observed.as_ref(), now),
            restored,
            may_be_replaced: false,
            replaced_in_vain: None,
            made: self.made(key),
            before: observed,
        }))
    }

    /// The uid of an object that this Sync has made, if it has.
    fn made(&self, key: &ObjectKey) -> Option<Arc<str>> {
        let record = self.records.get(key).filter(|record| !record.adopted);
        let known = record.map(|record| &record.uid);
        let unmarked = self.unmarked.get(key).and_then(Option::as_ref);
        known.or(unmarked).cloned()
    }

    /// Takes note of the fields that others write, and of those that are left to them from now on.
    pub(super) fn contested(
        &mut self,
        key: &ObjectKey,
        contest: Contest,
        left: &[Relinquished],
        round: &mut Round,
    ) {
        match contest == Contest::default() {
            true => drop(self.contests.remove(key)),
            false => drop(self.contests.insert(key.clone(), contest)),
        }
        let left = left.iter().map(|left| (key.clone(), left.clone()));
        round.left.extend(left);
    }

    /// Records the changes of an apply.
    pub(super) fn acted(&mut self, job: &Job, action: Action, round: &mut Round, now: Instant) {
        let key = &job.item.key;
        if action != Action::Healed {
            round.changes.push((action, key.clone()));
            return;
        }
        let backoff = CorrectionBackoff::again(self.corrections.get(key), now);
        self.corrections.insert(key.clone(), backoff);
        let before = job.before.as_ref();
        let writer = before.and_then(|before| before.writer.clone());
        round.healed.push((key.clone(), writer));
    }

    pub(super) fn differs(&mut self, key: &ObjectKey, cause: ApplyCause, writer: Option<Box<str>>) {
        self.troubles.remove(key);
        self.drifted.insert(key.clone(), (cause, writer));
    }

    pub(super) fn failed(&mut self, key: &ObjectKey, trouble: Trouble) {
        self.records.remove(key);
        self.homeless.remove(key);
        self.troubles.insert(key.clone(), trouble);
    }
}
