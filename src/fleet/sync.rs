//! The published view of a Sync, and the dependencies between Syncs.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use kube::api::ObjectMeta;

use super::{SyncFigures, View};
use crate::api::{ENVIRONMENT, ENVIRONMENT_URL, Sync};
use crate::intent::SyncIntent;
use crate::plan::SyncName;
use crate::text::start;

/// The published view of a Sync.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SyncView {
    /// The Sync exists.
    pub exists: bool,
    /// It is ready at its current generation.
    pub ready: bool,
    /// A person pinned it to an earlier revision.
    pub pinned: bool,
    /// The name of its source.
    pub source: String,
    /// The folder that it reads, unless its spec asks for more than what is there. A change of it comes with another generation.
    pub folder: Option<String>,
    /// The revision that it has applied.
    pub applied: Option<String>,
    /// The revision for which it has said which objects it wants. A change of it wakes no other Sync.
    pub planned: Option<String>,
    /// The revision of which it has said that it does not know what it wants: it cannot read it, or not yet.
    pub unread: Option<String>,
    /// The Syncs of its own namespace that it had applied when it said so, with the resourceVersions that they had then:
    /// what these want is not known before they are. A change of it wakes no other Sync.
    pub brings: Vec<(SyncName, u64)>,
    /// The newest resourceVersion of its object. A change of it wakes no other Sync.
    pub version: u64,
    /// The Syncs that it depends on.
    pub depends_on: Vec<SyncName>,
    /// What people see of it. A change of this wakes no other Sync.
    pub figures: SyncFigures,
    /// The Syncs among its own objects whose health it waits for.
    pub waits_for: Vec<SyncName>,
    /// The Sync's identity in the API server.
    pub object: SyncObject,
    /// Its labels, by which alerts select it. A change of them wakes no other Sync.
    pub labels: Arc<BTreeMap<String, String>>,
    /// What its annotations say of its environment. A change of it wakes no other Sync.
    pub environment: Option<Arc<Environment>>,
}

/// What the annotations of a Sync say of the environment of its deployments. It may be anything.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Environment {
    /// Its name.
    pub name: Option<String>,
    /// Where it can be reached.
    pub url: Option<String>,
}

/// The longest value of an annotation that is kept, in bytes. It is longer than what can be used, so that it is found to
/// be too long.
const LONGEST_ANNOTATION: usize = 1024;

impl Environment {
    /// Reads the metadata.
    fn of(meta: &ObjectMeta) -> Option<Arc<Self>> {
        let annotations = meta.annotations.as_ref()?;
        let value = |name| Some(start(annotations.get(name)?, LONGEST_ANNOTATION).to_owned());
        let read = Self {
            name: value(ENVIRONMENT),
            url: value(ENVIRONMENT_URL),
        };
        (read != Self::default()).then(|| Arc::new(read))
    }
}

/// The identity of a Sync in the API server.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SyncObject {
    /// The uid of the GitRepository that owns it.
    pub owner: Option<String>,
    /// Its generation, which grows with every change of its spec.
    pub generation: Option<i64>,
}

impl SyncObject {
    /// Reads the metadata.
    pub fn of(meta: &ObjectMeta) -> Self {
        let mut owners = meta.owner_references.iter().flatten();
        let owner = owners.find(|owner| owner.controller == Some(true));
        Self {
            owner: owner.map(|owner| owner.uid.clone()),
            generation: meta.generation,
        }
    }
}

impl SyncView {
    /// The view that the status of a Sync gives.
    pub fn of(name: &SyncName, object: &Sync) -> Self {
        let status = object.status.clone().unwrap_or_default();
        let ready = status
            .conditions
            .iter()
            .any(|condition| condition.type_ == "Ready" && condition.status == "True");
        let intent = SyncIntent::from(object);
        let dependencies = intent.depends_on.iter();
        Self {
            exists: true,
            ready: ready && status.observed_generation == intent.generation,
            applied: status.last_applied_revision,
            pinned: intent.pin.is_some(),
            planned: None,
            unread: None,
            brings: Vec::new(),
            version: version(&object.metadata),
            depends_on: dependencies
                .map(|dependency| SyncName::new(&name.namespace, dependency))
                .collect(),
            source: intent.source,
            folder: intent.render.is_plain().then_some(intent.render.path),
            figures: SyncFigures::of(object),
            waits_for: Vec::new(),
            object: SyncObject::of(&object.metadata),
            labels: Arc::new(object.metadata.labels.clone().unwrap_or_default()),
            environment: Environment::of(&object.metadata),
        }
    }
}

fn version(meta: &ObjectMeta) -> u64 {
    let version = meta.resource_version.as_ref();
    version
        .and_then(|version| version.parse().ok())
        .unwrap_or_default()
}

impl View<SyncName> for SyncView {
    fn absent(_: &SyncName) -> Self {
        Self::default()
    }

    fn wakes(&self, before: &Self) -> bool {
        let Self {
            exists,
            ready,
            pinned,
            source,
            applied,
            depends_on,
            unread,
            folder: _,
            planned: _,
            brings: _,
            version: _,
            figures: _,
            waits_for: _,
            labels: _,
            environment: _,
            object,
        } = self;
        (
            exists, ready, pinned, source, applied, depends_on, unread, object,
        ) != (
            &before.exists,
            &before.ready,
            &before.pinned,
            &before.source,
            &before.applied,
            &before.depends_on,
            &before.unread,
            &before.object,
        )
    }
}

/// The circle of dependencies that contains `sync`, from it to itself. None if there is no such
/// circle.
pub(super) fn circle(
    sync: &SyncName,
    depends_on: impl Fn(&SyncName) -> Vec<SyncName>,
) -> Option<Vec<SyncName>> {
    let mut seen = HashSet::new();
    let mut paths = vec![vec![sync.clone()]];
    while let Some(path) = paths.pop() {
        for next in path.last().map(&depends_on).unwrap_or_default() {
            let mut longer = path.clone();
            longer.push(next.clone());
            if next == *sync {
                return Some(longer);
            }
            if seen.insert(next) {
                paths.push(longer);
            }
        }
    }
    None
}

/// Whether `from` waits for `to`: for its health, as a dependency, or through other Syncs.
pub(super) fn waits(from: &SyncName, to: &SyncName, view: impl Fn(&SyncName) -> SyncView) -> bool {
    let (mut seen, mut ends) = (HashSet::new(), vec![from.clone()]);
    while let Some(end) = ends.pop() {
        let SyncView {
            depends_on,
            waits_for,
            ..
        } = view(&end);
        for next in depends_on.into_iter().chain(waits_for) {
            if next == *to {
                return true;
            }
            if seen.insert(next.clone()) {
                ends.push(next);
            }
        }
    }
    false
}

/// The Syncs that depend on `sync`, directly or through others, without `sync` itself.
pub(super) fn dependents(sync: &SyncName, views: &[(SyncName, SyncView)]) -> HashSet<SyncName> {
    let mut found = HashSet::new();
    let mut ends = vec![sync];
    while let Some(end) = ends.pop() {
        for (name, view) in views {
            if name != sync && view.depends_on.contains(end) && found.insert(name.clone()) {
                ends.push(name);
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(name: &str) -> SyncName {
        SyncName::new("ns", name)
    }

    #[test]
    fn a_circle_is_found_and_named() {
        let edges = [("a", "b"), ("b", "c"), ("c", "b"), ("d", "a")];
        let depends_on = |sync: &SyncName| {
            let from = edges.iter().filter(|(from, _)| name(from) == *sync);
            from.map(|(_, to)| name(to)).collect()
        };
        assert_eq!(
            circle(&name("b"), depends_on),
            Some(vec![name("b"), name("c"), name("b")])
        );
        assert_eq!(
            circle(&name("a"), depends_on),
            None,
            "a leads to a circle but is not in it"
        );
        assert_eq!(circle(&name("x"), depends_on), None);
    }

    #[test]
    fn a_wait_is_found_through_health_and_dependencies() {
        let view = |sync: &SyncName| {
            let (waits_for, depends_on) = match &*sync.name {
                "parent" => (vec![name("child")], vec![]),
                "child" => (vec![name("grandchild")], vec![]),
                "grandchild" => (vec![], vec![name("parent")]),
                "loop" => (vec![name("loop")], vec![]),
                _ => (vec![], vec![]),
            };
            SyncView {
                waits_for,
                depends_on,
                ..SyncView::default()
            }
        };
        for (from, to, found) in [
            ("child", "parent", true),
            ("grandchild", "parent", true),
            ("parent", "grandchild", true),
            ("loop", "parent", false),
            ("loop", "loop", true),
            ("other", "parent", false),
        ] {
            assert_eq!(waits(&name(from), &name(to), view), found, "{from} {to}");
        }
    }
}
