//! Patterns of names in Kubernetes. A name that no object can have would be waited for without an end, so the API server
//! refuses it in a spec.

/// Names of objects: labels of a DNS name, with dots between them (RFC 1123).
pub(super) const OBJECT: &str =
    r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$";

/// The same, or `*` for all.
pub(super) const OBJECT_OR_ALL: &str =
    r"^(\*|[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*)$";

/// The same, or empty.
pub(super) const OBJECT_OR_NONE: &str =
    r"^([a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*)?$";

/// Names of namespaces: one label of a DNS name.
pub(super) const NAMESPACE: &str = "^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$";

/// The same, or `*` for all.
pub(super) const NAMESPACE_OR_ALL: &str = r"^(\*|[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?)$";

/// Kinds: one word.
pub(super) const KIND: &str = "^[A-Za-z]([-A-Za-z0-9]*[A-Za-z0-9])?$";

/// Keys of Secrets and ConfigMaps.
pub(super) const KEY: &str = r"^[-._a-zA-Z0-9]+$";

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use regex::Regex;
    use serde_json::Value;

    /// Fields that are names, and what they may be beside names that an object can have.
    const NAMES: [(&str, &[&str]); 22] = [
        ("Alert.eventSources[].name", &["*"]),
        ("Alert.eventSources[].namespace", &["*"]),
        ("Alert.providerRef.name", &[]),
        ("GitRepository.proxySecretRef.name", &[]),
        ("GitRepository.pullRequests.providerRef.name", &[]),
        ("GitRepository.secretRef.name", &[]),
        ("GitRepository.verify.secretRef.name", &[]),
        ("GitRepository.webhook.secretRef.name", &[]),
        ("Provider.certSecretRef.name", &[]),
        ("Provider.proxySecretRef.name", &[]),
        ("Provider.secretRef.name", &[]),
        ("Sync.decryption.secretRef.name", &[]),
        ("Sync.dependsOn[].name", &[]),
        ("Sync.helm.chartRef.name", &[]),
        ("Sync.helm.lookup[].group", &[""]),
        ("Sync.helm.releaseName", &[""]),
        ("Sync.helm.valuesFrom[].name", &[]),
        ("Sync.renderer.name", &[]),
        ("Sync.serviceAccountName", &[]),
        ("Sync.sourceRef.name", &[]),
        ("Sync.substitute.from[].name", &[]),
        ("Sync.targetNamespace", &[]),
    ];

    /// Fields that are called like names and are patterns, or names of something else.
    const OTHERS: [&str; 9] = [
        // With * and ?.
        "Sync.ignoreFields[].name",
        "Sync.ignoreFields[].namespace",
        "Sync.ignoreFields[].group",
        // Regular expressions.
        "Sync.kustomize.patches[].target.name",
        "Sync.kustomize.patches[].target.namespace",
        "Sync.kustomize.patches[].target.group",
        // Images, a ref of Git, and a user of a chat.
        "Sync.kustomize.images[].name",
        "GitRepository.ref.name",
        "Provider.username",
    ];

    fn is_called_a_name(field: &str) -> bool {
        let field = field.to_ascii_lowercase();
        field == "group"
            || field.ends_with("name") && field != "newname"
            || field.ends_with("namespace")
    }

    fn fields(place: &str, schema: &Value, found: &mut BTreeMap<String, Value>) {
        for (name, schema) in schema["properties"].as_object().into_iter().flatten() {
            let place = format!("{place}.{name}");
            if schema["type"] == "string" && is_called_a_name(name) {
                found.insert(place.clone(), schema.clone());
            }
            fields(&place, schema, found);
            fields(&format!("{place}[]"), &schema["items"], found);
        }
    }

    /// All fields of the specs that are called names. The Sync in a GitRepository is a Sync's spec again.
    fn all() -> BTreeMap<String, Value> {
        let mut found = BTreeMap::new();
        for crd in crate::api::crds() {
            let kind = crd.spec.names.kind.clone();
            let crd = serde_json::to_value(crd).unwrap();
            let spec =
                &crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"];
            fields(&kind, spec, &mut found);
        }
        found
    }

    #[test]
    fn every_name_in_a_spec_is_one_that_an_object_can_have() {
        let found = all();
        for (place, schema) in &found {
            let place = place.replace("GitRepository.sync.", "Sync.");
            let Some((_, more)) = NAMES.iter().find(|(name, _)| *name == place) else {
                assert!(OTHERS.contains(&&*place), "{place} is not in the table");
                continue;
            };
            let pattern = schema["pattern"].as_str();
            let pattern = pattern.unwrap_or_else(|| panic!("{place} has no pattern"));
            let pattern = Regex::new(pattern).unwrap();
            for good in ["a", "0", "shop-1"].iter().chain(*more) {
                assert!(pattern.is_match(good), "{place}: {good:?}");
            }
            let bad = [
                "../x", "a/b", "a b", "A", "-a", "a-", ".a", "a..b", "a\0", "a\n", "é", "?a",
                "%2e", "a:b", "*a",
            ];
            for bad in bad
                .iter()
                .chain(["", "*"].iter().filter(|any| !more.contains(*any)))
            {
                assert!(!pattern.is_match(bad), "{place}: {bad:?}");
            }
            let is_bounded = schema["maxLength"].is_u64() || !pattern.is_match(&"a".repeat(254));
            assert!(is_bounded, "{place} has no bound");
        }
        for place in NAMES.map(|(place, _)| place).iter().chain(&OTHERS) {
            assert!(found.contains_key(*place), "{place} is gone");
        }
    }

    #[test]
    fn kinds_and_keys_are_words() {
        for (pattern, good, bad) in [
            (super::KIND, "Secret", ["", "a/b", "Secret ", "1a"]),
            (super::KEY, "values.yaml", ["", "a/b", "a b", "é"]),
        ] {
            let pattern = Regex::new(pattern).unwrap();
            assert!(pattern.is_match(good));
            for bad in bad {
                assert!(!pattern.is_match(bad), "{bad:?}");
            }
        }
    }
}
