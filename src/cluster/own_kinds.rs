//! What towline may do for itself, and Git may not. towline writes Syncs, since it makes the one that a GitRepository holds
//! inline; it creates events, its key and its Lease; it reads Secrets and ConfigMaps. None of these rights is one for Git:
//! a Sync in Git could otherwise change another team's Sync, and a chart could look up another team's Secrets.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use k8s_openapi::api::authorization::v1::{
    ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec,
};
use kube::api::PostParams;
use kube::{Api, Client};
use tokio::sync::Mutex;

use super::ServedKind;
use super::refused::{Causes, WriteError};
use crate::api::GROUP;
use crate::manifest::GroupKind;

/// What is done with an object in the name of Git.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Doing {
    /// It is applied, changed or deleted.
    Write,
    /// It is created, without an apply.
    Create,
    /// A chart looks it up.
    LookUp,
}

/// The right that says that somebody gave towline rights to manage a kind. None where the API server refuses what only
/// towline itself may do.
///
/// towline itself patches Syncs and never updates one. It patches none of the other kinds.
fn proof(kind: &GroupKind, doing: Doing) -> Option<&'static str> {
    match (doing, &*kind.group, &*kind.kind) {
        (_, GROUP, _) => Some("update"),
        (Doing::Create, "", "Secret" | "Event")
        | (Doing::Create, "coordination.k8s.io", "Lease")
        | (Doing::LookUp, "", "Secret" | "ConfigMap") => Some("patch"),
        _ => None,
    }
}

/// How long an answer counts.
const KEPT: Duration = Duration::from_secs(30);

/// A verb, a group and a resource, and a namespace.
type ReviewKey = (&'static str, String, String, Option<Arc<str>>);

/// Where Git may do what towline may do for itself.
pub(super) struct OwnKinds {
    client: Client,
    answers: Mutex<HashMap<ReviewKey, (Instant, bool)>>,
}

impl OwnKinds {
    pub(super) fn new(client: Client) -> Self {
        Self {
            client,
            answers: Mutex::default(),
        }
    }

    /// Refuses what only towline's rights for itself would allow. Everything else is the API server's to refuse.
    pub(super) async fn permit(
        &self,
        served: &ServedKind,
        namespace: Option<&str>,
        doing: Doing,
    ) -> Result<(), WriteError> {
        let kind = served.group_kind();
        let Some(verb) = proof(&kind, doing) else {
            return Ok(());
        };
        let resource = &served.resource;
        let place = (
            verb,
            resource.group.clone(),
            resource.plural.clone(),
            namespace.map(Into::into),
        );
        if self.has(place).await? {
            return Ok(());
        }
        let plural = &resource.plural;
        let place = match namespace {
            Some(namespace) => format!(" in namespace {namespace}"),
            None => String::new(),
        };
        let (what, group) = match (doing, &*resource.group) {
            (Doing::LookUp, "") => ("look it up", "\"\""),
            (Doing::LookUp, group) => ("look it up", group),
            (_, "") => ("hold it", "\"\""),
            (_, group) => ("hold it", group),
        };
        Err(WriteError::Refused {
            code: 403,
            message: format!(
                "towline has no right to {verb} {kind} ({plural}){place}, so Git may not {what}: add {group} to \
                 rbac.rules of the chart, or set spec.serviceAccountName to an account that may do it"
            ),
            causes: Causes::default(),
        })
    }

    async fn has(&self, place: ReviewKey) -> Result<bool, WriteError> {
        // Held during the question, so that one Sync of many Syncs asks once.
        let mut answers = self.answers.lock().await;
        answers.retain(|_, (since, _)| since.elapsed() < KEPT);
        if let Some((_, allowed)) = answers.get(&place) {
            return Ok(*allowed);
        }
        let (verb, group, resource, namespace) = &place;
        let review = SelfSubjectAccessReview {
            spec: SelfSubjectAccessReviewSpec {
                resource_attributes: Some(ResourceAttributes {
                    group: Some(group.clone()),
                    resource: Some(resource.clone()),
                    namespace: namespace.as_deref().map(str::to_owned),
                    verb: Some((*verb).to_owned()),
                    ..ResourceAttributes::default()
                }),
                ..SelfSubjectAccessReviewSpec::default()
            },
            ..SelfSubjectAccessReview::default()
        };
        let api: Api<SelfSubjectAccessReview> = Api::all(self.client.clone());
        let answer = api.create(&PostParams::default(), &review).await;
        let allowed = answer
            .map_err(WriteError::Unavailable)?
            .status
            .is_some_and(|status| status.allowed);
        answers.insert(place, (Instant::now(), allowed));
        Ok(allowed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_towlines_own_role_allows_needs_another_right_of_git() {
        use Doing::{Create, LookUp, Write};
        for (group, kind, doing, needs) in [
            (GROUP, "Sync", Write, Some("update")),
            (GROUP, "Alert", LookUp, Some("update")),
            ("", "Secret", LookUp, Some("patch")),
            ("", "ConfigMap", LookUp, Some("patch")),
            ("", "Secret", Create, Some("patch")),
            ("", "Event", Create, Some("patch")),
            ("coordination.k8s.io", "Lease", Create, Some("patch")),
            ("", "Secret", Write, None),
            ("", "ConfigMap", Create, None),
            ("events.k8s.io", "Event", Create, None),
            ("", "Service", LookUp, None),
            ("batch", "Job", Create, None),
        ] {
            let kind = GroupKind::new(group, kind);
            assert_eq!(proof(&kind, doing), needs, "{kind} {doing:?}");
        }
    }
}
