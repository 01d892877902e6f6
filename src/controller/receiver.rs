//! The webhook of a repository: who may wake its driver.

use std::sync::Arc;

use k8s_openapi::api::core::v1::Secret as SecretObject;
use kube::{Api, ResourceExt as _};
use tokio::sync::Notify;

use super::Context;
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
    let invalid = |why: &str| {
        let message = format!("spec.webhook: Secret {namespace}/{name} {why}");
        (Reason::WebhookInvalid, message)
    };
    let api: Api<SecretObject> = Api::namespaced(context.client.clone(), namespace);
    let object = match api.get_opt(name).await {
        Ok(Some(object)) => object,
        Ok(None) => return Err(invalid("does not exist")),
        Err(error) => {
            // Only what the API server itself says: an answer that cannot be read may be quoted.
            let why = match &error {
                kube::Error::Api(status) => status.message.as_str(),
                _ => "no answer",
            };
            let message = format!("reading Secret {namespace}/{name} of spec.webhook: {why}");
            return Err((Reason::ApiUnavailable, message));
        }
    };
    let data = object.data.unwrap_or_default();
    let Some(token) = data.get(KEY) else {
        return Err(invalid(&format!("has no key {KEY}")));
    };
    Secret::new(&token.0).map_err(|_| invalid(&format!("has nothing under the key {KEY}")))
}

/// Which pushes can change the commit that a reference means.
fn follows(reference: &Reference) -> Follows {
    match reference {
        Reference::Default => Follows::DefaultBranch,
        Reference::Branch(branch) => Follows::Branch(branch.clone()),
        Reference::Tag(tag) => Follows::Tag(tag.clone()),
        Reference::Commit(_) => Follows::Commit,
    }
}
