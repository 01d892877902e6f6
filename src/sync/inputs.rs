//! The inputs of a render from the cluster: ConfigMaps and Secrets of the Sync's namespace. They are read
//! again when one changes.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;

use futures::future::{pending, select_all};

use crate::api::Reason;
use crate::decrypt::{Keys, KeysError};
use crate::desired::Inputs;
use crate::driver::Context;
use crate::intent::{InputsIntent, Keeper, Reference, SubstituteIntent};
use crate::manifest;
use crate::secrets::{Data, ReadError, SecretName, ValueError, Watched};
use crate::substitute::{NameError, Variables};
use crate::text::Secrets;

/// Why inputs are missing. Each error names the field of the spec.
#[derive(Debug, thiserror::Error)]
pub(super) enum InputError {
    /// A ConfigMap or a Secret cannot be read.
    #[error("{field}: {source}")]
    Read {
        field: &'static str,
        source: ValueError<Infallible>,
    },
    /// The object lacks the key with a chart's values, or the value is not text.
    #[error("spec.helm.valuesFrom: {0} has no text in the key {1}")]
    NoValues(SecretName, String),
    /// A key is not a valid name of a variable.
    #[error("{field}: {source}")]
    Variable { field: String, source: NameError },
    /// The keys for encrypted files cannot be used.
    #[error("spec.decryption: {0}")]
    Keys(#[from] KeysError),
}

impl InputError {
    /// The reason of the condition that reports the error.
    pub(super) fn reason(&self) -> Reason {
        match self {
            Self::Read { source, .. } if source.is_unavailable() => Reason::ApiUnavailable,
            Self::Keys(_) => Reason::DecryptionFailed,
            Self::Read { .. } | Self::NoValues(..) | Self::Variable { .. } => Reason::RenderFailed,
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
        let wanted = |kind: Keeper, name: &str| intent.names().any(|is| is == (kind, name));
        self.watched.retain(|(kind, name), _| wanted(*kind, name));
        self.last = None;
        let mut parts: Vec<Arc<Data>> = Vec::new();
        let mut inputs = Inputs::default();
        if let Some(substitute) = &intent.substitute {
            let variables = self
                .variables(context, namespace, substitute, &inputs.secrets, &mut parts)
                .await?;
            inputs.variables = Some(variables);
        }
        if let Some(name) = &intent.keys {
            let keys = Reference {
                kind: Keeper::Secret,
                name: name.clone(),
                optional: false,
            };
            let data = self
                .data(context, namespace, &keys, "spec.decryption")
                .await?;
            let data = data.unwrap_or_default();
            inputs.keys = Some(Keys::from_secret(&format!("{namespace}/{name}"), &data)?);
            parts.push(data);
        }
        for from in &intent.values_from {
            let field = "spec.helm.valuesFrom";
            let Some(data) = self
                .data(context, namespace, &from.reference, field)
                .await?
            else {
                continue;
            };
            let name = SecretName::new(namespace, &from.reference.name);
            let text = data
                .get(&from.key)
                .map(|text| String::from_utf8(text.clone()));
            match text {
                Some(Ok(text)) => {
                    if from.reference.kind == Keeper::Secret {
                        note_values(&text, &inputs.secrets);
                    }
                    let name = format!("{} {name}, key {}", from.reference.kind, from.key);
                    inputs.values.push((name, text));
                }
                None if from.reference.optional => (),
                None | Some(Err(_)) => return Err(InputError::NoValues(name, from.key.clone())),
            }
            parts.push(data);
        }
        let version = context.cluster.version().await;
        inputs.kube_version = version.unwrap_or_default().to_owned();
        inputs.api_versions = context.cluster.kinds.api_versions();
        let bytes = parts.iter().flat_map(|data| {
            let entries = data.iter();
            entries.flat_map(|(key, value)| [key.as_bytes(), value.as_slice()])
        });
        let inputs = Arc::new(inputs.identified(bytes));
        self.last = Some((intent.clone(), Arc::clone(&inputs)));
        self.stale = false;
        Ok(inputs)
    }

    async fn variables(
        &mut self,
        context: &Context,
        namespace: &str,
        substitute: &SubstituteIntent,
        secrets: &Secrets,
        parts: &mut Vec<Arc<Data>>,
    ) -> Result<Variables, InputError> {
        let mut variables = Variables::default();
        variables.strict = substitute.strict;
        for reference in &substitute.from {
            let field = "spec.substitute.from";
            let Some(data) = self.data(context, namespace, reference, field).await? else {
                continue;
            };
            for (name, value) in data.iter() {
                let value = String::from_utf8_lossy(value);
                if reference.kind == Keeper::Secret {
                    secrets.add(&value);
                }
                let set = variables.set(name, &value);
                set.map_err(|source| InputError::Variable {
                    field: format!("{field}: {} {namespace}/{}", reference.kind, reference.name),
                    source,
                })?;
            }
            parts.push(data);
        }
        for (name, value) in &substitute.values {
            let set = variables.set(name, value);
            set.map_err(|source| InputError::Variable {
                field: "spec.substitute.values".to_owned(),
                source,
            })?;
        }
        Ok(variables)
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

/// Adds the values of a chart from a Secret to the texts that are hidden.
fn note_values(text: &str, secrets: &Secrets) {
    match manifest::documents(text.as_bytes()) {
        Ok(documents) => {
            for document in documents {
                secrets.add_all(&document.value);
            }
        }
        // Helm reports the error, and may quote the text.
        Err(_) => secrets.add_lines(text),
    }
}
