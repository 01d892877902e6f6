//! The credentials of a `GitRepository`: read from its Secret, and again when that changes.

use kube::ResourceExt as _;
use tokio::sync::watch;

use super::{Context, secrets, verified};
use crate::api::{GitRepository, Reason};
use crate::source::{self, Credentials, CredentialsError};

/// The credentials as they were read last, if they were.
#[derive(Default)]
pub(super) struct Login(Option<Read>);

/// Credentials, and the Secret and URL that they are for.
struct Read {
    secret: String,
    url: String,
    changes: watch::Receiver<u64>,
    credentials: Credentials,
}

/// Why a poll failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum PollError {
    #[error(transparent)]
    Fetch(#[from] source::Error),
    #[error(transparent)]
    Unverified(#[from] verified::Error),
    #[error("spec.secretRef: {0}")]
    Secret(#[from] secrets::Error),
    #[error("spec.secretRef: Secret {secret}: {source}")]
    Credentials {
        secret: String,
        source: CredentialsError,
    },
}

impl PollError {
    pub(super) fn reason(&self) -> Reason {
        match self {
            Self::Fetch(error) => error.reason(),
            Self::Unverified(error) => error.reason(),
            Self::Secret(secrets::Error::Unavailable(..)) => Reason::ApiUnavailable,
            Self::Secret(_) | Self::Credentials { .. } => Reason::CredentialsInvalid,
        }
    }
}

/// What a person can do, where the failure itself does not say which object it is about.
pub(super) fn advice(object: &GitRepository, reason: Reason) -> Option<String> {
    let namespace = object.namespace().unwrap_or_default();
    match (reason, &object.spec.secret_ref) {
        (Reason::AuthenticationFailed, Some(secret)) => Some(format!(
            "correct Secret {namespace}/{}, which is used as soon as it changes",
            secret.name
        )),
        (Reason::AuthenticationFailed, None) => {
            Some("name a Secret with credentials in spec.secretRef".to_owned())
        }
        (Reason::RefNotFound, _) => {
            Some("correct spec.ref, or restore it on the server".to_owned())
        }
        _ => None,
    }
}

impl Login {
    /// The credentials of `spec.secretRef`, read again only when the Secret changed.
    pub(super) async fn credentials(
        &mut self,
        context: &Context,
        object: &GitRepository,
    ) -> Result<Credentials, PollError> {
        let Some(reference) = &object.spec.secret_ref else {
            self.0 = None;
            return Ok(Credentials::default());
        };
        let (secret, url) = (&reference.name, &object.spec.url);
        if let Some(read) = &self.0
            && (&read.secret, &read.url) == (secret, url)
            && context.secrets.is_in_step()
        {
            return Ok(read.credentials.clone());
        }
        let namespace = object.namespace().unwrap_or_default();
        // Listened to also where it is missing: its coming is a change.
        let changes = context.secrets.subscribe(&namespace, secret);
        let data = secrets::read(context, &namespace, secret).await;
        let result = data.map_err(PollError::from).and_then(|data| {
            Credentials::from_secret(url, &data).map_err(|source| PollError::Credentials {
                secret: format!("{namespace}/{secret}"),
                source,
            })
        });
        self.0 = Some(Read {
            // Of no Secret where it cannot be used: the next poll reads again.
            secret: result
                .as_ref()
                .map_or_else(|_| String::new(), |_| secret.clone()),
            url: url.clone(),
            changes,
            credentials: result.as_ref().cloned().unwrap_or_default(),
        });
        result
    }

    /// Waits until the Secret has changed: it is read again at the next poll. False: it will not.
    pub(super) async fn changed(&mut self) -> bool {
        let changes = self.0.as_mut().map(|read| &mut read.changes);
        let changed = secrets::changed(changes).await;
        if changed {
            self.0 = None;
        }
        changed
    }
}
