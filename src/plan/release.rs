//! Fields that are sent when their object is created, and left as they are from then on. Pure.
//!
//! Server-side apply removes a field that is not sent any longer if we own it. So towline gives its ownership up
//! before the first apply without the field: the field is taken out of our entry in `managedFields`, which changes
//! no value. From then on another manager may own it, or nobody.

use serde_json::{Map, Value};

use crate::intent::{FieldPattern, PatternStep};

/// A field that is part of a value which the API server owns and replaces as a whole, as an item of an atomic list.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "spec.ignoreFields: {pattern} is inside of a list or mapping that the API server takes as one value; name that \
     whole value instead"
)]
pub struct Indivisible {
    /// The field, as the rule names it.
    pub pattern: String,
}

/// Takes fields out of an entry of `managedFields`, and what is empty after that. `body` is the manifest with the
/// fields. towline's own marks stay.
///
/// # Errors
/// [`Indivisible`].
pub(super) fn release(
    entry: &mut Value,
    patterns: &[FieldPattern],
    body: &Value,
) -> Result<(), Indivisible> {
    let Some(fields) = entry.as_object_mut() else {
        return Ok(());
    };
    for pattern in patterns {
        take_out(fields, pattern.steps(), Some(body)).map_err(|Whole| Indivisible {
            pattern: pattern.to_string(),
        })?;
    }
    Ok(())
}

/// The API server owns a value as a whole.
struct Whole;

fn take_out(
    fields: &mut Map<String, Value>,
    steps: &[PatternStep],
    body: Option<&Value>,
) -> Result<(), Whole> {
    let Some((first, rest)) = steps.split_first() else {
        return Ok(());
    };
    let mut done = Ok(());
    fields.retain(|key, inner| {
        let below = match part(key, body) {
            _ if is_mark(key) => return true,
            Part::Field(name, _) if !first.is_field(name) => return true,
            Part::Item(keys, item) if !is_meant(first, &keys, item) => return true,
            Part::Member(value) if !is_member(first, &value, body) => return true,
            Part::Other => return true,
            Part::Field(_, below) => below,
            Part::Item(_, item) => item.map(|(_, item)| item),
            Part::Member(_) => None,
        };
        let Some(inner) = inner.as_object_mut() else {
            return true;
        };
        if rest.is_empty() {
            return keep_marks(inner);
        }
        if inner.is_empty() && below.is_some_and(|value| PatternStep::concern(rest, value)) {
            done = Err(Whole);
            return true;
        }
        let was_empty = inner.is_empty();
        if let Err(whole) = take_out(inner, rest, below) {
            done = Err(whole);
        }
        // An item of a list is still sent, with its keys.
        was_empty || key.starts_with("k:") || inner.keys().any(|key| key != ".")
    });
    done
}

/// What a key of `fieldsV1` stands for.
enum Part<'a> {
    /// A field, and its value in the manifest.
    Field(&'a str, Option<&'a Value>),
    /// An item of a list: its keys, and its position and value in the manifest.
    Item(Map<String, Value>, Option<(usize, &'a Value)>),
    /// A member of a set.
    Member(Value),
    Other,
}

fn part<'a>(key: &'a str, body: Option<&'a Value>) -> Part<'a> {
    match key.split_once(':') {
        Some(("f", name)) => Part::Field(name, body.and_then(|body| body.get(name))),
        Some(("k", keys)) => match serde_json::from_str::<Map<String, Value>>(keys) {
            Ok(keys) => {
                let mut items = body.and_then(Value::as_array).into_iter().flatten();
                let position = items.position(|item| is_item(item, &keys));
                let item = position.and_then(|at| Some((at, body?.get(at)?)));
                Part::Item(keys, item)
            }
            Err(_) => Part::Other,
        },
        Some(("v", value)) => match serde_json::from_str(value) {
            Ok(value) => Part::Member(value),
            Err(_) => Part::Other,
        },
        _ => Part::Other,
    }
}

fn is_meant(step: &PatternStep, keys: &Map<String, Value>, item: Option<(usize, &Value)>) -> bool {
    step.is_item_with(keys) || item.is_some_and(|(at, item)| step.is_item(at, item))
}

fn is_member(step: &PatternStep, value: &Value, body: Option<&Value>) -> bool {
    let items = body.and_then(Value::as_array).into_iter().flatten();
    let position = items.into_iter().position(|item| item == value);
    step.is_item(position.unwrap_or(usize::MAX), value)
}

/// A key that Git leaves out has its default, as `protocol` of a port.
pub(super) fn is_item(item: &Value, keys: &Map<String, Value>) -> bool {
    let mut named = keys
        .iter()
        .filter_map(|(name, value)| Some((item.get(name)?, value)));
    let is_same = named.clone().all(|(has, value)| has == value);
    is_same && named.next().is_some()
}

/// Whether towline has written it to know its objects.
fn is_mark(key: &str) -> bool {
    key.starts_with("f:towline.dev/") || key.starts_with("f:applyset.kubernetes.io/")
}

/// Removes everything but marks. Whether there are any.
fn keep_marks(fields: &mut Map<String, Value>) -> bool {
    fields.retain(|key, inner| is_mark(key) || inner.as_object_mut().is_some_and(keep_marks));
    !fields.is_empty()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn released(entry: &Value, patterns: &[&str], body: &Value) -> Result<Value, Indivisible> {
        let patterns: Vec<_> = patterns
            .iter()
            .map(|pattern| FieldPattern::parse(pattern).unwrap())
            .collect();
        let mut entry = entry.clone();
        release(&mut entry, &patterns, body)?;
        Ok(entry)
    }

    #[test]
    fn fields_are_given_up() {
        let web = r#"k:{"name":"web"}"#;
        let port = r#"k:{"containerPort":80,"protocol":"TCP"}"#;
        let body = json!({
            "metadata": {"labels": {"app": "web"}, "finalizers": ["a/b"]},
            "spec": {"replicas": 1, "containers": [{"name": "web", "image": "a", "args": ["x"],
                "ports": [{"containerPort": 80}], "resources": {"limits": {"cpu": 1}}}]}});
        let marks = json!({"f:applyset.kubernetes.io/part-of": {}, "f:app": {}});
        let container = json!({".": {}, "f:name": {}, "f:image": {}, "f:args": {},
            "f:ports": {port: {".": {}, "f:containerPort": {}}},
            "f:resources": {"f:limits": {"f:cpu": {}}}});
        let entry = json!({
            "f:metadata": {"f:labels": marks, "f:finalizers": {r#"v:"a/b""#: {}}},
            "f:spec": {"f:replicas": {}, "f:containers": {web: container}}});
        let at = |entry: &mut Value, path: &[&str]| {
            let (last, above) = path.split_last().unwrap();
            let inner = above.iter().fold(entry, |inner, key| &mut inner[*key]);
            inner.as_object_mut().unwrap().remove(*last).unwrap();
        };
        let containers = ["f:spec", "f:containers", web];
        let below = |more: &[&'static str]| [&containers[..], more].concat();
        for (patterns, gone) in [
            (vec!["spec.replicas"], vec![vec!["f:spec", "f:replicas"]]),
            (vec!["/spec/replicas"], vec![vec!["f:spec", "f:replicas"]]),
            (
                vec!["spec.containers[name=web].image"],
                vec![below(&["f:image"])],
            ),
            (
                vec!["spec.containers[web].image"],
                vec![below(&["f:image"])],
            ),
            (vec!["/spec/containers/0/image"], vec![below(&["f:image"])]),
            (vec!["spec.containers[*].image"], vec![below(&["f:image"])]),
            (vec!["spec.containers[1].image"], vec![]),
            (
                vec!["spec.containers[web].resources.limits.cpu"],
                vec![below(&["f:resources"])],
            ),
            (vec!["spec.containers[web].args"], vec![below(&["f:args"])]),
            (
                vec!["spec.containers[web].ports[0]"],
                vec![below(&["f:ports"])],
            ),
            (
                vec!["spec.containers[web].ports[containerPort=80]"],
                vec![below(&["f:ports"])],
            ),
            (
                vec!["spec.containers[web]"],
                vec![vec!["f:spec", "f:containers"]],
            ),
            (
                vec!["metadata.labels.app"],
                vec![vec!["f:metadata", "f:labels", "f:app"]],
            ),
            (
                vec!["metadata.labels"],
                vec![vec!["f:metadata", "f:labels", "f:app"]],
            ),
            (
                vec!["metadata.finalizers[a/b]"],
                vec![vec!["f:metadata", "f:finalizers"]],
            ),
            (
                vec!["metadata.finalizers[0]"],
                vec![vec!["f:metadata", "f:finalizers"]],
            ),
            (vec!["spec.other", "data"], vec![]),
            (
                vec!["spec.replicas", "metadata.labels.app"],
                vec![
                    vec!["f:spec", "f:replicas"],
                    vec!["f:metadata", "f:labels", "f:app"],
                ],
            ),
        ] {
            let mut expected = entry.clone();
            for path in gone {
                at(&mut expected, &path);
            }
            let found = released(&entry, &patterns, &body).unwrap();
            assert_eq!(found, expected, "{patterns:?}");
        }
    }

    #[test]
    fn a_part_of_a_whole_value_cannot_be_given_up() {
        let body = json!({"spec": {"args": ["a", "b"], "selector": {"app": "web"}, "none": {}}});
        let entry = json!({"f:spec": {"f:args": {}, "f:selector": {}, "f:none": {}}});
        for (pattern, is_whole) in [
            ("spec.args[0]", true),
            ("spec.selector.app", true),
            ("spec.*.app", true),
            ("spec.args[7]", false),
            ("spec.none.app", false),
            ("spec.args", false),
        ] {
            let found = released(&entry, &[pattern], &body);
            assert_eq!(found.is_err(), is_whole, "{pattern}");
        }
    }
}
