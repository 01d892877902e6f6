//! What would be lost with objects: what a Namespace holds, and what a Sync that is deleted deletes.

use std::collections::{BTreeSet, HashSet};
use std::time::Duration;

use kube::ResourceExt as _;
use serde_json::Value;

use super::Context;
use crate::api::{self, Sync};
use crate::cluster::{Actor, WriteError, may_hold};
use crate::intent::{OnDeletion, SyncIntent};
use crate::manifest::{GroupKind, ObjectKey};
use crate::plan::{CONTAINS, Owned, Parting, SyncName, contained, surplus};

/// How long a kind's first list may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// The most Syncs that are looked at: a Sync may have Syncs, which have Syncs.
const MOST: usize = 64;

/// The most objects that the reasons name.
const NAMED: usize = 10;

/// Whether the deletion of an object of this kind may delete the objects of a Sync.
pub(crate) fn may_have_objects(kind: &GroupKind) -> bool {
    &*kind.group == api::GROUP && matches!(&*kind.kind, "Sync" | "GitRepository")
}

/// Why it is not known what goes with a Sync.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unknown {
    #[error(transparent)]
    Read(#[from] WriteError),
    #[error("Sync {name} cannot be read: {source}")]
    Sync {
        name: SyncName,
        source: serde_json::Error,
    },
    #[error("{kind} objects cannot be listed: {why}")]
    List { kind: GroupKind, why: String },
}

/// A Sync that goes.
struct Going {
    name: SyncName,
    /// The uid of the GitRepository that it goes with.
    owner: Option<String>,
}

impl Going {
    /// The Sync that is this object, or that goes with this GitRepository.
    fn of(key: &ObjectKey, uid: &str) -> Option<Self> {
        let namespace = key.namespace.as_deref()?;
        may_have_objects(&key.kind).then(|| Self {
            name: SyncName::new(namespace, &key.name),
            owner: (&*key.kind.kind == "GitRepository").then(|| uid.to_owned()),
        })
    }

    fn is(&self, live: &Sync) -> bool {
        let Some(owner) = &self.owner else {
            return true;
        };
        live.owner_references().iter().any(|of| of.uid == *owner)
    }
}

/// The kinds that a Sync's annotation and its status name. The status has them as well, in case somebody took
/// the annotation off while no operator ran.
pub(crate) fn contained_kinds(object: &Sync) -> BTreeSet<GroupKind> {
    let annotation = object.annotations().get(CONTAINS);
    let status = object.status.iter().flat_map(|status| &status.kinds);
    let named = annotation.into_iter().chain(status);
    named.flat_map(|kinds| contained(kinds)).collect()
}

impl Context {
    /// What would be lost with objects that are deleted, in words.
    pub(crate) async fn lost_with(&self, actor: &Actor, going: &[Owned]) -> Vec<String> {
        let mut lost = Vec::new();
        let is_holder = |kind| may_hold(kind) || may_have_objects(kind);
        let holders = going.iter().filter(|(key, _)| is_holder(&key.kind));
        let holders: Vec<&Owned> = holders.collect();
        if holders.is_empty() {
            return lost;
        }
        let uids: HashSet<String> = going.iter().map(|(_, seen)| seen.uid.to_string()).collect();
        let acting = self.cluster.as_(actor);
        for holder in holders {
            let (key, observed) = holder;
            lost.extend(match may_have_objects(&key.kind) {
                true => self.lost_with_sync(actor, holder, &uids).await,
                false => acting.lost_with(key, observed, &uids).await,
            });
            if lost.len() >= NAMED {
                break;
            }
        }
        lost
    }

    /// What would be deleted with a Sync, or with the Sync that a GitRepository asks for, beyond the objects with the
    /// uids `going`, in words. None if nothing would. If it cannot be known, the words say so.
    async fn lost_with_sync(
        &self,
        actor: &Actor,
        (key, observed): &Owned,
        going: &HashSet<String>,
    ) -> Option<String> {
        let first = Going::of(key, &observed.uid)?;
        match self.count_with(actor, first, going).await {
            Ok((0, false)) => None,
            Ok((count, is_more)) => {
                let more = if is_more { " or more" } else { "" };
                let objects = if count == 1 { "object" } else { "objects" };
                Some(format!(
                    "with {key}, {count}{more} {objects} of it would be deleted"
                ))
            }
            Err(error) => Some(format!(
                "what would be deleted with {key} is not known: {}",
                crate::chain(&error)
            )),
        }
    }

    /// How many objects go with a Sync, and whether there may be more.
    async fn count_with(
        &self,
        actor: &Actor,
        first: Going,
        going: &HashSet<String>,
    ) -> Result<(usize, bool), Unknown> {
        let (mut open, mut seen, mut uids) = (vec![first], HashSet::new(), HashSet::new());
        while let Some(next) = open.pop() {
            if !seen.insert(next.name.clone()) {
                continue;
            }
            if seen.len() > MOST {
                return Ok((uids.len(), true));
            }
            let live = self.live_sync(actor, &next.name).await?;
            let Some(live) = live.filter(|live| next.is(live)) else {
                continue;
            };
            for (key, observed) in self.taken_along(&next.name, &live).await? {
                open.extend(Going::of(&key, &observed.uid));
                if !going.contains(&*observed.uid) {
                    uids.insert(observed.uid.clone());
                }
            }
        }
        Ok((uids.len(), false))
    }

    async fn live_sync(&self, actor: &Actor, name: &SyncName) -> Result<Option<Sync>, Unknown> {
        let cluster = &self.cluster;
        let key = ObjectKey {
            kind: GroupKind::new(api::GROUP, "Sync"),
            namespace: Some((&*name.namespace).into()),
            name: (&*name.name).into(),
        };
        let served = cluster.kinds.preferred(&key.kind);
        let served = served.ok_or(WriteError::NotServed)?;
        let live: Option<Value> = cluster.as_(actor).live(&served, &key).await?;
        let read = live.map(serde_json::from_value).transpose();
        read.map_err(|source| Unknown::Sync {
            name: name.clone(),
            source,
        })
    }

    /// The objects that the deletion of a Sync deletes.
    pub(crate) async fn taken_along(
        &self,
        name: &SyncName,
        live: &Sync,
    ) -> Result<Vec<Owned>, Unknown> {
        let OnDeletion::Delete { adopted } = SyncIntent::from(live).on_deletion else {
            return Ok(Vec::new());
        };
        let cluster = &self.cluster;
        for kind in contained_kinds(live) {
            if let Some(served) = cluster.kinds.preferred(&kind) {
                let listed = cluster.watched(&served, PATIENCE).await;
                listed.map_err(|why| Unknown::List { kind, why })?;
            }
        }
        let inventory = &cluster.inventory;
        let mut all = surplus::<()>(name, inventory.owned(name), &Default::default());
        all.retain(|(key, observed)| inventory.is_proven(name, key, observed));
        let is_kept = |_: &ObjectKey, observed: &crate::plan::Observed| observed.modes.is_kept();
        let definition = |kind: &GroupKind| Some(cluster.kinds.preferred(kind)?.definition());
        Ok(Parting::of(all, adopted, is_kept, definition).going)
    }
}
