//! The webhook of a repository: who may wake its driver.

use std::sync::Arc;

use kube::ResourceExt as _;
use tokio::sync::Notify;

use super::{Context, secrets};
use crate::api::{GitRepository, Reason};
use crate::server::Receiver;
use crate::source::Reference;
use crate::webhook::{Follows, RepositoryUrl, Secret};

/// The key of the Secret that `spec.webhook` names; Flux's `Receiver` has the same.
const KEY: &str = "token";

/// Why a webhook does not work, for the condition.
pub(super) type Refused = (Reason, String);

/// Makes the repository's receiver what `spec.webhook` says. Where the secret is missing or unusable
/// there is none: what it would accept is refused.
pub(super) async fn follow(
    context: &Context,
    object: &GitRepository,
    reference: &Reference,
    poke: &Arc<Notify>,
) -> Result<(), Refused> {
    let (namespace, name) = (object.namespace().unwrap_or_default(), object.name_any());
    let Some(webhook) = &object.spec.webhook else {
        context.receivers.remove(&namespace, &name);
        return Ok(());
    };
    match read_secret(context, &namespace, &webhook.secret_ref.name).await {
        Ok(secret) => {
            let receiver = Receiver {
                urls: RepositoryUrl::parse(&object.spec.url).into_iter().collect(),
                follows: follows(reference),
                secret,
                poke: Arc::clone(poke),
            };
            context.receivers.set(&namespace, &name, receiver);
            Ok(())
        }
        Err(refused) => {
            // An API server that does not answer takes no secret back.
            if refused.0 == Reason::WebhookInvalid {
                context.receivers.remove(&namespace, &name);
            }
            Err(refused)
        }
    }
}

async fn read_secret(context: &Context, namespace: &str, name: &str) -> Result<Secret, Refused> {
    let invalid = |why: String| (Reason::WebhookInvalid, format!("spec.webhook: {why}"));
    let data = match secrets::read(context, namespace, name).await {
        Ok(data) => data,
        Err(error @ secrets::Error::Missing(_)) => return Err(invalid(error.to_string())),
        Err(error) => return Err((Reason::ApiUnavailable, format!("spec.webhook: {error}"))),
    };
    let Some(token) = data.get(KEY) else {
        return Err(invalid(format!(
            "Secret {namespace}/{name} has no key {KEY}"
        )));
    };
    Secret::new(token).map_err(|_| {
        invalid(format!(
            "Secret {namespace}/{name} has nothing under the key {KEY}"
        ))
    })
}

/// Which pushes can change the commit that a reference means.
fn follows(reference: &Reference) -> Follows {
    match reference {
        Reference::Default => Follows::DefaultBranch,
        Reference::Branch(branch) => Follows::Branch(branch.clone()),
        Reference::Tag(tag) => Follows::Tag(tag.clone()),
        Reference::Semver(_) => Follows::Tags,
        Reference::Name(name) => Follows::Name(name.clone()),
        Reference::Commit(_) => Follows::Commit,
    }
}
