//! Rules of a definition that keep a value as it is (`self == oldSelf`). Pure.
//!
//! Such a rule may have any words of its own, so that a refusal by it cannot be told by its words.

use serde_json::Value;

use super::claim::{Segment, place, segments};
use super::immutable::{is_about_the_former, is_metadata};
use super::{Refusal, RefusalCause};

/// Whether a change was refused by a rule of the kind's definition which keeps a value as it is. `version` is the one
/// in which the object was sent.
pub fn breaks_transition_rule(refusal: &Refusal, definition: &Value, version: &str) -> bool {
    let versions = definition.pointer("/spec/versions");
    let mut versions = versions.and_then(Value::as_array).into_iter().flatten();
    let schema = versions
        .find(|one| one["name"] == version)
        .and_then(|one| one.pointer("/schema/openAPIV3Schema"));
    let mut causes = refusal.causes.iter();
    schema.is_some_and(|schema| {
        causes.any(|cause| !is_metadata(cause) && is_of_transition(cause, schema))
    })
}

fn is_of_transition(cause: &RefusalCause, schema: &Value) -> bool {
    let path = segments(place(cause));
    // A rule may name a field below its own place.
    let mut at = Some(schema);
    let mut steps = path.iter();
    while let Some(node) = at {
        let step = steps.next();
        let rules = node["x-kubernetes-validations"].as_array();
        let mut rules = rules.into_iter().flatten();
        if rules.any(|rule| says(rule, &cause.message, step.is_none())) {
            return true;
        }
        at = step.and_then(|step| below(node, *step));
    }
    false
}

fn below<'a>(schema: &'a Value, step: Segment<'_>) -> Option<&'a Value> {
    let properties = match step {
        Segment::Name(name) => schema.get("properties").and_then(|all| all.get(name)),
        Segment::Item => None,
    };
    let other = || schema.get("additionalProperties").or(schema.get("items"));
    properties
        .or_else(other)
        .filter(|schema| schema.is_object())
}

/// Whether `message` is that of the rule. What an expression says is not known, so the place has to be the rule's own.
fn says(rule: &Value, message: &str, is_at_its_place: bool) -> bool {
    let text = |field: &str| rule[field].as_str().map(str::trim);
    let Some(expression) = text("rule").filter(|rule| is_about_the_former(rule)) else {
        return false;
    };
    match (text("messageExpression"), text("message")) {
        (Some(_), _) if is_at_its_place => true,
        (_, Some(said)) if !said.is_empty() => message.contains(said),
        _ => message.contains(expression),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_rule_is_known_by_its_place_and_its_words() {
        let schema = json!({
            "x-kubernetes-validations": [
                {"rule": "self.kind == oldSelf.kind", "message": "make another one", "fieldPath": ".kind"},
            ],
            "properties": {"spec": {
                "x-kubernetes-validations": [
                    {"rule": "has(self.once) == has(oldSelf.once)", "message": "choose at creation"},
                    {"rule": "self.size <= 9", "message": "too large"},
                ],
                "properties": {
                    "size": {"x-kubernetes-validations": [{"rule": "self >= oldSelf", "message": "only grows"}]},
                    "class": {"x-kubernetes-validations": [
                        {"rule": "self == oldSelf", "messageExpression": "'was ' + oldSelf"}]},
                    "disks": {"items": {"properties": {"kind": {"x-kubernetes-validations": [
                        {"rule": "self == oldSelf", "message": "disks stay"}]}}}},
                    "zones": {"additionalProperties": {"x-kubernetes-validations": [
                        {"rule": "self == oldSelf"}]}},
                },
            }},
        });
        let definition = json!({"spec": {"versions": [
            {"name": "v1", "schema": {"openAPIV3Schema": {}}},
            {"name": "v2", "schema": {"openAPIV3Schema": schema}},
        ]}});
        let is = |field: &str, message: &str, version: &str| {
            let cause = RefusalCause {
                field: field.to_owned(),
                message: message.to_owned(),
                ..RefusalCause::default()
            };
            let refusal = Refusal {
                causes: vec![cause],
                ..Refusal::default()
            };
            breaks_transition_rule(&refusal, &definition, version)
        };
        for (field, message, expected) in [
            ("kind", "Invalid value: \"object\": make another one", true),
            (
                "spec",
                "Invalid value: \"object\": choose at creation",
                true,
            ),
            ("spec", "Invalid value: \"object\": too large", false),
            ("spec.size", "Invalid value: 1: only grows", false),
            ("spec.class", "Invalid value: \"b\": was a", true),
            (
                "spec.disks[3].kind",
                "Invalid value: \"b\": disks stay",
                true,
            ),
            (
                "spec.zones[a]",
                "Invalid value: \"b\": failed rule: self == oldSelf",
                true,
            ),
            (
                "spec.name",
                "Invalid value: \"disks stay\": too short",
                false,
            ),
            ("spec.none.at.all", "Invalid value: make nothing", false),
            ("", "Invalid value: something", false),
        ] {
            assert_eq!(is(field, message, "v2"), expected, "{field}: {message}");
            assert!(!is(field, message, "v1"), "{field}: {message}");
        }
        assert!(!breaks_transition_rule(
            &Refusal::default(),
            &json!(null),
            "v2"
        ));
    }
}
