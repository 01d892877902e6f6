//! What a render needs of the cluster. All of it is in the Sync's own namespace.

use std::collections::BTreeMap;
use std::fmt;

/// What a render needs of the cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct InputsIntent {
    /// Variables of manifests; none where nothing is substituted.
    pub substitute: Option<SubstituteIntent>,
    /// The Secret with the keys of encrypted files.
    pub keys: Option<String>,
    /// Values of a chart. Later ones win.
    pub values_from: Vec<ValuesFrom>,
}

impl InputsIntent {
    /// The field that names sources of variables.
    pub const VARIABLES: &'static str = "spec.substitute.from";
    /// The field that names the keys of encrypted files.
    pub const KEYS: &'static str = "spec.decryption";
    /// The field that names a chart's values.
    pub const VALUES: &'static str = "spec.helm.valuesFrom";

    /// The ConfigMaps and Secrets that it names, each with the field that names it.
    pub fn references(&self) -> Vec<(&'static str, Reference)> {
        let variables = self.substitute.iter().flat_map(|variables| &variables.from);
        let variables = variables.map(|from| (Self::VARIABLES, from.clone()));
        let keys = self.keys.iter().map(|name| {
            let secret = Reference {
                kind: Keeper::Secret,
                name: name.clone(),
                optional: false,
            };
            (Self::KEYS, secret)
        });
        let values = self.values_from.iter();
        let values = values.map(|from| (Self::VALUES, from.reference.clone()));
        variables.chain(keys).chain(values).collect()
    }
}

/// Variables of manifests.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SubstituteIntent {
    /// Variables in place; they win over those of `from`.
    pub values: BTreeMap<String, String>,
    /// Where more are. Later ones win.
    pub from: Vec<Reference>,
    /// Whether a variable without value and default is an error.
    pub strict: bool,
}

/// A ConfigMap or a Secret.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Reference {
    /// Which of the two.
    pub kind: Keeper,
    /// Its name.
    pub name: String,
    /// Whether it may be absent.
    pub optional: bool,
}

/// What keeps values.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Keeper {
    /// Readable by more people.
    ConfigMap,
    /// For what is secret.
    Secret,
}

/// Values of a chart in a ConfigMap or a Secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ValuesFrom {
    /// Where.
    pub reference: Reference,
    /// The key in it whose value is YAML.
    pub key: String,
}

impl fmt::Display for Keeper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ConfigMap => "ConfigMap",
            Self::Secret => "Secret",
        })
    }
}
