//! Objects as YAML or JSON. Pure.

use serde_json::{Value, json};

use crate::config::OutputFormat;
use crate::render;

/// Documents in YAML, each after `---`.
///
/// # Errors
/// A value cannot be written as YAML.
pub(super) fn yaml(objects: &[Value]) -> Result<String, serde_saphyr::ser::Error> {
    let mut text = String::new();
    for object in objects {
        text.push_str("---\n");
        text.push_str(&render::written(object)?);
    }
    Ok(text)
}

/// A list in JSON.
pub(super) fn json(objects: &[Value]) -> String {
    let list = json!({"apiVersion": "v1", "kind": "List", "items": objects});
    format!("{list:#}\n")
}

/// One value that is no object of Kubernetes.
///
/// # Errors
/// It cannot be written as YAML.
pub(super) fn value(
    value: &Value,
    format: OutputFormat,
) -> Result<String, serde_saphyr::ser::Error> {
    match format {
        OutputFormat::Json => Ok(format!("{value:#}\n")),
        OutputFormat::Yaml => yaml(std::slice::from_ref(value)),
    }
}
