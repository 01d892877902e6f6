//! Writes the status of our own resources.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use http::request::Builder;
use http::{Request, header};
use kube::core::{NamespaceResourceScope, PartialObjectMeta};
use kube::{Api, Client, Resource};
use serde_json::{Value, json};

use super::Context;
use crate::api::{FIELD_MANAGER, Status, Sync};
use crate::backoff::Backoff;
use crate::cluster::{METADATA, Running};
use crate::fair::Permits;
use crate::manifest::without_nulls;

/// How many statuses are written at a time. A commit to a monorepo changes the status of all its
/// Syncs at once. Each parallel request needs a connection of its own (HTTP/1.1). More requests
/// than the API server has cores only delay applies.
const PARALLEL: u32 = 8;

/// The statuses that are being written, of all resources. Namespaces take turns.
pub(crate) struct StatusWrites {
    permits: Arc<Permits>,
    /// Those that are written or wait for it. Events wait for them.
    pub(crate) running: Running,
    /// The roles of an earlier version allow `patch` and not `update`.
    only_patches: AtomicBool,
}

impl Default for StatusWrites {
    fn default() -> Self {
        Self {
            permits: Permits::new(PARALLEL, PARALLEL),
            running: Running::default(),
            only_patches: AtomicBool::new(false),
        }
    }
}

impl StatusWrites {
    /// Whether another status would have to wait.
    pub(crate) fn are_at_their_limit(&self) -> bool {
        self.permits.free() == 0
    }
}

/// The result of writing a status.
#[derive(Debug, PartialEq)]
pub(crate) enum Written {
    /// The status was written, or its object is gone. With the object's new resource version, if it is known.
    Whole(Option<u64>),
    /// The API server refused the status for this reason, and has the outline instead.
    InShort(String),
}

/// Why the API server refused the last status as it was, if it did.
#[derive(Debug, Default)]
pub(crate) struct StatusRefusal(Option<String>);

impl StatusRefusal {
    /// Takes note of how a status was written, or not. Returns what to tell as [`Reason::StatusRefused`]: once for each cause.
    ///
    /// [`Reason::StatusRefused`]: crate::api::Reason::StatusRefused
    pub(crate) fn note(&mut self, written: &Result<Written, StatusError>) -> Option<String> {
        let message = match written {
            Ok(Written::Whole(_)) => None,
            Ok(Written::InShort(why)) => Some(format!(
                "the API server refused the status, which was written in short: {why}"
            )),
            Err(StatusError::Refused(why)) => Some(format!(
                "the API server refuses every status, so that the last one stays, whatever has happened since: {}",
                crate::chain(why)
            )),
            // Nothing is known.
            Err(StatusError::Unavailable(_)) => return None,
        };
        let before = std::mem::replace(&mut self.0, message);
        self.0.clone().filter(|_| self.0 != before)
    }
}

/// Why a status could not be written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StatusError {
    /// The API server refuses the outline too.
    #[error("the API server refuses the status")]
    Refused(#[source] kube::Error),
    /// The API server is unavailable or busy.
    #[error("the API server does not answer, or asks to wait")]
    Unavailable(#[source] kube::Error),
}

/// The resource whose status is written.
pub(crate) struct StatusOf<'a> {
    pub(crate) namespace: &'a str,
    pub(crate) name: &'a str,
    /// Its newest known resource version. With it, the API server need not merge.
    pub(crate) version: Option<u64>,
}

/// Writes the whole status, shortened to the limits of the API server, and removes fields without a
/// value. If the API server still refuses the status, writes its outline. Does nothing if the object is
/// gone.
///
/// There is only one writer, so the status is replaced where the resource version is known: that is a fifth
/// less work for the API server than a merge patch. If somebody has written the object since, a merge
/// patch follows.
pub(crate) async fn write_status<K>(
    context: &Context,
    of: StatusOf<'_>,
    status: &impl Status,
) -> Result<Written, StatusError>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
{
    let StatusOf {
        namespace,
        name,
        version,
    } = of;
    let uri = format!(
        "{}/{name}/status?fieldManager={FIELD_MANAGER}",
        K::url_path(&(), Some(namespace))
    );
    let writes = &context.statuses;
    let _under_way = writes.running.begin();
    let _permit = writes.permits.take(&namespace.into(), &name.into()).await;
    let client = &context.client;
    let fit = json!(status.fit());
    let version = version.filter(|_| !writes.only_patches.load(Ordering::Relaxed));
    let replaced = match version {
        Some(version) => {
            let whole = replacement::<K>(namespace, name, version, fit.clone());
            let answer = send(client, Request::put(&uri), JSON, &whole).await;
            match refuses_replacements(&answer) {
                Some(code) => {
                    writes.only_patches.fetch_or(code == 403, Ordering::Relaxed);
                    None
                }
                None => Some(answer),
            }
        }
        None => None,
    };
    let written = match replaced {
        Some(answer) => answer,
        None => patch(client, &uri, fit).await,
    };
    let why = match written {
        Ok(version) => return Ok(Written::Whole(version)),
        Err(error) if is_refusal(&error) => crate::chain(&error),
        Err(error) => return Err(StatusError::Unavailable(error)),
    };
    match patch(client, &uri, json!(status.outline(&why))).await {
        Ok(_) => Ok(Written::InShort(why)),
        Err(error) if is_refusal(&error) => Err(StatusError::Refused(error)),
        Err(error) => Err(StatusError::Unavailable(error)),
    }
}

const JSON: &str = "application/json";
const MERGE: &str = "application/merge-patch+json";

/// The code, if a patch may succeed: somebody has written the object, or only patches are allowed.
fn refuses_replacements<T>(answer: &Result<T, kube::Error>) -> Option<u16> {
    match answer {
        Err(kube::Error::Api(status)) if matches!(status.code, 403 | 409) => Some(status.code),
        _ => None,
    }
}

/// The object as far as the API server looks at it when a status is replaced.
fn replacement<K: Resource<DynamicType = ()>>(
    namespace: &str,
    name: &str,
    version: u64,
    mut status: Value,
) -> Value {
    without_nulls(&mut status);
    json!({
        "apiVersion": K::api_version(&()), "kind": K::kind(&()),
        "metadata": {"namespace": namespace, "name": name, "resourceVersion": version.to_string()},
        "status": status,
    })
}

async fn patch(client: &Client, uri: &str, status: Value) -> Result<Option<u64>, kube::Error> {
    let patch = json!({ "status": status });
    send(client, Request::patch(uri), MERGE, &patch).await
}

/// Sends a status. Returns the object's new resource version; none if the object is gone.
async fn send(
    client: &Client,
    request: Builder,
    content_type: &str,
    body: &Value,
) -> Result<Option<u64>, kube::Error> {
    let request = request
        .header(header::CONTENT_TYPE, content_type)
        .header(header::ACCEPT, METADATA)
        .body(body.to_string().into_bytes())
        .map_err(kube::Error::HttpError)?;
    match client.request::<PartialObjectMeta>(request).await {
        Ok(answer) => {
            let version = answer.metadata.resource_version;
            Ok(version.and_then(|version| version.parse().ok()))
        }
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(None),
        Err(error) => Err(error),
    }
}

/// Whether the API server refuses the content, so that the same content must not be sent again. etcd's
/// limits come as errors of the server.
fn is_refusal(error: &kube::Error) -> bool {
    let kube::Error::Api(status) = error else {
        return false;
    };
    let is_about_size = ["too large", "larger than max", "exceeds"];
    match status.code {
        401 | 408 | 409 | 429 => false,
        400..=499 => true,
        _ => is_about_size
            .iter()
            .any(|text| status.message.contains(text)),
    }
}

/// When to write a status again after a failure.
pub(crate) struct StatusBackoff {
    refused: Backoff,
    unavailable: Backoff,
}

impl Default for StatusBackoff {
    fn default() -> Self {
        Self {
            refused: Backoff::new(Duration::from_secs(1), Duration::from_secs(300)),
            unavailable: Backoff::new(Duration::from_millis(250), Duration::from_secs(5)),
        }
    }
}

impl StatusBackoff {
    /// The pause after an error.
    pub(crate) fn pause(&mut self, error: &StatusError) -> Duration {
        match error {
            StatusError::Refused(_) => self.refused.pause(),
            StatusError::Unavailable(_) => self.unavailable.pause(),
        }
    }

    /// Ends the growth of pauses, after a success.
    pub(crate) fn reset(&mut self) {
        self.refused.reset();
        self.unavailable.reset();
    }
}

/// Whether the object with this uid does not exist any more, which `error` says of a write with the uid as its
/// condition. A conflict may also be one with other writers: so the object is read.
pub(crate) async fn is_gone(
    api: &Api<Sync>,
    name: &str,
    uid: Option<&str>,
    error: &kube::Error,
) -> bool {
    let kube::Error::Api(status) = error else {
        return false;
    };
    match status.code {
        404 => true,
        409 => match api.get_metadata_opt(name).await {
            Ok(live) => live.and_then(|live| live.metadata.uid).as_deref() != uid,
            Err(_) => false,
        },
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use kube::core::Status as Answer;

    use super::*;

    #[test]
    fn what_the_server_refuses_is_not_sent_again_and_what_it_cannot_take_now_is() {
        for (code, message, refused) in [
            (422, "committedAt in body must be of type date-time", true),
            (413, "Request entity too large: limit is 3145728", true),
            (403, "admission webhook denied the request", true),
            (400, "bad request", true),
            (500, "etcdserver: request is too large", true),
            (
                500,
                "rpc error: trying to send message larger than max (3 vs. 2)",
                true,
            ),
            (500, "etcdserver: leader changed", false),
            (
                503,
                "the server is currently unable to handle the request",
                false,
            ),
            (429, "too many requests", false),
            (409, "the object has been modified", false),
            (401, "Unauthorized", false),
        ] {
            let answer = Answer {
                code,
                message: message.to_owned(),
                ..Answer::default()
            };
            let error = kube::Error::Api(Box::new(answer));
            assert_eq!(is_refusal(&error), refused, "{code} {message}");
        }
        let away = std::io::Error::from(std::io::ErrorKind::ConnectionRefused);
        assert!(!is_refusal(&kube::Error::Service(away.into())));
    }

    #[test]
    fn a_refusal_is_told_once_for_each_cause() {
        let mut refusal = StatusRefusal::default();
        let short = |why: &str| Ok(Written::InShort(why.to_owned()));
        let refused = |message: &str| {
            let answer = Answer {
                code: 422,
                message: message.to_owned(),
                ..Answer::default()
            };
            Err(StatusError::Refused(kube::Error::Api(Box::new(answer))))
        };
        let away = || {
            let away = std::io::Error::from(std::io::ErrorKind::ConnectionRefused);
            Err(StatusError::Unavailable(kube::Error::Service(away.into())))
        };
        for (written, told) in [
            (Ok(Written::Whole(Some(1))), None),
            (short("too long"), Some("too long")),
            (short("too long"), None),
            (short("not wanted"), Some("not wanted")),
            (refused("not wanted"), Some("not wanted")),
            (away(), None),
            (refused("not wanted"), None),
            (refused("nor that"), Some("nor that")),
            (Ok(Written::Whole(None)), None),
            (short("not wanted"), Some("not wanted")),
        ] {
            let what = format!("{written:?}");
            let message = refusal.note(&written);
            let is_right = match (&message, told) {
                (Some(message), Some(why)) => message.ends_with(why),
                (message, why) => message.is_none() && why.is_none(),
            };
            assert!(is_right, "{what}: {message:?}");
        }
    }

    #[test]
    fn a_refused_status_is_tried_ever_more_rarely() {
        let error = || StatusError::Refused(kube::Error::LinesCodecMaxLineLengthExceeded);
        let mut backoff = StatusBackoff::default();
        let pauses: Duration = (0..10).map(|_| backoff.pause(&error())).sum();
        assert!(pauses > Duration::from_secs(600), "{pauses:?}");
        backoff.reset();
        assert!(backoff.pause(&error()) <= Duration::from_secs(1));
    }
}
