//! Matches the desired objects with objects of a cluster.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use super::Desired;
use crate::intent::{FieldPattern, FieldRule};
use crate::manifest::{Digest, GroupKind, GroupVersionKind, Modes, ObjectKey};

/// The field that an autoscaler sets.
const REPLICAS: &str = "spec.replicas";

/// A desired object as an object of the cluster.
#[derive(Clone, Debug)]
pub struct Item {
    /// Its identity in the cluster.
    pub key: ObjectKey,
    /// What its manifest says, and which of its fields are left as they are.
    pub digest: Digest,
    /// Fields that are sent when it is created, and left as they are from then on.
    pub fixed: Option<Arc<[FieldPattern]>>,
    /// How its annotations want it to be treated.
    pub modes: Modes,
    /// Its index in [`Desired::objects`].
    pub index: usize,
}

/// Why a desired object has no place in the cluster.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Misplaced {
    /// Its kind is namespaced, but there is no namespace.
    #[error("it has no namespace: set metadata.namespace, or the Sync's targetNamespace")]
    NoNamespace,
    /// Its kind is namespaced, and a variable in its namespace has no value.
    #[error(
        "it has no namespace: in metadata.namespace, variable {0} has no value; give it one in spec.substitute, or a default: \
         ${{{0}:=…}}"
    )]
    NoVariable(String),
    /// It is outside of the only managed namespace. It could be applied, but not watched.
    #[error("this towline manages only objects of namespace {0}")]
    Outside(String),
    /// It is outside of the Sync's own namespace, beyond which only a ServiceAccount may act.
    #[error(
        "with --no-cross-namespace, a Sync without a ServiceAccount manages only objects of its own namespace {0}: set \
         spec.serviceAccountName to an account that may write this one"
    )]
    Foreign(String),
    /// Another desired object is the same object of the cluster, for example in another version of its
    /// kind.
    #[error("the same object is in {0} as well")]
    Twice(String),
    /// The API server keeps the objects of two kinds as the same ones.
    #[error(
        "the API server keeps it as one object with {object}, which is in {place}: keep one of the two"
    )]
    TwoGroups {
        /// The other object, with its version.
        object: String,
        /// Where that is.
        place: String,
    },
}

/// Kinds that the API server keeps under two groups as the same objects: the second group of each, and the first.
const TWO_GROUPS: [(&str, &str, &str); 1] = [("Event", "events.k8s.io", "")];

/// The key of an object, whichever of its groups the manifest names. One key for both lets Syncs that name the groups
/// of one object know that they want the same one.
fn under_first_group(key: ObjectKey) -> ObjectKey {
    let is = |(kind, second, _): &&(&str, &str, &str)| {
        (*kind, *second) == (&*key.kind.kind, &*key.kind.group)
    };
    match TWO_GROUPS.iter().find(is) {
        Some((kind, _, first)) => ObjectKey {
            kind: GroupKind::new(*first, *kind),
            ..key
        },
        None => key,
    }
}

/// The only namespace in which objects may be managed, and who is kept to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit<'a> {
    /// All Syncs of this operator.
    Operator(&'a str),
    /// This Sync.
    Sync(&'a str),
}

/// The desired objects as objects of a cluster.
#[derive(Debug, Default)]
pub struct Resolved {
    /// Objects that can be applied.
    pub items: HashMap<ObjectKey, Item>,
    /// Objects of kinds that are not served, by kind: indexes into [`Desired::objects`].
    pub waiting: BTreeMap<GroupKind, Vec<usize>>,
    /// Objects without a place in the cluster, as indexes into [`Desired::objects`], and why.
    pub misplaced: Vec<(usize, Misplaced)>,
}

/// Matches every desired object with an object of a cluster.
///
/// `is_namespaced` says of a kind whether its objects are in namespaces, none where the cluster does not
/// serve it; it is asked once a kind. `within` is the only namespace that may be managed, if there is one.
pub fn resolve(
    desired: &Desired,
    is_namespaced: impl Fn(&GroupVersionKind) -> Option<bool>,
    within: Option<Limit<'_>>,
) -> Resolved {
    let mut resolved = Resolved::default();
    let mut kinds: HashMap<&GroupVersionKind, Option<bool>> = HashMap::new();
    for (index, object) in desired.objects().iter().enumerate() {
        let kind = &*object.gvk;
        let served = *kinds.entry(kind).or_insert_with(|| is_namespaced(kind));
        let Some(namespaced) = served else {
            let waiting = resolved.waiting.entry(kind.group_kind()).or_default();
            waiting.push(index);
            continue;
        };
        let namespace = object.namespace.clone().filter(|_| namespaced);
        if let Some(why) = misplaced(namespaced, namespace.as_ref(), within) {
            let why = match desired.unset_namespace(index) {
                Some(variable) if why == Misplaced::NoNamespace => {
                    Misplaced::NoVariable(variable.to_owned())
                }
                _ => why,
            };
            resolved.misplaced.push((index, why));
            continue;
        }
        let key = under_first_group(ObjectKey {
            namespace,
            ..object.key()
        });
        resolved.place(
            desired,
            Item {
                key,
                digest: object.digest,
                fixed: None,
                modes: object.modes,
                index,
            },
        );
    }
    resolved
}

/// Why an object of a kind has no place in the cluster.
pub fn misplaced(
    namespaced: bool,
    namespace: Option<&Arc<str>>,
    within: Option<Limit<'_>>,
) -> Option<Misplaced> {
    if namespaced && namespace.is_none() {
        return Some(Misplaced::NoNamespace);
    }
    let (Limit::Operator(only) | Limit::Sync(only)) = within?;
    let is_inside = namespace.is_some_and(|namespace| **namespace == *only);
    let why = match within? {
        Limit::Operator(only) => Misplaced::Outside(only.to_owned()),
        Limit::Sync(only) => Misplaced::Foreign(only.to_owned()),
    };
    (!is_inside).then_some(why)
}

fn is_about(rule: &FieldRule, key: &ObjectKey) -> bool {
    let kind = (&*key.kind.group, &*key.kind.kind);
    rule.concerns(
        kind,
        key.namespace.as_deref().unwrap_or_default(),
        &key.name,
    )
}

impl Resolved {
    /// Gives an object its place. Of two manifests of one object one is left out.
    fn place(&mut self, desired: &Desired, item: Item) {
        let place = |index| {
            let place = desired.provenance(index).map(|place| place.to_string());
            place.unwrap_or_default()
        };
        let Some(other) = self.items.get(&item.key).map(|other| other.index) else {
            self.items.insert(item.key.clone(), item);
            return;
        };
        let group = |index: usize| &desired.objects()[index].gvk.group;
        if group(other) == group(item.index) {
            let why = Misplaced::Twice(place(other));
            self.misplaced.push((item.index, why));
            self.items.insert(item.key.clone(), item);
            return;
        }
        let is_first = *group(item.index) == item.key.kind.group;
        let (kept, left) = match is_first {
            true => (item.index, other),
            false => (other, item.index),
        };
        let version = desired.objects()[kept].gvk.api_version();
        let why = Misplaced::TwoGroups {
            object: format!("{version} {}", item.key),
            place: place(kept),
        };
        self.misplaced.push((left, why));
        if is_first {
            self.items.insert(item.key.clone(), item);
        }
    }

    /// Takes note of fields that are sent when their object is created, and left as they are from then on: those of
    /// `rules`, and the replicas of what is scaled by an autoscaler among the objects.
    pub fn leave(&mut self, desired: &Desired, rules: &[FieldRule]) {
        let replicas = self.autoscaled(desired);
        if rules.is_empty() && replicas.is_empty() {
            return;
        }
        for item in self.items.values_mut() {
            let rules = rules.iter().filter(|rule| is_about(rule, &item.key));
            let mut fixed: Vec<FieldPattern> =
                rules.flat_map(|rule| rule.fields.iter().cloned()).collect();
            if replicas.contains(&item.key) {
                fixed.extend(FieldPattern::parse(REPLICAS));
            }
            if !fixed.is_empty() {
                // With other rules, it has to be applied anew.
                let names: Vec<String> = fixed.iter().map(ToString::to_string).collect();
                item.digest = Digest::of(&serde_json::json!([item.digest.to_string(), names]));
                item.fixed = Some(fixed.into());
            }
        }
    }

    /// What is scaled by an autoscaler among the objects.
    fn autoscaled(&self, desired: &Desired) -> HashSet<ObjectKey> {
        if desired.scaled().is_empty() {
            return HashSet::new();
        }
        let items = self.items.values();
        let places: HashMap<usize, &ObjectKey> =
            items.map(|item| (item.index, &item.key)).collect();
        let scaled = desired.scaled().iter().filter_map(|(index, target)| {
            Some(ObjectKey {
                kind: target.kind.clone(),
                namespace: places.get(index)?.namespace.clone(),
                name: target.name.as_str().into(),
            })
        });
        scaled.collect()
    }

    /// The kinds of the objects that can be applied.
    #[must_use]
    pub fn kinds(&self) -> HashSet<GroupKind> {
        self.items.keys().map(|key| key.kind.clone()).collect()
    }
}
