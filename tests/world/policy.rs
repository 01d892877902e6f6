//! Rules of admission that the API server enforces in one test.

use k8s_openapi::api::admissionregistration::v1::{
    ValidatingAdmissionPolicy, ValidatingAdmissionPolicyBinding,
};
use kube::Api;
use kube::api::{DeleteParams, PostParams};
use serde_json::{Value, json};

use super::Case;

/// A rule: which writes of which kind are refused, and in which words.
pub struct Rule {
    pub name: &'static str,
    pub group: &'static str,
    pub resource: &'static str,
    pub operations: &'static [&'static str],
    /// What has to be true of a write.
    pub expression: &'static str,
    pub message: &'static str,
}

fn from<T: serde::de::DeserializeOwned>(value: Value) -> T {
    serde_json::from_value(value).unwrap()
}

impl Case<'_> {
    /// Makes a rule for objects of this case's namespace, and for namespaces whose label `case` names it. It holds a
    /// moment later.
    pub async fn rule(&self, rule: &Rule) {
        let name = format!("{}-{}", self.namespace, rule.name);
        let policy = json!({
            "metadata": {"name": name},
            "spec": {
                "failurePolicy": "Fail",
                "matchConstraints": {"resourceRules": [{
                    "apiGroups": [rule.group], "apiVersions": ["*"], "operations": rule.operations,
                    "resources": [rule.resource],
                }]},
                "validations": [{"expression": rule.expression, "message": rule.message}],
            },
        });
        let label = match rule.resource {
            "namespaces" => "case",
            _ => "kubernetes.io/metadata.name",
        };
        let binding = json!({
            "metadata": {"name": name},
            "spec": {
                "policyName": name, "validationActions": ["Deny"],
                "matchResources": {"namespaceSelector": {"matchLabels": {label: self.namespace}}},
            },
        });
        let policies: Api<ValidatingAdmissionPolicy> = Api::all(self.client.clone());
        let bindings: Api<ValidatingAdmissionPolicyBinding> = Api::all(self.client.clone());
        let (policy, binding) = (from(policy), from(binding));
        policies
            .create(&PostParams::default(), &policy)
            .await
            .unwrap();
        bindings
            .create(&PostParams::default(), &binding)
            .await
            .unwrap();
    }

    /// Takes a rule away.
    pub async fn without_rule(&self, rule: &Rule) {
        let name = format!("{}-{}", self.namespace, rule.name);
        let bindings: Api<ValidatingAdmissionPolicyBinding> = Api::all(self.client.clone());
        bindings
            .delete(&name, &DeleteParams::default())
            .await
            .unwrap();
    }
}
