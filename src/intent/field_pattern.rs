//! Names of fields as people write them: `spec.replicas`, `webhooks[name=a].clientConfig.caBundle`,
//! `metadata.annotations["a.b/c"]`, or a JSON pointer as in Argo CD and Flux: `/spec/replicas`.

use std::fmt;

use serde_json::{Map, Value};

/// The fields that one name stands for. It may be several: `*` is every field or item.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldPattern {
    text: String,
    steps: Vec<PatternStep>,
}

/// One step of a pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PatternStep {
    /// A field of a mapping; in a list, the item at this position or with this `name`.
    Field(String),
    /// The items of a list whose field has this value.
    Item(String, String),
    /// Every field or item.
    Any,
}

/// Why a text names no field.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    /// A step is empty, as in `spec..a`, or the text is.
    #[error("{0:?}: a step of the path is empty")]
    Empty(String),
    /// A bracket is not closed, or something other than `.` or `[` follows it.
    #[error("{0:?}: a bracket is not closed, or not followed by a dot or another bracket")]
    Bracket(String),
    /// What names the object cannot be left to others, and the status is never applied.
    #[error("{0:?}: this is not a field that can be left to others")]
    Identity(String),
}

/// Fields that every object needs, or that are never applied.
const IDENTITY: [&str; 4] = ["apiVersion", "kind", "metadata", "status"];
const IDENTITY_IN_METADATA: [&str; 3] = ["name", "namespace", "*"];

impl fmt::Display for FieldPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl FieldPattern {
    /// Reads a path with dots and brackets, or a JSON pointer.
    ///
    /// # Errors
    /// [`PatternError`].
    pub fn parse(text: &str) -> Result<Self, PatternError> {
        let steps = match text.strip_prefix('/') {
            Some(pointer) => pointer.split('/').map(unescaped).collect(),
            None => dotted(text)?,
        };
        let is_empty =
            |step: &PatternStep| matches!(step, PatternStep::Field(name) if name.is_empty());
        if steps.is_empty() || steps.iter().any(is_empty) {
            return Err(PatternError::Empty(text.to_owned()));
        }
        let names: Vec<&str> = steps.iter().map(PatternStep::name).collect();
        let is_identity = match names.as_slice() {
            [one] => IDENTITY.contains(one) || *one == "*",
            ["status", ..] => true,
            ["metadata", inner, ..] => IDENTITY_IN_METADATA.contains(inner),
            _ => false,
        };
        if is_identity {
            return Err(PatternError::Identity(text.to_owned()));
        }
        Ok(Self {
            text: text.to_owned(),
            steps,
        })
    }

    /// Its steps from the object. Never empty.
    #[must_use]
    pub fn steps(&self) -> &[PatternStep] {
        &self.steps
    }

    /// Takes its fields out of an object, and every mapping that is empty after that.
    pub fn strip(&self, object: &mut Value) {
        strip(&self.steps, object);
    }
}

impl PatternStep {
    fn name(&self) -> &str {
        match self {
            Self::Field(name) => name,
            Self::Any => "*",
            Self::Item(..) => "",
        }
    }

    /// Whether steps lead to anything in a value.
    #[must_use]
    pub fn concern(steps: &[Self], value: &Value) -> bool {
        concern(steps, value)
    }

    /// Whether it stands for this field of a mapping.
    #[must_use]
    pub fn is_field(&self, field: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Field(name) => name == field,
            Self::Item(..) => false,
        }
    }

    /// Whether it stands for this item at this position of a list.
    #[must_use]
    pub fn is_item(&self, position: usize, item: &Value) -> bool {
        match self {
            Self::Any => true,
            Self::Field(name) => {
                let at = name.parse::<usize>().is_ok_and(|at| at == position);
                at || has(item, "name", name) || item.as_str() == Some(name)
            }
            Self::Item(field, value) => has(item, field, value),
        }
    }

    /// Whether it stands for the item with these keys, of which nothing else is known.
    #[must_use]
    pub fn is_item_with(&self, keys: &Map<String, Value>) -> bool {
        let is = |field: &str, value: &str| keys.get(field).is_some_and(|key| is_text(key, value));
        match self {
            Self::Any => true,
            Self::Field(name) => is("name", name),
            Self::Item(field, value) => is(field, value),
        }
    }
}

fn has(item: &Value, field: &str, value: &str) -> bool {
    item.get(field).is_some_and(|has| is_text(has, value))
}

/// Whether a value is written like this: `80` is a number or a text.
fn is_text(value: &Value, text: &str) -> bool {
    match value {
        Value::String(value) => value == text,
        Value::Number(_) | Value::Bool(_) => {
            let written = value.to_string();
            written == text
        }
        _ => false,
    }
}

fn concern(steps: &[PatternStep], value: &Value) -> bool {
    let Some((first, rest)) = steps.split_first() else {
        return true;
    };
    match value {
        Value::Object(fields) => fields
            .iter()
            .any(|(name, inner)| first.is_field(name) && concern(rest, inner)),
        Value::Array(items) => {
            let mut items = items.iter().enumerate();
            items.any(|(position, item)| first.is_item(position, item) && concern(rest, item))
        }
        _ => false,
    }
}

fn strip(steps: &[PatternStep], value: &mut Value) {
    let Some((first, rest)) = steps.split_first() else {
        return;
    };
    match value {
        Value::Object(fields) => fields.retain(|name, inner| {
            if !first.is_field(name) {
                return true;
            }
            if rest.is_empty() {
                return false;
            }
            let was_empty = is_empty(inner);
            strip(rest, inner);
            was_empty || !is_empty(inner)
        }),
        Value::Array(items) => {
            let mut position = 0;
            items.retain_mut(|item| {
                let is_meant = first.is_item(position, item);
                position += 1;
                if is_meant && !rest.is_empty() {
                    strip(rest, item);
                }
                !is_meant || !rest.is_empty()
            });
        }
        _ => (),
    }
}

fn is_empty(value: &Value) -> bool {
    value.as_object().is_some_and(Map::is_empty)
}

/// A token of a JSON pointer (RFC 6901). `*` is every field or item.
fn unescaped(token: &str) -> PatternStep {
    match token {
        "*" => PatternStep::Any,
        token => PatternStep::Field(token.replace("~1", "/").replace("~0", "~")),
    }
}

fn dotted(text: &str) -> Result<Vec<PatternStep>, PatternError> {
    let bracket = || PatternError::Bracket(text.to_owned());
    let mut steps = Vec::new();
    let mut rest = text;
    loop {
        let end = rest.find(['.', '[']).unwrap_or(rest.len());
        let name = &rest[..end];
        // A bracket may stand at the start, and after another one.
        if !name.is_empty() || !rest.starts_with('[') {
            steps.push(match name {
                "*" => PatternStep::Any,
                name => PatternStep::Field(name.to_owned()),
            });
        }
        rest = &rest[end..];
        while let Some(inner) = rest.strip_prefix('[') {
            let (step, after) = bracketed(inner).ok_or_else(bracket)?;
            steps.push(step);
            rest = after;
        }
        match rest.strip_prefix('.') {
            Some(after) => rest = after,
            None if rest.is_empty() => return Ok(steps),
            None => return Err(bracket()),
        }
    }
}

/// What stands in a bracket, and what follows: `"a.b/c"]`, `name=web]`, `*]`, `0]`.
fn bracketed(text: &str) -> Option<(PatternStep, &str)> {
    if let Some(quote) = text.chars().next().filter(|c| matches!(c, '"' | '\'')) {
        let (name, after) = text[1..].split_once(quote)?;
        return Some((
            PatternStep::Field(name.to_owned()),
            after.strip_prefix(']')?,
        ));
    }
    let (inner, after) = text.split_once(']')?;
    let step = match (inner, inner.split_once('=')) {
        ("*", _) => PatternStep::Any,
        (_, Some((field, value))) if !field.is_empty() => {
            let value = value.trim_matches(['"', '\'']);
            PatternStep::Item(field.to_owned(), value.to_owned())
        }
        (name, _) => PatternStep::Field(name.to_owned()),
    };
    Some((step, after))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn stripped(pattern: &str, mut object: Value) -> Value {
        FieldPattern::parse(pattern).unwrap().strip(&mut object);
        object
    }

    #[test]
    fn fields_are_taken_out_of_a_manifest() {
        let pod = || {
            json!({"spec": {"replicas": 1, "containers": [
                {"name": "web", "image": "a", "ports": [{"containerPort": 80}, {"containerPort": 81}]},
                {"name": "side", "image": "b"}]}})
        };
        let without = |change: &dyn Fn(&mut Value)| {
            let mut pod = pod();
            change(&mut pod);
            pod
        };
        let replicas =
            without(&|pod| drop(pod["spec"].as_object_mut().unwrap().remove("replicas")));
        let image = without(&|pod| {
            drop(
                pod["spec"]["containers"][0]
                    .as_object_mut()
                    .unwrap()
                    .remove("image"),
            );
        });
        let images = without(&|pod| {
            for at in 0..2 {
                drop(
                    pod["spec"]["containers"][at]
                        .as_object_mut()
                        .unwrap()
                        .remove("image"),
                );
            }
        });
        let side = without(&|pod| {
            pod["spec"]["containers"]
                .as_array_mut()
                .unwrap()
                .truncate(1);
        });
        let port = without(&|pod| {
            pod["spec"]["containers"][0]["ports"]
                .as_array_mut()
                .unwrap()
                .truncate(1);
        });
        for (pattern, expected) in [
            ("spec.replicas", &replicas),
            ("/spec/replicas", &replicas),
            ("spec[replicas]", &replicas),
            ("spec[\"replicas\"]", &replicas),
            ("spec.containers[name=web].image", &image),
            ("spec.containers[web].image", &image),
            ("spec.containers[0].image", &image),
            ("/spec/containers/0/image", &image),
            ("spec.containers[*].image", &images),
            ("/spec/containers/*/image", &images),
            ("spec.*[*].image", &images),
            ("spec.containers[name=side]", &side),
            ("spec.containers[1]", &side),
            ("spec.containers[name=web].ports[containerPort=81]", &port),
            ("spec.other", &pod()),
            ("spec.containers[other].image", &pod()),
            ("spec.containers.image", &pod()),
            ("data.replicas", &pod()),
        ] {
            assert_eq!(stripped(pattern, pod()), *expected, "{pattern}");
        }
    }

    #[test]
    fn names_with_dots_and_slashes_are_written_in_brackets_or_escaped() {
        let object = || json!({"metadata": {"annotations": {"a.b/c": "d", "e": "f"}}});
        let expected = json!({"metadata": {"annotations": {"e": "f"}}});
        for pattern in [
            "metadata.annotations[\"a.b/c\"]",
            "metadata.annotations['a.b/c']",
            "metadata.annotations[a.b/c]",
            "/metadata/annotations/a.b~1c",
        ] {
            assert_eq!(stripped(pattern, object()), expected, "{pattern}");
        }
    }

    #[test]
    fn a_mapping_that_is_emptied_goes_as_well() {
        let limits = json!({"spec": {"limits": {"cpu": 1}, "empty": {}}});
        assert_eq!(
            stripped("spec.limits.cpu", limits),
            json!({"spec": {"empty": {}}})
        );
        let finalizers = json!({"metadata": {"finalizers": ["a/b", "c/d"]}});
        let expected = json!({"metadata": {"finalizers": ["c/d"]}});
        assert_eq!(stripped("metadata.finalizers[a/b]", finalizers), expected);
    }

    #[test]
    fn a_text_that_names_no_field_is_refused() {
        for text in ["", ".", "/", "spec.", "spec..a", ".spec", "//a", "spec[].a"] {
            let error = FieldPattern::parse(text).unwrap_err();
            assert_eq!(error, PatternError::Empty(text.to_owned()), "{text}");
        }
        for text in ["spec[a", "spec[\"a]", "spec[a]b", "spec[\"a\"b]"] {
            let error = FieldPattern::parse(text).unwrap_err();
            assert_eq!(error, PatternError::Bracket(text.to_owned()), "{text}");
        }
        for text in [
            "kind",
            "/apiVersion",
            "metadata",
            "metadata.name",
            "/metadata/namespace",
            "metadata.*",
            "*",
            "status",
            "status.replicas",
        ] {
            let error = FieldPattern::parse(text).unwrap_err();
            assert_eq!(error, PatternError::Identity(text.to_owned()), "{text}");
        }
    }
}
