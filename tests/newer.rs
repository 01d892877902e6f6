//! A newer commit replaces an older one at once, and no Sync waits for another.

use k8s_openapi::api::apps::v1::Deployment;
use serde_json::json;

use crate::world::life::{UNSCHEDULABLE, deployment};
use crate::world::{PATIENCE, world};
use towline_testing::repo::{Change, NewCommit, Parent};
use towline_testing::wait::eventually;

/// Many ConfigMaps in one file.
pub fn many(count: usize, namespace: &str, value: &str) -> String {
    let map = |index| crate::world::config_map(&format!("m{index}"), namespace, value);
    (0..count).map(map).collect::<Vec<_>>().join("---\n")
}

#[tokio::test]
async fn a_commit_replaces_the_one_that_is_being_applied() {
    const COUNT: usize = 300;
    let case = world().await.case("newer").await;
    let text = |value| many(COUNT, &case.namespace, value);
    let first = case
        .repo
        .commit(&[("all.yaml", Some(text("first")))], "first");
    // Committed now, so that it can be announced as soon as the first objects exist.
    let second = case.repo.commit_with(NewCommit {
        branch: "next",
        parent: Parent::Commit(&first),
        message: "second",
        changes: &[("all.yaml", Change::Write(&text("second")))],
        ..NewCommit::default()
    });
    let mark = case.world.cp.audit().mark();
    case.repository(json!({})).await;
    case.sync("all", json!({})).await;
    eventually("the first objects", PATIENCE, async || {
        (case.maps_with(None).await > 0).then_some(())
    })
    .await;
    case.repo.force_push("main", &second);
    case.announce().await;
    let sync = case.synced("all", &second).await;
    assert_eq!(case.maps_with(Some("second")).await, COUNT);
    let status = sync.status.unwrap();
    assert_eq!(status.objects.unwrap().applied as usize, COUNT);
    assert!(status.last_changed_revision.unwrap().ends_with(&second));
    let applies = case.requests(mark).await.len();
    assert!(
        applies < 2 * COUNT,
        "{applies} requests for {COUNT} objects"
    );
    assert_eq!(status.history.len(), 1, "{:?}", status.history);
}

#[tokio::test]
async fn a_commit_replaces_the_one_that_is_waited_for() {
    let case = world().await.case("waited").await;
    let stuck = deployment("web", &case.namespace, UNSCHEDULABLE);
    let files = [
        ("slow/web.yaml", stuck),
        (
            "bad/map.yaml",
            case.map("bad", "x").replace("\ndata:", "\ndota:"),
        ),
        ("good/map.yaml", case.map("good", "first")),
    ];
    case.repo
        .commit(&files.map(|(path, text)| (path, Some(text))), "first");
    case.repository(json!({})).await;
    for name in ["slow", "bad", "good"] {
        case.sync(name, json!({"path": name, "wait": true})).await;
    }
    case.ready_becomes("slow", "False", "HealthPending").await;
    case.ready_becomes("bad", "False", "ApplyFailed").await;
    case.ready_becomes("good", "True", "Converged").await;

    // One Sync waits and one fails, and the third is not affected.
    let good = case.map("good", "second");
    let second = case.push(&[("good/map.yaml", Some(&good))], "good").await;
    case.synced("good", &second).await;
    case.has("good", "value", Some("second")).await;
    case.ready_becomes("slow", "False", "HealthPending").await;

    let fixed = deployment("web", &case.namespace, "");
    let third = case
        .push(&[("slow/web.yaml", Some(&fixed))], "fix it")
        .await;
    case.synced("slow", &third).await;
    let web = case.live::<Deployment>("web").await;
    assert_eq!(web["status"]["availableReplicas"], 1);
}
