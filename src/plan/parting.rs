//! Which objects are released instead of deleted when they leave Git, or when their Sync is deleted. Pure.

use std::collections::HashMap;
use std::fmt;

use super::observed::Observed;
use crate::manifest::{GroupKind, ObjectKey};

/// An object and what is known of it.
pub type Owned = (ObjectKey, Observed);

/// Why an object is released: it stays, without towline's label and annotations.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Release {
    /// It says so itself, or its last manifest did.
    Kept,
    /// It existed before the Sync applied it.
    Adopted,
    /// Its deletion would delete this object, which is released.
    Holds(ObjectKey),
    /// Its Sync is deleted, and orphans its objects.
    Orphaned,
    /// Something has taken towline's marks off it.
    Unmarked,
}

impl fmt::Display for Release {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Kept => f.write_str("its annotation keeps it"),
            Self::Adopted => f.write_str(
                "it existed before this Sync applied it; spec.pruneAdopted deletes such objects",
            ),
            Self::Orphaned => f.write_str("its Sync was deleted"),
            Self::Unmarked => f.write_str(
                "something has taken towline's label or annotations off it, so towline cannot know it as its own",
            ),
            Self::Holds(inside) => write!(f, "it holds {inside}, which was released"),
        }
    }
}

/// The objects of a Sync that leave it.
#[derive(Debug, Default)]
pub struct Parting {
    /// Those to delete, in the order in which they came.
    pub going: Vec<Owned>,
    /// Those to release.
    pub released: Vec<(ObjectKey, Observed, Release)>,
}

impl Parting {
    /// Parts objects that leave. `is_kept` says that an object is not to be deleted. `with_adopted`: delete adopted
    /// objects as well. `definition` names the CustomResourceDefinition of a kind.
    pub fn of(
        leaving: Vec<Owned>,
        with_adopted: bool,
        is_kept: impl Fn(&ObjectKey, &Observed) -> bool,
        definition: impl Fn(&GroupKind) -> Option<String>,
    ) -> Self {
        let mut parting = Self::default();
        for (key, observed) in leaving {
            let is_adopted = || observed.proof.is_some_and(|proof| proof.is_adopted());
            if is_kept(&key, &observed) {
                parting.released.push((key, observed, Release::Kept));
            } else if !with_adopted && is_adopted() {
                parting.released.push((key, observed, Release::Adopted));
            } else {
                parting.going.push((key, observed));
            }
        }
        let mut spared: HashMap<ObjectKey, ObjectKey> = HashMap::new();
        for (key, ..) in &parting.released {
            for holder in holders(key, &definition) {
                spared.entry(holder).or_insert_with(|| key.clone());
            }
        }
        if !spared.is_empty() {
            let (held, going) = std::mem::take(&mut parting.going)
                .into_iter()
                .partition(|(key, _)| spared.contains_key(key));
            parting.going = going;
            let held: Vec<Owned> = held;
            parting
                .released
                .extend(held.into_iter().filter_map(|(key, observed)| {
                    let why = Release::Holds(spared.get(&key)?.clone());
                    Some((key, observed, why))
                }));
        }
        parting
    }
}

/// The objects whose deletion deletes this one: its namespace and its definition.
fn holders(
    key: &ObjectKey,
    definition: impl Fn(&GroupKind) -> Option<String>,
) -> impl Iterator<Item = ObjectKey> {
    let cluster_wide = |group, kind, name: &str| ObjectKey {
        kind: GroupKind::new(group, kind),
        namespace: None,
        name: name.into(),
    };
    let namespace = key.namespace.as_deref();
    let namespace = namespace.map(|name| cluster_wide("", "Namespace", name));
    let definition = definition(&key.kind);
    let definition = definition.map(|name| {
        let (group, kind) = ("apiextensions.k8s.io", "CustomResourceDefinition");
        cluster_wide(group, kind, &name)
    });
    namespace.into_iter().chain(definition)
}

#[cfg(test)]
mod tests {
    use super::super::SyncName;
    use super::super::observed::testing::observed;
    use super::super::proof::{Bond, testing};
    use super::*;

    fn object(group: &str, kind: &str, namespace: Option<&str>, name: &str) -> Owned {
        let key = ObjectKey {
            kind: GroupKind::new(group, kind),
            namespace: namespace.map(Into::into),
            name: name.into(),
        };
        (key, observed("a", "u"))
    }

    fn adopted((key, mut observed): Owned) -> Owned {
        let bond = Bond {
            sync: SyncName::new("ns", "a"),
            uid: testing::UID.into(),
            object: key.clone(),
        };
        observed.proof = Some(testing::key().for_adopted(&bond, "u"));
        (key, observed)
    }

    fn parted(leaving: Vec<Owned>, with_adopted: bool) -> (Vec<String>, Vec<String>) {
        let parting = Parting::of(
            leaving,
            with_adopted,
            |key, _| key.name.starts_with("kept"),
            |kind| (&*kind.group == "example.com").then(|| "widgets.example.com".to_owned()),
        );
        let going = parting.going.iter().map(|(key, _)| key.to_string());
        let released = parting.released.iter();
        let released = released.map(|(key, _, why)| match why {
            Release::Kept => format!("{key}: kept"),
            Release::Adopted => format!("{key}: adopted"),
            Release::Holds(inside) => format!("{key}: holds {inside}"),
            Release::Orphaned => format!("{key}: orphaned"),
            Release::Unmarked => format!("{key}: unmarked"),
        });
        (going.collect(), released.collect())
    }

    #[test]
    fn what_is_kept_or_adopted_is_released_with_what_holds_it() {
        let shop = Some("shop");
        let all = || {
            vec![
                object("apps", "Deployment", shop, "web"),
                object("", "ConfigMap", shop, "kept"),
                adopted(object("", "ConfigMap", Some("other"), "old")),
                adopted(object("", "ConfigMap", Some("other"), "kept-old")),
                object("example.com", "Widget", None, "kept-widget"),
                object("", "Namespace", None, "shop"),
                object("", "Namespace", None, "other"),
                object("", "Namespace", None, "empty"),
                object(
                    "apiextensions.k8s.io",
                    "CustomResourceDefinition",
                    None,
                    "widgets.example.com",
                ),
            ]
        };
        let (going, released) = parted(all(), false);
        assert_eq!(going, ["Deployment.apps shop/web", "Namespace empty"]);
        assert_eq!(
            released,
            [
                "ConfigMap shop/kept: kept",
                "ConfigMap other/old: adopted",
                "ConfigMap other/kept-old: kept",
                "Widget.example.com kept-widget: kept",
                "Namespace shop: holds ConfigMap shop/kept",
                "Namespace other: holds ConfigMap other/old",
                "CustomResourceDefinition.apiextensions.k8s.io widgets.example.com: holds Widget.example.com kept-widget",
            ]
        );
        let (going, released) = parted(all(), true);
        assert!(going.contains(&"ConfigMap other/old".to_owned()));
        assert!(released.contains(&"Namespace other: holds ConfigMap other/kept-old".to_owned()));
        let (going, released) = parted(vec![object("", "Namespace", None, "shop")], false);
        assert_eq!((going.len(), released.len()), (1, 0));
    }
}
