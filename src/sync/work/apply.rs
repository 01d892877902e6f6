//! Executes a plan: applies objects stage by stage, several at once, until a newer target comes.

use std::sync::Arc;

use futures::{Stream, StreamExt as _, stream};
use tokio::sync::mpsc;

use crate::cluster::{Actor, Applied, Applying, Cluster, Compared, WriteError};
use crate::desired::Item;
use crate::intent::SyncIntent;
use crate::manifest::{FieldPath, Manifest};
use crate::plan::{ApplyCause, Observed, Stage, SyncName, apply_order, stamped};
use crate::render;
use crate::sync::memory::Trouble;
use crate::sync::target::Target;
use crate::sync::{Driver, bodies};

/// The most requests of one Sync at once.
const PARALLEL: usize = 12;

/// One object to work on.
#[derive(Clone)]
pub(in crate::sync) struct Job {
    pub(in crate::sync) item: Item,
    pub(in crate::sync) task: Task,
    /// The known state of the object when the job was created.
    pub(in crate::sync) before: Option<Observed>,
}

/// The work on the object.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(in crate::sync) enum Task {
    /// Apply it.
    Apply(ApplyCause),
    /// Find out whether the object differs, without changing a value.
    Compare,
}

/// The result of a job.
pub(in crate::sync) enum Done {
    /// The object was applied.
    Applied(Applied),
    /// The object's values differ from Git's, or the object is gone.
    Differs(ApplyCause),
    /// The object could not be applied.
    Failed(WriteError),
    /// The object's manifest could not be read again.
    Unreadable(Trouble),
}

/// Sorts jobs into the order of application.
pub(super) fn order(jobs: &mut [Job], target: &Target) {
    apply_order(jobs, |job| {
        let place = target.desired.provenance(job.item.index);
        let (file, document) = place.map_or(("", 0), |place| (place.file(), place.document));
        (job.item.key.kind.clone(), file, document)
    });
}

impl Driver {
    /// The results of one stage's jobs, by index. The stream borrows nothing from the driver, which
    /// consumes it.
    pub(super) fn results(
        &self,
        intent: &SyncIntent,
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
        let actor = self.actor(intent);
        let desired = self.state.target.as_ref().map(|target| &target.desired);
        let kept = |index| desired.map_or(&[][..], |desired| desired.generated(index));
        let work: Vec<(Item, Task, Vec<FieldPath>)> = stage
            .iter()
            .map(|job| (job.item.clone(), job.task, kept(job.item.index).to_vec()))
            .collect();
        manifests
            .take_while(move |_| std::future::ready(!superseded()))
            .map(move |(index, manifest)| {
                let (item, task, kept) = work[index].clone();
                let (context, owner) = (Arc::clone(&context), owner.clone());
                let actor = actor.clone();
                async move {
                    let cluster = &context.cluster;
                    let done = one(cluster, &actor, &owner, &item, task, manifest, &kept).await;
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
    kept: &[FieldPath],
) -> Done {
    let Item { key, digest, .. } = item;
    let mut manifest = match manifest {
        Ok(manifest) => manifest,
        Err(error) => return Done::Unreadable(error),
    };
    let Some(served) = cluster.kinds.get(&manifest.gvk) else {
        return Done::Failed(WriteError::NotServed);
    };
    let acting = cluster.as_(actor);
    // What was drawn at random is made once: the live object's values stay.
    if !kept.is_empty() {
        match acting.live(&served, key).await {
            Ok(Some(live)) => render::keep(&mut manifest.body, &live, kept),
            Ok(None) => (),
            Err(error) => return Done::Failed(error),
        }
    }
    let seal = cluster.inventory.seal(owner, key);
    let body = match task {
        Task::Apply(_) => stamped(manifest, &seal, digest, None),
        Task::Compare => {
            let body = stamped(manifest.clone(), &seal, digest, None);
            match acting.compare(&served, &seal, &body).await {
                Ok(Compared::Gone) => return Done::Differs(ApplyCause::Missing),
                Ok(Compared::Differs) => return Done::Differs(ApplyCause::Drifted),
                Err(error) => return Done::Failed(error),
                // Applying takes back our share in `managedFields` and changes no value, because it is
                // conditional on the compared version of the object.
                Ok(Compared::Equal(version)) => stamped(manifest, &seal, digest, Some(&version)),
            }
        }
    };
    let applying = match task {
        Task::Apply(_) => Applying::Whole,
        Task::Compare => Applying::Declared,
    };
    match acting.apply(&served, &seal, &body, applying).await {
        Ok(applied) => Done::Applied(applied),
        Err(WriteError::Refused { code: 409, .. }) if task == Task::Compare => {
            Done::Differs(ApplyCause::Drifted)
        }
        Err(error) => Done::Failed(error),
    }
}
