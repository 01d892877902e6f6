//! Makes the inputs of a render of the ConfigMaps and Secrets that an intent names.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::{Inputs, StandIns};
use crate::decrypt::{Keys, KeysError};
use crate::intent::{InputsIntent, Keeper, SubstituteIntent};
use crate::manifest;
use crate::substitute::{NameError, Variables};
use crate::text::Secrets;

/// The values of one ConfigMap or Secret, by key.
type Data = BTreeMap<String, Vec<u8>>;

/// The named ConfigMaps and Secrets that exist, by kind and name.
pub type InputData = BTreeMap<(Keeper, String), Arc<Data>>;

/// How many bytes the ConfigMaps and Secrets of one Sync may have together. Their values stay in memory, since objects are
/// made of them again whenever one is corrected.
pub const MOST_INPUT: usize = 4 << 20;

/// Why the inputs cannot be made. Each error names the field of the spec.
#[derive(Debug, thiserror::Error)]
pub enum InputsError {
    /// A ConfigMap or a Secret does not exist.
    #[error("{field}: {kind} {name} does not exist")]
    Missing {
        /// The field that names it.
        field: &'static str,
        /// What it is.
        kind: Keeper,
        /// Its namespace and name.
        name: String,
    },
    /// The object lacks the key with a chart's values, or the value is not text.
    #[error("spec.helm.valuesFrom: {name} has no text in the key {key}")]
    NoValues {
        /// The object's namespace and name.
        name: String,
        /// The key.
        key: String,
    },
    /// The values are too large.
    #[error(
        "{field}: with {name}, the ConfigMaps and Secrets of the Sync hold more than {} MiB: name fewer of them, or keep \
         values in files of the repository",
        MOST_INPUT >> 20
    )]
    TooLarge {
        /// The field that names it.
        field: &'static str,
        /// The object at which the limit was exceeded.
        name: String,
    },
    /// A key is not a valid name of a variable.
    #[error("{field}: {source}")]
    Variable {
        /// The field that names it, and the object that has it.
        field: String,
        /// What is wrong with it.
        source: NameError,
    },
    /// The keys for encrypted files cannot be used.
    #[error("spec.decryption: {0}")]
    Keys(#[from] KeysError),
}

/// Objects of one namespace.
struct Namespace<'a> {
    name: &'a str,
    found: &'a InputData,
    /// What was used, in order. It identifies the inputs.
    used: Vec<Arc<Data>>,
}

impl Inputs {
    /// The inputs that `intent` asks for, of objects in `namespace`.
    ///
    /// # Errors
    ///
    /// [`InputsError`].
    pub fn gather(
        namespace: &str,
        intent: &InputsIntent,
        found: &InputData,
    ) -> Result<Self, InputsError> {
        let mut namespace = Namespace {
            name: namespace,
            found,
            used: Vec::new(),
        };
        let mut inputs = Self::default();
        if let Some(substitute) = &intent.substitute {
            let variables = namespace.variables(substitute, &inputs.secrets)?;
            inputs.variables = Some(variables);
        }
        if let Some(name) = &intent.keys {
            let field = InputsIntent::KEYS;
            let data = namespace.required(field, Keeper::Secret, name)?;
            inputs.keys = Some(Keys::from_secret(&namespace.full(name), &data)?);
            namespace.used.push(data);
        }
        inputs.values = namespace.values(intent, &inputs.secrets)?;
        let bytes = namespace.used.iter().flat_map(|data| {
            let entries = data.iter();
            entries.flat_map(|(key, value)| [key.as_bytes(), value.as_slice()])
        });
        Ok(inputs.identified(bytes))
    }

    /// The inputs that `intent` asks for, with stand-ins for the values of Secrets. Encrypted files are not decrypted:
    /// their sealed values have stand-ins, and no key is needed.
    ///
    /// # Errors
    ///
    /// [`InputsError`].
    pub fn with_stand_ins(
        namespace: &str,
        intent: &InputsIntent,
        found: &InputData,
        stand_ins: StandIns,
    ) -> Result<Self, InputsError> {
        let documents = intent.values_from.iter();
        let documents: BTreeSet<(&str, &str)> = documents
            .map(|from| (&*from.reference.name, &*from.key))
            .collect();
        let replaced = found.iter().map(|((kind, name), data)| {
            let data = match kind {
                Keeper::ConfigMap => Arc::clone(data),
                Keeper::Secret => {
                    let of = documents.iter().filter(|(secret, _)| secret == name);
                    let keys = of.map(|(_, key)| *key).collect();
                    Arc::new(stand_ins.values(name, data, &keys))
                }
            };
            ((*kind, name.clone()), data)
        });
        let intent = InputsIntent {
            keys: None,
            ..intent.clone()
        };
        let mut inputs = Self::gather(namespace, &intent, &replaced.collect())?;
        inputs.stand_ins = Some(stand_ins);
        Ok(inputs)
    }
}

impl Namespace<'_> {
    fn full(&self, name: &str) -> String {
        format!("{}/{name}", self.name)
    }

    fn required(
        &self,
        field: &'static str,
        kind: Keeper,
        name: &str,
    ) -> Result<Arc<Data>, InputsError> {
        let data = self.found.get(&(kind, name.to_owned())).cloned();
        data.ok_or_else(|| InputsError::Missing {
            field,
            kind,
            name: self.full(name),
        })
    }

    fn variables(
        &mut self,
        substitute: &SubstituteIntent,
        secrets: &Secrets,
    ) -> Result<Variables, InputsError> {
        let mut variables = Variables::default();
        variables.strict = substitute.strict;
        for from in &substitute.from {
            let field = InputsIntent::VARIABLES;
            let data = match self.required(field, from.kind, &from.name) {
                Err(_) if from.optional => continue,
                data => data?,
            };
            for (name, value) in data.iter() {
                let value = String::from_utf8_lossy(value);
                if from.kind == Keeper::Secret {
                    secrets.add(&value);
                }
                let set = variables.set(name, &value);
                set.map_err(|source| InputsError::Variable {
                    field: format!("{field}: {} {}", from.kind, self.full(&from.name)),
                    source,
                })?;
            }
            self.used.push(data);
        }
        for (name, value) in &substitute.values {
            let set = variables.set(name, value);
            set.map_err(|source| InputsError::Variable {
                field: "spec.substitute.values".to_owned(),
                source,
            })?;
        }
        Ok(variables)
    }

    /// The values of a chart, each with a name for messages.
    fn values(
        &mut self,
        intent: &InputsIntent,
        secrets: &Secrets,
    ) -> Result<Vec<(String, String)>, InputsError> {
        let mut values = Vec::new();
        let mut bytes = 0;
        for from in &intent.values_from {
            let reference = &from.reference;
            let field = InputsIntent::VALUES;
            let data = match self.required(field, reference.kind, &reference.name) {
                Err(_) if reference.optional => continue,
                data => data?,
            };
            let name = self.full(&reference.name);
            let text = data.get(&from.key).cloned().map(String::from_utf8);
            match text {
                Some(Ok(text)) => {
                    if reference.kind == Keeper::Secret {
                        note_values(&text, secrets);
                    }
                    let name = format!("{} {name}, key {}", reference.kind, from.key);
                    // One key may be named many times.
                    bytes += text.len();
                    if bytes > MOST_INPUT {
                        return Err(InputsError::TooLarge { field, name });
                    }
                    values.push((name, text));
                }
                None if reference.optional => (),
                None | Some(Err(_)) => {
                    let key = from.key.clone();
                    return Err(InputsError::NoValues { name, key });
                }
            }
            self.used.push(data);
        }
        Ok(values)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::intent::{Reference, ValuesFrom};

    fn stand_ins() -> StandIns {
        StandIns::new(&[7; 32])
    }

    #[test]
    fn no_value_of_a_secret_is_an_input() {
        let data = |pairs: &[(&str, &str)]| -> Arc<BTreeMap<String, Vec<u8>>> {
            let pairs = pairs.iter();
            let pairs = pairs.map(|(key, value)| ((*key).to_owned(), value.as_bytes().to_vec()));
            Arc::new(pairs.collect())
        };
        let values = "db: {password: hunter2, port: 5432, tls: true, hosts: [opensesame]}";
        let found = InputData::from([
            (
                (Keeper::Secret, "s".to_owned()),
                data(&[("token", "swordfish"), ("values.yaml", values)]),
            ),
            (
                (Keeper::ConfigMap, "c".to_owned()),
                data(&[("region", "eu")]),
            ),
        ]);
        let reference = |kind, name: &str| Reference {
            kind,
            name: name.to_owned(),
            optional: false,
        };
        let intent = InputsIntent {
            substitute: Some(SubstituteIntent {
                from: vec![reference(Keeper::ConfigMap, "c")],
                ..SubstituteIntent::default()
            }),
            keys: Some("not-read".to_owned()),
            values_from: vec![ValuesFrom {
                reference: reference(Keeper::Secret, "s"),
                key: "values.yaml".to_owned(),
            }],
        };
        let inputs = Inputs::with_stand_ins("ns", &intent, &found, stand_ins()).unwrap();
        let shown = format!("{:?}", inputs.values);
        for value in ["hunter2", "5432", "opensesame", "swordfish"] {
            assert!(!shown.contains(value), "{shown}");
        }
        assert!(shown.contains("\\\"tls\\\":true"), "{shown}");
        let values = stand_ins().values("s", &found[&(Keeper::Secret, "s".to_owned())], &[].into());
        assert!(values.values().all(|value| value.len() == 16));
    }
}
