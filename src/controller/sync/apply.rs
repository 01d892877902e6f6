//! Carrying out a plan: objects stage by stage, a bounded number at once, until a newer target comes.

use std::sync::Arc;
use std::time::Duration;

use futures::{StreamExt as _, stream};

use super::bodies;
use super::target::{Item, Target};
use crate::cluster::{Cluster, WriteError};
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
    /// It was applied; `current`: nothing newer is known of it.
    Applied { answer: Observed, current: bool },
    /// Its values are other than Git's.
    Differs,
    /// It could not be applied.
    Failed(WriteError),
    /// Its manifest could not be read again.
    Unreadable(String),
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
    let entries = target.rendered.entries();
    apply_order(jobs, |job| {
        let entry = &entries[job.item.entry];
        (job.item.key.kind.clone(), &*entry.file, entry.document)
    });
}

/// Works on ordered `jobs`. `take` gets every result as it comes; `report` is called now and then while
/// it takes long; `superseded` is asked before each object.
pub(super) async fn run(
    cluster: &Cluster,
    owner: &SyncName,
    target: &Target,
    jobs: &[Job],
    superseded: impl Fn() -> bool,
    mut progress: impl AsyncFnMut(Progress<'_>),
) -> Result<(), Stopped> {
    let mut reports = tokio::time::interval_at(tokio::time::Instant::now() + FIRST_REPORT, REPORTS);
    reports.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    for stage in jobs.chunk_by(|a, b| Stage::of(&a.item.key.kind) == Stage::of(&b.item.key.kind)) {
        let entries = target.rendered.entries();
        let wanted = stage.iter().enumerate();
        let wanted = wanted.map(|(index, job)| (index, entries[job.item.entry].clone())).collect();
        let mut read = bodies::read(Arc::clone(&target.seen.snapshot), wanted);
        let manifests = stream::poll_fn(|context| read.poll_recv(context));
        let mut work = std::pin::pin!(
            manifests
                .take_while(|_| std::future::ready(!superseded()))
                .map(|(index, manifest)| {
                    let job = &stage[index];
                    async move { (job, one(cluster, owner, target, job, manifest).await) }
                })
                .buffer_unordered(PARALLEL)
        );
        let mut finished = 0;
        loop {
            tokio::select! {
                next = work.next() => {
                    let Some((job, done)) = next else { break };
                    let unavailable = matches!(done, Done::Failed(WriteError::Unavailable(_)));
                    progress(Progress::Done(job, done)).await;
                    if unavailable {
                        return Err(Stopped::Unavailable);
                    }
                    finished += 1;
                }
                _ = reports.tick() => progress(Progress::Tick).await,
            }
        }
        if finished < stage.len() {
            return Err(Stopped::Superseded);
        }
    }
    Ok(())
}

/// What `run` tells.
pub(super) enum Progress<'a> {
    /// A job is done.
    Done(&'a Job, Done),
    /// It takes long.
    Tick,
}

async fn one(
    cluster: &Cluster,
    owner: &SyncName,
    target: &Target,
    job: &Job,
    manifest: Result<Manifest, String>,
) -> Done {
    let Item { key, digest, entry } = &job.item;
    let manifest = match manifest {
        Ok(manifest) => manifest,
        Err(error) => return Done::Unreadable(error),
    };
    let Some(served) = cluster.kinds.get(&target.rendered.entries()[*entry].gvk) else {
        return Done::Failed(WriteError::NotServed);
    };
    let body = match job.task {
        Task::Apply(_) => stamped(manifest, key, owner, digest, None),
        Task::Compare => {
            let body = stamped(manifest.clone(), key, owner, digest, None);
            match cluster.equal(&served, key, &body).await {
                Ok(None) => return Done::Differs,
                Err(error) => return Done::Failed(error),
                // Taking our share in `managedFields` back changes no value, on condition that the
                // object is still the one that was compared.
                Ok(Some(version)) => stamped(manifest, key, owner, digest, Some(&version)),
            }
        }
    };
    match cluster.apply(&served, key, &body).await {
        Ok((answer, current)) => Done::Applied { answer, current },
        Err(WriteError::Refused { code: 409, .. }) if job.task == Task::Compare => Done::Differs,
        Err(error) => Done::Failed(error),
    }
}
