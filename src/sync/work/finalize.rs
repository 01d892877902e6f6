//! What happens to the objects of a deleted Sync.

use std::collections::HashMap;
use std::time::Duration;

use futures::{StreamExt as _, stream};
use tokio::time::Instant;

use crate::api::{DELETION_POLICY, Reason};
use crate::cluster::WriteError;
use crate::intent::{OnDeletion, SyncIntent};
use crate::manifest::ObjectKey;
use crate::plan::{Stage, surplus};
use crate::sync::Driver;
use crate::sync::assess::{Phase, Round};
use crate::sync::audit::{self, Action};
use crate::sync::timers::Due;
use crate::sync::verdict::{Blocked, in_words};
use crate::text::listing;

/// The most requests at once.
const PARALLEL: usize = 8;

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
            tracing::warn!(sync = %self.name, %error, "cannot remove the finalizer");
            self.state.retry_later(Instant::now());
            return false;
        }
        true
    }

    async fn let_go(&mut self, intent: &SyncIntent) -> Result<(), String> {
        let on_deletion = intent.on_deletion;
        for kind in self.state.parent.contained.clone() {
            let kinds = &self.context.cluster.kinds;
            if kinds.is_away(&kind) && on_deletion == OnDeletion::Orphan {
                continue;
            }
            if let Some(served) = kinds.preferred(&kind) {
                let watched = self.context.cluster.watched(&served, PATIENCE).await;
                watched.map_err(|why| format!("{kind} objects cannot be listed: {why}"))?;
                continue;
            }
            // Whether its definition is gone, and its objects with it, or its API server is only away.
            if let Err(error) = self.context.cluster.discover().await {
                tracing::debug!(sync = %self.name, %error, "discovery");
            }
            if kinds.is_away(&kind) && on_deletion == OnDeletion::Delete {
                return Err(format!(
                    "{kind} objects cannot be deleted: the aggregated API server of {} does not answer; delete its \
                     APIService if it was uninstalled",
                    kind.group
                ));
            }
        }
        let (cluster, actor) = (&self.context.cluster, &self.actor(intent));
        let on_deletion = intent.on_deletion;
        let owned = cluster.inventory.owned(&self.name);
        let mut all = surplus::<()>(&self.name, owned, &HashMap::new());
        all.retain(|(key, observed)| cluster.inventory.is_proven(&self.name, key, observed));
        if on_deletion == OnDeletion::Delete {
            cluster
                .outlive(all.iter().map(|(_, observed)| observed))
                .await;
        }
        let mut failures = Vec::new();
        for stage in all.chunk_by(|(a, _), (b, _)| Stage::of(&a.kind) == Stage::of(&b.kind)) {
            let sync = &self.name;
            let work = stream::iter(stage.to_vec()).map(|(key, observed)| async move {
                let (answer, action) = match on_deletion {
                    OnDeletion::Delete => (
                        cluster.as_(actor).delete(&key, &observed.uid).await,
                        Action::Deleted,
                    ),
                    OnDeletion::Orphan => (
                        cluster.as_(actor).disown(&key, &observed.uid).await,
                        Action::Released,
                    ),
                };
                match answer {
                    // The marks of a Sync that is gone mean nothing. A person who took the account's rights
                    // away can let go of the Sync in this way.
                    Err(WriteError::Refused { code: 403, .. })
                        if on_deletion == OnDeletion::Orphan =>
                    {
                        return Ok(());
                    }
                    answer => answer.map_err(|error| (key.clone(), error))?,
                }
                audit::log(sync, action, (&key, &observed.uid), None, None, None);
                Ok(())
            });
            let answers: Vec<Result<(), (ObjectKey, _)>> =
                work.buffer_unordered(PARALLEL).collect().await;
            failures.extend(answers.into_iter().filter_map(Result::err));
        }
        if !failures.is_empty() {
            let named = failures.iter().take(3);
            let named = named.map(|(key, error)| format!("{key}: {error}"));
            let list = listing(named, failures.len());
            return Err(format!("deleting the Sync's objects: {list}"));
        }
        if on_deletion == OnDeletion::Orphan {
            return Ok(());
        }
        let leaving = self.leaving(intent, |_, _| true).await;
        match leaving.is_empty() {
            true => Ok(()),
            false => Err(format!(
                "waiting for what was deleted to be gone: {}; annotate the Sync with {DELETION_POLICY}=Orphan to let \
                 it go earlier",
                in_words(&leaving)
            )),
        }
    }
}
