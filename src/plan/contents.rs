//! What is lost with a namespace or a definition beyond what is deleted anyway. Pure.

use std::collections::HashSet;

use crate::manifest::{GroupKind, ObjectKey};

/// One object in a namespace, or of a kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inside {
    /// Which one.
    pub key: ObjectKey,
    /// Its uid.
    pub uid: String,
    /// The uids of its owners. It is deleted when the last of them is gone.
    pub owners: Vec<String>,
}

/// Whether objects of this kind say nothing that is not said elsewhere: what controllers write down about others.
pub fn is_derived(kind: &GroupKind) -> bool {
    matches!(
        (&*kind.group, &*kind.kind),
        ("" | "events.k8s.io", "Event")
            | ("", "Endpoints")
            | ("discovery.k8s.io", "EndpointSlice")
            | ("coordination.k8s.io", "Lease")
    )
}

/// Whether Kubernetes makes this object in every namespace.
fn is_everywhere(key: &ObjectKey) -> bool {
    matches!(
        (&*key.kind.group, &*key.kind.kind, &*key.name),
        ("", "ConfigMap", "kube-root-ca.crt") | ("", "ServiceAccount", "default")
    )
}

/// The objects of `inside` that are lost although nobody deletes them: not those of `going`, not what belongs to them,
/// and not what Kubernetes makes in every namespace.
pub fn lost<'a>(inside: &'a [Inside], going: &HashSet<String>) -> Vec<&'a Inside> {
    let mut gone: HashSet<&str> = going.iter().map(String::as_str).collect();
    let mut left: Vec<&Inside> = inside
        .iter()
        .filter(|one| !is_derived(&one.key.kind) && !is_everywhere(&one.key))
        .collect();
    loop {
        let before = left.len();
        left.retain(|one| {
            let is_owned = !one.owners.is_empty();
            let goes = gone.contains(&*one.uid)
                || is_owned && one.owners.iter().all(|owner| gone.contains(&**owner));
            if goes {
                gone.insert(&one.uid);
            }
            !goes
        });
        if left.len() == before {
            return left;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inside(group: &str, kind: &str, name: &str, uid: &str, owners: &[&str]) -> Inside {
        Inside {
            key: ObjectKey {
                kind: GroupKind::new(group, kind),
                namespace: Some("shop".into()),
                name: name.into(),
            },
            uid: uid.to_owned(),
            owners: owners.iter().map(|owner| (*owner).to_owned()).collect(),
        }
    }

    #[test]
    fn what_goes_takes_along_what_it_owns_and_nothing_else() {
        let all = [
            // In any order: an owner may come after what it owns.
            inside("", "Pod", "web-1-a", "pod", &["set"]),
            inside("apps", "ReplicaSet", "web-1", "set", &["web"]),
            inside("apps", "Deployment", "web", "web", &[]),
            inside("", "Pod", "foreign", "alone", &[]),
            inside("", "Pod", "other", "other-pod", &["other-set"]),
            inside("", "ConfigMap", "shared", "shared", &["web", "elsewhere"]),
            inside("", "PersistentVolumeClaim", "data", "data", &[]),
            inside("", "ConfigMap", "kube-root-ca.crt", "ca", &[]),
            inside("", "ServiceAccount", "default", "sa", &[]),
            inside("", "ServiceAccount", "builder", "builder", &[]),
            inside("", "Event", "e", "e", &[]),
            inside("events.k8s.io", "Event", "e", "e2", &[]),
            inside("", "Endpoints", "web", "ep", &[]),
            inside("coordination.k8s.io", "Lease", "l", "l", &[]),
        ];
        let lost_with = |going: &[&str]| {
            let going = going.iter().map(|uid| (*uid).to_owned()).collect();
            let lost = lost(&all, &going).into_iter();
            lost.map(|one| one.uid.clone()).collect::<Vec<_>>()
        };
        assert_eq!(
            lost_with(&["web"]),
            ["alone", "other-pod", "shared", "data", "builder"]
        );
        assert_eq!(
            lost_with(&["web", "alone", "other-set", "elsewhere", "data", "builder"]),
            [""; 0]
        );
        assert_eq!(lost_with(&[]).len(), 8);
    }
}
