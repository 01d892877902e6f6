//! Finalizer, labels, annotations and owner of our own resources, and people who take them off.

use std::time::Duration;

use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use serde_json::{Value, json};
use towline::api::{GitRepository, Sync};

use crate::world::{Case, PATIENCE, World, condition, world};
use towline_testing::control_plane::Options;
use towline_testing::kubectl::kubectl;
use towline_testing::scratch::Scratch;
use towline_testing::wait::eventually;

const ID: &str = "applyset.kubernetes.io/id";
const TOOLING: &str = "applyset.kubernetes.io/tooling";
const CONTAINS: &str = "applyset.kubernetes.io/contains-group-kinds";

/// Waits until the Sync carries all marks, and names these kinds.
async fn marked(case: &Case<'_>, name: &str, kinds: &str, after: &str) {
    let what = format!("the marks of {name} are back after {after}");
    eventually(&what, Duration::from_secs(10), async || {
        let meta = case.live::<Sync>(name).await["metadata"].take();
        let finalized = meta["finalizers"] == json!(["towline.dev/sync"]);
        let id = meta["labels"][ID].as_str().unwrap_or_default();
        let annotations = &meta["annotations"];
        let all = finalized
            && id.starts_with("applyset-")
            && annotations[TOOLING].is_string()
            && annotations[CONTAINS] == kinds;
        all.then_some(()).ok_or(meta)
    })
    .await;
}

/// What `kubectl replace -f` does with a file that holds nothing but the spec.
async fn replace(case: &Case<'_>, kind: &str, name: &str, spec: Value) {
    let scratch = Scratch::new().unwrap();
    let file = scratch.path().join("object.json");
    let object = json!({
        "apiVersion": "towline.dev/v1alpha1", "kind": kind,
        "metadata": {"name": name, "namespace": case.namespace}, "spec": spec,
    });
    std::fs::write(&file, object.to_string()).unwrap();
    case.kubectl_as_person(&["replace", "--filename", file.to_str().unwrap()])
        .await;
}

fn spec(of: &Value) -> Value {
    of["spec"].clone()
}

fn secret(namespace: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Secret\nmetadata: {{name: kept, namespace: {namespace}}}\n\
         stringData: {{password: hunter2}}\n"
    )
}

#[tokio::test]
async fn marks_that_are_taken_off_come_back_and_the_policy_holds() {
    let files = async |namespace: &str| {
        let map = crate::world::config_map("a", namespace, "git");
        vec![("a.yaml".to_owned(), map)]
    };
    let (case, _) = Case::started(world().await, "marks", files, json!({})).await;
    let merge = |patch: Value| patch;
    for (after, patch) in [
        ("the finalizers", merge(json!({"finalizers": null}))),
        ("the label", merge(json!({"labels": null}))),
        ("all annotations", merge(json!({"annotations": null}))),
        ("the kinds", merge(json!({"annotations": {CONTAINS: ""}}))),
    ] {
        case.patch::<Sync>("all", json!({"metadata": patch})).await;
        marked(&case, "all", "ConfigMap", after).await;
    }
    // Also while nothing is reconciled.
    case.patch::<Sync>("all", json!({"spec": {"suspend": true}}))
        .await;
    case.ready_becomes("all", "Unknown", "Suspended").await;
    let of = case.live::<Sync>("all").await;
    replace(&case, "Sync", "all", spec(&of)).await;
    marked(&case, "all", "ConfigMap", "replace").await;

    case.delete::<Sync>("all").await;
    case.has("a", "value", None).await;
}

#[tokio::test]
async fn kinds_that_had_left_git_are_found_after_a_restart() {
    let mut world = World::own(Options::default(), &[]).await;
    let case = world.case("kinds").await;
    let (map, kept) = (case.map("a", "git"), secret(&case.namespace));
    case.repo.commit(
        &[("a.yaml", Some(&map)), ("kept.yaml", Some(&kept))],
        "first",
    );
    case.repository(json!({})).await;
    case.sync("all", json!({"prune": false})).await;
    case.ready_becomes("all", "True", "Converged").await;
    let second = case.push(&[("kept.yaml", None)], "second").await;
    case.synced("all", &second).await;
    let status = case.live::<Sync>("all").await["status"].take();
    assert_eq!(status["kinds"], json!(["ConfigMap", "Secret"]));

    let parts = case.into_parts();
    world.operator.kill();
    let case = world.resume(parts).await;
    let of = case.live::<Sync>("all").await;
    replace(&case, "Sync", "all", spec(&of)).await;
    let bare = case.live::<Sync>("all").await["metadata"].take();
    assert_eq!(bare.get("finalizers"), None);
    let parts = case.into_parts();
    world.operator.restart().await;
    let case = world.resume(parts).await;
    marked(&case, "all", "ConfigMap,Secret", "a restart").await;
    assert!(case.live::<Secret>("kept").await.is_object());
    case.delete::<Sync>("all").await;
    // `prune: false` leaves what is live.
    eventually("the Sync is gone", PATIENCE, async || {
        let is = case.live::<Sync>("all").await;
        is.is_null().then_some(()).ok_or(is)
    })
    .await;
    for label in [
        case.live::<Secret>("kept").await["metadata"]["labels"].take(),
        case.live::<ConfigMap>("a").await["metadata"]["labels"].take(),
    ] {
        assert!(label.is_null(), "it is nobody's now: {label}");
    }
}

#[tokio::test]
async fn an_inline_sync_is_put_right_and_goes_with_its_repository() {
    let case = world().await.case("inline-marks").await;
    let first = case
        .repo
        .commit(&[("apps/a.yaml", Some(case.map("a", "git")))], "first");
    case.repository(json!({"sync": {"path": "apps", "prune": true}}))
        .await;
    case.synced("repo", &first).await;
    let owners = async || {
        let meta = case.live::<Sync>("repo").await["metadata"].take();
        meta["ownerReferences"].clone()
    };
    let before = owners().await;
    assert_eq!(before.as_array().map(Vec::len), Some(1));
    for (after, change) in [
        ("nothing else", json!({})),
        ("another path", json!({"path": "elsewhere"})),
        ("another policy", json!({"prune": false, "path": "no/such"})),
    ] {
        let mut spec = json!({"sourceRef": {"name": "repo"}, "path": "apps", "prune": true});
        let fields = change.as_object().cloned().unwrap_or_default();
        spec.as_object_mut().unwrap().extend(fields);
        replace(&case, "Sync", "repo", spec).await;
        let what = format!("owner and spec are back after {after}");
        eventually(&what, Duration::from_secs(20), async || {
            let spec = case.live::<Sync>("repo").await["spec"].take();
            let (owners, path) = (owners().await, spec["path"].clone());
            let right = owners == before && path == "apps" && spec["prune"] == true;
            right.then_some(()).ok_or((owners, spec))
        })
        .await;
        marked(&case, "repo", "ConfigMap", after).await;
    }
    let sync = case.synced("repo", &first).await;
    assert_eq!(condition(&sync, "Ready").1, "Converged");
    // The GitRepository itself, written over with the same spec, keeps its Sync.
    let of = case.live::<GitRepository>("repo").await;
    replace(&case, "GitRepository", "repo", spec(&of)).await;
    case.synced("repo", &first).await;

    let kubeconfig = case.world.cp.kubeconfig_path();
    let args = [
        "delete",
        "gitrepository",
        "repo",
        "--namespace",
        &case.namespace,
    ];
    kubectl(&kubeconfig, &args).await;
    case.has("a", "value", None).await;
}
