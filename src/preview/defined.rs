//! Kinds that CustomResourceDefinitions bring, and what is said of a kind that nothing brings. Pure, but for the cluster's kinds.

use std::collections::HashSet;

use serde_json::Value;

use super::Action;
use crate::cluster::Kinds;
use crate::manifest::{GroupVersionKind, Manifest};

/// The kinds that the definitions among manifests define, in the versions that would be served.
pub fn defined<'a>(manifests: impl IntoIterator<Item = &'a Manifest>) -> HashSet<GroupVersionKind> {
    let definitions = manifests
        .into_iter()
        .filter(|manifest| is_definition(&manifest.gvk));
    definitions
        .flat_map(|manifest| kinds_of(&manifest.body))
        .collect()
}

/// Whether objects of this kind are definitions.
pub fn is_definition(gvk: &GroupVersionKind) -> bool {
    (&*gvk.group, &*gvk.kind) == ("apiextensions.k8s.io", "CustomResourceDefinition")
}

fn kinds_of(definition: &Value) -> Vec<GroupVersionKind> {
    let spec = &definition["spec"];
    let versions = spec["versions"].as_array().into_iter().flatten();
    let served = versions.filter(|version| version["served"] == true);
    served
        .filter_map(|version| {
            let version = format!("{}/{}", spec["group"].as_str()?, version["name"].as_str()?);
            GroupVersionKind::parse(&version, spec["names"]["kind"].as_str()?)
        })
        .collect()
}

/// What becomes of an object whose kind the API server does not serve.
pub(super) fn unserved(kinds: &Kinds, gvk: &GroupVersionKind) -> Action {
    let named = format!("{} {}", gvk.api_version(), gvk.kind);
    if let Some(why) = kinds.unkept(&gvk.group_kind()) {
        return Action::Refuse(format!("{named} {why}"));
    }
    let hint = kinds.instead_of(gvk);
    let hint = hint.map(|hint| format!("; {hint}")).unwrap_or_default();
    Action::Unserved(format!(
        "the API server does not serve {named}, and no CustomResourceDefinition in these files brings it, so it was not tried{hint}"
    ))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_definition_brings_the_versions_that_it_serves() {
        let definition = |version: &str, spec: Value| {
            let kind = "CustomResourceDefinition";
            let body = json!({
                "apiVersion": version, "kind": kind, "metadata": {"name": "w.example.com"}, "spec": spec,
            });
            Manifest {
                gvk: GroupVersionKind::parse(version, kind).unwrap(),
                namespace: None,
                name: "w.example.com".into(),
                body,
            }
        };
        let names = json!({"kind": "Widget", "plural": "widgets"});
        let both = json!([
            {"name": "v1", "served": true}, {"name": "v2", "served": false}, {"name": "v3"}, "v4", {"served": true},
        ]);
        let crd = "apiextensions.k8s.io/v1";
        for (version, spec, expected) in [
            (
                crd,
                json!({"group": "example.com", "names": names, "versions": both}),
                &["example.com/v1"][..],
            ),
            (
                "example.com/v1",
                json!({"group": "example.com", "names": names, "versions": both}),
                &[],
            ),
            (crd, json!({"names": names, "versions": both}), &[]),
            (crd, json!({"group": "example.com", "versions": both}), &[]),
            (crd, json!({"group": "example.com", "names": names}), &[]),
            (crd, json!(null), &[]),
        ] {
            let found = defined(&[definition(version, spec.clone())]);
            let mut found: Vec<String> = found.iter().map(GroupVersionKind::api_version).collect();
            found.sort();
            assert_eq!(found, expected, "{version} {spec}");
        }
    }
}
