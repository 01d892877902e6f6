//! Programs are killed at different moments. Afterwards the cluster equals Git, and no object is left
//! behind.

use k8s_openapi::api::core::v1::ConfigMap;
use serde_json::json;
use towline::api::Sync;

use crate::newer::many;
use crate::world::{Case, PATIENCE, World, condition};
use towline_testing::control_plane::{Component, Options};
use towline_testing::kubeconfig::User;
use towline_testing::wait::eventually;

const COUNT: usize = 300;

/// Waits until some objects are applied, but not all.
async fn half_way(case: &Case<'_>, value: &str) {
    let what = format!("the first objects with {value}");
    let count = eventually(&what, PATIENCE, async || {
        let count = case.maps_with(Some(value)).await;
        (count > 0).then_some(count)
    })
    .await;
    assert!(
        count < COUNT,
        "all were applied before anything could be killed"
    );
}

async fn all(case: &Case<'_>, value: &str, count: usize) {
    let what = format!("{count} objects with {value}");
    eventually(&what, PATIENCE, async || {
        let (is, with) = (
            case.maps_with(None).await,
            case.maps_with(Some(value)).await,
        );
        (is == count && with == count)
            .then_some(())
            .ok_or((is, with))
    })
    .await;
}

fn audited() -> Options {
    Options {
        audit: true,
        ..Options::default()
    }
}

#[tokio::test]
async fn a_killed_operator_continues_with_the_newest_commit() {
    let mut world = World::own(audited(), &["--diff-after=1s"]).await;

    // While the operator is down, a commit deletes half of the objects that it was applying.
    let case = world.case("killed").await;
    let text = |count, value: &str| many(count, &case.namespace, value);
    case.repo
        .commit(&[("all.yaml", Some(text(COUNT, "first")))], "first");
    let fewer = text(COUNT / 2, "second");
    case.repository(json!({})).await;
    case.sync("all", json!({})).await;
    half_way(&case, "first").await;
    let case = case.into_parts();
    world.operator.kill();
    let second = case.1.commit(&[("all.yaml", Some(fewer))], "second");
    world.operator.restart().await;
    let case = world.resume(case).await;
    case.synced("all", &second).await;
    all(&case, "second", COUNT / 2).await;

    // The Sync is deleted while the operator is down, in the middle of an apply.
    let text = many(COUNT, &case.namespace, "third");
    case.push(&[("all.yaml", Some(&text))], "third").await;
    half_way(&case, "third").await;
    let case = case.into_parts();
    world.operator.kill();
    let case = world.resume(case).await;
    case.delete::<Sync>("all").await;
    assert!(case.maps_with(None).await > 0);
    let case = case.into_parts();
    world.operator.restart().await;
    let case = world.resume(case).await;
    eventually("the Sync is gone", PATIENCE, async || {
        case.live::<Sync>("all").await.is_null().then_some(())
    })
    .await;
    all(&case, "third", 0).await;
}

#[tokio::test]
async fn drift_while_the_operator_is_down_is_healed_or_reported_as_the_mode_says() {
    let mut world = World::own(audited(), &["--diff-after=1s"]).await;
    let case = world.case("down").await;
    let map = |name: &str| case.map(name, "git");
    let names = ["edited", "deleted", "before"];
    let files: Vec<_> = ["correct", "report"]
        .iter()
        .flat_map(|mode| names.map(|name| format!("{mode}-{name}")))
        .map(|name| {
            (
                format!("{}/{name}.yaml", name.split_once('-').unwrap().0),
                Some(map(&name)),
            )
        })
        .collect();
    let commit = case.repo.commit(&files, "first");
    case.repository(json!({})).await;
    case.sync("correct", json!({"path": "correct"})).await;
    case.sync("report", json!({"path": "report", "mode": "Report"}))
        .await;
    case.synced("correct", &commit).await;
    case.synced("report", &commit).await;
    case.patch::<ConfigMap>("report-before", json!({"data": {"value": "person"}}))
        .await;
    case.ready_becomes("report", "False", "DriftFound").await;
    // The diff is reported once, after the configured time.
    case.wait_for_event("Diff", &["report-before", "was changed by person"])
        .await;

    let parts = case.into_parts();
    world.operator.kill();
    let case = world.resume(parts).await;
    for mode in ["correct", "report"] {
        let edit = json!({"data": {"value": "person"}});
        case.patch::<ConfigMap>(&format!("{mode}-edited"), edit)
            .await;
        case.delete::<ConfigMap>(&format!("{mode}-deleted")).await;
    }
    let parts = case.into_parts();
    // The restarted operator reports a diff only after one hour.
    world.operator.restart_with(&["--diff-after=1h"]).await;
    let case = world.resume(parts).await;
    case.has("correct-edited", "value", Some("git")).await;
    case.has("correct-deleted", "value", Some("git")).await;
    case.wait_for_event("DriftCorrected", &["correct-edited", "person"])
        .await;
    let sync = case
        .until("report", "three objects drifted", |sync| {
            let objects = sync.status.as_ref().and_then(|status| status.objects);
            objects.unwrap_or_default().drifted == 3
        })
        .await;
    let message = condition(&sync, "Drifted").2;
    assert!(
        message.contains("report-edited was changed by person"),
        "{message}"
    );
    case.has("report-edited", "value", Some("person")).await;
    case.has("report-before", "value", Some("person")).await;
    case.has("report-deleted", "value", None).await;
    let mut told = case.events("Diff").await;
    // An object that takes long to become ready for the first time is reported, too. That is not drift.
    told.retain(|note| note.contains(" was changed") || note.contains(" was deleted"));
    assert_eq!(told.len(), 1, "{told:?}");

    case.patch::<Sync>("report", json!({"spec": {"mode": "Correct"}}))
        .await;
    for name in names {
        case.has(&format!("report-{name}"), "value", Some("git"))
            .await;
    }
}

#[tokio::test]
async fn work_continues_after_the_control_plane_restarts() {
    let mut world = World::own(Options::default(), &[]).await;
    let case = world.case("outage").await;
    let text = |value: &str| many(COUNT, &case.namespace, value);
    let (first, second) = (text("first"), text("second"));
    case.repo.commit(&[("all.yaml", Some(first))], "first");
    case.repository(json!({})).await;
    case.sync("all", json!({})).await;

    // In the middle of an apply.
    half_way(&case, "first").await;
    let parts = case.into_parts();
    world
        .control_plane_mut()
        .restart(Component::ApiServer)
        .await;
    let case = world.resume(parts).await;
    all(&case, "first", COUNT).await;
    case.ready_becomes("all", "True", "Converged").await;

    // While idle: a change at the moment when the server is back is corrected.
    let mut parts = case.into_parts();
    for component in [Component::ApiServer, Component::Etcd] {
        world.control_plane_mut().restart(component).await;
        let case = world.resume(parts).await;
        let client = world.cp.client_for(User::Person).await;
        let maps: kube::Api<ConfigMap> = kube::Api::namespaced(client, &case.namespace);
        let edit = kube::api::Patch::Merge(json!({"data": {"value": "person"}}));
        eventually("the server takes a write", PATIENCE, async || {
            maps.patch("m1", &kube::api::PatchParams::default(), &edit)
                .await
        })
        .await;
        case.has("m1", "value", Some("first")).await;
        parts = case.into_parts();
    }

    // A new commit is applied.
    let case = world.resume(parts).await;
    let second = case.push(&[("all.yaml", Some(&second))], "second").await;
    case.synced("all", &second).await;
    all(&case, "second", COUNT).await;
}
