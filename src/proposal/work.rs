//! Plans one pull request: for each Sync of the repository, both commits are rendered, and objects that differ are tried out
//! as dry runs.
//!
//! # What the author of a request learns
//!
//! A comment holds what both commits hold, and what the API server says about an object that it refuses. Values of Secrets and
//! of encrypted files are not in it, because the renders had stand-ins for them. Values of live objects are not in it either:
//! they are compared, and never shown.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use kube::api::ListParams;
use kube::{Api, ResourceExt as _};
use serde_json::Value;

use super::about::{hooks, standstill};
use super::comment::{Fate, ObjectPlan};
use super::delta::Delta;
use super::fields::{Fields, fields};
use super::moves::Moves;
use super::reach::{PerReach, Reach, shares};
use super::read::{Both, Read, SyncError, Work};
use crate::api::Sync;
use crate::chain;
use crate::chain::refusal;
use crate::desired::{self, Desired, Limit};
use crate::intent::SyncIntent;
use crate::manifest::{GroupVersionKind, ObjectKey};
use crate::plan::{Observed, SyncName, placed};
use crate::preview::{
    Action, Change, Manifests, Outlook, Preview, PreviewError, held, manifests_of, observed,
    prune_plan,
};
use crate::sync::had;

/// Dry runs at once. Syncs have many times as many.
const PARALLEL: usize = 4;

/// The most Syncs of a repository, and the most objects of a request, that are tried out.
const MOST_SYNCS: usize = 1000;
const MOST_OBJECTS: usize = 500;

/// The most objects whose renders are kept until all Syncs are read. Further Syncs are rendered again.
const MOST_KEPT: usize = 20_000;

/// Why a request cannot be planned at all.
#[derive(Debug, thiserror::Error)]
pub(super) enum WorkError {
    /// The API server does not list Syncs.
    #[error("its Syncs cannot be read: {0}")]
    Syncs(String),
}

/// The kinds that the definitions of the newest commit bring.
type Defined = HashSet<GroupVersionKind>;

/// What is known of a Sync before its objects are tried out.
enum Look {
    /// All.
    Done(Fate),
    /// What differs is to be tried out.
    Differs(Box<(Both, Delta)>),
    /// The same, but it has to be read again.
    Again,
}

/// Which hooks of a chart would run.
fn hooks_of(sync: &Sync, both: &Both, intent: &SyncIntent) -> Option<String> {
    let status = sync.status.as_ref();
    let is_upgrade = status.is_some_and(|status| status.last_applied_revision.is_some());
    hooks(both.base.as_deref(), &both.head, intent, is_upgrade)
}

impl Work<'_> {
    /// What would become of the objects of each Sync of the repository.
    pub(super) async fn plan(&self) -> Result<Vec<(String, Fate)>, WorkError> {
        let (syncs, more) = self.syncs().await?;
        let (mut looks, mut defined, mut kept) = (Vec::new(), Defined::new(), 0);
        let mut moves = Moves::default();
        for sync in &syncs {
            let (mut look, mut tally) =
                (self.looked(sync, &mut defined).await, PerReach::default());
            if let Look::Differs(found) = &look {
                let (both, delta) = &**found;
                tally = delta.tally();
                moves.note(&self.owner(sync), delta);
                let base = both.base.as_ref().map_or(0, |base| base.objects().len());
                kept += base + both.head.objects().len();
                if kept > MOST_KEPT {
                    look = Look::Again;
                }
            }
            looks.push((look, tally));
        }
        // Shared when all are known, so that no Sync's many objects keep another's ClusterRoleBinding out.
        let tallies: Vec<PerReach> = looks.iter().map(|(_, tally)| *tally).collect();
        let mut fates = Vec::new();
        for ((sync, (look, _)), share) in
            syncs.iter().zip(looks).zip(shares(&tallies, MOST_OBJECTS))
        {
            let look = match look {
                Look::Again => self.looked(sync, &mut defined).await,
                look => look,
            };
            let fate = match look {
                Look::Differs(found) => {
                    let (both, delta) = *found;
                    let tried = self.tried(sync, &both, delta, (share, &moves)).await;
                    tried.unwrap_or_else(|error| broken(&error))
                }
                Look::Done(fate) => fate,
                Look::Again => continue,
            };
            fates.push((sync.name_any(), fate));
        }
        if more > 0 {
            let why = format!("a plan looks at {MOST_SYNCS} Syncs of a repository");
            fates.push((format!("{more} more Syncs"), Fate::Unplanned(why)));
        }
        let objects = fates.iter_mut().flat_map(|(_, fate)| fate.objects());
        objects.for_each(|object| object.settle(&defined));
        Ok(fates)
    }

    /// The Syncs of the repository, and how many more there are.
    async fn syncs(&self) -> Result<(Vec<Sync>, usize), WorkError> {
        let api: Api<Sync> = Api::namespaced(self.context.client.clone(), &self.source.namespace);
        let listed = api.list(&ListParams::default().match_any()).await;
        let mut syncs = listed
            .map_err(|error| {
                WorkError::Syncs(match error {
                    kube::Error::Api(status) => refusal(&status),
                    _ => "no answer".to_owned(),
                })
            })?
            .items;
        syncs.retain(|sync| {
            SyncIntent::from(sync).source == *self.source.name
                && sync.metadata.deletion_timestamp.is_none()
        });
        syncs.sort_by_key(|sync| sync.name_any());
        let more = syncs.len().saturating_sub(MOST_SYNCS);
        syncs.truncate(MOST_SYNCS);
        Ok((syncs, more))
    }

    fn owner(&self, sync: &Sync) -> SyncName {
        SyncName::new(&self.source.namespace, &sync.name_any())
    }

    /// The other Sync that has an object, or that the request gives the same object first.
    fn holder(&self, owner: &SyncName, key: &ObjectKey, moves: &Moves) -> Option<SyncName> {
        let inventory = &self.context.cluster.inventory;
        let first = || {
            let taker = moves.taker(key, owner)?;
            let is_free = inventory.holder(taker, key).is_none();
            is_free.then(|| taker.clone())
        };
        inventory.holder(owner, key).or_else(first)
    }

    fn intent(&self, sync: &Sync) -> SyncIntent {
        let mut intent = SyncIntent::from(sync);
        intent.render.source_ignore = Arc::clone(&self.intent.ignore);
        intent
    }

    async fn looked(&self, sync: &Sync, defined: &mut Defined) -> Look {
        let look = self.look(sync, defined).await;
        look.unwrap_or_else(|error| Look::Done(broken(&error)))
    }

    /// Renders both commits, and compares them.
    async fn look(&self, sync: &Sync, defined: &mut Defined) -> Result<Look, SyncError> {
        let owner = self.owner(sync);
        let intent = self.intent(sync);
        let mut both = match self.read(sync, &intent).await? {
            Read::Same(brought) => {
                defined.extend(brought);
                return Ok(Look::Done(Fate::Untouched));
            }
            Read::Both(both) => both,
            Read::Neither(why) => {
                return Ok(Look::Done(Fate::Unplanned(format!(
                    "it cannot be rendered, with and without this request: {why}"
                ))));
            }
        };
        defined.extend(both.defined.drain());
        let within = self.context.limit(&owner, &intent);
        let delta = self.delta(&both, within).await;
        if delta.changed.is_empty() && delta.gone.is_empty() {
            let content =
                |desired: &Desired| desired.release().map(|release| release.content.clone());
            // A release is its objects and its hooks.
            if both.base.as_deref().and_then(content) == content(&both.head) {
                return Ok(Look::Done(Fate::Untouched));
            }
            let mut notes: Vec<String> = both.note.iter().cloned().collect();
            notes.extend(standstill(&intent));
            let change = || "hooks of the chart change, which are not tried out".to_owned();
            notes.push(hooks_of(sync, &both, &intent).unwrap_or_else(change));
            return Ok(Look::Done(Fate::Changed {
                objects: Vec::new(),
                over: 0,
                untried: 0,
                notes,
            }));
        }
        Ok(Look::Differs(Box::new((both, delta))))
    }

    /// Tries out what differs, as far as it has room.
    async fn tried(
        &self,
        sync: &Sync,
        both: &Both,
        mut delta: Delta,
        (room, moves): (PerReach, &Moves),
    ) -> Result<Fate, SyncError> {
        let owner = self.owner(sync);
        let intent = self.intent(sync);
        let within = self.context.limit(&owner, &intent);
        let mut notes: Vec<String> = both.note.iter().cloned().collect();
        // What another Sync of the request takes over is not deleted.
        let all = delta.gone.len();
        delta.gone.retain(|key| moves.taker(key, &owner).is_none());
        let moved = all - delta.gone.len();
        if moved > 0 {
            notes.push(match moved {
                1 => "1 object moves to another Sync of this repository".to_owned(),
                _ => format!("{moved} objects move to other Syncs of this repository"),
            });
        }
        let over = delta.limit(room);
        if over > 0 {
            notes.push(format!(
                "{over} more objects differ, and were not tried out: a plan has at most {MOST_OBJECTS}; split the request"
            ));
        }
        if !intent.render.helm.lookups.is_empty() {
            notes.push("a plan looks nothing up in the cluster: `lookup` found nothing".to_owned());
        }
        notes.extend(standstill(&intent));
        notes.extend(hooks_of(sync, both, &intent));
        let told = notes.len();
        let (before, after) = self.manifests(both, &delta, &mut notes).await?;
        let mut untried = notes.len() - told;
        let actor = self.context.policy.actor(&owner, &intent);
        let viewer = self.context.cluster.viewer(&actor);
        let holder = |key: &ObjectKey, _: Option<&Observed>| self.holder(&owner, key, moves);
        let is_moving = |key: &&ObjectKey| {
            let from = self.context.cluster.inventory.holder(&owner, key);
            from.is_some_and(|from| moves.is_given_up(key, &from))
        };
        let mut preview = Preview {
            viewer: &viewer,
            owner: &owner,
            intent: &intent,
            desired: &both.head,
            live: HashMap::new(),
            holder: &holder,
            moving: delta.changed.values().filter(is_moving).cloned().collect(),
            appliers: &self.context.cluster.appliers,
            within,
            only: Some(delta.changed.keys().copied().collect()),
            tries_all: false,
            names_unpruned: true,
            conceals: true,
            parallel: PARALLEL,
        };
        for key in &delta.gone {
            match preview.find(key).await {
                Ok(found) => drop(found.map(|live| preview.live.insert(key.clone(), live))),
                Err(error) => {
                    untried += 1;
                    notes.push(unknown(&error));
                }
            }
        }
        let wanted: BTreeMap<usize, Value> = after
            .iter()
            .filter_map(|(index, manifest)| {
                let key = delta.changed.get(index)?;
                Some((*index, placed(manifest.body.clone(), key)))
            })
            .collect();
        let outlook = preview.outlook(after).await;
        notes.extend(self.braked(sync, &intent, &outlook).await);
        let misplaced = outlook.misplaced.iter();
        let mut objects: Vec<ObjectPlan> = misplaced
            .filter_map(|(index, why)| misplaced_object(&both.head, *index, why))
            .collect();
        for change in outlook.changes {
            match change {
                Ok(change) => {
                    let was = delta
                        .before
                        .get(&change.key)
                        .and_then(|index| before.get(index));
                    let was = was.map(|manifest| placed(manifest.body.clone(), &change.key));
                    let is = change.index.and_then(|index| wanted.get(&index));
                    objects.push(self.object(&owner, &both.head, change, was.as_ref(), is));
                }
                Err(error) => match forbidden(&both.head, &delta, &error) {
                    Some(object) => objects.push(object),
                    None => {
                        untried += 1;
                        notes.push(unknown(&error));
                    }
                },
            }
        }
        objects.sort_by_key(|object| object.reach);
        Ok(Fate::Changed {
            objects,
            over,
            untried,
            notes,
        })
    }

    /// Whether the deletions would be held until a person approves them.
    async fn braked(&self, sync: &Sync, intent: &SyncIntent, outlook: &Outlook) -> Option<String> {
        let owner = self.owner(sync);
        let uid = sync.metadata.uid.as_deref().unwrap_or_default();
        let before = sync.status.as_ref().and_then(had);
        let plan = prune_plan(outlook, (&owner, uid), intent, before)?;
        let lost = match intent.prune_limit.holds_contents {
            true => {
                let actor = self.context.policy.actor(&owner, intent);
                self.context.lost_with(&actor, &outlook.going).await
            }
            false => Vec::new(),
        };
        held(plan, lost, &owner)
    }

    fn object(
        &self,
        owner: &SyncName,
        head: &Desired,
        change: Change,
        was: Option<&Value>,
        is: Option<&Value>,
    ) -> ObjectPlan {
        let Change {
            key,
            index,
            mut action,
            live,
            wanted: _,
            holder,
        } = change;
        let is_new_to_git = was.is_none() && index.is_some() && live.is_some();
        let marked = live.as_ref().and_then(|live| observed(&key, live));
        let is_marked = marked.is_some_and(|marked| marked.owner == *owner);
        let remark = match (holder, &action) {
            (Some(_), Action::Change) => Some("which moves here from another Sync"),
            (None, Action::Change) if is_new_to_git && !is_marked => {
                Some("which exists in the cluster and would be taken over")
            }
            _ => None,
        };
        let mask = |path: &str, value: &str| {
            let place = format!("{key} {path}");
            format!(
                "#{}",
                &hex::encode(self.context.key.digest_for(&place, value))[..12]
            )
        };
        let is_secret = (&*key.kind.group, &*key.kind.kind) == ("", "Secret");
        // The live values were not compared, since that would tell whether a guess is right.
        let is_fixed = live.as_ref().is_some_and(|live| live["immutable"] == true);
        if is_secret && is_fixed && action == Action::Change && data(was) != data(is) {
            let why = "the Secret in the cluster is immutable: its data cannot be changed";
            action = Action::Refuse(why.to_owned());
        }
        // What is created is shown whole, and what leaves is not.
        let was = was.filter(|_| live.is_some());
        let fields = match index {
            Some(_) => fields(was, is, is_secret.then_some(&mask)),
            None => Fields::default(),
        };
        let place = index.and_then(|index| head.provenance(index));
        let unserved = index.filter(|_| matches!(action, Action::Unserved(_)));
        let unserved = unserved.and_then(|index| head.objects().get(index));
        ObjectPlan {
            unserved: unserved.map(|object| Arc::clone(&object.gvk)),
            object: key.to_string(),
            reach: Reach::of(&key),
            file: place.map(|place| place.file().to_owned()),
            action,
            remark,
            fields,
        }
    }

    async fn delta(&self, both: &Both, within: Option<Limit<'_>>) -> Delta {
        let kinds = &self.context.cluster.kinds;
        let objects = both.head.objects();
        if objects
            .iter()
            .any(|object| kinds.get(&object.gvk).is_none())
            && let Err(error) = self.context.cluster.discover().await
        {
            tracing::debug!(repository = %self.source, %error, "discovery");
        }
        let resolve = |desired: &Desired| {
            let is_namespaced = |gvk: &_| kinds.get(gvk).map(|served| served.namespaced);
            desired::resolve(desired, is_namespaced, within)
        };
        let head = resolve(&both.head);
        let base = both.base.as_deref();
        let before = base.map(&resolve).unwrap_or_default();
        Delta::of((base, &before), (&both.head, &head))
    }

    /// The manifests of what differs: of the base, and of the head.
    async fn manifests(
        &self,
        both: &Both,
        delta: &Delta,
        notes: &mut Vec<String>,
    ) -> Result<(Manifests, Manifests), SyncError> {
        let after: Vec<usize> = delta.changed.keys().copied().collect();
        let keys = delta.changed.values();
        let mut before: Vec<usize> = keys
            .filter_map(|key| delta.before.get(key).copied())
            .collect();
        before.sort_unstable();
        let (base_tree, head_tree) = (self.base.clone(), self.head.clone());
        // Rendered objects have their texts, and files are read from the disk.
        let read = tokio::task::block_in_place(|| {
            let was = both
                .base
                .as_deref()
                .map(|base| manifests_of(base, base_tree, &before));
            (
                was.unwrap_or_default(),
                manifests_of(&both.head, head_tree, &after),
            )
        });
        let ((before, _), (after, failures)) = read;
        notes.extend(failures);
        Ok((before, after))
    }
}

fn broken(error: &SyncError) -> Fate {
    Fate::Broken(crate::text::redact(&chain(error)))
}

/// The values of a Secret.
fn data(manifest: Option<&Value>) -> Option<[&Value; 2]> {
    manifest.map(|manifest| [&manifest["data"], &manifest["stringData"]])
}

/// An object that has no place in the cluster.
fn misplaced_object(head: &Desired, index: usize, why: &desired::Misplaced) -> Option<ObjectPlan> {
    let place = head.provenance(index);
    let key = head.objects().get(index)?.key();
    Some(ObjectPlan {
        object: key.to_string(),
        reach: Reach::of(&key),
        file: place.map(|place| place.file().to_owned()),
        action: Action::Refuse(chain(why)),
        remark: None,
        fields: Fields::default(),
        unserved: None,
    })
}

/// An object that the Sync's account has no right to.
fn forbidden(head: &Desired, delta: &Delta, error: &PreviewError) -> Option<ObjectPlan> {
    let kube::Error::Api(status) = &error.source else {
        return None;
    };
    let index = delta.changed.iter().find(|(_, key)| **key == error.key);
    let place = index.and_then(|(index, _)| head.provenance(*index));
    (status.code == 403).then(|| ObjectPlan {
        object: error.key.to_string(),
        reach: Reach::of(&error.key),
        file: place.map(|place| place.file().to_owned()),
        action: Action::Refuse(refusal(status)),
        remark: None,
        fields: Fields::default(),
        unserved: None,
    })
}

/// An object of which nothing is known.
fn unknown(error: &PreviewError) -> String {
    let why = match &error.source {
        kube::Error::Api(status) => refusal(status),
        _ => "no answer".to_owned(),
    };
    format!("{} is not known: to {} it: {why}", error.key, error.verb)
}
