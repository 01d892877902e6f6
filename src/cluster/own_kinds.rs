//! towline's own kinds in Git. towline may write them for itself, since it makes the Sync that a GitRepository holds
//! inline. That right is not one for Git: a Sync in Git could otherwise change another team's Sync.

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
use crate::manifest::ObjectKey;

/// The right that says that Git may hold these kinds. towline itself patches and never updates, so it has this one only
/// where somebody gave it rights to apply.
const VERB: &str = "update";

/// How long an answer counts.
const KEPT: Duration = Duration::from_secs(30);

/// What the API server was asked about: a resource and a namespace.
type ReviewKey = (String, Option<Arc<str>>);

/// Where Git may hold towline's own kinds.
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

    /// Refuses an object of an own kind where towline has no right to apply it. Other kinds are the API server's to
    /// refuse.
    pub(super) async fn permit(
        &self,
        served: &ServedKind,
        key: &ObjectKey,
    ) -> Result<(), WriteError> {
        if *key.kind.group != *GROUP || self.may_write(served, key).await? {
            return Ok(());
        }
        let (resource, kind) = (&served.resource.plural, &key.kind);
        let place = match &key.namespace {
            Some(namespace) => format!(" in namespace {namespace}"),
            None => String::new(),
        };
        Err(WriteError::Refused {
            code: 403,
            message: format!(
                "towline has no right to {VERB} {kind} ({resource}){place}, so Git may not hold it: add {GROUP} to \
                 rbac.rules of the chart, or set spec.serviceAccountName to an account that may write it"
            ),
            causes: Causes::default(),
        })
    }

    async fn may_write(&self, served: &ServedKind, key: &ObjectKey) -> Result<bool, WriteError> {
        let asked = (served.resource.plural.clone(), key.namespace.clone());
        // Held during the question, so that one Sync of many Syncs asks once.
        let mut answers = self.answers.lock().await;
        answers.retain(|_, (since, _)| since.elapsed() < KEPT);
        if let Some((_, allowed)) = answers.get(&asked) {
            return Ok(*allowed);
        }
        let review = SelfSubjectAccessReview {
            spec: SelfSubjectAccessReviewSpec {
                resource_attributes: Some(ResourceAttributes {
                    group: Some(GROUP.to_owned()),
                    resource: Some(asked.0.clone()),
                    namespace: asked.1.as_deref().map(str::to_owned),
                    verb: Some(VERB.to_owned()),
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
        answers.insert(asked, (Instant::now(), allowed));
        Ok(allowed)
    }
}
