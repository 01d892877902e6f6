//! `towline diff`: what a local folder, or a commit of a local clone, would change in the cluster.
//!
//! The folder is rendered by the operator's own library, with the settings and inputs of the live Sync. Each object that
//! may differ is applied as a dry run with the rights of whoever asks. What would be pruned are the live objects with the
//! Sync's label that the folder does not declare.

use std::sync::Arc;

use super::access::{Access, Doing};
use super::build::{Files, rendered, root, within};
use super::change::{Change, as_json, as_markdown, as_text, difference};
use super::lineage::key;
use super::terminal::Terminal;
use super::tree::owned;
use super::{BuildError, CliError, Exit};
use crate::api::{GitRepository, Sync};
use crate::cluster::{LookupScope, Lookups, Viewer};
use crate::config::{DiffArgs, DiffFormat};
use crate::desired::{Desired, InputData, Inputs};
use crate::intent::{Keeper, SyncIntent};
use crate::plan::{Appliers, SyncName};
use crate::preview::{self, Action, Preview, PreviewError, describe, manifests_of};
use crate::render::wasm::Lookup;
use crate::secrets::{ConfigMaps, ReadError, SecretName, Secrets};
use crate::sync::releases;

/// Dry runs at once.
const PARALLEL: usize = 64;

/// Shows what a local folder would change.
pub(super) async fn diff(args: &DiffArgs) -> Result<Exit, CliError> {
    let access = Access::open(&args.cluster).await?;
    let name = &*args.name;
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
    let lookup = lookups(&access, &intent).await?;
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
    let live = owned(&access, &viewer, &sync, &owner);
    let (read, live) = futures::join!(read, live);
    let (desired, manifests, failures) = read.map_err(|_| CliError::Ended)??;
    let appliers = Appliers::with(args.takeover_managers.clone());
    let preview = Preview {
        viewer: &viewer,
        owner: &owner,
        intent: &intent,
        desired: &desired,
        live: live?
            .into_iter()
            .filter_map(|object| Some((key(&object)?, object)))
            .collect(),
        appliers: &appliers,
        within: None,
        only: None,
        tries_all: args.all,
        names_unpruned: false,
        conceals: false,
        parallel: PARALLEL,
    };
    let outlook = preview.outlook(manifests).await;
    let mut changes = Vec::new();
    for change in outlook.changes {
        let change = change.map_err(|error| {
            let PreviewError {
                verb,
                served,
                key,
                source,
            } = error;
            let doing = Doing::on(&served, verb, key.namespace.as_deref()).of(&key.name);
            access.explain(source, &doing)
        })?;
        changes.push(shown(&desired, &change)?);
    }
    // A difference that nobody would see is none.
    changes.retain(|change| change.action != Action::Change || !change.diff.is_empty());
    let misplaced = outlook.misplaced.iter();
    let misplaced = misplaced.map(|(index, why)| describe(&desired, *index, why));
    let errors: Vec<String> = misplaced.chain(failures).collect();
    for error in &errors {
        Terminal::note(&format!("towline: {error}"));
    }
    let name = owner.to_string();
    Terminal::print(&match args.output {
        None => as_text(&name, &changes, Terminal::of(args.cluster.color)),
        Some(DiffFormat::Json) => as_json(&name, &changes),
        Some(DiffFormat::Markdown) => as_markdown(&name, &changes),
    })?;
    Ok(match (errors.is_empty(), changes.is_empty()) {
        (false, _) => Exit::Error,
        (true, false) => Exit::Differs,
        (true, true) => Exit::Done,
    })
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

/// A change as it is shown.
fn shown(desired: &Desired, change: &preview::Change) -> Result<Change, CliError> {
    let preview::Change {
        key,
        index,
        action,
        live,
        wanted,
    } = change;
    let diff = match action {
        Action::Create | Action::Change | Action::Delete => {
            difference(key, live.as_ref(), wanted.as_ref(), desired.secrets())?
        }
        // Nothing would come of the one, and the other stays as it is.
        Action::Refuse(_) | Action::Unserved(_) if live.is_none() => {
            difference(key, None, wanted.as_ref(), desired.secrets())?
        }
        Action::Refuse(_) | Action::Release(_) | Action::Unserved(_) => String::new(),
    };
    let place = index.and_then(|index| desired.provenance(index));
    Ok(Change {
        object: key.to_string(),
        file: place.map(|place| place.file().to_owned()),
        action: action.clone(),
        diff,
    })
}
