//! One hook: its object is made, looked at and deleted.

use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::{LONGEST_TROUBLE, is_without_namespace, removes_itself};
use crate::api::RunningHook;
use crate::cluster::{ServedKind, WriteError};
use crate::desired::{Hook, misplaced};
use crate::health::{self, Health};
use crate::intent::SyncIntent;
use crate::manifest::{GroupKind, ObjectKey};
use crate::plan::{HOOK, HookRun, created, may_be_deleted};
use crate::sync::Driver;
use crate::sync::audit::{self, Action};
use crate::text::shorten;

/// How often, and after which pause, is looked whether a deleted object is gone. What takes longer is left to the next
/// look at the hook.
const LOOKS: u32 = 20;
const BETWEEN_LOOKS: Duration = Duration::from_millis(20);

/// The annotation by which a chart keeps an object (`helm.sh/resource-policy: keep`).
const KEEP: &str = "/metadata/annotations/helm.sh~1resource-policy";

/// The result of one look at a hook.
pub(super) enum HookProgress {
    /// It has ended well.
    Done,
    /// It cannot begin yet.
    Waits(String),
    /// Its object is there, and has not ended.
    Runs(ObjectKey, Box<Value>),
    /// It has failed, or cannot be made.
    Failed(String),
}

/// A hook and its place in the cluster.
pub(super) struct Placed<'h> {
    hook: &'h Hook,
    served: ServedKind,
    pub(super) key: ObjectKey,
}

/// What a live object that has not ended says of itself.
pub(super) fn standing(kind: &GroupKind, live: &Value) -> String {
    match health::assess(kind, live) {
        Health::InProgress(why) | Health::Failed(why) | Health::Terminating(why) => why,
        Health::Current => "it has not ended".to_owned(),
    }
}

impl Driver {
    /// Which object of the cluster a hook is.
    pub(super) async fn place<'h>(
        &self,
        intent: &SyncIntent,
        hook: &'h Hook,
    ) -> Result<Placed<'h>, HookProgress> {
        let cluster = &self.context.cluster;
        let gvk = hook.object.gvk();
        let mut served = cluster.kinds.get(gvk);
        if served.is_none() {
            if let Err(error) = cluster.discover().await {
                tracing::debug!(sync = %self.name, %error, "discovery");
            }
            served = cluster.kinds.get(gvk);
        }
        let Some(served) = served else {
            return Err(HookProgress::Waits(WriteError::NotServed.to_string()));
        };
        let namespace = match hook.object.namespace() {
            Some(own) => own.clone(),
            None => intent.render.helm.release_namespace.as_str().into(),
        };
        let namespace = served.namespaced.then_some(namespace);
        if let Some(why) = misplaced(served.namespaced, namespace.as_ref(), self.limit(intent)) {
            return Err(HookProgress::Failed(why.to_string()));
        }
        let key = ObjectKey {
            namespace,
            ..hook.object.key()
        };
        Ok(Placed { hook, served, key })
    }

    /// Makes a hook's object, or looks at the one that was made. `running`: what is known of that.
    pub(super) async fn look_at_hook(
        &self,
        intent: &SyncIntent,
        placed: &Placed<'_>,
        run: &HookRun,
        running: &mut RunningHook,
    ) -> HookProgress {
        let Placed { hook, served, key } = placed;
        let actor = self.actor(intent);
        let acting = self.context.cluster.as_(&actor);
        let live = match acting.live(served, key).await {
            Ok(live) => live,
            Err(error) => return unmade(intent, &error),
        };
        match live {
            Some(live)
                if run.made(key, &live)
                    || run.made_unproven(key, &live, running.uid.as_deref()) =>
            {
                note_made(running, &live);
                return self.judge_own(intent, placed, run, live).await;
            }
            Some(live) => {
                let by_helm = run.may_be_helms(&live) && self.helm_was_here(intent).await;
                if let Err(clash) = run.may_replace(hook, key, &live, by_helm) {
                    return HookProgress::Failed(clash.to_string());
                }
                if health::works(&key.kind, &live) && age(&live) < intent.timeout {
                    let why = "what an earlier run made still works; it is replaced when it has ended, or is older \
                               than spec.timeout";
                    return HookProgress::Waits(why.to_owned());
                }
                match self.delete_and_look(intent, hook, placed, &live).await {
                    Ok(true) => (),
                    Ok(false) => {
                        let why = "the object of its last run is being deleted";
                        return HookProgress::Waits(why.to_owned());
                    }
                    Err(error) => return unmade(intent, &error),
                }
            }
            // Nobody saw it end. It was there, and removes itself when it has.
            None if running.made && removes_itself(&hook.object.manifest()) => {
                return HookProgress::Done;
            }
            None => (),
        }
        let cluster = &self.context.cluster;
        let body = || run.body(hook, key, cluster.second()).to_string();
        match acting.create(served, key, || body().into_bytes()).await {
            Ok(live) => {
                note_made(running, &live);
                if let Some(created) = created(&live).filter(|_| !run.made(key, &live)) {
                    cluster.learn_second(created);
                }
                self.log_hook(Action::Created, hook, key, &live);
                self.judge_own(intent, placed, run, live).await
            }
            Err(error) => unmade(intent, &error),
        }
    }

    /// Judges an object that this run has made, and proves before that it did.
    async fn judge_own(
        &self,
        intent: &SyncIntent,
        placed: &Placed<'_>,
        run: &HookRun,
        live: Value,
    ) -> HookProgress {
        let Placed { hook, key, .. } = placed;
        if let Err(error) = self.date_hook(intent, placed, run, &live).await {
            match unmade(intent, &error) {
                // Its uid says whose it is while this run lasts.
                HookProgress::Failed(error) => {
                    tracing::warn!(sync = %self.name, hook = %key, error, "proving who made the object of a hook");
                }
                other => return other,
            }
        }
        self.judge_hook(intent, (hook, key), live).await
    }

    /// Proves that a run made an object, where this machine did not know in which second the API server would make it.
    async fn date_hook(
        &self,
        intent: &SyncIntent,
        placed: &Placed<'_>,
        run: &HookRun,
        live: &Value,
    ) -> Result<(), WriteError> {
        let Placed { served, key, .. } = placed;
        let Some(created) = created(live).filter(|_| !run.made(key, live)) else {
            return Ok(());
        };
        let annotations = json!({HOOK: run.mark(key, created)});
        // A uid in a patch is a precondition: the server refuses to change another object of this name.
        let patch = json!({"metadata": {"uid": uid(live), "annotations": annotations}});
        let actor = self.actor(intent);
        let acting = self.context.cluster.as_(&actor);
        acting.patch(served, key, &patch).await
    }

    /// Whether Helm itself has written a record of the release. Nobody knows where that cannot be read.
    async fn helm_was_here(&self, intent: &SyncIntent) -> bool {
        if self.record_misplaced(intent).is_some() {
            return false;
        }
        let helm = &intent.render.helm;
        let (namespace, release) = (&*helm.release_namespace, &*helm.release_name);
        let actor = self.actor(intent);
        let acting = self.context.cluster.as_(&actor);
        let records = acting.helm_records(namespace, release).await;
        records.is_ok_and(|records| records.iter().any(|record| record.written.is_none()))
    }

    async fn judge_hook(
        &self,
        intent: &SyncIntent,
        (hook, key): (&Hook, &ObjectKey),
        live: Value,
    ) -> HookProgress {
        match health::outcome(&key.kind, &live) {
            None => HookProgress::Runs(key.clone(), live.into()),
            Some(Ok(())) => HookProgress::Done,
            Some(Err(why)) => {
                HookProgress::Failed(self.in_words(intent, (hook, key), &live, why).await)
            }
        }
    }

    /// Why a hook has failed, what its pods say, and where to see more.
    pub(super) async fn in_words(
        &self,
        intent: &SyncIntent,
        (hook, key): (&Hook, &ObjectKey),
        live: &Value,
        why: String,
    ) -> String {
        let blame = self.blame(intent, key, live).await;
        let log = log_of(key).filter(|_| !hook.delete.failed);
        let all = std::iter::once(why).chain(blame).chain(log);
        all.collect::<Vec<_>>().join("; ")
    }

    /// Which container of a hook's pods is to blame. Nothing where they cannot be read: that needs rights of its own.
    async fn blame(&self, intent: &SyncIntent, key: &ObjectKey, live: &Value) -> Option<String> {
        match (&*key.kind.group, &*key.kind.kind) {
            ("", "Pod") => health::blame(live),
            ("batch", "Job") => {
                let actor = self.actor(intent);
                let acting = self.context.cluster.as_(&actor);
                let pods = acting.pods_of(key, uid(live)).await.ok()?;
                pods.iter().rev().find_map(|pod| {
                    let name = pod.pointer("/metadata/name").and_then(Value::as_str);
                    Some(format!("pod {}: {}", name?, health::blame(pod)?))
                })
            }
            _ => None,
        }
    }

    /// Deletes the object that a run has made, as its policy says. That it cannot be deleted stops nothing.
    pub(super) async fn delete_run(&self, intent: &SyncIntent, hook: &Hook, run: &HookRun) {
        let Ok(Placed { served, key, .. }) = &self.place(intent, hook).await else {
            return;
        };
        if !may_be_deleted(key) {
            return;
        }
        let actor = self.actor(intent);
        let acting = self.context.cluster.as_(&actor);
        let deleted = match acting.live(served, key).await {
            Ok(Some(live)) if run.made(key, &live) && !is_kept(&live) => {
                let deleted = acting.delete(key, uid(&live)).await;
                deleted.map(|()| self.log_hook(Action::Deleted, hook, key, &live))
            }
            other => other.map(drop),
        };
        if let Err(error) = deleted {
            let error = crate::chain(&error);
            tracing::warn!(sync = %self.name, hook = %key, error, "deleting the object of a hook");
        }
    }

    /// Deletes what stands in a hook's place. Returns whether it is gone a moment later.
    async fn delete_and_look(
        &self,
        intent: &SyncIntent,
        hook: &Hook,
        placed: &Placed<'_>,
        live: &Value,
    ) -> Result<bool, WriteError> {
        let Placed { served, key, .. } = placed;
        let actor = self.actor(intent);
        let acting = self.context.cluster.as_(&actor);
        if live.pointer("/metadata/deletionTimestamp").is_none() {
            acting.delete(key, uid(live)).await?;
            self.log_hook(Action::Deleted, hook, key, live);
        }
        for _ in 0..LOOKS {
            if acting.metadata(served, key).await?.is_none() {
                return Ok(true);
            }
            tokio::time::sleep(BETWEEN_LOOKS).await;
        }
        Ok(false)
    }

    fn log_hook(&self, action: Action, hook: &Hook, key: &ObjectKey, live: &Value) {
        let asked = self.tried();
        let file = Some(&*hook.file);
        audit::log(
            &self.name,
            action,
            (key, uid(live)),
            asked.as_ref(),
            file,
            None,
        );
    }
}

fn note_made(running: &mut RunningHook, live: &Value) {
    running.made = true;
    running.uid = Some(uid(live).to_owned());
}

/// What follows from an answer of the API server: whether that may change by itself.
fn unmade(intent: &SyncIntent, error: &WriteError) -> HookProgress {
    let why = shorten(&crate::chain(error), LONGEST_TROUBLE);
    match error {
        // Where nothing can be made any longer, nothing is left to do for a deletion.
        error if is_without_namespace(error) && intent.deleting => HookProgress::Done,
        error if is_without_namespace(error) => HookProgress::Waits(why),
        // Somebody made it a moment ago: the next look says whether that was this run.
        WriteError::Refused { code: 409, .. }
        | WriteError::Unavailable(_)
        | WriteError::NotServed => HookProgress::Waits(why),
        WriteError::Refused { .. }
        | WriteError::NoNamespace { .. }
        | WriteError::Indivisible(_)
        | WriteError::Unmarked { .. }
        | WriteError::Answer(_) => HookProgress::Failed(why),
    }
}

/// Where to see what a hook's object has done.
fn log_of(key: &ObjectKey) -> Option<String> {
    let resource = match (&*key.kind.group, &*key.kind.kind) {
        ("batch", "Job") => "job",
        ("", "Pod") => "pod",
        _ => return None,
    };
    let (namespace, name) = (key.namespace.as_deref()?, &key.name);
    Some(format!(
        "see kubectl logs -n {namespace} {resource}/{name} --all-containers"
    ))
}

/// How old a live object is, as far as this machine's clock can tell.
fn age(live: &Value) -> Duration {
    let created = live.pointer("/metadata/creationTimestamp");
    let created: Option<Timestamp> = created
        .and_then(Value::as_str)
        .and_then(|at| at.parse().ok());
    created.map_or(Duration::MAX, |at| {
        let age = Timestamp::now().duration_since(at);
        age.try_into().unwrap_or_default()
    })
}

fn is_kept(live: &Value) -> bool {
    live.pointer(KEEP).and_then(Value::as_str) == Some("keep")
}

fn uid(live: &Value) -> &str {
    live.pointer("/metadata/uid")
        .and_then(Value::as_str)
        .unwrap_or_default()
}
