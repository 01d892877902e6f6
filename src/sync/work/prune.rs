//! Deletes objects that have left Git.

use std::collections::BTreeSet;
use std::future::ready;
use std::time::Duration;

use futures::{StreamExt as _, stream};

use super::Stopped;
use crate::api::Reason;
use crate::intent::SyncIntent;
use crate::manifest::{GroupKind, ObjectKey};
use crate::plan::{Observed, surplus};
use crate::sync::Driver;
use crate::sync::assess::Round;
use crate::sync::audit::{self, Action};
use crate::sync::memory::Trouble;

/// The most deletes at once.
const DELETES: usize = 8;

/// How long is waited for what other Syncs of the same source want.
const OTHERS: Duration = Duration::from_secs(10);

/// An object and what is known of it.
type Owned = (ObjectKey, Observed);

impl Driver {
    /// Deletes our objects that have left Git, after everything in Git has been applied. So if an object
    /// moves, its new copy exists before the old one is deleted.
    pub(super) async fn prune(
        &mut self,
        intent: &SyncIntent,
        round: &mut Round,
    ) -> Result<(), Stopped> {
        self.state.memory.unpruned.clear();
        let before = std::mem::take(&mut self.state.memory.leaving);
        let (mut surplus, unproven) = self.surplus();
        if intent.prune && !surplus.is_empty() && self.state.blocked.is_none() {
            self.hear_others(intent).await;
            surplus = self.surplus().0;
        }
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
        let items = &self.state.objects.items;
        let leaving = self
            .leaving(intent, |key, observed| {
                observed.deleting && !items.contains_key(key)
            })
            .await;
        let is_over = leaving.is_empty();
        self.state.memory.leaving = leaving;
        let mut changes = round.changes.iter();
        let has_pruned = changes.any(|(action, _)| *action == Action::Pruned);
        if is_over && (has_pruned || !before.is_empty()) && self.state.memory.unpruned.is_empty() {
            let mut kinds: BTreeSet<GroupKind> = self.state.objects.kinds().into_iter().collect();
            // Objects of a kind that is only away are still there.
            let served = &self.context.cluster.kinds;
            let contained = self.state.parent.contained.iter();
            kinds.extend(contained.filter(|kind| served.is_away(kind)).cloned());
            if let Err(error) = self.narrow(kinds).await {
                tracing::debug!(sync = %self.name, %error, "cannot remove kinds from the ApplySet");
            }
        }
        Ok(())
    }

    /// What is ours, has left Git, and no other Sync wants; and what only has our marks, without our proof.
    pub(super) fn surplus(&self) -> (Vec<Owned>, Vec<Owned>) {
        let inventory = &self.context.cluster.inventory;
        let owned = inventory.owned(&self.name);
        let surplus = surplus(&self.name, owned, &self.state.objects.items);
        let is_proven = |(key, observed): &(_, _)| inventory.is_proven(&self.name, key, observed);
        surplus.into_iter().partition(is_proven)
    }

    /// Waits until the other Syncs of the same source have said what they want: what leaves this one may have gone
    /// to another one in the same commit.
    pub(super) async fn hear_others(&self, intent: &SyncIntent) {
        let Some(target) = &self.state.target else {
            return;
        };
        let fleet = &self.context.fleet;
        let changes = fleet.syncs.changes();
        let all = async {
            loop {
                let newest = self.inbox.newest_revision();
                let newest = newest.as_deref().unwrap_or_default();
                let revisions = [target.revision.as_str(), newest];
                if !fleet.is_planning(&self.name, &intent.source, &revisions) {
                    return;
                }
                changes.next().await;
            }
        };
        // One that cannot say it in time does not hold up the others.
        let _ = tokio::time::timeout(OTHERS, all).await;
    }
}
