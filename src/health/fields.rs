//! Reads fields of live objects. A missing field and a field of another type count as not set.

use serde_json::Value;

use crate::text;

/// The longest message taken from an object, in bytes.
const MAX_MESSAGE: usize = 256;

pub(super) fn integer(object: &Value, pointer: &str) -> Option<i64> {
    object.pointer(pointer).and_then(Value::as_i64)
}

pub(super) fn count(object: &Value, pointer: &str) -> i64 {
    integer(object, pointer).unwrap_or(0)
}

pub(super) fn text<'a>(object: &'a Value, pointer: &str) -> &'a str {
    object
        .pointer(pointer)
        .and_then(Value::as_str)
        .unwrap_or_default()
}

pub(super) fn list<'a>(object: &'a Value, pointer: &str) -> &'a [Value] {
    object
        .pointer(pointer)
        .and_then(Value::as_array)
        .map_or(&[], Vec::as_slice)
}

pub(super) fn conditions(object: &Value) -> &[Value] {
    list(object, "/status/conditions")
}

pub(super) fn condition<'a>(object: &'a Value, kind: &str) -> Option<&'a Value> {
    conditions(object)
        .iter()
        .find(|condition| text(condition, "/type") == kind)
}

/// Whether the object has the condition with that status.
pub(super) fn has(object: &Value, kind: &str, status: &str) -> bool {
    condition(object, kind).is_some_and(|condition| text(condition, "/status") == status)
}

/// A condition's message, or its reason, or `otherwise`.
pub(super) fn message(condition: &Value, otherwise: &str) -> String {
    let said = [
        text(condition, "/message"),
        text(condition, "/reason"),
        otherwise,
    ];
    shortened(
        said.into_iter()
            .find(|text| !text.trim().is_empty())
            .unwrap_or(otherwise),
    )
}

/// A condition's reason, or `otherwise`.
pub(super) fn reason(condition: &Value, otherwise: &str) -> String {
    match text(condition, "/reason").trim() {
        "" => otherwise.to_owned(),
        reason => shortened(reason),
    }
}

pub(super) fn shortened(said: &str) -> String {
    text::shorten(&text::redact(said.trim()), MAX_MESSAGE)
}
