//! Executes a plan: applies objects stage by stage, several at once, until a newer target comes.

use std::sync::Arc;

use futures::{Stream, StreamExt as _, stream};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde_json::Value;
use tokio::sync::mpsc;

use crate::cluster::{Acting, Actor, Applied, Applying, Cluster, Compared, ServedKind, WriteError};
use crate::desired::Item;
use crate::intent::SyncIntent;
use crate::manifest::{FieldPath, Manifest};
use crate::plan::{
    ApplyCause, Contest, Observed, Relinquished, Seal, Stage, SyncName, Taken, apply_order,
    stamped, taken, taken_for_good,
};
use crate::render;
use crate::sync::bodies::Held;
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
    /// The fields that others write.
    pub(in crate::sync) contest: Contest,
    /// Find out first who took a field.
    pub(in crate::sync) contested: bool,
    /// This revision had been applied in full before the operator started.
    pub(in crate::sync) restored: bool,
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
    /// It was applied.
    Applied {
        applied: Box<Applied>,
        /// The fields that others write, as far as that is known by now.
        contest: Contest,
        /// Those that are left to them from now on.
        left: Vec<Relinquished>,
    },
    /// It was made before, and has removed itself.
    Ran,
    /// Its values are other than Git's, or it is gone.
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
        let work: Vec<(Job, Vec<FieldPath>)> = stage
            .iter()
            .map(|job| (job.clone(), kept(job.item.index).to_vec()))
            .collect();
        manifests
            .take_while(move |_| std::future::ready(!superseded()))
            .map(move |held| {
                let Held {
                    position: index,
                    manifest,
                    room,
                } = held;
                let (job, kept) = work[index].clone();
                let (context, owner) = (Arc::clone(&context), owner.clone());
                let actor = actor.clone();
                async move {
                    let cluster = &context.cluster;
                    let done = one(cluster, &actor, &owner, &job, manifest, &kept).await;
                    drop(room);
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
    job: &Job,
    manifest: Result<Manifest, Trouble>,
    kept: &[FieldPath],
) -> Done {
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
        match acting.live(&served, &job.item.key).await {
            Ok(Some(live)) => render::keep(&mut manifest.body, &live, kept),
            Ok(None) => (),
            Err(error) => return Done::Failed(error),
        }
    }
    let object = Object {
        seal: cluster.inventory.seal(owner, &job.item.key),
        acting,
        served: &served,
        job,
    };
    let done = match job.task {
        Task::Apply(cause) => object.apply(manifest, cause).await,
        Task::Compare => object.compare(manifest).await,
    };
    done.unwrap_or_else(Done::Failed)
}

/// One object that is worked on.
struct Object<'a> {
    acting: Acting<'a>,
    seal: Seal,
    served: &'a ServedKind,
    job: &'a Job,
}

impl Object<'_> {
    async fn apply(&self, manifest: Manifest, cause: ApplyCause) -> Result<Done, WriteError> {
        // Nobody saw it finish. It was there, and removes itself when it has.
        if self.job.restored && self.job.before.is_none() && removes_itself(&manifest) {
            return Ok(Done::Ran);
        }
        let mut contest = self.job.contest.clone();
        let mut left = self.contested(&mut contest, &manifest).await?;
        // An object that somebody else made may have an autoscaler, which is not to be undone even once.
        let may_be_scaled = cause == ApplyCause::Unknown
            && self.job.before.is_none()
            && manifest.body.pointer("/spec/replicas").is_some();
        let applied = if may_be_scaled {
            let tried = self.send(&mut contest, manifest.clone(), Applying::Unforced);
            match tried.await {
                Err(WriteError::Refused { code: 409, .. }) => {
                    left = self
                        .concede(&mut contest, &manifest, taken_for_good)
                        .await?;
                    self.send(&mut contest, manifest, Applying::Whole).await
                }
                answer => answer,
            }
        } else {
            self.send(&mut contest, manifest, Applying::Whole).await
        };
        applied.map(|applied| Done::Applied {
            applied: Box::new(applied),
            contest,
            left,
        })
    }

    async fn compare(&self, mut manifest: Manifest) -> Result<Done, WriteError> {
        let Job { item, .. } = self.job;
        let mut contest = self.job.contest.clone();
        let left = self.contested(&mut contest, &manifest).await?;
        contest.leave(&mut manifest);
        let body = stamped(manifest.clone(), &self.seal, &item.digest, None);
        let compared = self.acting.compare(self.served, &self.seal, &body).await?;
        let version = match compared {
            Compared::Gone => return Ok(Done::Differs(ApplyCause::Missing)),
            Compared::Differs => return Ok(Done::Differs(ApplyCause::Drifted)),
            Compared::Equal(version) => version,
        };
        // Taking our share in `managedFields` back changes no value, on condition that the object is still
        // the one that was compared.
        let body = stamped(manifest, &self.seal, &item.digest, Some(&version));
        let applied = self
            .acting
            .apply(self.served, &self.seal, &body, Applying::Declared);
        match applied.await {
            Err(WriteError::Refused { code: 409, .. }) => Ok(Done::Differs(ApplyCause::Drifted)),
            applied => Ok(Done::Applied {
                applied: Box::new(applied?),
                contest,
                left,
            }),
        }
    }

    /// Applies what is not left to others.
    async fn send(
        &self,
        contest: &mut Contest,
        mut manifest: Manifest,
        applying: Applying,
    ) -> Result<Applied, WriteError> {
        let digest = &self.job.item.digest;
        contest.leave(&mut manifest);
        let body = stamped(manifest, &self.seal, digest, None);
        self.acting
            .apply(self.served, &self.seal, &body, applying)
            .await
    }

    /// Finds out who took a field, if the object is contested, and leaves to controllers what they keep taking.
    async fn contested(
        &self,
        contest: &mut Contest,
        manifest: &Manifest,
    ) -> Result<Vec<Relinquished>, WriteError> {
        match self.job.contested {
            true => self.concede(contest, manifest, taken).await,
            false => Ok(Vec::new()),
        }
    }

    async fn concede(
        &self,
        contest: &mut Contest,
        manifest: &Manifest,
        find: impl Fn(&ObjectMeta, &Value) -> Vec<Taken>,
    ) -> Result<Vec<Relinquished>, WriteError> {
        let live = self
            .acting
            .metadata(self.served, &self.job.item.key)
            .await?;
        let taken = live.map_or_else(Vec::new, |live| find(&live, &manifest.body));
        Ok(contest.note(taken))
    }
}

fn removes_itself(manifest: &Manifest) -> bool {
    let ttl = manifest.body.pointer("/spec/ttlSecondsAfterFinished");
    &*manifest.gvk.group == "batch"
        && &*manifest.gvk.kind == "Job"
        && ttl.is_some_and(Value::is_u64)
}
