//! Fields of a live object that conflict with a manifest, so that the API server refuses the manifest.
//! Pure.
//!
//! The API server sets defaults that nobody declares, such as `strategy.rollingUpdate` of a Deployment.
//! If Git then asks for a field that excludes such a default, the server refuses the whole object. Nobody
//! owns the default, so it may be removed. To remove it, our entry in `managedFields` is made to name it.
//! Then the apply of the manifest removes the default in the same write.

use serde_json::{Map, Value};

use super::items::{Items, keys_of};

/// One reason of a refusal.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RefusalCause {
    /// The path in the object, such as `spec.volumes[0].configMap`.
    pub field: String,
    /// The server's code, such as `FieldValueForbidden`.
    pub reason: String,
    /// The server's sentence.
    pub message: String,
}

/// Values that the API server allocates once. After a removal the server would allocate another value.
const ALLOCATED: [&str; 7] = [
    "clusterIP",
    "clusterIPs",
    "nodePort",
    "healthCheckNodePort",
    "ipFamilies",
    "ipFamilyPolicy",
    "volumeName",
];

/// The fields that may have to be removed, in the form of `fieldsV1`. These are fields that a cause
/// names, and their neighbours and children, if `body` does not declare them and no manager in `others`
/// owns them. `all` holds the fields of every manager, which show the keys of list items. None if there
/// are no such fields, or if our entry, which is `ours`, names all of them already: the apply removes those.
pub fn claims(
    causes: &[RefusalCause],
    live: &Value,
    body: &Value,
    (ours, others, all): (&Value, &Value, &Value),
) -> Option<Value> {
    let mut causes: Vec<&RefusalCause> = causes
        .iter()
        .filter(|cause| is_about_a_union(cause))
        .collect();
    // Fields that a cause names have precedence. Neighbours are used only if there are none.
    causes.sort_by_key(|cause| cause.field.len());
    let look = |exact: bool| {
        let mut found = Value::Object(Map::new());
        for cause in &causes {
            let segments = segments(place(cause));
            if matches!(segments.first(), Some(Segment::Name("metadata" | "status"))) {
                continue;
            }
            let view = View {
                live,
                body: Some(body),
                others: Some(others),
                all: Some(all),
            };
            if let Some(claim) = view.walk(&segments, exact) {
                merge(&mut found, claim);
            }
        }
        has_more(&found, ours).then_some(found)
    };
    look(true).or_else(|| look(false))
}

/// Whether fields (in the form of `fieldsV1`) name something that `known` does not.
fn has_more(fields: &Value, known: &Value) -> bool {
    let mut fields = fields.as_object().into_iter().flatten();
    fields.any(|(name, inner)| match known.get(name) {
        None => true,
        Some(known) => has_more(inner, known),
    })
}

fn is_about_a_union(cause: &RefusalCause) -> bool {
    let is_reason = [
        "FieldValueForbidden",
        "FieldValueInvalid",
        "FieldValueTypeInvalid",
    ]
    .contains(&cause.reason.as_str());
    // What another object has is in nobody's way here.
    let others = ["immutable", "already allocated"];
    is_reason && !others.iter().any(|words| cause.message.contains(words))
}

/// The path of a cause. For a rule of a whole schema, the server has no field and begins its message with
/// the path.
pub(super) fn place(cause: &RefusalCause) -> &str {
    if !cause.field.starts_with('<') && !cause.field.is_empty() {
        return &cause.field;
    }
    let quoted = cause.message.trim_start_matches("Invalid value: \"\": ");
    let inner = quoted
        .strip_prefix('"')
        .and_then(|rest| rest.split('"').next());
    inner.unwrap_or_default()
}

/// A step of a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Segment<'a> {
    Name(&'a str),
    /// An item of a list. Its index refers to the refused object, which is not known.
    Item,
}

pub(super) fn segments(path: &str) -> Vec<Segment<'_>> {
    let mut segments = Vec::new();
    for part in path.split(['.', '[']).filter(|part| !part.is_empty()) {
        match part.strip_suffix(']') {
            Some(inner) if inner.bytes().all(|byte| byte.is_ascii_digit()) => {
                segments.push(Segment::Item);
            }
            Some(inner) => segments.push(Segment::Name(inner.trim_matches('"'))),
            None => segments.push(Segment::Name(part)),
        }
    }
    segments
}

/// One place of the object, in every version of it.
pub(super) struct View<'a> {
    pub(super) live: &'a Value,
    pub(super) body: Option<&'a Value>,
    pub(super) others: Option<&'a Value>,
    pub(super) all: Option<&'a Value>,
}

impl<'a> View<'a> {
    fn walk(&self, segments: &[Segment<'_>], exact: bool) -> Option<Value> {
        match segments {
            [] if exact => None,
            [] => self.undeclared(),
            [Segment::Name(name)] => self.last(name, exact),
            [Segment::Name(name), rest @ ..] => {
                let inner = self.field(name)?.walk(rest, exact)?;
                Some(wrapped(&field_key(name), inner))
            }
            [Segment::Item, rest @ ..] => {
                let mut found = Map::new();
                for item in self.items() {
                    if let Some(inner) = item.view.walk(rest, exact) {
                        found.insert(item.key, inner);
                    }
                }
                (!found.is_empty()).then_some(Value::Object(found))
            }
        }
    }

    /// What `find` finds at the end of a path, as fields from here.
    pub(super) fn at(
        &self,
        path: &[Segment<'_>],
        find: &impl Fn(&View<'_>) -> Option<Value>,
    ) -> Option<Value> {
        match path {
            [] => find(self),
            [Segment::Name(name), rest @ ..] => {
                let inner = self.field(name)?.at(rest, find)?;
                Some(wrapped(&field_key(name), inner))
            }
            [Segment::Item, rest @ ..] => {
                let found = self.items().into_iter();
                let found = found.filter_map(|item| Some((item.key, item.view.at(rest, find)?)));
                let found: Map<String, Value> = found.collect();
                (!found.is_empty()).then_some(Value::Object(found))
            }
        }
    }

    /// The fields to remove if `name` here is refused.
    fn last(&self, name: &str, exact: bool) -> Option<Value> {
        let declared = declared(self.body, name);
        let live = self.live.get(name).filter(|live| !live.is_null());
        let is_others = self
            .others
            .is_some_and(|others| others.get(field_key(name)).is_some())
            && !self.is_taken();
        match (live, declared, exact) {
            (Some(_), None, true) if !is_others => {
                Some(wrapped(&field_key(name), Value::Object(Map::new())))
            }
            (_, _, true) | (_, None, false) => None,
            (Some(Value::Object(_)), Some(Value::Object(_)), false) => {
                let inner = self.field(name)?.undeclared()?;
                Some(wrapped(&field_key(name), inner))
            }
            (_, Some(_), false) => self.undeclared(),
        }
    }

    /// Whether another manager owns a field here that Git declares. Then its write
    /// also set the defaults that come with the field. Its claim to them is no stronger than its claim to the
    /// field.
    fn is_taken(&self) -> bool {
        let others = self.others.and_then(Value::as_object);
        others.into_iter().flat_map(Map::keys).any(|key| {
            let name = key.strip_prefix("f:");
            name.is_some_and(|name| declared(self.body, name).is_some())
        })
    }

    /// The fields here that nobody declares.
    fn undeclared(&self) -> Option<Value> {
        let (live, _) = (self.live.as_object()?, self.body?.as_object()?);
        let found: Map<String, Value> = live
            .iter()
            .filter(|(name, value)| {
                !value.is_null()
                    && declared(self.body, name).is_none()
                    && !ALLOCATED.contains(&name.as_str())
                    && self
                        .others
                        .is_none_or(|others| others.get(field_key(name)).is_none())
            })
            .map(|(name, _)| (field_key(name), Value::Object(Map::new())))
            .collect();
        (!found.is_empty()).then_some(Value::Object(found))
    }

    /// A field here.
    pub(super) fn field(&self, name: &str) -> Option<Self> {
        let key = field_key(name);
        Some(Self {
            live: self.live.get(name)?,
            body: self.body.and_then(|body| body.get(name)),
            others: self.others.and_then(|others| others.get(&key)),
            all: self.all.and_then(|all| all.get(&key)),
        })
    }

    /// The items of a list that Git has too.
    pub(super) fn items(&self) -> Vec<Item<'a>> {
        let (mut live, mut body) = (Items::of(Some(self.live)), Items::of(self.body));
        let all = self.all.and_then(Value::as_object);
        let keys = all.into_iter().flat_map(Map::keys);
        keys.filter_map(|key| {
            let names = keys_of(key)?;
            let at = (live.with(&names)?, body.with_defaults(&names)?);
            let view = View {
                live: live.at(at.0)?,
                body: body.at(at.1),
                others: self.others.and_then(|others| others.get(key)),
                all: self.all.and_then(|all| all.get(key)),
            };
            Some(Item {
                key: key.clone(),
                at,
                view,
            })
        })
        .collect()
    }
}

/// An item of a live list that Git has too.
pub(super) struct Item<'a> {
    /// As in `fieldsV1`.
    pub(super) key: String,
    /// Its positions in the live list and in Git's.
    pub(super) at: (usize, usize),
    pub(super) view: View<'a>,
}

fn declared<'a>(body: Option<&'a Value>, name: &str) -> Option<&'a Value> {
    body?.get(name).filter(|value| !value.is_null())
}

fn field_key(name: &str) -> String {
    format!("f:{name}")
}

fn wrapped(key: &str, inner: Value) -> Value {
    Value::Object(Map::from_iter([(key.to_owned(), inner)]))
}

pub(super) fn merge(into: &mut Value, from: Value) {
    if let (Value::Object(into), Value::Object(from)) = (into, from) {
        for (key, value) in from {
            merge(
                into.entry(key).or_insert_with(|| Value::Object(Map::new())),
                value,
            );
        }
    }
}

/// Removes from `body` every null that `causes` name. An empty object is null in YAML; a schema without
/// null means that it is absent. Returns whether there was one.
pub fn without_null(causes: &[RefusalCause], body: &mut Value) -> bool {
    let mut removed = false;
    for cause in causes {
        if cause.reason == "FieldValueTypeInvalid" || cause.message.contains("null") {
            removed |= remove_null(body, &cause.field);
        }
    }
    removed
}

/// A key may contain dots, so every key that `path` begins with is tried.
fn remove_null(value: &mut Value, path: &str) -> bool {
    let path = path.strip_prefix('.').unwrap_or(path);
    match value {
        Value::Object(fields) => {
            let mut removed = false;
            for (key, inner) in fields.iter_mut() {
                if let Some(rest) = after(path, key).filter(|rest| !rest.is_empty()) {
                    removed |= remove_null(inner, rest);
                }
            }
            let before = fields.len();
            fields.retain(|key, inner| !(inner.is_null() && after(path, key) == Some("")));
            removed || fields.len() < before
        }
        Value::Array(items) => {
            let Some((_, rest)) = path.split_once(']').filter(|_| path.starts_with('[')) else {
                return false;
            };
            let mut removed = false;
            for item in items {
                removed |= remove_null(item, rest);
            }
            removed
        }
        _ => false,
    }
}

/// The rest of `path` after `key`, if it begins with `key`.
fn after<'a>(path: &'a str, key: &str) -> Option<&'a str> {
    let bracketed = || {
        let inner = path.strip_prefix('[')?;
        inner
            .trim_start_matches('"')
            .strip_prefix(key)?
            .trim_start_matches('"')
            .strip_prefix(']')
    };
    let plain = || {
        let rest = path.strip_prefix(key)?;
        rest.is_empty()
            .then_some(rest)
            .or_else(|| rest.starts_with(['.', '[']).then_some(rest))
    };
    plain().or_else(bracketed)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn cause(field: &str, message: &str) -> RefusalCause {
        RefusalCause {
            field: field.to_owned(),
            reason: "FieldValueForbidden".to_owned(),
            message: message.to_owned(),
        }
    }

    #[test]
    fn a_default_that_nobody_owns_is_removed() {
        let live = json!({"spec": {"strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1}}}});
        let body = json!({"spec": {"strategy": {"type": "Recreate"}}});
        let causes = [cause("spec.strategy.rollingUpdate", "may not be specified")];
        let (none, own) = (
            json!({}),
            json!({"f:spec": {"f:strategy": {"f:rollingUpdate": {"f:maxSurge": {}}}}}),
        );
        let found = claims(&causes, &live, &body, (&none, &none, &none));
        assert_eq!(
            found,
            Some(json!({"f:spec": {"f:strategy": {"f:rollingUpdate": {}}}}))
        );
        assert_eq!(
            claims(&causes, &live, &body, (&none, &own, &own)),
            None,
            "another manager's"
        );
        assert_eq!(
            claims(&causes, &live, &live, (&none, &none, &none)),
            None,
            "Git declares it"
        );
        // Whoever put the field that Git declares back brought the default along.
        let taken = json!({"f:spec": {"f:strategy": {"f:type": {}, "f:rollingUpdate": {"f:maxSurge": {}}}}});
        let found = claims(&causes, &live, &body, (&none, &taken, &taken));
        assert_eq!(
            found,
            Some(json!({"f:spec": {"f:strategy": {"f:rollingUpdate": {}}}}))
        );
        for words in ["field is immutable", "provided port is already allocated"] {
            let causes = [cause("spec.strategy.rollingUpdate", words)];
            let found = claims(&causes, &live, &body, (&none, &none, &none));
            assert_eq!(found, None, "{words}");
        }
    }

    #[test]
    fn a_default_beside_a_refused_field_is_removed_only_in_items_that_git_declares() {
        let live = json!({"spec": {"volumes": [
            {"name": "a", "emptyDir": {}}, {"name": "b", "emptyDir": {}}, {"name": "c", "emptyDir": {}}]}});
        let body = json!({"spec": {"volumes": [{"name": "b", "configMap": {"name": "x"}}, {"name": "a"}]}});
        let all =
            json!({"f:spec": {"f:volumes": {r#"k:{"name":"a"}"#: {}, r#"k:{"name":"b"}"#: {}}}});
        let none = json!({});
        let causes = [cause(
            "spec.volumes[0].configMap",
            "may not specify more than 1 volume type",
        )];
        let found = claims(&causes, &live, &body, (&none, &none, &all));
        let expected = json!({"f:spec": {"f:volumes": {r#"k:{"name":"b"}"#: {"f:emptyDir": {}}}}});
        assert_eq!(found.as_ref(), Some(&expected));
        // The source of one item leaves it for another one. That it goes from the first is known already.
        let live = json!({"spec": {"volumes": [
            {"name": "a", "configMap": {"name": "x"}}, {"name": "b", "emptyDir": {}}]}});
        let own = json!({"f:spec": {"f:volumes": {r#"k:{"name":"a"}"#: {"f:configMap": {"f:name": {}}}}}});
        let found = claims(&causes, &live, &body, (&own, &none, &all));
        assert_eq!(found, Some(expected));
    }

    #[test]
    fn a_rule_of_a_whole_schema_applies_to_the_field_that_it_names() {
        let live = json!({"spec": {"u": {"a": "x"}, "clusterIP": "1"}});
        let body = json!({"spec": {"u": {"b": "y"}}});
        let none = json!({});
        let rule = RefusalCause {
            field: "<nil>".to_owned(),
            reason: "FieldValueInvalid".to_owned(),
            message: "Invalid value: \"\": \"spec.u\" must validate one and only one schema"
                .to_owned(),
        };
        let found = claims(&[rule], &live, &body, (&none, &none, &none));
        assert_eq!(found, Some(json!({"f:spec": {"f:u": {"f:a": {}}}})));
        let spec = [cause("spec", "exactly one")];
        assert_eq!(
            claims(&spec, &live, &body, (&none, &none, &none)),
            None,
            "allocated"
        );
    }

    #[test]
    fn only_a_refused_null_is_removed() {
        let type_of = |field: &str| RefusalCause {
            field: field.to_owned(),
            reason: "FieldValueTypeInvalid".to_owned(),
            message: "must be of type object: \"null\"".to_owned(),
        };
        let mut mended = json!({"spec": {"csi": null, "kept": null, "m": {"a.b/c": null, "d": "e"},
                                   "l": [{"n": 1, "o": null}], "data": {"k": null}}});
        let causes = [
            "spec.csi",
            "spec.m.a.b/c",
            "spec.l[0].o",
            "spec.data[k]",
            "spec.m.d",
        ]
        .map(type_of);
        assert!(without_null(&causes, &mut mended));
        assert_eq!(
            mended,
            json!({"spec": {"kept": null, "m": {"d": "e"}, "l": [{"n": 1}], "data": {}}})
        );
        assert!(!without_null(&causes, &mut mended));
    }
}
