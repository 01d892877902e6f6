//! The inputs of a render from the cluster: ConfigMaps and Secrets of the Sync's namespace. They are read
//! again when one changes.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;

use futures::future::{pending, select_all};

use crate::allowance::HeldBytes;
use crate::api::Reason;
use crate::desired::{InputData, Inputs, InputsError, MOST_INPUT};
use crate::driver::Context;
use crate::intent::{InputsIntent, Keeper, Reference};
use crate::secrets::{Data, ReadError, SecretName, ValueError, Watched, size};

/// Why inputs are missing. Each error names the field of the spec.
#[derive(Debug, thiserror::Error)]
pub(super) enum InputError {
    /// A ConfigMap or a Secret cannot be read.
    #[error("{field}: {source}")]
    Read {
        field: &'static str,
        source: ValueError<Infallible>,
    },
    /// The Syncs of the namespace hold too much together.
    #[error(
        "the ConfigMaps and Secrets that Syncs name would take too much memory together, those of namespace {0} or those \
         of all: name fewer, or smaller ones (docs/reference/manifests.md#limits)"
    )]
    Full(Arc<str>),
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
            Self::Full(_) | Self::Gather(InputsError::TooLarge { .. }) => Reason::TooLarge,
            Self::Read { .. } | Self::Gather(_) => Reason::RenderFailed,
        }
    }

    /// Whether a later try may succeed although nothing has changed: the API server failed, or other Syncs' inputs take the
    /// memory.
    pub(super) fn may_end(&self) -> bool {
        match self {
            Self::Read { source, .. } => source.is_unavailable(),
            Self::Full(_) => true,
            Self::Gather(_) => false,
        }
    }
}

/// Reads inputs, and caches them until they change.
#[derive(Default)]
pub(super) struct InputReader {
    watched: BTreeMap<(Keeper, String), Watched<Arc<Data>>>,
    /// The last inputs, and the intent for which they were read.
    last: Option<(InputsIntent, Arc<Inputs>)>,
    /// The last intent whose inputs are too large, and at which object.
    too_large: Option<(InputsIntent, &'static str, String)>,
    /// The part of the namespace's memory that the inputs take.
    held: Option<HeldBytes>,
    /// Whether `last` is out of date.
    stale: bool,
}

impl InputReader {
    /// The inputs that `intent` names, with the count of changes of what charts have looked up. Known values are not read
    /// again.
    pub(super) async fn read(
        &mut self,
        context: &Context,
        namespace: &Arc<str>,
        intent: &InputsIntent,
        lookups: u64,
    ) -> Result<Arc<Inputs>, InputError> {
        if let Some((of, inputs)) = &self.last
            && of == intent
            && inputs.lookups == lookups
            && !self.stale
        {
            return Ok(Arc::clone(inputs));
        }
        if let Some((of, field, name)) = &self.too_large
            && of == intent
            && !self.stale
        {
            let name = name.clone();
            return Err(InputsError::TooLarge { field, name }.into());
        }
        let references = intent.references();
        let is_named = |kind: Keeper, name: &str| {
            let mut named = references.iter();
            named.any(|(_, is)| is.kind == kind && is.name == name)
        };
        self.watched.retain(|(kind, name), _| is_named(*kind, name));
        (self.last, self.too_large, self.held) = (None, None, None);
        let found = match self.found(context, namespace, &references).await {
            Err(InputError::Gather(InputsError::TooLarge { field, name })) => {
                self.let_go();
                self.too_large = Some((intent.clone(), field, name.clone()));
                self.stale = false;
                return Err(InputsError::TooLarge { field, name }.into());
            }
            found => found?,
        };
        let bytes = found.values().map(|data| size(data)).sum();
        self.held = context.inputs.hold(namespace, bytes);
        if self.held.is_none() {
            self.let_go();
            return Err(InputError::Full(Arc::clone(namespace)));
        }
        let mut inputs = Inputs::gather(namespace, intent, &found)?;
        let version = context.cluster.version().await;
        inputs.kube_version = version.unwrap_or_default().to_owned();
        inputs.api_versions = context.cluster.kinds.api_versions();
        inputs.lookups = lookups;
        let inputs = Arc::new(inputs);
        self.last = Some((intent.clone(), Arc::clone(&inputs)));
        self.stale = false;
        Ok(inputs)
    }

    /// The ConfigMaps and Secrets that exist. No more of them are read than one Sync may have.
    async fn found(
        &mut self,
        context: &Context,
        namespace: &str,
        references: &[(&'static str, Reference)],
    ) -> Result<InputData, InputError> {
        let mut found = InputData::new();
        let mut bytes = 0;
        for (field, reference) in references {
            let key = (reference.kind, reference.name.clone());
            if found.contains_key(&key) {
                continue;
            }
            let Some(data) = self.data(context, namespace, reference, field).await? else {
                continue;
            };
            bytes += size(&data);
            if bytes > MOST_INPUT {
                let name = format!("{} {namespace}/{}", reference.kind, reference.name);
                return Err(InputsError::TooLarge { field, name }.into());
            }
            found.insert(key, data);
        }
        Ok(found)
    }

    /// Forgets all values, but still listens to their objects.
    fn let_go(&mut self) {
        self.watched.values_mut().for_each(Watched::forget);
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
