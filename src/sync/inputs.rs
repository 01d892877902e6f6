//! The inputs of a render from the cluster: ConfigMaps and Secrets of the Sync's namespace. They are read
//! again when one changes.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;

use futures::future::{pending, select_all};

use crate::api::Reason;
use crate::desired::{Found, Inputs, InputsError};
use crate::driver::Context;
use crate::intent::{InputsIntent, Keeper, Reference};
use crate::secrets::{Data, ReadError, SecretName, ValueError, Watched};

/// Why inputs are missing. Each error names the field of the spec.
#[derive(Debug, thiserror::Error)]
pub(super) enum InputError {
    /// A ConfigMap or a Secret cannot be read.
    #[error("{field}: {source}")]
    Read {
        field: &'static str,
        source: ValueError<Infallible>,
    },
    /// The inputs cannot be made of what was read.
    #[error(transparent)]
    Gather(#[from] InputsError),
}

impl InputError {
    /// The reason of the condition that reports the error.
    pub(super) fn reason(&self) -> Reason {
        match self {
            Self::Read { source, .. } if source.is_unavailable() => Reason::ApiUnavailable,
            Self::Gather(InputsError::Keys(_)) => Reason::DecryptionFailed,
            Self::Read { .. } | Self::Gather(_) => Reason::RenderFailed,
        }
    }

    /// Whether the API server is the cause, so that a later try may succeed.
    pub(super) fn is_unavailable(&self) -> bool {
        matches!(self, Self::Read { source, .. } if source.is_unavailable())
    }
}

/// Reads inputs, and caches them until they change.
#[derive(Default)]
pub(super) struct InputReader {
    watched: BTreeMap<(Keeper, String), Watched<Arc<Data>>>,
    /// The last inputs, and the intent for which they were read.
    last: Option<(InputsIntent, Arc<Inputs>)>,
    /// Whether `last` is out of date.
    stale: bool,
}

impl InputReader {
    /// The inputs that `intent` names. Known values are not read again.
    pub(super) async fn read(
        &mut self,
        context: &Context,
        namespace: &str,
        intent: &InputsIntent,
    ) -> Result<Arc<Inputs>, InputError> {
        if let Some((of, inputs)) = &self.last
            && of == intent
            && !self.stale
        {
            return Ok(Arc::clone(inputs));
        }
        let references = intent.references();
        let is_named = |kind: Keeper, name: &str| {
            let mut named = references.iter();
            named.any(|(_, is)| is.kind == kind && is.name == name)
        };
        self.watched.retain(|(kind, name), _| is_named(*kind, name));
        self.last = None;
        let mut found = Found::new();
        for (field, reference) in &references {
            if let Some(data) = self.data(context, namespace, reference, field).await? {
                found.insert((reference.kind, reference.name.clone()), data);
            }
        }
        let mut inputs = Inputs::gather(namespace, intent, &found)?;
        let version = context.cluster.version().await;
        inputs.kube_version = version.unwrap_or_default().to_owned();
        inputs.api_versions = context.cluster.kinds.api_versions();
        let inputs = Arc::new(inputs);
        self.last = Some((intent.clone(), Arc::clone(&inputs)));
        self.stale = false;
        Ok(inputs)
    }

    /// The values of a ConfigMap or a Secret. None if the object is optional and absent.
    async fn data(
        &mut self,
        context: &Context,
        namespace: &str,
        reference: &Reference,
        field: &'static str,
    ) -> Result<Option<Arc<Data>>, InputError> {
        let name = SecretName::new(namespace, &reference.name);
        let key = (reference.kind, reference.name.clone());
        let watched = self.watched.entry(key).or_default();
        let keep = |data: &Data| Ok(Arc::new(data.clone()));
        let read = match reference.kind {
            Keeper::ConfigMap => watched.get(&context.config_maps, &name, "", keep).await,
            Keeper::Secret => watched.get(&context.secrets, &name, "", keep).await,
        };
        match read {
            Ok(data) => Ok(Some(data)),
            Err(ValueError::Read(ReadError::Missing(..))) if reference.optional => Ok(None),
            Err(source) => Err(InputError::Read { field, source }),
        }
    }

    /// Waits until an input has changed.
    pub(super) async fn changed(&mut self) {
        if self.watched.is_empty() {
            return pending().await;
        }
        let watched = self.watched.values_mut();
        select_all(watched.map(|watched| Box::pin(watched.changed()))).await;
        self.stale = true;
    }
}
