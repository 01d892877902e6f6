//! Lists and maps of a custom kind whose type its definition has changed. Pure.
//!
//! Our entry in `managedFields` says which fields are ours in the shape that the type had when it was written: an atomic list
//! is one field, a set or a list with keys has one for each item. Server-side apply removes what left a manifest only where the
//! entry names it in the present shape, so a list that was atomic keeps its old items for good. (The other direction the API
//! server brings into the new shape by itself.) So our entry is made to name every item and field that is there, in the shape
//! that a dry run of the manifest gets.

use std::collections::HashSet;

use serde_json::{Map, Value};

use super::items::{Items, keys_of};
use super::share::Share;

/// Whether an apply of `body` might leave something that our entry names in another shape: at a place of ours, the live object
/// has an item or a field that `body` has not.
pub fn may_leave(live: &Value, body: &Value, share: &Share) -> bool {
    let ours = share.of_ours();
    contents(&ours).any(|(name, ours)| lacks(live.get(name), body.get(name), ours))
}

/// What our entry has to name so that the next apply removes what has left the manifest, in the form of `fieldsV1`. `after`:
/// the shares that a dry run of the manifest gives. None where all shapes are the same.
pub fn reshaped(live: &Value, before: &Share, after: &Share) -> Option<Value> {
    let (ours, others) = (before.of_ours(), before.of_others());
    let after = after.of_ours();
    let fields: Map<String, Value> = contents(&after)
        .filter_map(|(name, after)| {
            let key = format!("f:{name}");
            let found = Place {
                live: live.get(name)?,
                others: others.get(&key),
                after,
            }
            .renamed(ours.get(&key)?)?;
            Some((key, found))
        })
        .collect();
    (!fields.is_empty()).then_some(Value::Object(fields))
}

/// The top-level fields but for those that no definition has a schema for.
fn contents(fields: &Value) -> impl Iterator<Item = (&str, &Value)> {
    let all = fields.as_object().into_iter().flatten();
    let named = all.filter_map(|(key, inner)| Some((key.strip_prefix("f:")?, inner)));
    named.filter(|(name, _)| !matches!(*name, "apiVersion" | "kind" | "metadata" | "status"))
}

/// In which form an entry names what is below a place.
#[derive(Debug, PartialEq, Eq)]
enum Shape {
    /// Not at all: the place is one field.
    Whole,
    /// As fields of a map.
    Fields,
    /// As items of a set.
    Values,
    /// As items with these keys.
    Keyed(Vec<String>),
}

impl Shape {
    fn of(fields: &Value) -> Self {
        let keys = fields.as_object().into_iter().flat_map(Map::keys);
        for key in keys {
            if let Some(names) = keys_of(key) {
                return Self::Keyed(names.into_iter().map(|(name, _)| name).collect());
            }
            if key.starts_with("v:") {
                return Self::Values;
            }
            if key.starts_with("f:") {
                return Self::Fields;
            }
        }
        Self::Whole
    }
}

/// Whether the live value has something at a place of `ours` that Git's has not.
fn lacks(live: Option<&Value>, body: Option<&Value>, ours: &Value) -> bool {
    match (live, body) {
        (Some(Value::Object(live)), Some(Value::Object(body))) => {
            let is_whole = Shape::of(ours) == Shape::Whole;
            is_whole && live.keys().any(|name| !body.contains_key(name))
                || live.iter().any(|(name, live)| {
                    let ours = ours.get(format!("f:{name}"));
                    ours.is_some_and(|ours| lacks(Some(live), body.get(name), ours))
                })
        }
        (Some(Value::Array(live)), Some(git @ Value::Array(body))) => {
            if let Shape::Keyed(names) = Shape::of(ours) {
                let mut items = Items::of(Some(git));
                return live.iter().any(|item| {
                    let known = keyed(item, &names).and_then(|keys| items.with_defaults(&keys));
                    let ours = ours.get(element(item, &names).unwrap_or_default());
                    match known.and_then(|place| body.get(place)) {
                        Some(known) => {
                            ours.is_some_and(|ours| lacks(Some(item), Some(known), ours))
                        }
                        None => true,
                    }
                });
            }
            let known: HashSet<String> = body.iter().map(Value::to_string).collect();
            live.iter().any(|item| !known.contains(&item.to_string()))
        }
        _ => false,
    }
}

fn keyed(item: &Value, names: &[String]) -> Option<Map<String, Value>> {
    let keys = names.iter();
    keys.map(|name| Some((name.clone(), item.get(name)?.clone())))
        .collect()
}

/// An item with these keys, as `fieldsV1` names it.
fn element(item: &Value, names: &[String]) -> Option<String> {
    Some(format!("k:{}", Value::Object(keyed(item, names)?)))
}

/// A place of the live object, and of the entries.
struct Place<'a> {
    live: &'a Value,
    /// What other managers have there.
    others: Option<&'a Value>,
    /// What we have there after the apply.
    after: &'a Value,
}

impl Place<'_> {
    /// What has to be named below this place, of which our entry says `before`.
    fn renamed(&self, before: &Value) -> Option<Value> {
        let shape = Shape::of(self.after);
        if shape == Shape::Whole {
            return None;
        }
        let is_same = shape == Shape::of(before);
        let found: Map<String, Value> = self
            .below(&shape)
            .filter_map(|(key, live)| {
                let others = self.others.and_then(|others| others.get(&key));
                let found = match (self.after.get(&key), before.get(&key)) {
                    (Some(after), Some(before)) if is_same => Place {
                        live,
                        others,
                        after,
                    }
                    .renamed(before),
                    (Some(after), _) if !is_same => Place {
                        live,
                        others,
                        after,
                    }
                    .renamed(&Value::Null),
                    (None, _) if !is_same && others.is_none() => Some(Value::Object(Map::new())),
                    _ => None,
                };
                Some((key, found?))
            })
            .collect();
        (!found.is_empty()).then_some(Value::Object(found))
    }

    /// The live values below this place, each with its name in `fieldsV1`.
    fn below(&self, shape: &Shape) -> impl Iterator<Item = (String, &Value)> {
        let fields = self.live.as_object().filter(|_| *shape == Shape::Fields);
        let fields = fields.into_iter().flatten();
        let fields = fields.map(|(name, live)| (format!("f:{name}"), live));
        let items = self.live.as_array().into_iter().flatten();
        let items = items.filter_map(move |item| {
            let key = match shape {
                Shape::Keyed(names) => element(item, names)?,
                Shape::Values => format!("v:{item}"),
                Shape::Whole | Shape::Fields => return None,
            };
            Some((key, item))
        });
        fields.chain(items)
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
    use serde_json::json;

    use super::*;

    fn share(ours: &Value, others: &Value) -> Share {
        let entry = |manager: &str, operation: &str, fields: &Value| {
            json!({"manager": manager, "operation": operation, "apiVersion": "v1",
                "fieldsType": "FieldsV1", "fieldsV1": {"f:spec": {"f:x": fields}}})
        };
        let meta: ObjectMeta =
            serde_json::from_value(json!({"resourceVersion": "7", "managedFields": [
            entry("towline", "Apply", ours), entry("somebody", "Update", others)]}))
            .unwrap();
        Share::of(&meta, "v1").unwrap()
    }

    #[test]
    fn what_our_entry_names_in_another_shape_is_named_in_the_new_one() {
        let item = |name: &str, of: &str| json!({"name": name, "of": of});
        let items = json!([item("a", "x"), item("b", "x")]);
        let (by_name, by_both) = (r#"k:{"name":"a"}"#, r#"k:{"name":"a","of":"x"}"#);
        let inner = json!([{"name": "a", "words": ["p", "q"]}]);
        let none = json!({});
        for (what, live, before, after, others, named) in [
            (
                "a set",
                json!(["p", "q"]),
                json!({}),
                json!({r#"v:"p""#: {}}),
                &none,
                json!({r#"v:"q""#: {}}),
            ),
            (
                "a list with keys",
                items.clone(),
                json!({}),
                json!({by_name: {"f:name": {}, "f:of": {}}}),
                &none,
                json!({r#"k:{"name":"b"}"#: {}}),
            ),
            (
                "other keys",
                items,
                json!({by_name: {}, r#"k:{"name":"b"}"#: {}}),
                json!({by_both: {}}),
                &none,
                json!({r#"k:{"name":"b","of":"x"}"#: {}}),
            ),
            (
                "a map",
                json!({"p": 1, "q": 2}),
                json!({}),
                json!({"f:p": {}}),
                &none,
                json!({"f:q": {}}),
            ),
            (
                "a map in a map",
                json!({"p": {"q": 1, "r": 2}, "s": 3}),
                json!({}),
                json!({"f:p": {"f:q": {}}}),
                &none,
                json!({"f:p": {"f:r": {}}, "f:s": {}}),
            ),
            (
                "below an item",
                inner,
                json!({by_name: {"f:name": {}, "f:words": {}}}),
                json!({by_name: {"f:name": {}, "f:words": {r#"v:"p""#: {}}}}),
                &none,
                json!({by_name: {"f:words": {r#"v:"q""#: {}}}}),
            ),
            (
                "another manager's",
                json!(["p", "q"]),
                json!({}),
                json!({r#"v:"p""#: {}}),
                &json!({r#"v:"q""#: {}}),
                Value::Null,
            ),
            (
                "atomic",
                json!(["p", "q"]),
                json!({r#"v:"p""#: {}}),
                json!({}),
                &none,
                Value::Null,
            ),
            (
                "the same",
                json!(["p", "q"]),
                json!({r#"v:"p""#: {}}),
                json!({r#"v:"p""#: {}}),
                &none,
                Value::Null,
            ),
            (
                "new",
                json!({"p": 1}),
                Value::Null,
                json!({"f:p": {}}),
                &none,
                Value::Null,
            ),
        ] {
            let object = json!({"spec": {"x": live}});
            let found = reshaped(&object, &share(&before, others), &share(&after, others));
            let named = (!named.is_null()).then(|| json!({"f:spec": {"f:x": named}}));
            assert_eq!(found, named, "{what}");
        }
    }

    #[test]
    fn a_trial_is_made_only_where_something_may_be_left() {
        let by_name = r#"k:{"name":"a"}"#;
        let keyed = json!({by_name: {"f:name": {}, "f:in": {"f:y": {}}}});
        for (what, live, body, ours, may) in [
            (
                "an item less",
                json!(["p", "q"]),
                json!(["p"]),
                json!({}),
                true,
            ),
            (
                "an item more",
                json!(["p"]),
                json!(["p", "q"]),
                json!({}),
                false,
            ),
            (
                "a field less",
                json!({"p": 1, "q": 2}),
                json!({"p": 1}),
                json!({}),
                true,
            ),
            (
                "a default",
                json!({"p": 1, "q": 2}),
                json!({"p": 1}),
                json!({"f:p": {}}),
                false,
            ),
            (
                "defaults in an item",
                json!([{"name": "a", "in": {"y": 1, "z": 2}}]),
                json!([{"name": "a", "in": {"y": 2}}]),
                keyed.clone(),
                false,
            ),
            (
                "an item with a key less",
                json!([{"name": "a"}, {"name": "b"}]),
                json!([{"name": "a"}]),
                keyed,
                true,
            ),
            (
                "no list any more",
                json!(["p"]),
                json!("p"),
                json!({}),
                false,
            ),
        ] {
            let (live, body) = (json!({"spec": {"x": live}}), json!({"spec": {"x": body}}));
            assert_eq!(
                may_leave(&live, &body, &share(&ours, &json!({}))),
                may,
                "{what}"
            );
        }
    }
}
