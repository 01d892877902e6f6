//! Writes the status of our own resources.

use std::fmt::Debug;

use kube::api::{Patch, PatchParams};
use kube::core::{NamespaceResourceScope, PartialObjectMeta};
use kube::{Api, Resource};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::json;

use super::Context;
use crate::api::FIELD_MANAGER;

/// How many statuses are written at a time. A commit to a monorepo changes the status of all its
/// Syncs at once. Each parallel request needs a connection of its own (HTTP/1.1). More requests
/// than the API server has cores only delay applies.
pub(crate) const PARALLEL_STATUS_WRITES: usize = 8;

/// Writes the whole status, and removes fields without a value. A merge patch costs the API server
/// the least, and there is only one writer. Does nothing if the object is gone.
pub(crate) async fn write_status<K>(
    context: &Context,
    namespace: &str,
    name: &str,
    status: &impl Serialize,
) -> Result<(), kube::Error>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + Clone
        + DeserializeOwned
        + Debug,
{
    // The answer's content is not used. This type also works for an object whose spec cannot be
    // read.
    let api: Api<PartialObjectMeta<K>> = Api::namespaced(context.client.clone(), namespace);
    let params = PatchParams {
        field_manager: Some(FIELD_MANAGER.to_owned()),
        ..PatchParams::default()
    };
    let patch = Patch::Merge(json!({ "status": status }));
    // The semaphore is never closed.
    let _permit = context.statuses.acquire().await;
    match api.patch_status(name, &params, &patch).await {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
        Err(error) => Err(error),
    }
}

/// Whether the error says that the object does not exist, or is now another object of the same
/// name.
pub(crate) fn is_gone(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if matches!(status.code, 404 | 409))
}
