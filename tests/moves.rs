//! An object that moves from one Sync to another in one commit stays what it is.

use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::api::rbac::v1::ClusterRole;
use kube::Api;
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

/// Each namespace has a GitRepository of its own, of the same repository.
#[tokio::test]
async fn an_object_of_the_cluster_between_the_syncs_of_two_namespaces() {
    let one = world().await.case("moves-one").await;
    let two = world().await.case("moves-two").await;
    let role = |value: &str| {
        format!(
            "apiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRole\nmetadata: {{name: {}-role}}\n\
             rules: [{{apiGroups: [\"\"], resources: [pods], verbs: [{value}]}}]\n",
            one.namespace
        )
    };
    let files = [
        ("a/stays.yaml", one.map("stays", "git")),
        ("a/role.yaml", role("get")),
        ("b/stays.yaml", two.map("stays", "git")),
    ];
    let first = one
        .repo
        .commit(&files.map(|(path, text)| (path, Some(text))), "first");
    let url = json!({"url": one.repo.url()});
    for (case, path) in [(&one, "a"), (&two, "b")] {
        case.repository(url.clone()).await;
        case.sync("all", json!({"path": path})).await;
        case.synced("all", &first).await;
    }
    let roles: Api<ClusterRole> = Api::all(one.client.clone());
    let name = format!("{}-role", one.namespace);
    let uid = async || roles.get(&name).await.unwrap().metadata.uid;
    let before = uid().await;
    // The other one hears of the commit later.
    for (turn, verb) in ["list", "watch", "get"].into_iter().enumerate() {
        let (from, to) = match turn % 2 {
            0 => ("a/role.yaml", "b/role.yaml"),
            _ => ("b/role.yaml", "a/role.yaml"),
        };
        let commit = one
            .repo
            .commit(&[(from, None), (to, Some(role(verb)))], "move");
        let (loser, winner) = match turn % 2 {
            0 => (&one, &two),
            _ => (&two, &one),
        };
        loser.announce().await;
        tokio::time::sleep(std::time::Duration::from_millis(1500)).await;
        winner.announce().await;
        for case in [&one, &two] {
            case.synced("all", &commit).await;
        }
        assert_eq!(uid().await, before, "turn {turn}");
        let live = roles.get(&name).await.unwrap();
        assert_eq!(live.rules.unwrap()[0].verbs, [verb]);
    }
    // One that lags is waited for once.
    let fourth = one
        .repo
        .commit(&[("b/role.yaml", None::<String>)], "it leaves");
    two.announce().await;
    two.synced("all", &fourth).await;
    assert!(roles.get_opt(&name).await.unwrap().is_none());
}
