//! What a Sync says of the newest revision, so that others do not prune what it wants: which objects it will want, or that it
//! does not know.

use std::collections::HashSet;

use super::Driver;
use super::delivery::digest;
use super::newest::Newest;
use super::state::State;
use super::target::{self, Loaded, Objects, Refused, Target, TargetError, sync_of};
use crate::api::Reason;
use crate::desired::Inputs;
use crate::intent::{RenderIntent, SyncIntent};
use crate::manifest::ObjectKey;
use crate::plan::SyncName;

impl Driver {
    /// Says which objects this Sync will want once it goes on to the newest revision, so that the Sync that has them now does
    /// not prune them: its dependencies are not ready, it is suspended, or it is pinned to another revision.
    pub(super) async fn reserve_objects(&mut self, intent: &SyncIntent, newest: &Newest) {
        let revision = newest.revision();
        if self.state.ahead.planned.as_ref() == Some(&revision) {
            return;
        }
        let scope = &*target::scope(intent, newest);
        let Some(inputs) = self.inputs(intent, newest).await else {
            self.tell_unread();
            return;
        };
        if self.state.is_unread(newest, scope, &inputs) {
            self.tell_unread();
            return;
        }
        let state = &self.state;
        let is_known = |target: &&Target| target.is_still(newest, scope, &inputs);
        if state
            .target
            .as_ref()
            .is_some_and(|target| is_known(&target))
        {
            self.reserve_nothing();
            self.tell_plan(Some(revision));
            return;
        }
        let judged = state.pin.as_ref().and_then(|pin| pin.judged.as_ref());
        let ahead = state.ahead.read.as_deref().into_iter().chain(judged);
        let ahead = ahead
            .filter(is_known)
            .map(|target| target.at(newest))
            .next();
        let read = match ahead {
            Some(target) => Ok(Loaded::New(Box::new(target))),
            None => self.read(intent, newest, &inputs, false).await,
        };
        match read {
            Ok(Loaded::New(target)) => {
                let stays = intent.pin.is_some();
                if intent.suspended.is_none() && !stays {
                    let content = digest(&target.desired);
                    self.state.report.delivery.read(&revision, content);
                }
                let wanted = self.reserve(intent, &target).await;
                // One that is pinned goes on to apply what it has.
                if !stays {
                    self.keep_at_first(&wanted).await;
                    self.give_up_all_but(&wanted);
                }
                self.state.ahead.read = Some(target);
                self.tell_plan(Some(revision));
            }
            Ok(Loaded::Same) => self.tell_plan(Some(revision)),
            Err(error) if asks_for_nothing(error.reason()) => self.tell_nothing(revision),
            Err(error) => {
                if error.is_settled() && !matches!(error, TargetError::Fetching(_)) {
                    let again = error.again_after().is_some();
                    let refused = Refused::new(newest, scope.clone(), inputs, again);
                    self.state.ahead.refused = Some(Box::new(refused));
                }
                self.tell_unread();
            }
        }
    }

    /// Keeps other Syncs from pruning what this one wants from now on. Returns that.
    pub(super) async fn reserve(
        &mut self,
        intent: &SyncIntent,
        target: &Target,
    ) -> HashSet<ObjectKey> {
        let (within, rules) = (self.limit(intent), &intent.ignore_fields);
        let kinds = &self.context.cluster.kinds;
        let objects = Objects::resolve(target, kinds, within, rules);
        let denied = self.unwritable_ahead(intent, &objects.items).await;
        let wanted = objects.items.into_keys();
        let wanted = wanted.filter(|key| !denied.contains(key)).collect();
        let inventory = &self.context.cluster.inventory;
        inventory.reserve(&self.name, &wanted);
        self.state.ahead.gives_up = false;
        wanted
    }

    /// Takes back that this Sync will want anything but what it has claimed.
    pub(super) fn reserve_nothing(&mut self) {
        let inventory = &self.context.cluster.inventory;
        inventory.reserve(&self.name, &HashSet::new());
        self.state.ahead.gives_up = false;
    }

    /// Leaves to other Syncs what the newest revision does not ask for, although it is not the target yet.
    pub(super) fn give_up_all_but(&mut self, wanted: &HashSet<ObjectKey>) {
        let inventory = &self.context.cluster.inventory;
        inventory.release(&self.name, wanted);
        self.state.ahead.gives_up = true;
    }

    /// After a start, claims what this Sync has and will want. Nobody takes anything from a Sync that has claimed nothing yet.
    async fn keep_at_first(&mut self, wanted: &HashSet<ObjectKey>) {
        if self.state.target.is_some() {
            return;
        }
        let kinds = self.state.parent.contained.clone();
        if self.watch(&kinds).await.is_empty() {
            let inventory = &self.context.cluster.inventory;
            inventory.keep_at_first(&self.name, wanted);
        }
    }

    /// Tells other Syncs for which revision they know what this one wants.
    pub(super) fn tell_plan(&mut self, planned: Option<String>) {
        self.tell(planned, None);
    }

    /// Tells other Syncs that this one cannot say what it wants of the newest revision, unless it has said so before.
    pub(super) fn tell_unread(&mut self) {
        let newest = self.inbox.newest_revision();
        if newest.is_some() && self.state.ahead.planned != newest {
            self.tell(self.state.ahead.planned.clone(), newest);
        }
    }

    fn tell(&mut self, planned: Option<String>, unread: Option<String>) {
        if self.state.ahead.planned == planned && self.state.ahead.unread == unread {
            return;
        }
        (self.state.ahead.planned, self.state.ahead.unread) = (planned, unread);
        let brings = self.brings();
        let fleet = &self.context.fleet;
        fleet.update_sync(&self.name, |view| {
            (view.planned, view.unread) = self.told_by(view);
            view.brings = brings;
        });
    }

    /// The Syncs of this namespace among its own objects, as they are.
    fn brings(&self) -> Vec<(SyncName, u64)> {
        let inventory = &self.context.cluster.inventory;
        let own = self.own_syncs().filter_map(|(key, sync)| {
            let known = inventory.get(key).filter(|known| !known.deleting)?;
            Some((sync, known.version))
        });
        own.collect()
    }

    /// The Syncs of this namespace among its own objects.
    pub(super) fn own_syncs(&self) -> impl Iterator<Item = (&ObjectKey, SyncName)> {
        let keys = self.state.objects.items.keys();
        keys.filter_map(|key| {
            let sync = sync_of(key)?;
            (sync.namespace == self.name.namespace).then_some((key, sync))
        })
    }

    /// While the newest revision is not taken up, what it asks for is unknown, unless that was told before.
    pub(super) fn tell_refused(&mut self) {
        let state = &self.state;
        let Some(blocked) = &state.blocked else {
            return;
        };
        // What a pinned Sync wants of the newest revision is told beforehand.
        let attempted = state.requests.attempted.clone();
        let attempted = attempted.filter(|_| state.pin.is_none());
        match attempted.filter(|_| asks_for_nothing(blocked.reason)) {
            Some(attempted) => self.tell_nothing(attempted),
            None => self.tell_unread(),
        }
    }

    /// Tells other Syncs that this one wants nothing of a revision, so that nothing can have moved to it.
    fn tell_nothing(&mut self, revision: String) {
        self.reserve_nothing();
        self.tell_plan(Some(revision));
    }
}

/// Whether a revision that is refused for this reason has no object for the Sync: its folder is not there, or empty. What is
/// live stays all the same, for somebody may have removed it by mistake.
fn asks_for_nothing(reason: Reason) -> bool {
    matches!(reason, Reason::PathNotFound | Reason::EmptyRender)
}

impl State {
    /// Whether the newest revision is known to be one that cannot be read.
    fn is_unread(&self, newest: &Newest, scope: &RenderIntent, inputs: &Inputs) -> bool {
        let of_pin = self.pin.as_ref().and_then(|pin| pin.unread.as_ref());
        let of_pin = of_pin.map(|(refused, _)| refused);
        let mut known = self.ahead.refused.as_deref().into_iter().chain(of_pin);
        known.any(|refused| refused.is(newest, scope, inputs))
    }
}
