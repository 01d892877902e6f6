//! What another version of a kind has left, which the version in Git knows only as annotations. Pure.
//!
//! `autoscaling/v1` has fields for the processor alone. The API server shows everything else that `autoscaling/v2` has as
//! annotations. No manager owns them, so an apply leaves them, and with them what Git no longer asks for.

use serde_json::{Map, Value, json};

/// Annotations of a version, each with the field of the other version that it shows.
const SHOWN: [(&str, &str); 2] = [
    ("autoscaling.alpha.kubernetes.io/metrics", "f:metrics"),
    ("autoscaling.alpha.kubernetes.io/behavior", "f:behavior"),
];

/// Whether the kind has such annotations in this version.
pub fn may_have_remains(api_version: &str, kind: &str) -> bool {
    (api_version, kind) == ("autoscaling/v1", "HorizontalPodAutoscaler")
}

/// The annotations of a live object that show what another version had, in the form of `fieldsV1`: those that `body`
/// does not declare, and no manager but towline has set in either version. None if there are none.
pub fn remains(live: &Value, body: &Value, others: &Value) -> Option<Value> {
    let has = |object: &Value, name: &str| {
        let annotations = object.pointer("/metadata/annotations");
        annotations.is_some_and(|all| all.get(name).is_some())
    };
    let is_others = |name: &str, field: &str| {
        let annotations = others.pointer("/f:metadata/f:annotations");
        annotations.is_some_and(|all| all.get(format!("f:{name}")).is_some())
            || others
                .get("f:spec")
                .is_some_and(|spec| spec.get(field).is_some())
    };
    let found = SHOWN
        .iter()
        .filter(|(name, field)| has(live, name) && !has(body, name) && !is_others(name, field));
    let found: Map<String, Value> = found
        .map(|(name, _)| (format!("f:{name}"), json!({})))
        .collect();
    (!found.is_empty()).then(|| json!({"f:metadata": {"f:annotations": found}}))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_nobody_declares_goes() {
        let metrics = "autoscaling.alpha.kubernetes.io/metrics";
        let with = json!({"metadata": {"annotations": {metrics: "[]", "other": "x"}}});
        let without = json!({"metadata": {}});
        let claim = json!({"f:metadata": {"f:annotations": {format!("f:{metrics}"): {}}}});
        assert_eq!(remains(&with, &without, &json!({})), Some(claim.clone()));
        assert_eq!(remains(&with, &with, &json!({})), None);
        assert_eq!(remains(&without, &without, &json!({})), None);
        assert_eq!(remains(&with, &without, &claim), None);
        let edited = json!({"f:spec": {"f:metrics": {}}});
        assert_eq!(remains(&with, &without, &edited), None);
    }
}
