//! The project's custom resource definitions, in a cluster.

use std::fmt::Debug;

use kube::api::WatchParams;
use kube::{Api, Client, Resource};
use serde::de::DeserializeOwned;
use towline::api::{GitRepository, Sync};

use super::control_plane::ControlPlane;
use super::kubectl::try_kubectl;
use super::wait::within;
use super::world::PATIENCE;

/// Applies `crds/`, as the README does, and waits until the kinds are served in full.
pub async fn define(cp: &ControlPlane) -> Result<(), String> {
    let kubeconfig = cp.kubeconfig_path();
    let crds = concat!(env!("CARGO_MANIFEST_DIR"), "/crds");
    try_kubectl(&kubeconfig, &["apply", "--server-side", "-f", crds]).await?;
    established(cp).await?;
    // Discovery is put together later, too.
    let get = ["get", "gitrepositories,syncs", "--all-namespaces"];
    within(PATIENCE, async || try_kubectl(&kubeconfig, &get).await).await?;
    let client = cp.client().await;
    watched::<GitRepository>(&client).await?;
    watched::<Sync>(&client).await
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
async fn watched<K>(client: &Client) -> Result<(), String>
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug,
{
    let kinds: Api<K> = Api::all(client.clone());
    let begin = async || kinds.watch(&WatchParams::default(), "0").await.map(drop);
    let begun = within(PATIENCE, begin).await;
    begun.map_err(|error| format!("watch {}: {error}", K::plural(&())))
}
