//! The project's custom resource definitions, in a cluster.

use kube::api::{DynamicObject, WatchParams};
use kube::core::{ApiResource, GroupVersionKind};
use kube::{Api, Client};

use super::control_plane::ControlPlane;
use super::in_repository;
use super::kubectl::try_kubectl;
use super::wait::{PATIENCE, within};

/// Applies `crds/`, as the pages do, and waits until the kinds are served in full.
pub async fn define(cp: &ControlPlane) -> Result<(), String> {
    let kubeconfig = cp.kubeconfig_path();
    let crds = in_repository("crds").display().to_string();
    try_kubectl(&kubeconfig, &["apply", "--server-side", "-f", &crds]).await?;
    established(cp).await?;
    // Discovery is put together later, too.
    let get = ["get", "gitrepositories,syncs", "--all-namespaces"];
    within(PATIENCE, async || try_kubectl(&kubeconfig, &get).await).await?;
    let client = cp.client().await;
    for (kind, plural) in [("GitRepository", "gitrepositories"), ("Sync", "syncs")] {
        let kind = GroupVersionKind::gvk("towline.dev", "v1alpha1", kind);
        watched(&client, &ApiResource::from_gvk_with_plural(&kind, plural)).await?;
    }
    Ok(())
}

/// Waits until all definitions are established. kubectl takes one that nobody has looked at yet, whose
/// conditions are null, for an error.
pub async fn established(cp: &ControlPlane) -> Result<(), String> {
    let kubeconfig = cp.kubeconfig_path();
    let wait = [
        "wait",
        "--for=condition=Established",
        "crd",
        "--all",
        "--timeout=30s",
    ];
    within(PATIENCE, async || try_kubectl(&kubeconfig, &wait).await).await?;
    Ok(())
}

/// Waits until a watch of a new kind begins. Established says that the kind has an endpoint; its cache
/// is filled later, and until then a watch is answered with 429.
async fn watched(client: &Client, kind: &ApiResource) -> Result<(), String> {
    let kinds: Api<DynamicObject> = Api::all_with(client.clone(), kind);
    let begin = async || kinds.watch(&WatchParams::default(), "0").await.map(drop);
    let begun = within(PATIENCE, begin).await;
    begun.map_err(|error| format!("watch {}: {error}", kind.plural))
}
