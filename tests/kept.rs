//! Objects that stay when they leave Git or when their Sync is deleted: those whose annotation says so, and those that
//! existed before their Sync applied them.

use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use kube::Api;
use serde_json::{Value, json};
use towline::api::Sync;

use crate::world::{Case, PATIENCE, World, world};
use towline_testing::control_plane::Options;
use towline_testing::wait::eventually;

const PROOF: &str = "towline.dev/proof";

/// A ConfigMap's manifest with one annotation.
fn annotated(case: &Case<'_>, name: &str, annotation: (&str, &str)) -> String {
    let (key, value) = annotation;
    json!({"apiVersion": "v1", "kind": "ConfigMap", "data": {"value": "git"},
        "metadata": {"name": name, "namespace": case.namespace, "annotations": {key: value}}})
    .to_string()
}

/// Waits until an object exists without towline's marks.
async fn is_released(case: &Case<'_>, name: &str) {
    eventually(&format!("{name} is released"), PATIENCE, async || {
        let live = case.live::<ConfigMap>(name).await;
        let metadata = &live["metadata"];
        let label = &metadata["labels"]["applyset.kubernetes.io/part-of"];
        let marks = ["identity", "proof", "digest"]
            .map(|mark| metadata["annotations"][format!("towline.dev/{mark}")].clone());
        let is_free = label.is_null() && marks.iter().all(Value::is_null);
        (!live.is_null() && is_free).then_some(()).ok_or(live)
    })
    .await;
}

async fn make(case: &Case<'_>, name: &str) {
    let map = json!({"metadata": {"name": name}, "data": {"value": "hand"}});
    case.make::<ConfigMap>(map).await;
}

#[tokio::test]
async fn an_object_whose_annotation_keeps_it_is_released() {
    let case = world().await.case("kept").await;
    let keeps = [
        ("own", ("towline.dev/prune", "disabled")),
        ("flux", ("kustomize.toolkit.fluxcd.io/prune", "disabled")),
        ("helm", ("helm.sh/resource-policy", "keep")),
        (
            "argo",
            (
                "argocd.argoproj.io/sync-options",
                "Replace=true, Prune=false",
            ),
        ),
    ];
    let goes = [
        ("plain", ("team", "a")),
        ("enabled", ("towline.dev/prune", "enabled")),
        ("other", ("argocd.argoproj.io/sync-options", "Replace=true")),
    ];
    let all: Vec<_> = keeps.iter().chain(&goes).collect();
    let mut files: Vec<_> = all
        .iter()
        .map(|(name, annotation)| {
            (
                format!("{name}.yaml"),
                Some(annotated(&case, name, *annotation)),
            )
        })
        .collect();
    files.push(("stays.yaml".to_owned(), Some(case.map("stays", "git"))));
    let first = case.repo.commit(&files, "first");
    case.repository(json!({})).await;
    case.sync("all", json!({})).await;
    case.synced("all", &first).await;
    let files: Vec<_> = all
        .iter()
        .map(|(name, _)| (format!("{name}.yaml"), None::<String>))
        .collect();
    let second = case.repo.commit(&files, "all leave");
    case.announce().await;
    let sync = case.synced("all", &second).await;
    assert_eq!(sync.status.unwrap().objects.unwrap().unpruned, 0);
    for (name, _) in keeps {
        is_released(&case, name).await;
        case.wait_for_event(
            "Released",
            &[&format!("ConfigMap {}/{name}", case.namespace)],
        )
        .await;
    }
    for (name, _) in goes {
        case.has(name, "value", None).await;
    }
    assert_eq!(case.events("Released").await.len(), 1);
}

#[tokio::test]
async fn what_the_last_manifest_keeps_stays_although_the_live_object_does_not_say_so() {
    let case = world().await.case("kept-manifest").await;
    let kept = annotated(&case, "kept", ("towline.dev/prune", "disabled"));
    let files = [
        ("kept.yaml", Some(kept)),
        ("stays.yaml", Some(case.map("stays", "git"))),
    ];
    let first = case.repo.commit(&files, "first");
    case.repository(json!({})).await;
    case.sync("all", json!({})).await;
    case.synced("all", &first).await;
    case.patch::<Sync>("all", json!({"spec": {"suspend": true}}))
        .await;
    case.ready_becomes("all", "Unknown", "Suspended").await;
    let bare = json!({"metadata": {"annotations": {"towline.dev/prune": null}}});
    case.patch::<ConfigMap>("kept", bare).await;
    let second = case.push(&[("kept.yaml", None)], "it leaves").await;
    case.patch::<Sync>("all", json!({"spec": {"suspend": false}}))
        .await;
    case.synced("all", &second).await;
    is_released(&case, "kept").await;
}

#[tokio::test]
async fn a_deleted_sync_leaves_what_is_kept_and_the_namespace_that_holds_it() {
    let case = world().await.case("kept-sync").await;
    let (kept, empty) = (
        format!("{}-kept", case.namespace),
        format!("{}-empty", case.namespace),
    );
    let namespace =
        |name: &str| format!("apiVersion: v1\nkind: Namespace\nmetadata: {{name: {name}}}\n");
    let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "data": {"value": "git"},
        "metadata": {"name": "kept", "namespace": kept,
            "annotations": {"towline.dev/prune": "disabled"}}});
    let files = [
        ("kept.yaml", Some(namespace(&kept))),
        ("empty.yaml", Some(namespace(&empty))),
        ("map.yaml", Some(map.to_string())),
        ("goes.yaml", Some(case.map("goes", "git"))),
    ];
    let first = case.repo.commit(&files, "first");
    case.repository(json!({})).await;
    case.sync("all", json!({"deletionPolicy": "Delete"})).await;
    case.synced("all", &first).await;
    case.delete::<Sync>("all").await;
    case.gone::<Sync>("all").await;
    case.has("goes", "value", None).await;
    let namespaces: Api<Namespace> = Api::all(case.client.clone());
    let live = namespaces.get_opt(&empty).await.unwrap();
    assert!(live.is_none_or(|live| live.metadata.deletion_timestamp.is_some()));
    let live = namespaces.get(&kept).await.unwrap();
    assert_eq!(live.metadata.deletion_timestamp, None);
    assert_eq!(
        live.metadata.annotations.unwrap_or_default().get(PROOF),
        None
    );
    let maps: Api<ConfigMap> = Api::namespaced(case.client.clone(), &kept);
    assert!(maps.get("kept").await.unwrap().metadata.labels.is_none());
    case.wait_for_event(
        "Released",
        &[&format!("{kept}/kept"), &format!("Namespace {kept}")],
    )
    .await;
}

#[tokio::test]
async fn what_was_adopted_is_released_and_what_was_made_is_deleted() {
    let mut world = World::own(Options::default(), &[]).await;
    let case = world.case("adopted").await;
    // One made a moment ago, as a person does who then writes the manifest.
    for name in ["adopted", "moved", "made-anew", "with-sync"] {
        make(&case, name).await;
    }
    let map = |name: &str| Some(case.map(name, "git"));
    let files = [
        ("a/stays.yaml", map("a-stays")),
        ("b/stays.yaml", map("b-stays")),
        ("a/adopted.yaml", map("adopted")),
        ("a/moved.yaml", map("moved")),
        ("a/made.yaml", map("made")),
        ("a/unmarked.yaml", map("unmarked")),
        ("a/made-anew.yaml", map("made-anew")),
        ("b/with-sync.yaml", map("with-sync")),
        ("b/made-with-sync.yaml", map("made-with-sync")),
    ];
    let first = case.repo.commit(&files, "first");
    case.repository(json!({})).await;
    for sync in ["a", "b"] {
        case.sync(sync, json!({"path": sync})).await;
        case.synced(sync, &first).await;
    }
    let proof = async |name: &str| {
        let live = case.live::<ConfigMap>(name).await;
        let proof = &live["metadata"]["annotations"][PROOF];
        proof.as_str().unwrap_or_default().to_owned()
    };
    for (name, is_adopted) in [("adopted", true), ("with-sync", true), ("made", false)] {
        let proof = proof(name).await;
        assert_eq!(proof.starts_with("adopted."), is_adopted, "{name}: {proof}");
    }
    // Without its marks it is still one that the Sync made.
    let unmarked = json!({"metadata": {"labels": null, "annotations": null}});
    case.patch::<ConfigMap>("unmarked", unmarked).await;
    eventually("it is marked again", PATIENCE, async || {
        let proof = proof("unmarked").await;
        (!proof.is_empty()).then_some(())
    })
    .await;
    // Deleted and made anew, it is the Sync's own.
    case.delete::<ConfigMap>("made-anew").await;
    case.has("made-anew", "value", Some("git")).await;
    // A move to another Sync, and a restart of the operator, change nothing.
    let second = case
        .push(
            &[
                ("a/moved.yaml", None),
                ("b/moved.yaml", map("moved").as_deref()),
            ],
            "move",
        )
        .await;
    for sync in ["a", "b"] {
        case.synced(sync, &second).await;
    }
    let parts = case.into_parts();
    world.operator.kill();
    world.operator.restart().await;
    let case = world.resume(parts).await;
    let files = [
        "a/adopted",
        "a/made",
        "a/unmarked",
        "a/made-anew",
        "b/moved",
    ]
    .map(|name| (format!("{name}.yaml"), None::<String>));
    let third = case.repo.commit(&files, "they leave");
    case.announce().await;
    for sync in ["a", "b"] {
        case.synced(sync, &third).await;
    }
    for name in ["made", "unmarked", "made-anew"] {
        case.has(name, "value", None).await;
    }
    for name in ["adopted", "moved"] {
        is_released(&case, name).await;
        case.wait_for_event(
            "Released",
            &[&format!("/{name} (it existed before"), "pruneAdopted"],
        )
        .await;
    }
    // The deletion of the Sync mirrors that.
    case.delete::<Sync>("b").await;
    case.gone::<Sync>("b").await;
    is_released(&case, "with-sync").await;
    case.has("made-with-sync", "value", None).await;
}

#[tokio::test]
async fn adopted_objects_are_deleted_where_the_sync_says_so() {
    let case = world().await.case("adopted-prune").await;
    for name in ["one", "two"] {
        make(&case, name).await;
    }
    let map = |name: &str| Some(case.map(name, "git"));
    let files = [
        ("stays.yaml", map("stays")),
        ("one.yaml", map("one")),
        ("two.yaml", map("two")),
    ];
    let first = case.repo.commit(&files, "first");
    case.repository(json!({})).await;
    case.sync("all", json!({"pruneAdopted": true})).await;
    case.synced("all", &first).await;
    let second = case.push(&[("one.yaml", None)], "one leaves").await;
    case.synced("all", &second).await;
    case.has("one", "value", None).await;
    let spec = json!({"spec": {"pruneAdopted": false, "deletionPolicy": "Delete"}});
    case.patch::<Sync>("all", spec).await;
    case.delete::<Sync>("all").await;
    case.gone::<Sync>("all").await;
    case.has("two", "value", None).await;
}
