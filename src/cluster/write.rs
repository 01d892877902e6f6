//! Applies, deletes and releases single objects.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http::{HeaderName, HeaderValue, Request, header};
use kube::api::{DynamicObject, ObjectMeta, PartialObjectMeta};
use kube::client::Body;
use kube::core::Status;
use kube::{Client, Resource as _};
use serde_json::{Value, json};

use super::clock::ServerClock;
use super::receive::receive;
use super::refused::{WriteError, causes, is_about_right, long_key, missing_right};
use super::vain::VainClaims;
use super::{Actor, ServedKind};
use crate::api::FIELD_MANAGER;
use crate::chain::refusal;
use crate::fair::{Permit, Permits};
use crate::intent::FieldPattern;
use crate::manifest::{ObjectKey, redact};
use crate::metrics::{Answered, Metrics};
use crate::plan::{Appliers, DIGEST, IDENTITY, Observed, PART_OF, PROOF, Seal, SyncName};

/// Shared by all requests on managed objects: limits how many run at once over all Syncs. Namespaces take turns, and so
/// do the Syncs of each.
pub(super) struct Requests {
    permits: Arc<Permits>,
    /// Of pages of lists, which may be large.
    pages: Arc<Permits>,
    metrics: Metrics,
    /// Whether messages of refusals may repeat values of the request.
    pub(super) show_values: bool,
    /// The API server's clock.
    pub(super) clock: ServerClock,
    pub(super) claims: VainClaims,
}

impl Requests {
    pub(super) fn new(metrics: Metrics, show_values: bool, clock: ServerClock) -> Self {
        Self {
            permits: Permits::new(REQUESTS, REQUESTS_OF_NAMESPACE),
            pages: Permits::new(PAGES, PAGES_OF_NAMESPACE),
            metrics,
            show_values,
            clock,
            claims: VainClaims::default(),
        }
    }
}

/// Fields that are sent when an object is created, and left as they are from then on.
#[derive(Clone, Copy, Debug)]
pub struct Once<'a> {
    /// The fields.
    pub fields: &'a [FieldPattern],
    /// The whole object with them, as JSON.
    pub whole: &'a [u8],
}

/// One object to apply.
pub(super) struct Wanted<'a> {
    pub(super) served: &'a ServedKind,
    pub(super) key: &'a ObjectKey,
    /// The whole object as JSON.
    pub(super) body: &'a [u8],
    /// What was known of it before.
    pub(super) known: Option<&'a Observed>,
    /// Other appliers of whole manifests.
    pub(super) appliers: &'a Appliers,
    /// The proof of its marks.
    pub(super) seal: &'a Seal,
    /// What is sent only once, and is not in `body`.
    pub(super) once: Option<Once<'a>>,
    /// What other appliers declared stays theirs.
    pub(super) merges: bool,
    /// Where Git and another manager disagree on a field, Git is right.
    pub(super) force: bool,
    /// Takes the fields that admission has changed in the last answer, if something may change them.
    pub(super) rewritten: Option<&'a Mutex<Vec<String>>>,
    /// The live object as it was read last, as long as this apply has not changed it.
    pub(super) live: &'a LastRead,
}

/// A live object that was read, so that what looks at it next need not read it again.
#[derive(Debug, Default)]
pub(super) struct LastRead(Mutex<Option<Value>>);

impl LastRead {
    pub(super) fn take(&self) -> Option<Value> {
        self.slot().take()
    }

    pub(super) fn keep(&self, live: Value) {
        *self.slot() = Some(live);
    }

    fn slot(&self) -> MutexGuard<'_, Option<Value>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Reads and writes single objects with one actor's client.
pub(super) struct Writer<'a> {
    client: &'a Client,
    pub(super) requests: &'a Requests,
    /// For which Sync, and in whose name.
    actor: &'a Actor,
}

/// The most requests at once over all Syncs. Each uses a connection of its own (HTTP/1.1). One Sync may
/// use only `PARALLEL` of them, and one namespace most of them, so that slow answers to them leave some for others.
const REQUESTS: u32 = 64;
const REQUESTS_OF_NAMESPACE: u32 = 52;

/// The most pages of lists at once, over all Syncs and for those of one namespace.
const PAGES: u32 = 12;
const PAGES_OF_NAMESPACE: u32 = 9;

/// The header by which a request is made in another user's name.
pub(super) const IMPERSONATE: HeaderName = HeaderName::from_static("impersonate-user");

/// The number of tries of a request while the server cannot be reached or asks to slow down, and the
/// first pause.
const TRIES: u32 = 4;
const FIRST_PAUSE: Duration = Duration::from_millis(100);

/// The longest pause between two tries that a server's `Retry-After` can ask for.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// Asks the API server for a dry run of an apply.
pub(super) const REHEARSED: &str = "&force=true&dryRun=All";

/// Asks the API server to return only the metadata.
pub(crate) const METADATA: &str = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1";

/// The answer to a successful request.
pub(super) struct Answer {
    pub(super) text: String,
    /// Whether the request created the object.
    pub(super) made: Made,
}

/// Whether an apply created its object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Made {
    /// It did.
    New,
    /// The object existed.
    Existed,
    /// The object existed when the request was sent again. The first try may have created it.
    Unknown,
}

impl Made {
    /// What two applies of one object in a row did.
    pub(super) fn and(self, later: Self) -> Self {
        match (self, later) {
            (Self::New, _) | (_, Self::New) => Self::New,
            (first, _) => first,
        }
    }
}

impl<'a> Writer<'a> {
    pub(super) fn new(client: &'a Client, requests: &'a Requests, actor: &'a Actor) -> Self {
        Self {
            client,
            requests,
            actor,
        }
    }

    pub(super) async fn send_apply(
        &self,
        query: &str,
        accept: &str,
        wanted: &Wanted<'_>,
        body: &[u8],
    ) -> Result<Answer, WriteError> {
        let Wanted { served, key, .. } = wanted;
        let uri = format!(
            "{}?fieldManager={FIELD_MANAGER}&fieldValidation=Strict{query}",
            path(served, key)
        );
        let answer = self
            .send(key, body, || {
                Request::patch(&uri)
                    .header(header::CONTENT_TYPE, "application/apply-patch+yaml")
                    .header(header::ACCEPT, accept)
                    .body(wanted.seal.fill(body, self.requests.clock.now()))
            })
            .await;
        self.without_live_of(wanted, answer).await
    }

    /// Creates an object as a dry run. Validation and admission come before the API server looks whether there is such
    /// an object, so that an existing one means that a new one would be taken.
    pub(super) async fn rehearse_create(&self, wanted: &Wanted<'_>) -> Result<(), WriteError> {
        let Wanted { served, key, .. } = wanted;
        let uri = format!(
            "{}?dryRun=All&fieldManager={FIELD_MANAGER}&fieldValidation=Strict",
            DynamicObject::url_path(&served.resource, key.namespace.as_deref())
        );
        let answer = self
            .send(key, wanted.body, || {
                Request::post(&uri)
                    .header(header::CONTENT_TYPE, "application/json")
                    .header(header::ACCEPT, METADATA)
                    .body(wanted.seal.fill(wanted.body, self.requests.clock.now()))
            })
            .await;
        match answer {
            Err(WriteError::Refused {
                code: 409, causes, ..
            }) if causes.said().ends_with("already exists") => Ok(()),
            answer => answer.map(drop),
        }
    }

    /// The metadata of a live object; none where there is no such object.
    pub(super) async fn metadata(
        &self,
        served: &ServedKind,
        key: &ObjectKey,
    ) -> Result<Option<ObjectMeta>, WriteError> {
        let uri = path(served, key);
        let live = self
            .send(key, &[], || {
                Request::get(&uri)
                    .header(header::ACCEPT, METADATA)
                    .body(Vec::new())
            })
            .await;
        match live {
            Ok(live) => {
                let object: PartialObjectMeta<DynamicObject> = read(&live.text)?;
                Ok(Some(object.metadata))
            }
            Err(WriteError::Refused { code: 404, .. } | WriteError::NoNamespace { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Deletes the object with this uid. An object that is gone, or has another uid, counts as deleted.
    pub(super) async fn delete(
        &self,
        served: &ServedKind,
        key: &ObjectKey,
        uid: &str,
    ) -> Result<(), WriteError> {
        let uri = path(served, key);
        let options = json!({
            "kind": "DeleteOptions", "apiVersion": "v1",
            "preconditions": {"uid": uid}, "propagationPolicy": "Background",
        })
        .to_string();
        let answer = self
            .send(key, &[], || {
                Request::delete(&uri)
                    .header(header::CONTENT_TYPE, "application/json")
                    .header(header::ACCEPT, METADATA)
                    .body(options.clone().into_bytes())
            })
            .await;
        let answer = self.without_live(served, key, answer).await;
        self.gone_is_fine(answer, served, key, uid).await
    }

    /// Creates an object, which must not exist. Returns the object as it then is. `body`: makes the object when it can be
    /// sent, for it may name the time.
    pub(super) async fn create(
        &self,
        served: &ServedKind,
        key: &ObjectKey,
        body: impl Fn() -> Vec<u8>,
    ) -> Result<Value, WriteError> {
        let folder = DynamicObject::url_path(&served.resource, key.namespace.as_deref());
        let uri = format!("{folder}?fieldManager={FIELD_MANAGER}&fieldValidation=Strict");
        let answer = self
            .send(key, &body(), || {
                Request::post(&uri)
                    .header(header::CONTENT_TYPE, "application/json")
                    .body(body())
            })
            .await;
        read(&answer?.text)
    }

    /// Changes an object that is no member of a Sync's ApplySet, by a merge patch.
    pub(super) async fn patch(
        &self,
        served: &ServedKind,
        key: &ObjectKey,
        patch: &Value,
    ) -> Result<(), WriteError> {
        let uri = format!("{}?fieldManager={FIELD_MANAGER}", path(served, key));
        let body = patch.to_string().into_bytes();
        let answer = self
            .send(key, &body, || {
                Request::patch(&uri)
                    .header(header::CONTENT_TYPE, "application/merge-patch+json")
                    .header(header::ACCEPT, METADATA)
                    .body(body.clone())
            })
            .await;
        self.without_live(served, key, answer).await.map(drop)
    }

    /// Removes label and annotations from an object, so that no Sync owns it.
    pub(super) async fn disown(
        &self,
        served: &ServedKind,
        key: &ObjectKey,
        uid: &str,
    ) -> Result<(), WriteError> {
        let uri = format!("{}?fieldManager={FIELD_MANAGER}", path(served, key));
        // A uid in a patch is a precondition: the server refuses to change it.
        let patch = json!({"metadata": {
            "uid": uid,
            "labels": {PART_OF: null},
            "annotations": {IDENTITY: null, PROOF: null, DIGEST: null},
        }})
        .to_string();
        let answer = self
            .send(key, &[], || {
                Request::patch(&uri)
                    .header(header::CONTENT_TYPE, "application/merge-patch+json")
                    .header(header::ACCEPT, METADATA)
                    .body(patch.clone().into_bytes())
            })
            .await;
        let answer = self.without_live(served, key, answer).await;
        self.gone_is_fine(answer, served, key, uid).await
    }

    /// The answer to a request about the object with this uid, of which nothing is left to do if it is gone. A
    /// conflict says that another object has its name, or that there were too many writers: so the object is read.
    async fn gone_is_fine(
        &self,
        answer: Result<Answer, WriteError>,
        served: &ServedKind,
        key: &ObjectKey,
        uid: &str,
    ) -> Result<(), WriteError> {
        match answer {
            Ok(_)
            | Err(WriteError::NotServed | WriteError::NoNamespace { .. })
            | Err(WriteError::Refused { code: 404, .. }) => Ok(()),
            Err(error @ WriteError::Refused { code: 409, .. }) => {
                let live = self.metadata(served, key).await?;
                match live.and_then(|live| live.uid).as_deref() == Some(uid) {
                    true => Err(error),
                    false => Ok(()),
                }
            }
            Err(error) => Err(error),
        }
    }

    /// Sends a request. Repeats it with growing pauses while the server cannot be reached.
    /// `object`: what is sent as JSON, so that a refusal does not repeat its values.
    pub(super) async fn send(
        &self,
        key: &ObjectKey,
        object: &[u8],
        request: impl Fn() -> Result<Request<Vec<u8>>, http::Error>,
    ) -> Result<Answer, WriteError> {
        let answer = self.send_within(key, object, usize::MAX, request).await?;
        answer.ok_or_else(|| WriteError::Answer("it is too long".to_owned()))
    }

    /// Waits until the answer to a page of a list may be received.
    pub(super) async fn room_for_page(&self) -> Permit {
        let SyncName { namespace, name } = &self.actor.sync;
        self.requests.pages.take(namespace, name).await
    }

    /// The same as [`Self::send`], for an answer of at most `room` bytes. None where it is longer.
    pub(super) async fn send_within(
        &self,
        key: &ObjectKey,
        object: &[u8],
        room: usize,
        request: impl Fn() -> Result<Request<Vec<u8>>, http::Error>,
    ) -> Result<Option<Answer>, WriteError> {
        let mut pause = FIRST_PAUSE;
        for tries_left in (0..TRIES).rev() {
            let waiting = self.requests.metrics.request_waits();
            let SyncName { namespace, name } = &self.actor.sync;
            let permit = self.requests.permits.take(namespace, name).await;
            drop(waiting);
            // Made when it can be sent, for it may name the time.
            let mut request = request().map_err(|error| WriteError::Answer(error.to_string()))?;
            let answered = Answered::default();
            request.extensions_mut().insert(answered.clone());
            if let Some(name) = self.actor.impersonated() {
                let name = HeaderValue::from_str(name);
                let name = name.map_err(|error| WriteError::Answer(error.to_string()))?;
                request.headers_mut().insert(IMPERSONATE, name);
            }
            let answer = receive(self.client, request.map(Body::from), room).await;
            drop(permit);
            match answer {
                Ok(None) => return Ok(None),
                Ok(Some(text)) => {
                    let made = match (answered.created(), tries_left + 1 == TRIES) {
                        (true, _) => Made::New,
                        (false, true) => Made::Existed,
                        (false, false) => Made::Unknown,
                    };
                    return Ok(Some(Answer { text, made }));
                }
                Err(kube::Error::Api(status)) if status.code != 429 => {
                    return Err(self.requests.refusal(key, object, &status));
                }
                Err(error) if tries_left == 0 => return Err(WriteError::Unavailable(error)),
                Err(error) => {
                    tracing::debug!(object = %key, %error, "request failed; it is sent again");
                    tokio::time::sleep(asked_pause(&error).unwrap_or(pause)).await;
                    pause *= 2;
                }
            }
        }
        unreachable!("the last try returns")
    }
}

pub(super) fn read<T: serde::de::DeserializeOwned>(text: &str) -> Result<T, WriteError> {
    serde_json::from_str(text).map_err(|error| WriteError::Answer(error.to_string()))
}

pub(super) fn path(served: &ServedKind, key: &ObjectKey) -> String {
    let folder = DynamicObject::url_path(&served.resource, key.namespace.as_deref());
    // The API server's own validation keeps `/` and `%` out of names, not everything else.
    let name: String = form_urlencoded::byte_serialize(key.name.as_bytes()).collect();
    format!("{folder}/{}", name.replace('+', "%20"))
}

fn asked_pause(error: &kube::Error) -> Option<Duration> {
    let kube::Error::Api(status) = error else {
        return None;
    };
    let seconds = status.details.as_ref()?.retry_after_seconds;
    (seconds > 0).then(|| Duration::from_secs(seconds.into()).min(LONGEST_PAUSE))
}

impl Requests {
    /// The error for a refused request. `object` is the body that was sent.
    fn refusal(&self, key: &ObjectKey, object: &[u8], status: &Status) -> WriteError {
        // A missing namespace is a 404 too, but it names what it did not find.
        let names_something = status
            .details
            .as_ref()
            .is_some_and(|details| !details.kind.is_empty() && !details.name.is_empty());
        if status.code == 404 && !names_something {
            return WriteError::NotServed;
        }
        let said = refusal(status);
        let object = match is_about_right(key, &said) {
            true => &[],
            false => object,
        };
        let said = long_key(&said, object).unwrap_or(said);
        let message = redact::refusal(&key.kind, &said, object, self.show_values);
        let message = match missing_right(key, &message) {
            Some(right) => format!("{right}: {message}"),
            None => message,
        };
        let is_about_namespace = status.details.as_ref().is_some_and(|details| {
            details.kind == "namespaces" && Some(&*details.name) == key.namespace.as_deref()
        });
        match status.code {
            404 if is_about_namespace => WriteError::NoNamespace { message },
            code => WriteError::Refused {
                code,
                message,
                causes: causes(status),
            },
        }
    }
}
