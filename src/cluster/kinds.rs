//! Which kinds the API server serves: aggregated discovery once (two requests, and no failure as
//! a whole when one API group is down), then the definitions' own watch, so that a new custom
//! kind is known the moment it is established.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use futures::StreamExt as _;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{ApiResource, Object};
use kube::core::discovery::v2::APIGroupDiscoveryList;
use kube::runtime::watcher;
use kube::{Api, Client};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use super::resume::{is_denied, resumed};
use crate::manifest::{GroupKind, GroupVersionKind};

/// A kind that the API server serves.
#[derive(Clone, Debug, PartialEq)]
pub struct ServedKind {
    /// Group, version, kind and plural.
    pub resource: ApiResource,
    /// Whether its objects live in namespaces.
    pub namespaced: bool,
}

impl ServedKind {
    /// Its group and kind.
    pub fn group_kind(&self) -> GroupKind {
        GroupKind::new(self.resource.group.as_str(), self.resource.kind.as_str())
    }
}

/// The kinds that are served; clones share them.
#[derive(Clone)]
pub struct Kinds {
    table: Arc<RwLock<Table>>,
    changed: watch::Sender<u64>,
}

#[derive(Default)]
struct Table {
    /// In order of the server's preference.
    served: HashMap<GroupKind, Vec<ServedKind>>,
    discovered: Option<Instant>,
}

/// Discovery is asked again for a kind that nobody knows, but not more often than this: custom
/// kinds come by their watch, and only an aggregated API server's kinds come this way.
const DISCOVERY_PAUSE: Duration = Duration::from_secs(10);

impl Default for Kinds {
    fn default() -> Self {
        Self {
            table: Arc::default(),
            changed: watch::Sender::new(0),
        }
    }
}

impl Kinds {
    /// The kind as served in exactly this version.
    pub fn get(&self, gvk: &GroupVersionKind) -> Option<ServedKind> {
        let table = self.table.read().unwrap_or_else(PoisonError::into_inner);
        let versions = table.served.get(&gvk.group_kind())?;
        versions
            .iter()
            .find(|served| served.resource.version == *gvk.version)
            .cloned()
    }

    /// The kind in the version that the server prefers.
    pub fn preferred(&self, kind: &GroupKind) -> Option<ServedKind> {
        let table = self.table.read().unwrap_or_else(PoisonError::into_inner);
        table.served.get(kind)?.first().cloned()
    }

    /// Changes whenever a kind comes or goes.
    pub fn changed(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// Asks the server for all that it serves, unless it was asked a moment ago.
    ///
    /// # Errors
    /// The client's error, when the server does not answer.
    pub async fn discover(&self, client: &Client) -> Result<(), kube::Error> {
        let last = self.write(|table| table.discovered.replace(Instant::now()));
        if last.is_some_and(|last| last.elapsed() < DISCOVERY_PAUSE) {
            self.write(|table| table.discovered = last);
            return Ok(());
        }
        let (core, groups) = futures::try_join!(
            client.list_core_api_versions_aggregated(),
            client.list_api_groups_aggregated()
        )
        .inspect_err(|_| self.write(|table| table.discovered = last))?;
        let found = by_kind(core).chain(by_kind(groups));
        self.write(|table| table.served.extend(found));
        self.changed.send_modify(|count| *count += 1);
        Ok(())
    }

    /// Follows the custom resource definitions for as long as it is polled. An account with rights in
    /// one namespace only may not; then discovery, which everybody may ask, finds a new kind whenever a
    /// Sync that waits for it tries again.
    pub async fn follow(self, client: Client) {
        let resource = ApiResource::erase::<CustomResourceDefinition>(&());
        let api: Api<Definition> = Api::all_with(client, &resource);
        // Definitions are large; small pages bound what is in memory at once.
        let config = watcher::Config::default().page_size(25);
        let events = resumed("CustomResourceDefinition", watcher(api, config));
        let mut events = std::pin::pin!(events);
        let mut denied = false;
        while let Some(event) = events.next().await {
            match event {
                Ok(watcher::Event::InitApply(crd) | watcher::Event::Apply(crd)) => self.set(&crd),
                Ok(watcher::Event::Delete(crd)) => self.unset(&crd),
                Ok(watcher::Event::Init | watcher::Event::InitDone) => (),
                Err(error) if is_denied(&error) => {
                    if !std::mem::replace(&mut denied, true) {
                        tracing::info!(
                            "this account may not watch custom resource definitions: an object of a \
                             kind that is not served yet is applied when its Sync is tried again, and \
                             not the moment the kind comes"
                        );
                    }
                }
                Err(_) => (),
            }
        }
    }

    fn set(&self, crd: &Definition) {
        let served = crd.served();
        let kind = crd.group_kind();
        let changed = self.write(|table| {
            let before = table.served.get(&kind);
            if before == Some(&served) || (before.is_none() && served.is_empty()) {
                return false;
            }
            match served.is_empty() {
                true => table.served.remove(&kind).is_some(),
                false => {
                    table.served.insert(kind, served);
                    true
                }
            }
        });
        if changed {
            self.changed.send_modify(|count| *count += 1);
        }
    }

    fn unset(&self, crd: &Definition) {
        if self
            .write(|table| table.served.remove(&crd.group_kind()))
            .is_some()
        {
            self.changed.send_modify(|count| *count += 1);
        }
    }

    fn write<T>(&self, change: impl FnOnce(&mut Table) -> T) -> T {
        change(&mut self.table.write().unwrap_or_else(PoisonError::into_inner))
    }
}

fn by_kind(list: APIGroupDiscoveryList) -> impl Iterator<Item = (GroupKind, Vec<ServedKind>)> {
    let mut found: HashMap<GroupKind, Vec<ServedKind>> = HashMap::new();
    for group in list.items {
        let name = group
            .metadata
            .and_then(|meta| meta.name)
            .unwrap_or_default();
        for version in group.versions {
            let version_name = version.version.unwrap_or_default();
            for resource in version.resources {
                let (Some(plural), Some(kind)) = (
                    resource.resource,
                    resource.response_kind.and_then(|response| response.kind),
                ) else {
                    continue;
                };
                // What cannot be patched and watched cannot be managed.
                if !["patch", "watch", "delete"]
                    .iter()
                    .all(|verb| resource.verbs.iter().any(|has| has == verb))
                {
                    continue;
                }
                let gvk = kube::core::GroupVersionKind::gvk(&name, &version_name, &kind);
                found
                    .entry(GroupKind::new(name.as_str(), kind.as_str()))
                    .or_default()
                    .push(ServedKind {
                        resource: ApiResource::from_gvk_with_plural(&gvk, &plural),
                        namespaced: resource.scope.as_deref() == Some("Namespaced"),
                    });
            }
        }
    }
    found.into_iter()
}

/// A custom resource definition without its schemas.
type Definition = Object<DefinitionSpec, DefinitionStatus>;

#[derive(Clone, Debug, Deserialize, Serialize)]
struct DefinitionSpec {
    group: String,
    names: Names,
    scope: String,
    versions: Vec<Version>,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
struct Names {
    kind: String,
    plural: String,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
struct Version {
    name: String,
    served: bool,
    #[serde(default)]
    storage: bool,
}

#[derive(Clone, Debug, Default, Deserialize, Serialize)]
struct DefinitionStatus {
    #[serde(default)]
    conditions: Vec<DefinitionCondition>,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
struct DefinitionCondition {
    #[serde(rename = "type")]
    kind: String,
    status: String,
}

trait Served {
    fn group_kind(&self) -> GroupKind;
    fn served(&self) -> Vec<ServedKind>;
}

impl Served for Definition {
    fn group_kind(&self) -> GroupKind {
        GroupKind::new(self.spec.group.as_str(), self.spec.names.kind.as_str())
    }

    /// Its served versions, the storage version first; none until it is established.
    fn served(&self) -> Vec<ServedKind> {
        let established = self.metadata.deletion_timestamp.is_none()
            && self.status.as_ref().is_some_and(|status| {
                status
                    .conditions
                    .iter()
                    .any(|c| c.kind == "Established" && c.status == "True")
            });
        if !established {
            return Vec::new();
        }
        let DefinitionSpec {
            group,
            names,
            scope,
            versions,
        } = &self.spec;
        let mut versions: Vec<&Version> = versions.iter().filter(|v| v.served).collect();
        versions.sort_by_key(|version| !version.storage);
        versions
            .into_iter()
            .map(|version| {
                let gvk = kube::core::GroupVersionKind::gvk(group, &version.name, &names.kind);
                ServedKind {
                    resource: ApiResource::from_gvk_with_plural(&gvk, &names.plural),
                    namespaced: scope == "Namespaced",
                }
            })
            .collect()
    }
}
