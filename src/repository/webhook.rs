//! The webhook of a repository: its secret, and the deliveries that wake its driver.

use std::sync::Arc;

use tokio::sync::Notify;

use crate::api::Reason;
use crate::fleet::SourceName;
use crate::intent::{GitReference, SourceIntent};
use crate::secrets::{Data, SecretName, Secrets, ValueError, Watched};
use crate::server::{Receiver, Receivers};
use crate::webhook::{Follows, RepositoryUrl, Secret};

/// The key of the Secret that `spec.webhook` names. Flux's `Receiver` uses the same key.
const KEY: &str = "token";

/// Why a Secret cannot be used for a webhook.
#[derive(Debug, thiserror::Error)]
pub(super) enum TokenError {
    #[error("has no key {KEY}")]
    NoKey,
    #[error("has nothing under the key {KEY}")]
    Empty,
}

/// The webhook of one repository.
#[derive(Default)]
pub(super) struct Webhook {
    token: Watched<Secret>,
    /// Deliveries wake this. A [`Notify`] keeps one permit, also during a fetch.
    pub(super) poke: Arc<Notify>,
    /// Why webhooks do not work, for the condition.
    pub(super) error: Option<(Reason, String)>,
}

impl Webhook {
    /// Whether the Secret must be read, for the first time or again.
    pub(super) fn is_due(&self, intent: &SourceIntent) -> bool {
        intent.webhook.is_some() && !self.token.has_value()
    }

    /// Sets the repository's receiver to `spec.webhook` and its Secret. While the Secret is missing
    /// or unusable, there is no receiver, and every delivery is refused.
    pub(super) async fn keep(
        &mut self,
        secrets: &Secrets,
        receivers: &Receivers,
        intent: &SourceIntent,
        name: &SourceName,
    ) {
        self.error = None;
        let Some(webhook) = &intent.webhook else {
            self.token.clear();
            receivers.remove(name);
            return;
        };
        let secret = SecretName::new(&name.namespace, webhook);
        match self.token.get(secrets, &secret, "", parse).await {
            Ok(secret) => {
                let receiver = Receiver {
                    urls: RepositoryUrl::parse(&intent.git.url).into_iter().collect(),
                    follows: follows(&intent.git.reference),
                    secret,
                    poke: Arc::clone(&self.poke),
                };
                receivers.set(name, receiver);
            }
            Err(error) => {
                let reason = match error.is_unavailable() {
                    true => Reason::ApiUnavailable,
                    false => {
                        receivers.remove(name);
                        Reason::WebhookInvalid
                    }
                };
                self.error = Some((reason, format!("spec.webhook: {}", text(&error))));
            }
        }
    }

    /// Waits until the Secret has changed.
    pub(super) async fn changed(&mut self) {
        self.token.changed().await;
    }
}

fn parse(data: &Data) -> Result<Secret, TokenError> {
    let token = data.get(KEY).ok_or(TokenError::NoKey)?;
    Secret::new(token).map_err(|_| TokenError::Empty)
}

fn text(error: &ValueError<TokenError>) -> String {
    match error {
        ValueError::Content {
            kind,
            secret,
            source,
        } => format!("{kind} {secret} {source}"),
        ValueError::Read(error) => error.to_string(),
    }
}

/// The refs whose pushes can change the commit of a reference.
fn follows(reference: &GitReference) -> Follows {
    match reference {
        GitReference::Default => Follows::DefaultBranch,
        GitReference::Branch(branch) => Follows::Branch(branch.clone()),
        GitReference::Tag(tag) => Follows::Tag(tag.clone()),
        GitReference::Semver(_) => Follows::Tags,
        GitReference::Name(name) => Follows::Name(name.clone()),
        GitReference::Commit(_) => Follows::Commit,
    }
}
