//! Where in an object a value is, and in which places two objects differ.

use std::fmt;

use serde_json::{Map, Value};

/// One step from a value to a value in it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum FieldStep {
    /// A field of a mapping.
    Field(String),
    /// The item of a list with this `name`.
    Named(String),
    /// The item of a list at this position.
    Index(usize),
}

/// The place of a value in an object. Never the object itself.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FieldPath(Vec<FieldStep>);

/// `spec.containers[web].env[0].value`.
impl fmt::Display for FieldPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, step) in self.0.iter().enumerate() {
            match step {
                FieldStep::Field(name) if name.contains(['.', '[']) => write!(f, "[{name}]")?,
                FieldStep::Field(name) if position == 0 => f.write_str(name)?,
                FieldStep::Field(name) => write!(f, ".{name}")?,
                FieldStep::Named(name) => write!(f, "[{name}]")?,
                FieldStep::Index(index) => write!(f, "[{index}]")?,
            }
        }
        Ok(())
    }
}

impl FieldPath {
    /// The places where two objects differ, in order. A mapping with other keys, or a list of another length,
    /// differs as a whole. None where the objects themselves are of another kind or have other fields.
    #[must_use]
    pub fn differences(one: &Value, other: &Value) -> Option<Vec<Self>> {
        let mut found = Vec::new();
        differ(one, other, &mut Vec::new(), &mut found);
        found.iter().all(|path| !path.0.is_empty()).then_some(found)
    }

    /// Whether it is, or is above, what names an object or what others write beside us.
    #[must_use]
    pub fn is_identity(&self) -> bool {
        let fields: Vec<&str> = self
            .0
            .iter()
            .map(|step| match step {
                FieldStep::Field(name) => name.as_str(),
                FieldStep::Named(_) | FieldStep::Index(_) => "",
            })
            .collect();
        matches!(
            fields.as_slice(),
            ["apiVersion" | "kind" | "metadata" | "spec"]
                | ["metadata", "name" | "namespace" | "labels" | "annotations"]
        )
    }

    /// The value there.
    #[must_use]
    pub fn get<'v>(&self, object: &'v Value) -> Option<&'v Value> {
        self.0.iter().try_fold(object, |value, step| match step {
            FieldStep::Field(name) => value.get(name),
            FieldStep::Index(index) => value.get(index),
            FieldStep::Named(name) => {
                let mut items = value.as_array()?.iter();
                items.find(|item| name_of(item) == Some(name))
            }
        })
    }

    fn get_mut<'v>(&self, object: &'v mut Value) -> Option<&'v mut Value> {
        self.0.iter().try_fold(object, |value, step| match step {
            FieldStep::Field(name) => value.get_mut(name),
            FieldStep::Index(index) => value.get_mut(index),
            FieldStep::Named(name) => {
                let mut items = value.as_array_mut()?.iter_mut();
                items.find(|item| name_of(item) == Some(name))
            }
        })
    }

    /// Puts a value in the place of the one that is there.
    pub fn set(&self, object: &mut Value, value: Value) {
        if let Some(place) = self.get_mut(object) {
            *place = value;
        }
    }
}

fn name_of(item: &Value) -> Option<&String> {
    match item.get("name") {
        Some(Value::String(name)) => Some(name),
        _ => None,
    }
}

fn differ(one: &Value, other: &Value, path: &mut Vec<FieldStep>, found: &mut Vec<FieldPath>) {
    if one == other {
        return;
    }
    match (one, other) {
        (Value::Object(one), Value::Object(other)) if has_same_keys(one, other) => {
            for (name, value) in one {
                path.push(FieldStep::Field(name.clone()));
                differ(value, &other[name], path, found);
                path.pop();
            }
        }
        (Value::Array(one), Value::Array(other)) if one.len() == other.len() => {
            let is_named = one
                .iter()
                .zip(other)
                .all(|(one, other)| name_of(one).is_some() && name_of(one) == name_of(other));
            for (index, (one, other)) in one.iter().zip(other).enumerate() {
                path.push(match name_of(one).filter(|_| is_named) {
                    Some(name) => FieldStep::Named(name.clone()),
                    None => FieldStep::Index(index),
                });
                differ(one, other, path, found);
                path.pop();
            }
        }
        _ => found.push(FieldPath(path.clone())),
    }
}

fn has_same_keys(one: &Map<String, Value>, other: &Map<String, Value>) -> bool {
    one.len() == other.len() && one.keys().all(|name| other.contains_key(name))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde_json::json;

    use super::*;

    fn differences(one: &Value, other: &Value) -> Option<Vec<String>> {
        let found = FieldPath::differences(one, other)?;
        Some(found.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn places_that_differ_are_found_and_named() {
        for (one, other, places) in [
            (json!({"a": 1}), json!({"a": 1}), vec![]),
            (
                json!({"a": {"b": 1, "c": 2}}),
                json!({"a": {"b": 2, "c": 2}}),
                vec!["a.b"],
            ),
            (
                json!({"data": {"tls.key": "x", "other": "y"}}),
                json!({"data": {"tls.key": "z", "other": "y"}}),
                vec!["data[tls.key]"],
            ),
            (
                json!({"env": [{"name": "a", "value": 1}, {"name": "b", "value": 2}]}),
                json!({"env": [{"name": "a", "value": 1}, {"name": "b", "value": 3}]}),
                vec!["env[b].value"],
            ),
            (
                json!({"l": [[1], [2]]}),
                json!({"l": [[1], [3]]}),
                vec!["l[1][0]"],
            ),
            (
                json!({"d": {"x-1": 1}}),
                json!({"d": {"x-2": 1}}),
                vec!["d"],
            ),
            (json!({"l": [1]}), json!({"l": [1, 2]}), vec!["l"]),
            (
                json!({"a": "1", "b": "1"}),
                json!({"a": 1, "b": "2"}),
                vec!["a", "b"],
            ),
        ] {
            assert_eq!(differences(&one, &other).unwrap(), places);
        }
        assert_eq!(differences(&json!({"a": 1}), &json!({"b": 1})), None);
    }

    #[test]
    fn a_value_is_taken_and_put_by_name() {
        let one = json!({"env": [{"name": "a", "value": 1}, {"name": "b", "value": 2}]});
        let mut other = json!({"env": [{"name": "x"}, {"name": "b", "value": 9}]});
        let mut changed = one.clone();
        changed["env"][1]["value"] = json!(3);
        let paths = FieldPath::differences(&one, &changed).unwrap();
        assert_eq!(paths[0].get(&other), Some(&json!(9)));
        paths[0].set(&mut other, json!(7));
        assert_eq!(other["env"][1]["value"], json!(7));
        assert_eq!(paths[0].get(&json!({"env": "text"})), None);
        paths[0].set(&mut json!({}), json!(1));
    }

    #[test]
    fn what_names_an_object_is_told_apart() {
        for (one, other, is_identity) in [
            (
                json!({"metadata": {"name": "a"}}),
                json!({"metadata": {"name": "b"}}),
                true,
            ),
            (
                json!({"metadata": {"annotations": {"a": 1}}}),
                json!({"metadata": {"annotations": {"b": 1}}}),
                true,
            ),
            (
                json!({"metadata": {"annotations": {"a": 1}}}),
                json!({"metadata": {"annotations": {"a": 2}}}),
                false,
            ),
            (json!({"data": {"a": 1}}), json!({"data": {"b": 1}}), false),
        ] {
            let paths = FieldPath::differences(&one, &other).unwrap();
            assert_eq!(paths[0].is_identity(), is_identity, "{}", paths[0]);
        }
    }
}
