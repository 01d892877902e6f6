//! What would become of the objects of a Sync if other files were its source. Each object that may differ is applied as a
//! dry run, with the rights of whoever asks, and nothing is written. `towline diff` and the plans of pull requests use it.

mod brake;
mod defined;
mod difference;
mod manifests;

use std::collections::{HashMap, HashSet};

use futures::{StreamExt as _, stream};
use kube::api::ObjectMeta;
use serde_json::{Value, json};

pub use self::brake::{held, prune_plan};
use self::defined::unserved;
pub use self::defined::{defined, is_definition};
pub use self::difference::{LAST_APPLIED, cleaned, fenced, unified, unmarked};
pub use self::manifests::{Manifests, describe, manifests_of};
use crate::cluster::{Rehearsed, ServedKind, Viewer};
use crate::desired::{self, Desired, Item, Limit};
use crate::health::Health;
use crate::intent::{Mode, SyncIntent};
use crate::manifest::{ApplyMode, Manifest, ObjectKey, redact, without_nulls};
use crate::plan::{
    Appliers, Contest, DIGEST, Emptied, IDENTITY, LEFT, Observed, Owned, PART_OF, PROOF, Parting,
    Share, SyncName, TakenOver, apply_order, belongs_to, emptied, empty_out, filled, is_typed,
    is_unchanged, placed, surplus,
};
use crate::render;

/// What would become of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// It would be created.
    Create,
    /// Fields of it would change.
    Change,
    /// It would be deleted.
    Delete,
    /// It leaves Git and stays. Why.
    Release(String),
    /// The API server refuses it. Why.
    Refuse(String),
    /// The API server does not serve its kind, so it was not tried. Why. It would be created if something else brings its kind.
    Unserved(String),
}

impl Action {
    /// The action in one word.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Change => "change",
            Self::Delete => "delete",
            Self::Release(_) => "release",
            Self::Refuse(_) => "refused",
            Self::Unserved(_) => "not served",
        }
    }

    /// Why, where there is something to say.
    pub fn why(&self) -> &str {
        match self {
            Self::Release(why) | Self::Refuse(why) | Self::Unserved(why) => why,
            Self::Create | Self::Change | Self::Delete => "",
        }
    }
}

/// One object that would change.
#[derive(Clone, Debug)]
pub struct Change {
    /// Its identity in the cluster.
    pub key: ObjectKey,
    /// Its index among the desired objects; none if it left Git.
    pub index: Option<usize>,
    /// What would become of it.
    pub action: Action,
    /// The live object, where there is one.
    pub live: Option<Value>,
    /// The object as it would be.
    pub wanted: Option<Value>,
    /// The other Sync that has it: it is refused, or moves from that one.
    pub holder: Option<SyncName>,
}

/// A request that the API server did not answer, or that its caller may not make.
#[derive(Debug, thiserror::Error)]
#[error("{verb} {key}")]
pub struct PreviewError {
    /// The verb of the request.
    pub verb: &'static str,
    /// The kind.
    pub served: ServedKind,
    /// The object.
    pub key: ObjectKey,
    /// What happened.
    #[source]
    pub source: kube::Error,
}

/// The other Sync that has an object, by what is known of the live one.
pub type Holder<'a> = &'a (dyn Fn(&ObjectKey, Option<&Observed>) -> Option<SyncName> + Sync);

/// What is compared.
pub struct Preview<'a> {
    /// Asks the cluster.
    pub viewer: &'a Viewer,
    /// The Sync.
    pub owner: &'a SyncName,
    /// What it asks for.
    pub intent: &'a SyncIntent,
    /// Its desired objects.
    pub desired: &'a Desired,
    /// Live objects that are known. Those of the Sync that are not desired would leave. All others are read one by one.
    pub live: HashMap<ObjectKey, Value>,
    /// Which other Sync has an object, if any has it.
    pub holder: Holder<'a>,
    /// Objects that leave the other Sync that has them with the same files: they move.
    pub moving: HashSet<ObjectKey>,
    /// Field managers that apply whole manifests, as the operator knows them.
    pub appliers: &'a Appliers,
    /// The only namespace in which the Sync may manage objects.
    pub within: Option<Limit<'a>>,
    /// The only desired objects that are looked at, by their index. None: all.
    pub only: Option<HashSet<usize>>,
    /// Whether objects are tried as well that have their manifest already. A new admission rule may refuse them.
    pub tries_all: bool,
    /// Whether objects are named that leave Git and stay because of `prune: false`. They would be named in every later
    /// comparison with the same files.
    pub names_unpruned: bool,
    /// Whether it may not be told that a live Secret has the desired values already: who may choose the values would learn
    /// by that whether a guess is right.
    pub conceals: bool,
    /// Dry runs at once.
    pub parallel: usize,
}

/// What differs, in the order of apply.
pub struct Outlook {
    /// The objects, or why one is not known. Those that would stay as they are are left out.
    pub changes: Vec<Result<Change, PreviewError>>,
    /// Objects that have no place in the cluster, by their index, and why.
    pub misplaced: Vec<(usize, desired::Misplaced)>,
    /// The objects that would be deleted.
    pub going: Vec<Owned>,
    /// The objects that are desired, and have a place.
    pub staying: HashSet<ObjectKey>,
}

/// Why an object stays that leaves Git.
const UNPRUNED: &str =
    "spec.prune of the Sync is false, which is the default: what leaves Git stays in the cluster";

impl Preview<'_> {
    /// Tries out the objects.
    pub async fn outlook(&self, mut manifests: Manifests) -> Outlook {
        let kinds = &self.viewer.kinds;
        let is_namespaced = |gvk: &_| kinds.get(gvk).map(|served| served.namespaced);
        let mut resolved = desired::resolve(self.desired, is_namespaced, self.within);
        resolved.leave(self.desired, &self.intent.ignore_fields);
        let is_looked_at =
            |index: &usize| self.only.as_ref().is_none_or(|only| only.contains(index));
        let mut misplaced = std::mem::take(&mut resolved.misplaced);
        misplaced.retain(|(index, _)| is_looked_at(index));
        let mut changes = Vec::new();
        // A kind that is not served cannot be tried. Its definition may come with the files.
        let brought = defined(manifests.values());
        for index in resolved.waiting.values().flatten() {
            if let (Some(manifest), Some(object)) =
                (manifests.remove(index), self.desired.objects().get(*index))
            {
                changes.push(Ok(Change {
                    key: object.key(),
                    index: Some(*index),
                    action: match brought.contains(&manifest.gvk) {
                        true => Action::Create,
                        false => unserved(kinds, &manifest.gvk),
                    },
                    live: None,
                    wanted: Some(manifest.body),
                    holder: None,
                }));
            }
        }
        let (going, leaving) = self.leaving(&resolved.items);
        let staying = resolved.items.keys().cloned().collect();
        let mut items: Vec<Item> = resolved.items.into_values().collect();
        items.retain(|item| is_looked_at(&item.index));
        apply_order(&mut items, |item| {
            let place = self.desired.provenance(item.index);
            let file = place.map(|place| place.file()).unwrap_or_default();
            (item.key.kind.clone(), file, item.index as u32)
        });
        let wanted = items.into_iter().filter_map(|item| {
            let manifest = manifests.remove(&item.index)?;
            Some((kinds.get(&manifest.gvk)?, item, manifest))
        });
        let compared: Vec<_> = stream::iter(wanted)
            .map(|(served, item, manifest)| async move {
                self.compared(&served, &item, manifest).await.transpose()
            })
            .buffered(self.parallel)
            .collect()
            .await;
        changes.extend(compared.into_iter().flatten());
        changes.extend(leaving.into_iter().map(Ok));
        Outlook {
            changes,
            misplaced,
            going,
            staying,
        }
    }

    /// What would become of one object. None if nothing.
    async fn compared(
        &self,
        served: &ServedKind,
        item: &Item,
        mut manifest: Manifest,
    ) -> Result<Option<Change>, PreviewError> {
        let Item {
            key, modes, index, ..
        } = item;
        let live = match self.live.get(key) {
            // In another version it has other fields.
            Some(live) if live["apiVersion"] == manifest.body["apiVersion"] => Some(live.clone()),
            _ => self.get(served, key).await?,
        };
        let observed = live.as_ref().and_then(|live| observed(key, live));
        let holder = (self.holder)(key, observed.as_ref());
        if let Some(other) = holder.as_ref().filter(|_| !self.moving.contains(key)) {
            return Ok(Some(Change {
                key: key.clone(),
                index: Some(*index),
                action: Action::Refuse(belongs_to(other)),
                live,
                wanted: Some(placed(manifest.body, key)),
                holder,
            }));
        }
        let is_paused = observed
            .as_ref()
            .is_some_and(|observed| observed.modes.is_left_alone());
        let is_made = modes.apply == ApplyMode::IfNotPresent && live.is_some();
        if modes.is_left_alone() || is_paused || is_made {
            return Ok(None);
        }
        let change = |action, live, wanted| Change {
            key: key.clone(),
            index: Some(*index),
            action,
            live,
            wanted: Some(wanted),
            holder: holder.clone(),
        };
        let Some(live) = live else {
            let body = placed(manifest.body, key);
            let action = match self.rehearse(served, key, &body).await? {
                // Its namespace may come with it.
                Rehearsed::Refused(why)
                    if !(why.contains("namespaces \"") && why.contains("not found")) =>
                {
                    Action::Refuse(why)
                }
                Rehearsed::Taken(_) | Rehearsed::Refused(_) => Action::Create,
            };
            return Ok(Some(change(action, None, body)));
        };
        // As the operator applies it: random values stay, and what others set is left to them.
        render::keep(&mut manifest.body, &live, self.desired.generated(*index));
        for field in item.fixed.iter().flat_map(|fixed| fixed.iter()) {
            field.strip(&mut manifest.body);
        }
        if let Some(observed) = &observed {
            Contest::of(observed).leave(&mut manifest);
        }
        let mut body = placed(manifest.body, key);
        keep_marks(&mut body, &live);
        let is_concealed = self.conceals && (&*key.kind.group, &*key.kind.kind) == ("", "Secret");
        // The operator sends nothing for what it has applied and nobody has changed, so nothing is tried either: not until it
        // starts again, or looks at everything.
        let is_ours = observed
            .as_ref()
            .is_some_and(|observed| observed.is_ours(self.owner));
        let is_applied = is_ours && observed.is_some_and(|observed| observed.is_of(&item.digest));
        // Other appliers' fields are left to them where nothing is to be written, or where the object says so.
        let takes_over =
            modes.apply != ApplyMode::Merge && (self.intent.mode == Mode::Correct || !is_applied);
        let taken = share_of(&live, &body).filter(|_| takes_over);
        let taken = taken.and_then(|share| TakenOver::of(&share, self.appliers, is_ours));
        let is_settled = is_applied && taken.is_none() && !is_concealed;
        if is_settled && !self.tries_all && is_unchanged(&live, &body) {
            return Ok(None);
        }
        let emptied = match is_typed(key) {
            true => Vec::new(),
            false => emptied_in(&live, &body),
        };
        let mut trial = filled(body.clone(), &live, &emptied);
        if is_concealed && live["immutable"] == true {
            take_data(&mut trial, &live);
        }
        Ok(match self.rehearse(served, key, &trial).await? {
            Rehearsed::Taken(mut tried) => {
                empty_out(&mut tried, &emptied);
                if let Some(taken) = taken {
                    taken.leave(&mut tried, &body);
                }
                // Whose it is changes, if nothing else does.
                let differs = is_concealed || holder.is_some() || cleaned(&live) != cleaned(&tried);
                differs.then(|| change(Action::Change, Some(live), tried))
            }
            // A policy may repeat what the object was.
            Rehearsed::Refused(why) => {
                let why = redact::without_live(&key.kind, &why, live.clone());
                Some(change(Action::Refuse(why), Some(live), body))
            }
        })
    }

    /// A live object; none where there is none, or no such kind.
    ///
    /// # Errors
    ///
    /// [`PreviewError`].
    pub async fn find(&self, key: &ObjectKey) -> Result<Option<Value>, PreviewError> {
        match self.viewer.kinds.preferred(&key.kind) {
            Some(served) => self.get(&served, key).await,
            None => Ok(None),
        }
    }

    async fn get(
        &self,
        served: &ServedKind,
        key: &ObjectKey,
    ) -> Result<Option<Value>, PreviewError> {
        let got = self
            .viewer
            .get(served, key.namespace.as_deref(), &key.name)
            .await;
        got.map_err(|source| failed("get", served, key, source))
    }

    async fn rehearse(
        &self,
        served: &ServedKind,
        key: &ObjectKey,
        body: &Value,
    ) -> Result<Rehearsed, PreviewError> {
        let try_it = async |body: &Value| {
            let tried = self.viewer.rehearse(served, key, body).await;
            tried.map_err(|source| failed("patch", served, key, source))
        };
        let tried = try_it(body).await?;
        if let Rehearsed::Taken(_) = tried {
            return Ok(tried);
        }
        // An apply leaves out what is refused for being null.
        let mut bare = body.clone();
        without_nulls(&mut bare);
        match bare == *body {
            true => Ok(tried),
            false => try_it(&bare).await,
        }
    }

    /// The live objects that are not desired: those that would be deleted, and what would become of all of them.
    fn leaving(&self, items: &HashMap<ObjectKey, Item>) -> (Vec<Owned>, Vec<Change>) {
        if !self.intent.prune && !self.names_unpruned {
            return (Vec::new(), Vec::new());
        }
        let owned = self
            .live
            .iter()
            .filter_map(|(key, live)| Some((key.clone(), observed(key, live)?)));
        let leaving = surplus(self.owner, owned.collect(), items);
        if !self.intent.prune {
            let stays = leaving.into_iter().map(|(key, _)| Change {
                live: self.live.get(&key).cloned(),
                key,
                index: None,
                action: Action::Release(UNPRUNED.to_owned()),
                wanted: None,
                holder: None,
            });
            return (Vec::new(), stays.collect());
        }
        let kinds = &self.viewer.kinds;
        let Parting { going, released } = Parting::of(
            leaving,
            self.intent.prune_adopted,
            |_, observed| observed.modes.is_kept(),
            |kind| Some(kinds.preferred(kind)?.definition()),
        );
        let change = |key: ObjectKey, action| Change {
            live: self.live.get(&key).cloned(),
            key,
            index: None,
            action,
            wanted: None,
            holder: None,
        };
        let deleted = going
            .iter()
            .map(|(key, _)| change(key.clone(), Action::Delete));
        let released = released
            .into_iter()
            .map(|(key, _, why)| change(key, Action::Release(why.to_string())));
        let changes = deleted.chain(released).collect();
        (going, changes)
    }
}

/// Gives a Secret the values of the live one, which cannot be changed: whether the API server refuses others would say
/// whether they are right.
fn take_data(body: &mut Value, live: &Value) {
    let Some(fields) = body.as_object_mut() else {
        return;
    };
    fields.remove("stringData");
    match &live["data"] {
        Value::Null => fields.remove("data"),
        data => fields.insert("data".to_owned(), data.clone()),
    };
}

/// What the apply of a manifest would empty before.
fn emptied_in(live: &Value, body: &Value) -> Vec<Emptied> {
    let share = share_of(live, body);
    share.map_or_else(Vec::new, |share| emptied(live, body, &share))
}

/// The shares of a live object that `body` is applied to.
fn share_of(live: &Value, body: &Value) -> Option<Share> {
    let meta = serde_json::from_value(live["metadata"].clone()).unwrap_or_default();
    Share::of(&meta, body["apiVersion"].as_str().unwrap_or_default())
}

fn failed(
    verb: &'static str,
    served: &ServedKind,
    key: &ObjectKey,
    source: kube::Error,
) -> PreviewError {
    PreviewError {
        verb,
        served: served.clone(),
        key: key.clone(),
        source,
    }
}

/// What is known of a live object, from its metadata.
pub fn observed(key: &ObjectKey, live: &Value) -> Option<Observed> {
    let meta: ObjectMeta = serde_json::from_value(live["metadata"].clone()).ok()?;
    Observed::read(key, &meta, Health::Current)
}

/// Puts the marks of the live object on the manifest: who owns it is no difference.
fn keep_marks(body: &mut Value, live: &Value) {
    for (map, names) in [
        ("labels", &[PART_OF][..]),
        ("annotations", &[IDENTITY, PROOF, DIGEST, LEFT]),
    ] {
        for name in names {
            if let Some(mark) = live["metadata"][map].get(*name) {
                let all = &mut body["metadata"][map];
                if all.is_null() {
                    *all = json!({});
                }
                all[*name] = mark.clone();
            }
        }
    }
}
