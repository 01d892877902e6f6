//! Which objects a Sync may keep from others: those of its own namespace, and those that its account may write.
//!
//! A Sync that names an object in Git has it, and other Syncs are told so. Anybody who may push could otherwise name the
//! objects of another namespace: its Syncs could not make them, nor prune them.

use std::collections::{BTreeMap, HashMap, HashSet};

use futures::{StreamExt as _, stream};
use tokio::time::Instant;

use super::LONGEST_TROUBLE;
use crate::cluster::ServedKind;
use crate::desired::Item;
use crate::intent::SyncIntent;
use crate::manifest::{GroupKind, ObjectKey};
use crate::sync::Driver;
use crate::sync::memory::{Rights, WriteScope};
use crate::sync::report::Round;
use crate::sync::state::Look;
use crate::sync::target::{Objects, Taken};
use crate::text::shorten;

/// The most questions at once.
const QUESTIONS: usize = 8;

impl Driver {
    /// Which objects of a commit that was just read the account may not write. The commit's claim, which follows, does not
    /// ask again.
    pub(in crate::sync) async fn unwritable_ahead(
        &mut self,
        intent: &SyncIntent,
        items: &HashMap<ObjectKey, Item>,
    ) -> HashSet<ObjectKey> {
        self.state.memory.rights.take_denied();
        let denied = self.unwritable(intent, items).await;
        self.state.memory.rights.deny(denied.clone());
        denied
    }

    /// Which of these objects the account of this Sync may not write. They are not claimed, and the API server refuses
    /// their applies. None of the Sync's own namespace: who may write a Sync there may use all of its accounts.
    async fn unwritable(
        &mut self,
        intent: &SyncIntent,
        items: &HashMap<ObjectKey, Item>,
    ) -> HashSet<ObjectKey> {
        let actor = self.actor(intent);
        if actor.is_operator() {
            return HashSet::new();
        }
        let now = Instant::now();
        let rights = &mut self.state.memory.rights;
        rights.refresh(actor.name(), now);
        let mut known = rights.take_denied();
        known.retain(|key| items.contains_key(key));
        let mut scopes: BTreeMap<WriteScope, Vec<ObjectKey>> = BTreeMap::new();
        let is_inside = |key: &&ObjectKey| key.namespace.as_deref() == Some(&*self.name.namespace);
        for key in items.keys().filter(|key| !is_inside(key)) {
            if !known.contains(key) && !rights.has(key) {
                let scope = (key.kind.clone(), key.namespace.clone(), None);
                scopes.entry(scope).or_default().push(key.clone());
            }
        }
        let cluster = &self.context.cluster;
        let acting = &cluster.as_(&actor);
        let served = |kind: &GroupKind| cluster.kinds.preferred(kind);
        let scopes = scopes.into_iter();
        let scopes: Vec<(WriteScope, ServedKind, Vec<ObjectKey>)> = scopes
            .filter_map(|(scope, keys)| {
                let served = served(&scope.0)?;
                Some((scope, served, keys))
            })
            .collect();
        let answers = stream::iter(scopes).map(|(scope, served, keys)| async move {
            let may = acting.may_apply(&served, scope.1.as_deref(), None).await;
            (may, scope, served, keys)
        });
        let answers: Vec<_> = answers.buffer_unordered(QUESTIONS).collect().await;
        let mut denied = HashMap::new();
        for (may, scope, served, keys) in answers {
            match may {
                true => rights.add(scope, now),
                false => denied.extend(keys.into_iter().map(|key| (key, served.clone()))),
            }
        }
        // A role may name single objects.
        let (named, rest) = Rights::ask(denied.keys().cloned().collect());
        known.extend(rest);
        let asked = named.into_iter().map(|key| {
            let served = &denied[&key];
            async move {
                let namespace = key.namespace.as_deref();
                let may = acting.may_apply(served, namespace, Some(&key.name)).await;
                (may, key)
            }
        });
        let answers: Vec<(bool, ObjectKey)> = stream::iter(asked)
            .buffer_unordered(QUESTIONS)
            .collect()
            .await;
        for (may, key) in answers {
            match may {
                true => rights.add((key.kind, key.namespace, Some(key.name)), now),
                false => drop(known.insert(key)),
            }
        }
        known
    }

    /// Claims the objects of a target, but for those that the account may not write. What another Sync has is set apart.
    pub(super) async fn claim(&mut self, intent: &SyncIntent, objects: &mut Objects) {
        let denied = self.unwritable(intent, &objects.items).await;
        let inventory = &self.context.cluster.inventory;
        let items = objects.items.keys();
        let gives_up =
            |key: &&ObjectKey| self.state.ahead.gives_up && !inventory.will_want(&self.name, key);
        // The index is locked while it takes the claims.
        let given_up: HashSet<&ObjectKey> = items.clone().filter(gives_up).collect();
        let items = items.filter(|key| !denied.contains(*key) && !given_up.contains(key));
        let refused = inventory.claim(&self.name, items);
        let mut taken: Vec<(ObjectKey, Taken)> = refused
            .into_iter()
            .map(|(key, owner)| (key, Taken::By(owner)))
            .collect();
        for key in &denied {
            // Whether another Sync has it is not told. It is the same to the account: it may not write it.
            if inventory.holder(&self.name, key).is_some() {
                let why = self.refusal(intent, key).await;
                taken.push((key.clone(), Taken::Denied(why)));
            }
        }
        for (key, by) in taken {
            if let Some(item) = objects.items.remove(&key) {
                objects.taken.push((key, item.index, by));
            }
        }
        self.state.memory.unclaimed = denied;
    }

    /// Has what was not claimed claimed, if the API server took it after all: the right was given a moment ago.
    pub(super) fn claim_later(&mut self, round: &Round) {
        let unclaimed = &self.state.memory.unclaimed;
        let mut changes = round.changes.iter();
        if changes.any(|(_, key)| unclaimed.contains(key)) {
            self.state.look_at(Look::Everything);
            self.state.retry_later(Instant::now());
        }
    }

    /// What the API server says to an account that may not write an object.
    async fn refusal(&self, intent: &SyncIntent, key: &ObjectKey) -> String {
        let actor = self.actor(intent);
        let acting = self.context.cluster.as_(&actor);
        let refused = match self.context.cluster.kinds.preferred(&key.kind) {
            Some(served) => acting.patch(&served, key, &serde_json::json!({})).await,
            None => Ok(()),
        };
        match refused {
            Err(error) => shorten(&crate::chain(&error), LONGEST_TROUBLE),
            // It was allowed a moment ago, and the next look finds that.
            Ok(()) => format!("{} may not write it", actor.name()),
        }
    }
}
