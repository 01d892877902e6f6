//! Reads the credentials and the proxy of a `GitRepository` from their Secrets, and again when the
//! Secrets change.

use crate::api::Reason;
use crate::fleet::SourceName;
use crate::intent::SourceIntent;
use crate::secrets::{Data, SecretName, Secrets, ValueError, Watched};
use crate::source::{Credentials, CredentialsError, Proxy};

/// Why a Secret cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("spec.{field}: {source}")]
pub(crate) struct LoginError {
    field: &'static str,
    source: ValueError<CredentialsError>,
}

impl LoginError {
    /// The reason of the condition.
    pub(super) fn reason(&self) -> Reason {
        match self.source.is_unavailable() {
            true => Reason::ApiUnavailable,
            false => Reason::CredentialsInvalid,
        }
    }
}

/// The credentials and the proxy of one repository.
#[derive(Default)]
pub(crate) struct Login {
    credentials: Watched<Credentials>,
    proxy: Watched<Proxy>,
}

impl Login {
    /// The values of `spec.secretRef` and `spec.proxySecretRef`. A Secret is read again only after
    /// it changed.
    pub(crate) async fn read(
        &mut self,
        secrets: &Secrets,
        intent: &SourceIntent,
        name: &SourceName,
    ) -> Result<(Credentials, Option<Proxy>), LoginError> {
        let field = Field {
            name: "secretRef",
            secret: intent.credentials.as_deref(),
            namespace: &name.namespace,
            url: &intent.git.url,
        };
        let parse = Credentials::from_secret;
        let credentials = field.read(&mut self.credentials, secrets, parse).await?;
        let field = Field {
            name: "proxySecretRef",
            secret: intent.proxy.as_deref(),
            ..field
        };
        let proxy = field.read(&mut self.proxy, secrets, Proxy::from_secret);
        Ok((credentials.unwrap_or_default(), proxy.await?))
    }

    /// Waits until one of the Secrets has changed.
    pub(crate) async fn changed(&mut self) {
        tokio::select! {
            () = self.credentials.changed() => (),
            () = self.proxy.changed() => (),
        }
    }
}

/// A field of the spec that may name a Secret.
struct Field<'a> {
    name: &'static str,
    secret: Option<&'a str>,
    namespace: &'a str,
    /// The content of the Secret must fit this URL.
    url: &'a str,
}

impl Field<'_> {
    async fn read<T: Clone>(
        &self,
        value: &mut Watched<T>,
        secrets: &Secrets,
        parse: fn(&str, &Data) -> Result<T, CredentialsError>,
    ) -> Result<Option<T>, LoginError> {
        let Some(secret) = self.secret else {
            value.clear();
            return Ok(None);
        };
        let secret = SecretName::new(self.namespace, secret);
        let read = value.get(secrets, &secret, self.url, |data| parse(self.url, data));
        let field = self.name;
        match read.await {
            Ok(value) => Ok(Some(value)),
            Err(source) => Err(LoginError { field, source }),
        }
    }
}
