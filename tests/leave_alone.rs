//! `spec.ignoreFields`, and replicas that an autoscaler of the same commit sets: sent once, then left as they are.

use std::time::Duration;

use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};

use crate::world::life::deployment;
use crate::world::{Case, PATIENCE, condition, config_map, world};
use towline_testing::kubeconfig::User;
use towline_testing::wait::{eventually, never};

fn two_values(namespace: &str, value: &str, other: &str) -> String {
    let map = config_map("map", namespace, value);
    map.replace("value: ", &format!("other: {other}\n  value: "))
}

/// Whether towline's entry in `managedFields` names the field.
fn is_owned(live: &Value, pointer: &str) -> bool {
    let entries = live["metadata"]["managedFields"].as_array().unwrap();
    let ours = entries
        .iter()
        .find(|entry| entry["manager"] == "towline" && entry["operation"] == "Apply");
    ours.unwrap()["fieldsV1"].pointer(pointer).is_some()
}

#[tokio::test]
async fn a_field_is_sent_once_and_then_left_as_it_is() {
    let files =
        async |namespace: &str| vec![("map.yaml".to_owned(), two_values(namespace, "a", "a"))];
    let rule =
        json!({"ignoreFields": [{"kind": "ConfigMap", "name": "m*", "fields": ["data.value"]}]});
    let (case, _) = Case::started(world().await, "leave", files, rule).await;
    let live = case.live::<ConfigMap>("map").await;
    assert_eq!(live["data"], json!({"other": "a", "value": "a"}));
    assert!(is_owned(&live, "/f:data/f:other") && !is_owned(&live, "/f:data/f:value"));
    // It is no drift, and a person's value stays, whatever Git does with the object.
    case.patch::<ConfigMap>("map", json!({"data": {"value": "theirs"}}))
        .await;
    never("a correction", Duration::from_secs(1), async || {
        let data = case.data("map").await.unwrap();
        (data["value"] != "theirs").then_some(())
    })
    .await;
    let (namespace, mark) = (case.namespace.clone(), case.world.cp.audit().mark());
    let map = two_values(&namespace, "b", "b");
    let commit = case.push(&[("map.yaml", Some(&map))], "both").await;
    case.synced("all", &commit).await;
    case.has("map", "other", Some("b")).await;
    case.has("map", "value", Some("theirs")).await;
    let requests = case.requests(mark).await.len();
    assert!(requests <= 6, "{requests} requests");
    case.reconcile("all").await;
    case.has("map", "value", Some("theirs")).await;
    // Other fields are Git's.
    case.patch::<ConfigMap>("map", json!({"data": {"other": "theirs"}}))
        .await;
    case.has("map", "other", Some("b")).await;
    case.has("map", "value", Some("theirs")).await;
    // It may leave Git, too.
    let map = config_map("map", &namespace, "x").replace("value:", "other:");
    let commit = case
        .push(&[("map.yaml", Some(&map))], "only the other")
        .await;
    case.synced("all", &commit).await;
    case.has("map", "value", Some("theirs")).await;
    // An object that is made anew has Git's value again, and without the rule Git's value counts.
    let map = two_values(&namespace, "c", "c");
    let commit = case.push(&[("map.yaml", Some(&map))], "again").await;
    case.synced("all", &commit).await;
    case.delete::<ConfigMap>("map").await;
    case.has("map", "value", Some("c")).await;
    case.patch::<ConfigMap>("map", json!({"data": {"value": "theirs"}}))
        .await;
    case.patch::<towline::api::Sync>("all", json!({"spec": {"ignoreFields": null}}))
        .await;
    case.has("map", "value", Some("c")).await;
    // A rule that comes later gives the field up without removing it, also if it leaves Git at once.
    case.patch::<towline::api::Sync>(
        "all",
        json!({"spec": {"ignoreFields": [{"fields": ["/data/value"]}]}}),
    )
    .await;
    eventually("the field is given up", PATIENCE, async || {
        let live = case.live::<ConfigMap>("map").await;
        (!is_owned(&live, "/f:data/f:value"))
            .then_some(())
            .ok_or(live)
    })
    .await;
    case.has("map", "value", Some("c")).await;
}

#[tokio::test]
async fn what_was_there_before_keeps_the_fields_of_a_rule() {
    let world = world().await;
    let files = async |namespace: &str| {
        vec![("other.yaml".to_owned(), config_map("other", namespace, "a"))]
    };
    let rule = json!({"ignoreFields": [{"kind": "Deployment", "fields": ["spec.replicas"]}]});
    let (case, _) = Case::started(world, "adopt-left", files, rule).await;
    let file = case
        .world
        .cp
        .folder()
        .join(format!("{}.yaml", case.namespace));
    let web = deployment("web", &case.namespace, "");
    std::fs::write(&file, web.replace("replicas: 1", "replicas: 3")).unwrap();
    case.kubectl_as_person(&["apply", "-f", file.to_str().unwrap()])
        .await;
    let commit = case.push(&[("web.yaml", Some(&web))], "adopt").await;
    case.synced("all", &commit).await;
    let live = case.live::<Deployment>("web").await;
    assert_eq!(live["spec"]["replicas"], 3);
    assert!(!is_owned(&live, "/f:spec/f:replicas"));
}

#[tokio::test]
async fn replicas_are_left_to_an_autoscaler_of_the_same_commit() {
    let scaler = |namespace: &str| {
        format!(
            "apiVersion: autoscaling/v2\nkind: HorizontalPodAutoscaler\nmetadata: {{name: web, namespace: {namespace}}}\n\
             spec:\n  maxReplicas: 5\n  scaleTargetRef: {{apiVersion: apps/v1, kind: Deployment, name: web}}\n"
        )
    };
    let files = async |namespace: &str| {
        vec![
            ("web.yaml".to_owned(), deployment("web", namespace, "")),
            ("scaler.yaml".to_owned(), scaler(namespace)),
        ]
    };
    let (case, _) = Case::started(world().await, "autoscaled", files, json!({})).await;
    let client = case.world.cp.client_for(User::Person).await;
    let api: Api<Deployment> = Api::namespaced(client, &case.namespace);
    let params = PatchParams {
        field_manager: Some("kube-controller-manager".to_owned()),
        ..PatchParams::default()
    };
    let scale = Patch::Merge(json!({"spec": {"replicas": 4}}));
    api.patch_scale("web", &params, &scale).await.unwrap();
    // Another number in Git is not sent either.
    let web = deployment("web", &case.namespace, "").replace("replicas: 1", "replicas: 2");
    let web = web.replace("image: web", "image: other");
    let commit = case.push(&[("web.yaml", Some(&web))], "image").await;
    case.synced("all", &commit).await;
    let live = case.live::<Deployment>("web").await;
    assert_eq!(live["spec"]["replicas"], 4);
    assert_eq!(
        live["spec"]["template"]["spec"]["containers"][0]["image"],
        "other"
    );
    assert!(case.events("FieldLeft").await.is_empty());
    // Without the autoscaler, Git's number counts.
    let commit = case.push(&[("scaler.yaml", None)], "no scaler").await;
    case.synced("all", &commit).await;
    assert_eq!(case.live::<Deployment>("web").await["spec"]["replicas"], 2);
}

#[tokio::test]
async fn an_injected_sidecar_stays_without_a_rule_and_a_bundle_with_one() {
    let hook = |namespace: &str, path: &str| {
        format!(
            "apiVersion: admissionregistration.k8s.io/v1\nkind: MutatingWebhookConfiguration\nmetadata: {{name: \
             {namespace}}}\nwebhooks:\n- name: a.example.com\n  admissionReviewVersions: [v1]\n  sideEffects: None\n  \
             failurePolicy: Ignore\n  clientConfig: {{caBundle: Cg==, service: {{name: a, namespace: {namespace}, \
             path: {path}}}}}\n"
        )
    };
    let files = async |namespace: &str| {
        vec![
            ("web.yaml".to_owned(), deployment("web", namespace, "")),
            ("hook.yaml".to_owned(), hook(namespace, "/a")),
        ]
    };
    let rule = json!({"ignoreFields": [
        {"kind": "*WebhookConfiguration", "fields": ["/webhooks/0/clientConfig/caBundle"]}]});
    let (case, _) = Case::started(world().await, "injected-left", files, rule).await;
    let sidecar = json!({"spec": {"template": {"spec": {"containers": [{"name": "mesh", "image": "mesh"}]}}}});
    let client = case.world.cp.client_for(User::Person).await;
    let api: Api<Deployment> = Api::namespaced(client.clone(), &case.namespace);
    api.patch("web", &PatchParams::default(), &Patch::Strategic(sidecar))
        .await
        .unwrap();
    let hooks: Api<MutatingWebhookConfiguration> = Api::all(client);
    let bundle = json!({"webhooks": [{"name": "a.example.com", "clientConfig": {"caBundle": "aW5qZWN0ZWQ="}}]});
    let (name, params) = (&case.namespace, PatchParams::default());
    hooks
        .patch(name, &params, &Patch::Strategic(bundle))
        .await
        .unwrap();
    let web = deployment("web", name, "").replace("image: web", "image: other");
    let commit = case
        .push(
            &[
                ("web.yaml", Some(&web)),
                ("hook.yaml", Some(&hook(name, "/b"))),
            ],
            "change both",
        )
        .await;
    case.synced("all", &commit).await;
    let live = case.live::<Deployment>("web").await;
    let containers = live["spec"]["template"]["spec"]["containers"].clone();
    let mut images: Vec<_> = containers
        .as_array()
        .unwrap()
        .iter()
        .map(|container| container["image"].as_str().unwrap())
        .collect();
    images.sort_unstable();
    assert_eq!(images, ["mesh", "other"]);
    let live = serde_json::to_value(hooks.get(name).await.unwrap()).unwrap();
    let config = &live["webhooks"][0]["clientConfig"];
    assert_eq!(config["caBundle"], "aW5qZWN0ZWQ=");
    assert_eq!(config["service"]["path"], "/b");
    assert!(case.events("FieldLeft").await.is_empty());
}

#[tokio::test]
async fn a_rule_that_cannot_be_read_or_kept_is_named() {
    let files =
        async |namespace: &str| vec![("web.yaml".to_owned(), deployment("web", namespace, ""))];
    let (case, _) = Case::started(world().await, "bad-rule", files, json!({})).await;
    for (field, said) in [
        ("spec..replicas", "spec.ignoreFields[0].fields[0]"),
        ("spec.selector.matchLabels.app", "is inside of"),
    ] {
        let rule = json!({"spec": {"ignoreFields": [{"fields": [field]}]}});
        case.patch::<towline::api::Sync>("all", rule).await;
        case.until("all", said, |sync| {
            let (status, reason, message) = condition(sync, "Ready");
            (&*status, &*reason) == ("False", "InvalidSpec") && message.contains(said)
        })
        .await;
    }
    case.patch::<towline::api::Sync>("all", json!({"spec": {"ignoreFields": null}}))
        .await;
    case.ready_becomes("all", "True", "Converged").await;
}
