//! Syncs that are among their own objects, and Syncs that contain each other.

use serde_json::{Value, json};
use towline::api::Sync;

use crate::world::life::{UNSCHEDULABLE, deployment};
use crate::world::{Case, condition, world};
use towline_testing::wait::eventually;

use crate::world::PATIENCE;

/// The manifest of a Sync of the GitRepository `repo`.
fn sync(case: &Case<'_>, name: &str, more: &Value) -> String {
    let mut spec =
        json!({"sourceRef": {"name": "repo"}, "wait": true, "prune": true, "timeout": "10s"});
    let more = more.as_object().cloned().unwrap_or_default();
    spec.as_object_mut().unwrap().extend(more);
    let object = json!({
        "apiVersion": "towline.dev/v1alpha1", "kind": "Sync",
        "metadata": {"name": name, "namespace": case.namespace}, "spec": spec,
    });
    object.to_string()
}

fn repository(case: &Case<'_>, more: &Value) -> String {
    let mut spec = json!({"url": case.repo.url(), "interval": "1h", "ref": {"branch": "main"}});
    let more = more.as_object().cloned().unwrap_or_default();
    spec.as_object_mut().unwrap().extend(more);
    let object = json!({
        "apiVersion": "towline.dev/v1alpha1", "kind": "GitRepository",
        "metadata": {"name": "repo", "namespace": case.namespace}, "spec": spec,
    });
    object.to_string()
}

#[tokio::test]
async fn a_sync_does_not_wait_for_itself() {
    let case = world().await.case("inside").await;
    let first = case.repo.commit(
        &[
            ("sync.json", Some(sync(&case, "all", &json!({})))),
            ("repo.json", Some(repository(&case, &json!({})))),
            ("a.yaml", Some(case.map("a", "first"))),
        ],
        "first",
    );
    case.repository(json!({})).await;
    case.sync("all", json!({"wait": true, "timeout": "10s"}))
        .await;
    let ready = case.synced("all", &first).await;
    assert_eq!(condition(&ready, "Healthy").0, "True");
    let second = case
        .push(
            &[
                ("a.yaml", Some(&case.map("a", "second"))),
                // Its own spec as well.
                (
                    "sync.json",
                    Some(&sync(&case, "all", &json!({"timeout": "20s"}))),
                ),
            ],
            "second",
        )
        .await;
    let ready = case.synced("all", &second).await;
    assert_eq!(json!(ready.spec)["timeout"], "20s");
    case.has("a", "value", Some("second")).await;
    // What is not healthy is still waited for.
    let web = deployment("web", &case.namespace, UNSCHEDULABLE);
    case.push(&[("web.yaml", Some(&web))], "third").await;
    let message = case.ready_becomes("all", "False", "HealthPending").await;
    assert!(message.starts_with("Deployment.apps"), "{message}");
}

#[tokio::test]
async fn syncs_that_contain_each_other_do_not_wait_for_each_other() {
    let case = world().await.case("inside-both").await;
    let text = |name: &str, path: &str, more: Value| {
        let mut spec = json!({"path": path});
        spec.as_object_mut()
            .unwrap()
            .extend(more.as_object().cloned().unwrap_or_default());
        sync(&case, name, &spec)
    };
    // `a` holds `b`, `b` holds `c`, and `c` holds `a`. `a` also holds `d`, which depends on `a`.
    let first = case.repo.commit(
        &[
            ("a/b.json", Some(text("b", "b", json!({})))),
            (
                "a/d.json",
                Some(text("d", "d", json!({"dependsOn": [{"name": "a"}]}))),
            ),
            ("b/c.json", Some(text("c", "c", json!({})))),
            ("c/a.json", Some(text("a", "a", json!({})))),
            ("c/map.yaml", Some(case.map("c", "first"))),
            ("d/map.yaml", Some(case.map("d", "first"))),
        ],
        "first",
    );
    case.repository(json!({})).await;
    case.sync("a", json!({"path": "a", "wait": true, "timeout": "10s"}))
        .await;
    for name in ["a", "b", "c", "d"] {
        case.synced(name, &first).await;
    }
    let second = case
        .push(&[("c/map.yaml", Some(&case.map("c", "second")))], "second")
        .await;
    for name in ["a", "b", "c", "d"] {
        case.synced(name, &second).await;
    }
    case.has("c", "value", Some("second")).await;
}

#[tokio::test]
async fn a_repository_with_its_inline_sync_may_hold_itself() {
    let case = world().await.case("inside-inline").await;
    let inline = json!({"sync": {"path": "all", "prune": true, "wait": true}});
    let first = case.repo.commit(
        &[
            ("all/repo.json", Some(repository(&case, &inline))),
            ("all/a.yaml", Some(case.map("a", "first"))),
        ],
        "first",
    );
    case.repository(inline.clone()).await;
    case.synced("repo", &first).await;
    let second = case
        .push(&[("all/a.yaml", Some(&case.map("a", "second")))], "second")
        .await;
    case.synced("repo", &second).await;
    case.has("a", "value", Some("second")).await;
}

#[tokio::test]
async fn messages_of_nested_syncs_do_not_nest() {
    let case = world().await.case("nested").await;
    let text = |name: &str, path: &str| sync(&case, name, &json!({"path": path}));
    case.repo.commit(
        &[
            ("a/b.json", Some(text("b", "b"))),
            ("b/c.json", Some(text("c", "c"))),
            (
                "c/web.yaml",
                Some(deployment("web", &case.namespace, UNSCHEDULABLE)),
            ),
        ],
        "first",
    );
    case.repository(json!({})).await;
    case.sync("a", json!({"path": "a", "wait": true, "timeout": "1h"}))
        .await;
    let what = "a says which Sync is not ready, and no more";
    eventually(what, PATIENCE, async || {
        let sync: Sync = case.api().get("a").await.unwrap();
        let (_, reason, message) = condition(&sync, "Ready");
        let wanted = format!("Sync.towline.dev {}/b: not ready: Health", case.namespace);
        let right = reason == "HealthPending" || reason == "HealthFailed";
        (right && message.starts_with(&wanted) && message.matches("Sync.").count() == 1)
            .then_some(())
            .ok_or(message)
    })
    .await;
}
