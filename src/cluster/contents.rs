//! Reads what would be deleted with a namespace, a definition or a volume claim. Only before such an object is deleted.

use std::collections::HashSet;

use futures::{StreamExt as _, stream};
use http::{Request, header};
use kube::api::DynamicObject;
use kube::core::Resource as _;
use serde::Deserialize;
use serde_json::Value;

use super::pages::{METADATA_LIST, Page, Pages};
use super::refused::WriteError;
use super::write::{Writer, read};
use super::{Acting, ServedKind, null};
use crate::health::Health;
use crate::manifest::{GroupKind, ObjectKey};
use crate::plan::{Inside, Observed, is_derived, lost};
use crate::text::listing;

/// The most objects that are read of one namespace or definition, and of those that hang with their definition.
pub(super) const MOST: usize = 5_000;
const MOST_HELD: usize = 500;

/// The most owners of an object. Of one with more, it is not known whether it goes with them, so it counts as one that
/// does not.
const MOST_OWNERS: usize = 16;

/// The most lists at once.
pub(super) const LISTS: usize = 8;

/// Objects that a reason names.
const NAMED: usize = 3;

/// An object of a list. Only these fields are kept.
#[derive(Deserialize)]
pub(super) struct Item {
    metadata: ItemMeta,
}

impl Item {
    pub(super) fn inside(self, kind: &GroupKind) -> Inside {
        self.metadata.inside(kind)
    }
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
        let (mut pages, mut read, mut held) = (Pages::new(MOST_HELD), 0, 0);
        let mut named = Vec::new();
        while !pages.is_over() && read < MOST_HELD {
            let items = self.writer().items(&mut pages, key, &folder).await.ok()?;
            read += items.len();
            let items = items.into_iter().map(|item| item.metadata);
            for item in items.filter(|item| !item.finalizers.is_empty()) {
                held += 1;
                if named.len() < NAMED {
                    named.push(item.held(&kind));
                }
            }
        }
        (held > 0).then(|| listing(named, held))
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
            let page: Page<Item> = read(&answer.text).ok()?;
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
        let (mut pages, mut objects) = (Pages::new(most), Vec::new());
        while !pages.is_over() && objects.len() < most {
            let items = self.items(&mut pages, &about, &folder).await?;
            objects.extend(items.into_iter().map(|item| item.inside(&kind)));
        }
        Ok(objects)
    }

    async fn items(
        &self,
        pages: &mut Pages,
        about: &ObjectKey,
        folder: &str,
    ) -> Result<Vec<Item>, WriteError> {
        self.next_page(pages, about, (folder, ""), METADATA_LIST)
            .await
    }
}

impl ItemMeta {
    fn key(&self, kind: &GroupKind) -> ObjectKey {
        ObjectKey {
            kind: kind.clone(),
            namespace: self.namespace.as_deref().map(Into::into),
            name: self.name.as_str().into(),
        }
    }

    /// What holds it, in words.
    fn held(&self, kind: &GroupKind) -> String {
        let finalizers = self.finalizers.iter().take(NAMED).cloned();
        let finalizers = listing(finalizers, self.finalizers.len());
        format!("{} held by {finalizers}", self.key(kind))
    }

    fn inside(self, kind: &GroupKind) -> Inside {
        let key = self.key(kind);
        let owners = match self.owner_references.len() {
            ..=MOST_OWNERS => self.owner_references,
            _ => Vec::new(),
        };
        Inside {
            key,
            uid: self.uid,
            owners: owners.into_iter().map(|owner| owner.uid).collect(),
        }
    }
}

fn is_established(definition: &Value) -> bool {
    let conditions = definition.pointer("/status/conditions");
    let conditions = conditions.and_then(Value::as_array).into_iter().flatten();
    conditions
        .into_iter()
        .any(|condition| condition["type"] == "Established" && condition["status"] == "True")
}

pub(super) fn in_words(verb: &str, lost: &[&Inside]) -> Option<String> {
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
    fn an_object_of_a_list_is_read_as_the_api_server_writes_it() {
        let item = |owners: usize| {
            let owner = json!({"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": "o"});
            let item = json!({"kind": "PartialObjectMetadata", "metadata": {"name": "a", "namespace": "b",
                "uid": "u", "ownerReferences": vec![owner; owners], "finalizers": ["1", "2", "3", "4"]}});
            let item: Item = serde_json::from_value(item).unwrap();
            item.metadata
        };
        let kind = GroupKind::new("", "Secret");
        assert_eq!(item(1).inside(&kind).owners, ["o"]);
        assert_eq!(item(MOST_OWNERS + 1).inside(&kind).owners, [""; 0]);
        assert_eq!(
            item(0).held(&kind),
            "Secret b/a held by 1; 2; 3; and 1 more"
        );
        let bare = json!({"metadata": {"name": "a", "uid": "u", "ownerReferences": null}});
        let bare: Item = serde_json::from_value(bare).unwrap();
        assert_eq!(bare.metadata.key(&kind).namespace, None);
    }
}
