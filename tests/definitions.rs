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
use towline_testing::audit::Entry;
use towline_testing::kubeconfig::User;
use towline_testing::wait::eventually;

const COUNT: usize = 15;

/// The sizes of the definitions in bytes, as operators ship them.
const SIZES: [usize; 3] = [10_000, 40_000, 150_000];

/// The shortest time between two discoveries of towline.
const DISCOVERY_PAUSE: Duration = Duration::from_secs(10);

/// The API server itself needs a few seconds for this many kinds. The benchmark measures how many; here, the number of
/// requests says whether towline adds something of its own, on a machine of any speed.
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
            sized_definition(&group, index, SIZES[index % SIZES.len()]),
        ));
    }
    let files: Vec<_> = files
        .iter()
        .map(|(path, text)| (path.as_str(), Some(text)))
        .collect();
    let commit = case.repo.commit(&files, "first");
    let history = tokio::spawn(history(case.api()));
    case.repository(json!({})).await;
    let mark = case.world.cp.audit().mark();
    let started = Instant::now();
    case.sync("all", json!({})).await;
    case.synced("all", &commit).await;
    let took = started.elapsed();
    assert!(took < LONGEST, "took {took:?}");
    let requests = case.world.cp.audit_since(mark).await;
    assert_no_detours(&requests, &group, took);

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

/// Checks towline's requests on the way to `COUNT` kinds of `group` and an object of each: none of them is for a definition
/// or an object that another one has settled.
fn assert_no_detours(requests: &[Entry], group: &str, took: Duration) {
    let requests: Vec<&Entry> = requests
        .iter()
        .filter(|entry| entry.user == User::Towline.name())
        .collect();
    let is_definition = |entry: &Entry| entry.resource == "customresourcedefinitions";
    let is_discovery = |entry: &Entry| {
        let path = entry.uri.split('?').next().unwrap_or_default();
        matches!(path, "/api" | "/apis")
    };
    let all: Vec<String> = requests
        .iter()
        .filter(|entry| entry.group == group || is_definition(entry) || is_discovery(entry))
        .map(|entry| format!("{} {} {}", entry.verb, entry.code, entry.uri))
        .collect();
    let all = all.join("\n");
    println!("{took:?}\n{all}");
    let count = |is: &dyn Fn(&Entry) -> bool| requests.iter().filter(|entry| is(entry)).count();
    let is_look = |entry: &Entry| matches!(entry.verb.as_str(), "list" | "watch");

    let applied = count(&|entry| {
        is_definition(entry) && entry.verb == "patch" && entry.name.ends_with(group)
    });
    assert_eq!(applied, COUNT, "each definition is applied once:\n{all}");
    // The watch of definitions ended at each fresh one, as its conditions are null at first. One end in some minutes is usual.
    let watched = count(&|entry| is_definition(entry) && is_look(entry));
    assert!(watched <= 2, "the watch of definitions began again:\n{all}");
    // The watch says which kinds are served. Other tests of the same operator may make it look for others.
    let discoveries = count(&is_discovery) / 2;
    let most = 1 + took.as_secs().div_ceil(DISCOVERY_PAUSE.as_secs());
    assert!(
        discoveries as u64 <= most,
        "{discoveries} discoveries:\n{all}"
    );
    for index in 0..COUNT {
        let plural = format!("kind{index}s");
        let of = |entry: &Entry| entry.group == group && entry.resource == plural;
        let watches = count(&|entry| of(entry) && is_look(entry) && entry.code < 300);
        assert!(watches <= 2, "{watches} watches of {plural}:\n{all}");
        // Until the storage of a kind is ready, the API server refuses its watch and asks to wait for a second.
        let refused = count(&|entry| of(entry) && is_look(entry) && entry.code >= 300);
        let most = 1 + took.as_secs() as usize;
        assert!(
            refused <= most,
            "{refused} refused watches of {plural}:\n{all}"
        );
        let tries = count(&|entry| of(entry) && entry.verb == "patch");
        assert!(tries <= 2, "{tries} tries of an object of {plural}:\n{all}");
    }
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
    sized_definition(group, index, 0)
}

/// A definition with this many bytes of documentation.
fn sized_definition(group: &str, index: usize, bytes: usize) -> String {
    json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": format!("kind{index}s.{group}")},
        "spec": {
            "group": group, "scope": "Namespaced",
            "names": {"kind": format!("Kind{index}"), "plural": format!("kind{index}s")},
            "versions": [{
                "name": "v1", "served": true, "storage": true,
                "schema": {"openAPIV3Schema": {"type": "object", "properties": {
                    "spec": {
                        "type": "object", "x-kubernetes-preserve-unknown-fields": true,
                        "description": "a word. ".repeat(bytes / "a word. ".len()),
                    },
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
