//! Null stands for absent in whatever the cluster sends: Go writes an empty list that was never set as null.

use serde::{Deserialize, Deserializer};
use serde_json::Value;

/// Reads null as the default: for `#[serde(default, deserialize_with = "…")]`.
pub(super) fn as_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Option::deserialize(deserializer).map(Option::unwrap_or_default)
}

/// Removes every field that is null: for types of other crates that refuse null.
pub(super) fn without(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.retain(|_, field| !field.is_null());
            fields.values_mut().for_each(without);
        }
        Value::Array(items) => items.iter_mut().for_each(without),
        _ => (),
    }
}
