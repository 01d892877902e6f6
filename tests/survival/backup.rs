//! An administrator restores the API server's data from a backup: the cluster goes back in time, and its
//! resource versions become lower. Git has not gone back, so the cluster must become what Git says.

use k8s_openapi::api::core::v1::ConfigMap;
use serde_json::json;
use towline_testing::control_plane::Options;

use crate::world::World;

#[tokio::test]
async fn a_cluster_restored_from_a_backup_becomes_what_git_says() {
    let mut world = World::own(Options::default(), &[]).await;
    let case = world.case("backup").await;
    let map = |name: &str, value: &str| Some(case.map(name, value));
    let files = [
        ("edited.yaml", map("edited", "first")),
        ("removed.yaml", map("removed", "first")),
        ("same.yaml", map("same", "first")),
    ];
    let first = case.repo.commit(&files, "first");
    case.repository(json!({})).await;
    case.sync("all", json!({})).await;
    case.synced("all", &first).await;

    let parts = case.into_parts();
    world.control_plane_mut().back_up().await;
    let case = world.resume(parts).await;
    let files = [
        ("edited.yaml", Some(case.map("edited", "second"))),
        ("removed.yaml", None),
        ("added.yaml", Some(case.map("added", "second"))),
    ];
    let files: Vec<_> = files
        .iter()
        .map(|(path, text)| (*path, text.as_deref()))
        .collect();
    let second = case.push(&files, "second").await;
    case.synced("all", &second).await;
    case.has("removed", "value", None).await;

    let parts = case.into_parts();
    world.control_plane_mut().restore().await;
    let case = world.resume(parts).await;
    case.has("edited", "value", Some("second")).await;
    case.has("removed", "value", None).await;
    case.has("added", "value", Some("second")).await;
    case.synced("all", &second).await;

    // No watch waits for the resource versions of before.
    for name in ["same", "added"] {
        case.patch::<ConfigMap>(name, json!({"data": {"value": "person"}}))
            .await;
    }
    case.has("same", "value", Some("first")).await;
    case.has("added", "value", Some("second")).await;
    let third = case
        .push(&[("same.yaml", Some(&case.map("same", "third")))], "third")
        .await;
    case.synced("all", &third).await;
    case.has("same", "value", Some("third")).await;
}
