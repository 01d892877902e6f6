//! How a `GitRepository` is reached: credentials and proxy, read from their Secrets, and again when
//! those change.

use kube::ResourceExt as _;
use tokio::sync::watch;

use super::{Context, secrets, verified};
use crate::api::{GitRepository, Reason, SecretRef};
use crate::source::{self, Credentials, CredentialsError, Proxy};

/// What was read last.
#[derive(Default)]
pub(super) struct Login {
    credentials: Slot<Credentials>,
    proxy: Slot<Proxy>,
}

/// What a Secret says, if it was read.
struct Slot<T>(Option<Read<T>>);

/// A value, and the Secret and URL that it is for.
struct Read<T> {
    secret: String,
    url: String,
    changes: watch::Receiver<u64>,
    /// None where the Secret cannot be used: the next poll reads again.
    value: Option<T>,
}

/// Why a poll failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum PollError {
    #[error(transparent)]
    Fetch(#[from] source::Error),
    #[error(transparent)]
    Unverified(#[from] verified::Error),
    #[error("spec.{field}: {source}")]
    Secret {
        field: &'static str,
        source: secrets::Error,
    },
    #[error("spec.{field}: Secret {secret}: {source}")]
    Credentials {
        field: &'static str,
        secret: String,
        source: CredentialsError,
    },
}

impl PollError {
    pub(super) fn reason(&self) -> Reason {
        match self {
            Self::Fetch(error) => error.reason(),
            Self::Unverified(error) => error.reason(),
            Self::Secret {
                source: secrets::Error::Unavailable(..),
                ..
            } => Reason::ApiUnavailable,
            Self::Secret { .. } | Self::Credentials { .. } => Reason::CredentialsInvalid,
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
    /// What `spec.secretRef` and `spec.proxySecretRef` say, read again only when a Secret changed.
    pub(super) async fn read(
        &mut self,
        context: &Context,
        object: &GitRepository,
    ) -> Result<(Credentials, Option<Proxy>), PollError> {
        let spec = &object.spec;
        let secret = spec.secret_ref.as_ref();
        let parse = Credentials::from_secret;
        let credentials = &mut self.credentials;
        let credentials = credentials.read(context, object, "secretRef", secret, parse);
        let credentials = credentials.await?.unwrap_or_default();
        let secret = spec.proxy_secret_ref.as_ref();
        let parse = Proxy::from_secret;
        let proxy = &mut self.proxy;
        let proxy = proxy.read(context, object, "proxySecretRef", secret, parse);
        Ok((credentials, proxy.await?))
    }

    /// Waits until a Secret has changed: it is read again at the next poll. False: it will not.
    pub(super) async fn changed(&mut self) -> bool {
        tokio::select! {
            changed = self.credentials.changed() => changed,
            changed = self.proxy.changed() => changed,
        }
    }
}

impl<T> Default for Slot<T> {
    fn default() -> Self {
        Self(None)
    }
}

impl<T: Clone> Slot<T> {
    async fn read(
        &mut self,
        context: &Context,
        object: &GitRepository,
        field: &'static str,
        secret: Option<&SecretRef>,
        parse: fn(&str, &secrets::Data) -> Result<T, CredentialsError>,
    ) -> Result<Option<T>, PollError> {
        let Some(SecretRef { name }) = secret else {
            self.0 = None;
            return Ok(None);
        };
        let url = &object.spec.url;
        if let Some(read) = &self.0
            && (&read.secret, &read.url) == (name, url)
            && let Some(value) = &read.value
            && context.secrets.is_in_step()
        {
            return Ok(Some(value.clone()));
        }
        let namespace = object.namespace().unwrap_or_default();
        // Listened to also where it is missing: its coming is a change.
        let changes = context.secrets.subscribe(&namespace, name);
        let data = secrets::read(context, &namespace, name).await;
        let data = data.map_err(|source| PollError::Secret { field, source });
        let result = data.and_then(|data| {
            parse(url, &data).map_err(|source| PollError::Credentials {
                field,
                secret: format!("{namespace}/{name}"),
                source,
            })
        });
        self.0 = Some(Read {
            secret: name.clone(),
            url: url.clone(),
            changes,
            value: result.as_ref().ok().cloned(),
        });
        result.map(Some)
    }

    async fn changed(&mut self) -> bool {
        let changes = self.0.as_mut().map(|read| &mut read.changes);
        let changed = secrets::changed(changes).await;
        if changed {
            self.0 = None;
        }
        changed
    }
}
