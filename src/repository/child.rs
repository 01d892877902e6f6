//! The child Sync that `spec.sync` asks for.

use kube::api::{DeleteParams, ObjectMeta, Patch, PatchParams, Preconditions};
use kube::{Api, Client};

use crate::api::{GitRepository, Sync};
use crate::driver::is_gone;
use crate::fleet::SourceName;

/// The field manager of child Syncs. It differs from that of managed objects, because a child Sync
/// may also be in Git and then has two writers.
const CHILD_MANAGER: &str = "towline-repository";

/// Why the child Sync could not be made or deleted.
#[derive(Debug, thiserror::Error)]
pub(super) enum ChildError {
    #[error("reading Sync {name}: {source}")]
    Read {
        name: SourceName,
        source: kube::Error,
    },
    #[error("writing Sync {name}: {source}")]
    Write {
        name: SourceName,
        source: kube::Error,
    },
    #[error("deleting Sync {name}: {source}")]
    Delete {
        name: SourceName,
        source: kube::Error,
    },
    #[error(
        "spec.sync asks for Sync {name}, but a Sync of that name exists and does not belong to this \
         repository: rename one of them, or delete that Sync"
    )]
    Taken { name: SourceName },
}

/// Applies the child Sync of `spec.sync`, or deletes it if `spec.sync` is gone. The child has the
/// name of its repository.
pub(super) async fn keep(
    client: &Client,
    object: &GitRepository,
    name: &SourceName,
) -> Result<(), ChildError> {
    let api: Api<Sync> = Api::namespaced(client.clone(), &name.namespace);
    let existing = api.get_metadata_opt(&name.name).await;
    let existing = existing.map_err(|source| ChildError::Read {
        name: name.clone(),
        source,
    })?;
    let ours = |meta: &ObjectMeta| {
        let mut owners = meta.owner_references.iter().flatten();
        owners.any(|owner| Some(&owner.uid) == object.metadata.uid.as_ref())
    };
    match (object.child(), existing) {
        (None, Some(child)) if ours(&child.metadata) => delete(&api, name, &child.metadata).await,
        (None, _) => Ok(()),
        (Some(_), Some(other)) if !ours(&other.metadata) => {
            Err(ChildError::Taken { name: name.clone() })
        }
        (Some(child), _) => {
            let params = PatchParams::apply(CHILD_MANAGER).force();
            let written = api.patch(&name.name, &params, &Patch::Apply(&child)).await;
            written.map(drop).map_err(|source| ChildError::Write {
                name: name.clone(),
                source,
            })
        }
    }
}

async fn delete(api: &Api<Sync>, name: &SourceName, child: &ObjectMeta) -> Result<(), ChildError> {
    let params = DeleteParams::background().preconditions(Preconditions {
        uid: child.uid.clone(),
        resource_version: None,
    });
    match api.delete(&name.name, &params).await {
        Err(source) if !is_gone(&source) => Err(ChildError::Delete {
            name: name.clone(),
            source,
        }),
        _ => Ok(()),
    }
}
