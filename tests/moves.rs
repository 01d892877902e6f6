//! An object that moves from one Sync to another in one commit stays what it is.

use std::time::Duration;

use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::api::rbac::v1::ClusterRole;
use kube::Api;
use serde_json::{Value, json};
use towline::api::Sync;

use crate::world::{Case, PATIENCE, world};
use towline_testing::wait::{eventually, never};

pub async fn uid(case: &Case<'_>, name: &str) -> Value {
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

/// What moves to a suspended Sync stays, and is its own when it goes on.
#[tokio::test]
async fn into_a_suspended_sync() {
    let case = world().await.case("moves-suspended").await;
    let map = |name: &str| case.map(name, "git");
    let files = [
        ("a/stays.yaml", map("a-stays")),
        ("a/moves.yaml", map("moves")),
        ("b/stays.yaml", map("b-stays")),
    ];
    let first = case
        .repo
        .commit(&files.map(|(path, text)| (path, Some(text))), "first");
    case.repository(json!({})).await;
    for sync in ["a", "b"] {
        case.sync(sync, json!({"path": sync})).await;
        case.synced(sync, &first).await;
    }
    let before = uid(&case, "moves").await;
    case.patch::<Sync>("b", json!({"spec": {"suspend": true}}))
        .await;
    case.ready_becomes("b", "Unknown", "Suspended").await;
    let moved = case
        .push(
            &[
                ("a/moves.yaml", None),
                ("b/moves.yaml", Some(&map("moves"))),
            ],
            "move",
        )
        .await;
    case.synced("a", &moved).await;
    case.reconcile("a").await;
    assert_eq!(uid(&case, "moves").await, before);
    case.ready_becomes("b", "Unknown", "Suspended").await;
    case.patch::<Sync>("b", json!({"spec": {"suspend": false}}))
        .await;
    case.synced("b", &moved).await;
    assert_eq!(uid(&case, "moves").await, before);
    // It is the second one's now.
    let gone = case.push(&[("b/moves.yaml", None)], "remove").await;
    case.synced("b", &gone).await;
    case.has("moves", "value", None).await;
}

/// Two Syncs, `a` with `moves` and `leaves`, and what the first commit is.
pub async fn a_and_b(case: &Case<'_>) -> String {
    let map = |name: &str| case.map(name, "git");
    let files = [
        ("a/stays.yaml", map("a-stays")),
        ("a/moves.yaml", map("moves")),
        ("a/leaves.yaml", map("leaves")),
        ("b/stays.yaml", map("b-stays")),
    ];
    let first = case
        .repo
        .commit(&files.map(|(path, text)| (path, Some(text))), "first");
    case.repository(json!({})).await;
    for sync in ["a", "b"] {
        case.sync(sync, json!({"path": sync})).await;
        case.synced(sync, &first).await;
    }
    first
}

/// Waits until the warnings of a Sync hold a text, or until there are none.
pub async fn warns(case: &Case<'_>, name: &str, text: Option<&str>) {
    case.until(name, "it warns", |sync| {
        let warnings = sync.status.as_ref().map(|status| &status.warnings);
        let warnings = warnings.map(|all| all.join("\n")).unwrap_or_default();
        match text {
            Some(text) => warnings.contains(text),
            None => warnings.is_empty(),
        }
    })
    .await;
}

/// What moves to a Sync that is pinned to an older commit stays, and is its own when the pin ends. Nothing else waits.
#[tokio::test]
async fn into_a_pinned_sync() {
    let case = world().await.case("moves-pinned").await;
    let first = a_and_b(&case).await;
    let map = case.map("moves", "git");
    let before = uid(&case, "moves").await;
    let pin = |to: Value, hold: Value| json!({"metadata": {"annotations": {"towline.dev/pin": to, "towline.dev/pin-hold": hold}}});
    let revision = json!(format!("main@sha1:{first}"));
    case.patch::<Sync>("b", pin(revision, json!("true"))).await;
    case.ready_becomes("b", "True", "Pinned").await;
    let to_b = [("a/moves.yaml", None), ("b/moves.yaml", Some(&*map))];
    let to_a = [("a/moves.yaml", Some(&*map)), ("b/moves.yaml", None)];
    let b = format!("(for Sync {}/b)", case.namespace);
    let moved = case
        .push(&[&to_b[..], &[("a/leaves.yaml", None)]].concat(), "move")
        .await;
    case.synced("a", &moved).await;
    case.has("leaves", "value", None).await;
    warns(&case, "a", Some(&b)).await;
    case.reconcile("a").await;
    case.reconcile("b").await;
    assert_eq!(uid(&case, "moves").await, before);
    // It moves back, and leaves both.
    let back = case.push(&to_a, "back").await;
    case.synced("a", &back).await;
    warns(&case, "a", None).await;
    assert_eq!(uid(&case, "moves").await, before);
    let moved = case.push(&to_b, "move again").await;
    case.synced("a", &moved).await;
    warns(&case, "a", Some(&b)).await;
    case.patch::<Sync>("b", pin(Value::Null, Value::Null)).await;
    case.synced("b", &moved).await;
    warns(&case, "a", None).await;
    assert_eq!(uid(&case, "moves").await, before);
    let revision = json!(format!("main@sha1:{moved}"));
    case.patch::<Sync>("b", pin(revision, json!("true"))).await;
    case.ready_becomes("b", "True", "Pinned").await;
    let back = case.push(&to_a, "to the first").await;
    case.ready_becomes("a", "False", "OwnershipConflict").await;
    case.patch::<Sync>("b", pin(Value::Null, Value::Null)).await;
    for sync in ["a", "b"] {
        case.synced(sync, &back).await;
    }
    assert_eq!(uid(&case, "moves").await, before);
}

fn child(case: &Case<'_>, name: &str, path: &str) -> String {
    json!({
        "apiVersion": "towline.dev/v1alpha1", "kind": "Sync",
        "metadata": {"name": name, "namespace": case.namespace},
        "spec": {"sourceRef": {"name": "repo"}, "path": path, "prune": true},
    })
    .to_string()
}

/// A part of a Sync becomes a Sync of its own, which the same commit makes; and that one is renamed.
#[tokio::test]
async fn into_a_sync_that_the_same_commit_makes() {
    let case = world().await.case("moves-split").await;
    let map = |name: &str| case.map(name, "git");
    let first = case.repo.commit(
        &[
            ("syncs/a.yaml", Some(child(&case, "a", "a"))),
            ("a/stays.yaml", Some(map("stays"))),
            ("a/moves.yaml", Some(map("moves"))),
        ],
        "first",
    );
    case.repository(json!({})).await;
    case.sync("root", json!({"path": "syncs"})).await;
    for sync in ["a", "root"] {
        case.synced(sync, &first).await;
    }
    let before = uid(&case, "moves").await;
    let paths = ["a", "b1", "b2", "b3", "b4"];
    for (from, to) in paths.iter().zip(&paths[1..]) {
        let commit = case
            .push(
                &[
                    (&format!("syncs/{to}.yaml"), Some(&child(&case, to, to))),
                    (&format!("{from}/moves.yaml"), None),
                    (
                        &format!("{from}/own.yaml"),
                        Some(&map(&format!("own-{from}"))),
                    ),
                    (&format!("{to}/moves.yaml"), Some(&map("moves"))),
                ],
                "split",
            )
            .await;
        for sync in [to, from, "root"] {
            case.synced(sync, &commit).await;
        }
        assert_eq!(uid(&case, "moves").await, before, "from {from} to {to}");
    }
    for number in 0..3 {
        let name = format!("renamed-{number}");
        let commit = case
            .push(
                &[("syncs/b4.yaml", Some(&child(&case, &name, "b4")))],
                "rename",
            )
            .await;
        for sync in [&*name, "root"] {
            case.synced(sync, &commit).await;
        }
        assert_eq!(uid(&case, "moves").await, before, "renamed to {name}");
    }
}

/// An object moves to a Sync that waits for another one, and a Sync is renamed to one that waits. The old Sync is gone long
/// before the new one applies anything. The objects are the same all the time, and the new Sync's own afterwards.
#[tokio::test]
async fn into_a_sync_that_waits_for_a_dependency() {
    let case = world().await.case("moves-waiting").await;
    let map = |name: &str| case.map(name, "git");
    let waiting = |name: &str, path: &str| {
        json!({
            "apiVersion": "towline.dev/v1alpha1", "kind": "Sync",
            "metadata": {"name": name, "namespace": case.namespace},
            "spec": {"sourceRef": {"name": "repo"}, "path": path, "prune": true,
                "dependsOn": [{"name": "late"}]},
        })
        .to_string()
    };
    let first = case.repo.commit(
        &[
            ("syncs/a.yaml", Some(child(&case, "a", "a"))),
            ("syncs/old.yaml", Some(child(&case, "old", "c"))),
            ("syncs/late.yaml", Some(child(&case, "late", "late"))),
            ("late/map.yaml", Some(map("late"))),
            ("a/stays.yaml", Some(map("stays"))),
            ("a/moves.yaml", Some(map("moves"))),
            ("c/kept.yaml", Some(map("kept"))),
        ],
        "first",
    );
    case.repository(json!({})).await;
    case.sync("root", json!({"path": "syncs"})).await;
    for sync in ["a", "old", "late", "root"] {
        case.synced(sync, &first).await;
    }
    let both = async || (uid(&case, "moves").await, uid(&case, "kept").await);
    let before = both().await;
    let second = case
        .push(
            &[
                (
                    "late/map.yaml",
                    Some(&map("late").replace("\ndata:", "\ndota:")),
                ),
                ("syncs/b.yaml", Some(&waiting("b", "b"))),
                ("a/moves.yaml", None),
                ("b/moves.yaml", Some(&map("moves"))),
                ("syncs/old.yaml", Some(&waiting("new", "c"))),
            ],
            "to Syncs that wait",
        )
        .await;
    for sync in ["a", "root"] {
        case.synced(sync, &second).await;
    }
    for sync in ["b", "new"] {
        case.ready_becomes(sync, "False", "DependencyNotReady")
            .await;
    }
    eventually("the old Sync is gone", PATIENCE, async || {
        let old = case.api::<Sync>().get_opt("old").await.unwrap();
        old.is_none().then_some(())
    })
    .await;
    never("an object goes", Duration::from_secs(3), async || {
        let now = both().await;
        (now != before).then_some(now)
    })
    .await;
    let third = case
        .push(&[("late/map.yaml", Some(&map("late")))], "mend")
        .await;
    for sync in ["late", "b", "new"] {
        case.synced(sync, &third).await;
    }
    assert_eq!(both().await, before);
    // They were made by towline, whichever Sync it was.
    let fourth = case
        .push(
            &[
                ("b/moves.yaml", None),
                ("c/kept.yaml", None),
                ("b/own.yaml", Some(&map("own-b"))),
                ("c/own.yaml", Some(&map("own-c"))),
            ],
            "they leave",
        )
        .await;
    for (sync, name) in [("b", "moves"), ("new", "kept")] {
        case.synced(sync, &fourth).await;
        case.has(name, "value", None).await;
    }
}

/// The commit that moves an object into a path also gives another Sync that path.
#[tokio::test]
async fn into_a_path_that_the_same_commit_gives_to_another_sync() {
    let case = world().await.case("moves-path").await;
    let map = |name: &str| case.map(name, "git");
    let names = ["moves-0", "moves-1", "moves-2", "moves-3"];
    let mut files = vec![
        ("syncs/a.yaml".to_owned(), child(&case, "a", "a")),
        ("syncs/b.yaml".to_owned(), child(&case, "b", "b0")),
        ("a/stays.yaml".to_owned(), map("stays")),
        ("b0/own.yaml".to_owned(), map("own")),
    ];
    files.extend(names.map(|name| (format!("a/{name}.yaml"), map(name))));
    let files: Vec<_> = files
        .iter()
        .map(|(path, text)| (path, Some(text)))
        .collect();
    let first = case.repo.commit(&files, "first");
    case.repository(json!({})).await;
    case.sync("root", json!({"path": "syncs"})).await;
    for sync in ["a", "b", "root"] {
        case.synced(sync, &first).await;
    }
    for (turn, name) in names.iter().enumerate() {
        let before = uid(&case, name).await;
        let to = format!("b{}", turn + 1);
        let mut files = vec![
            ("syncs/b.yaml".to_owned(), Some(child(&case, "b", &to))),
            (format!("a/{name}.yaml"), None),
            (format!("{to}/own.yaml"), Some(map("own"))),
        ];
        let moved = names[..=turn].iter();
        files.extend(moved.map(|name| (format!("{to}/{name}.yaml"), Some(map(name)))));
        let commit = case.repo.commit(&files, "path");
        case.announce().await;
        for sync in ["a", "root", "b"] {
            case.synced(sync, &commit).await;
        }
        assert_eq!(uid(&case, name).await, before, "{name}");
    }
}

/// A Sync of the same source that fetches a base cannot say what it wants. Another one keeps what has left it, but holds up
/// nothing else, and goes on to correct drift.
#[tokio::test]
async fn a_sync_that_says_nothing_is_waited_for_once() {
    let case = world().await.case("moves-silent").await;
    let names: Vec<String> = (0..8).map(|number| format!("stays-{number}")).collect();
    let mut files: Vec<(String, String)> = names
        .iter()
        .map(|name| (format!("a/{name}.yaml"), case.map(name, "git")))
        .collect();
    let overlay = |resource: &str| format!("resources: ['{resource}']\n");
    files.push(("a/leaves.yaml".to_owned(), case.map("leaves", "git")));
    files.push(("b/other.yaml".to_owned(), case.map("other", "git")));
    files.push(("b/kustomization.yaml".to_owned(), overlay("other.yaml")));
    let files: Vec<_> = files
        .iter()
        .map(|(path, text)| (path, Some(text)))
        .collect();
    let first = case.repo.commit(&files, "first");
    case.repository(json!({"timeout": "10m"})).await;
    case.sync("a", json!({"path": "a", "pruneLimit": {"percent": 0}}))
        .await;
    let pinned = json!({"path": "b", "kustomize": {"remoteBases": "Pinned"}});
    case.sync("b", pinned).await;
    for sync in ["a", "b"] {
        case.synced(sync, &first).await;
    }
    // Takes connections, and does not answer.
    let server = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let address = server.local_addr().unwrap();
    let base = overlay(&format!("http://{address}/team/base//deploy?ref=v1"));
    case.push(
        &[
            ("a/leaves.yaml", None),
            ("b/kustomization.yaml", Some(&base)),
        ],
        "it leaves",
    )
    .await;
    case.ready_becomes("a", "False", "PruneHeld").await;
    let started = std::time::Instant::now();
    for name in &names {
        case.patch::<ConfigMap>(name, json!({"data": {"value": "person"}}))
            .await;
        case.has(name, "value", Some("git")).await;
    }
    // One wait takes ten seconds.
    let took = started.elapsed();
    assert!(took.as_secs() < 40, "{took:?}");
    case.has("leaves", "value", Some("git")).await;
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
        // In the last turn nobody tells the other one: it would look for a commit an hour later.
        if turn < 2 {
            tokio::time::sleep(std::time::Duration::from_millis(1500)).await;
            winner.announce().await;
        }
        for case in [&one, &two] {
            case.synced("all", &commit).await;
        }
        // The loser waits five seconds for the other one, and a busy machine may take longer to fetch and apply.
        if turn == 2 {
            continue;
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
