//! Executes a plan: applies objects stage by stage, several at once, until a newer target comes.

use std::sync::Arc;

use futures::{Stream, StreamExt as _, stream};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde_json::Value;
use tokio::sync::mpsc;

use crate::cluster::{
    Acting, Actor, Applied, Applying, Cluster, Compared, Once, ServedKind, WriteError,
};
use crate::intent::SyncIntent;
use crate::manifest::{ApplyMode, FieldPath, Manifest};
use crate::plan::{
    ApplyCause, Contest, Relinquished, Seal, Stage, SyncName, Taken, apply_order, stamped, taken,
    taken_for_good,
};
use crate::render;
use crate::sync::bodies::LoadedBody;
use crate::sync::job::{Barred, Job, Task};
use crate::sync::memory::Trouble;
use crate::sync::target::Target;
use crate::sync::{Driver, bodies};

/// The most requests of one Sync at once.
pub(super) const PARALLEL: usize = 12;

/// The result of a job.
pub(in crate::sync) enum Done {
    /// It was applied.
    Applied {
        applied: Box<Applied>,
        /// The fields that others write, as far as that is known by now.
        contest: Contest,
        /// Those that are left to them from now on.
        left: Vec<Relinquished>,
        /// It was deleted and made again.
        replaced: bool,
    },
    /// It was made before, and has removed itself.
    Ran,
    /// It is to be made only once, and was there before.
    Present,
    /// Its values are other than Git's, or it is gone.
    Differs(ApplyCause),
    /// The object could not be applied.
    Failed(WriteError),
    /// It was deleted to be replaced, and the new object was refused. Why.
    ReplacedInVain(Trouble, Arc<str>),
    /// It is not replaced, since another object has what it is to get.
    Barred(Trouble, Barred),
    /// The object's manifest could not be read again, or there is more to say than what the API server said.
    Troubled(Trouble),
}

/// Sorts jobs into the order of application.
pub(super) fn order(jobs: &mut [Job], target: &Target) {
    apply_order(jobs, |job| {
        let place = target.desired.provenance(job.item.index);
        let (file, document) = place.map_or(("", None), |place| (place.file(), place.document));
        let document = document.unwrap_or_default();
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
                let LoadedBody {
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
        Err(error) => return Done::Troubled(error),
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
    let whole = job.item.fixed.as_ref().map(|_| manifest.clone());
    for field in job.item.fixed.iter().flat_map(|fixed| fixed.iter()) {
        field.strip(&mut manifest.body);
    }
    let seal = cluster.inventory.seal(owner, &job.item.key);
    let object = Object {
        cluster,
        may_be_replaced: job.may_be_replaced,
        whole,
        seal: seal.remembering(job.made.clone()),
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
pub(super) struct Object<'a> {
    pub(super) cluster: &'a Cluster,
    pub(super) acting: Acting<'a>,
    pub(super) seal: Seal,
    pub(super) served: &'a ServedKind,
    pub(super) job: &'a Job,
    /// Whether it may be deleted and made again.
    pub(super) may_be_replaced: bool,
    /// The manifest with the fields that are sent only once, if there are such fields.
    pub(super) whole: Option<Manifest>,
}

impl Object<'_> {
    async fn apply(&self, manifest: Manifest, cause: ApplyCause) -> Result<Done, WriteError> {
        // Nobody saw it finish. It was there, and removes itself when it has.
        if self.job.restored && self.job.before.is_none() && removes_itself(&manifest) {
            return Ok(Done::Ran);
        }
        let modes = self.job.item.modes;
        if modes.apply == ApplyMode::IfNotPresent {
            return self.make_once(manifest).await;
        }
        let mut contest = self.job.contest.clone();
        let mut left = self.contested(&mut contest, &manifest).await?;
        let applying = match modes.apply {
            ApplyMode::Merge => Applying::Merged,
            _ => Applying::Whole,
        };
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
                    self.send(&mut contest, manifest, applying).await
                }
                answer => answer,
            }
        } else {
            let tried = self.send(&mut contest, manifest.clone(), applying).await;
            if let Err(error) = tried {
                return match self.acting.is_immutable(self.served, &error).await {
                    true => self.replace(manifest, error).await,
                    false => Err(error),
                };
            }
            tried
        };
        applied.map(|applied| Done::Applied {
            applied: Box::new(applied),
            contest,
            left,
            replaced: false,
        })
    }

    /// Creates the object, unless there is one.
    async fn make_once(&self, manifest: Manifest) -> Result<Done, WriteError> {
        let live = self.acting.metadata(self.served, &self.job.item.key);
        if live.await?.is_some() {
            return Ok(Done::Present);
        }
        let mut contest = Contest::default();
        // Where somebody else has made it meanwhile, Git's values are not put into that one.
        match self.send(&mut contest, manifest, Applying::Unforced).await {
            Err(error @ WriteError::Refused { code: 409, .. }) => {
                let live = self.acting.metadata(self.served, &self.job.item.key);
                match live.await? {
                    Some(_) => Ok(Done::Present),
                    None => Err(error),
                }
            }
            applied => Ok(Done::Applied {
                applied: Box::new(applied?),
                contest,
                left: Vec::new(),
                replaced: false,
            }),
        }
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
            .apply(self.served, &self.seal, &body, None, Applying::Declared);
        match applied.await {
            Err(WriteError::Refused { code: 409, .. }) => Ok(Done::Differs(ApplyCause::Drifted)),
            applied => Ok(Done::Applied {
                applied: Box::new(applied?),
                contest,
                left,
                replaced: false,
            }),
        }
    }

    /// Applies what is not left to others.
    pub(super) async fn send(
        &self,
        contest: &mut Contest,
        mut manifest: Manifest,
        applying: Applying,
    ) -> Result<Applied, WriteError> {
        let digest = &self.job.item.digest;
        contest.leave(&mut manifest);
        let body = stamped(manifest, &self.seal, digest, None);
        let whole = self.whole.clone().map(|mut whole| {
            contest.clone().leave(&mut whole);
            stamped(whole, &self.seal, digest, None)
        });
        let fields = self.job.item.fixed.as_deref();
        let once = fields.zip(whole.as_deref());
        let once = once.map(|(fields, whole)| Once { fields, whole });
        self.acting
            .apply(self.served, &self.seal, &body, once, applying)
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

/// Whether the object is deleted some time after it has ended.
pub(super) fn removes_itself(manifest: &Manifest) -> bool {
    let ttl = manifest.body.pointer("/spec/ttlSecondsAfterFinished");
    &*manifest.gvk.group == "batch"
        && &*manifest.gvk.kind == "Job"
        && ttl.is_some_and(Value::is_u64)
}
