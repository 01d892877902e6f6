//! Lists in pages that take little memory.
//!
//! A page is one answer of the API server, and is in memory as a whole. 500 objects take a megabyte mostly, and 750
//! where each has metadata of 1.5 MB, which everybody may write who may write one of them. So an answer has a limit, and
//! fewer objects are asked for where it does not suffice.

use http::{Request, header};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::null;
use super::refused::WriteError;
use super::write::{Writer, read};
use crate::manifest::{GroupKind, ObjectKey};
use crate::plan::{HelmRecord, record_key};

/// The most objects of a page.
const PAGE: usize = 500;

/// What a page may take, in bytes.
const ROOM: usize = 4 << 20;

/// By which number of objects fewer are asked for, where a page has no room.
const FEWER: usize = 5;

/// The most pods of a Job, or of another object, that are looked at.
const PODS: usize = 20;
const PODS_OF_SELECTOR: usize = 100;

/// The most records of a release that are looked at. Helm keeps ten.
const RECORDS: usize = 500;

pub(super) const METADATA_LIST: &str =
    "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1";

/// A page of a list.
#[derive(Deserialize)]
#[serde(bound = "T: DeserializeOwned")]
pub(super) struct Page<T> {
    #[serde(default)]
    metadata: PageMeta,
    /// Null where there are none.
    #[serde(default = "Vec::new", deserialize_with = "null::as_default")]
    pub(super) items: Vec<T>,
}

impl<T: DeserializeOwned> Page<T> {
    /// The API server's name of the next page; empty after the last one.
    pub(super) fn next(&self) -> &str {
        self.metadata.next.as_deref().unwrap_or_default()
    }
}

#[derive(Default, Deserialize)]
struct PageMeta {
    #[serde(default, rename = "continue")]
    next: Option<String>,
}

/// How far a list was read.
#[derive(Debug)]
pub(super) struct Pages {
    /// The API server's name of the next page.
    next: String,
    /// The most objects of the next page.
    size: usize,
    is_over: bool,
}

impl Pages {
    /// A list of which nothing was read. `most`: how many objects are wanted.
    pub(super) fn new(most: usize) -> Self {
        Self {
            next: String::new(),
            size: most.min(PAGE),
            is_over: false,
        }
    }

    /// Whether all of it was read.
    pub(super) fn is_over(&self) -> bool {
        self.is_over
    }

    /// Asks for fewer objects. A single one is received whatever it takes: the API server has a limit for it.
    fn ask_for_fewer(&mut self) {
        self.size = (self.size / FEWER).max(1);
    }
}

impl Writer<'_> {
    /// The records that Helm reads of a release.
    pub(super) async fn helm_records(
        &self,
        namespace: &str,
        release: &str,
    ) -> Result<Vec<HelmRecord>, WriteError> {
        let key = ObjectKey {
            kind: GroupKind::new("", "Secret"),
            namespace: Some(namespace.into()),
            name: release.into(),
        };
        let folder = format!("/api/v1/namespaces/{namespace}/secrets");
        let selector = format!("owner=helm,name={release}");
        let selector: String = form_urlencoded::byte_serialize(selector.as_bytes()).collect();
        let list = (&*folder, &*format!("&labelSelector={selector}"));
        let (mut pages, mut seen) = (Pages::new(RECORDS), 0);
        let mut records = Vec::new();
        while !pages.is_over() && seen < RECORDS {
            let page: Vec<Value> = self
                .next_page(&mut pages, &key, list, METADATA_LIST)
                .await?;
            seen += page.len();
            records.extend(page.iter().filter_map(HelmRecord::of));
        }
        // Everybody who may patch a Secret can give it these labels. Nobody can change its name.
        let is_record = |record: &HelmRecord| {
            *record_key(namespace, release, record.version).name == record.name
        };
        records.retain(is_record);
        Ok(records)
    }

    /// The live pods of a Job, newest last; a few at most.
    pub(super) async fn pods_of(
        &self,
        job: &ObjectKey,
        uid: &str,
    ) -> Result<Vec<Value>, WriteError> {
        let namespace = job.namespace.as_deref().unwrap_or_default();
        let folder = format!("/api/v1/namespaces/{namespace}/pods");
        let selector = format!("&labelSelector=batch.kubernetes.io%2Fcontroller-uid%3D{uid}");
        let (mut pages, mut pods) = (Pages::new(PODS), Vec::new());
        while !pages.is_over() && pods.len() < PODS {
            let list = (&*folder, &*selector);
            let page: Vec<Value> = self
                .next_page(&mut pages, job, list, "application/json")
                .await?;
            pods.extend(page.into_iter().map(state_of));
        }
        let created = |pod: &Value| {
            pod["metadata"]["creationTimestamp"]
                .as_str()
                .map(str::to_owned)
        };
        pods.sort_by_cached_key(created);
        Ok(pods)
    }

    /// The live pods with these labels beside an object: the first page of them.
    pub(super) async fn pods_with(
        &self,
        about: &ObjectKey,
        selector: &str,
    ) -> Result<Vec<Value>, WriteError> {
        let namespace = about.namespace.as_deref().unwrap_or_default();
        let folder = format!("/api/v1/namespaces/{namespace}/pods");
        let selector: String = form_urlencoded::byte_serialize(selector.as_bytes()).collect();
        let selector = format!("&labelSelector={selector}");
        let mut pages = Pages::new(PODS_OF_SELECTOR);
        let list = (&*folder, &*selector);
        let page: Vec<Value> = self
            .next_page(&mut pages, about, list, "application/json")
            .await?;
        Ok(page.into_iter().map(state_of).collect())
    }

    /// The next page of a list. `folder`: its path; `query`: what else is asked for, as in `&labelSelector=a`.
    pub(super) async fn next_page<T: DeserializeOwned>(
        &self,
        pages: &mut Pages,
        about: &ObjectKey,
        (folder, query): (&str, &str),
        accept: &str,
    ) -> Result<Vec<T>, WriteError> {
        let _room = self.room_for_page().await;
        loop {
            let next: String = form_urlencoded::byte_serialize(pages.next.as_bytes()).collect();
            let uri = format!("{folder}?limit={}&continue={next}{query}", pages.size);
            let request = || {
                Request::get(&uri)
                    .header(header::ACCEPT, accept)
                    .body(Vec::new())
            };
            let room = if pages.size > 1 { ROOM } else { usize::MAX };
            match self.send_within(about, &[], room, request).await? {
                Some(answer) => {
                    let page: Page<T> = read(&answer.text)?;
                    pages.next = page.metadata.next.unwrap_or_default();
                    pages.is_over = pages.next.is_empty();
                    return Ok(page.items);
                }
                None => pages.ask_for_fewer(),
            }
        }
    }
}

/// A pod with what says how it stands. The rest may be large.
fn state_of(mut pod: Value) -> Value {
    let mut take = |place: &str| pod.pointer_mut(place).map(Value::take).unwrap_or_default();
    let (name, created) = (take("/metadata/name"), take("/metadata/creationTimestamp"));
    let leaves = take("/metadata/deletionTimestamp");
    json!({
        "metadata": {"name": name, "creationTimestamp": created, "deletionTimestamp": leaves},
        "status": take("/status"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fewer_objects_are_asked_for_until_it_is_one() {
        let mut pages = Pages::new(5_000);
        let sizes = std::iter::from_fn(|| {
            let size = pages.size;
            pages.ask_for_fewer();
            Some(size)
        });
        let sizes: Vec<usize> = sizes.take(6).collect();
        assert_eq!(sizes, [500, 100, 20, 4, 1, 1]);
        assert_eq!(Pages::new(20).size, 20);
    }

    #[test]
    fn a_page_is_read_as_the_api_server_writes_it() {
        let page = json!({"metadata": {"continue": "x"}, "items": [1, 2]});
        let page: Page<u8> = serde_json::from_value(page).unwrap();
        assert_eq!(page.metadata.next.as_deref(), Some("x"));
        assert_eq!(page.items, [1, 2]);
        let nothing: Page<Value> =
            serde_json::from_value(json!({"metadata": {}, "items": null})).unwrap();
        assert!(nothing.items.is_empty());
    }
}
