//! Kinds of an aggregated API server: one that is away for a while is not one that is gone, and one that was
//! uninstalled for good holds nothing up. The server is another real one, behind an APIService.

use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use kube::api::{ApiResource, DynamicObject, GroupVersionKind};
use serde_json::{Value, json};
use towline::api::Sync;

use crate::world::{Case, PATIENCE, World, applied, condition};
use towline_testing::control_plane::{Component, ControlPlane, Options};
use towline_testing::kubectl::{kubectl, try_kubectl};
use towline_testing::scratch::Scratch;
use towline_testing::wait::{eventually, within};

const GROUP: &str = "away.example.com";

/// The API server looks every 30 seconds whether another one answers.
const LATE: std::time::Duration = std::time::Duration::from_secs(120);

async fn create(cp: &ControlPlane, objects: &[Value]) {
    let folder = Scratch::new().unwrap();
    for (index, object) in objects.iter().enumerate() {
        let file = folder.path().join(format!("{index}.json"));
        std::fs::write(&file, object.to_string()).unwrap();
        kubectl(
            &cp.kubeconfig_path(),
            &["create", "-f", file.to_str().unwrap()],
        )
        .await;
    }
}

/// Makes another API server serve `Gadget`, and lets the first one pass requests on to it.
async fn install(case: &Case<'_>, other: &ControlPlane) {
    let definition = json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": format!("gadgets.{GROUP}")},
        "spec": {"group": GROUP, "scope": "Namespaced", "names": {"kind": "Gadget", "plural": "gadgets"},
            "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": {
                "type": "object", "properties": {"spec": {"type": "object",
                    "properties": {"value": {"type": "string"}}}}}}}]},
    });
    let everybody = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding",
        "metadata": {"name": "everybody"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"},
        "subjects": [{"kind": "Group", "apiGroup": "rbac.authorization.k8s.io", "name": "system:unauthenticated"}],
    });
    let namespace =
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": case.namespace}});
    create(other, &[definition, everybody, namespace]).await;
    let port: u16 = other.url().rsplit(':').next().unwrap().parse().unwrap();
    let service = json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": {"name": "other", "namespace": case.namespace},
        "spec": {"type": "ExternalName", "externalName": "localhost"},
    });
    let api = json!({
        "apiVersion": "apiregistration.k8s.io/v1", "kind": "APIService",
        "metadata": {"name": format!("v1.{GROUP}")},
        "spec": {"group": GROUP, "version": "v1", "groupPriorityMinimum": 1000, "versionPriority": 10,
            "insecureSkipTLSVerify": true,
            "service": {"name": "other", "namespace": case.namespace, "port": port}},
    });
    create(&case.world.cp, &[service, api]).await;
    let config = case.world.cp.kubeconfig_path();
    eventually("the kind is served", PATIENCE, async || {
        try_kubectl(&config, &["get", "gadgets", "--all-namespaces"]).await
    })
    .await;
}

fn gadget(name: &str, namespace: &str, value: &str) -> String {
    json!({"apiVersion": format!("{GROUP}/v1"), "kind": "Gadget",
        "metadata": {"name": name, "namespace": namespace}, "spec": {"value": value}})
    .to_string()
}

/// Waits as long as it may take until the API server has noticed that another one came or went.
async fn late(case: &Case<'_>, what: &str, is: impl Fn(&Sync) -> bool) {
    let syncs: Api<Sync> = case.api();
    let seen = within(LATE, async || match syncs.get("all").await {
        Ok(sync) if is(&sync) => Ok(()),
        other => Err(other.map(|sync| sync.status)),
    });
    if let Err(last) = seen.await {
        panic!("not within {LATE:?}: {what}; last seen: {last}");
    }
}

#[tokio::test]
async fn a_kind_whose_server_is_away_comes_back_and_one_that_is_gone_holds_nothing_up() {
    let world = World::own(Options::default(), &[]).await;
    let mut other = ControlPlane::start(Options::default()).await;
    let case = world.case("away").await;
    install(&case, &other).await;
    let namespace = case.namespace.clone();
    let gadget = |name: &str, value: &str| gadget(name, &namespace, value);
    let files = [
        ("a.yaml", gadget("a", "one")),
        ("b.yaml", gadget("b", "one")),
        ("map.yaml", case.map("map", "one")),
        ("leaves.yaml", case.map("leaves", "one")),
        ("stays.yaml", case.map("stays", "one")),
    ];
    let first = case
        .repo
        .commit(&files.map(|(path, text)| (path, Some(text))), "first");
    case.repository(json!({})).await;
    case.sync("all", json!({})).await;
    case.synced("all", &first).await;
    let kind = GroupVersionKind::gvk(GROUP, "v1", "Gadget");
    let resource = ApiResource::from_gvk_with_plural(&kind, "gadgets");
    let gadgets: Api<DynamicObject> =
        Api::namespaced_with(other.client().await, &namespace, &resource);
    let uid = gadgets.get("a").await.unwrap().metadata.uid;

    other.kill(Component::ApiServer);
    let (a, map) = (gadget("a", "two"), case.map("map", "two"));
    let second = case
        .push(
            &[
                ("a.yaml", Some(&a)),
                ("b.yaml", None),
                ("map.yaml", Some(&map)),
                ("leaves.yaml", None),
            ],
            "while it is away",
        )
        .await;
    // Other kinds go on, and what is away is named.
    late(&case, "the kind that is away is named", |sync| {
        let (status, _, message) = condition(sync, "Ready");
        status == "False" && message.contains("Gadget")
    })
    .await;
    case.has("map", "value", Some("two")).await;
    other.restart(Component::ApiServer).await;
    late(&case, "it is back", |sync| {
        condition(sync, "Ready").0 == "True" && applied(sync).ends_with(&second)
    })
    .await;
    let live = gadgets.get("a").await.unwrap();
    assert_eq!(
        (&live.metadata.uid, &live.data["spec"]["value"]),
        (&uid, &json!("two"))
    );
    assert!(gadgets.get_opt("b").await.unwrap().is_none());
    case.has("leaves", "value", None).await;
    // Drift of what came back is healed.
    let patch = kube::api::Patch::Merge(json!({"spec": {"value": "person"}}));
    gadgets
        .patch("a", &kube::api::PatchParams::default(), &patch)
        .await
        .unwrap();
    eventually("drift is healed", PATIENCE, async || {
        let live = gadgets.get("a").await.unwrap();
        (live.data["spec"]["value"] == "two")
            .then_some(())
            .ok_or(live)
    })
    .await;

    // It is uninstalled for good, and what was of it leaves Git.
    other.kill(Component::ApiServer);
    kubectl(
        &world.cp.kubeconfig_path(),
        &["delete", "apiservice", &format!("v1.{GROUP}")],
    )
    .await;
    let third = case
        .push(&[("a.yaml", None), ("map.yaml", None)], "without it")
        .await;
    late(&case, "the rest is pruned", |sync| {
        condition(sync, "Ready").0 == "True" && applied(sync).ends_with(&third)
    })
    .await;
    assert!(case.live::<ConfigMap>("map").await.is_null());
    case.delete::<Sync>("all").await;
    eventually("the Sync is gone", PATIENCE, async || {
        let sync = case.live::<Sync>("all").await;
        sync.is_null().then_some(()).ok_or(sync)
    })
    .await;
}
