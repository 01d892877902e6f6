//! Objects that a manifest empties or sets to null, where the live ones have fields. Pure.
//!
//! Server-side apply cannot do either. An object of which it removes every field becomes null (`removingWalker` of
//! structured-merge-diff keeps no empty map), which most schemas refuse. And a null over an object removes what was
//! declared, and leaves the defaults: a Sync of the whole repository, where `spec.sync` became null. So such places are
//! made what Git says before the apply, by a JSON patch. That leaves no entry in `managedFields`.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::claim::View;
use super::share::Share;

/// A place that a manifest empties.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Emptied {
    /// As a JSON pointer into the live object. In the manifest, the item of a list may have another index.
    live: String,
    body: String,
    /// Whether it is null in the manifest. Otherwise it is an object without fields.
    is_null: bool,
}

/// The places that `body` empties. What another field manager has declared stays: it keeps the object from being
/// empty, as with every apply.
pub fn emptied(live: &Value, body: &Value, share: &Share) -> Vec<Emptied> {
    let (others, all) = (share.of_others(), share.of_all());
    let view = View {
        live,
        body: Some(body),
        others: Some(&others),
        all: Some(&all),
    };
    let mut found = EmptiedByPath::new();
    let fields = body.as_object().into_iter().flatten();
    for (name, _) in fields.filter(|(name, _)| !matches!(&***name, "metadata" | "status")) {
        look(&view, name, ("", ""), &mut found);
    }
    found.into_values().collect()
}

/// The places by where they are in the live object.
type EmptiedByPath = BTreeMap<String, Emptied>;

/// Whether something below is null, or an object without fields.
fn empties(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Object(fields) => fields.is_empty() || fields.values().any(empties),
        Value::Array(items) => items.iter().any(empties),
        _ => false,
    }
}

fn look(parent: &View<'_>, name: &str, (live, body): (&str, &str), found: &mut EmptiedByPath) {
    let Some(view) = parent.field(name) else {
        return;
    };
    let step = name.replace('~', "~0").replace('/', "~1");
    let (live, body) = (format!("{live}/{step}"), format!("{body}/{step}"));
    match (view.live, view.body) {
        (Value::Object(_), Some(Value::Object(fields))) if !fields.is_empty() => {
            for name in fields.keys() {
                look(&view, name, (&live, &body), found);
            }
        }
        (Value::Object(has), Some(wish @ (Value::Null | Value::Object(_)))) if !has.is_empty() => {
            let ours = view.all.and_then(Value::as_object);
            let has_fields = |ours: &Map<String, Value>| ours.keys().any(|key| key != ".");
            let is_null = wish.is_null();
            // Without a field of ours, it is declared empty already: defaults, or what admission put there.
            let is_meant = ours.is_some_and(|ours| is_null || has_fields(ours));
            if is_meant && view.others.is_none() {
                let place = Emptied {
                    live: live.clone(),
                    body,
                    is_null,
                };
                // Several keys may lead to one item. The first has precedence.
                found.entry(live).or_insert(place);
            }
        }
        (Value::Array(_), Some(Value::Array(items))) if items.iter().any(empties) => {
            for item in view.items() {
                let (was, is) = item.at;
                let paths = (format!("{live}/{was}"), format!("{body}/{is}"));
                for name in items[is].as_object().into_iter().flat_map(Map::keys) {
                    look(&item.view, name, (&paths.0, &paths.1), found);
                }
            }
        }
        _ => (),
    }
}

/// The JSON patch that empties the live object of resourceVersion `version`.
pub fn emptying(places: &[Emptied], version: &str) -> Value {
    let condition = json!({"op": "replace", "path": "/metadata/resourceVersion", "value": version});
    let changes = places.iter().map(|place| match place.is_null {
        true => json!({"op": "remove", "path": place.live}),
        false => json!({"op": "replace", "path": place.live, "value": {}}),
    });
    std::iter::once(condition).chain(changes).collect()
}

/// The manifest with what is live at those places: it can be tried out.
pub fn filled(mut body: Value, live: &Value, places: &[Emptied]) -> Value {
    for place in places {
        if let (Some(value), Some(has)) = (body.pointer_mut(&place.body), live.pointer(&place.live))
        {
            *value = has.clone();
        }
    }
    body
}

/// Empties those places of an object.
pub fn empty_out(object: &mut Value, places: &[Emptied]) {
    for place in places {
        let empty = match place.is_null {
            true => Value::Null,
            false => json!({}),
        };
        if let Some(value) = object.pointer_mut(&place.live) {
            *value = empty;
        }
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

    use super::*;

    fn share(ours: &Value, others: &Value) -> Share {
        let entry = |manager: &str, operation: &str, fields: &Value| {
            json!({"manager": manager, "operation": operation, "apiVersion": "v1",
                "fieldsType": "FieldsV1", "fieldsV1": fields})
        };
        let meta: ObjectMeta =
            serde_json::from_value(json!({"resourceVersion": "7", "managedFields": [
            entry("towline", "Apply", ours), entry("somebody", "Update", others)]}))
            .unwrap();
        Share::of(&meta, "v1").unwrap()
    }

    #[test]
    fn what_git_empties_is_emptied_first_unless_it_is_anothers() {
        let live = json!({"spec": {"a/b": {"x": 1, "default": 2}, "free": {"by": "somebody"}, "text": "t",
            "declared": {"by": "admission"}, "list": [{"name": "other"}, {"name": "v", "of": "x", "in": {"x": 1}}]}});
        let item = json!({".": {}, "f:name": {}, "f:in": {"f:x": {}}});
        let ours = json!({"f:spec": {"f:a/b": {"f:x": {}}, "f:free": {}, "f:text": {},
            "f:declared": {}, "f:list": {"k:{\"name\":\"v\"}": item, "k:{\"name\":\"v\",\"of\":\"x\"}": item}}});
        let share = share(&ours, &json!({"f:spec": {"f:free": {"f:by": {}}}}));
        for (spec, expected) in [
            (
                json!({"a/b": {}}),
                vec![("/spec/a~1b", "/spec/a~1b", false)],
            ),
            (
                json!({"a/b": null}),
                vec![("/spec/a~1b", "/spec/a~1b", true)],
            ),
            (
                json!({"list": [{"name": "v", "in": {}}]}),
                vec![("/spec/list/1/in", "/spec/list/0/in", false)],
            ),
            (json!({"a/b": {"x": 1}}), vec![]),
            (json!({"declared": {}}), vec![]),
            (
                json!({"declared": null}),
                vec![("/spec/declared", "/spec/declared", true)],
            ),
            (json!({"free": {}}), vec![]),
            (json!({"free": null}), vec![]),
            (json!({"text": null}), vec![]),
            (json!({"absent": {}}), vec![]),
            (json!({}), vec![]),
        ] {
            let body = json!({ "spec": spec });
            let found = emptied(&live, &body, &share);
            let places = found.iter();
            let places: Vec<_> = places
                .map(|place| (&*place.live, &*place.body, place.is_null))
                .collect();
            assert_eq!(places, expected, "{body}");
        }
    }

    /// As long as etcd takes them. The time of a look at each item for each would be minutes.
    #[test]
    fn an_item_of_a_long_list_is_found() {
        let count = 20_000;
        let item = |index: usize, field: &Value| json!({"name": format!("n{index}"), "in": field});
        let list = |field: &Value| {
            (0..count)
                .map(|index| item(index, field))
                .collect::<Value>()
        };
        let live = json!({"spec": {"list": list(&json!({"x": 1}))}});
        let body = json!({"spec": {"list": list(&json!({}))}});
        let fields = (0..count).map(|index| {
            let key = format!("k:{{\"name\":\"n{index}\"}}");
            (key, json!({".": {}, "f:name": {}, "f:in": {"f:x": {}}}))
        });
        let fields: Map<String, Value> = fields.collect();
        let share = share(&json!({"f:spec": {"f:list": fields}}), &json!({}));
        let began = std::time::Instant::now();
        assert_eq!(emptied(&live, &body, &share).len(), count);
        assert!(began.elapsed().as_secs() < 20, "{:?}", began.elapsed());
    }

    #[test]
    fn a_trial_has_what_is_live_and_is_emptied_afterwards() {
        let live = json!({"spec": {"a": {"x": 1}, "b": {"y": 2}}});
        let share = share(
            &json!({"f:spec": {"f:a": {"f:x": {}}, "f:b": {"f:y": {}}}}),
            &json!({}),
        );
        let body = json!({"spec": {"a": {}, "b": null}});
        let places = emptied(&live, &body, &share);
        let mut tried = filled(body.clone(), &live, &places);
        assert_eq!(tried, live);
        empty_out(&mut tried, &places);
        assert_eq!(tried, body);
        let patch = emptying(&places, "7");
        assert_eq!(
            patch,
            json!([
                {"op": "replace", "path": "/metadata/resourceVersion", "value": "7"},
                {"op": "replace", "path": "/spec/a", "value": {}},
                {"op": "remove", "path": "/spec/b"},
            ])
        );
    }
}
