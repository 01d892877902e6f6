//! The kinds that the API server serves. Aggregated discovery is read once: it takes two requests, and
//! does not fail as a whole if one API group is down. Then a watch of the definitions reports new custom
//! kinds at once.
//!
//! The two sources may lag behind each other. For a custom kind whose definition is watched, the watch
//! decides. An event from before a definition is established never removes a served kind.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

use futures::StreamExt as _;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::ApiResource;
use kube::runtime::watcher;
use kube::{Api, Client};
use tokio::sync::watch;

use super::definition::{Defines as _, Definition, Stage};
use super::discovery::{DiscoveredKinds, Unkept};
use super::listing::watched;
use super::resume::is_denied;
use super::{ServedKind, discovery};
use crate::manifest::{GroupKind, GroupVersionKind};

/// The served kinds. Clones share them.
#[derive(Clone)]
pub struct Kinds {
    table: Arc<RwLock<Table>>,
    changed: watch::Sender<u64>,
    /// What [`Self::api_versions`] returned last, and the count of changes then. Every Sync holds it.
    versions: Arc<Mutex<Versions>>,
}

/// The names of what is served, and the count of changes when they were read.
type Versions = Option<(u64, Arc<[String]>)>;

#[derive(Default)]
struct Table {
    /// In order of the server's preference.
    served: HashMap<GroupKind, Vec<ServedKind>>,
    discovered: Option<Instant>,
    /// The custom kinds whose definitions the watch has named as served.
    defined: HashSet<GroupKind>,
    /// Custom kinds whose definition was deleted, and when. Discovery may still name them for a while.
    deleted: HashMap<GroupKind, Instant>,
    /// Kinds whose definition exists but is not served yet, and since when.
    coming: HashMap<GroupKind, Instant>,
    /// Groups of aggregated API servers that do not answer at present.
    away: HashSet<Arc<str>>,
    /// Kinds that the server knows, but of which it keeps no object that can be managed.
    unkept: HashMap<GroupKind, Unkept>,
    /// Kinds that are served but that discovery does not name any longer, and since when.
    missing: HashMap<GroupKind, Instant>,
}

impl Table {
    /// Adds the result of discovery. Returns whether anything changed.
    fn found(&mut self, found: DiscoveredKinds, now: Instant) -> bool {
        self.deleted
            .retain(|_, when| when.elapsed() < DISCOVERY_LAGS);
        let mut changed = self.miss(&found, now);
        (self.away, self.unkept) = (found.away, found.unkept);
        for (kind, versions) in found.kinds {
            if self.defined.contains(&kind) || self.deleted.contains_key(&kind) {
                continue; // the watch knows better
            }
            self.coming.remove(&kind);
            if self.served.get(&kind) != Some(&versions) {
                self.served.insert(kind, versions);
                changed = true;
            }
        }
        changed
    }

    /// Removes kinds that were uninstalled: discovery has not named them for a while, and their API server is not
    /// just away. Returns whether there was one.
    fn miss(&mut self, found: &DiscoveredKinds, now: Instant) -> bool {
        let is_missing = |kind: &GroupKind| {
            let is_known = self.defined.contains(kind) || found.kinds.contains_key(kind);
            !is_known && !found.away.contains(&kind.group)
        };
        let missing: HashSet<GroupKind> = self
            .served
            .keys()
            .filter(|kind| is_missing(kind))
            .cloned()
            .collect();
        self.missing.retain(|kind, _| missing.contains(kind));
        let mut removed = false;
        for kind in missing {
            let since = *self.missing.entry(kind.clone()).or_insert(now);
            if now.duration_since(since) >= UNINSTALLED {
                self.missing.remove(&kind);
                removed |= self.served.remove(&kind).is_some();
            }
        }
        removed
    }

    /// Adds the state of a definition. Returns whether anything changed.
    fn set(&mut self, kind: GroupKind, stage: Stage) -> bool {
        match stage {
            Stage::Coming => {
                if !self.served.contains_key(&kind) {
                    self.coming.entry(kind).or_insert_with(Instant::now);
                }
                false
            }
            Stage::Served(versions) => {
                self.coming.remove(&kind);
                self.deleted.remove(&kind);
                self.defined.insert(kind.clone());
                let before = self.served.insert(kind.clone(), versions);
                before.as_ref() != self.served.get(&kind)
            }
            Stage::NotServed => self.unset(&kind),
        }
    }

    fn unset(&mut self, kind: &GroupKind) -> bool {
        self.coming.remove(kind);
        self.defined.remove(kind);
        self.deleted.insert(kind.clone(), Instant::now());
        self.served.remove(kind).is_some()
    }
}

/// How long discovery may still name a kind after its definition was deleted.
const DISCOVERY_LAGS: Duration = Duration::from_secs(60);

/// How long a new definition may take to be served. After that, objects that wait for it count as failed.
const COMING: Duration = Duration::from_secs(60);

/// How long discovery must not name a kind until it counts as uninstalled: an API server that starts does not name all
/// at once.
const UNINSTALLED: Duration = Duration::from_secs(8);

/// The shortest time between two discoveries. Discovery is repeated for unknown kinds. Only kinds of an
/// aggregated API server need this: custom kinds come from the watch.
const DISCOVERY_PAUSE: Duration = Duration::from_secs(10);

/// The pause after a denied watch if the account has rights in one namespace only. Then the denial is
/// permanent, and not a temporary state of an API server that starts.
const DENIED_PAUSE: Duration = Duration::from_secs(300);

impl Default for Kinds {
    fn default() -> Self {
        Self {
            table: Arc::default(),
            changed: watch::Sender::new(0),
            versions: Arc::default(),
        }
    }
}

impl Kinds {
    /// What a discovery has found.
    pub(super) fn of(found: DiscoveredKinds) -> Self {
        let kinds = Self::default();
        kinds.write(|table| table.found(found, Instant::now()));
        kinds
    }

    /// The kind as served in exactly this version.
    pub fn get(&self, gvk: &GroupVersionKind) -> Option<ServedKind> {
        let table = self.table.read().unwrap_or_else(PoisonError::into_inner);
        let versions = table.served.get(&gvk.group_kind())?;
        versions
            .iter()
            .find(|served| served.resource.version == *gvk.version)
            .cloned()
    }

    /// Whether a kind is served just so, in its version.
    pub(super) fn serves(&self, wanted: &ServedKind) -> bool {
        let table = self.table.read().unwrap_or_else(PoisonError::into_inner);
        let versions = table.served.get(&wanted.group_kind());
        versions.is_some_and(|versions| versions.contains(wanted))
    }

    /// The kind in the version that the server prefers.
    pub fn preferred(&self, kind: &GroupKind) -> Option<ServedKind> {
        let table = self.table.read().unwrap_or_else(PoisonError::into_inner);
        table.served.get(kind)?.first().cloned()
    }

    /// All kinds whose objects are in namespaces, each in the version that the server prefers.
    pub fn namespaced(&self) -> Vec<ServedKind> {
        let table = self.table.read().unwrap_or_else(PoisonError::into_inner);
        let preferred = table
            .served
            .values()
            .filter_map(|versions| versions.first());
        preferred
            .filter(|served| served.namespaced)
            .cloned()
            .collect()
    }

    /// The kind that the definition with this name defines, if it is served.
    pub fn defined_by(&self, definition: &str) -> Option<ServedKind> {
        let table = self.table.read().unwrap_or_else(PoisonError::into_inner);
        let mut preferred = table
            .served
            .values()
            .filter_map(|versions| versions.first());
        preferred
            .find(|served| served.definition() == definition)
            .cloned()
    }

    /// All served versions and kinds in the form of Helm's capabilities: `v1`, `v1/Pod`, `apps/v1`,
    /// `apps/v1/Deployment`. Sorted.
    pub fn api_versions(&self) -> Arc<[String]> {
        let mut last = self.versions.lock().unwrap_or_else(PoisonError::into_inner);
        let count = *self.changed.borrow();
        if let Some((of, versions)) = &*last
            && *of == count
        {
            return Arc::clone(versions);
        }
        let table = self.table.read().unwrap_or_else(PoisonError::into_inner);
        let served = table.served.values().flatten();
        let names = served.flat_map(|served| {
            let version = served.resource.api_version.clone();
            [format!("{version}/{}", served.resource.kind), version]
        });
        let versions: Arc<[String]> = names.collect::<BTreeSet<String>>().into_iter().collect();
        *last = Some((count, Arc::clone(&versions)));
        versions
    }

    /// Whether a kind is not served yet, but its definition is only seconds old. The API server needs
    /// some seconds to serve a new kind.
    pub fn is_coming(&self, kind: &GroupKind) -> bool {
        let table = self.table.read().unwrap_or_else(PoisonError::into_inner);
        let since = table.coming.get(kind);
        since.is_some_and(|since| since.elapsed() < COMING) && !table.served.contains_key(kind)
    }

    /// Whether a kind is in a group whose aggregated API server does not answer at present. Its objects exist all the
    /// same.
    pub fn is_away(&self, kind: &GroupKind) -> bool {
        let table = self.table.read().unwrap_or_else(PoisonError::into_inner);
        table.away.contains(&kind.group)
    }

    /// Why the API server keeps no objects of a kind that it knows.
    pub fn unkept(&self, kind: &GroupKind) -> Option<Unkept> {
        let table = self.table.read().unwrap_or_else(PoisonError::into_inner);
        table.unkept.get(kind).copied()
    }

    /// What a person who asks for a kind that is not served may have meant, or why it is not served, in words. A kind
    /// of another group is meant only if Kubernetes itself has it: what others define under the same name is another thing.
    pub fn instead_of(&self, gvk: &GroupVersionKind) -> Option<String> {
        let table = self.table.read().unwrap_or_else(PoisonError::into_inner);
        if table.away.contains(&gvk.group) {
            return Some(format!(
                "the aggregated API server of {} does not answer",
                gvk.group
            ));
        }
        let preferred = table
            .served
            .values()
            .filter_map(|versions| versions.first());
        let alike = preferred
            .map(|served| &served.resource)
            .filter(|served| may_be_meant(gvk, served));
        // The same group first.
        let meant = alike.min_by_key(|is| (*is.group != *gvk.group, is.group.clone()))?;
        Some(format!("it serves {} {}", meant.api_version, meant.kind))
    }

    /// Records that a definition of `kind` was applied. Its first watch event may come later.
    pub(super) fn expect(&self, kind: GroupKind) {
        self.write(|table| table.set(kind, Stage::Coming));
    }

    /// Changes when a kind is added or removed.
    pub fn changed(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// Reads all served kinds, unless they were read a moment ago.
    ///
    /// # Errors
    /// The client's error, when the server does not answer.
    pub async fn discover(&self, client: &Client) -> Result<(), kube::Error> {
        let last = self.write(|table| table.discovered.replace(Instant::now()));
        if last.is_some_and(|last| last.elapsed() < DISCOVERY_PAUSE) {
            self.write(|table| table.discovered = last);
            return Ok(());
        }
        let found = discovery::all(client)
            .await
            .inspect_err(|_| self.write(|table| table.discovered = last))?;
        self.tell_if(self.write(|table| table.found(found, Instant::now())));
        Ok(())
    }

    /// Watches the custom resource definitions for as long as it is polled. An account with rights in one
    /// namespace only may not watch them. Then discovery, which every account may read, finds a new kind
    /// when a Sync that waits for it tries again.
    pub async fn follow(self, client: Client, in_one_namespace: bool) {
        let resource = ApiResource::erase::<CustomResourceDefinition>(&());
        let api: Api<Definition> = Api::all_with(client, &resource);
        let config = watcher::Config::default();
        let events = watched("CustomResourceDefinition", api, config);
        let mut events = std::pin::pin!(events);
        let mut denied = false;
        // Kinds that the running list has not named yet.
        let mut unlisted = HashSet::new();
        while let Some(event) = events.next().await {
            match event {
                Ok(watcher::Event::Init) => {
                    unlisted = self.write(|table| table.defined.clone());
                }
                Ok(watcher::Event::InitApply(crd)) => {
                    unlisted.remove(&crd.group_kind());
                    self.set(&crd);
                }
                Ok(watcher::Event::InitDone) => {
                    for kind in unlisted.drain() {
                        self.unset(&kind);
                    }
                }
                Ok(watcher::Event::Apply(crd)) => self.set(&crd),
                Ok(watcher::Event::Delete(crd)) => self.unset(&crd.group_kind()),
                Err(error) if is_denied(&error) => {
                    if !std::mem::replace(&mut denied, true) {
                        tracing::info!(
                            "this account may not watch custom resource definitions: an object of a \
                             kind that is not served yet is applied when its Sync is tried again, and \
                             not the moment the kind comes"
                        );
                    }
                    if in_one_namespace {
                        tokio::time::sleep(DENIED_PAUSE).await;
                    }
                }
                Err(_) => (),
            }
        }
    }

    fn set(&self, crd: &Definition) {
        let (kind, stage) = (crd.group_kind(), crd.stage());
        self.tell_if(self.write(|table| table.set(kind, stage)));
    }

    fn unset(&self, kind: &GroupKind) {
        self.tell_if(self.write(|table| table.unset(kind)));
    }

    fn tell_if(&self, changed: bool) {
        if changed {
            self.changed.send_modify(|count| *count += 1);
        }
    }

    fn write<T>(&self, change: impl FnOnce(&mut Table) -> T) -> T {
        change(&mut self.table.write().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Whether a person who asks for a kind may mean one that is served. See [`Kinds::instead_of`].
fn may_be_meant(asked: &GroupVersionKind, served: &ApiResource) -> bool {
    let is_called = [&served.kind, &served.plural]
        .iter()
        .any(|name| name.eq_ignore_ascii_case(&asked.kind));
    let is_of_kubernetes = !served.group.contains('.') || served.group.ends_with(".k8s.io");
    is_called && (*served.group == *asked.group || is_of_kubernetes)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn definition(conditions: &serde_json::Value, more: &serde_json::Value) -> Definition {
        let mut value = json!({
            "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
            "metadata": {"name": "widgets.example.com", "resourceVersion": "7"},
            "spec": {
                "group": "example.com", "scope": "Namespaced",
                "names": {"kind": "Widget", "plural": "widgets", "shortNames": null},
                "versions": [
                    {"name": "v1", "served": true, "storage": false},
                    {"name": "v2", "served": true, "storage": true},
                    {"name": "v0", "served": false, "storage": null},
                ],
            },
            "status": {"conditions": conditions, "acceptedNames": null, "storedVersions": null},
        });
        if let (Some(all), Some(more)) = (value.as_object_mut(), more.as_object()) {
            all.extend(more.clone());
        }
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn a_kind_of_another_tenants_group_is_not_meant() {
        for (version, kind, served, is_meant) in [
            (
                "extensions/v1beta1",
                "Ingress",
                ("networking.k8s.io", "Ingress"),
                true,
            ),
            ("apps/v1beta1", "deployment", ("apps", "Deployment"), true),
            ("v1", "Deployment", ("apps", "Deployment"), true),
            ("apps/v1", "deployments", ("apps", "Deployment"), true),
            ("a.example/v1", "Gadget", ("a.example", "Gadget"), true),
            ("a.example/v1", "Gadget", ("b.example", "Gadget"), false),
            ("apps/v1", "Gadget", ("apps", "Deployment"), false),
        ] {
            let asked = GroupVersionKind::parse(version, kind).unwrap();
            let gvk = kube::core::GroupVersionKind::gvk(served.0, "v1", served.1);
            let served = ApiResource::from_gvk(&gvk);
            assert_eq!(may_be_meant(&asked, &served), is_meant, "{version} {kind}");
        }
    }

    fn established() -> Definition {
        let conditions = json!([{"type": "Established", "status": "True"}]);
        definition(&conditions, &json!({}))
    }

    fn fresh() -> Definition {
        definition(&json!(null), &json!({}))
    }

    fn widget() -> GroupKind {
        GroupKind::new("example.com", "Widget")
    }

    fn discovered(version: &str) -> DiscoveredKinds {
        let gvk = kube::core::GroupVersionKind::gvk("example.com", version, "Widget");
        let served = ServedKind {
            resource: ApiResource::from_gvk_with_plural(&gvk, "widgets"),
            namespaced: true,
        };
        DiscoveredKinds {
            kinds: HashMap::from([(widget(), vec![served])]),
            ..DiscoveredKinds::default()
        }
    }

    #[test]
    fn a_definition_with_nulls_is_read() {
        for conditions in [
            json!(null),
            json!([]),
            json!([{"type": "Established", "status": null}]),
            json!([{"type": null, "status": "True"}]),
        ] {
            let fresh = definition(&conditions, &json!({}));
            assert_eq!(fresh.stage(), Stage::Coming, "{conditions}");
        }
        let fresh = definition(&json!(null), &json!({"status": null}));
        assert_eq!(fresh.stage(), Stage::Coming);
        let Stage::Served(versions) = established().stage() else {
            panic!("not served");
        };
        let versions: Vec<_> = versions.iter().map(|v| &*v.resource.version).collect();
        assert_eq!(versions, ["v2", "v1"], "the storage version is first");
    }

    #[test]
    fn a_late_event_removes_no_kind_that_discovery_found() {
        let mut table = Table::default();
        assert!(table.found(discovered("v1"), Instant::now()));
        assert!(!table.set(widget(), fresh().stage()));
        let installing = json!([{"type": "Established", "status": "False"}]);
        let installing = definition(&installing, &json!({}));
        assert!(!table.set(widget(), installing.stage()));
        assert!(table.served.contains_key(&widget()));
        assert!(table.set(widget(), established().stage()));
        assert_eq!(table.served[&widget()].len(), 2);
    }

    #[test]
    fn late_discovery_does_not_overrule_a_definition() {
        let mut table = Table::default();
        table.set(widget(), established().stage());
        assert!(!table.found(discovered("v0"), Instant::now()));
        assert_eq!(table.served[&widget()].len(), 2);
        assert!(table.unset(&widget()));
        assert!(!table.found(discovered("v1"), Instant::now()));
        assert!(table.served.is_empty());
        assert!(table.set(widget(), established().stage()));
    }

    #[test]
    fn a_kind_that_is_away_is_not_a_kind_that_is_gone() {
        let mut table = Table::default();
        let start = Instant::now();
        let away = || DiscoveredKinds {
            away: HashSet::from(["example.com".into()]),
            ..DiscoveredKinds::default()
        };
        assert!(table.found(discovered("v1"), start));
        let later = start + UNINSTALLED * 4;
        for now in [start, later] {
            assert!(!table.found(away(), now));
            assert!(table.served.contains_key(&widget()) && table.away.contains("example.com"));
        }
        assert!(
            !table.found(DiscoveredKinds::default(), later),
            "it may only be starting"
        );
        assert!(table.found(DiscoveredKinds::default(), later + UNINSTALLED));
        assert!(table.served.is_empty() && table.away.is_empty());
        // One that a definition declares is never taken away by discovery.
        table.set(widget(), established().stage());
        assert!(!table.found(DiscoveredKinds::default(), later));
        assert!(!table.found(DiscoveredKinds::default(), later + UNINSTALLED * 2));
        assert!(table.served.contains_key(&widget()));
    }

    #[test]
    fn a_definition_that_is_deleted_ends_its_kind() {
        let mut table = Table::default();
        table.set(widget(), established().stage());
        let going = json!({"metadata": {
            "name": "widgets.example.com", "deletionTimestamp": "2026-01-01T00:00:00Z",
        }});
        let going = definition(&json!([{"type": "Established", "status": "True"}]), &going);
        assert!(table.set(widget(), going.stage()));
        assert!(table.served.is_empty());
    }

    #[test]
    fn a_new_definition_is_coming_until_it_is_served() {
        let kinds = Kinds::default();
        assert!(!kinds.is_coming(&widget()));
        kinds.expect(widget());
        assert!(kinds.is_coming(&widget()));
        kinds.set(&fresh());
        assert!(kinds.is_coming(&widget()));
        kinds.set(&established());
        assert!(!kinds.is_coming(&widget()));
        kinds.expect(widget());
        assert!(!kinds.is_coming(&widget()), "it is served");
    }
}
