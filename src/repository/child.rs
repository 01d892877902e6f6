//! The child Sync that `spec.sync` asks for.

use std::time::Duration;

use kube::api::{DeleteParams, ObjectMeta, Patch, PatchParams, Preconditions};
use kube::{Api, ResourceExt as _};
use tokio::time::Instant;

use crate::api::{GitRepository, Reason, Sync};
use crate::backoff::Backoff;
use crate::driver::{Context, UnknownLoss, is_gone};
use crate::fleet::{SourceName, SyncObject, SyncView};
use crate::intent::SyncIntent;
use crate::plan::{Brake, PART_OF, PrunePlan, SyncName};

/// The field manager of child Syncs. It differs from that of managed objects, because a child Sync
/// may also be in Git and then has two writers.
const CHILD_MANAGER: &str = "towline-repository";

/// The longest pause between two applies of the child.
const LONGEST_PAUSE: Duration = Duration::from_secs(120);

/// After this time without a change by somebody else, the child is applied at once again.
const PEACE: Duration = Duration::from_secs(300);

/// Why the child Sync could not be made or deleted.
#[derive(Debug, thiserror::Error)]
enum ChildError {
    #[error("reading Sync {name}")]
    Read {
        name: SourceName,
        source: kube::Error,
    },
    #[error("writing Sync {name}")]
    Write {
        name: SourceName,
        source: kube::Error,
    },
    #[error("deleting Sync {name}")]
    Delete {
        name: SourceName,
        source: kube::Error,
    },
    #[error(
        "spec.sync asks for Sync {name}, but a Sync of that name exists and does not belong to this \
         repository: rename one of them, or delete that Sync"
    )]
    Taken { name: SourceName },
    #[error("what would be deleted with Sync {name} is not known")]
    Loss {
        name: SourceName,
        source: UnknownLoss,
    },
    #[error("{}", held_message(.name, .plan))]
    Held {
        name: SourceName,
        plan: Box<PrunePlan>,
    },
}

impl ChildError {
    fn reason(&self) -> Reason {
        match self {
            Self::Held { .. } => Reason::PruneHeld,
            Self::Loss { .. } => Reason::ApiUnavailable,
            _ => Reason::InvalidSpec,
        }
    }
}

fn held_message(name: &SourceName, plan: &PrunePlan) -> String {
    let SourceName { namespace, name } = name;
    let objects = if plan.deletes == 1 {
        "object"
    } else {
        "objects"
    };
    format!(
        "spec.sync is gone, but Sync {namespace}/{name} stays: with it, {} {objects} would be deleted ({}), because {}; \
         put spec.sync back, or set spec.deletionPolicy of the Sync to Orphan to keep the objects, or delete \
         them with: kubectl delete -n {namespace} syncs.towline.dev {name}",
        plan.deletes,
        plan.kinds.join(", "),
        plan.because.join(", "),
    )
}

/// The known state of the child Sync.
pub(super) struct Child {
    /// The child after the last apply.
    kept: Option<Kept>,
    /// Why the child could not be created, or is not deleted.
    pub(super) error: Option<(Reason, String)>,
    /// The time of the next possible apply.
    next: Instant,
    backoff: Backoff,
}

impl Default for Child {
    fn default() -> Self {
        Self {
            kept: None,
            error: None,
            next: Instant::now(),
            backoff: Backoff::new(Duration::from_secs(1), LONGEST_PAUSE),
        }
    }
}

impl Child {
    /// Whether the child is missing, or differs from the last apply.
    pub(super) fn is_lost(&self, view: &SyncView, repository: &GitRepository) -> bool {
        let owner = repository.metadata.uid.as_deref();
        let kept = self.kept.as_ref();
        !view.exists || kept.is_some_and(|kept| kept.is_changed(&view.object, owner))
    }

    /// Whether the child is not wanted any longer, and stays because its deletion is held.
    pub(super) fn is_held(&self) -> bool {
        let reason = self.error.as_ref().map(|(reason, _)| *reason);
        reason == Some(Reason::PruneHeld)
    }

    /// The time of the next possible apply. The pauses grow while somebody else keeps changing the child.
    pub(super) fn next(&self) -> Instant {
        self.next
    }

    /// Whether that time has come.
    pub(super) fn may_be_kept(&self, now: Instant) -> bool {
        self.next <= now
    }

    /// Applies or deletes the child.
    pub(super) async fn keep(
        &mut self,
        context: &Context,
        object: &GitRepository,
        name: &SourceName,
    ) {
        let now = Instant::now();
        if now > self.next + PEACE {
            self.backoff.reset();
        }
        self.next = now + self.backoff.pause();
        let known = self.kept.as_ref().and_then(|kept| kept.uid.as_deref());
        match keep(context, object, name, known).await {
            Ok(kept) => (self.kept, self.error) = (kept, None),
            Err(error) => self.error = Some((error.reason(), crate::chain(&error))),
        }
    }
}

/// Applies the child Sync of `spec.sync`, or deletes it if `spec.sync` is gone, unless that is held. The child has
/// the name of its repository.
/// Returns the child after that. `known` is the child's uid at the last apply.
async fn keep(
    context: &Context,
    object: &GitRepository,
    name: &SourceName,
    known: Option<&str>,
) -> Result<Option<Kept>, ChildError> {
    let api: Api<Sync> = Api::namespaced(context.client.clone(), &name.namespace);
    let existing = api.get_metadata_opt(&name.name).await;
    let existing = existing.map_err(|source| ChildError::Read {
        name: name.clone(),
        source,
    })?;
    let ours = |meta: &ObjectMeta| {
        is_owned(meta, object.metadata.uid.as_deref())
            || is_written_by_us(meta)
            || known.is_some() && meta.uid.as_deref() == known
    };
    match (object.child(), existing) {
        (None, Some(child)) if ours(&child.metadata) => {
            if child.metadata.deletion_timestamp.is_some() {
                return Ok(None);
            }
            may_be_deleted(context, &api, object, name).await?;
            delete(&api, name, &child.metadata).await.map(|()| None)
        }
        (None, _) => Ok(None),
        (Some(_), Some(other)) if !ours(&other.metadata) => {
            Err(ChildError::Taken { name: name.clone() })
        }
        (Some(child), _) => {
            let params = PatchParams::apply(CHILD_MANAGER).force();
            let written = api.patch(&name.name, &params, &Patch::Apply(&child)).await;
            let written = written.map_err(|source| ChildError::Write {
                name: name.clone(),
                source,
            })?;
            Ok(Some(Kept {
                uid: written.metadata.uid,
                generation: written.metadata.generation,
            }))
        }
    }
}

/// Fails if the deletion of the child waits for a person. The limit is that of the child. If a commit has taken
/// `spec.sync` out, the deletion of any object waits, as for a Sync that leaves Git.
async fn may_be_deleted(
    context: &Context,
    api: &Api<Sync>,
    repository: &GitRepository,
    name: &SourceName,
) -> Result<(), ChildError> {
    let live = api.get_opt(&name.name).await;
    let live = live.map_err(|source| ChildError::Read {
        name: name.clone(),
        source,
    })?;
    let Some(live) = live else {
        return Ok(());
    };
    let sync = SyncName::new(&name.namespace, &name.name);
    let going = context.taken_along(&sync, &live).await;
    let going = going.map_err(|source| ChildError::Loss {
        name: name.clone(),
        source,
    })?;
    let intent = SyncIntent::from(&live);
    let (uid, limit) = (live.uid().unwrap_or_default(), &intent.prune_limit);
    let plan = PrunePlan::new((&sync, &uid), &going, [].iter(), None, limit);
    let mut lost = Vec::new();
    if limit.holds_contents {
        let actor = context.policy.actor(&sync, &intent);
        lost = context.lost_with(&actor, &going).await;
        if !going.is_empty() && repository.labels().contains_key(PART_OF) {
            lost.push("a Sync manages this GitRepository, so a commit may have done it".to_owned());
        }
    }
    match plan.judged(lost) {
        Brake::Held(plan) => Err(ChildError::Held {
            name: name.clone(),
            plan: Box::new(plan),
        }),
        Brake::Free | Brake::Approved(_) => Ok(()),
    }
}

/// The child Sync after the last apply.
struct Kept {
    uid: Option<String>,
    generation: Option<i64>,
}

impl Kept {
    /// Whether somebody has changed the child since, or has removed its owner. `owner` is the uid of the
    /// repository.
    fn is_changed(&self, now: &SyncObject, owner: Option<&str>) -> bool {
        now.owner.as_deref() != owner || now.generation > self.generation
    }
}

fn is_owned(meta: &ObjectMeta, uid: Option<&str>) -> bool {
    let mut owners = meta.owner_references.iter().flatten();
    owners.any(|owner| Some(&*owner.uid) == uid)
}

/// Whether we have applied the object, even if somebody removed its owner, as `kubectl replace` does.
fn is_written_by_us(meta: &ObjectMeta) -> bool {
    let mut entries = meta.managed_fields.iter().flatten();
    entries.any(|entry| {
        entry.manager.as_deref() == Some(CHILD_MANAGER)
            && entry.operation.as_deref() == Some("Apply")
    })
}

async fn delete(api: &Api<Sync>, name: &SourceName, child: &ObjectMeta) -> Result<(), ChildError> {
    let params = DeleteParams::background().preconditions(Preconditions {
        uid: child.uid.clone(),
        resource_version: None,
    });
    match api.delete(&name.name, &params).await {
        Ok(_) => Ok(()),
        Err(source) if is_gone(api, &name.name, child.uid.as_deref(), &source).await => Ok(()),
        Err(source) => Err(ChildError::Delete {
            name: name.clone(),
            source,
        }),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_child_is_ours_by_its_owner_or_by_who_applied_it() {
        let meta = |value| serde_json::from_value::<ObjectMeta>(value).unwrap();
        let owner = |uid: &str| {
            json!([{"apiVersion": "v1", "kind": "GitRepository", "name": "r", "uid": uid,
                "controller": true}])
        };
        assert!(is_owned(
            &meta(json!({"ownerReferences": owner("1")})),
            Some("1")
        ));
        assert!(!is_owned(
            &meta(json!({"ownerReferences": owner("2")})),
            Some("1")
        ));
        assert!(!is_owned(&meta(json!({})), None));
        for (manager, operation, ours) in [
            (CHILD_MANAGER, "Apply", true),
            (CHILD_MANAGER, "Update", false),
            ("kubectl-replace", "Update", false),
            ("towline", "Apply", false),
        ] {
            let entries = json!({"managedFields": [{"manager": manager, "operation": operation}]});
            assert_eq!(
                is_written_by_us(&meta(entries)),
                ours,
                "{manager} {operation}"
            );
        }
    }

    #[test]
    fn a_child_is_changed_when_its_owner_or_its_spec_is() {
        let kept = Kept {
            uid: None,
            generation: Some(3),
        };
        let now = |owner: &str, generation| SyncObject {
            owner: Some(owner.to_owned()),
            generation: Some(generation),
        };
        for (seen, changed) in [
            // The watch may lag behind our own write.
            (now("1", 2), false),
            (now("1", 3), false),
            (now("1", 4), true),
            (now("2", 3), true),
            (SyncObject::default(), true),
        ] {
            assert_eq!(kept.is_changed(&seen, Some("1")), changed, "{seen:?}");
        }
    }
}
