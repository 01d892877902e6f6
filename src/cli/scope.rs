//! Which kinds have namespaces, where no cluster can be asked.

use std::collections::HashMap;

use serde_json::Value;

use crate::manifest::{GroupKind, GroupVersionKind};

/// Kubernetes' own kinds without a namespace.
const CLUSTER_SCOPED: [(&str, &str); 31] = [
    ("", "Namespace"),
    ("", "Node"),
    ("", "PersistentVolume"),
    ("admissionregistration.k8s.io", "MutatingAdmissionPolicy"),
    (
        "admissionregistration.k8s.io",
        "MutatingAdmissionPolicyBinding",
    ),
    (
        "admissionregistration.k8s.io",
        "MutatingWebhookConfiguration",
    ),
    ("admissionregistration.k8s.io", "ValidatingAdmissionPolicy"),
    (
        "admissionregistration.k8s.io",
        "ValidatingAdmissionPolicyBinding",
    ),
    (
        "admissionregistration.k8s.io",
        "ValidatingWebhookConfiguration",
    ),
    ("apiextensions.k8s.io", "CustomResourceDefinition"),
    ("apiregistration.k8s.io", "APIService"),
    ("certificates.k8s.io", "CertificateSigningRequest"),
    ("certificates.k8s.io", "ClusterTrustBundle"),
    ("flowcontrol.apiserver.k8s.io", "FlowSchema"),
    ("flowcontrol.apiserver.k8s.io", "PriorityLevelConfiguration"),
    ("networking.k8s.io", "IPAddress"),
    ("networking.k8s.io", "IngressClass"),
    ("networking.k8s.io", "ServiceCIDR"),
    ("node.k8s.io", "RuntimeClass"),
    ("rbac.authorization.k8s.io", "ClusterRole"),
    ("rbac.authorization.k8s.io", "ClusterRoleBinding"),
    ("resource.k8s.io", "DeviceClass"),
    ("resource.k8s.io", "DeviceTaintRule"),
    ("resource.k8s.io", "ResourceSlice"),
    ("scheduling.k8s.io", "PriorityClass"),
    ("storage.k8s.io", "CSIDriver"),
    ("storage.k8s.io", "CSINode"),
    ("storage.k8s.io", "StorageClass"),
    ("storage.k8s.io", "VolumeAttachment"),
    ("storage.k8s.io", "VolumeAttributesClass"),
    ("storagemigration.k8s.io", "StorageVersionMigration"),
];

/// The scopes of kinds: Kubernetes' own, and those that definitions among the manifests say. Other
/// kinds count as namespaced, as most are.
#[derive(Default)]
pub(super) struct Scopes(HashMap<GroupKind, bool>);

impl Scopes {
    /// Takes over the scope that a CustomResourceDefinition says.
    pub(super) fn define(&mut self, definition: &Value) {
        let spec = &definition["spec"];
        let (Some(group), Some(kind)) = (spec["group"].as_str(), spec["names"]["kind"].as_str())
        else {
            return;
        };
        let is_namespaced = spec["scope"] != "Cluster";
        self.0.insert(GroupKind::new(group, kind), is_namespaced);
    }

    /// Whether objects of a kind are in namespaces.
    pub(super) fn is_namespaced(&self, gvk: &GroupVersionKind) -> bool {
        let kind = gvk.group_kind();
        match self.0.get(&kind) {
            Some(is_namespaced) => *is_namespaced,
            None => !CLUSTER_SCOPED.contains(&(&*kind.group, &*kind.kind)),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn definitions_say_the_scope_of_their_kinds() {
        let mut scopes = Scopes::default();
        let gvk = |group, kind| GroupVersionKind::parse(group, kind).unwrap();
        let widget = gvk("example.com/v1", "Widget");
        assert!(scopes.is_namespaced(&widget));
        for (scope, is_namespaced) in [("Cluster", false), ("Namespaced", true)] {
            let names = json!({"kind": "Widget"});
            let spec = json!({"group": "example.com", "scope": scope, "names": names});
            scopes.define(&json!({ "spec": spec }));
            assert_eq!(scopes.is_namespaced(&widget), is_namespaced);
        }
        assert!(!scopes.is_namespaced(&gvk("v1", "Namespace")));
        assert!(scopes.is_namespaced(&gvk("apps/v1", "Deployment")));
    }
}
