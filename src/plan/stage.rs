//! The order in which objects are applied. Pruning uses the reverse order.

use crate::manifest::GroupKind;

/// A stage is applied after the one before it. The order follows Flux's `ssa` package.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Stage {
    /// Objects that others need: definitions, namespaces, cluster roles.
    Definitions,
    /// Classes, which objects name.
    Classes,
    /// Everything else.
    Rest,
    /// Webhook configurations come last: a webhook that fails closed would refuse its own backend.
    Webhooks,
}

impl Stage {
    /// The stage of a kind.
    pub fn of(kind: &GroupKind) -> Self {
        match (&*kind.group, &*kind.kind) {
            ("apiextensions.k8s.io", "CustomResourceDefinition")
            | ("", "Namespace")
            | ("rbac.authorization.k8s.io", "ClusterRole" | "ClusterRoleBinding") => {
                Self::Definitions
            }
            (_, class) if class.ends_with("Class") => Self::Classes,
            ("admissionregistration.k8s.io", webhook) if webhook.ends_with("Configuration") => {
                Self::Webhooks
            }
            _ => Self::Rest,
        }
    }
}

/// The position of a kind inside its stage. Objects that pods mount or run under come before workloads, so
/// that pods start at the first try.
pub(super) fn rank(kind: &GroupKind) -> u8 {
    match (&*kind.group, &*kind.kind) {
        ("", "Namespace") => 0,
        ("apiextensions.k8s.io", _) => 1,
        ("", "ServiceAccount" | "ResourceQuota" | "LimitRange") => 2,
        ("rbac.authorization.k8s.io", _) => 3,
        ("", "ConfigMap" | "Secret" | "PersistentVolumeClaim" | "PersistentVolume") => 4,
        ("", "Service") => 5,
        ("apps" | "batch", _) => 7,
        _ => 6,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stages_are_in_the_order_of_the_design() {
        let order = [
            ("apiextensions.k8s.io", "CustomResourceDefinition"),
            ("storage.k8s.io", "StorageClass"),
            ("apps", "Deployment"),
            (
                "admissionregistration.k8s.io",
                "ValidatingWebhookConfiguration",
            ),
        ]
        .map(|(group, kind)| Stage::of(&GroupKind::new(group, kind)));
        assert!(order.is_sorted());
        assert_eq!(order.len(), 4);
        assert_eq!(Stage::of(&GroupKind::new("", "Namespace")), order[0]);
        assert_eq!(
            Stage::of(&GroupKind::new(
                "admissionregistration.k8s.io",
                "ValidatingAdmissionPolicy"
            )),
            order[2]
        );
    }
}
