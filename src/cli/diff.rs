//! `towline diff`: what a local folder, or a commit of a local clone, would change in the cluster.
//!
//! The folder is rendered by the operator's own library, with the settings and inputs of the live Sync. Each object is
//! applied as a dry run with the rights of whoever asks. What would be pruned are the live objects with the Sync's
//! label that the folder does not declare.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use futures::{StreamExt as _, TryStreamExt as _, stream};
use kube::api::ObjectMeta;
use serde_json::{Value, json};

use super::access::{Access, Doing};
use super::build::{Files, describe, manifests_of, rendered, root, within};
use super::change::{Action, Change, as_json, as_markdown, as_text, difference};
use super::lineage::key;
use super::terminal::Terminal;
use super::tree::owned;
use super::{BuildError, CliError, Exit};
use crate::api::{GitRepository, Sync};
use crate::cluster::{Rehearsed, ServedKind, Viewer};
use crate::config::{DiffArgs, DiffFormat};
use crate::desired::{self, Desired, Found, Inputs, Item};
use crate::health::Health;
use crate::intent::{Keeper, SyncIntent};
use crate::manifest::{ApplyMode, Manifest, ObjectKey};
use crate::plan::{
    Contest, DIGEST, IDENTITY, LEFT, Observed, PART_OF, PROOF, Parting, SyncName, apply_order,
    placed, surplus,
};
use crate::render;
use crate::secrets::{ConfigMaps, ReadError, SecretName, Secrets};
use crate::sync::releases;

/// Dry runs at once.
const PARALLEL: usize = 64;

/// Shows what a local folder would change.
pub(super) async fn diff(args: &DiffArgs) -> Result<Exit, CliError> {
    let access = Access::open(&args.cluster).await?;
    let name = args.name.strip_prefix("sync/").unwrap_or(&args.name);
    let sync: Sync = access.get(name).await?;
    let owner = SyncName::new(&access.namespace, name);
    let mut intent = SyncIntent::from(&sync);
    let root = root(args.root.as_deref(), args.path.as_deref())?;
    let revision = args.revision.clone();
    if let Some(path) = &args.path {
        intent.render.path = within(&root, path)?;
    }
    // Not everybody who may read a Sync may read its repository.
    if let Ok(Some(source)) = access.find::<GitRepository>(&intent.source).await {
        intent.render.source_ignore = source.spec.ignore.into();
    }
    let viewer = access.viewer().await?;
    let inputs = inputs(&access, &viewer, &intent).await?;
    let (render, renderers) = (intent.render.clone(), args.renderers_dir.clone());
    let (tenant, chart_root) = (access.namespace.clone(), args.chart_root.clone());
    let base_roots = args.base_root.clone();
    // As the operator would render it: the content that is live has the number that it has.
    let releases = sync.status.as_ref().map(releases).unwrap_or_default();
    let read = tokio::task::spawn_blocking(move || -> Result<_, BuildError> {
        let files = Files {
            root: &root,
            revision: revision.as_deref(),
            chart_root: chart_root.as_deref(),
            base_roots: &base_roots,
        };
        let (desired, tree) = rendered(&files, render, inputs, &renderers, &tenant, releases)?;
        let (manifests, failures) = manifests_of(&desired, tree);
        Ok((desired, manifests, failures))
    });
    let live = owned(&access, &viewer, &sync, &owner);
    let (read, live) = futures::join!(read, live);
    let (desired, manifests, failures) = read.map_err(|_| CliError::Ended)??;
    let plan = Plan {
        access: &access,
        viewer: &viewer,
        owner: &owner,
        intent: &intent,
        desired: &desired,
        live: live?
            .into_iter()
            .filter_map(|object| Some((key(&object)?, object)))
            .collect(),
    };
    let (changes, mut errors) = plan.changes(manifests).await?;
    errors.extend(failures);
    for error in &errors {
        Terminal::note(&format!("towline: {error}"));
    }
    let shown = owner.to_string();
    Terminal::print(&match args.output {
        None => as_text(&shown, &changes, Terminal::of(args.cluster.color)),
        Some(DiffFormat::Json) => as_json(&shown, &changes),
        Some(DiffFormat::Markdown) => as_markdown(&shown, &changes),
    })?;
    Ok(match (errors.is_empty(), changes.is_empty()) {
        (false, _) => Exit::Error,
        (true, false) => Exit::Differs,
        (true, true) => Exit::Done,
    })
}

/// The inputs of the render, from the cluster.
async fn inputs(access: &Access, viewer: &Viewer, intent: &SyncIntent) -> Result<Inputs, CliError> {
    let (maps, secrets) = (
        ConfigMaps::new(access.client.clone()),
        Secrets::new(access.client.clone()),
    );
    let mut found = Found::new();
    for (field, reference) in intent.inputs.references() {
        let name = SecretName::new(&access.namespace, &reference.name);
        let read = match reference.kind {
            Keeper::ConfigMap => maps.read(&name).await,
            Keeper::Secret => secrets.read(&name).await,
        };
        match read {
            Ok(data) => {
                found.insert((reference.kind, reference.name.clone()), Arc::new(data));
            }
            Err(ReadError::Missing(..)) if reference.optional => (),
            Err(error) => return Err(CliError::Input(field, error)),
        }
    }
    let inputs = Inputs::gather(&access.namespace, &intent.inputs, &found);
    let mut inputs = inputs.map_err(BuildError::Inputs)?;
    let doing = Doing::url("/version");
    let version = viewer.version().await;
    inputs.kube_version = version.map_err(|error| access.explain(error, &doing))?;
    inputs.api_versions = viewer.kinds.api_versions();
    Ok(inputs)
}

/// What is compared.
struct Plan<'a> {
    access: &'a Access,
    viewer: &'a Viewer,
    owner: &'a SyncName,
    intent: &'a SyncIntent,
    desired: &'a Desired,
    /// The live objects of the Sync.
    live: HashMap<ObjectKey, Value>,
}

impl Plan<'_> {
    /// What differs, in the order of apply, and what cannot be applied at all.
    async fn changes(
        &self,
        mut manifests: BTreeMap<usize, Manifest>,
    ) -> Result<(Vec<Change>, Vec<String>), CliError> {
        let kinds = &self.viewer.kinds;
        let is_namespaced = |gvk: &_| kinds.get(gvk).map(|served| served.namespaced);
        let mut resolved = desired::resolve(self.desired, is_namespaced, None);
        resolved.leave(self.desired, &self.intent.ignore_fields);
        let misplaced = resolved.misplaced.iter();
        let errors = misplaced
            .map(|(index, why)| describe(self.desired, *index, why))
            .collect();
        let mut changes = Vec::new();
        // A kind whose definition comes with the folder cannot be tried yet.
        for index in resolved.waiting.values().flatten() {
            if let (Some(manifest), Some(object)) =
                (manifests.remove(index), self.desired.objects().get(*index))
            {
                changes.push(self.created(&object.key(), *index, &manifest.body)?);
            }
        }
        let leaving = self.leaving(&resolved.items)?;
        let mut items: Vec<Item> = resolved.items.into_values().collect();
        apply_order(&mut items, |item| {
            let place = self.desired.provenance(item.index);
            let file = place.map(|place| place.file()).unwrap_or_default();
            (item.key.kind.clone(), file, item.index as u32)
        });
        let wanted = items.into_iter().filter_map(|item| {
            let manifest = manifests.remove(&item.index)?;
            Some((kinds.get(&manifest.gvk)?, item, manifest))
        });
        let compared =
            stream::iter(wanted)
                .map(|(served, item, manifest)| async move {
                    self.compared(&served, &item, manifest).await
                })
                .buffered(PARALLEL)
                .try_collect::<Vec<Option<Change>>>()
                .await?;
        changes.extend(compared.into_iter().flatten());
        changes.extend(leaving);
        Ok((changes, errors))
    }

    fn file(&self, index: usize) -> Option<String> {
        Some(self.desired.provenance(index)?.file().to_owned())
    }

    fn created(&self, key: &ObjectKey, index: usize, body: &Value) -> Result<Change, CliError> {
        Ok(Change {
            object: key.to_string(),
            file: self.file(index),
            action: Action::Create,
            diff: difference(key, None, Some(body), self.desired.secrets())?,
        })
    }

    /// What would become of one object. None if nothing.
    async fn compared(
        &self,
        served: &ServedKind,
        item: &Item,
        mut manifest: Manifest,
    ) -> Result<Option<Change>, CliError> {
        let Item {
            key, modes, index, ..
        } = item;
        let live = match self.live.get(key) {
            Some(live) => Some(live.clone()),
            None => self.get(served, key).await?,
        };
        let observed = live.as_ref().and_then(|live| observed(key, live));
        let is_paused = observed
            .as_ref()
            .is_some_and(|observed| observed.modes.is_left_alone());
        let is_made = modes.apply == ApplyMode::IfNotPresent && live.is_some();
        if modes.is_left_alone() || is_paused || is_made {
            return Ok(None);
        }
        let Some(live) = live else {
            let body = placed(manifest.body, key);
            let tried = self.rehearse(served, key, &body).await?;
            let mut change = self.created(key, *index, &body)?;
            // Its namespace may come with it.
            if let Rehearsed::Refused(why) = tried
                && !(why.contains("namespaces \"") && why.contains("not found"))
            {
                change.action = Action::Refuse(why);
            }
            return Ok(Some(change));
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
        let action = match self.rehearse(served, key, &body).await? {
            Rehearsed::Taken(tried) => {
                let diff = difference(key, Some(&live), Some(&tried), self.desired.secrets())?;
                (!diff.is_empty()).then_some((Action::Change, diff))
            }
            Rehearsed::Refused(why) => Some((Action::Refuse(why), String::new())),
        };
        Ok(action.map(|(action, diff)| Change {
            object: key.to_string(),
            file: self.file(*index),
            action,
            diff,
        }))
    }

    async fn get(&self, served: &ServedKind, key: &ObjectKey) -> Result<Option<Value>, CliError> {
        let doing = Doing::on(served, "get", key.namespace.as_deref()).of(&key.name);
        let got = self
            .viewer
            .get(served, key.namespace.as_deref(), &key.name)
            .await;
        Ok(got.map_err(|error| self.access.explain(error, &doing))?)
    }

    async fn rehearse(
        &self,
        served: &ServedKind,
        key: &ObjectKey,
        body: &Value,
    ) -> Result<Rehearsed, CliError> {
        let doing = Doing::on(served, "patch", key.namespace.as_deref()).of(&key.name);
        let tried = self.viewer.rehearse(served, key, body).await;
        Ok(tried.map_err(|error| self.access.explain(error, &doing))?)
    }

    /// The live objects that the folder does not declare.
    fn leaving(&self, items: &HashMap<ObjectKey, Item>) -> Result<Vec<Change>, CliError> {
        if !self.intent.prune {
            return Ok(Vec::new());
        }
        let owned = self
            .live
            .iter()
            .filter_map(|(key, live)| Some((key.clone(), observed(key, live)?)));
        let leaving = surplus(self.owner, owned.collect(), items);
        let kinds = &self.viewer.kinds;
        let Parting { going, released } = Parting::of(
            leaving,
            self.intent.prune_adopted,
            |_, observed| observed.modes.is_kept(),
            |kind| Some(kinds.preferred(kind)?.definition()),
        );
        let change = |key: &ObjectKey, action| -> Result<Change, CliError> {
            let live = self.live.get(key).filter(|_| action == Action::Delete);
            Ok(Change {
                object: key.to_string(),
                file: None,
                diff: difference(key, live, None, self.desired.secrets())?,
                action,
            })
        };
        let going = going.iter().map(|(key, _)| change(key, Action::Delete));
        let released = released.iter();
        let released = released.map(|(key, _, why)| change(key, Action::Release(why.to_string())));
        going.chain(released).collect()
    }
}

fn observed(key: &ObjectKey, live: &Value) -> Option<Observed> {
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
