//! The objects of a measurement, as files for Git and as request bodies for the floor.

use serde_json::{Value, json};

use crate::floor::Call;

/// The number of namespaces that hold the ConfigMaps.
pub const NAMESPACES: usize = 10;

/// A set of Namespaces and ConfigMaps. The prefix of their names identifies the set.
#[derive(Clone, Debug)]
pub struct Load {
    pub prefix: String,
    pub config_maps: usize,
}

impl Load {
    pub fn new(prefix: impl Into<String>, config_maps: usize) -> Self {
        Self {
            prefix: prefix.into(),
            config_maps,
        }
    }

    /// The number of Namespaces and ConfigMaps.
    pub fn objects(&self) -> usize {
        self.config_maps + NAMESPACES
    }

    pub fn namespace(&self, index: usize) -> String {
        format!("{}-{}", self.prefix, index % NAMESPACES)
    }

    pub fn name(index: usize) -> String {
        format!("app-{index:05}")
    }

    pub fn path(index: usize) -> String {
        format!("apps/{}.yaml", Self::name(index))
    }

    /// One file for each object.
    pub fn files(&self) -> Vec<(String, Option<String>)> {
        let namespaces = (0..NAMESPACES).map(|index| {
            let name = self.namespace(index);
            let text = format!("apiVersion: v1\nkind: Namespace\nmetadata:\n  name: {name}\n");
            (format!("apps/namespace-{index}.yaml"), Some(text))
        });
        let maps = (0..self.config_maps).map(|index| {
            (
                Self::path(index),
                Some(config_map_file(
                    &self.namespace(index),
                    &Self::name(index),
                    "1",
                )),
            )
        });
        namespaces.chain(maps).collect()
    }

    /// The file of one ConfigMap with another value.
    pub fn changed(&self, index: usize, value: &str) -> (String, Option<String>) {
        let text = config_map_file(&self.namespace(index), &Self::name(index), value);
        (Self::path(index), Some(text))
    }

    pub fn namespace_calls(&self) -> Vec<Call> {
        (0..NAMESPACES)
            .map(|index| {
                let name = self.namespace(index);
                let body = json!({
                    "apiVersion": "v1", "kind": "Namespace",
                    "metadata": marked(&name, None),
                });
                Call::apply(&format!("/api/v1/namespaces/{name}"), &body)
            })
            .collect()
    }

    pub fn config_map_calls(&self) -> Vec<Call> {
        (0..self.config_maps)
            .map(|index| self.config_map_call(index, "1"))
            .collect()
    }

    pub fn config_map_call(&self, index: usize, value: &str) -> Call {
        let (namespace, name) = (self.namespace(index), Self::name(index));
        let body = json!({
            "apiVersion": "v1", "kind": "ConfigMap",
            "metadata": marked(&name, Some(&namespace)),
            "data": data(value),
        });
        Call::apply(
            &format!("/api/v1/namespaces/{namespace}/configmaps/{name}"),
            &body,
        )
    }
}

/// The metadata that towline adds, under other names of the same length, so that towline's watches do not
/// select it.
fn marked(name: &str, namespace: Option<&str>) -> Value {
    let id = format!("applyset-{}-v1", "x".repeat(43));
    let kind = if namespace.is_some() {
        "ConfigMap"
    } else {
        "Namespace"
    };
    let identity = format!(
        "bench/load:/{kind}:{}/{name}",
        namespace.unwrap_or_default()
    );
    let mut metadata = json!({
        "name": name,
        "labels": {"app": name, "applyset.kubernetes.io/part-0f": id},
        "annotations": {
            "towline.dev/identitx": identity,
            "towline.dev/proox": format!("1790000000.{}", "x".repeat(43)),
            "towline.dev/digesx": "0".repeat(64),
        },
    });
    if let Some(namespace) = namespace {
        metadata["namespace"] = namespace.into();
    }
    metadata
}

const SETTINGS: [(&str, &str); 3] = [
    (
        "endpoint",
        "https://api.shop.example.com/v2/orders?region=eu-central-1",
    ),
    (
        "logging",
        "level=info format=json sampling=0.1 destination=stdout",
    ),
    (
        "limits",
        "connections=200 requests-per-second=1500 burst=3000 timeout=30s",
    ),
];

fn data(value: &str) -> Value {
    let mut data: serde_json::Map<_, _> = SETTINGS
        .iter()
        .map(|(key, text)| ((*key).to_owned(), Value::from(*text)))
        .collect();
    data.insert("value".to_owned(), value.into());
    data.into()
}

/// A ConfigMap's manifest.
pub fn config_map_file(namespace: &str, name: &str, value: &str) -> String {
    let mut text = format!(
        "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: {name}\n  namespace: {namespace}\n  \
         labels:\n    app: {name}\ndata:\n  value: \"{value}\"\n"
    );
    for (key, setting) in SETTINGS {
        text.push_str(&format!("  {key}: \"{setting}\"\n"));
    }
    text
}
