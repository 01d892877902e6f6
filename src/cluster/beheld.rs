//! What would be lost with objects, as far as a person may see it. The operator's own look is in `contents.rs`.

use std::collections::HashSet;

use futures::{StreamExt as _, stream};
use serde_json::Value;

use super::contents::{Item, LISTS, MOST, in_words};
use super::pages::{METADATA_LIST, Page};
use super::{ServedKind, Viewer};
use crate::manifest::ObjectKey;
use crate::plan::{Inside, is_derived, lost};

impl Viewer {
    /// What would be lost with a live object beyond the objects with the uids `going`, in words. None if nothing would, as
    /// far as it may be seen.
    pub async fn lost_with(
        &self,
        key: &ObjectKey,
        live: &Value,
        going: &HashSet<String>,
    ) -> Option<String> {
        let text = |place: &str| live.pointer(place).and_then(Value::as_str);
        let what = match (&*key.kind.group, &*key.kind.kind) {
            ("", "Namespace") => {
                let mut kinds = self.kinds.namespaced();
                kinds.retain(|served| !is_derived(&served.group_kind()));
                let lists = stream::iter(kinds)
                    .map(|served| async move { self.inside(&served, Some(&key.name)).await });
                let lists: Vec<Vec<Inside>> = lists.buffer_unordered(LISTS).collect().await;
                let mut inside = lists.concat();
                inside.sort_by(|one, other| one.key.cmp(&other.key));
                in_words("holds", &lost(&inside, going))
            }
            ("apiextensions.k8s.io", "CustomResourceDefinition") => {
                let served = self.kinds.defined_by(&key.name)?;
                let inside = self.inside(&served, None).await;
                in_words("has", &lost(&inside, going))
            }
            ("", "PersistentVolumeClaim") => {
                let volume = text("/spec/volumeName").filter(|name| !name.is_empty());
                volume.map(|_| "is bound to a volume".to_owned())
            }
            ("", "PersistentVolume") if text("/status/phase") == Some("Bound") => {
                let goes = text("/spec/claimRef/uid").is_some_and(|uid| going.contains(uid));
                let claim = text("/spec/claimRef/namespace").zip(text("/spec/claimRef/name"));
                let claim = claim.filter(|_| !goes);
                claim.map(|(namespace, name)| {
                    format!("is bound to PersistentVolumeClaim {namespace}/{name}")
                })
            }
            _ => None,
        };
        what.map(|what| format!("{key} {what}"))
    }

    /// The namespaces that have an object of a kind with this name. Empty where the kind may not be listed in all of them.
    pub async fn namespaces_with(&self, served: &ServedKind, name: &str) -> Vec<String> {
        if !served.namespaced {
            return Vec::new();
        }
        let field = format!("metadata.name={name}");
        let page = self.page::<Page<Item>>(served, None, ("", &field), METADATA_LIST);
        let items = page.await.map_or_else(|_| Vec::new(), |page| page.items);
        let keys = items
            .into_iter()
            .map(|item| item.inside(&served.group_kind()).key);
        keys.filter_map(|key| Some(key.namespace?.to_string()))
            .collect()
    }

    /// The objects of a kind, without their bodies: those in a namespace, or all. Those of pages that cannot be read are left out.
    async fn inside(&self, served: &ServedKind, namespace: Option<&str>) -> Vec<Inside> {
        let (kind, mut objects, mut next) = (served.group_kind(), Vec::new(), String::new());
        loop {
            let page = self.page::<Page<Item>>(served, namespace, (&next, ""), METADATA_LIST);
            let Ok(page) = page.await else {
                return objects;
            };
            next = page.next().to_owned();
            objects.extend(page.items.into_iter().map(|item| item.inside(&kind)));
            if next.is_empty() || objects.len() >= MOST {
                return objects;
            }
        }
    }
}
