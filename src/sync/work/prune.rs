//! Deletes objects that have left Git.

use std::collections::{BTreeSet, HashSet};
use std::future::ready;
use std::sync::Arc;
use std::time::Duration;

use futures::{StreamExt as _, stream};
use jiff::Timestamp;

use super::Stopped;
use super::awaited::{may_have_moved_to, reserved_warning, unread_warning};
use super::brake::Judging;
use crate::api::Reason;
use crate::fleet::Laggard;
use crate::intent::SyncIntent;
use crate::manifest::{GroupKind, ObjectKey};
use crate::plan::{Observed, Owned, Parting, Release, SyncName, surplus};
use crate::sync::Driver;
use crate::sync::audit::{self, Action};
use crate::sync::memory::Trouble;
use crate::sync::report::Round;
use crate::sync::state::Look;

/// The most deletes, or releases, at once.
const DELETES: usize = 8;

/// How long is waited for what other Syncs of the same source want, and those of other sources with the same URL.
const OTHERS: Duration = Duration::from_secs(10);
const ELSEWHERE: Duration = Duration::from_secs(5);

impl Driver {
    /// Deletes our objects that have left Git, after everything in Git has been applied. So if an object
    /// moves, its new copy exists before the old one is deleted.
    pub(super) async fn prune(
        &mut self,
        intent: &SyncIntent,
        look: Look,
        round: &mut Round,
    ) -> Result<(), Stopped> {
        self.state.memory.unpruned.clear();
        self.forget_parted(look);
        let before = std::mem::take(&mut self.state.memory.leaving);
        let (mut surplus, unproven) = self.surplus();
        let mut unread = Vec::new();
        if intent.prune && !surplus.is_empty() && self.state.blocked.is_none() {
            unread = self.hear_others(intent, &surplus).await;
            self.inbox.await_syncs(&self.context, unread);
            // Those that have said it since do not wake this Sync.
            unread = self.unread(intent);
            surplus = self.surplus().0;
            unread = self.may_want(unread, &surplus).await;
        }
        if surplus.is_empty() {
            unread.clear();
        }
        if surplus.is_empty() || !intent.prune {
            self.state.before = None;
        }
        self.note_awaited(&surplus, &unread);
        self.note_unproven(&unproven);
        self.state.memory.surplus = surplus.len();
        if !intent.prune {
            self.state.memory.held = None;
            return Ok(());
        }
        // A kind that could not be listed may have other objects to prune.
        if self.state.blocked.is_some() || !self.state.memory.unlisted.is_empty() {
            return Ok(());
        }
        let Parting { going, released } = self.parting(surplus, intent.prune_adopted);
        let is_complete = self.is_complete();
        let judging = match (is_complete, look) {
            (false, _) => Judging::ByShare,
            (true, Look::Verify) => Judging::Anew,
            (true, _) => Judging::Whole,
        };
        let is_braked = self.is_braked(intent, &going, judging).await;
        if !is_complete {
            return Ok(());
        }
        if !unread.is_empty() {
            return Ok(());
        }
        self.release(intent, released, round).await;
        self.state.memory.surplus = match is_braked {
            true => going.len(),
            false => 0,
        };
        if is_braked {
            return Ok(());
        }
        self.note_newest();
        self.delete(intent, &going, round).await?;
        self.end_prune(intent, !before.is_empty(), round).await;
        Ok(())
    }

    /// Forgets what the inventory does not have any longer. A full verification starts anew.
    fn forget_parted(&mut self, look: Look) {
        let inventory = &self.context.cluster.inventory;
        self.state.memory.parted.retain(|key, uid| {
            look != Look::Verify && inventory.get(key).is_some_and(|seen| seen.uid == *uid)
        });
    }

    fn note_unproven(&mut self, unproven: &[Owned]) {
        self.state.memory.unproven = unproven.len();
        if let Some((key, _)) = unproven.first() {
            tracing::debug!(
                sync = %self.name, objects = unproven.len(), first = %key,
                "objects carry the marks of this Sync without its proof; they are left alone"
            );
        }
    }

    /// Takes note of when the newest object that stays was created.
    fn note_newest(&mut self) {
        let inventory = &self.context.cluster.inventory;
        let items = &self.state.objects.items;
        let newest = inventory.newest(items.keys());
        self.state.memory.newest = newest.and_then(|second| Timestamp::from_second(second).ok());
    }

    /// Whether everything in Git could be applied.
    fn is_complete(&self) -> bool {
        let (memory, objects) = (&self.state.memory, &self.state.objects);
        memory.troubles.is_empty()
            && objects.waiting.is_empty()
            && objects.misplaced.is_empty()
            && objects.taken.is_empty()
    }

    /// Which of the objects that leave are deleted, and which are released.
    pub(super) fn parting(&self, leaving: Vec<Owned>, with_adopted: bool) -> Parting {
        let kinds = &self.context.cluster.kinds;
        let (items, kept) = (&self.state.objects.items, &self.state.memory.kept);
        // Somebody may have taken the annotation off the live object.
        let is_kept = |key: &ObjectKey, observed: &Observed| {
            observed.modes.is_kept()
                || kept.contains(key)
                || items.get(key).is_some_and(|item| item.modes.is_kept())
        };
        let definition = |kind: &GroupKind| Some(kinds.preferred(kind)?.definition());
        Parting::of(leaving, with_adopted, is_kept, definition)
    }

    /// Takes towline's marks off objects that stay.
    async fn release(
        &mut self,
        intent: &SyncIntent,
        released: Vec<(ObjectKey, Observed, Release)>,
        round: &mut Round,
    ) {
        let (cluster, sync, actor) = (&self.context.cluster, &self.name, &self.actor(intent));
        let work = stream::iter(released).map(|(key, observed, why)| async move {
            if !cluster.inventory.is_owned(&key, sync) {
                return None;
            }
            let answer = cluster.as_(actor).disown(&key, &observed.uid).await;
            Some((key, observed.uid, why, answer))
        });
        let answers = work.buffer_unordered(DELETES).filter_map(ready);
        let answers: Vec<_> = answers.collect().await;
        for (key, uid, why, answer) in answers {
            match answer {
                Ok(()) => {
                    let (object, target) = ((&key, &*uid), self.state.target.as_ref());
                    audit::log(
                        &self.name,
                        Action::Released,
                        object,
                        target.map(|target| &target.seen),
                        None,
                        None,
                    );
                    self.state.memory.kept.remove(&key);
                    self.state.memory.parted.insert(key.clone(), uid);
                    round.released.push((key, why));
                }
                Err(error) => self.not_pruned(key, crate::chain(&error)),
            }
        }
    }

    fn not_pruned(&mut self, key: ObjectKey, message: String) {
        let trouble = Trouble {
            reason: Reason::PruneFailed,
            message,
        };
        self.state.memory.unpruned.insert(key, trouble);
    }

    async fn delete(
        &mut self,
        intent: &SyncIntent,
        going: &[Owned],
        round: &mut Round,
    ) -> Result<(), Stopped> {
        let actor = &self.actor(intent);
        let cluster = &self.context.cluster;
        cluster
            .outlive(going.iter().map(|(_, observed)| observed))
            .await;
        for stage in going.chunk_by(|(a, _), (b, _)| a.kind == b.kind) {
            if self.inbox.superseded() {
                return Err(Stopped::Superseded);
            }
            let (cluster, sync) = (&self.context.cluster, &self.name);
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
                    Ok(()) => self.pruned(key, uid, round),
                    Err(error) => self.not_pruned(key, crate::chain(&error)),
                }
            }
        }
        Ok(())
    }

    /// Records that an object which left Git was deleted.
    pub(super) fn pruned(&mut self, key: ObjectKey, uid: Arc<str>, round: &mut Round) {
        let asked = self.state.target.as_ref().map(|target| &target.seen);
        let object = (&key, &*uid);
        audit::log(&self.name, Action::Pruned, object, asked, None, None);
        self.state.memory.parted.insert(key.clone(), uid);
        round.changes.push((Action::Pruned, key));
    }

    /// Finds out what is not gone yet. If nothing is left, ends the approval, and names only the kinds that are left.
    async fn end_prune(&mut self, intent: &SyncIntent, was_leaving: bool, round: &Round) {
        let items = &self.state.objects.items;
        let leaving = self
            .leaving(intent, |key, observed| {
                observed.deleting && !items.contains_key(key)
            })
            .await;
        let is_over = leaving.is_empty();
        let memory = &mut self.state.memory;
        memory.leaving = leaving;
        if !is_over || !memory.unpruned.is_empty() {
            return;
        }
        memory.held = None;
        let mut changes = round.changes.iter();
        let has_pruned = changes.any(|(action, _)| *action == Action::Pruned);
        if has_pruned || was_leaving || !round.released.is_empty() {
            let mut kinds: BTreeSet<GroupKind> = self.state.objects.kinds().into_iter().collect();
            // Objects of a kind that is only away are still there.
            let served = &self.context.cluster.kinds;
            let contained = self.state.parent.contained.iter();
            kinds.extend(contained.filter(|kind| served.is_away(kind)).cloned());
            if let Err(error) = self.narrow(kinds).await {
                tracing::debug!(sync = %self.name, %error, "cannot remove kinds from the ApplySet");
            }
        }
    }

    /// What is ours, has left Git, and no other Sync wants; and what only has our marks, without our proof.
    pub(super) fn surplus(&self) -> (Vec<Owned>, Vec<Owned>) {
        let inventory = &self.context.cluster.inventory;
        let mut owned = inventory.owned(&self.name);
        let parted = &self.state.memory.parted;
        owned.retain(|(key, observed)| parted.get(key) != Some(&observed.uid));
        let surplus = surplus(&self.name, owned, &self.state.objects.items);
        let is_proven = |(key, observed): &(_, _)| inventory.is_proven(&self.name, key, observed);
        surplus.into_iter().partition(is_proven)
    }

    /// Takes note of what stays although it has left this Sync: others will want it, or cannot say whether they do.
    fn note_awaited(&mut self, surplus: &[Owned], unread: &[SyncName]) {
        let mut awaiting = Vec::new();
        if !unread.is_empty() {
            let keys = surplus.iter().map(|(key, _)| key);
            awaiting.push(unread_warning(keys, unread));
        }
        let reserved = self.context.cluster.inventory.reserved(&self.name);
        if !reserved.is_empty() {
            awaiting.push(reserved_warning(&reserved));
        }
        self.state.memory.awaiting = awaiting;
    }

    /// The other Syncs that cannot say what they want of the revision that is live, or of the newest one; and those that
    /// have not said it in time: of the same source, or of another one of this namespace that follows the same ref.
    fn unread(&self, intent: &SyncIntent) -> Vec<SyncName> {
        let live = self.state.target.as_ref();
        let live = live.map(|target| target.revision.clone());
        let revisions = [live, self.inbox.newest_revision()];
        let revisions: Vec<&str> = revisions.iter().flatten().map(String::as_str).collect();
        let fleet = &self.context.fleet;
        let mut unread = fleet.unread(&self.name, &intent.source, &revisions);
        let silent = fleet.planning(&self.name, &intent.source, &revisions);
        // The other GitRepository may be suspended, or its server may not answer. Those of other namespaces hold up nothing.
        let behind = fleet.planning_elsewhere(&self.name, &intent.source, &revisions, false);
        let silent = silent.into_iter().chain(behind).map(|(sync, _)| sync);
        unread.extend(silent.filter(|sync| *sync != self.name));
        unread.sort_unstable();
        unread.dedup();
        unread
    }

    /// Those of these Syncs that may want something of what is left to prune. One that has been broken for long keeps nobody
    /// from pruning: its folder has not changed since this Sync had all of it, and names none of it.
    async fn may_want(&self, mut syncs: Vec<SyncName>, surplus: &[Owned]) -> Vec<SyncName> {
        let state = &self.state;
        let (Some(before), Some(target)) = (state.before.clone(), &state.target) else {
            return syncs;
        };
        if syncs.is_empty() {
            return syncs;
        }
        let leaving: HashSet<Arc<str>> = surplus.iter().map(|(key, _)| key.name.clone()).collect();
        let now = Arc::clone(&target.seen.snapshot);
        let fleet = self.context.fleet.clone();
        let all = syncs.clone();
        let changed = tokio::task::spawn_blocking(move || {
            let may_want = |sync: &SyncName| {
                let folder = fleet.syncs.read(sync).folder;
                folder.is_none_or(|folder| may_have_moved_to(&folder, (&*before, &*now), &leaving))
            };
            syncs.retain(may_want);
            syncs
        });
        changed.await.unwrap_or(all)
    }

    /// Waits until the other Syncs of the same source have said what they want: what leaves this one may have gone
    /// to another one in the same commit. Returns those that cannot say it, or have not.
    pub(super) async fn hear_others(
        &mut self,
        intent: &SyncIntent,
        surplus: &[Owned],
    ) -> Vec<SyncName> {
        let Some(target) = &self.state.target else {
            return Vec::new();
        };
        let fleet = &self.context.fleet;
        let changes = fleet.syncs.changes();
        let revisions = || {
            let newest = self.inbox.newest_revision().unwrap_or_default();
            [target.revision.clone(), newest]
        };
        let beside = |revisions: &[String; 2]| {
            let revisions = revisions.each_ref().map(String::as_str);
            fleet.planning(&self.name, &intent.source, &revisions)
        };
        let (at, silent) = &self.state.memory.silent;
        let all = async {
            loop {
                let revisions = revisions();
                // Those that were waited for in vain are not waited for again: not at the same revision.
                let is_known = |one| *at == revisions && silent.contains(one);
                if beside(&revisions).iter().all(is_known) {
                    return;
                }
                changes.next().await;
            }
        };
        // One that cannot say it in time is not waited for here: what may be its own stays until it does.
        if tokio::time::timeout(OTHERS, all).await.is_err() {
            let revisions = revisions();
            let silent = beside(&revisions);
            self.state.memory.silent = (revisions, silent);
        }
        // What is in this namespace is no other namespace's.
        let is_inside = |(key, _): &Owned| key.namespace.as_deref() == Some(&*self.name.namespace);
        let everywhere = !surplus.iter().all(is_inside);
        let lagging = || {
            let revisions = revisions();
            let revisions = revisions.each_ref().map(String::as_str);
            fleet.planning_elsewhere(&self.name, &intent.source, &revisions, everywhere)
        };
        let known = &self.state.memory.laggards;
        // Those that were waited for in vain are not waited for again.
        let waits = |one: &Laggard| !known.contains(one);
        let behind = lagging();
        fleet.hurry(behind.iter().filter(|one| waits(one)).map(|(sync, _)| sync));
        let all = async {
            while lagging().iter().any(waits) {
                changes.next().await;
            }
        };
        if tokio::time::timeout(ELSEWHERE, all).await.is_err() {
            self.state.memory.laggards = lagging();
        }
        self.unread(intent)
    }
}
