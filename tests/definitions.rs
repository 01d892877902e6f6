//! Custom kinds and their objects in one commit.

use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::{ConfigMap, Event};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{DeleteParams, ListParams};
use kube::runtime::{WatchStreamExt as _, watcher};
use kube::{Api, ResourceExt as _};
use serde_json::json;
use towline::api::Sync;

use crate::world::{Case, PATIENCE, condition, world};
use towline_testing::wait::eventually;

const COUNT: usize = 15;

/// The API server itself needs a few seconds for this many kinds. towline must not add a pause of its
/// own.
const LONGEST: Duration = Duration::from_secs(30);

#[tokio::test]
async fn many_definitions_and_their_objects_in_one_commit() {
    let case = world().await.case("definitions").await;
    let group = format!("{}.example.com", case.namespace);
    let mut files = Vec::new();
    for index in 0..COUNT {
        files.push((
            format!("objects/{index:02}.yaml"),
            object(&case, &group, index),
        ));
        files.push((
            format!("zdefinitions/{index:02}.yaml"),
            definition(&group, index),
        ));
    }
    let files: Vec<_> = files
        .iter()
        .map(|(path, text)| (path.as_str(), Some(text)))
        .collect();
    let commit = case.repo.commit(&files, "first");
    let history = tokio::spawn(history(case.api()));
    case.repository(json!({})).await;
    let started = Instant::now();
    case.sync("all", json!({})).await;
    case.synced("all", &commit).await;
    let took = started.elapsed();
    assert!(took < LONGEST, "took {took:?}");

    let seen = history.await.unwrap();
    let on_the_way = ["SourceNotReady", "Progressing", "Converged"];
    for (status, reason) in &seen {
        assert!(on_the_way.contains(&reason.as_str()), "{seen:?}");
        let is_false = status == "False" && reason != "SourceNotReady";
        assert!(!is_false, "{seen:?}");
    }
    let events: Api<Event> = case.api();
    let events = events.list(&ListParams::default()).await.unwrap();
    let warnings: Vec<_> = events
        .iter()
        .filter(|event| event.type_.as_deref() == Some("Warning"))
        .collect();
    assert!(warnings.is_empty(), "{warnings:?}");

    remove(&case, &group).await;
}

/// Watches the Sync `all` until it is ready. Returns status and reason of the condition `Ready` at each
/// change.
async fn history(api: Api<Sync>) -> Vec<(String, String)> {
    use futures::StreamExt as _;
    let mut seen = Vec::new();
    let events = watcher(api, watcher::Config::default()).default_backoff();
    let mut objects = std::pin::pin!(events.applied_objects());
    while let Some(sync) = objects.next().await {
        let Ok(sync) = sync else { continue };
        assert_eq!(sync.name_any(), "all");
        let (status, reason, _) = condition(&sync, "Ready");
        let current = (status, reason);
        if !current.0.is_empty() && seen.last() != Some(&current) {
            seen.push(current);
        }
        if seen.last().is_some_and(|(status, _)| status == "True") {
            break;
        }
    }
    seen
}

/// Deletes the definitions. They are not part of the namespace, and other tests share the control plane.
async fn remove(case: &Case<'_>, group: &str) {
    case.delete::<Sync>("all").await;
    let definitions: Api<CustomResourceDefinition> = Api::all(case.client.clone());
    for index in 0..COUNT {
        let name = format!("kind{index}s.{group}");
        // The deletion of the Sync may have deleted the definition already.
        let _ = definitions.delete(&name, &DeleteParams::default()).await;
    }
}

fn definition(group: &str, index: usize) -> String {
    json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": format!("kind{index}s.{group}")},
        "spec": {
            "group": group, "scope": "Namespaced",
            "names": {"kind": format!("Kind{index}"), "plural": format!("kind{index}s")},
            "versions": [{
                "name": "v1", "served": true, "storage": true,
                "schema": {"openAPIV3Schema": {"type": "object", "properties": {
                    "spec": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
                }}},
            }],
        },
    })
    .to_string()
}

fn object(case: &Case<'_>, group: &str, index: usize) -> String {
    json!({
        "apiVersion": format!("{group}/v1"), "kind": format!("Kind{index}"),
        "metadata": {"name": "one", "namespace": case.namespace},
        "spec": {"size": index},
    })
    .to_string()
}

/// A definition that somebody removes takes its objects with it: both come back, and nothing else is touched.
#[tokio::test]
async fn a_definition_that_is_removed_and_restored_has_its_objects_again() {
    let case = world().await.case("removed-definition").await;
    let group = format!("{}.example.com", case.namespace);
    let definitions: Api<CustomResourceDefinition> = Api::all(case.client.clone());
    let other: CustomResourceDefinition = serde_json::from_str(&definition(&group, 1)).unwrap();
    definitions
        .create(&kube::api::PostParams::default(), &other)
        .await
        .unwrap();
    let files = [
        ("definition.yaml", definition(&group, 0)),
        ("ours.yaml", object(&case, &group, 0)),
        ("theirs.yaml", object(&case, &group, 1)),
        ("map.yaml", case.map("map", "git")),
    ];
    let commit = case
        .repo
        .commit(&files.map(|(path, text)| (path, Some(text))), "first");
    case.repository(json!({})).await;
    case.sync("all", json!({"wait": true})).await;
    case.synced("all", &commit).await;
    let uid = async |index: usize| {
        let kind = kube::core::GroupVersionKind::gvk(&group, "v1", &format!("Kind{index}"));
        let plural = format!("kind{index}s");
        let resource = kube::core::ApiResource::from_gvk_with_plural(&kind, &plural);
        let api: Api<kube::core::DynamicObject> =
            Api::namespaced_with(case.client.clone(), &case.namespace, &resource);
        let live = api.get_opt("one").await.ok().flatten();
        live.and_then(|live| live.metadata.uid)
    };
    let (ours, theirs) = (uid(0).await, uid(1).await);
    let map = case.live::<ConfigMap>("map").await["metadata"]["uid"].clone();
    for index in [0, 1] {
        let name = format!("kind{index}s.{group}");
        definitions
            .delete(&name, &DeleteParams::default())
            .await
            .unwrap();
    }
    // What is in Git comes back by itself.
    eventually("our kind and its object are back", PATIENCE, async || {
        let now = uid(0).await;
        (now.is_some() && now != ours).then_some(()).ok_or(now)
    })
    .await;
    case.until("all", "the other kind is named", |sync| {
        let (_, reason, message) = condition(sync, "Ready");
        reason == "KindNotServed" && message.contains("Kind1")
    })
    .await;
    let other: CustomResourceDefinition = serde_json::from_str(&definition(&group, 1)).unwrap();
    definitions
        .create(&kube::api::PostParams::default(), &other)
        .await
        .unwrap();
    case.synced("all", &commit).await;
    let now = uid(1).await;
    assert!(now.is_some() && now != theirs);
    assert_eq!(case.live::<ConfigMap>("map").await["metadata"]["uid"], map);
    remove(&case, &group).await;
}
