//! `towline diff` and what other Syncs have, and deletions that would be held.

use serde_json::{Value, json};
use towline_testing::kubeconfig::User;
use towline_testing::scratch::Scratch;

use super::diff::diff;
use crate::world::{Case, world};

/// A folder on disk with these files.
fn folder(files: &[(&str, &str)]) -> Scratch {
    let scratch = Scratch::new().unwrap();
    for (path, text) in files {
        let file = scratch.path().join(path);
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(file, text).unwrap();
    }
    scratch
}

/// Two Syncs, `all` of the folder `all` and `many` of the folder `many`.
async fn two(case: &Case<'_>) -> [(&'static str, String); 2] {
    let files = [
        ("all/own.yaml", case.map("own", "one")),
        ("many/shared.yaml", case.map("shared", "one")),
    ];
    let committed = files.each_ref().map(|(path, text)| (*path, Some(text)));
    let commit = case.repo.commit(&committed, "first");
    case.repository(json!({})).await;
    for name in ["all", "many"] {
        case.sync(name, json!({"path": name, "prune": true})).await;
        case.synced(name, &commit).await;
    }
    files
}

#[tokio::test]
async fn an_object_of_another_sync_is_refused_unless_it_leaves_that_one() {
    let case = world().await.case("cli-diff-owned").await;
    let namespace = &case.namespace;
    let [(own, own_map), (theirs, shared)] = two(&case).await;
    let person = case.world.cp.kubeconfig_for(User::Person);
    let refused = format!(
        "! ConfigMap {namespace}/shared (all/shared.yaml): it belongs to Sync {namespace}/many; remove it from one of the two"
    );
    let other = case.map("shared", "two");
    for text in [&shared, &other] {
        let both = folder(&[
            (own, &own_map),
            (theirs, &shared),
            ("all/shared.yaml", text),
        ]);
        for args in [&[][..], &["--path", "all", "--all"]] {
            diff(&case, &person, both.path(), args)
                .await
                .says(1, &[&refused, "all: 1 refused\n"]);
        }
    }
    // What another Sync takes over in the same files is not deleted.
    let taken = folder(&[
        ("all/kept.yaml", &case.map("kept", "one")),
        ("many/own.yaml", &own_map),
        (theirs, &shared),
    ]);
    let ran = diff(&case, &person, taken.path(), &[]).await;
    let moves = format!("= ConfigMap {namespace}/own: it moves to Sync {namespace}/many");
    ran.says(1, &[&moves, "all: 1 to create, 1 to release\n"]);
    let ran = diff(&case, &person, taken.path(), &["-o", "json"]).await;
    let value: Value = serde_json::from_str(&ran.out).unwrap();
    let changes = value["changes"].as_array().unwrap();
    let taker = changes.iter().find_map(|change| change.get("movesTo"));
    assert_eq!(taker, Some(&json!(format!("{namespace}/many"))));
    // What is refused would be so: nothing was said that does not happen.
    let commit = case
        .push(&[("all/shared.yaml", Some(&shared))], "the same object")
        .await;
    let message = case
        .ready_becomes("all", "False", "OwnershipConflict")
        .await;
    assert!(message.contains(&format!("it belongs to Sync {namespace}/many")));
    drop(commit);

    let moved = folder(&[
        (own, &own_map),
        ("many/kept.yaml", &case.map("kept", "one")),
        ("all/shared.yaml", &shared),
    ]);
    let ran = diff(&case, &person, moved.path(), &[]).await;
    ran.says(
        1,
        &[
            &format!("~ ConfigMap {namespace}/shared (all/shared.yaml), which moves here from Sync {namespace}/many"),
            "all: 1 to change\n",
        ],
    );
    let ran = diff(&case, &person, moved.path(), &["-o", "json"]).await;
    let value: Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!(
        value["changes"][0]["movesFrom"],
        format!("{namespace}/many")
    );
}

#[tokio::test]
async fn a_deletion_that_would_be_held_is_said_to_be_so() {
    let case = world().await.case("cli-diff-brake").await;
    let namespace = &case.namespace;
    let maps: Vec<(String, String)> = (0..12)
        .map(|number| {
            let map = case.map(&format!("m{number}"), "one");
            (format!("all/{number}.yaml"), map)
        })
        .collect();
    let holder = format!("{namespace}-inner");
    let inner = format!("apiVersion: v1\nkind: Namespace\nmetadata: {{name: {holder}}}\n");
    let mut files: Vec<_> = maps.iter().map(|(path, text)| (&**path, &**text)).collect();
    files.push(("all/inner.yaml", &inner));
    let committed: Vec<_> = files
        .iter()
        .map(|(path, text)| (*path, Some(*text)))
        .collect();
    let commit = case.repo.commit(&committed, "first");
    case.repository(json!({})).await;
    case.sync("all", json!({"path": "all", "prune": true}))
        .await;
    case.synced("all", &commit).await;
    let person = case.world.cp.kubeconfig_for(User::Person);

    let held =
        format!("to approve it when the commit is there: towline approve all -n {namespace}");
    let few = folder(&[files[0], files[1], files[2], files[3], files[12]]);
    let ran = diff(&case, &person, few.path(), &[]).await;
    let parts = ["8 to delete", "(PruneHeld)", "are more than 50 %", &*held];
    ran.says(1, &parts);
    let ran = diff(&case, &person, few.path(), &["-o", "json"]).await;
    let value: Value = serde_json::from_str(&ran.out).unwrap();
    assert!(value["pruneHeld"].as_str().unwrap().contains("PruneHeld"));

    // A Namespace with something in it that nobody deletes.
    let without = folder(&files[..12]);
    let ran = diff(&case, &person, without.path(), &[]).await;
    ran.says(1, &["1 to delete\n"]);
    assert!(!ran.out.contains("PruneHeld"), "{ran:#?}");
    case.kubectl_as_person(&["create", "configmap", "theirs", "-n", &holder])
        .await;
    let ran = diff(&case, &person, without.path(), &[]).await;
    let lost = format!("Namespace {holder} holds ConfigMap {holder}/theirs");
    ran.says(1, &["1 to delete\n", &lost, &held]);
}
