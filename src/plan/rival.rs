//! Items of a live list that cannot stand beside those of a manifest. Pure.
//!
//! Server-side apply merges lists by the keys of their items. If a person gives an item another key, as another number
//! to the port of a Service, Git's item comes back, and the person's stays beside it. The API server may refuse the
//! two together: both have one name, or a name that only a single port may leave out. Git's item then takes the place
//! of the other one. So does Git's member of a union.

use std::collections::HashSet;

use serde_json::{Map, Value};

use super::claim::{RefusalCause, Segment, View, claims, merge, place, segments};
use super::items::{Items, keys_of};

/// The items to remove, in the form of `fieldsV1`. They are in a list that a cause names, and `body` has others there.
/// `all` holds the fields of every manager, which show the keys of items. None if there are no such items.
///
/// The causes do not say whether the manifest would be refused by itself as well. So this has to be known before the
/// items are removed.
pub fn rivals(causes: &[RefusalCause], live: &Value, body: &Value, all: &Value) -> Option<Value> {
    let mut found = Value::Object(Map::new());
    for cause in causes {
        let path = segments(&cause.field);
        let item = path.iter().rposition(|segment| *segment == Segment::Item);
        let (list, inside) = match (&*cause.reason, item) {
            ("FieldValueTooMany", _) => (&path[..], &[][..]),
            ("FieldValueRequired" | "FieldValueDuplicate", Some(item)) => {
                (&path[..item], &path[item + 1..])
            }
            _ => continue,
        };
        let twins = (cause.reason == "FieldValueDuplicate").then_some(inside);
        let view = View {
            live,
            body: Some(body),
            others: None,
            all: Some(all),
        };
        let claim = view.at(list, &|list| {
            others(list, twins.filter(|path| !path.is_empty()))
        });
        if let Some(claim) = claim {
            merge(&mut found, claim);
        }
    }
    let fields = found.as_object();
    fields
        .is_some_and(|fields| !fields.is_empty())
        .then_some(found)
}

/// The fields of other managers to remove, in the form of `fieldsV1`: members of a union that exclude what Git declares, such
/// as the `emptyDir` that a person gave to a volume. The causes do not say whether the manifest would be refused by itself as
/// well, so this has to be known before the fields are removed.
///
/// What a whole `spec` is refused for may be any of its fields, so nothing is removed then.
pub fn opponents(
    causes: &[RefusalCause],
    live: &Value,
    body: &Value,
    (ours, all): (&Value, &Value),
) -> Option<Value> {
    let is_narrow = |cause: &&RefusalCause| match segments(place(cause))[..] {
        [Segment::Name(first), Segment::Name(second)] => {
            let declared = body.get(first).and_then(|body| body.get(second));
            declared.is_none_or(|value| value.is_null() || value.is_object())
        }
        [] | [_] => false,
        _ => true,
    };
    let causes: Vec<RefusalCause> = causes.iter().filter(is_narrow).cloned().collect();
    claims(&causes, live, body, (ours, &Value::Null, all))
}

/// The items of a live list that Git does not have: all of them, or those with the same value at `twins` as an item of
/// Git.
fn others(list: &View<'_>, twins: Option<&[Segment<'_>]>) -> Option<Value> {
    let body = list.body?.as_array()?;
    let taken: HashSet<String> = twins
        .into_iter()
        .flat_map(|path| body.iter().filter_map(|item| value(item, path)))
        .map(Value::to_string)
        .collect();
    let is_rival = |item: &Value| match twins {
        None => !body.is_empty(),
        Some(path) => value(item, path).is_some_and(|value| taken.contains(&value.to_string())),
    };
    let (mut live, mut wanted) = (Items::of(Some(list.live)), Items::of(list.body));
    let mut found = Map::new();
    for key in list.all?.as_object()?.keys() {
        let Some(keys) = keys_of(key) else { continue };
        let item = live.with(&keys).and_then(|position| live.at(position));
        if item.is_some_and(is_rival) && wanted.with_defaults(&keys).is_none() {
            found.insert(key.clone(), Value::Object(Map::new()));
        }
    }
    (!found.is_empty()).then_some(Value::Object(found))
}

fn value<'v>(item: &'v Value, path: &[Segment<'_>]) -> Option<&'v Value> {
    let found = path.iter().try_fold(item, |inner, segment| match segment {
        Segment::Name(name) => inner.get(name),
        Segment::Item => None,
    });
    found.filter(|value| !value.is_null())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn cause(reason: &str, field: &str) -> RefusalCause {
        RefusalCause {
            field: field.to_owned(),
            reason: reason.to_owned(),
            message: String::new(),
        }
    }

    fn key(port: u16) -> String {
        format!(r#"k:{{"port":{port},"protocol":"TCP"}}"#)
    }

    #[test]
    fn an_item_that_cannot_stand_beside_gits_is_found() {
        let port = |name: &str, port: u16| json!({"name": name, "port": port, "protocol": "TCP"});
        let live =
            json!({"spec": {"ports": [port("http", 8081), port("more", 90), port("dns", 53)]}});
        let body =
            json!({"spec": {"ports": [{"name": "http", "port": 80}, {"name": "dns", "port": 53}]}});
        let all = json!({"f:spec": {"f:ports": {key(8081): {}, key(90): {}, key(53): {}}}});
        let found = |reason: &str, field: &str| {
            let found = rivals(&[cause(reason, field)], &live, &body, &all)?;
            let keys = found["f:spec"]["f:ports"].as_object()?.keys();
            Some(keys.cloned().collect::<Vec<_>>())
        };
        let (twin, other) = (key(8081), key(90));
        for (reason, field, expected) in [
            (
                "FieldValueDuplicate",
                "spec.ports[1].name",
                Some(vec![twin.clone()]),
            ),
            (
                "FieldValueDuplicate",
                "spec.ports[1]",
                Some(vec![twin.clone(), other.clone()]),
            ),
            (
                "FieldValueRequired",
                "spec.ports[0].name",
                Some(vec![twin.clone(), other.clone()]),
            ),
            ("FieldValueTooMany", "spec.ports", Some(vec![twin, other])),
            ("FieldValueDuplicate", "spec.ports[1].targetPort", None),
            ("FieldValueRequired", "spec.name", None),
            ("FieldValueRequired", "spec.others[0].name", None),
            ("FieldValueInvalid", "spec.ports[0].name", None),
        ] {
            assert_eq!(found(reason, field), expected, "{reason} {field}");
        }
        let without = json!({"spec": {"ports": []}});
        let required = [cause("FieldValueRequired", "spec.ports[0].name")];
        assert_eq!(rivals(&required, &live, &without, &all), None);
    }

    #[test]
    fn an_item_in_an_item_is_found_where_git_has_the_outer_one() {
        let container = |name: &str, port: u16| json!({"name": name, "ports": [{"name": "http", "containerPort": port, "protocol": "TCP"}]});
        let live = json!({"containers": [container("web", 8081), container("side", 8081)]});
        let body = json!({"containers": [container("web", 8080)]});
        let ports = |port: u16| json!({"f:ports": {format!(r#"k:{{"containerPort":{port},"protocol":"TCP"}}"#): {}}});
        let (web, side) = (r#"k:{"name":"web"}"#, r#"k:{"name":"side"}"#);
        let all = json!({"f:containers": {web: ports(8081), side: ports(8081)}});
        let twin = [cause("FieldValueDuplicate", "containers[0].ports[1].name")];
        let found = rivals(&twin, &live, &body, &all);
        assert_eq!(found, Some(json!({"f:containers": {web: ports(8081)}})));
    }

    #[test]
    fn a_member_of_a_union_that_a_person_set_gives_way() {
        let live = json!({"spec": {"paused": true, "kind": "a", "u": {"a": "x"}, "volumes": [{"name": "v", "emptyDir": {}}]}});
        let body = json!({"spec": {"kind": "b", "u": {"b": "y"}, "volumes": [{"name": "v", "configMap": {"name": "x"}}]}});
        let key = r#"k:{"name":"v"}"#;
        let person = json!({"f:spec": {"f:paused": {}, "f:kind": {}, "f:u": {"f:a": {}}, "f:volumes": {key: {"f:emptyDir": {}}}}});
        let wanted = |field: &str| match field {
            "spec.volumes[0].configMap" => {
                Some(json!({"f:spec": {"f:volumes": {key: {"f:emptyDir": {}}}}}))
            }
            "spec.u" | "spec.u.b" => Some(json!({"f:spec": {"f:u": {"f:a": {}}}})),
            _ => None,
        };
        for field in [
            "spec.volumes[0].configMap",
            "spec.u",
            "spec.u.b",
            "spec",
            "spec.kind",
            "",
        ] {
            let causes = [RefusalCause {
                field: field.to_owned(),
                reason: "FieldValueForbidden".to_owned(),
                message: "exactly one".to_owned(),
            }];
            let none = json!({});
            let owned = claims(&causes, &live, &body, (&none, &person, &person));
            assert_eq!(owned, None, "{field}");
            let found = opponents(&causes, &live, &body, (&none, &person));
            assert_eq!(found, wanted(field), "{field}");
        }
    }
}
