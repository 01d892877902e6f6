//! Carrying out a plan: objects stage by stage, a bounded number at once, until a newer target comes.

use std::sync::Arc;

use futures::{Stream, StreamExt as _, stream};
use tokio::sync::mpsc;

use crate::cluster::{Actor, Applied, Applying, Cluster, Compared, WriteError};
use crate::desired::Item;
use crate::manifest::Manifest;
use crate::plan::{ApplyCause, Observed, Stage, SyncName, apply_order, stamped};
use crate::sync::memory::Trouble;
use crate::sync::target::Target;
use crate::sync::{Driver, bodies};

/// Requests at once of one Sync.
const PARALLEL: usize = 12;

/// One object to work on.
#[derive(Clone)]
pub(in crate::sync) struct Job {
    pub(in crate::sync) item: Item,
    pub(in crate::sync) task: Task,
    /// What was known of the object when the job was made.
    pub(in crate::sync) before: Option<Observed>,
}

/// What to do with it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(in crate::sync) enum Task {
    /// Apply it.
    Apply(ApplyCause),
    /// Find out whether it differs, and change no value.
    Compare,
}

/// What came of a job.
pub(in crate::sync) enum Done {
    /// It was applied.
    Applied(Applied),
    /// Its values are other than Git's, or it is gone.
    Differs(ApplyCause),
    /// It could not be applied.
    Failed(WriteError),
    /// Its manifest could not be read again.
    Unreadable(Trouble),
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
    /// The results of one stage's jobs, by index. It borrows nothing of the driver, which takes them.
    pub(super) fn results(
        &self,
        stage: &[Job],
    ) -> impl Stream<Item = (usize, Done)> + Send + use<> {
        let wanted = stage.iter().map(|job| job.item.index).collect();
        let mut read = match &self.state.target {
            Some(target) => bodies::read(
                target.seen.snapshot.clone(),
                Arc::clone(&target.desired),
                wanted,
            ),
            None => mpsc::channel(1).1,
        };
        let manifests = stream::poll_fn(move |context| read.poll_recv(context));
        let superseded = self.inbox.superseded_later();
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
}

pub(super) fn stage_of(job: &Job) -> Stage {
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
                Ok(Compared::Gone) => return Done::Differs(ApplyCause::Missing),
                Ok(Compared::Differs) => return Done::Differs(ApplyCause::Drifted),
                Err(error) => return Done::Failed(error),
                // Taking our share in `managedFields` back changes no value, on condition that the
                // object is still the one that was compared.
                Ok(Compared::Equal(version)) => {
                    stamped(manifest, key, owner, digest, Some(&version))
                }
            }
        }
    };
    let applying = match task {
        Task::Apply(_) => Applying::Whole,
        Task::Compare => Applying::Declared,
    };
    match acting.apply(&served, key, &body, applying).await {
        Ok(applied) => Done::Applied(applied),
        Err(WriteError::Refused { code: 409, .. }) if task == Task::Compare => {
            Done::Differs(ApplyCause::Drifted)
        }
        Err(error) => Done::Failed(error),
    }
}
