//! Deletes objects that have left Git.

use std::future::ready;

use futures::{StreamExt as _, stream};

use super::Stopped;
use crate::api::Reason;
use crate::intent::SyncIntent;
use crate::plan::surplus;
use crate::sync::Driver;
use crate::sync::assess::Round;
use crate::sync::audit::{self, Action};
use crate::sync::memory::Trouble;

/// The most deletes at once.
const DELETES: usize = 8;

impl Driver {
    /// Deletes our objects that have left Git, after everything in Git has been applied. So if an object
    /// moves, its new copy exists before the old one is deleted.
    pub(super) async fn prune(
        &mut self,
        intent: &SyncIntent,
        round: &mut Round,
    ) -> Result<(), Stopped> {
        self.state.memory.unpruned.clear();
        let inventory = &self.context.cluster.inventory;
        let surplus = surplus(
            &self.name,
            inventory.owned(&self.name),
            &self.state.objects.items,
        );
        let is_proven = |(key, observed): &(_, _)| inventory.is_proven(&self.name, key, observed);
        let (surplus, unproven): (Vec<_>, Vec<_>) = surplus.into_iter().partition(is_proven);
        self.state.memory.unproven = unproven.len();
        if let Some((key, _)) = unproven.first() {
            tracing::debug!(
                sync = %self.name, objects = unproven.len(), first = %key,
                "objects carry the marks of this Sync without its proof; they are left alone"
            );
        }
        // A kind that could not be listed may have other objects to prune.
        let complete = self.state.memory.troubles.is_empty()
            && self.state.memory.unlisted.is_empty()
            && self.state.objects.waiting.is_empty()
            && self.state.objects.misplaced.is_empty()
            && self.state.objects.taken.is_empty();
        if !intent.prune || !complete || self.state.blocked.is_some() {
            self.state.memory.surplus = surplus.len();
            return Ok(());
        }
        self.state.memory.surplus = 0;
        let (cluster, sync, actor) = (&self.context.cluster, &self.name, &self.actor(intent));
        cluster
            .outlive(surplus.iter().map(|(_, observed)| observed))
            .await;
        for stage in surplus.chunk_by(|(a, _), (b, _)| a.kind == b.kind) {
            if self.inbox.superseded() {
                return Err(Stopped::Superseded);
            }
            let work = stream::iter(stage.to_vec()).map(|(key, observed)| async move {
                // Another Sync may want the object by now.
                if !cluster.inventory.is_owned(&key, sync) {
                    return None;
                }
                let answer = cluster.as_(actor).delete(&key, &observed.uid).await;
                Some((key, observed.uid, answer))
            });
            let answers = work.buffer_unordered(DELETES).filter_map(ready);
            let answers: Vec<_> = answers.collect().await;
            for (key, uid, answer) in answers {
                match answer {
                    Ok(()) => {
                        let object = (&key, &*uid);
                        let target = self.state.target.as_ref();
                        audit::log(&self.name, Action::Pruned, object, target, None, None);
                        round.changes.push((Action::Pruned, key));
                    }
                    Err(error) => {
                        let trouble = Trouble {
                            reason: Reason::PruneFailed,
                            message: crate::chain(&error),
                        };
                        self.state.memory.unpruned.insert(key, trouble);
                    }
                }
            }
        }
        let mut changes = round.changes.iter();
        let has_pruned = changes.any(|(action, _)| *action == Action::Pruned);
        if has_pruned && self.state.memory.unpruned.is_empty() {
            let kinds = self.state.objects.kinds().into_iter().collect();
            if let Err(error) = self.narrow(kinds).await {
                tracing::debug!(sync = %self.name, %error, "cannot remove kinds from the ApplySet");
            }
        }
        Ok(())
    }
}
