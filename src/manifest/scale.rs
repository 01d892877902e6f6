//! What an autoscaler scales.

use serde_json::Value;

use super::{GroupKind, GroupVersionKind};

/// The object whose number of replicas an autoscaler sets. It is in the autoscaler's own namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScaleTarget {
    /// Its kind.
    pub kind: GroupKind,
    /// Its name.
    pub name: String,
}

/// Groups and kinds of autoscalers.
const AUTOSCALERS: [(&str, &str); 2] = [
    ("autoscaling", "HorizontalPodAutoscaler"),
    ("keda.sh", "ScaledObject"),
];

impl ScaleTarget {
    /// The target of an autoscaler; none for other objects.
    pub fn of(gvk: &GroupVersionKind, manifest: &Value) -> Option<Self> {
        if !AUTOSCALERS.contains(&(&*gvk.group, &*gvk.kind)) {
            return None;
        }
        let target = manifest.pointer("/spec/scaleTargetRef")?;
        let text = |field: &str, default| match target.get(field).and_then(Value::as_str) {
            None | Some("") => default,
            Some(text) => text,
        };
        // KEDA scales a Deployment where no kind is named.
        let (api_version, kind) = (text("apiVersion", "apps/v1"), text("kind", "Deployment"));
        let gvk = GroupVersionKind::parse(api_version, kind)?;
        Some(Self {
            kind: gvk.group_kind(),
            name: target.get("name")?.as_str()?.to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_target_of_an_autoscaler_is_read() {
        let deployment = json!({"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"});
        let rollout =
            json!({"apiVersion": "argoproj.io/v1alpha1", "kind": "Rollout", "name": "web"});
        for (api_version, kind, target, expected) in [
            (
                "autoscaling/v2",
                "HorizontalPodAutoscaler",
                &deployment,
                Some("Deployment.apps web"),
            ),
            (
                "autoscaling/v1",
                "HorizontalPodAutoscaler",
                &rollout,
                Some("Rollout.argoproj.io web"),
            ),
            (
                "keda.sh/v1alpha1",
                "ScaledObject",
                &json!({"name": "web"}),
                Some("Deployment.apps web"),
            ),
            (
                "autoscaling/v2",
                "HorizontalPodAutoscaler",
                &json!({}),
                None,
            ),
            ("example.com/v1", "ScaledObject", &deployment, None),
        ] {
            let gvk = GroupVersionKind::parse(api_version, kind).unwrap();
            let found = ScaleTarget::of(&gvk, &json!({"spec": {"scaleTargetRef": target}}));
            let found = found.map(|target| format!("{} {}", target.kind, target.name));
            assert_eq!(found.as_deref(), expected, "{kind} {target}");
        }
    }
}
