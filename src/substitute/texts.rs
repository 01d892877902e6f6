//! Fields that take texts only: what becomes of a variable there is one too. Pure.

use serde_json::Value;

/// What an object says of its own fields.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fields {
    family: ObjectFamily,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ObjectFamily {
    ConfigMap,
    Secret,
    /// Another one of Kubernetes itself.
    BuiltIn,
    Other,
}

impl Fields {
    pub(super) fn of(object: &Value) -> Self {
        let text = |field| object.get(field).and_then(Value::as_str);
        let family = match (text("apiVersion"), text("kind")) {
            (Some("v1"), Some("ConfigMap")) => ObjectFamily::ConfigMap,
            (Some("v1"), Some("Secret")) => ObjectFamily::Secret,
            (Some(version), _) if !version.contains('.') => ObjectFamily::BuiltIn,
            _ => ObjectFamily::Other,
        };
        Self { family }
    }

    /// Whether the field at `path` can only be a text, as far as that is known without a schema.
    pub(super) fn take_text(self, path: &[String]) -> bool {
        let path: Vec<&str> = path.iter().map(String::as_str).collect();
        match &*path {
            [.., ".metadata", ".labels" | ".annotations", _] => true,
            [".data", _] => matches!(self.family, ObjectFamily::ConfigMap | ObjectFamily::Secret),
            [".stringData", _] => self.family == ObjectFamily::Secret,
            [.., ".env", _, ".value"]
            | [.., ".args" | ".command", _]
            | [.., ".matchLabels" | ".nodeSelector", _] => self.family == ObjectFamily::BuiltIn,
            _ => false,
        }
    }
}
