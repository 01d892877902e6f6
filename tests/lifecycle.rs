//! The fields of a Sync's spec that decide when it works and what happens to its objects.

use std::time::Duration;

use k8s_openapi::api::core::v1::ConfigMap;
use serde_json::{Value, json};
use towline::api::Sync;

use crate::world::life::{UNSCHEDULABLE, deployment};
use crate::world::{Case, PATIENCE, condition, config_map, world};
use towline_testing::wait::{eventually, never};

/// A case in which the Sync `all` has applied the ConfigMaps `a` and `b`.
async fn two_maps(name: &str, spec: Value) -> Case<'static> {
    let files = async |namespace: &str| {
        let file = |name: &&str| (format!("{name}.yaml"), config_map(name, namespace, "git"));
        ["a", "b"].iter().map(file).collect()
    };
    Case::started(world().await, name, files, spec).await.0
}

#[tokio::test]
async fn a_sync_waits_for_its_dependency_and_is_woken_by_it() {
    let case = world().await.case("depends").await;
    let slow = |more| deployment("base", &case.namespace, more);
    let first = case.repo.commit(
        &[
            ("base/web.yaml", Some(slow(UNSCHEDULABLE))),
            ("app/map.yaml", Some(case.map("app", "first"))),
        ],
        "first",
    );
    case.repository(json!({})).await;
    case.sync(
        "app",
        json!({"path": "app", "dependsOn": [{"name": "base"}]}),
    )
    .await;
    let message = case
        .ready_becomes("app", "False", "DependencyNotReady")
        .await;
    let missing = format!("{}/base, which does not exist", case.namespace);
    assert!(message.contains(&missing), "{message}");

    case.sync("base", json!({"path": "base", "wait": true}))
        .await;
    case.ready_becomes("base", "False", "HealthPending").await;
    case.until("app", "it waits for base", |sync| {
        condition(sync, "Ready")
            .2
            .contains("base, which is not ready")
    })
    .await;
    assert_eq!(case.data("app").await, None);
    let second = case
        .push(&[("base/web.yaml", Some(&slow("")))], "second")
        .await;
    assert_ne!(first, second);
    case.synced("base", &second).await;
    case.synced("app", &second).await;

    // The order holds for later commits too, and applied objects stay meanwhile.
    let third = case
        .push(
            &[
                ("base/web.yaml", Some(&slow(UNSCHEDULABLE))),
                ("app/map.yaml", Some(&case.map("app", "third"))),
            ],
            "third",
        )
        .await;
    case.ready_becomes("base", "False", "HealthPending").await;
    case.ready_becomes("app", "False", "DependencyNotReady")
        .await;
    case.has("app", "value", Some("first")).await;
    case.patch::<ConfigMap>("app", json!({"data": {"value": "person"}}))
        .await;
    case.has("app", "value", Some("first")).await;
    case.patch::<Sync>("base", json!({"spec": {"wait": false}}))
        .await;
    case.synced("app", &third).await;
    case.has("app", "value", Some("third")).await;
}

#[tokio::test]
async fn a_circle_of_dependencies_is_named_and_can_be_cut() {
    let case = world().await.case("circle").await;
    let commit = case
        .repo
        .commit(&[("map.yaml", Some(case.map("map", "git")))], "first");
    case.repository(json!({})).await;
    for (name, on) in [("a", "b"), ("b", "c"), ("c", "a")] {
        let spec = json!({"dependsOn": [{"name": on}]});
        case.sync(name, spec).await;
    }
    for name in ["a", "b", "c"] {
        let what = format!("{name} stalls");
        let sync = case.until(name, &what, |sync| {
            condition(sync, "Stalled").1 == "DependencyCycle"
        });
        let message = condition(&sync.await, "Ready").2;
        assert!(message.contains(" → "), "{message}");
    }
    let cut = json!({"spec": {"dependsOn": null}});
    case.patch::<Sync>("c", cut).await;
    case.synced("c", &commit).await;
    for name in ["a", "b"] {
        case.until(name, "no longer stalled", |sync| {
            condition(sync, "Stalled").0.is_empty()
        })
        .await;
    }
}

#[tokio::test]
async fn a_suspended_sync_does_nothing_until_it_resumes() {
    let case = two_maps("suspend", json!({})).await;
    case.patch::<Sync>("all", json!({"spec": {"suspend": true}}))
        .await;
    case.ready_becomes("all", "Unknown", "Suspended").await;
    let mark = case.world.cp.audit().mark();
    case.patch::<ConfigMap>("a", json!({"data": {"value": "person"}}))
        .await;
    let second = case
        .push(&[("b.yaml", Some(&case.map("b", "second")))], "second")
        .await;
    never(
        "work while suspended",
        Duration::from_millis(700),
        async || {
            let requests = case.requests(mark).await;
            (!requests.is_empty()).then_some(requests)
        },
    )
    .await;
    case.patch::<Sync>("all", json!({"spec": {"suspend": false}}))
        .await;
    case.synced("all", &second).await;
    case.has("a", "value", Some("git")).await;
    case.has("b", "value", Some("second")).await;
}

#[tokio::test]
async fn the_deletion_policy_decides_about_the_objects_of_a_deleted_sync() {
    for (policy, prune, stays) in [
        ("Delete", false, false),
        ("Orphan", true, true),
        ("MirrorPrune", true, false),
        ("MirrorPrune", false, true),
    ] {
        let spec = json!({"deletionPolicy": policy, "prune": prune});
        let case = two_maps("deletion", spec).await;
        case.delete::<Sync>("all").await;
        eventually("the Sync is gone", PATIENCE, async || {
            case.live::<Sync>("all").await.is_null().then_some(())
        })
        .await;
        for name in ["a", "b"] {
            let map = case.live::<ConfigMap>(name).await;
            assert_eq!(!map.is_null(), stays, "{policy} {prune}: {map:#}");
            if stays {
                assert_eq!(map["data"]["value"], "git");
                let marks = map["metadata"]["labels"].as_object().into_iter();
                let mut marks = marks
                    .chain(map["metadata"]["annotations"].as_object())
                    .flatten();
                assert_eq!(marks.next(), None, "{policy} {prune}: {map:#}");
            }
        }
    }
}

#[tokio::test]
async fn a_sync_can_be_deleted_while_suspended_or_failing() {
    let case = two_maps("deletion", json!({})).await;
    let broken = case.map("b", "x").replace("\ndata:", "\ndota:");
    case.push(&[("b.yaml", Some(&broken))], "break b").await;
    case.ready_becomes("all", "False", "ApplyFailed").await;
    case.patch::<Sync>("all", json!({"spec": {"suspend": true}}))
        .await;
    case.ready_becomes("all", "Unknown", "Suspended").await;
    case.delete::<Sync>("all").await;
    case.has("a", "value", None).await;
    case.has("b", "value", None).await;
    eventually("the Sync is gone", PATIENCE, async || {
        case.live::<Sync>("all").await.is_null().then_some(())
    })
    .await;
}

#[tokio::test]
async fn without_prune_removed_objects_stay_and_are_counted() {
    let case = two_maps("prune", json!({"prune": false})).await;
    let second = case.push(&[("b.yaml", None)], "remove b").await;
    case.synced("all", &second).await;
    let unpruned = |sync: &Sync| {
        let objects = sync.status.as_ref().and_then(|status| status.objects);
        objects.unwrap_or_default().unpruned
    };
    case.until("all", "one object has left Git", |sync| unpruned(sync) == 1)
        .await;
    case.has("b", "value", Some("git")).await;

    case.patch::<Sync>("all", json!({"spec": {"prune": true}}))
        .await;
    case.has("b", "value", None).await;
    case.until("all", "nothing is left", |sync| unpruned(sync) == 0)
        .await;
    case.has("a", "value", Some("git")).await;
}

#[tokio::test]
async fn moved_objects_change_owner_and_removed_objects_are_pruned() {
    let case = world().await.case("path").await;
    let commit = case.repo.commit(
        &[
            ("one/a.yaml", Some(case.map("a", "one"))),
            ("one/b.yaml", Some(case.map("b", "one"))),
            ("two/b.yaml", Some(case.map("b", "two"))),
        ],
        "first",
    );
    case.repository(json!({})).await;
    case.sync("all", json!({"path": "one"})).await;
    case.synced("all", &commit).await;
    case.patch::<Sync>("all", json!({"spec": {"path": "two"}}))
        .await;
    case.has("a", "value", None).await;
    case.has("b", "value", Some("two")).await;
}

/// A Service of a fixed port, in the case's namespace.
fn node_port(name: &str, namespace: &str, port: u16) -> String {
    format!(
        "apiVersion: v1\nkind: Service\nmetadata: {{name: {name}, namespace: {namespace}}}\n\
         spec: {{type: NodePort, ports: [{{port: 80, nodePort: {port}}}]}}\n"
    )
}

#[tokio::test]
async fn a_request_to_the_repository_ends_the_pause_of_its_syncs() {
    let case = world().await.case("pause").await;
    let taken = serde_json::from_value(json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": "first"},
        "spec": {"type": "NodePort", "ports": [{"port": 80, "nodePort": 32_719}]},
    }));
    let services = case.api::<k8s_openapi::api::core::v1::Service>();
    services
        .create(&kube::api::PostParams::default(), &taken.unwrap())
        .await
        .unwrap();
    let text = node_port("second", &case.namespace, 32_719);
    case.repo.commit(&[("a.yaml", Some(text))], "first");
    case.repository(json!({})).await;
    case.sync("all", json!({})).await;
    let message = case.ready_becomes("all", "False", "ApplyFailed").await;
    assert!(message.contains("already allocated"), "{message}");
    // Tries after 1, 3, 7 and 15 seconds have failed; the next one is half a minute after the first.
    tokio::time::sleep(Duration::from_secs(17)).await;
    case.delete::<k8s_openapi::api::core::v1::Service>("first")
        .await;
    let asked = std::time::Instant::now();
    case.announce().await;
    case.ready_becomes("all", "True", "Converged").await;
    assert!(
        asked.elapsed() < Duration::from_secs(6),
        "{:?}",
        asked.elapsed()
    );
}
