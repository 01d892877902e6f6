//! What admission has changed of an object that was sent: fields whose live value is another one than Git's. Pure.
//!
//! The API server writes some values in another form, and leaves empty ones out. Neither is a change.

use jiff::Timestamp;
use serde_json::Value;

use super::owner::{DIGEST, IDENTITY, PART_OF, PROOF};
use crate::text::{printable, shorten};

/// The most fields of one object that are named, and the bytes of each.
const MOST: usize = 8;
const LONGEST: usize = 200;

/// Fields by which an item of a list is found again.
const KEYS: [&str; 8] = [
    "name",
    "key",
    "containerPort",
    "port",
    "mountPath",
    "ip",
    "topologyKey",
    "type",
];

/// The fields of `sent` that have another value in `live`, which is what the API server answered: `spec.replicas`.
pub fn rewritten(sent: &Value, live: &Value) -> Vec<String> {
    let mut found = Vec::new();
    for (name, value) in sent.as_object().into_iter().flatten() {
        match name.as_str() {
            "apiVersion" | "kind" | "status" => (),
            // Only a Secret has it, and nobody can read it.
            "stringData" => (),
            "data" if sent.get("stringData").is_some() => (),
            "metadata" => {
                for part in ["labels", "annotations"] {
                    let (path, live) = (format!("metadata.{part}"), &live["metadata"][part]);
                    compare(&path, &value[part], Some(live), &mut found);
                }
            }
            _ => compare(name, value, live.get(name), &mut found),
        }
    }
    let named = found.iter().take(MOST);
    named
        .map(|path| shorten(&printable(path), LONGEST))
        .collect()
}

fn compare(path: &str, sent: &Value, live: Option<&Value>, found: &mut Vec<String>) {
    if found.len() > MOST {
        return;
    }
    match (sent, live) {
        (sent, None | Some(Value::Null)) if is_empty(sent) => (),
        (_, None | Some(Value::Null)) => found.push(path.to_owned()),
        (Value::Object(fields), Some(Value::Object(live))) => {
            for (name, value) in fields.iter().filter(|(name, _)| !is_ours(name)) {
                compare(&below(path, name), value, live.get(name), found);
            }
        }
        (Value::Array(items), Some(Value::Array(live))) => lists(path, items, live, found),
        (sent, Some(live)) if is_same(sent, live) => (),
        _ => found.push(path.to_owned()),
    }
}

/// Compares lists. Items are found again by what names them, or by their position. Where neither is certain, nothing is
/// said. Only a `name` is shown: in a custom resource, any other text may be a secret.
fn lists(path: &str, sent: &[Value], live: &[Value], found: &mut Vec<String>) {
    if let Some(key) = key_of(sent) {
        for (place, item) in sent.iter().enumerate() {
            let same = live.iter().find(|other| other.get(key) == item.get(key));
            let path = match (key, item[key].as_str()) {
                ("name", Some(name)) => format!("{path}[name={name}]"),
                _ => format!("{path}[{place}]"),
            };
            compare(&path, item, same, found);
        }
    } else if sent.len() == live.len() {
        for (place, (item, other)) in sent.iter().zip(live).enumerate() {
            compare(&format!("{path}[{place}]"), item, Some(other), found);
        }
    } else if sent.iter().all(is_scalar) {
        let is_gone = |item: &Value| !live.iter().any(|other| is_same(item, other));
        if sent.iter().any(is_gone) {
            found.push(path.to_owned());
        }
    }
}

/// A field that every item has, each with another value.
fn key_of(items: &[Value]) -> Option<&'static str> {
    KEYS.into_iter().find(|key| {
        let values: Option<Vec<String>> = items
            .iter()
            .map(|item| {
                item.get(key)
                    .filter(|value| is_scalar(value))
                    .map(Value::to_string)
            })
            .collect();
        values.is_some_and(|mut values| {
            values.sort_unstable();
            let count = values.len();
            values.dedup();
            count > 0 && values.len() == count
        })
    })
}

fn below(path: &str, name: &str) -> String {
    match name.contains(['.', '/']) {
        true => format!("{path}[{name:?}]"),
        false => format!("{path}.{name}"),
    }
}

fn is_ours(name: &str) -> bool {
    [DIGEST, IDENTITY, PART_OF, PROOF].contains(&name)
}

fn is_scalar(value: &Value) -> bool {
    !value.is_object() && !value.is_array()
}

/// What the API server leaves out.
fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.values().all(is_empty),
        Value::Bool(true) => false,
    }
}

/// Whether two scalars say the same.
fn is_same(sent: &Value, live: &Value) -> bool {
    if sent == live {
        return true;
    }
    let text = |value: &Value| match value {
        Value::String(text) => Some(text.trim().to_owned()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    };
    let (Some(sent), Some(live)) = (text(sent), text(live)) else {
        return false;
    };
    let both = |read: fn(&str) -> Option<f64>| {
        let (Some(sent), Some(live)) = (read(&sent), read(&live)) else {
            return false;
        };
        (sent - live).abs() <= sent.abs().max(live.abs()) * 1e-9
    };
    sent == live || both(quantity) || both(duration) || both(time)
}

/// A quantity of Kubernetes: `1.5Gi`, `100m`, `1e3`.
fn quantity(text: &str) -> Option<f64> {
    let end = text
        .trim_end_matches(|c: char| c.is_ascii_alphabetic())
        .len();
    let (number, suffix) = text.split_at(end);
    let scale = match suffix {
        "" => return text.parse().ok(),
        "n" => 1e-9,
        "u" => 1e-6,
        "m" => 1e-3,
        "k" => 1e3,
        "M" => 1e6,
        "G" => 1e9,
        "T" => 1e12,
        "P" => 1e15,
        "E" => 1e18,
        "Ki" => 1024_f64,
        "Mi" => 1024_f64.powi(2),
        "Gi" => 1024_f64.powi(3),
        "Ti" => 1024_f64.powi(4),
        "Pi" => 1024_f64.powi(5),
        "Ei" => 1024_f64.powi(6),
        _ => return None,
    };
    Some(number.parse::<f64>().ok()? * scale)
}

/// A duration of Go: `1h30m`. In seconds.
fn duration(text: &str) -> Option<f64> {
    let (mut rest, mut seconds) = (text, 0.0);
    while !rest.is_empty() {
        let number = rest.trim_start_matches(|c: char| c.is_ascii_digit() || c == '.');
        let (amount, behind) = rest.split_at(rest.len() - number.len());
        let next = behind.trim_start_matches(|c: char| c.is_ascii_alphabetic());
        let scale = match &behind[..behind.len() - next.len()] {
            "h" => 3600.0,
            "m" => 60.0,
            "s" => 1.0,
            "ms" => 1e-3,
            "us" => 1e-6,
            "ns" => 1e-9,
            _ => return None,
        };
        seconds += amount.parse::<f64>().ok()? * scale;
        rest = next;
    }
    (!text.is_empty()).then_some(seconds)
}

fn time(text: &str) -> Option<f64> {
    let time: Timestamp = text.parse().ok()?;
    Some(time.as_duration().as_secs_f64())
}

#[cfg(test)]
mod tests {
    use serde_json::{Map, json};

    use super::*;

    fn spec(sent: &Value, live: &Value) -> Vec<String> {
        rewritten(&json!({"spec": sent}), &json!({"spec": live}))
    }

    #[test]
    fn another_value_is_named_and_another_form_is_not() {
        for (sent, live) in [
            (json!({"a": 1, "b": "x"}), json!({"a": 1, "b": "x", "c": 2})),
            (
                json!({"cpu": "0.5", "memory": "1024Mi"}),
                json!({"cpu": "500m", "memory": "1Gi"}),
            ),
            (json!({"cpu": 1}), json!({"cpu": "1"})),
            (json!({"duration": "90m"}), json!({"duration": "1h30m0s"})),
            (
                json!({"at": "2026-01-01T01:00:00+01:00"}),
                json!({"at": "2026-01-01T00:00:00Z"}),
            ),
            (
                json!({"a": false, "b": 0, "c": "", "d": {}, "e": [], "f": null}),
                json!({}),
            ),
            (json!({"d": {"e": {"f": null}}}), json!({})),
            (
                json!({"ports": [{"port": 1}, {"port": 2}]}),
                json!({"ports": [{"port": 2, "protocol": "TCP"}, {"port": 1}, {"port": 3}]}),
            ),
            (
                json!({"args": ["a", "b"]}),
                json!({"args": ["a", "b", "c"]}),
            ),
            (
                json!({"any": [{"x": 1}, {"x": 1}]}),
                json!({"any": [{"x": 3}]}),
            ),
        ] {
            assert_eq!(spec(&sent, &live), [""; 0], "{sent}");
        }
        for (sent, live, fields) in [
            (
                json!({"replicas": 3}),
                json!({"replicas": 5}),
                &["spec.replicas"][..],
            ),
            (json!({"a": true}), json!({"a": false}), &["spec.a"]),
            (
                json!({"a": false, "b": 0}),
                json!({"a": true, "b": 1}),
                &["spec.a", "spec.b"],
            ),
            (json!({"a": {"b": "x"}}), json!({}), &["spec.a"]),
            (
                json!({"args": ["a", "b"]}),
                json!({"args": ["a", "c"]}),
                &["spec.args[1]"],
            ),
            (
                json!({"args": ["a", "b"]}),
                json!({"args": ["b"]}),
                &["spec.args"],
            ),
            (
                json!({"containers": [{"name": "web", "image": "a"}, {"name": "log", "image": "b"}]}),
                json!({"containers": [{"name": "side"}, {"name": "web", "image": "c"}]}),
                &[
                    "spec.containers[name=web].image",
                    "spec.containers[name=log]",
                ],
            ),
            (
                json!({"cpu": "100m"}),
                json!({"cpu": "200m"}),
                &["spec.cpu"],
            ),
            (
                json!({"login": [{"key": "hunter2", "role": "a"}, {"key": "other", "role": "b"}]}),
                json!({"login": [{"key": "other", "role": "b"}, {"key": "hunter2", "role": "c"}]}),
                &["spec.login[0].role"],
            ),
        ] {
            assert_eq!(spec(&sent, &live), fields, "{sent}");
        }
    }

    #[test]
    fn of_metadata_only_labels_and_annotations_count_and_none_of_ours() {
        let sent = json!({
            "apiVersion": "v1", "kind": "Secret", "status": {"a": 1},
            "metadata": {"name": "a", "finalizers": ["x/y"],
                "labels": {"team": "a", PART_OF: "1"},
                "annotations": {"example.com/a": "1", PROOF: "1", DIGEST: "1", IDENTITY: "1"}},
            "stringData": {"a": "1"}, "data": {"a": "Mg=="}, "type": "Opaque",
        });
        let live = json!({"metadata": {"labels": {"team": "b"}, "annotations": {}},
            "data": {"a": "MQ=="}, "type": "Opaque"});
        assert_eq!(
            rewritten(&sent, &live),
            [
                "metadata.labels.team",
                "metadata.annotations[\"example.com/a\"]"
            ]
        );
        let many: Map<String, Value> = (0..50).map(|n| (format!("k{n}"), json!("git"))).collect();
        assert_eq!(spec(&Value::Object(many), &json!({"k": 1})).len(), MOST);
        let long = Map::from_iter([("\u{1b}k".repeat(100_000), json!("git"))]);
        let named = spec(&Value::Object(long), &json!({"k": 1}));
        assert!(named[0].len() <= LONGEST && !named[0].contains('\u{1b}'));
    }
}
