//! Whether a change was refused since a field cannot be changed, and what of an old object can be made again. Pure.

use serde_json::{Map, Value};

use super::Refusal;

/// How the API server, rules of definitions, and admission say that a field cannot be changed.
const IMMUTABLE: [&str; 9] = [
    "immutable",
    "may not change",
    "may not be changed",
    "cannot change",
    "cannot be changed",
    "can not be changed",
    "updates may not change",
    "oldSelf",
    "may only be set on creation",
];

/// Whether the API server has refused to change an object, which it would take if the object were new.
pub fn is_immutable(code: u16, refusal: &Refusal) -> bool {
    let is_admission =
        refusal.said.contains("denied the request") || refusal.said.contains("denied request");
    match code {
        422 if !refusal.causes.is_empty() => refusal
            .causes
            .iter()
            .any(|cause| !cause.field.starts_with("metadata") && says_immutable(&cause.message)),
        400 | 403 | 422 => is_admission && says_immutable(&refusal.said),
        _ => false,
    }
}

fn says_immutable(message: &str) -> bool {
    let is_forbidden = message.contains("pdates to ") && message.contains("forbidden");
    is_forbidden || IMMUTABLE.iter().any(|words| message.contains(words))
}

/// What is to be applied to make a deleted object again: without what the API server and controllers gave to that one.
pub fn restorable(mut live: Value) -> Value {
    let is_job = live["apiVersion"] == "batch/v1" && live["kind"] == "Job";
    if let Some(object) = live.as_object_mut() {
        object.remove("status");
    }
    if is_job && live["spec"]["manualSelector"] != true {
        // The labels by which a Job knows its pods name its uid.
        if let Some(spec) = live["spec"].as_object_mut() {
            spec.remove("selector");
        }
        for labels in ["/spec/template/metadata/labels", "/metadata/labels"] {
            if let Some(labels) = live.pointer_mut(labels).and_then(Value::as_object_mut) {
                without_uids(labels);
            }
        }
    }
    live
}

fn without_uids(labels: &mut Map<String, Value>) {
    labels.retain(|key, _| {
        ![
            "controller-uid",
            "batch.kubernetes.io/controller-uid",
            "job-name",
            "batch.kubernetes.io/job-name",
        ]
        .contains(&key.as_str())
    });
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::RefusalCause;
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
