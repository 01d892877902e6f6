//! Deleting what has left Git.

use std::future::ready;

use futures::{StreamExt as _, stream};

use super::Driver;
use super::apply::Stopped;
use super::audit::{self, Action};
use super::memory::Trouble;
use super::report::Round;
use super::target::Target;
use crate::api::{Reason, SyncSettings};
use crate::plan::surplus;

/// Deletes at once.
const DELETES: usize = 8;

impl Driver {
    /// Deletes what is ours and has left Git, once everything that is in Git has been applied: the
    /// new home of what moves is there before the old one goes.
    pub(super) async fn prune(
        &mut self,
        settings: &SyncSettings,
        target: &Target,
        round: &mut Round,
    ) -> Result<(), Stopped> {
        self.memory.unpruned.clear();
        let inventory = &self.context.cluster.inventory;
        let surplus = surplus(&self.name, inventory.owned(&self.name), &self.objects.items);
        // A kind that could not be listed may have surplus of its own.
        let complete = self.memory.troubles.is_empty()
            && self.memory.unlisted.is_empty()
            && self.objects.waiting.is_empty()
            && self.objects.misplaced.is_empty()
            && self.objects.taken.is_empty();
        if !settings.prune || !complete || self.blocked.is_some() {
            self.memory.surplus = surplus.len();
            return Ok(());
        }
        self.memory.surplus = 0;
        let (cluster, sync, actor) = (&self.context.cluster, &self.name, &self.actor());
        for stage in surplus.chunk_by(|(a, _), (b, _)| a.kind == b.kind) {
            if self.superseded() {
                return Err(Stopped::Superseded);
            }
            let work = stream::iter(stage.to_vec()).map(|(key, observed)| async move {
                // Another Sync may want it by now.
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
                        audit::log(&self.name, Action::Pruned, object, Some(target), None, None);
                        round.changes.push((Action::Pruned, key));
                    }
                    Err(error) => {
                        let trouble = Trouble {
                            reason: Reason::PruneFailed,
                            message: crate::chain(&error),
                        };
                        self.memory.unpruned.insert(key, trouble);
                    }
                }
            }
        }
        let mut changes = round.changes.iter();
        let has_pruned = changes.any(|(action, _)| *action == Action::Pruned);
        if has_pruned && self.memory.unpruned.is_empty() {
            let kinds = self.objects.kinds().into_iter().collect();
            if let Err(error) = self.narrow(kinds).await {
                tracing::debug!(sync = %self.name, %error, "narrowing the ApplySet's kinds");
            }
        }
        Ok(())
    }
}
