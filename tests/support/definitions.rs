//! The project's custom resource definitions, in a cluster.

use kube::api::{DynamicObject, WatchParams};
use kube::core::{ApiResource, GroupVersionKind};
use kube::{Api, Client};

use super::control_plane::ControlPlane;
use super::in_repository;
use super::kubectl::try_kubectl;
use super::wait::{PATIENCE, within};

/// Applies `crds/` as the documentation does, and waits until all requests for the new kinds work.
pub async fn define(cp: &ControlPlane) -> Result<(), String> {
    let kubeconfig = cp.kubeconfig_path();
    let crds = in_repository("crds").display().to_string();
    try_kubectl(&kubeconfig, &["apply", "--server-side", "-f", &crds]).await?;
    established(cp).await?;
    // kubectl's discovery learns of the kinds later.
    let get = [
        "get",
        "alerts,gitrepositories,providers,syncs",
        "--all-namespaces",
    ];
    within(PATIENCE, async || try_kubectl(&kubeconfig, &get).await).await?;
    let client = cp.client().await;
    for (kind, plural) in [
        ("Alert", "alerts"),
        ("GitRepository", "gitrepositories"),
        ("Provider", "providers"),
        ("Sync", "syncs"),
    ] {
        let kind = GroupVersionKind::gvk("towline.dev", "v1alpha1", kind);
        watched(&client, &ApiResource::from_gvk_with_plural(&kind, plural)).await?;
    }
    Ok(())
}

/// Waits until all definitions are established. `kubectl wait` fails for a definition whose conditions
/// are still null, so the wait is repeated.
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

/// Waits until a watch of a new kind succeeds. The server answers a watch with 429 until its cache is
/// filled, which is later than the condition `Established`.
async fn watched(client: &Client, kind: &ApiResource) -> Result<(), String> {
    let kinds: Api<DynamicObject> = Api::all_with(client.clone(), kind);
    let begin = async || kinds.watch(&WatchParams::default(), "0").await.map(drop);
    let begun = within(PATIENCE, begin).await;
    begun.map_err(|error| format!("watch {}: {error}", kind.plural))
}
