//! Fields that Git declares and a controller of the cluster writes as well. Pure.
//!
//! An autoscaler writes `replicas`, an aggregated ClusterRole has its rules filled in, an injector fills in a CA
//! bundle. To correct such a field starts an endless exchange of writes, so the field is left to the controller
//! after a few tries: it is no longer sent, and everything else of the object is corrected as before. What is left
//! is written on the object, so that it is known after a restart. A new value in Git is tried again.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{FieldsV1, ManagedFieldsEntry, ObjectMeta};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::observed::Observed;
use super::owner::LEFT;
use super::release::is_item;
use super::share::{is_ours, subresource};
use crate::manifest::{Digest, Manifest};

/// How often a field is seen to be taken back before it is left.
const TRIES: u32 = 2;

/// How many fields of one object may be left; more are corrected again and again, with pauses.
const MOST: usize = 32;

/// The field managers of tools by which people write. What a person changes is corrected, however often.
const PEOPLE: [&str; 12] = [
    "kubectl",
    "person",
    "k9s",
    "lens",
    "Lens",
    "openlens",
    "freelens",
    "headlamp",
    "dashboard",
    "oc",
    "Mozilla",
    "node-fetch",
];

/// Those of them that write what the person did behind their name: `kubectl-edit`.
const VERBS: [&str; 2] = ["kubectl", "oc"];

/// Controllers that never stop writing their fields.
const TIRELESS: [&str; 1] = ["clusterrole-aggregation-controller"];

/// A field that Git declares and another field manager took.
#[derive(Clone, Debug, PartialEq)]
pub struct Taken {
    field: Field,
    /// One try would be one too many.
    at_once: bool,
}

/// One field, who writes it, and what Git said when it was taken.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Field {
    /// The path in the form of `fieldsV1`.
    path: Value,
    manager: String,
    /// The digest of Git's value.
    value: String,
}

/// A field that is left from now on, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Relinquished {
    /// The field's path: `spec.replicas`.
    pub field: String,
    /// Who writes it.
    pub manager: String,
}

/// What is known of the fields of one object that others write.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Contest {
    left: Vec<Field>,
    seen: Vec<(Field, u32)>,
}

impl Contest {
    /// What the object itself says, for an operator that has just started.
    pub fn of(observed: &Observed) -> Self {
        let text = observed.left.as_deref().unwrap_or_default();
        let left: Vec<Field> = serde_json::from_str(text).unwrap_or_default();
        Self {
            left: left.into_iter().take(MOST).collect(),
            seen: Vec::new(),
        }
    }

    /// Takes note of fields that were taken. Returns those that are left from now on.
    pub fn note(&mut self, taken: Vec<Taken>) -> Vec<Relinquished> {
        let mut relinquished = Vec::new();
        for Taken { field, at_once } in taken {
            if self.left.contains(&field) || self.left.len() >= MOST {
                continue;
            }
            let times = match self.seen.iter_mut().find(|(seen, _)| *seen == field) {
                Some((_, times)) => {
                    *times += 1;
                    *times
                }
                None => {
                    self.seen.push((field.clone(), 1));
                    1
                }
            };
            if at_once || times >= TRIES {
                self.seen.retain(|(seen, _)| *seen != field);
                relinquished.push(Relinquished {
                    field: in_words(&field.path),
                    manager: field.manager.clone(),
                });
                self.left.push(field);
            }
        }
        self.seen.truncate(MOST);
        relinquished
    }

    /// Takes out of the manifest what is left to others, and writes down on it what that is. A field whose value
    /// is another one by now is not left any longer.
    pub fn leave(&mut self, manifest: &mut Manifest) {
        let body = &mut manifest.body;
        self.left
            .retain(|field| value_of(&field.path, body).as_ref() == Some(&field.value));
        if self.left.is_empty() {
            return;
        }
        let Ok(text) = serde_json::to_string(&self.left) else {
            return;
        };
        for field in &self.left {
            strip(&field.path, body);
        }
        let metadata = body.get_mut("metadata").and_then(Value::as_object_mut);
        if let Some(metadata) = metadata {
            let annotations = metadata.entry("annotations").or_insert(Value::Null);
            if annotations.is_null() {
                *annotations = Value::Object(Map::new());
            }
            if let Some(annotations) = annotations.as_object_mut() {
                annotations.insert(LEFT.to_owned(), text.into());
            }
        }
    }
}

/// Whether an object's last writer is one before whom a single correction is one too many: an autoscaler.
pub fn is_scaled(observed: &Observed) -> bool {
    let writer = observed.timeless.as_ref();
    writer.is_some_and(|writer| !is_person(&writer.manager))
}

/// Whether an object's last writer is known to be a person, who is corrected however often.
pub fn is_a_persons(observed: &Observed) -> bool {
    observed.writer.as_deref().is_some_and(is_person)
}

/// The fields that `body` declares, and that are another manager's and not ours. What people wrote does not count.
pub fn taken(meta: &ObjectMeta, body: &Value) -> Vec<Taken> {
    let entries = meta.managed_fields.as_deref().unwrap_or_default();
    let nothing = Value::Object(Map::new());
    let ours = entries.iter().find(|entry| is_ours(entry));
    let ours = ours.and_then(fields).unwrap_or(&nothing);
    let mut found = Vec::new();
    for entry in entries.iter().filter(|entry| !is_ours(entry)) {
        let manager = entry.manager.as_deref().unwrap_or_default();
        if is_person(manager) {
            continue;
        }
        let at_once = subresource(entry) == "scale" || TIRELESS.contains(&manager);
        let theirs = fields(entry).map(|theirs| match subresource(entry) {
            // With a status, the API server takes annotations as well.
            "status" => part_of(theirs, "f:metadata"),
            _ => theirs.clone(),
        });
        for path in theirs
            .map(|theirs| overlap(&theirs, body, Some(ours)))
            .unwrap_or_default()
        {
            let Some(value) = value_of(&path, body) else {
                continue;
            };
            let field = Field {
                path,
                manager: manager.to_owned(),
                value,
            };
            found.push(Taken { field, at_once });
        }
    }
    found
}

/// The same, but only what one correction would be one too many for.
pub fn taken_for_good(meta: &ObjectMeta, body: &Value) -> Vec<Taken> {
    let mut taken = taken(meta, body);
    taken.retain(|taken| taken.at_once);
    taken
}

fn is_person(manager: &str) -> bool {
    PEOPLE.iter().any(|tool| {
        let rest = manager.strip_prefix(tool);
        // `kubectl-edit` is a person, `dashboard-operator` and `octavia-ingress-controller` are none.
        rest.is_some_and(|rest| {
            rest.is_empty() || VERBS.contains(tool) && rest.starts_with(['-', '_'])
        })
    })
}

/// Only this one of the fields.
fn part_of(fields: &Value, name: &str) -> Value {
    let part = fields.get(name).cloned();
    part.map_or(Value::Null, |part| wrapped(name, part))
}

fn fields(entry: &ManagedFieldsEntry) -> Option<&Value> {
    entry.fields_v1.as_ref().map(|FieldsV1(fields)| fields)
}

/// The paths that end in `theirs`, have a value in `body` and are not in `ours`.
fn overlap(theirs: &Value, body: &Value, ours: Option<&Value>) -> Vec<Value> {
    let mut found = Vec::new();
    for (key, inner) in theirs.as_object().into_iter().flatten() {
        if key == "." || key.starts_with("f:towline.dev/") || key.starts_with("f:applyset.") {
            continue;
        }
        let Some(value) = step(key, body).filter(|value| !value.is_null()) else {
            continue;
        };
        let ours = ours.and_then(|ours| ours.get(key));
        let is_leaf = inner.as_object().is_none_or(Map::is_empty);
        match (is_leaf, ours) {
            (true, Some(_)) => (),
            (true, None) => found.push(wrapped(key, Value::Object(Map::new()))),
            (false, ours) => {
                let below = overlap(inner, value, ours).into_iter();
                found.extend(below.map(|path| wrapped(key, path)));
            }
        }
    }
    found
}

fn wrapped(key: &str, inner: Value) -> Value {
    Value::Object(Map::from_iter([(key.to_owned(), inner)]))
}

/// One step along a path of `fieldsV1`; none where `body` has nothing there. Values of sets are not followed.
fn step<'a>(key: &str, body: &'a Value) -> Option<&'a Value> {
    match key.split_once(':')? {
        ("f", name) => body.get(name),
        ("k", keys) => {
            let keys: Map<String, Value> = serde_json::from_str(keys).ok()?;
            body.as_array()?.iter().find(|item| is_item(item, &keys))
        }
        _ => None,
    }
}

fn step_mut<'a>(key: &str, body: &'a mut Value) -> Option<&'a mut Value> {
    match key.split_once(':')? {
        ("f", name) => body.get_mut(name),
        ("k", keys) => {
            let keys: Map<String, Value> = serde_json::from_str(keys).ok()?;
            let mut items = body.as_array_mut()?.iter_mut();
            items.find(|item| is_item(item, &keys))
        }
        _ => None,
    }
}

/// The only step of a path, and what follows; none at its end.
fn first(path: &Value) -> Option<(&String, &Value)> {
    path.as_object()?.iter().next()
}

/// The digest of the value at the end of a path.
fn value_of(path: &Value, body: &Value) -> Option<String> {
    match first(path) {
        Some((key, rest)) => value_of(rest, step(key, body)?),
        None => Some(Digest::of(body).to_string()),
    }
}

/// Takes out what is at the end of a path.
fn strip(path: &Value, body: &mut Value) {
    let Some((key, rest)) = first(path) else {
        return;
    };
    if first(rest).is_some() {
        if let Some(inner) = step_mut(key, body) {
            strip(rest, inner);
        }
        return;
    }
    match (key.split_once(':'), body) {
        (Some(("f", name)), Value::Object(fields)) => drop(fields.remove(name)),
        (Some(("k", keys)), Value::Array(items)) => {
            if let Ok(keys) = serde_json::from_str(keys) {
                items.retain(|item| !is_item(item, &keys));
            }
        }
        _ => (),
    }
}

/// `spec.replicas`, `webhooks[name=a].clientConfig.caBundle`, `metadata.labels["a/b"]`.
fn in_words(path: &Value) -> String {
    let mut words = String::new();
    let mut rest = path;
    while let Some((key, inner)) = first(rest) {
        match key.split_once(':') {
            Some(("f", name)) if name.contains(['.', '/']) => {
                words.push_str(&format!("[{name:?}]"));
            }
            Some(("f", name)) => {
                if !words.is_empty() {
                    words.push('.');
                }
                words.push_str(name);
            }
            Some((_, keys)) => {
                let keys: Map<String, Value> = serde_json::from_str(keys).unwrap_or_default();
                let named: Vec<String> = keys
                    .iter()
                    .map(|(name, value)| match value {
                        Value::String(text) => format!("{name}={text}"),
                        value => format!("{name}={value}"),
                    })
                    .collect();
                words.push_str(&format!("[{}]", named.join(",")));
            }
            None => (),
        }
        rest = inner;
    }
    words
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn meta(entries: &Value) -> ObjectMeta {
        serde_json::from_value(json!({"managedFields": entries})).unwrap()
    }

    fn entry(manager: &str, operation: &str, subresource: &str, fields: &Value) -> Value {
        json!({"manager": manager, "operation": operation, "subresource": subresource,
               "fieldsType": "FieldsV1", "fieldsV1": fields})
    }

    fn manifest(body: &Value) -> Manifest {
        let mut whole =
            json!({"apiVersion": "example.com/v1", "kind": "Thing", "metadata": {"name": "a"}});
        whole
            .as_object_mut()
            .unwrap()
            .extend(body.as_object().unwrap().clone());
        Manifest::from_value(whole).unwrap().remove(0)
    }

    #[test]
    fn what_others_took_is_found_and_named() {
        let body = json!({
            "spec": {"replicas": 1, "other": 2},
            "rules": [],
            "webhooks": [{"name": "w", "clientConfig": {"caBundle": "Cg=="}}],
            "ports": [{"port": 80, "targetPort": 1}],
            "metadata": {"labels": {"a.b/c": "d"}, "annotations": {LEFT: "x"}},
        });
        let ours = |fields: &Value| entry("towline", "Apply", "", fields);
        for (name, theirs, ours_has, expected) in [
            (
                "scale",
                entry(
                    "kcm",
                    "Update",
                    "scale",
                    &json!({"f:spec": {"f:replicas": {}}}),
                ),
                json!({"f:spec": {"f:other": {}}}),
                Some(("spec.replicas", true)),
            ),
            (
                "ours as well",
                entry(
                    "kcm",
                    "Update",
                    "scale",
                    &json!({"f:spec": {"f:replicas": {}}}),
                ),
                json!({"f:spec": {"f:replicas": {}}}),
                None,
            ),
            (
                "a person",
                entry(
                    "kubectl-edit",
                    "Update",
                    "",
                    &json!({"f:spec": {"f:other": {}}}),
                ),
                json!({}),
                None,
            ),
            (
                "a person scales",
                entry(
                    "kubectl",
                    "Update",
                    "scale",
                    &json!({"f:spec": {"f:replicas": {}}}),
                ),
                json!({}),
                None,
            ),
            (
                "status",
                entry("c", "Update", "status", &json!({"f:spec": {"f:other": {}}})),
                json!({}),
                None,
            ),
            (
                "written with a status",
                entry(
                    "c",
                    "Update",
                    "status",
                    &json!({"f:metadata": {"f:labels": {"f:a.b/c": {}}}, "f:spec": {"f:other": {}}}),
                ),
                json!({}),
                Some((r#"metadata.labels["a.b/c"]"#, false)),
            ),
            (
                "not declared",
                entry("c", "Update", "", &json!({"f:spec": {"f:third": {}}})),
                json!({}),
                None,
            ),
            (
                "rules",
                entry(
                    "clusterrole-aggregation-controller",
                    "Apply",
                    "",
                    &json!({"f:rules": {}}),
                ),
                json!({}),
                Some(("rules", true)),
            ),
            (
                "in a list",
                entry(
                    "cainjector",
                    "Update",
                    "",
                    &json!({"f:webhooks": {r#"k:{"name":"w"}"#: {"f:clientConfig": {"f:caBundle": {}}}}}),
                ),
                json!({"f:webhooks": {r#"k:{"name":"w"}"#: {".": {}, "f:name": {}}}}),
                Some(("webhooks[name=w].clientConfig.caBundle", false)),
            ),
            (
                "an item with a default in its key",
                entry(
                    "c",
                    "Update",
                    "",
                    &json!({"f:ports": {r#"k:{"port":80,"protocol":"TCP"}"#: {".": {}, "f:targetPort": {}}}}),
                ),
                json!({}),
                Some(("ports[port=80,protocol=TCP].targetPort", false)),
            ),
            (
                "a label",
                entry(
                    "c",
                    "Update",
                    "",
                    &json!({"f:metadata": {"f:labels": {"f:a.b/c": {}}}}),
                ),
                json!({}),
                Some((r#"metadata.labels["a.b/c"]"#, false)),
            ),
            (
                "our own marks",
                entry(
                    "c",
                    "Update",
                    "",
                    &json!({"f:metadata": {"f:annotations": {"f:towline.dev/left-to-others": {}}}}),
                ),
                json!({}),
                None,
            ),
        ] {
            let found = taken(&meta(&json!([ours(&ours_has), theirs])), &body);
            let found: Vec<_> = found
                .iter()
                .map(|t| (in_words(&t.field.path), t.at_once))
                .collect();
            let expected: Vec<_> = expected
                .into_iter()
                .map(|(field, at_once)| (field.to_owned(), at_once))
                .collect();
            assert_eq!(found, expected, "{name}");
        }
    }

    #[test]
    fn a_controller_is_no_person_whose_tool_has_a_similar_name() {
        for (manager, expected) in [
            ("kubectl", true),
            ("kubectl-edit", true),
            ("oc", true),
            ("oc-patch", true),
            ("k9s", true),
            ("Mozilla", true),
            ("octavia-ingress-controller", false),
            ("dashboard-operator", false),
            ("lens-agent", false),
            ("kubectlish", false),
            ("kube-controller-manager", false),
        ] {
            assert_eq!(is_person(manager), expected, "{manager}");
        }
    }

    #[test]
    fn a_field_is_left_after_a_few_tries_until_git_has_another_value() {
        let body = json!({"spec": {"a": 1, "b": 2}});
        let theirs = entry("c", "Update", "", &json!({"f:spec": {"f:a": {}}}));
        let seen = || taken(&meta(&json!([theirs])), &body);
        let mut contest = Contest::default();
        assert_eq!(contest.note(seen()), []);
        let mut sent = manifest(&body);
        contest.leave(&mut sent);
        assert_eq!(sent, manifest(&body), "one try more");
        let left = contest.note(seen());
        assert_eq!(
            left,
            [Relinquished {
                field: "spec.a".to_owned(),
                manager: "c".to_owned()
            }]
        );
        assert_eq!(contest.note(seen()), [], "it is told once");
        contest.leave(&mut sent);
        assert_eq!(sent.body["spec"], json!({"b": 2}));
        assert!(sent.body["metadata"]["annotations"][LEFT].is_string());
        let mut other = manifest(&json!({"spec": {"a": 9, "b": 2}}));
        contest.leave(&mut other);
        assert_eq!(other.body["spec"], json!({"a": 9, "b": 2}));
        assert_eq!(contest, Contest::default());
    }

    #[test]
    fn an_item_of_a_list_is_left_as_a_whole() {
        let mut body = json!({"ports": [{"port": 80}, {"port": 81}]});
        strip(
            &json!({"f:ports": {r#"k:{"port":80,"protocol":"TCP"}"#: {}}}),
            &mut body,
        );
        assert_eq!(body, json!({"ports": [{"port": 81}]}));
    }
}
