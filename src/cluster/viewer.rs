//! A cluster as a person or a ServiceAccount sees it: reads and dry runs with their rights. Nothing is written.

use std::sync::Arc;

use http::{Request, header};
use kube::api::DynamicObject;
use kube::client::Body;
use kube::{Client, Resource as _};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::discovery::{self, Words};
use super::receive::receive;
use super::write::{IMPERSONATE, path};
use super::{Actor, Kinds, ServedKind};
use crate::api::FIELD_MANAGER;
use crate::chain::refusal;
use crate::manifest::{GroupKind, ObjectKey, redact};

/// The most objects that one answer lists.
const PAGE: usize = 500;

/// The most objects of a page, where the answer has a limit.
const SMALL_PAGE: usize = 50;

/// Why something cannot be looked at.
pub(super) enum LookError {
    /// The API server's refusal, or the client's error.
    Api(kube::Error),
    /// It is larger than the room for it.
    TooLarge,
    /// There was no answer in time.
    Silent,
}

/// What an apply as a dry run would do.
#[derive(Debug)]
pub enum Rehearsed {
    /// The object as it would be.
    Taken(Value),
    /// The API server refuses it, in its own words (values removed).
    Refused(String),
}

/// Reads objects of all kinds.
pub struct Viewer {
    client: Client,
    /// In whose name, if not in that of the client.
    impersonated: Option<Arc<str>>,
    /// The kinds that are served.
    pub kinds: Kinds,
    words: Words,
}

impl Viewer {
    /// Asks which kinds are served, in two requests.
    ///
    /// # Errors
    /// The client's error.
    pub async fn new(client: Client) -> Result<Self, kube::Error> {
        let (found, words) = discovery::with_words(&client).await?;
        Ok(Self {
            client,
            impersonated: None,
            kinds: Kinds::of(found),
            words,
        })
    }

    /// The view of an actor of the operator, which knows the kinds already.
    pub(super) fn acting(client: Client, actor: &Actor, kinds: Kinds) -> Self {
        Self {
            client,
            impersonated: actor.account.clone(),
            kinds,
            words: Words::default(),
        }
    }

    async fn send<T: DeserializeOwned>(
        &self,
        request: http::request::Builder,
        body: Vec<u8>,
    ) -> Result<T, kube::Error> {
        let request = match &self.impersonated {
            Some(name) => request.header(IMPERSONATE, &**name),
            None => request,
        };
        let request = request.body(body).map_err(kube::Error::HttpError)?;
        self.client.request(request).await
    }

    /// Receives at most `room` bytes. Returns how many they were.
    async fn receive(&self, uri: String, room: usize) -> Result<(Value, usize), LookError> {
        let request = Request::get(uri);
        let request = match &self.impersonated {
            Some(name) => request.header(IMPERSONATE, &**name),
            None => request,
        };
        let request = request.body(Body::empty());
        let request = request.map_err(|error| LookError::Api(kube::Error::HttpError(error)))?;
        let answer = receive(&self.client, request, room).await;
        let text = answer.map_err(LookError::Api)?;
        let text = text.ok_or(LookError::TooLarge)?;
        let unreadable = |error| LookError::Api(kube::Error::SerdeError(error));
        let object = serde_json::from_str(&text).map_err(unreadable)?;
        Ok((object, text.len()))
    }

    /// An object, or with an empty name a list, and the bytes that were received. None where there is no such object.
    pub(super) async fn look(
        &self,
        served: &ServedKind,
        namespace: Option<&str>,
        name: &str,
        room: usize,
    ) -> Result<(Option<Value>, usize), LookError> {
        if name.is_empty() {
            let (items, received) = self.look_at_all(served, namespace, room).await?;
            let mut list = json!({"metadata": {}, "items": items});
            list["apiVersion"] = served.resource.api_version.as_str().into();
            list["kind"] = format!("{}List", served.resource.kind).into();
            return Ok((Some(list), received));
        }
        let key = ObjectKey {
            kind: served.group_kind(),
            namespace: namespace.map(Into::into),
            name: name.into(),
        };
        match self.receive(path(served, &key), room).await {
            Ok((object, received)) => Ok((Some(object), received)),
            Err(LookError::Api(kube::Error::Api(status))) if status.code == 404 => Ok((None, 0)),
            Err(error) => Err(error),
        }
    }

    async fn look_at_all(
        &self,
        served: &ServedKind,
        namespace: Option<&str>,
        room: usize,
    ) -> Result<(Vec<Value>, usize), LookError> {
        let folder = DynamicObject::url_path(&served.resource, namespace);
        let (mut objects, mut received) = (Vec::new(), 0);
        let mut next = String::new();
        loop {
            let uri = page_of(&folder, &next, without_records(served));
            let (mut page, bytes) = self.receive(uri, room - received).await?;
            received += bytes;
            if let Value::Array(items) = page["items"].take() {
                objects.extend(items.into_iter().map(|item| kinded(item, served)));
            }
            next = page["metadata"]["continue"]
                .as_str()
                .unwrap_or_default()
                .to_owned();
            if next.is_empty() {
                return Ok((objects, received));
            }
        }
    }

    /// The kind that a person names: `deploy`, `Deployment`, `deployments.apps`. None if there is no such kind.
    pub fn named(&self, word: &str) -> Option<ServedKind> {
        let word = word.to_lowercase();
        let (first, group) = word.split_once('.').unwrap_or((&word, ""));
        let kinds = self.words.get(first)?;
        let is_named = |kind: &&GroupKind| group.is_empty() || *kind.group == *group;
        kinds
            .iter()
            .filter(is_named)
            .find_map(|kind| self.kinds.preferred(kind))
    }

    /// One object; none where there is none.
    ///
    /// # Errors
    /// The client's error.
    pub async fn get(
        &self,
        served: &ServedKind,
        namespace: Option<&str>,
        name: &str,
    ) -> Result<Option<Value>, kube::Error> {
        let key = ObjectKey {
            kind: served.group_kind(),
            namespace: namespace.filter(|_| served.namespaced).map(Into::into),
            name: name.into(),
        };
        let request = Request::get(path(served, &key));
        match self.send(request, Vec::new()).await {
            Ok(object) => Ok(Some(object)),
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The objects of a kind with a label, of one namespace or of all. Each has its `apiVersion` and `kind`.
    ///
    /// # Errors
    /// The client's error.
    pub async fn list(
        &self,
        served: &ServedKind,
        namespace: Option<&str>,
        selector: Option<&str>,
    ) -> Result<Vec<Value>, kube::Error> {
        let namespace = namespace.filter(|_| served.namespaced);
        let folder = DynamicObject::url_path(&served.resource, namespace);
        let mut objects = Vec::new();
        let mut next = String::new();
        loop {
            let mut query = form_urlencoded::Serializer::new(String::new());
            query.append_pair("limit", &PAGE.to_string());
            for (name, value) in [
                ("labelSelector", selector.unwrap_or_default()),
                ("continue", &next),
            ] {
                if !value.is_empty() {
                    query.append_pair(name, value);
                }
            }
            let request = Request::get(format!("{folder}?{}", query.finish()));
            let mut page: Value = self.send(request, Vec::new()).await?;
            if let Value::Array(items) = page["items"].take() {
                objects.extend(items.into_iter().map(|item| kinded(item, served)));
            }
            next = page["metadata"]["continue"]
                .as_str()
                .unwrap_or_default()
                .to_owned();
            if next.is_empty() {
                return Ok(objects);
            }
        }
    }

    /// A page of a list, in the form that `accept` names. `next` is the API server's name of the page, and `fields` selects
    /// objects; both may be empty.
    pub(super) async fn page<T: DeserializeOwned>(
        &self,
        served: &ServedKind,
        namespace: Option<&str>,
        (next, fields): (&str, &str),
        accept: &str,
    ) -> Result<T, kube::Error> {
        let namespace = namespace.filter(|_| served.namespaced);
        let folder = DynamicObject::url_path(&served.resource, namespace);
        let mut query = form_urlencoded::Serializer::new(String::new());
        query.append_pair("limit", &PAGE.to_string());
        for (name, value) in [("continue", next), ("fieldSelector", fields)] {
            if !value.is_empty() {
                query.append_pair(name, value);
            }
        }
        let request = Request::get(format!("{folder}?{}", query.finish()));
        let request = request.header(header::ACCEPT, accept);
        self.send(request, Vec::new()).await
    }

    /// Applies an object as a dry run, as the operator would, and returns what would become of it.
    ///
    /// # Errors
    /// The client's error. A refusal of the object is no error.
    pub async fn rehearse(
        &self,
        served: &ServedKind,
        key: &ObjectKey,
        body: &Value,
    ) -> Result<Rehearsed, kube::Error> {
        let uri = format!(
            "{}?fieldManager={FIELD_MANAGER}&fieldValidation=Strict&force=true&dryRun=All",
            path(served, key)
        );
        let body = body.to_string().into_bytes();
        let request =
            Request::patch(uri).header(header::CONTENT_TYPE, "application/apply-patch+yaml");
        match self.send(request, body.clone()).await {
            Ok(object) => Ok(Rehearsed::Taken(object)),
            // Without the right to try it, or without an answer of the API server, nothing is known of the object.
            Err(kube::Error::Api(status))
                if !matches!(status.code, 401 | 429 | 502..)
                    && !status.message.contains("\" cannot patch resource") =>
            {
                let said = refusal(&status);
                let message = redact::refusal(&key.kind, &said, &body, false);
                Ok(Rehearsed::Refused(message))
            }
            Err(error) => Err(error),
        }
    }

    /// The version of the API server in the form that charts compare: `v1.36.3`.
    ///
    /// # Errors
    /// The client's error.
    pub async fn version(&self) -> Result<String, kube::Error> {
        Ok(self.client.apiserver_version().await?.git_version)
    }
}

/// The next page of a list.
fn page_of(folder: &str, next: &str, without: Option<&str>) -> String {
    let mut query = form_urlencoded::Serializer::new(String::new());
    query.append_pair("limit", &SMALL_PAGE.to_string());
    if let Some(fields) = without {
        query.append_pair("fieldSelector", fields);
    }
    if !next.is_empty() {
        query.append_pair("continue", next);
    }
    format!("{folder}?{}", query.finish())
}

/// Records of releases of Helm are left out of lists of Secrets. towline writes one for each new content of a chart, so a chart
/// that looks at all Secrets would be new content for ever; and each record may take a megabyte.
fn without_records(served: &ServedKind) -> Option<&'static str> {
    let kind = (&*served.resource.group, &*served.resource.kind);
    (kind == ("", "Secret")).then_some("type!=helm.sh/release.v1")
}

/// An item of a list, which says its kind only once.
fn kinded(mut item: Value, served: &ServedKind) -> Value {
    item["apiVersion"] = served.resource.api_version.as_str().into();
    item["kind"] = served.resource.kind.as_str().into();
    item
}
