//! The marks of an ApplySet's parent (KEP-3659) as they are on a Sync, and whether some were taken off.
//! Pure.

use std::collections::BTreeSet;

use kube::api::ObjectMeta;

use crate::api::FINALIZER;
use crate::manifest::GroupKind;
use crate::plan::{CONTAINS, PARENT_ID, TOOLING, contained};

/// The marks that a Sync carries.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Marks {
    finalizer: bool,
    /// The id of its ApplySet.
    id: Option<String>,
    tooling: bool,
    /// The kinds that it names.
    kinds: BTreeSet<GroupKind>,
}

impl Marks {
    /// The marks in an object's metadata.
    pub(super) fn of(meta: &ObjectMeta) -> Self {
        let annotation = |name: &str| meta.annotations.as_ref().and_then(|all| all.get(name));
        let finalizers = meta.finalizers.iter().flatten();
        let labels = meta.labels.as_ref();
        Self {
            finalizer: finalizers.into_iter().any(|name| name == FINALIZER),
            id: labels.and_then(|all| all.get(PARENT_ID).cloned()),
            tooling: annotation(TOOLING).is_some(),
            kinds: annotation(CONTAINS)
                .map(|kinds| contained(kinds).collect())
                .unwrap_or_default(),
        }
    }

    /// Whether all marks are there for the ApplySet `id` with these kinds.
    pub(super) fn are_complete(&self, id: &str, kinds: &BTreeSet<GroupKind>) -> bool {
        let wanted = Self {
            finalizer: true,
            id: Some(id.to_owned()),
            tooling: true,
            kinds: kinds.clone(),
        };
        !wanted.is_more_than(self)
    }

    /// Whether `other` lacks one of these marks.
    pub(super) fn is_more_than(&self, other: &Self) -> bool {
        self.finalizer && !other.finalizer
            || self.id.is_some() && self.id != other.id
            || self.tooling && !other.tooling
            || !self.kinds.is_subset(&other.kinds)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn marks(meta: Value) -> Marks {
        Marks::of(&serde_json::from_value(meta).unwrap())
    }

    fn whole() -> Value {
        json!({
            "finalizers": ["other.dev/x", FINALIZER],
            "labels": {PARENT_ID: "id", "team": "a"},
            "annotations": {TOOLING: "towline/v1", CONTAINS: "ConfigMap,Deployment.apps", "a": "b"},
        })
    }

    #[test]
    fn each_removed_label_or_annotation_is_noticed() {
        let kinds: BTreeSet<_> = contained("ConfigMap,Deployment.apps").collect();
        assert!(marks(whole()).are_complete("id", &kinds));
        for (at, value) in [
            ("/finalizers", json!([])),
            ("/finalizers", json!(["other.dev/x"])),
            ("/finalizers", Value::Null),
            ("/labels", json!({})),
            ("/labels", Value::Null),
            ("/labels/applyset.kubernetes.io~1id", json!("another")),
            ("/annotations", Value::Null),
            ("/annotations", json!({TOOLING: "towline/v1"})),
            (
                "/annotations",
                json!({CONTAINS: "ConfigMap,Deployment.apps"}),
            ),
            (
                "/annotations",
                json!({TOOLING: "towline/v1", CONTAINS: "ConfigMap"}),
            ),
            ("/annotations", json!({TOOLING: "towline/v1", CONTAINS: ""})),
        ] {
            let mut meta = whole();
            *meta.pointer_mut(at).unwrap() = value;
            let left = marks(meta.clone());
            assert!(marks(whole()).is_more_than(&left), "{meta}");
            assert!(!left.are_complete("id", &kinds), "{meta}");
        }
    }

    #[test]
    fn what_others_write_beside_the_marks_is_no_loss() {
        let mut meta = whole();
        meta["labels"]["team"] = json!("b");
        meta["finalizers"] = json!([FINALIZER]);
        meta["annotations"][CONTAINS] = json!("Deployment.apps,ConfigMap,Secret");
        assert!(!marks(whole()).is_more_than(&marks(meta)));
        assert!(!Marks::default().is_more_than(&marks(whole())));
    }
}
