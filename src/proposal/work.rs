//! Plans one pull request: for each Sync of the repository, both commits are rendered, and objects that differ are tried out
//! as dry runs.
//!
//! # What the author of a request learns
//!
//! A comment holds what both commits hold, and what the API server says about an object that it refuses. Values of Secrets and
//! of encrypted files are not in it, because the renders had stand-ins for them. Values of live objects are not in it either:
//! they are compared, and never shown.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use kube::api::ListParams;
use kube::{Api, ResourceExt as _};
use serde_json::Value;

use super::comment::{Fate, ObjectPlan};
use super::delta::Delta;
use super::fields::fields;
use crate::api::Sync;
use crate::chain;
use crate::chain::refusal;
use crate::content::Tree;
use crate::desired::{
    self, Desired, DesiredError, InputData, Inputs, InputsError, Limit, MOST_INPUT, Reading,
    StandIns, Task,
};
use crate::driver::Context;
use crate::fleet::SourceName;
use crate::intent::{InputsIntent, Keeper, SourceIntent, SyncIntent};
use crate::plan::{IDENTITY, SyncName, placed};
use crate::preview::{Action, Change, Manifests, Preview, PreviewError, manifests_of};
use crate::render::Cache;
use crate::secrets::{ReadError, SecretName, size};
use crate::source::Snapshot;
use crate::sync::releases;

/// Dry runs at once. Syncs have many times as many.
const PARALLEL: usize = 4;

/// The most Syncs of a repository, and the most objects of a request, that are tried out.
const MOST_SYNCS: usize = 1000;
const MOST_OBJECTS: usize = 500;

/// Why a request cannot be planned at all.
#[derive(Debug, thiserror::Error)]
pub(super) enum WorkError {
    /// The API server does not list Syncs.
    #[error("its Syncs cannot be read: {0}")]
    Syncs(String),
}

/// Why a Sync cannot be planned.
#[derive(Debug, thiserror::Error)]
enum SyncError {
    #[error("{0}")]
    Read(&'static str, #[source] ReadError),
    #[error(transparent)]
    Inputs(#[from] InputsError),
    #[error(transparent)]
    Desired(#[from] DesiredError),
    #[error("the render was ended")]
    Ended,
}

/// One pull request at work.
pub(super) struct Work<'a> {
    pub(super) context: &'a Context,
    pub(super) source: &'a SourceName,
    pub(super) intent: &'a SourceIntent,
    /// The commit that the request began at, and its newest one.
    pub(super) base: Arc<Snapshot>,
    pub(super) head: Arc<Snapshot>,
}

/// What the commits ask for.
enum Read {
    Same,
    Both(Both),
    /// Neither can be rendered, for the same reason.
    Neither(String),
}

/// What both commits ask for, where it differs.
struct Both {
    /// None if the commit that the request began at cannot be rendered.
    base: Option<Box<Desired>>,
    head: Box<Desired>,
    /// Why there is no base.
    note: Option<String>,
}

impl Work<'_> {
    /// What would become of the objects of each Sync of the repository.
    pub(super) async fn plan(&self) -> Result<Vec<(String, Fate)>, WorkError> {
        let mut room = MOST_OBJECTS;
        let mut fates = Vec::new();
        let (syncs, more) = self.syncs().await?;
        for sync in syncs {
            let fate = match self.fate(&sync, &mut room).await {
                Ok(fate) => fate,
                Err(error) => Fate::Broken(crate::text::redact(&chain(&error))),
            };
            fates.push((sync.name_any(), fate));
        }
        if more > 0 {
            let why = format!("a plan looks at {MOST_SYNCS} Syncs of a repository");
            fates.push((format!("{more} more Syncs"), Fate::Unplanned(why)));
        }
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

    async fn fate(&self, sync: &Sync, room: &mut usize) -> Result<Fate, SyncError> {
        let namespace = &self.source.namespace;
        let owner = SyncName::new(namespace, &sync.name_any());
        let mut intent = SyncIntent::from(sync);
        intent.render.source_ignore = Arc::clone(&self.intent.ignore);
        let both = match self.read(sync, &intent).await? {
            Read::Same => return Ok(Fate::Untouched),
            Read::Both(both) => both,
            Read::Neither(why) => {
                return Ok(Fate::Unplanned(format!(
                    "it cannot be rendered, with and without this request: {why}"
                )));
            }
        };
        let within = self.context.limit(&owner, &intent);
        let mut delta = self.delta(&both, within);
        let mut notes: Vec<String> = both.note.iter().cloned().collect();
        if delta.changed.is_empty() && delta.gone.is_empty() {
            let content =
                |desired: &Desired| desired.release().map(|release| release.content.clone());
            // A release is its objects and its hooks.
            if both.base.as_deref().and_then(content) == content(&both.head) {
                return Ok(Fate::Untouched);
            }
            notes.push("hooks of the chart change, which are not tried out".to_owned());
            return Ok(Fate::Changed {
                objects: Vec::new(),
                untried: 0,
                notes,
            });
        }
        let left = delta.limit(room);
        // Also those of which nothing is known.
        let mut untried = left;
        if left > 0 {
            notes.push(format!(
                "{left} more objects differ, and were not tried out: a plan has at most {MOST_OBJECTS}"
            ));
        }
        if !intent.render.helm.lookups.is_empty() {
            notes.push("a plan looks nothing up in the cluster: `lookup` found nothing".to_owned());
        }
        if !both.head.hooks().is_empty() {
            notes.push("hooks of the chart are not tried out".to_owned());
        }
        let told = notes.len();
        let (before, after) = self.manifests(&both, &delta, &mut notes).await?;
        untried += notes.len() - told;
        let actor = self.context.policy.actor(&owner, &intent);
        let viewer = self.context.cluster.viewer(&actor);
        let mut preview = Preview {
            viewer: &viewer,
            owner: &owner,
            intent: &intent,
            desired: &both.head,
            live: HashMap::new(),
            appliers: &self.context.cluster.appliers,
            within,
            only: Some(delta.changed.keys().copied().collect()),
            tries_all: false,
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
        Ok(Fate::Changed {
            objects,
            untried,
            notes,
        })
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
        } = change;
        let identity = live
            .as_ref()
            .and_then(|live| live["metadata"]["annotations"][IDENTITY].as_str());
        let other = identity.and_then(|identity| SyncName::of(identity, &key));
        let is_new_to_git = was.is_none() && index.is_some() && live.is_some();
        let remark = match (other, &action) {
            (Some(other), _) if other != *owner => {
                action = Action::Refuse(format!("it belongs to Sync {other}"));
                None
            }
            (None, Action::Change) if is_new_to_git => {
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
            None => String::new(),
        };
        let place = index.and_then(|index| head.provenance(index));
        ObjectPlan {
            object: key.to_string(),
            file: place.map(|place| place.file().to_owned()),
            action,
            remark,
            fields,
        }
    }

    /// What both commits ask for.
    async fn read(&self, sync: &Sync, intent: &SyncIntent) -> Result<Read, SyncError> {
        let inputs = Arc::new(self.inputs(intent).await?);
        let releases = sync.status.as_ref().map(releases).unwrap_or_default();
        let chart = |own: &Arc<Snapshot>| -> Option<Arc<dyn Tree>> {
            let chart = intent.render.helm.chart.as_ref()?;
            if chart.source == *self.source.name {
                return Some(own.clone());
            }
            let source = SourceName::new(&self.source.namespace, &chart.source);
            let latest = self.context.fleet.sources.read(&source).latest?;
            Some(latest.snapshot)
        };
        let task = |tree: &Arc<Snapshot>| Task {
            tree: tree.clone(),
            chart: chart(tree),
            // A request could name one that its author may not read.
            bases: BTreeMap::new(),
            intent: intent.render.clone(),
            inputs: Arc::clone(&inputs),
            renderers: self.context.renderers.clone(),
            // A tenant of its own, so that no render of a Sync of the namespace waits for its turn.
            tenant: format!("{} (pull requests)", self.source.namespace).into(),
            releases: releases.clone(),
            // A comment shows what is rendered, and its author may not be allowed to read what the Sync's account may.
            lookup: None,
            kept_for: None,
        };
        let (base, head) = (task(&self.base), task(&self.head));
        let read = tokio::task::spawn_blocking(move || {
            let mut cache = Cache::default();
            let (base, why) = match desired::read(&base, None, &mut cache) {
                Ok(Reading::Changed(base)) => (Some(base), None),
                Ok(Reading::Unchanged) => (None, None),
                Err(error) => (None, Some(chain(&error))),
            };
            Ok(match desired::read(&head, base.as_deref(), &mut cache) {
                Ok(Reading::Unchanged) => Read::Same,
                Ok(Reading::Changed(head)) => Read::Both(Both {
                    base,
                    head,
                    note: why.map(|why| {
                        format!("the commit that it began at cannot be rendered: {why}")
                    }),
                }),
                Err(error) => match why {
                    Some(why) if why == chain(&error) => Read::Neither(why),
                    _ => return Err(error.into()),
                },
            })
        });
        read.await.map_err(|_| SyncError::Ended)?
    }

    /// The inputs of the renders, with stand-ins for what is secret.
    async fn inputs(&self, intent: &SyncIntent) -> Result<Inputs, SyncError> {
        let context = self.context;
        let namespace = &*self.source.namespace;
        let (mut found, mut bytes) = (InputData::new(), 0);
        for (field, reference) in intent.inputs.references() {
            // What is encrypted stays so.
            if field == InputsIntent::KEYS {
                continue;
            }
            let name = SecretName::new(namespace, &reference.name);
            let read = match reference.kind {
                Keeper::ConfigMap => context.config_maps.read(&name).await,
                Keeper::Secret => context.secrets.read(&name).await,
            };
            match read {
                Ok(data) => {
                    bytes += size(&data);
                    if bytes > MOST_INPUT {
                        let name = format!("{} {name}", reference.kind);
                        return Err(InputsError::TooLarge { field, name }.into());
                    }
                    found.insert((reference.kind, reference.name), Arc::new(data));
                }
                Err(ReadError::Missing(..)) if reference.optional => (),
                Err(error) => return Err(SyncError::Read(field, error)),
            }
        }
        let stand_ins = StandIns::new(&context.key.digest_for("stand-ins", namespace));
        let mut inputs = Inputs::with_stand_ins(namespace, &intent.inputs, &found, stand_ins)?;
        let version = context.cluster.version().await;
        inputs.kube_version = version.unwrap_or_default().to_owned();
        inputs.api_versions = context.cluster.kinds.api_versions();
        Ok(inputs)
    }

    fn delta(&self, both: &Both, within: Option<Limit<'_>>) -> Delta {
        let kinds = &self.context.cluster.kinds;
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

/// The values of a Secret.
fn data(manifest: Option<&Value>) -> Option<[&Value; 2]> {
    manifest.map(|manifest| [&manifest["data"], &manifest["stringData"]])
}

/// An object that has no place in the cluster.
fn misplaced_object(head: &Desired, index: usize, why: &desired::Misplaced) -> Option<ObjectPlan> {
    let place = head.provenance(index);
    Some(ObjectPlan {
        object: head.objects().get(index)?.key().to_string(),
        file: place.map(|place| place.file().to_owned()),
        action: Action::Refuse(chain(why)),
        remark: None,
        fields: String::new(),
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
        file: place.map(|place| place.file().to_owned()),
        action: Action::Refuse(refusal(status)),
        remark: None,
        fields: String::new(),
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
