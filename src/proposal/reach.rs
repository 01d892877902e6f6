//! How far objects reach. Those that reach farthest are tried out first and named first, so that many others hide none. Pure.

use crate::manifest::ObjectKey;

/// How far an object reaches, by its kind. The widest comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Reach {
    /// It grants rights, or takes part in every request of others: RBAC, definitions, admission, aggregated API servers.
    Rights,
    /// It belongs to the whole cluster.
    Cluster,
    /// It runs something, or is of a kind of which nothing is known.
    Workload,
    /// All others.
    Rest,
}

/// Something for each reach, the widest first.
pub(super) type PerReach = [usize; 4];

impl Reach {
    pub(super) fn of(key: &ObjectKey) -> Self {
        match (&*key.kind.group, &*key.kind.kind) {
            (
                "rbac.authorization.k8s.io"
                | "apiextensions.k8s.io"
                | "admissionregistration.k8s.io"
                | "apiregistration.k8s.io",
                _,
            ) => Self::Rights,
            _ if key.namespace.is_none() => Self::Cluster,
            ("", "Pod" | "ReplicationController" | "PodTemplate") => Self::Workload,
            ("" | "autoscaling" | "policy", _) => Self::Rest,
            (group, _) if group.ends_with(".k8s.io") => Self::Rest,
            _ => Self::Workload,
        }
    }
}

/// Shares room among those who want some: first all that reaches farthest, of whomever it is.
pub(super) fn shares(wanted: &[PerReach], mut room: usize) -> Vec<PerReach> {
    let mut shares = vec![PerReach::default(); wanted.len()];
    for reach in 0..PerReach::default().len() {
        for (share, wanted) in shares.iter_mut().zip(wanted) {
            share[reach] = wanted[reach].min(room);
            room -= share[reach];
        }
    }
    shares
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::GroupKind;

    #[test]
    fn what_grants_rights_reaches_farthest() {
        use Reach::{Cluster, Rest, Rights, Workload};
        for (group, kind, is_namespaced, reach) in [
            (
                "rbac.authorization.k8s.io",
                "ClusterRoleBinding",
                false,
                Rights,
            ),
            ("rbac.authorization.k8s.io", "Role", true, Rights),
            (
                "apiextensions.k8s.io",
                "CustomResourceDefinition",
                false,
                Rights,
            ),
            (
                "admissionregistration.k8s.io",
                "ValidatingAdmissionPolicyBinding",
                false,
                Rights,
            ),
            (
                "admissionregistration.k8s.io",
                "MutatingWebhookConfiguration",
                false,
                Rights,
            ),
            ("apiregistration.k8s.io", "APIService", false, Rights),
            ("", "Namespace", false, Cluster),
            ("storage.k8s.io", "StorageClass", false, Cluster),
            ("example.com", "ClusterWidget", false, Cluster),
            ("apps", "Deployment", true, Workload),
            ("batch", "CronJob", true, Workload),
            ("", "Pod", true, Workload),
            ("example.com", "Widget", true, Workload),
            ("cluster.x-k8s.io", "Machine", true, Workload),
            ("", "ConfigMap", true, Rest),
            ("networking.k8s.io", "Ingress", true, Rest),
            ("policy", "PodDisruptionBudget", true, Rest),
        ] {
            let key = ObjectKey {
                kind: GroupKind::new(group, kind),
                namespace: is_namespaced.then(|| "a".into()),
                name: "x".into(),
            };
            assert_eq!(Reach::of(&key), reach, "{key}");
        }
    }

    #[test]
    fn room_goes_to_what_reaches_farthest_of_all() {
        let wanted = [[0, 0, 2, 600], [1, 0, 0, 3], [0, 2, 0, 0]];
        for (room, expected) in [
            (500, [[0, 0, 2, 495], [1, 0, 0, 0], [0, 2, 0, 0]]),
            (1_000, wanted),
            (4, [[0, 0, 1, 0], [1, 0, 0, 0], [0, 2, 0, 0]]),
            (1, [[0, 0, 0, 0], [1, 0, 0, 0], [0, 0, 0, 0]]),
            (0, [[0; 4]; 3]),
        ] {
            assert_eq!(shares(&wanted, room), expected, "{room}");
        }
    }
}
