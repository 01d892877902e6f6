//! Whether an object that has left Git holds what a new one needs. Pure.
//!
//! What is pruned goes last, so that a mistake costs nothing. A renamed Service cannot wait for that: its node port
//! is the old one's. So the old object goes first, where the refusal of the new one proves that it has to: the API
//! server says that something is taken, and what it names is the old object, or a value that both have in the same
//! field.

use std::collections::HashSet;

use serde_json::Value;

use super::RefusalCause;
use super::rule::{is_by_a_rule, is_refused_by, is_rule};
use crate::manifest::ObjectKey;

/// Why the API server refused to make an object, in its own words. They may repeat a secret, so they are never
/// shown.
#[derive(Clone, Default, PartialEq)]
pub struct Refusal {
    /// The message as a whole.
    pub said: String,
    /// The reasons, each with its field.
    pub causes: Vec<RefusalCause>,
}

impl Refusal {
    /// Whether the words are about something that somebody else has.
    pub fn is_about_something_taken(&self) -> bool {
        let words = words(self);
        let lower = words.to_lowercase();
        words.contains(QUOTA) || TAKEN.iter().any(|word| lower.contains(word))
    }

    /// Whether a rule of admission refused the object, or a webhook did not answer.
    pub fn is_by_a_rule(&self) -> bool {
        is_by_a_rule(&words(self))
    }
}

/// What an object holds that another one needs.
#[derive(Clone, Debug, PartialEq)]
pub enum Contested {
    /// The value of this field: its path, list positions as `[]`.
    Value(String),
    /// The server names the object itself.
    Itself,
    /// Its share of a quota.
    Quota,
    /// Nothing: it is a rule of admission that refuses the other one.
    Rule,
}

impl Contested {
    /// Whether it takes a moment after the deletion until the API server knows that this is free.
    pub fn is_freed_later(&self) -> bool {
        matches!(self, Self::Quota | Self::Rule)
    }
}

/// How the API server says that a quota is full.
const QUOTA: &str = "exceeded quota";

/// Words for what somebody else has.
const TAKEN: [&str; 15] = [
    "already",
    "in use",
    "taken",
    "duplicate",
    "conflict",
    "unique",
    "exists",
    "reserved",
    "used by",
    "belongs to",
    "owned by",
    "claimed",
    "occupied",
    "collide",
    "collision",
];

/// Values that are shorter are in too many objects to prove anything.
const TELLING: usize = 4;

/// What `old`, which is `live`, holds of what `new` needs, so that it was refused; none where that is not proven.
pub fn contested(
    refusal: &Refusal,
    (new, body): (&ObjectKey, &Value),
    (old, live): (&ObjectKey, &Value),
) -> Option<Contested> {
    let words = words(refusal);
    if is_rule(&old.kind) && is_refused_by(&words, old, live) {
        return Some(Contested::Rule);
    }
    if new.kind != old.kind {
        return None;
    }
    if words.contains(QUOTA) {
        return (new.namespace == old.namespace).then_some(Contested::Quota);
    }
    if !refusal.is_about_something_taken() {
        return None;
    }
    if let Some(field) = shared(refusal, &words, (new, body), live) {
        return Some(Contested::Value(field));
    }
    let namespaced = old
        .namespace
        .as_ref()
        .map(|namespace| format!("{namespace}/{}", old.name));
    let is_whole = |name: &String| tokens(&words).contains(name.as_str());
    let is_quoted = ['"', '\'', '`']
        .iter()
        .any(|quote| words.contains(&format!("{quote}{}{quote}", old.name)));
    let is_named = namespaced.as_ref().is_some_and(is_whole)
        || (is_quoted || is_told_with_its_kind(&words, old)) && old.name != new.name;
    is_named.then_some(Contested::Itself)
}

/// `body` without the values at `field`, a path as in [`Contested::Value`].
#[must_use]
pub fn without(body: &Value, field: &str) -> Value {
    let mut body = body.clone();
    remove(&mut body, field);
    body
}

fn remove(value: &mut Value, path: &str) {
    match value {
        Value::Array(items) => {
            let rest = path.strip_prefix("[]").unwrap_or(path);
            let rest = rest.strip_prefix('.').unwrap_or(rest);
            match rest.is_empty() {
                true => items.clear(),
                false => items.iter_mut().for_each(|item| remove(item, rest)),
            }
        }
        Value::Object(fields) => {
            let end = path.find(['.', '[']).unwrap_or(path.len());
            let (name, rest) = path.split_at(end);
            if rest.is_empty() {
                fields.remove(name);
            } else if let Some(inner) = fields.get_mut(name) {
                remove(inner, rest.strip_prefix('.').unwrap_or(rest));
            }
        }
        _ => (),
    }
}

fn words(refusal: &Refusal) -> String {
    let mut words = refusal.said.clone();
    for cause in &refusal.causes {
        words.push(' ');
        words.push_str(&cause.message);
    }
    words
}

fn tokens(words: &str) -> HashSet<&str> {
    let inside = |c: char| c.is_alphanumeric() || matches!(c, '-' | '.' | '/' | ':' | '_');
    words
        .split(|c: char| !inside(c))
        .map(|token| token.trim_end_matches(['.', ':']))
        .collect()
}

/// Whether the server names the object as `PriorityClass old`. A name alone may be any word.
fn is_told_with_its_kind(words: &str, object: &ObjectKey) -> bool {
    let mut before = "";
    words.split_whitespace().any(|word| {
        let kind = std::mem::replace(&mut before, word);
        let name = word.trim_end_matches([',', '.', ':', ';', ')']);
        kind.eq_ignore_ascii_case(&object.kind.kind) && name == &*object.name
    })
}

/// The first field in which both objects have the same telling value, which the server names.
fn shared(
    refusal: &Refusal,
    words: &str,
    (new, body): (&ObjectKey, &Value),
    live: &Value,
) -> Option<String> {
    let (mut wanted, mut has) = (Vec::new(), Vec::new());
    leaves(body, String::new(), &mut wanted);
    leaves(live, String::new(), &mut has);
    let has: HashSet<&(String, String)> = has.iter().collect();
    let tokens = tokens(words);
    let is_own = |value: &str| {
        value == &*new.name || Some(value) == new.namespace.as_deref() || value == &*new.kind.kind
    };
    let is_about = |path: &str| {
        let mut fields = refusal.causes.iter().map(|cause| normal(&cause.field));
        let any = refusal.causes.iter().any(|cause| !cause.field.is_empty());
        !any || fields
            .any(|field| !field.is_empty() && (path.starts_with(&field) || field.starts_with(path)))
    };
    let found = wanted.into_iter().find(|leaf| {
        let (path, value) = leaf;
        has.contains(leaf)
            && value.len() >= TELLING
            && !is_own(value)
            && tokens.contains(value.as_str())
            && is_about(path)
    });
    found.map(|(path, _)| path)
}

/// `spec.ports[0].nodePort` as `spec.ports[].nodePort`.
fn normal(field: &str) -> String {
    let mut normal = String::new();
    let mut rest = field;
    while let Some((before, after)) = rest.split_once('[') {
        let (_, behind) = after.split_once(']').unwrap_or(("", ""));
        normal.push_str(before);
        normal.push_str("[]");
        rest = behind;
    }
    normal.push_str(rest);
    normal
}

/// The numbers and texts of an object, with their paths; not those that name it, and none of ours.
fn leaves(value: &Value, path: String, found: &mut Vec<(String, String)>) {
    match value {
        Value::Object(fields) => {
            for (name, inner) in fields {
                let path = match path.is_empty() {
                    true => name.clone(),
                    false => format!("{path}.{name}"),
                };
                let is_known = match path.as_str() {
                    "apiVersion" | "kind" | "status" => true,
                    path if path.starts_with("metadata.") => {
                        !(path.starts_with("metadata.labels")
                            || path.starts_with("metadata.annotations"))
                            || name.starts_with("towline.dev/")
                            || name.starts_with("applyset.")
                    }
                    _ => false,
                };
                if !is_known {
                    leaves(inner, path, found);
                }
            }
        }
        Value::Array(items) => {
            for item in items {
                leaves(item, format!("{path}[]"), found);
            }
        }
        Value::String(text) => found.push((path, text.clone())),
        Value::Number(number) => found.push((path, number.to_string())),
        Value::Null | Value::Bool(_) => (),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::manifest::GroupKind;

    fn key(name: &str) -> ObjectKey {
        ObjectKey {
            kind: GroupKind::new("", "Service"),
            namespace: Some("shop".into()),
            name: name.into(),
        }
    }

    fn service(port: u32, node_port: u32, app: &str) -> Value {
        json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "x", "labels": {"app": app}},
               "spec": {"clusterIP": "10.96.0.50", "selector": {"app": app},
                        "ports": [{"port": port, "nodePort": node_port, "protocol": "TCP"}]}})
    }

    fn invalid(field: &str, message: &str) -> Refusal {
        let said = format!("Service \"frontend\" is invalid: {field}: {message}");
        let cause = RefusalCause {
            field: field.to_owned(),
            reason: "FieldValueInvalid".to_owned(),
            message: message.to_owned(),
        };
        Refusal {
            said,
            causes: vec![cause],
        }
    }

    fn denied(said: &str) -> Refusal {
        Refusal {
            said: said.to_owned(),
            causes: Vec::new(),
        }
    }

    #[test]
    fn only_what_the_refusal_proves_is_held() {
        let taken = invalid(
            "spec.ports[0].nodePort",
            "Invalid value: 32123: provided port is already allocated",
        );
        let address = invalid(
            "spec.clusterIPs",
            "Invalid value: [\"10.96.0.50\"]: failed to allocate IP 10.96.0.50: provided IP is already allocated",
        );
        let range = invalid(
            "spec.ports[0].nodePort",
            "Invalid value: 32123: provided port is not in the valid range",
        );
        let value = |field: &str| Some(Contested::Value(field.to_owned()));
        let same = service(80, 32123, "frontend");
        for (name, refusal, live, held_by_old) in [
            ("a node port", &taken, &same, value("spec.ports[].nodePort")),
            ("an address", &address, &same, value("spec.clusterIP")),
            (
                "another one's node port",
                &taken,
                &service(80, 32124, "frontend"),
                None,
            ),
            (
                "the same number elsewhere",
                &taken,
                &service(32123, 1, "frontend"),
                None,
            ),
            ("a value that may not be", &range, &same, None),
            (
                "a message without a value",
                &denied("it is already in use"),
                &same,
                None,
            ),
            (
                "named",
                &denied("denied: the port is already used by shop/backend"),
                &same,
                Some(Contested::Itself),
            ),
            (
                "named in quotes",
                &denied("conflict with service \"backend\""),
                &same,
                Some(Contested::Itself),
            ),
            (
                "named with its kind",
                &denied("forbidden: Service backend is already marked as default"),
                &same,
                Some(Contested::Itself),
            ),
            (
                "a word that is no name",
                &denied("forbidden: the only backend already exists"),
                &same,
                None,
            ),
            (
                "a longer name",
                &denied("already used by shop/backend-two"),
                &same,
                None,
            ),
            (
                "by its own name",
                &denied("frontend: already denied"),
                &same,
                None,
            ),
            (
                "quota",
                &denied("forbidden: exceeded quota: q, requested: services=1"),
                &same,
                Some(Contested::Quota),
            ),
            (
                "a policy",
                &denied("shop/backend: labels are required"),
                &same,
                None,
            ),
        ] {
            let body = service(80, 32123, "frontend");
            let found = contested(refusal, (&key("frontend"), &body), (&key("backend"), live));
            assert_eq!(found, held_by_old, "{name}");
        }
        let other = ObjectKey {
            kind: GroupKind::new("", "ConfigMap"),
            ..key("backend")
        };
        assert_eq!(
            contested(&taken, (&key("frontend"), &same), (&other, &same)),
            None
        );
    }

    #[test]
    fn a_field_is_taken_out_of_every_item() {
        let body = service(80, 32123, "a");
        let without = without(&body, "spec.ports[].nodePort");
        assert_eq!(
            without["spec"]["ports"],
            json!([{"port": 80, "protocol": "TCP"}])
        );
        assert_eq!(without["spec"]["clusterIP"], "10.96.0.50");
    }
}
