//! Reads what would be deleted with a namespace, a definition or a volume claim. Only before such an object is deleted.

use std::collections::HashSet;

use futures::{StreamExt as _, stream};
use http::{Request, header};
use kube::api::DynamicObject;
use kube::core::Resource as _;
use serde::Deserialize;
use serde_json::Value;

use super::refused::WriteError;
use super::write::{Writer, read};
use super::{Acting, ServedKind, null};
use crate::health::Health;
use crate::manifest::{GroupKind, ObjectKey};
use crate::plan::{Inside, Observed, is_derived, lost};
use crate::text::listing;

/// Objects of one answer, and the most that are read of one namespace or definition.
const PAGE: usize = 500;
const MOST: usize = 5_000;

/// The most lists at once.
const LISTS: usize = 8;

/// Objects that a reason names.
const NAMED: usize = 3;

const METADATA_LIST: &str = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1";

/// A page of a list. Only these fields are kept.
#[derive(Deserialize)]
struct Page {
    #[serde(default)]
    metadata: PageMeta,
    /// Null where there are none.
    #[serde(default, deserialize_with = "null::as_default")]
    items: Vec<Item>,
}

#[derive(Default, Deserialize)]
struct PageMeta {
    #[serde(default, rename = "continue")]
    next: Option<String>,
}

#[derive(Deserialize)]
struct Item {
    metadata: ItemMeta,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ItemMeta {
    name: String,
    namespace: Option<String>,
    uid: String,
    #[serde(default, deserialize_with = "null::as_default")]
    owner_references: Vec<Owner>,
    #[serde(default, deserialize_with = "null::as_default")]
    finalizers: Vec<String>,
}

#[derive(Deserialize)]
struct Owner {
    uid: String,
}

/// Whether the deletion of an object of this kind may delete more than the object.
pub fn may_hold(kind: &GroupKind) -> bool {
    matches!(
        (&*kind.group, &*kind.kind),
        (
            "",
            "Namespace" | "PersistentVolumeClaim" | "PersistentVolume"
        ) | ("apiextensions.k8s.io", "CustomResourceDefinition")
    )
}

impl Acting<'_> {
    /// What would be lost with an object beyond the objects with the uids `going`, in words. None if nothing would. If
    /// it cannot be known, the words say so.
    pub async fn lost_with(
        &self,
        key: &ObjectKey,
        observed: &Observed,
        going: &HashSet<String>,
    ) -> Option<String> {
        let found = match &*key.kind.kind {
            "Namespace" => self.lost_in_namespace(key, going).await,
            "CustomResourceDefinition" => self.lost_with_definition(key, going).await,
            "PersistentVolume" => self.claimed(key, going).await,
            _ => self.bound(key, observed).await,
        };
        match found {
            Ok(what) => what.map(|what| format!("{key} {what}")),
            Err(error) => Some(format!(
                "what {key} holds cannot be read: {}",
                crate::chain(&error)
            )),
        }
    }

    async fn lost_in_namespace(
        &self,
        key: &ObjectKey,
        going: &HashSet<String>,
    ) -> Result<Option<String>, WriteError> {
        let mut kinds = self.cluster.kinds.namespaced();
        kinds.retain(|served| !is_derived(&served.group_kind()));
        let writer = &self.writer();
        let mut lists = stream::iter(kinds)
            .map(|served| async move {
                let objects = writer.list(&served, Some(&key.name), MOST).await;
                match objects {
                    // It was uninstalled a moment ago, and its objects with it.
                    Err(WriteError::NotServed) => Ok(Vec::new()),
                    objects => objects,
                }
            })
            .buffer_unordered(LISTS);
        let mut inside = Vec::new();
        let mut refused: Vec<WriteError> = Vec::new();
        while let Some(objects) = lists.next().await {
            match objects {
                Ok(objects) => inside.extend(objects),
                Err(error) => refused.push(error),
            }
            if inside.len() >= MOST {
                return Ok(Some(format!("holds {MOST} objects or more")));
            }
        }
        let known = in_words("holds", &lost(&inside, going));
        // The answers come in any order.
        refused.sort_by_cached_key(ToString::to_string);
        let more = refused.len().saturating_sub(1);
        match (refused.into_iter().next(), known) {
            (None, known) => Ok(known),
            (Some(error), None) if more == 0 => Err(error),
            (Some(error), known) => Ok(Some(format!(
                "{}cannot be read as a whole: {}{}",
                known.map_or_else(String::new, |known| format!("{known}, and ")),
                crate::chain(&error),
                match more {
                    0 => String::new(),
                    more => format!("; nor can {more} more kinds"),
                },
            ))),
        }
    }

    async fn lost_with_definition(
        &self,
        key: &ObjectKey,
        going: &HashSet<String>,
    ) -> Result<Option<String>, WriteError> {
        let Some(served) = self.cluster.kinds.defined_by(&key.name) else {
            let Some(definitions) = self.cluster.kinds.preferred(&key.kind) else {
                return Ok(None);
            };
            let live = self.writer().whole(&definitions, key).await?;
            let established = live.is_some_and(|live| is_established(&live));
            // Nothing can be made of a kind that was never established.
            return Ok(established.then(|| {
                "defines a kind that is not served now, so its objects cannot be read".to_owned()
            }));
        };
        let objects = match self.writer().list(&served, None, MOST).await {
            Err(WriteError::NotServed) => Vec::new(),
            objects => objects?,
        };
        if objects.len() >= MOST {
            return Ok(Some(format!("has {MOST} objects or more")));
        }
        Ok(in_words("has", &lost(&objects, going)))
    }

    /// What holds the objects of a definition, which is being deleted with them, in words. None where nothing does, or
    /// where they cannot be read.
    pub async fn held_with(&self, key: &ObjectKey, definition: &Value) -> Option<String> {
        let text = |place: &str| definition.pointer(place).and_then(Value::as_str);
        let (group, plural) = (text("/spec/group")?, text("/spec/names/plural")?);
        let kind = GroupKind::new(group, text("/spec/names/kind")?);
        let versions = definition.pointer("/spec/versions")?.as_array()?;
        let served = versions.iter().find(|version| version["served"] == true)?;
        let folder = format!("/apis/{group}/{}/{plural}", served["name"].as_str()?);
        let page = self.writer().page(&folder, key, "").await.ok()?;
        let held = page.items.into_iter().map(|item| item.metadata);
        let held: Vec<ItemMeta> = held.filter(|item| !item.finalizers.is_empty()).collect();
        let named = held.iter().take(NAMED).map(|item| {
            let key = ObjectKey {
                kind: kind.clone(),
                namespace: item.namespace.as_deref().map(Into::into),
                name: item.name.as_str().into(),
            };
            format!("{key} held by {}", item.finalizers.join(", "))
        });
        (!held.is_empty()).then(|| listing(named, held.len()))
    }

    /// The Service that has this cluster IP, other than that of `key`. None if there is none, or if the actor may not
    /// know.
    pub async fn with_address(
        &self,
        served: &ServedKind,
        key: &ObjectKey,
        address: &str,
    ) -> Option<ObjectKey> {
        let address: String = form_urlencoded::byte_serialize(address.as_bytes()).collect();
        // An account may have rights in its own namespace only.
        for namespace in [None, key.namespace.as_deref()] {
            let folder = DynamicObject::url_path(&served.resource, namespace);
            let uri = format!("{folder}?limit=2&fieldSelector=spec.clusterIP%3D{address}");
            let request = || {
                Request::get(&uri)
                    .header(header::ACCEPT, METADATA_LIST)
                    .body(Vec::new())
            };
            let Ok(answer) = self.writer().send(key, &[], request).await else {
                continue;
            };
            let page: Page = read(&answer.text).ok()?;
            let mut found = page.items.into_iter().map(|item| ObjectKey {
                kind: key.kind.clone(),
                namespace: item.metadata.namespace.map(Into::into),
                name: item.metadata.name.into(),
            });
            return found.find(|found| found != key);
        }
        None
    }

    /// The claim that a volume is bound to. A deletion cannot be taken back: the volume would go as soon as the claim does,
    /// and with it, by its reclaim policy, the data.
    async fn claimed(
        &self,
        key: &ObjectKey,
        going: &HashSet<String>,
    ) -> Result<Option<String>, WriteError> {
        let Some(served) = self.cluster.kinds.preferred(&key.kind) else {
            return Ok(None);
        };
        let Some(live) = self.writer().whole(&served, key).await? else {
            return Ok(None);
        };
        let text = |place: &str| live.pointer(place).and_then(Value::as_str);
        let claim = text("/spec/claimRef/namespace").zip(text("/spec/claimRef/name"));
        let is_bound = text("/status/phase") == Some("Bound");
        let goes = text("/spec/claimRef/uid").is_some_and(|uid| going.contains(uid));
        let claim = claim.filter(|_| is_bound && !goes);
        Ok(claim.map(|(namespace, name)| {
            format!("is bound to PersistentVolumeClaim {namespace}/{name}")
        }))
    }

    async fn bound(
        &self,
        key: &ObjectKey,
        observed: &Observed,
    ) -> Result<Option<String>, WriteError> {
        let bound = || Some("is bound to a volume".to_owned());
        // The watch has seen it.
        if observed.health == Health::Current {
            return Ok(bound());
        }
        let Some(served) = self.cluster.kinds.preferred(&key.kind) else {
            return Ok(None);
        };
        let live = self.writer().whole(&served, key).await?;
        let volume = live
            .as_ref()
            .and_then(|live| live.pointer("/spec/volumeName"));
        let has_volume = volume
            .and_then(Value::as_str)
            .is_some_and(|name| !name.is_empty());
        Ok(bound().filter(|_| has_volume))
    }
}

impl Writer<'_> {
    /// The objects of a kind: those in a namespace, or all. At most about `most`.
    async fn list(
        &self,
        served: &ServedKind,
        namespace: Option<&str>,
        most: usize,
    ) -> Result<Vec<Inside>, WriteError> {
        let folder = DynamicObject::url_path(&served.resource, namespace);
        let kind = served.group_kind();
        // A missing right is one to this kind, in this namespace.
        let about = ObjectKey {
            kind: kind.clone(),
            namespace: namespace.map(Into::into),
            name: "".into(),
        };
        let mut objects = Vec::new();
        let mut next: Option<String> = None;
        loop {
            let page = next.as_deref().unwrap_or_default();
            let page = self.page(&folder, &about, page).await?;
            objects.extend(page.items.into_iter().map(|item| {
                Inside {
                    key: ObjectKey {
                        kind: kind.clone(),
                        namespace: item.metadata.namespace.map(Into::into),
                        name: item.metadata.name.into(),
                    },
                    uid: item.metadata.uid,
                    owners: item
                        .metadata
                        .owner_references
                        .into_iter()
                        .map(|owner| owner.uid)
                        .collect(),
                }
            }));
            next = page.metadata.next.filter(|next| !next.is_empty());
            if next.is_none() || objects.len() >= most {
                return Ok(objects);
            }
        }
    }

    /// A page of a list: the first one, or the one that another page names as the next.
    async fn page(&self, folder: &str, about: &ObjectKey, page: &str) -> Result<Page, WriteError> {
        let page: String = form_urlencoded::byte_serialize(page.as_bytes()).collect();
        let uri = format!("{folder}?limit={PAGE}&continue={page}");
        let answer = self
            .send(about, &[], || {
                Request::get(&uri)
                    .header(header::ACCEPT, METADATA_LIST)
                    .body(Vec::new())
            })
            .await?;
        read(&answer.text)
    }
}

fn is_established(definition: &Value) -> bool {
    let conditions = definition.pointer("/status/conditions");
    let conditions = conditions.and_then(Value::as_array).into_iter().flatten();
    conditions
        .into_iter()
        .any(|condition| condition["type"] == "Established" && condition["status"] == "True")
}

fn in_words(verb: &str, lost: &[&Inside]) -> Option<String> {
    if lost.is_empty() {
        return None;
    }
    let named = lost.iter().take(NAMED).map(|one| one.key.to_string());
    Some(format!("{verb} {}", listing(named, lost.len())))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_an_established_definition_has_objects() {
        let of = |conditions| json!({"status": {"conditions": conditions}});
        let named = json!({"type": "NamesAccepted", "status": "True"});
        let is = |status| json!({"type": "Established", "status": status});
        assert!(is_established(&of(json!([named, is("True")]))));
        for conditions in [json!([named, is("False")]), json!([named]), json!(null)] {
            assert!(!is_established(&of(conditions)));
        }
    }

    #[test]
    fn a_page_is_read_as_the_api_server_writes_it() {
        let page = json!({
            "kind": "PartialObjectMetadataList", "apiVersion": "meta.k8s.io/v1",
            "metadata": {"resourceVersion": "7", "continue": "x", "remainingItemCount": 3},
            "items": [{"kind": "PartialObjectMetadata", "metadata": {"name": "a", "namespace": "b", "uid": "u",
                "ownerReferences": [{"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": "o"}]}},
                {"metadata": {"name": "a", "uid": "u"}}],
        });
        let page: Page = serde_json::from_value(page).unwrap();
        assert_eq!(page.metadata.next.as_deref(), Some("x"));
        assert_eq!(page.items[0].metadata.owner_references[0].uid, "o");
        assert_eq!(page.items[1].metadata.namespace, None);
        let nothing: Page = serde_json::from_value(json!({"metadata": {}, "items": null})).unwrap();
        assert!(nothing.items.is_empty());
    }
}
