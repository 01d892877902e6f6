//! `towline diff`: what a local folder, or a commit of a local clone, would change in the cluster.
//!
//! The folder is rendered by the operator's own library, with the settings and inputs of the live Sync. Each object that
//! may differ is applied as a dry run with the rights of whoever asks. What would be pruned are the live objects with the
//! Sync's label that the folder does not declare.

mod folders;

use std::collections::HashSet;

use self::folders::{Folders, KnownSyncs, Read};
use super::access::{Access, AccessError, Doing};
use super::build::{root, within};
use super::change::{Change, as_json, as_markdown, as_text, difference};
use super::lineage::key;
use super::owned::{named, owned};
use super::terminal::Terminal;
use super::{CliError, Exit};
use crate::api::Sync;
use crate::cluster::Viewer;
use crate::config::{DiffArgs, DiffFormat};
use crate::desired::Desired;
use crate::intent::SyncIntent;
use crate::manifest::ObjectKey;
use crate::plan::{Appliers, Observed, SyncName};
use crate::preview::{self, Action, Outlook, Preview, PreviewError, describe, prune_plan};
use crate::sync::had;

/// Dry runs at once.
const PARALLEL: usize = 64;

/// Shows what a local folder would change.
pub(super) async fn diff(args: &DiffArgs) -> Result<Exit, CliError> {
    let access = Access::open(&args.cluster).await?;
    let name = &*args.name;
    let sync: Sync = access.get(name).await?;
    let owner = SyncName::new(&access.namespace, name);
    let root = root(args.root.as_deref(), args.path.as_deref())?;
    let viewer = access.viewer().await?;
    let folders = Folders {
        access: &access,
        viewer: &viewer,
        args,
        root: &root,
    };
    let path = args.path.as_ref().map(|path| within(&root, path));
    let read = folders.read(&sync, path.transpose().map_err(CliError::from)?);
    let (read, known) = futures::join!(read, KnownSyncs::read(&access));
    let Read {
        intent,
        desired,
        manifests,
        mut failures,
    } = read?;
    let mut places = named(&sync);
    let keys = desired.objects().iter().map(|object| object.key());
    places.extend(keys.filter_map(|key| Some(key.namespace?.to_string())));
    let live = owned(&access, &viewer, &sync, &owner, places).await?;
    let appliers = Appliers::with(args.takeover_managers.clone());
    let holder = |_: &ObjectKey, observed: Option<&Observed>| {
        let other = observed?.other_than(&owner)?;
        known.may_exist(other).then(|| other.clone())
    };
    let mut preview = Preview {
        viewer: &viewer,
        owner: &owner,
        intent: &intent,
        desired: &desired,
        live: live
            .into_iter()
            .filter_map(|object| Some((key(&object)?, object)))
            .collect(),
        holder: &holder,
        moving: HashSet::new(),
        appliers: &appliers,
        within: None,
        only: None,
        tries_all: args.all,
        names_unpruned: false,
        conceals: false,
        parallel: PARALLEL,
    };
    let mut outlook = preview.outlook(manifests.clone()).await;
    let is_held = |change: &&preview::Change| change.holder.is_some();
    let held: Vec<_> = outlook.changes.iter().flatten().filter(is_held).collect();
    preview.moving = folders.given_up(&sync, &held).await;
    if !preview.moving.is_empty() {
        outlook = preview.outlook(manifests).await;
    }
    let deleted = |change: &&preview::Change| change.action == Action::Delete;
    let leaving = outlook.changes.iter().flatten().filter(deleted);
    let leaving: Vec<ObjectKey> = leaving.map(|change| change.key.clone()).collect();
    let taken = folders.takers(&sync, &leaving).await;
    outlook.going.retain(|(key, _)| !taken.contains_key(key));
    let hint = braked(&viewer, &sync, &intent, &owner, &outlook).await;
    let (mut changes, mut unseen) = (Vec::new(), Vec::new());
    for change in outlook.changes {
        match change {
            Ok(mut change) => {
                let taker = taken.get(&change.key).filter(|_| deleted(&&change));
                if let Some(taker) = taker {
                    change.action = Action::Release(format!("it moves to Sync {taker}"));
                }
                let moves_to = taker.cloned();
                changes.push(Change {
                    moves_to,
                    ..shown(&desired, &change)?
                });
            }
            Err(error) => match explained(&access, error) {
                error @ AccessError::Forbidden { .. } => unseen.push(error),
                error => return Err(error.into()),
            },
        }
    }
    failures.extend(untried(&unseen));
    // A difference that nobody would see is none.
    changes.retain(|change| {
        change.action != Action::Change || !change.diff.is_empty() || change.moves_from.is_some()
    });
    let misplaced = outlook.misplaced.iter();
    let misplaced = misplaced.map(|(index, why)| describe(&desired, *index, why));
    let errors: Vec<String> = misplaced.chain(failures).collect();
    for error in &errors {
        Terminal::note(&format!("towline: {error}"));
    }
    let name = owner.to_string();
    let hint = hint.as_deref();
    Terminal::print(&match args.output {
        None => as_text(&name, &changes, hint, Terminal::of(args.cluster.color)),
        Some(DiffFormat::Json) => as_json(&name, &changes, hint),
        Some(DiffFormat::Markdown) => as_markdown(&name, &changes, hint),
    })?;
    Ok(match (errors.is_empty(), changes.is_empty()) {
        (false, _) => Exit::Error,
        (true, false) => Exit::Differs,
        (true, true) => Exit::Done,
    })
}

fn explained(access: &Access, error: PreviewError) -> AccessError {
    let PreviewError {
        verb,
        served,
        key,
        source,
    } = error;
    let doing = Doing::on(&served, verb, key.namespace.as_deref()).of(&key.name);
    access.explain(source, &doing)
}

/// What is said once of the objects that the user may not read or try out.
fn untried(unseen: &[AccessError]) -> Option<String> {
    let first = unseen.first()?;
    Some(match unseen.len() {
        1 => format!("1 object is left out: {first}"),
        count => format!("{count} objects are left out; of the first one, {first}"),
    })
}

/// Whether the deletions would be held until a person approves them, and how that is done.
async fn braked(
    viewer: &Viewer,
    sync: &Sync,
    intent: &SyncIntent,
    owner: &SyncName,
    outlook: &Outlook,
) -> Option<String> {
    let uid = sync.metadata.uid.as_deref().unwrap_or_default();
    let before = sync.status.as_ref().and_then(had);
    let plan = prune_plan(outlook, (owner, uid), intent, before)?;
    let mut lost = Vec::new();
    if intent.prune_limit.holds_contents {
        let going = outlook.going.iter().map(|(_, seen)| seen.uid.to_string());
        let going: HashSet<String> = going.collect();
        let deleted = |change: &&preview::Change| change.action == Action::Delete;
        for change in outlook.changes.iter().flatten().filter(deleted) {
            if let Some(live) = &change.live {
                lost.extend(viewer.lost_with(&change.key, live, &going).await);
            }
        }
    }
    preview::held(plan, lost, owner)
}

/// A change as it is shown.
fn shown(desired: &Desired, change: &preview::Change) -> Result<Change, CliError> {
    let preview::Change {
        key,
        index,
        action,
        live,
        wanted,
        holder,
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
    let is_refused = matches!(action, Action::Refuse(_));
    Ok(Change {
        moves_from: holder.clone().filter(|_| !is_refused),
        moves_to: None,
        object: key.to_string(),
        file: place.map(|place| place.file().to_owned()),
        action: action.clone(),
        diff,
    })
}
