//! Whether the apply of a manifest would change nothing, as far as the live object alone can say. Pure.
//!
//! Server-side apply sets the fields that a manifest declares, and removes those that our entry in `managedFields` names
//! and the manifest does not. So it changes nothing if our entry names exactly the fields of the manifest, and all of them
//! have its values. What looks different may still be the same to the API server, such as `1000m` and `1` of a processor:
//! then this says no, and a dry run decides.

use serde_json::{Map, Value};

use super::items::{Items, keys_of};
use crate::api::FIELD_MANAGER;

/// Whether the apply of `body` would leave the `live` object as it is. No means that it may not.
pub fn is_unchanged(live: &Value, body: &Value) -> bool {
    let entries = live["metadata"]["managedFields"].as_array();
    let ours = entries.into_iter().flatten().find(|entry| {
        entry["manager"] == FIELD_MANAGER
            && entry["operation"] == "Apply"
            && entry["subresource"].as_str().unwrap_or_default().is_empty()
    });
    let version = &body["apiVersion"];
    let Some(ours) = ours.filter(|ours| ours["apiVersion"] == *version) else {
        return false;
    };
    // In another version, the same field may mean something else.
    if live["apiVersion"] != *version {
        return false;
    }
    // `managedFields` never names what an object is called.
    let mut declared = body.clone();
    for (part, names) in [
        ("", &["apiVersion", "kind"][..]),
        ("/metadata", &["name", "namespace"]),
    ] {
        if let Some(fields) = declared.pointer_mut(part).and_then(Value::as_object_mut) {
            fields.retain(|name, _| !names.contains(&&**name));
        }
    }
    is_same(&ours["fieldsV1"], live, &declared)
}

/// The same at one place. `fields` are ours there, in the form of `fieldsV1`.
fn is_same(fields: &Value, live: &Value, declared: &Value) -> bool {
    let Some(fields) = fields.as_object() else {
        return false;
    };
    if fields.is_empty() {
        return live == declared;
    }
    match (live, declared) {
        (Value::Object(live), Value::Object(declared)) => same_fields(fields, live, declared),
        (Value::Array(_), Value::Array(items)) => same_items(fields, live, declared, items.len()),
        _ => false,
    }
}

/// The names in `fieldsV1`, without the one for the place itself.
fn names(fields: &Map<String, Value>) -> impl Iterator<Item = (&String, &Value)> {
    fields.iter().filter(|(name, _)| *name != ".")
}

fn same_fields(
    fields: &Map<String, Value>,
    live: &Map<String, Value>,
    declared: &Map<String, Value>,
) -> bool {
    names(fields).count() == declared.len()
        && declared.iter().all(|(name, value)| {
            let both = (fields.get(&format!("f:{name}")), live.get(name));
            matches!(both, (Some(fields), Some(live)) if is_same(fields, live, value))
        })
}

/// The same for a list whose items are known by keys, or by their values.
fn same_items(fields: &Map<String, Value>, live: &Value, declared: &Value, length: usize) -> bool {
    if names(fields).count() != length {
        return false;
    }
    if names(fields).all(|(name, _)| name.starts_with("v:")) {
        return live == declared;
    }
    let (mut has, mut wants) = (Items::of(Some(live)), Items::of(Some(declared)));
    let mut order = Vec::with_capacity(length);
    for (name, fields) in names(fields) {
        let Some(keys) = keys_of(name) else {
            return false;
        };
        let (Some(was), Some(is)) = (has.with(&keys), wants.with_defaults(&keys)) else {
            return false;
        };
        match (has.at(was), wants.at(is)) {
            (Some(live), Some(declared)) if is_same(fields, live, declared) => {
                order.push((is, was));
            }
            _ => return false,
        }
    }
    // Items that Git has in another order would be moved, and two keys that lead to one item leave another one out.
    order.sort_unstable();
    order.is_sorted_by(|(is, was), (next, then)| is < next && was < then)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// A live Deployment that was applied with two containers, an argument list, and a set of finalizers.
    fn live() -> Value {
        json!({
            "apiVersion": "apps/v1", "kind": "Deployment",
            "metadata": {
                "name": "web", "namespace": "shop", "uid": "1", "resourceVersion": "7",
                "labels": {"app": "web", "theirs": "x"},
                "finalizers": ["a/b", "c/d"],
                "managedFields": [
                    {"manager": "kubectl", "operation": "Update", "apiVersion": "apps/v1",
                        "fieldsV1": {"f:metadata": {"f:labels": {"f:theirs": {}}}}},
                    {"manager": FIELD_MANAGER, "operation": "Apply", "apiVersion": "apps/v1", "fieldsV1": {
                        "f:metadata": {"f:labels": {"f:app": {}}, "f:finalizers": {"v:\"a/b\"": {}, "v:\"c/d\"": {}}},
                        "f:spec": {
                            "f:selector": {},
                            "f:template": {"f:spec": {"f:nodeSelector": {}, "f:containers": {
                                "k:{\"name\":\"a\"}": {".": {}, "f:name": {}, "f:args": {}, "f:ports": {
                                    "k:{\"containerPort\":80,\"protocol\":\"TCP\"}": {".": {}, "f:containerPort": {}}}},
                                "k:{\"name\":\"b\"}": {".": {}, "f:name": {}, "f:resources": {"f:limits": {"f:cpu": {}}}},
                            }}},
                        },
                    }},
                ],
            },
            "spec": {
                "replicas": 1,
                "selector": {"matchLabels": {"app": "web"}},
                "template": {"spec": {"nodeSelector": {}, "containers": [
                    {"name": "a", "args": ["1", "2"], "ports": [{"containerPort": 80, "protocol": "TCP"}]},
                    {"name": "sidecar"},
                    {"name": "b", "resources": {"limits": {"cpu": "1"}}},
                ]}},
            },
            "status": {"replicas": 1},
        })
    }

    fn declared() -> Value {
        json!({
            "apiVersion": "apps/v1", "kind": "Deployment",
            "metadata": {"name": "web", "namespace": "shop", "labels": {"app": "web"}, "finalizers": ["a/b", "c/d"]},
            "spec": {
                "selector": {"matchLabels": {"app": "web"}},
                "template": {"spec": {"nodeSelector": {}, "containers": [
                    {"name": "a", "args": ["1", "2"], "ports": [{"containerPort": 80}]},
                    {"name": "b", "resources": {"limits": {"cpu": "1"}}},
                ]}},
            },
        })
    }

    #[test]
    fn a_manifest_whose_fields_are_ours_and_live_changes_nothing() {
        assert!(is_unchanged(&live(), &declared()));
    }

    #[test]
    fn whatever_an_apply_could_change_is_left_to_a_dry_run() {
        let containers = "/spec/template/spec/containers";
        let cases: Vec<(&str, String, Value)> = vec![
            (
                "another value",
                "/metadata/labels/app".into(),
                json!("shop"),
            ),
            (
                "a label that another manager has",
                "/metadata/labels".into(),
                json!({"app": "web", "theirs": "x"}),
            ),
            ("a label less", "/metadata/labels".into(), json!({})),
            ("no labels", "/metadata/labels".into(), Value::Null),
            (
                "a finalizer less",
                "/metadata/finalizers".into(),
                json!(["a/b"]),
            ),
            (
                "finalizers in another order",
                "/metadata/finalizers".into(),
                json!(["c/d", "a/b"]),
            ),
            (
                "an undivided map with more",
                "/spec/selector".into(),
                json!({"matchLabels": {"app": "web", "x": "y"}}),
            ),
            (
                "an empty map filled",
                "/spec/template/spec/nodeSelector".into(),
                json!({"disk": "ssd"}),
            ),
            (
                "an undivided list",
                format!("{containers}/0/args"),
                json!(["2", "1"]),
            ),
            (
                "a container less",
                containers.into(),
                json!([{"name": "a", "args": ["1", "2"], "ports": [{"containerPort": 80}]}]),
            ),
            (
                "a container more",
                format!("{containers}/2"),
                json!({"name": "c"}),
            ),
            (
                "a container twice",
                format!("{containers}/1"),
                declared()["spec"]["template"]["spec"]["containers"][0].clone(),
            ),
            (
                "the same amount in other words",
                format!("{containers}/1/resources/limits/cpu"),
                json!("1000m"),
            ),
            (
                "another port",
                format!("{containers}/0/ports/0/containerPort"),
                json!(81),
            ),
            (
                "a port's other protocol",
                format!("{containers}/0/ports/0/protocol"),
                json!("UDP"),
            ),
            (
                "a field that only the cluster set",
                "/spec/replicas".into(),
                json!(1),
            ),
            (
                "a text in place of a map",
                "/spec/template".into(),
                json!("x"),
            ),
            ("another version", "/apiVersion".into(), json!("apps/v2")),
        ];
        for (what, path, value) in cases {
            let mut body = declared();
            put(&mut body, &path, value);
            assert!(!is_unchanged(&live(), &body), "{what}");
        }
        let mut turned = declared();
        let items = turned.pointer_mut(containers).and_then(Value::as_array_mut);
        items.expect("containers").reverse();
        assert!(
            !is_unchanged(&live(), &turned),
            "containers in another order"
        );
    }

    #[test]
    fn what_others_did_to_our_fields_is_left_to_a_dry_run() {
        for (what, path, value) in [
            ("a changed value", "/metadata/labels/app", json!("x")),
            ("a removed value", "/metadata/labels", json!({})),
            (
                "a removed container",
                "/spec/template/spec/containers/2",
                json!({"name": "z"}),
            ),
            (
                "a live object in another version",
                "/apiVersion",
                json!("apps/v2"),
            ),
            (
                "an entry in another version",
                "/metadata/managedFields/1/apiVersion",
                json!("apps/v2"),
            ),
            ("no entry", "/metadata/managedFields", json!([])),
            (
                "an entry of a subresource",
                "/metadata/managedFields/1/subresource",
                json!("scale"),
            ),
            (
                "an entry of an update",
                "/metadata/managedFields/1/operation",
                json!("Update"),
            ),
            (
                "another's entry",
                "/metadata/managedFields/1/manager",
                json!("helm"),
            ),
            (
                "an entry without fields",
                "/metadata/managedFields/1/fieldsV1",
                Value::Null,
            ),
        ] {
            let mut live = live();
            put(&mut live, path, value);
            assert!(!is_unchanged(&live, &declared()), "{what}");
        }
    }

    /// Writes a value at a JSON pointer. An index may be the list's end, and null removes a field.
    fn put(object: &mut Value, path: &str, value: Value) {
        let (parent, name) = path.rsplit_once('/').expect("a pointer");
        match object.pointer_mut(parent).expect("the parent") {
            Value::Array(items) => {
                let at: usize = name.parse().expect("an index");
                items.resize(items.len().max(at + 1), Value::Null);
                items[at] = value;
            }
            Value::Object(fields) if value.is_null() => drop(fields.remove(name)),
            parent => parent[name] = value,
        }
    }
}
