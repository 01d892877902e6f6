//! Null where it stands for absent.

use serde_json::Value;

/// Removes every field that is null. An item of a list stays, since the others would move.
pub fn without_nulls(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.retain(|_, field| !field.is_null());
            fields.values_mut().for_each(without_nulls);
        }
        Value::Array(items) => items.iter_mut().for_each(without_nulls),
        _ => (),
    }
}
