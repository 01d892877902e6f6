//! Moves a Secret's `stringData` into `data` before it is applied.
//!
//! The API server does the same when it stores the object. But with server-side apply we would own
//! `stringData`, which no live object has. Then a changed value in `data` would not count as drift,
//! and every full verification would write again. Flux's `ssa` package does the same for this
//! reason.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Map, Value};

/// Moves `stringData` into `data`, and overwrites values under the same key. A value that is not a
/// string stays, so that the API server refuses it.
pub(super) fn fold_string_data(secret: &mut Map<String, Value>) {
    let Some(Value::Object(plain)) = secret.get_mut("stringData") else {
        return;
    };
    let mut encoded = Vec::new();
    plain.retain(|key, value| match value {
        Value::String(text) => {
            encoded.push((key.clone(), BASE64_STANDARD.encode(text)));
            false
        }
        _ => true,
    });
    if plain.is_empty() {
        secret.remove("stringData");
    }
    let data = secret.entry("data").or_insert(Value::Null);
    if data.is_null() {
        *data = Value::Object(Map::new());
    }
    if let Value::Object(data) = data {
        data.extend(
            encoded
                .into_iter()
                .map(|(key, value)| (key, Value::String(value))),
        );
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn string_data_is_folded_and_wins() {
        for (before, after) in [
            (
                json!({"stringData": {"a": "x"}, "data": {"a": "b2xk", "b": "Yg=="}}),
                json!({"data": {"a": "eA==", "b": "Yg=="}}),
            ),
            (
                json!({"stringData": {"a": ""}, "data": null}),
                json!({"data": {"a": ""}}),
            ),
            (
                json!({"data": {"a": "eA=="}}),
                json!({"data": {"a": "eA=="}}),
            ),
            (
                json!({"stringData": {"a": 1}}),
                json!({"stringData": {"a": 1}, "data": {}}),
            ),
        ] {
            let mut secret = before.as_object().unwrap().clone();
            fold_string_data(&mut secret);
            assert_eq!(Value::Object(secret), after);
        }
    }
}
