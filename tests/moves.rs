//! An object that moves from one Sync to another in one commit stays what it is.

use k8s_openapi::api::core::v1::ConfigMap;
use serde_json::{Value, json};

use crate::world::{Case, world};

async fn uid(case: &Case<'_>, name: &str) -> Value {
    case.live::<ConfigMap>(name).await["metadata"]["uid"].clone()
}

/// Moves two objects between two Syncs and back; `spec` is of the second Sync.
async fn back_and_forth(name: &str, spec: Value) {
    let case = world().await.case(name).await;
    let map = |name: &str| case.map(name, "git");
    let files = [
        ("a/stays.yaml", map("a-stays")),
        ("a/moves.yaml", map("moves")),
        ("b/stays.yaml", map("b-stays")),
        ("b/leaves.yaml", map("leaves")),
    ];
    let first = case
        .repo
        .commit(&files.map(|(path, text)| (path, Some(text))), "first");
    case.repository(json!({})).await;
    case.sync("a", json!({"path": "a"})).await;
    let mut second = json!({"path": "b"});
    second
        .as_object_mut()
        .unwrap()
        .extend(spec.as_object().unwrap().clone());
    case.sync("b", second).await;
    for sync in ["a", "b"] {
        case.synced(sync, &first).await;
    }
    let before = (uid(&case, "moves").await, uid(&case, "leaves").await);
    for turn in 0..4 {
        let (from, to) = match turn % 2 {
            0 => ("a/moves.yaml", "b/moves.yaml"),
            _ => ("b/moves.yaml", "a/moves.yaml"),
        };
        let (back, forth) = match turn % 2 {
            0 => ("b/leaves.yaml", "a/leaves.yaml"),
            _ => ("a/leaves.yaml", "b/leaves.yaml"),
        };
        let commit = case
            .push(
                &[
                    (from, None),
                    (to, Some(&map("moves"))),
                    (back, None),
                    (forth, Some(&map("leaves"))),
                ],
                "move",
            )
            .await;
        for sync in ["a", "b"] {
            case.synced(sync, &commit).await;
        }
        let now = (uid(&case, "moves").await, uid(&case, "leaves").await);
        assert_eq!(now, before, "turn {turn}");
    }
    // What leaves both is pruned.
    let commit = case.push(&[("a/moves.yaml", None)], "remove").await;
    case.synced("a", &commit).await;
    case.has("moves", "value", None).await;
}

#[tokio::test]
async fn between_two_syncs() {
    back_and_forth("moves", json!({})).await;
}

#[tokio::test]
async fn between_a_sync_and_one_that_waits_for_it() {
    back_and_forth("moves-after", json!({"dependsOn": [{"name": "a"}]})).await;
}
