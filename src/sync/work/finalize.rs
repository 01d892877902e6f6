//! What happens to the objects of a deleted Sync.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use futures::{StreamExt as _, stream};
use jiff::Timestamp;
use tokio::time::Instant;

use crate::api::{DELETION_POLICY, HookStage, Reason};
use crate::cluster::WriteError;
use crate::intent::{OnDeletion, SyncIntent};
use crate::manifest::{GroupKind, ObjectKey};
use crate::plan::{Observed, Owned, Parting, Release, ReleaseEnd, Stage, surplus};
use crate::sync::Driver;
use crate::sync::assess::released_notice;
use crate::sync::audit::{self, Action};
use crate::sync::report::{Phase, Round};
use crate::sync::timers::Due;
use crate::sync::verdict::{Blocked, in_words};
use crate::text::listing;

/// The most requests at once.
const PARALLEL: usize = 8;

/// How long is waited for what new Syncs of the same source want.
const NEWCOMERS: Duration = Duration::from_secs(10);

/// How long a kind's first list may take.
const PATIENCE: Duration = Duration::from_secs(10);

impl Driver {
    /// Carries out the deletion policy, then removes the finalizer. Returns false if it must be tried
    /// again.
    pub(in crate::sync) async fn finalize(&mut self, intent: &SyncIntent) -> bool {
        if !self.inbox.is_finalized() {
            return true;
        }
        if let Err(message) = self.let_go(intent).await {
            self.state.blocked = Some(Box::new(Blocked {
                reason: Reason::Deleting,
                message,
                stalled: false,
            }));
            self.state.retry_later(Instant::now());
            let (round, due) = (Round::default(), Due::default());
            self.report(intent, Phase::Held, round, due).await;
            return false;
        }
        if let Err(error) = self.unmark().await {
            let error = crate::chain(&error);
            tracing::warn!(sync = %self.name, error, "cannot remove the finalizer");
            self.state.retry_later(Instant::now());
            return false;
        }
        true
    }

    async fn let_go(&mut self, intent: &SyncIntent) -> Result<(), String> {
        let on_deletion = intent.on_deletion;
        self.note_last_lost();
        for kind in self.state.parent.contained.clone() {
            let Err(why) = self.list_last(&kind).await else {
                continue;
            };
            if on_deletion != OnDeletion::Orphan {
                return Err(format!(
                    "{why}; or annotate the Sync with {DELETION_POLICY}=Orphan to let it go without deleting anything"
                ));
            }
            tracing::warn!(sync = %self.name, why, "these objects keep the marks of the Sync, which mean nothing now");
        }
        if matches!(on_deletion, OnDeletion::Delete { .. }) {
            self.hooks_of_deletion(intent, HookStage::BeforeDelete)
                .await?;
        }
        // Once: a later try comes after the first deletions.
        let has_heard = std::mem::replace(&mut self.state.ahead.has_heard, true);
        if matches!(on_deletion, OnDeletion::Delete { .. }) && !has_heard {
            self.hear_newcomers(intent).await;
        }
        let Parting { going, released } = self.last_parting(on_deletion);
        let kept: HashSet<ObjectKey> = released.iter().map(|(key, ..)| key.clone()).collect();
        if released.iter().any(|(.., why)| *why == Release::Adopted) {
            self.leave_records().await;
        }
        let marked = self.release_all(intent, released).await;
        let left = self.delete_all(intent, going).await;
        let failures = [
            (
                marked,
                "towline's marks cannot be taken off objects that stay",
            ),
            (left, "the Sync's objects cannot be deleted"),
        ];
        let failures = failures.iter().filter(|(failed, _)| !failed.is_empty());
        let failures: Vec<String> = failures.map(|(failed, what)| told(what, failed)).collect();
        if !failures.is_empty() {
            return Err(failures.join("; "));
        }
        if on_deletion == OnDeletion::Orphan {
            self.tell_strays(intent).await;
            return Ok(());
        }
        let leaving = self.leaving(intent, |key, _| !kept.contains(key)).await;
        if !leaving.is_empty() {
            return Err(format!(
                "waiting for what was deleted to be gone: {}; annotate the Sync with {DELETION_POLICY}=Orphan to let \
                 it go earlier",
                in_words(&leaving)
            ));
        }
        self.hooks_of_deletion(intent, HookStage::AfterDelete)
            .await?;
        self.tell_strays(intent).await;
        let release = self.state.report.status.release.as_ref();
        let Some(record) = release.and_then(|release| release.record.clone()) else {
            return Ok(());
        };
        let removed = self
            .remove_records(intent, &record, ReleaseEnd::Deleted)
            .await;
        removed.map_err(|error| {
            let error = crate::chain(&error);
            format!("the records of Helm cannot be deleted: {error}")
        })
    }

    /// Waits until the Syncs of the same source that are new, or that this process does not know yet, have said what they want:
    /// the Sync may have another name now.
    async fn hear_newcomers(&mut self, intent: &SyncIntent) {
        // Nobody waits for what this one wants.
        self.tell_plan(Some(self.inbox.newest_revision().unwrap_or_default()));
        let fleet = &self.context.fleet;
        let changes = fleet.syncs.changes();
        let has_objects = || !self.context.cluster.inventory.owned(&self.name).is_empty();
        let all = async {
            while has_objects() && !fleet.silent(&self.name, &intent.source).is_empty() {
                changes.next().await;
            }
        };
        // One whose spec is wrong says nothing.
        let _ = tokio::time::timeout(NEWCOMERS, all).await;
    }

    /// Makes sure that the Sync's objects of a kind are known.
    async fn list_last(&self, kind: &GroupKind) -> Result<(), String> {
        let cluster = &self.context.cluster;
        if let Some(served) = cluster.kinds.preferred(kind) {
            let watched = cluster.watched(&served, PATIENCE).await;
            return watched.map_err(|why| format!("{kind} objects cannot be listed: {why}"));
        }
        // Whether its definition is gone, and its objects with it, or its API server is only away.
        if let Err(error) = cluster.discover().await {
            tracing::debug!(sync = %self.name, %error, "discovery");
        }
        match cluster.kinds.is_away(kind) {
            true => Err(format!(
                "{kind} objects cannot be deleted: the aggregated API server of {} does not answer; delete its \
                 APIService if it was uninstalled",
                kind.group
            )),
            false => Ok(()),
        }
    }

    /// What becomes of each object of the Sync.
    fn last_parting(&self, on_deletion: OnDeletion) -> Parting {
        let inventory = &self.context.cluster.inventory;
        let owned = inventory.owned(&self.name);
        let mut all = surplus::<()>(&self.name, owned, &HashMap::new());
        all.retain(|(key, observed)| inventory.is_proven(&self.name, key, observed));
        match on_deletion {
            OnDeletion::Delete { adopted } => self.parting(all, adopted),
            OnDeletion::Orphan => {
                let orphaned = all.into_iter();
                let released = orphaned.map(|(key, observed)| (key, observed, Release::Orphaned));
                Parting {
                    going: Vec::new(),
                    released: released.collect(),
                }
            }
        }
    }

    /// Takes towline's marks off objects that stay.
    async fn release_all(
        &self,
        intent: &SyncIntent,
        released: Vec<(ObjectKey, Observed, Release)>,
    ) -> Vec<(ObjectKey, WriteError)> {
        let (cluster, sync, actor) = (&self.context.cluster, &self.name, &self.actor(intent));
        let work = stream::iter(released).map(|(key, observed, why)| async move {
            match cluster.as_(actor).disown(&key, &observed.uid).await {
                // The marks of a Sync that is gone mean nothing. A person who took the account's rights
                // away can let go of the Sync in this way.
                Err(WriteError::Refused { code: 403, .. }) => return Ok((key, why)),
                answer => answer.map_err(|error| (key.clone(), error))?,
            }
            let object = (&key, &*observed.uid);
            audit::log(sync, Action::Released, object, None, None, None);
            Ok((key, why))
        });
        let answers: Vec<Result<_, _>> = work.buffer_unordered(PARALLEL).collect().await;
        let (done, failed): (Vec<_>, Vec<_>) = answers.into_iter().partition(Result::is_ok);
        let mut told: Vec<_> = done.into_iter().filter_map(Result::ok).collect();
        told.retain(|(_, why)| *why != Release::Orphaned);
        if !told.is_empty() {
            let about = std::sync::Arc::clone(&self.about);
            let notice = released_notice(about, None, &told, Timestamp::now());
            self.context.notifier.tell(notice);
        }
        failed.into_iter().filter_map(Result::err).collect()
    }

    async fn delete_all(
        &self,
        intent: &SyncIntent,
        going: Vec<Owned>,
    ) -> Vec<(ObjectKey, WriteError)> {
        let (cluster, sync, actor) = (&self.context.cluster, &self.name, &self.actor(intent));
        cluster
            .outlive(going.iter().map(|(_, observed)| observed))
            .await;
        let mut failures = Vec::new();
        for stage in going.chunk_by(|(a, _), (b, _)| Stage::of(&a.kind) == Stage::of(&b.kind)) {
            let work = stream::iter(stage.to_vec()).map(|(key, observed)| async move {
                let answer = cluster.as_(actor).delete(&key, &observed.uid).await;
                answer.map_err(|error| (key.clone(), error))?;
                let object = (&key, &*observed.uid);
                audit::log(sync, Action::Deleted, object, None, None, None);
                Ok(())
            });
            let answers: Vec<Result<(), _>> = work.buffer_unordered(PARALLEL).collect().await;
            failures.extend(answers.into_iter().filter_map(Result::err));
        }
        failures
    }
}

/// What failed, with its first objects and their causes.
fn told(what: &str, failed: &[(ObjectKey, WriteError)]) -> String {
    let named = failed.iter().take(3);
    let named = named.map(|(key, error)| format!("{key}: {}", crate::chain(error)));
    format!("{what}: {}", listing(named, failed.len()))
}
