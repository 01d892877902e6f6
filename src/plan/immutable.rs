//! Whether a change was refused since a field cannot be changed, and what of an old object can be made again. Pure.

use serde_json::Value;

use super::{Refusal, RefusalCause};
use crate::manifest::forget_uids;

/// How the API server, rules of definitions, and admission say that a field cannot be changed.
const IMMUTABLE: [&str; 14] = [
    "is immutable",
    "are immutable",
    "immutable field",
    "immutable after",
    "immutable once",
    "may not change",
    "may not be changed",
    "cannot change",
    "cannot be changed",
    "can not be changed",
    "cannot be modified",
    "cannot be updated",
    "updates may not change",
    "may only be set on creation",
];

/// How many words before such a phrase may name the field that it is about.
const SUBJECT: usize = 4;

/// Whether the API server has refused to change an object, which it would take if the object were new.
pub fn is_immutable(code: u16, refusal: &Refusal) -> bool {
    let said = &refusal.said;
    let is_admission = said.contains("denied the request") || said.contains("denied request");
    // The cause of a policy is its whole message.
    let has_fields = refusal.causes.iter().any(|cause| !cause.field.is_empty());
    match code {
        422 if !is_admission || has_fields => refusal
            .causes
            .iter()
            .any(|cause| !is_metadata(cause) && says_immutable(&cause.message)),
        // The words of a webhook or a policy may be about anything.
        400 | 403 | 422 => is_admission && says_a_field_is_immutable(said),
        _ => false,
    }
}

pub(super) fn is_metadata(cause: &RefusalCause) -> bool {
    cause.field.starts_with("metadata")
}

/// Whether a rule of a definition says that a value stays what it is. A rule that orders values is another one: it
/// says in which direction they may change.
pub(super) fn is_about_the_former(rule: &str) -> bool {
    let rule = without_quoted(rule, &['"', '\'']);
    rule.contains("oldSelf") && !rule.contains(['<', '>'])
}

fn says_immutable(message: &str) -> bool {
    if let Some((_, rule)) = message.split_once("failed rule: ") {
        return is_about_the_former(rule);
    }
    let said = without_values(message);
    let is_forbidden = said.contains("pdates to ") && said.contains("forbidden");
    let is_bare =
        said.trim_end_matches('.').ends_with("immutable") && !said.contains("be immutable");
    is_forbidden || is_bare || IMMUTABLE.iter().any(|words| said.contains(words))
}

/// Whether a sentence says of a field of the object that it cannot be changed: that the word is in it is not enough.
fn says_a_field_is_immutable(said: &str) -> bool {
    let said = without_values(said);
    let is_field = |word: &str| {
        let word = word.trim_matches(|c: char| !c.is_alphanumeric() && !matches!(c, '.' | '/'));
        ["field", "fields"].contains(&word)
            || ["spec", "data", ".", "/spec", "/data"]
                .iter()
                .any(|start| word.starts_with(start))
    };
    IMMUTABLE.iter().any(|phrase| {
        said.match_indices(phrase).any(|(at, _)| {
            let (before, after) = said.split_at(at);
            let mut subject = before.split_whitespace().rev().take(SUBJECT);
            after.starts_with("immutable field") || subject.any(is_field)
        })
    })
}

/// A message without what it quotes: values of the object may be any words.
fn without_values(message: &str) -> String {
    without_quoted(message, &['"'])
}

fn without_quoted(text: &str, quotes: &[char]) -> String {
    let mut rest = String::new();
    let (mut quote, mut escaped) = (None, false);
    for c in text.chars() {
        match quote {
            None if quotes.contains(&c) => quote = Some(c),
            None => rest.push(c),
            Some(open) if open == c && !escaped => quote = None,
            Some(_) => (),
        }
        escaped = c == '\\' && !escaped;
    }
    rest
}

/// What is to be applied to make a deleted object again: without what the API server and controllers gave to that one.
pub fn restorable(mut live: Value) -> Value {
    if let Some(object) = live.as_object_mut() {
        object.remove("status");
        forget_uids(object);
    }
    live
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn refusal(field: &str, message: &str) -> Refusal {
        Refusal {
            said: format!("Thing \"a\" is invalid: {field}: {message}"),
            causes: vec![RefusalCause {
                field: field.to_owned(),
                reason: "FieldValueInvalid".to_owned(),
                message: message.to_owned(),
            }],
        }
    }

    /// Messages of Kubernetes 1.36. Its test on a real API server is `tests/force.rs`.
    #[test]
    fn only_a_field_that_cannot_be_changed_is_one() {
        for (field, message, expected) in [
            (
                "spec.selector",
                "Invalid value: {}: field is immutable",
                true,
            ),
            (
                "spec.template",
                "Invalid value: {}: field is immutable",
                true,
            ),
            (
                "spec.clusterIPs[0]",
                "Invalid value: [\"10.0.0.9\"]: may not change once set",
                true,
            ),
            ("roleRef", "Invalid value: {}: cannot change roleRef", true),
            (
                "spec",
                "Forbidden: updates to statefulset spec for fields other than 'replicas', 'template' are forbidden",
                true,
            ),
            (
                "spec",
                "Forbidden: spec is immutable after creation except resources.requests for bound claims",
                true,
            ),
            (
                "spec",
                "Forbidden: pod updates may not change fields other than image",
                true,
            ),
            (
                "data",
                "Forbidden: field is immutable when `immutable` is set",
                true,
            ),
            (
                "parameters",
                "Forbidden: updates to parameters are forbidden.",
                true,
            ),
            (
                "provisioner",
                "Forbidden: updates to provisioner are forbidden.",
                true,
            ),
            ("value", "Forbidden: may not be changed in an update.", true),
            (
                "spec.size",
                "Invalid value: \"string\": failed rule: self == oldSelf",
                true,
            ),
            (
                "spec.size",
                "Invalid value: \"string\": Value is immutable",
                true,
            ),
            (
                "spec.size",
                "Invalid value: 2: failed rule: self >= oldSelf",
                false,
            ),
            ("spec.size", "failed rule: self != 'oldSelf'", false),
            (
                "spec.mode",
                "Unsupported value: \"is immutable\": supported values: \"a\", \"b\"",
                false,
            ),
            (
                "spec.image",
                "Invalid value: \"a:latest\": tags must be immutable",
                false,
            ),
            (
                "spec.image",
                "Invalid value: {}: use an immutable tag",
                false,
            ),
            (
                "metadata.uid",
                "Invalid value: \"b\": field is immutable",
                false,
            ),
            (
                "spec.replicas",
                "Invalid value: -1: must be greater than or equal to 0",
                false,
            ),
            (
                "spec.strategy.rollingUpdate",
                "Forbidden: may not be specified when strategy is Recreate",
                false,
            ),
            (
                "spec.ports[0].nodePort",
                "Invalid value: 30000: provided port is already allocated",
                false,
            ),
            (
                "spec.template.spec.containers[0].image",
                "Required value",
                false,
            ),
        ] {
            assert_eq!(
                is_immutable(422, &refusal(field, message)),
                expected,
                "{field}: {message}"
            );
            assert!(
                !is_immutable(409, &refusal(field, message)),
                "{field}: {message}"
            );
        }
        let said = |said: &str| Refusal {
            said: said.to_owned(),
            causes: Vec::new(),
        };
        let webhook =
            said("admission webhook \"w.example.com\" denied the request: spec.a is immutable");
        assert!(is_immutable(403, &webhook) && is_immutable(400, &webhook));
        assert!(!is_immutable(500, &webhook));
        let other =
            said("admission webhook \"w.example.com\" denied the request: spec.a is too large");
        assert!(!is_immutable(403, &other));
        for (words, expected) in [
            ("field is immutable", true),
            ("the field spec.size cannot be changed", true),
            (
                "Thing.example.com \"a\" is invalid: spec.size: Invalid value: \"b\": field is immutable",
                true,
            ),
            (
                "Immutable fields changed: immutable fields: spec.size",
                true,
            ),
            ("images must be immutable: use a digest", false),
            ("only immutable tags are allowed", false),
            ("the cluster is immutable during the freeze", false),
            ("namespace \"spec.a\" is immutable", false),
            (
                "policy immutable-infrastructure: the release cannot be changed on Fridays",
                false,
            ),
        ] {
            let policy = "ValidatingAdmissionPolicy 'p' with binding 'b' denied request";
            let policy = said(&format!("things \"a\" is forbidden: {policy}: {words}"));
            let mut with_cause = policy.clone();
            with_cause.causes.push(RefusalCause {
                message: words.to_owned(),
                ..RefusalCause::default()
            });
            assert_eq!(is_immutable(422, &policy), expected, "{words}");
            assert_eq!(is_immutable(422, &with_cause), expected, "{words}");
        }
        let quota = said(
            "things \"a\" is forbidden: exceeded quota: immutable, requested: spec is immutable",
        );
        assert!(!is_immutable(403, &quota));
        let forbidden = said("things \"immutable\" is forbidden: User \"a\" cannot patch resource");
        assert!(!is_immutable(403, &forbidden));
    }

    #[test]
    fn an_old_job_is_made_again_without_what_names_its_uid() {
        let labels = json!({"controller-uid": "u", "batch.kubernetes.io/controller-uid": "u",
                            "job-name": "a", "batch.kubernetes.io/job-name": "a", "app": "a"});
        let job = json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "a", "labels": labels},
            "spec": {"selector": {"matchLabels": labels}, "template": {"metadata": {"labels": labels}}},
            "status": {"succeeded": 1}});
        let expected = json!({"apiVersion": "batch/v1", "kind": "Job",
            "metadata": {"name": "a", "labels": {"app": "a"}},
            "spec": {"template": {"metadata": {"labels": {"app": "a"}}}}});
        assert_eq!(restorable(job), expected);
        let service =
            json!({"apiVersion": "v1", "kind": "Service", "spec": {"clusterIP": "10.0.0.1"}});
        assert_eq!(restorable(service.clone()), service);
    }
}
