//! Rules of admission that are objects: policies, their bindings, and configurations of webhooks. Pure.

use serde_json::Value;

use crate::manifest::{GroupKind, ObjectKey};

/// The group of the kinds that are rules of admission.
const ADMISSION: &str = "admissionregistration.k8s.io";

/// How the API server says which rule refused an object, before the rule's name.
const POLICY: &str = "ValidatingAdmissionPolicy '";
const BINDING: &str = "with binding '";
const WEBHOOK: &str = "admission webhook \"";
const WEBHOOK_FAILED: &str = "failed calling webhook \"";

/// Whether objects of this kind are rules of admission.
pub fn is_rule(kind: &GroupKind) -> bool {
    *kind.group == *ADMISSION
}

/// Whether the words of a refusal are those of a rule, or of a webhook that did not answer.
pub(super) fn is_by_a_rule(words: &str) -> bool {
    [POLICY, WEBHOOK, WEBHOOK_FAILED]
        .iter()
        .any(|start| words.contains(start))
}

/// Whether a refusal names this rule as its cause.
pub(super) fn is_refused_by(words: &str, rule: &ObjectKey, live: &Value) -> bool {
    let is_named =
        |before: &str, name: &str, quote: char| words.contains(&format!("{before}{name}{quote}"));
    match &*rule.kind.kind {
        "ValidatingAdmissionPolicy" => is_named(POLICY, &rule.name, '\''),
        "ValidatingAdmissionPolicyBinding" => is_named(BINDING, &rule.name, '\''),
        "ValidatingWebhookConfiguration" | "MutatingWebhookConfiguration" => {
            let webhooks = live["webhooks"].as_array().into_iter().flatten();
            let mut names = webhooks.filter_map(|webhook| webhook["name"].as_str());
            names.any(|name| is_named(WEBHOOK, name, '"') || is_named(WEBHOOK_FAILED, name, '"'))
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_rule_that_the_refusal_names_is_in_the_way() {
        let policy = "configmaps \"m\" is forbidden: ValidatingAdmissionPolicy 'policy' with binding 'bound' denied request: no";
        let webhook = "admission webhook \"a.example.com\" denied the request: no";
        let dead = "Internal error occurred: failed calling webhook \"a.example.com\": failed to call webhook: no route";
        let other = "configmaps \"m\" is forbidden: policy bound a.example.com";
        let live = json!({"webhooks": [{"name": "b.example.com"}, {"name": "a.example.com"}]});
        for (kind, name, by) in [
            (
                "ValidatingAdmissionPolicy",
                "policy",
                [true, false, false, false],
            ),
            ("ValidatingAdmissionPolicy", "bound", [false; 4]),
            (
                "ValidatingAdmissionPolicyBinding",
                "bound",
                [true, false, false, false],
            ),
            ("ValidatingAdmissionPolicyBinding", "boun", [false; 4]),
            (
                "ValidatingWebhookConfiguration",
                "w",
                [false, true, true, false],
            ),
            (
                "MutatingWebhookConfiguration",
                "w",
                [false, true, true, false],
            ),
        ] {
            let rule = ObjectKey {
                kind: GroupKind::new(ADMISSION, kind),
                namespace: None,
                name: name.into(),
            };
            for (words, is) in [policy, webhook, dead, other].into_iter().zip(by) {
                assert_eq!(
                    is_refused_by(words, &rule, &live),
                    is,
                    "{kind} {name}: {words}"
                );
            }
        }
        assert!([policy, webhook, dead].into_iter().all(is_by_a_rule) && !is_by_a_rule(other));
    }
}
