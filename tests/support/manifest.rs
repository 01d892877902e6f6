//! Manifests that many tests commit.

/// A ConfigMap's manifest with one value.
pub fn config_map(name: &str, namespace: &str, value: &str) -> String {
    format!(
        "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: {name}\n  namespace: {namespace}\n\
         data:\n  value: {value}\n"
    )
}
