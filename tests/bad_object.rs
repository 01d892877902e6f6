//! Objects that cannot be applied. The condition names each with its file and cause, the other objects
//! are applied, and nothing is pruned until all objects are applied.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::api::rbac::v1::ClusterRole;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::Api;
use kube::api::{ApiResource, DeleteParams, DynamicObject, PostParams};
use serde_json::json;

use crate::world::verdict::{assert_not_disclosed, assert_says};
use crate::world::{config_map, world};
use towline_testing::kubeconfig::User;

/// Stands in for a secret.
const MARKER: &str = "hunter2-in-a-refused-secret";

/// An object that a commit adds to a folder.
struct Row {
    folder: &'static str,
    object: String,
    reason: &'static str,
    says: Vec<String>,
}

#[tokio::test]
async fn a_failing_object_does_not_affect_others() {
    let case = world().await.case("bad-object").await;
    let namespace = case.namespace.as_str();
    let row = |folder, object: &str, reason, says: &[&str]| Row {
        folder,
        object: object.replace("NAMESPACE", namespace),
        reason,
        says: says
            .iter()
            .map(|part| part.replace("NAMESPACE", namespace))
            .collect(),
    };
    let rows = [
        row(
            "refused",
            "{apiVersion: v1, kind: Service, metadata: {name: x, namespace: NAMESPACE}, spec: {ports: [{port: 0}]}}",
            "ApplyFailed",
            &[
                "Service NAMESPACE/x",
                "spec.ports[0].port: Invalid value: 0",
            ],
        ),
        row(
            "keyless",
            "{apiVersion: v1, kind: ServiceAccount, metadata: {name: x, namespace: NAMESPACE}, secrets: [{}]}",
            "ApplyFailed",
            &["ServiceAccount NAMESPACE/x", ".secrets: element 0"],
        ),
        row(
            "secret",
            "{apiVersion: v1, kind: Secret, metadata: {name: x, namespace: NAMESPACE}, data: {password: hunter2-in-a-refused-secret}}",
            "ApplyFailed",
            &["Secret NAMESPACE/x"],
        ),
        row(
            "secret-type",
            "{apiVersion: v1, kind: Secret, metadata: {name: typed, namespace: NAMESPACE}, type: kubernetes.io/dockerconfigjson, \
             stringData: {.dockerconfigjson: hunter2-in-a-refused-secret}}",
            "ApplyFailed",
            &["Secret NAMESPACE/typed", "data[.dockerconfigjson]"],
        ),
        row(
            "secret-field",
            "{apiVersion: v1, kind: Secret, metadata: {name: z, namespace: NAMESPACE}, stringData: {password: [hunter2-in-a-refused-secret]}}",
            "ApplyFailed",
            &["Secret NAMESPACE/z", ".stringData.password"],
        ),
        row(
            "misspelt",
            "{apiVersion: v1, kind: ConfigMap, metadata: {name: x, namespace: NAMESPACE, lables: {a: b}}}",
            "ApplyFailed",
            &["ConfigMap NAMESPACE/x", ".metadata.lables"],
        ),
        row(
            "placeless",
            "{apiVersion: v1, kind: ConfigMap, metadata: {name: x}}",
            "InvalidManifest",
            &["ConfigMap x", "it has no namespace", "targetNamespace"],
        ),
        row(
            "nowhere",
            "{apiVersion: v1, kind: ConfigMap, metadata: {name: x, namespace: nowhere-NAMESPACE}}",
            "ApplyFailed",
            &[
                "ConfigMap nowhere-NAMESPACE/x",
                "namespaces \"nowhere-NAMESPACE\" not found",
            ],
        ),
        row(
            "unknown",
            "{apiVersion: nobody.example/v1, kind: Gadget, metadata: {name: x, namespace: NAMESPACE}}",
            "KindNotServed",
            &[
                "Gadget.nobody.example NAMESPACE/x",
                "does not serve nobody.example/v1 Gadget",
            ],
        ),
        row(
            "twin",
            "{apiVersion: rbac.authorization.k8s.io/v1, kind: ClusterRole, metadata: {name: NAMESPACE-twin, namespace: a}, rules: []}\n---\n\
             {apiVersion: rbac.authorization.k8s.io/v1, kind: ClusterRole, metadata: {name: NAMESPACE-twin, namespace: b}, rules: []}\n",
            "InvalidManifest",
            &[
                "NAMESPACE-twin",
                "the same object is in twin/bad.yaml (document 1) as well",
            ],
        ),
        row(
            "unknown-version",
            "{apiVersion: apps/v1beta1, kind: Deployment, metadata: {name: x, namespace: NAMESPACE}}",
            "KindNotServed",
            &[
                "Deployment.apps NAMESPACE/x",
                "does not serve apps/v1beta1 Deployment",
                "it serves apps/v1 Deployment",
            ],
        ),
        row(
            "question",
            "{apiVersion: authentication.k8s.io/v1, kind: TokenReview, metadata: {name: x}, spec: {token: x}}",
            "InvalidManifest",
            &[
                "TokenReview.authentication.k8s.io x",
                "is a question or an order to the API server",
            ],
        ),
        row(
            "order",
            "{apiVersion: policy/v1, kind: Eviction, metadata: {name: x, namespace: NAMESPACE}}",
            "InvalidManifest",
            &[
                "Eviction.policy NAMESPACE/x",
                "is a question or an order to the API server",
            ],
        ),
        row(
            "two-groups",
            "{apiVersion: v1, kind: Event, metadata: {name: x, namespace: NAMESPACE}, involvedObject: {namespace: NAMESPACE}}\n---\n\
             {apiVersion: events.k8s.io/v1, kind: Event, metadata: {name: x, namespace: NAMESPACE}}\n",
            "InvalidManifest",
            &[
                "Event.events.k8s.io NAMESPACE/x",
                "one object with v1 Event NAMESPACE/x",
                "two-groups/bad.yaml (document 1)",
            ],
        ),
        row(
            "lower-case",
            "{apiVersion: v1, kind: configmap, metadata: {name: x, namespace: NAMESPACE}}",
            "KindNotServed",
            &["configmap NAMESPACE/x", "it serves v1 ConfigMap"],
        ),
        row(
            "other-group",
            "{apiVersion: extensions/v1beta1, kind: Ingress, metadata: {name: x, namespace: NAMESPACE}}",
            "KindNotServed",
            &[
                "Ingress.extensions NAMESPACE/x",
                "it serves networking.k8s.io/v1 Ingress",
            ],
        ),
        row(
            "long-key",
            &format!(
                "{{apiVersion: v1, kind: ConfigMap, metadata: {{name: long-key-x, namespace: NAMESPACE}}, data: {{? {} : a}}}}",
                "k".repeat(400_000)
            ),
            "ApplyFailed",
            &[
                "ConfigMap NAMESPACE/long-key-x",
                "a key in data has 400000 bytes",
            ],
        ),
        row(
            "long-label",
            &format!(
                "{{apiVersion: v1, kind: ConfigMap, metadata: {{name: long-label-x, namespace: NAMESPACE, labels: {{a: {}}}}}}}",
                "l".repeat(400_000)
            ),
            "ApplyFailed",
            &[
                "ConfigMap NAMESPACE/long-label-x",
                "metadata.labels",
                "no more than 63",
            ],
        ),
    ];
    let other = |folder: &str| format!("{folder}-leaves");
    let first = rows.iter().flat_map(|row| {
        [row.folder.to_owned(), other(row.folder)].map(|name| {
            let path = format!("{}/{name}.yaml", row.folder);
            (path, Some(config_map(&name, namespace, "one")))
        })
    });
    let first = case.repo.commit(&first.collect::<Vec<_>>(), "all is well");
    case.repository(json!({})).await;
    for row in &rows {
        case.sync(row.folder, json!({"path": row.folder})).await;
    }
    for row in &rows {
        case.synced(row.folder, &first).await;
    }

    let broken = rows.iter().flat_map(|row| {
        let folder = row.folder;
        let changed = config_map(folder, namespace, "two");
        [
            (format!("{folder}/bad.yaml"), Some(row.object.clone())),
            (format!("{folder}/{folder}.yaml"), Some(changed)),
            (format!("{folder}/{folder}-leaves.yaml"), None),
        ]
    });
    case.repo.commit(&broken.collect::<Vec<_>>(), "broken");
    case.announce().await;
    for row in &rows {
        let message = case.ready_becomes(row.folder, "False", row.reason).await;
        let says: Vec<&str> = row.says.iter().map(String::as_str).collect();
        assert_says(&message, &says);
        assert_says(
            &message,
            &[&format!("in {}/bad.yaml (document 1)", row.folder)],
        );
        case.has(row.folder, "value", Some("two")).await;
        case.has(&other(row.folder), "value", Some("one")).await;
    }
    assert_not_disclosed(&case, MARKER).await;

    let fixed = rows
        .iter()
        .map(|row| (format!("{}/bad.yaml", row.folder), None::<&str>));
    let fixed = case.repo.commit(&fixed.collect::<Vec<_>>(), "fixed");
    case.announce().await;
    for row in &rows {
        case.synced(row.folder, &fixed).await;
        case.has(&other(row.folder), "value", None).await;
    }
}

#[tokio::test]
async fn a_target_namespace_applies_to_namespaced_objects_only() {
    let case = world().await.case("target-namespace").await;
    let role = format!("{}-role", case.namespace);
    let files = format!(
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: bare}}\ndata: {{value: one}}\n---\n\
         apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: placed, namespace: elsewhere}}\ndata: {{value: one}}\n---\n\
         apiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRole\nmetadata: {{name: {role}}}\nrules: []\n"
    );
    let commit = case.repo.commit(&[("all.yaml", Some(files))], "all");
    case.repository(json!({})).await;
    case.sync("all", json!({})).await;
    let message = case.ready_becomes("all", "False", "InvalidManifest").await;
    assert_says(
        &message,
        &["ConfigMap bare in all.yaml (document 1): it has no namespace"],
    );
    let target = json!({"spec": {"targetNamespace": case.namespace}});
    case.patch::<towline::api::Sync>("all", target).await;
    case.synced("all", &commit).await;
    case.has("bare", "value", Some("one")).await;
    case.has("placed", "value", Some("one")).await;
    let roles: Api<ClusterRole> = Api::all(case.client.clone());
    let role = roles.get(&role).await.unwrap();
    assert_eq!(role.metadata.namespace, None);
}

#[tokio::test]
async fn an_object_changes_its_owner_when_the_owner_releases_it() {
    let case = world().await.case("bad-owner").await;
    let namespace = case.namespace.as_str();
    let file = |name, value| Some(config_map(name, namespace, value));
    let first = case.repo.commit(
        &[
            ("a/x.yaml", file("x", "of a")),
            ("a/a.yaml", file("a", "of a")),
            ("b/x.yaml", file("x", "of b")),
            ("b/b.yaml", file("b", "of b")),
        ],
        "both want x",
    );
    case.repository(json!({})).await;
    case.sync("a", json!({"path": "a"})).await;
    case.synced("a", &first).await;
    let uid = case.api::<ConfigMap>().get("x").await.unwrap().metadata.uid;
    case.sync("b", json!({"path": "b"})).await;
    let message = case.ready_becomes("b", "False", "OwnershipConflict").await;
    let object = format!("ConfigMap {namespace}/x in b/x.yaml (document 1)");
    let owner = format!("it belongs to Sync {namespace}/a");
    assert_says(&message, &[&object, &owner]);
    case.has("b", "value", Some("of b")).await;
    case.has("x", "value", Some("of a")).await;

    let second = case.repo.commit(&[("a/x.yaml", None::<&str>)], "a lets go");
    case.announce().await;
    case.synced("a", &second).await;
    case.synced("b", &second).await;
    case.has("x", "value", Some("of b")).await;
    let now = case.api::<ConfigMap>().get("x").await.unwrap().metadata.uid;
    assert_eq!(now, uid, "the object was deleted and created again");

    // The same where the owner is deleted and leaves its objects.
    case.sync("c", json!({"path": "b", "prune": false})).await;
    let message = case.ready_becomes("c", "False", "OwnershipConflict").await;
    assert_says(&message, &[&format!("it belongs to Sync {namespace}/b")]);
    case.delete::<towline::api::Sync>("b").await;
    case.synced("c", &second).await;
    case.has("x", "value", Some("of b")).await;
}

#[tokio::test]
async fn an_unknown_kind_waits_for_its_definition_without_requests() {
    let case = world().await.case("bad-kind").await;
    let namespace = case.namespace.as_str();
    let group = format!("{namespace}.example");
    let gadget = format!(
        "{{apiVersion: {group}/v1, kind: Gadget, metadata: {{name: g, namespace: {namespace}}}, spec: {{size: 3}}}}"
    );
    let map = config_map("x", namespace, "one");
    let commit = case.repo.commit(
        &[("g.yaml", Some(gadget.as_str())), ("x.yaml", Some(&map))],
        "a gadget without its definition",
    );
    case.repository(json!({})).await;
    case.sync("all", json!({})).await;
    let message = case.ready_becomes("all", "False", "KindNotServed").await;
    let object = format!("Gadget.{group} {namespace}/g in g.yaml (document 1)");
    assert_says(&message, &[&object, "1 object of Gadget"]);
    case.has("x", "value", Some("one")).await;
    // A slow machine may report before the other object is applied, and again afterwards.
    case.until("all", "the other is applied", |sync| {
        let objects = sync.status.as_ref().and_then(|status| status.objects);
        objects.unwrap_or_default().applied == 1
    })
    .await;

    let (mark, from) = (case.world.cp.audit().mark(), Timestamp::now());
    tokio::time::sleep(Duration::from_secs(2)).await;
    let asked = case.world.cp.audit_since(mark).await;
    let asked: Vec<_> = asked
        .into_iter()
        .filter(|entry| entry.received >= from)
        .filter(|entry| entry.user == User::Towline.name() && entry.resource != "events")
        // The repository writes its status when it is idle, which may be only now.
        .filter(|entry| entry.resource != "gitrepositories")
        .filter(|entry| entry.namespace == namespace || entry.group == group)
        .collect();
    assert!(asked.is_empty(), "{asked:#?}");

    let definition = json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": format!("gadgets.{group}")},
        "spec": {
            "group": group, "scope": "Namespaced",
            "names": {"kind": "Gadget", "plural": "gadgets"},
            "versions": [{
                "name": "v1", "served": true, "storage": true,
                "schema": {"openAPIV3Schema": {
                    "type": "object", "x-kubernetes-preserve-unknown-fields": true
                }},
            }],
        },
    });
    let definitions: Api<CustomResourceDefinition> = Api::all(case.client.clone());
    definitions
        .create(
            &PostParams::default(),
            &serde_json::from_value(definition).unwrap(),
        )
        .await
        .unwrap();
    case.synced("all", &commit).await;
    let resource = ApiResource {
        group: group.clone(),
        version: "v1".to_owned(),
        api_version: format!("{group}/v1"),
        kind: "Gadget".to_owned(),
        plural: "gadgets".to_owned(),
    };
    let gadgets: Api<DynamicObject> =
        Api::namespaced_with(case.client.clone(), namespace, &resource);
    let live = gadgets.get("g").await.unwrap();
    assert_eq!(live.data["spec"]["size"], 3);

    definitions
        .delete(&format!("gadgets.{group}"), &DeleteParams::default())
        .await
        .unwrap();
    case.ready_becomes("all", "False", "KindNotServed").await;
    case.has("x", "value", Some("one")).await;
}

/// An Event that two Syncs name by its two groups is one object: the first Sync has it, and nobody writes in turn.
#[tokio::test]
async fn an_object_of_two_groups_belongs_to_one_sync() {
    let case = world().await.case("two-groups").await;
    let event = |core: bool| {
        let (version, message, about, controller) = match core {
            true => ("v1", "message", "involvedObject", "reportingComponent"),
            false => (
                "events.k8s.io/v1",
                "note",
                "regarding",
                "reportingController",
            ),
        };
        json!({
            "apiVersion": version, "kind": "Event", "metadata": {"name": "e", "namespace": case.namespace},
            "type": "Normal", "reason": "Tried", "action": "Try", message: "text",
            about: {"kind": "ConfigMap", "name": "x", "namespace": case.namespace, "apiVersion": "v1"},
            controller: "example.com/tester", "reportingInstance": "one", "eventTime": "2026-01-01T00:00:00.000000Z",
        })
        .to_string()
    };
    let commit = case.repo.commit(
        &[
            ("a/e.yaml", Some(event(true))),
            ("a/m.yaml", Some(case.map("of-a", "git"))),
            ("b/e.yaml", Some(event(false))),
        ],
        "one event",
    );
    case.repository(json!({})).await;
    case.sync("a", json!({"path": "a"})).await;
    case.synced("a", &commit).await;
    case.sync("b", json!({"path": "b"})).await;
    let message = case.ready_becomes("b", "False", "OwnershipConflict").await;
    let name = format!("Event {}/e", case.namespace);
    assert_says(
        &message,
        &[
            &name,
            "b/e.yaml",
            &format!("belongs to Sync {}/a", case.namespace),
        ],
    );
    let mark = case.world.cp.audit().mark();
    tokio::time::sleep(Duration::from_secs(2)).await;
    let requests = case.requests(mark).await;
    let writes = requests
        .iter()
        .filter(|entry| entry.verb == "patch" && entry.resource == "events");
    assert_eq!(writes.count(), 0);
    case.synced("a", &commit).await;
    // It goes to the other Sync under its other group, and leaves with it.
    let commit = case.push(&[("a/e.yaml", None)], "a lets it go").await;
    case.synced("b", &commit).await;
    case.push(
        &[
            ("b/e.yaml", None),
            ("b/m.yaml", Some(&case.map("m", "git"))),
        ],
        "b as well",
    )
    .await;
    case.gone::<k8s_openapi::api::core::v1::Event>("e").await;
}
