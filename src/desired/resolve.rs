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

/// The key of the same object under the other group of its kind, if it has two.
fn under_first_group(key: &ObjectKey) -> Option<ObjectKey> {
    let mut known = TWO_GROUPS.iter();
    let (kind, _, first) =
        known.find(|(kind, second, _)| (*kind, *second) == (&*key.kind.kind, &*key.kind.group))?;
    Some(ObjectKey {
        kind: GroupKind::new(*first, *kind),
        ..key.clone()
    })
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
        let key = ObjectKey {
            namespace,
            ..object.key()
        };
        let item = Item {
            key: key.clone(),
            digest: object.digest,
            fixed: None,
            modes: object.modes,
            index,
        };
        if let Some(twin) = resolved.items.insert(key, item) {
            let other = desired.provenance(twin.index);
            let other = other.map(|place| place.to_string()).unwrap_or_default();
            resolved.misplaced.push((index, Misplaced::Twice(other)));
        }
    }
    resolved.leave_out_second_groups(desired);
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
    /// Leaves out objects that are there under another group of their kind: each of the two would take the other's fields away.
    fn leave_out_second_groups(&mut self, desired: &Desired) {
        let twins = self.items.values().filter_map(|item| {
            let first = self.items.get(&under_first_group(&item.key)?)?;
            let version = desired.objects().get(first.index)?.gvk.api_version();
            let place = desired.provenance(first.index)?.to_string();
            let object = format!("{version} {}", first.key);
            Some((
                item.key.clone(),
                item.index,
                Misplaced::TwoGroups { object, place },
            ))
        });
        let mut twins: Vec<_> = twins.collect();
        twins.sort_unstable_by_key(|(_, index, _)| *index);
        for (key, index, why) in twins {
            self.items.remove(&key);
            self.misplaced.push((index, why));
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
