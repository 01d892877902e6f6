//! Writes the status of our own resources.

use std::fmt::Debug;
use std::time::Duration;

use kube::api::{Patch, PatchParams};
use kube::core::{NamespaceResourceScope, PartialObjectMeta};
use kube::{Api, Resource};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::json;

use super::Context;
use crate::api::{FIELD_MANAGER, Status};
use crate::backoff::Backoff;

/// How many statuses are written at a time. A commit to a monorepo changes the status of all its
/// Syncs at once. Each parallel request needs a connection of its own (HTTP/1.1). More requests
/// than the API server has cores only delay applies.
pub(crate) const PARALLEL_STATUS_WRITES: usize = 8;

/// The result of writing a status.
#[derive(Debug, PartialEq)]
pub(crate) enum Written {
    /// The status was written, or its object is gone.
    Whole,
    /// The API server refused the status for this reason, and has the outline instead.
    InShort(String),
}

/// Why a status could not be written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StatusError {
    /// The API server refuses the outline too.
    #[error("the API server refuses the status")]
    Refused(#[source] kube::Error),
    /// The API server is unavailable or busy.
    #[error("the API server cannot be reached")]
    Unavailable(#[source] kube::Error),
}

/// Writes the whole status, shortened to the limits of the API server, and removes fields without a
/// value. A merge patch is the cheapest request, and there is only one writer. If the API server still
/// refuses the status, writes its outline. Does nothing if the object is gone.
pub(crate) async fn write_status<K>(
    context: &Context,
    namespace: &str,
    name: &str,
    status: &impl Status,
) -> Result<Written, StatusError>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + Clone
        + DeserializeOwned
        + Debug,
{
    // The answer's content is not used. This type also works for an object whose spec cannot be
    // read.
    let api: Api<PartialObjectMeta<K>> = Api::namespaced(context.client.clone(), namespace);
    // The semaphore is never closed.
    let _permit = context.statuses.acquire().await;
    let why = match patch(&api, name, &status.fit()).await {
        Ok(()) => return Ok(Written::Whole),
        Err(error) if is_refusal(&error) => crate::chain(&error),
        Err(error) => return Err(StatusError::Unavailable(error)),
    };
    match patch(&api, name, &status.outline(&why)).await {
        Ok(()) => Ok(Written::InShort(why)),
        Err(error) if is_refusal(&error) => Err(StatusError::Refused(error)),
        Err(error) => Err(StatusError::Unavailable(error)),
    }
}

async fn patch<K>(
    api: &Api<PartialObjectMeta<K>>,
    name: &str,
    status: &impl Serialize,
) -> Result<(), kube::Error>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + Clone
        + DeserializeOwned
        + Debug,
{
    let params = PatchParams {
        field_manager: Some(FIELD_MANAGER.to_owned()),
        ..PatchParams::default()
    };
    let patch = Patch::Merge(json!({ "status": status }));
    match api.patch_status(name, &params, &patch).await {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
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

/// Whether the error says that the object does not exist, or is now another object of the same
/// name.
pub(crate) fn is_gone(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if matches!(status.code, 404 | 409))
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
    fn a_refused_status_is_tried_ever_more_rarely() {
        let error = || StatusError::Refused(kube::Error::LinesCodecMaxLineLengthExceeded);
        let mut backoff = StatusBackoff::default();
        let pauses: Duration = (0..10).map(|_| backoff.pause(&error())).sum();
        assert!(pauses > Duration::from_secs(600), "{pauses:?}");
        backoff.reset();
        assert!(backoff.pause(&error()) <= Duration::from_secs(1));
    }
}
