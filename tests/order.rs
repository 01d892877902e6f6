//! The objects of one commit are applied in a working order, and deleted in the reverse order.

use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::Api;
use serde_json::json;

use crate::world::life::deployment;
use crate::world::{PATIENCE, config_map, world};
use towline_testing::wait::eventually;

/// A CustomResourceDefinition `Boat` in the test's own group.
fn definition(group: &str) -> String {
    format!(
        "apiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\n\
         metadata: {{name: boats.{group}}}\nspec:\n  group: {group}\n  scope: Namespaced\n  \
         names: {{kind: Boat, plural: boats, singular: boat}}\n  versions:\n  - name: v1\n    \
         served: true\n    storage: true\n    schema:\n      openAPIV3Schema:\n        type: object\n        \
         x-kubernetes-preserve-unknown-fields: true\n"
    )
}

fn boat(group: &str, namespace: &str, name: &str) -> String {
    format!(
        "apiVersion: {group}/v1\nkind: Boat\nmetadata: {{name: {name}, namespace: {namespace}}}\n\
         spec: {{sails: 2}}\n"
    )
}

#[tokio::test]
async fn definitions_namespaces_and_what_needs_them_come_in_one_commit() {
    let case = world().await.case("order").await;
    let (here, inner) = (case.namespace.as_str(), format!("{}-inner", case.namespace));
    let group = format!("{here}.example.com");
    let namespace = format!("apiVersion: v1\nkind: Namespace\nmetadata: {{name: {inner}}}\n");
    // Names whose alphabetical order is wrong, and a file that begins with the object instead of its
    // definition.
    let both = format!("{}---\n{}", boat(&group, &inner, "a"), definition(&group));
    let first = case.repo.commit(
        &[
            ("apps/a.yaml", Some(both)),
            ("apps/b.yaml", Some(boat(&group, here, "b"))),
            ("apps/c.yaml", Some(config_map("inside", &inner, "git"))),
            ("apps/keep.yaml", Some(config_map("keep", here, "git"))),
            ("apps/z.yaml", Some(namespace)),
        ],
        "first",
    );
    case.repository(json!({})).await;
    case.sync("all", json!({"path": "apps", "wait": true}))
        .await;
    case.synced("all", &first).await;

    let mark = case.world.cp.audit().mark();
    let files = ["apps/a.yaml", "apps/b.yaml", "apps/c.yaml", "apps/z.yaml"];
    let second = case
        .push(&files.map(|file| (file, None)), "remove them")
        .await;
    case.synced("all", &second).await;
    let definitions: Api<CustomResourceDefinition> = Api::all(case.client.clone());
    let namespaces: Api<Namespace> = Api::all(case.client.clone());
    eventually("all is gone", PATIENCE, async || {
        let definition = definitions
            .get_opt(&format!("boats.{group}"))
            .await
            .unwrap();
        let namespace = namespaces.get_opt(&inner).await.unwrap();
        (definition.is_none() && namespace.is_none())
            .then_some(())
            .ok_or((definition, namespace))
    })
    .await;
    let deletes: Vec<String> = case
        .world
        .cp
        .audit_since(mark)
        .await
        .into_iter()
        .filter(|entry| entry.user == "towline" && entry.verb == "delete")
        .filter(|entry| entry.uri.contains(here))
        .map(|entry| entry.resource)
        .collect();
    let place = |resource: &str| deletes.iter().rposition(|name| name == resource).unwrap();
    assert!(
        place("boats") < place("customresourcedefinitions"),
        "{deletes:?}"
    );
    assert!(place("configmaps") < place("namespaces"), "{deletes:?}");
    assert_eq!(deletes.len(), 5, "{deletes:?}");
}

#[tokio::test]
async fn an_object_waits_for_its_kind_and_is_woken_by_it() {
    let case = world().await.case("kind").await;
    let group = format!("{}.example.com", case.namespace);
    let first = case.repo.commit(
        &[
            ("boats/boat.yaml", boat(&group, &case.namespace, "late")),
            ("boats/map.yaml", case.map("map", "git")),
            ("definitions/boats.yaml", definition(&group)),
        ]
        .map(|(path, text)| (path, Some(text))),
        "first",
    );
    case.repository(json!({})).await;
    case.sync("boats", json!({"path": "boats"})).await;
    let message = case.ready_becomes("boats", "False", "KindNotServed").await;
    for part in ["Boat", "boats/boat.yaml", &group] {
        assert!(message.contains(part), "{part} in: {message}");
    }
    case.has("map", "value", Some("git")).await;
    case.sync("definitions", json!({"path": "definitions"}))
        .await;
    case.synced("boats", &first).await;
}

#[tokio::test]
async fn one_bad_object_does_not_hold_up_the_others() {
    let case = world().await.case("bad").await;
    let namespace = case.namespace.as_str();
    let misspelt = case.map("misspelt", "x").replace("\ndata:", "\ndota:");
    let homeless = config_map("homeless", "no-such-namespace", "x");
    let unmatched = deployment("unmatched", namespace, "").replace("labels: {app", "labels: {no");
    let good = |name: &'static str| (name, case.map(name.trim_end_matches(".yaml"), "git"));
    let files = [
        good("a.yaml"),
        ("misspelt.yaml", misspelt),
        ("homeless.yaml", homeless),
        ("unmatched.yaml", unmatched),
        good("z.yaml"),
    ];
    case.repo
        .commit(&files.map(|(path, text)| (path, Some(text))), "first");
    case.repository(json!({})).await;
    case.sync("all", json!({})).await;
    // A slow machine may report earlier, when only the first object has failed.
    let sync = case.until("all", "three failed", |sync| {
        let objects = sync
            .status
            .as_ref()
            .and_then(|status| status.objects)
            .unwrap_or_default();
        (objects.desired, objects.applied, objects.failed) == (5, 2, 3)
    });
    assert_eq!(sync.await.status.unwrap().failures.len(), 3);
    let message = case.ready_becomes("all", "False", "ApplyFailed").await;
    for part in ["misspelt.yaml", "homeless.yaml", "unmatched.yaml", "dota"] {
        assert!(message.contains(part), "{part} in: {message}");
    }
    case.has("a", "value", Some("git")).await;
    case.has("z", "value", Some("git")).await;
    // The applied objects are watched, although others failed.
    case.patch::<ConfigMap>("z", json!({"data": {"value": "person"}}))
        .await;
    case.has("z", "value", Some("git")).await;

    let bad = ["misspelt.yaml", "homeless.yaml", "unmatched.yaml"];
    let second = case
        .push(&bad.map(|file| (file, None)), "remove them")
        .await;
    case.synced("all", &second).await;
}
