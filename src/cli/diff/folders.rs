//! Folders on disk as the operator would render them: that of the Sync, and those of other Syncs of its source.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::Path;
use std::sync::Arc;

use kube::ResourceExt as _;

use crate::api::{GitRepository, Sync};
use crate::cli::access::{Access, Doing};
use crate::cli::build::{Files, rendered};
use crate::cli::terminal::Terminal;
use crate::cli::{BuildError, CliError};
use crate::cluster::{LookupScope, Lookups, Viewer};
use crate::config::DiffArgs;
use crate::desired::{self, Desired, InputData, Inputs};
use crate::intent::{Keeper, SyncIntent};
use crate::manifest::ObjectKey;
use crate::plan::SyncName;
use crate::preview::{self, Manifests, manifests_of};
use crate::render::wasm::Lookup;
use crate::secrets::{ConfigMaps, ReadError, SecretName, Secrets};
use crate::sync::releases;

/// The most other Syncs that are rendered to find out whether they take something over.
const MOST_OTHERS: usize = 50;

/// Reads folders for Syncs of a namespace.
pub(super) struct Folders<'a> {
    pub(super) access: &'a Access,
    pub(super) viewer: &'a Viewer,
    pub(super) args: &'a DiffArgs,
    pub(super) root: &'a Path,
}

/// What a folder asks for.
pub(super) struct Read {
    pub(super) intent: SyncIntent,
    pub(super) desired: Box<Desired>,
    pub(super) manifests: Manifests,
    /// Why other manifests cannot be read.
    pub(super) failures: Vec<String>,
}

impl Folders<'_> {
    /// Renders the path of a Sync, or the one that stands for it.
    pub(super) async fn read(&self, sync: &Sync, path: Option<String>) -> Result<Read, CliError> {
        let Self {
            access,
            viewer,
            args,
            root,
        } = self;
        let mut intent = SyncIntent::from(sync);
        if let Some(path) = path {
            intent.render.path = path;
        }
        // Not everybody who may read a Sync may read its repository.
        if let Ok(Some(source)) = access.find::<GitRepository>(&intent.source).await {
            intent.render.source_ignore = source.spec.ignore.into();
        }
        let inputs = inputs(access, viewer, &intent).await?;
        let (render, renderers) = (intent.render.clone(), args.renderers_dir.clone());
        let (tenant, chart_root) = (access.namespace.clone(), args.chart_root.clone());
        let (root, revision) = (root.to_path_buf(), args.revision.clone());
        let base_roots = args.base_root.clone();
        let lookup = lookups(access, &intent).await?;
        // As the operator would render it: the content that is live has the number that it has.
        let releases = sync.status.as_ref().map(releases).unwrap_or_default();
        let read = tokio::task::spawn_blocking(move || -> Result<_, BuildError> {
            let files = Files {
                root: &root,
                revision: revision.as_deref(),
                chart_root: chart_root.as_deref(),
                base_roots: &base_roots,
            };
            let (desired, tree) = rendered(
                &files, render, inputs, &renderers, &tenant, releases, lookup,
            )?;
            let all: Vec<usize> = (0..desired.objects().len()).collect();
            let (manifests, failures) = manifests_of(&desired, tree, &all);
            Ok((desired, manifests, failures))
        });
        let (desired, manifests, failures) = read.await.map_err(|_| CliError::Ended)??;
        Ok(Read {
            intent,
            desired,
            manifests,
            failures,
        })
    }

    /// Which objects of other Syncs move to this one: those of Syncs of the same source whose folders declare them no more.
    pub(super) async fn given_up(
        &self,
        sync: &Sync,
        held: &[&preview::Change],
    ) -> HashSet<ObjectKey> {
        let mut by: BTreeMap<&SyncName, Vec<&ObjectKey>> = BTreeMap::new();
        for change in held {
            if let Some(holder) = &change.holder {
                by.entry(holder).or_default().push(&change.key);
            }
        }
        let mut given_up = HashSet::new();
        let source = SyncIntent::from(sync).source;
        for (holder, keys) in by {
            // Files of another repository say nothing about it, nor do those of a Sync that takes up no commit.
            let is_near = *holder.namespace == *self.access.namespace;
            let other = match is_near {
                true => self.access.find::<Sync>(&holder.name).await.ok().flatten(),
                false => None,
            };
            let Some(other) = other.filter(|other| {
                let intent = SyncIntent::from(other);
                intent.source == source && intent.suspended.is_none()
            }) else {
                continue;
            };
            match self.read(&other, None).await {
                Ok(read) => {
                    let kept = self.wanted(&read);
                    let gone = keys.into_iter().filter(|key| !kept.contains(*key));
                    given_up.extend(gone.cloned());
                }
                Err(error) => Terminal::note(&format!(
                    "towline: warning: whether its objects leave sync/{} with these files is not known: {}",
                    holder.name,
                    crate::chain(&error)
                )),
            }
        }
        given_up
    }

    /// Which of these objects, which leave a Sync, move to another one: a Sync of the same source whose folder declares them now.
    pub(super) async fn takers(
        &self,
        sync: &Sync,
        leaving: &[ObjectKey],
    ) -> HashMap<ObjectKey, SyncName> {
        let mut taken = HashMap::new();
        if leaving.is_empty() {
            return taken;
        }
        // Whoever may read one Sync may have no right to list them.
        let all = self.access.list::<Sync>(false).await.unwrap_or_default();
        let source = SyncIntent::from(sync).source;
        let mut others = all.iter().filter(|other| {
            let is_other = other.name_any() != sync.name_any();
            let stays = other.metadata.deletion_timestamp.is_none();
            is_other && stays && SyncIntent::from(*other).source == source
        });
        for other in others.by_ref().take(MOST_OTHERS) {
            let name = other.name_any();
            match self.read(other, None).await {
                Ok(read) => {
                    let wanted = self.wanted(&read);
                    let owner = SyncName::new(&self.access.namespace, &name);
                    for key in leaving.iter().filter(|key| wanted.contains(*key)) {
                        taken.entry(key.clone()).or_insert_with(|| owner.clone());
                    }
                }
                Err(error) => Terminal::note(&format!(
                    "towline: warning: whether what would be deleted moves to sync/{name} is not known: {}",
                    crate::chain(&error)
                )),
            }
            if taken.len() == leaving.len() {
                return taken;
            }
        }
        let left = others.count();
        if left > 0 {
            Terminal::note(&format!(
                "towline: warning: whether what would be deleted moves to one of {left} more Syncs of this repository is not \
                 known: at most {MOST_OTHERS} are rendered"
            ));
        }
        taken
    }

    /// The objects that a folder asks for, as the cluster would know them.
    fn wanted(&self, read: &Read) -> HashSet<ObjectKey> {
        let kinds = &self.viewer.kinds;
        let is_namespaced = |gvk: &_| kinds.get(gvk).map(|served| served.namespaced);
        let items = desired::resolve(&read.desired, is_namespaced, None).items;
        items.into_keys().collect()
    }
}

/// The Syncs that exist, as far as they may be seen.
pub(super) struct KnownSyncs {
    /// None if those of all namespaces may not be listed.
    everywhere: Option<HashSet<SyncName>>,
}

impl KnownSyncs {
    pub(super) async fn read(access: &Access) -> Self {
        let all = access.list_briefly::<Sync>(true).await.ok();
        let name = |sync: &Sync| {
            let namespace = sync.namespace().unwrap_or_default();
            SyncName::new(&namespace, &sync.name_any())
        };
        Self {
            everywhere: all.map(|all| all.iter().map(name).collect()),
        }
    }

    /// Whether a Sync exists, or may exist: one that is gone has no objects.
    pub(super) fn may_exist(&self, name: &SyncName) -> bool {
        let everywhere = self.everywhere.as_ref();
        everywhere.is_none_or(|everywhere| everywhere.contains(name))
    }
}

/// Answers what charts look up, with the rights of whoever asks. None where the Sync lists no kinds for that.
async fn lookups(
    access: &Access,
    intent: &SyncIntent,
) -> Result<Option<Arc<dyn Lookup>>, CliError> {
    let kinds = intent.render.helm.lookups.clone();
    if kinds.is_empty() {
        return Ok(None);
    }
    let scope = LookupScope {
        kinds,
        within: None,
    };
    let lookups = Lookups::new(access.viewer().await?, scope);
    Ok(Some(Arc::new(lookups)))
}

/// The inputs of the render, from the cluster.
async fn inputs(access: &Access, viewer: &Viewer, intent: &SyncIntent) -> Result<Inputs, CliError> {
    let (maps, secrets) = (
        ConfigMaps::new(access.client.clone()),
        Secrets::new(access.client.clone()),
    );
    let mut found = InputData::new();
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
