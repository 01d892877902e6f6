//! Carrying out a plan: objects stage by stage, a bounded number at once, until a newer target comes.

use std::sync::Arc;
use std::time::Duration;

use futures::{Stream, StreamExt as _, stream};
use tokio::time::{Instant, MissedTickBehavior};

use super::memory::Trouble;
use super::report::Round;
use super::target::Target;
use super::{Driver, bodies};
use crate::api::Sync;
use crate::cluster::{Actor, Applied, Cluster, Compared, WriteError};
use crate::desired::Item;
use crate::manifest::Manifest;
use crate::plan::{Cause, Observed, Stage, SyncName, apply_order, stamped};

/// Requests at once of one Sync.
const PARALLEL: usize = 12;

/// How often a long apply is reported on, and when first.
const FIRST_REPORT: Duration = Duration::from_millis(500);
const REPORTS: Duration = Duration::from_secs(5);

/// One object to work on.
#[derive(Clone)]
pub(super) struct Job {
    pub(super) item: Item,
    pub(super) task: Task,
    /// What was known of the object when the job was made.
    pub(super) before: Option<Observed>,
}

/// What to do with it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Task {
    /// Apply it.
    Apply(Cause),
    /// Find out whether it differs, and change no value.
    Compare,
}

/// What came of a job.
pub(super) enum Done {
    /// It was applied.
    Applied(Applied),
    /// Its values are other than Git's, or it is gone.
    Differs(Cause),
    /// It could not be applied.
    Failed(WriteError),
    /// Its manifest could not be read again.
    Unreadable(Trouble),
}

/// Why jobs were left undone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stopped {
    /// A newer target or spec is there.
    Superseded,
    /// The API server cannot be reached.
    Unavailable,
}

/// Sorts jobs into the order in which they are worked on.
pub(super) fn order(jobs: &mut [Job], target: &Target) {
    apply_order(jobs, |job| {
        let place = target.desired.provenance(job.item.index);
        let (file, document) = place.map_or(("", 0), |place| (place.file(), place.document));
        (job.item.key.kind.clone(), file, document)
    });
}

impl Driver {
    /// Works on ordered `jobs`, and takes every result as it comes. A newer spec or revision stops it
    /// before the next object.
    pub(super) async fn work(
        &mut self,
        object: &Sync,
        target: &Target,
        jobs: &[Job],
        round: &mut Round,
    ) -> Result<(), Stopped> {
        let mut reports = tokio::time::interval_at(Instant::now() + FIRST_REPORT, REPORTS);
        reports.set_missed_tick_behavior(MissedTickBehavior::Delay);
        for stage in jobs.chunk_by(|a, b| stage_of(a) == stage_of(b)) {
            let mut done = std::pin::pin!(self.results(target, stage));
            let mut finished = 0;
            loop {
                tokio::select! {
                    next = done.next() => {
                        let Some((index, result)) = next else { break };
                        let unavailable = matches!(result, Done::Failed(WriteError::Unavailable(_)));
                        self.settle(target, &stage[index], result, round);
                        if unavailable {
                            return Err(Stopped::Unavailable);
                        }
                        finished += 1;
                    }
                    // A verification of what is live already is no progress to report.
                    _ = reports.tick(), if !self.report.announced => {
                        self.report.busy = true;
                        self.write_with(object, Some(target)).await;
                        self.report.busy = false;
                    }
                }
            }
            if finished < stage.len() {
                return Err(Stopped::Superseded);
            }
        }
        Ok(())
    }

    /// The results of one stage's jobs, by index. It borrows nothing of the driver, which takes them.
    fn results(
        &self,
        target: &Target,
        stage: &[Job],
    ) -> impl Stream<Item = (usize, Done)> + Send + use<> {
        let desired = Arc::clone(&target.desired);
        let wanted = stage.iter().map(|job| job.item.index).collect();
        let mut read = bodies::read(target.seen.snapshot.clone(), desired, wanted);
        let manifests = stream::poll_fn(move |context| read.poll_recv(context));
        let superseded = self.superseded_later();
        let (context, owner) = (Arc::clone(&self.context), self.name.clone());
        let actor = self.actor();
        let work: Vec<(Item, Task)> = stage
            .iter()
            .map(|job| (job.item.clone(), job.task))
            .collect();
        manifests
            .take_while(move |_| std::future::ready(!superseded()))
            .map(move |(index, manifest)| {
                let (item, task) = work[index].clone();
                let (context, owner) = (Arc::clone(&context), owner.clone());
                let actor = actor.clone();
                async move {
                    let cluster = &context.cluster;
                    let done = one(cluster, &actor, &owner, &item, task, manifest).await;
                    (index, done)
                }
            })
            .buffer_unordered(PARALLEL)
    }

    /// Asks whether a newer spec or revision makes the work at hand pointless.
    fn superseded_later(&self) -> impl Fn() -> bool + Send + use<> {
        let (object, source) = (self.object.clone(), self.wake.source_receiver());
        move || {
            object.has_changed().unwrap_or(true)
                || source.as_ref().is_some_and(|source| source.has_changed())
        }
    }
}

fn stage_of(job: &Job) -> Stage {
    Stage::of(&job.item.key.kind)
}

async fn one(
    cluster: &Cluster,
    actor: &Actor,
    owner: &SyncName,
    item: &Item,
    task: Task,
    manifest: Result<Manifest, Trouble>,
) -> Done {
    let Item { key, digest, .. } = item;
    let manifest = match manifest {
        Ok(manifest) => manifest,
        Err(error) => return Done::Unreadable(error),
    };
    let Some(served) = cluster.kinds.get(&manifest.gvk) else {
        return Done::Failed(WriteError::NotServed);
    };
    let acting = cluster.as_(actor);
    let body = match task {
        Task::Apply(_) => stamped(manifest, key, owner, digest, None),
        Task::Compare => {
            let body = stamped(manifest.clone(), key, owner, digest, None);
            match acting.compare(&served, key, &body).await {
                Ok(Compared::Gone) => return Done::Differs(Cause::Missing),
                Ok(Compared::Differs) => return Done::Differs(Cause::Drifted),
                Err(error) => return Done::Failed(error),
                // Taking our share in `managedFields` back changes no value, on condition that the
                // object is still the one that was compared.
                Ok(Compared::Equal(version)) => {
                    stamped(manifest, key, owner, digest, Some(&version))
                }
            }
        }
    };
    match acting.apply(&served, key, &body).await {
        Ok(applied) => Done::Applied(applied),
        Err(WriteError::Refused { code: 409, .. }) if task == Task::Compare => {
            Done::Differs(Cause::Drifted)
        }
        Err(error) => Done::Failed(error),
    }
}
