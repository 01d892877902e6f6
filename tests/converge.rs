//! The main path: a commit is applied, objects stay as in Git, and deleted files are pruned.

use serde_json::json;

use crate::world::{config_map, world};

#[tokio::test]
async fn a_commit_is_applied_changed_and_pruned() {
    let case = world().await.case("converge").await;
    let namespace = case.namespace.as_str();
    let (a, b) = (
        config_map("a", namespace, "one"),
        config_map("b", namespace, "one"),
    );
    let first = case.repo.commit(
        &[("apps/a.yaml", Some(&a)), ("apps/b.yaml", Some(&b))],
        "first",
    );
    case.repository(json!({})).await;
    case.sync("all", json!({"path": "apps"})).await;
    case.synced("all", &first).await;
    case.has("a", "value", Some("one")).await;
    case.has("b", "value", Some("one")).await;

    let changed = config_map("a", namespace, "two");
    let second = case
        .push(&[("apps/a.yaml", Some(&changed))], "change a")
        .await;
    case.synced("all", &second).await;
    case.has("a", "value", Some("two")).await;

    let third = case.push(&[("apps/b.yaml", None)], "remove b").await;
    case.synced("all", &third).await;
    case.has("b", "value", None).await;
    case.has("a", "value", Some("two")).await;
}
